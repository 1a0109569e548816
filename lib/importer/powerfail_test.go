package importer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/fsop"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/internal/powerfail"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source/filesource"
)

const (
	diskName   = "disk"
	partName   = ".disk.cdictl.part"
	recordName = ".disk.cdictl.journal"
)

var errKilled = errors.New("killed")

// powered is an import of one image to a file, the machine of which loses power.
type powered struct {
	image string
	disk  []byte          // what must come out
	left  powerfail.Files // what is in the folder before
	force bool
	alloc bool
	room  int64 // what the disk may grow to, for a stream: else the part is long at once
	// refuse is what this filesystem cannot do.
	refuse func(op fsop.Op) error
	each   int64 // what is written between two records; 0: 60 KiB
	// segment is what is written at a time; 0: 64 KiB.
	segment int64
	again   int // boundaries of second runs that are looked at: each, each second, …
}

// poweredWays are the imports that TestPowerFail fails.
func poweredWays(t *testing.T) map[string]powered {
	dir := shm(t)
	scattered := scatteredDisk()
	plain := filepath.Join(dir, "plain")
	writeSparse(t, plain, scattered)

	rng := rand.New(rand.NewPCG(4, 4))
	var members, long []byte
	for range 3 {
		b := make([]byte, 1040<<10)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		var z bytes.Buffer
		w := gzip.NewWriter(&z)
		_, err := w.Write(b)
		must(t, errors.Join(err, w.Close()))
		members, long = append(members, z.Bytes()...), append(long, b...)
	}
	packed := filepath.Join(dir, "disk.gz")
	must(t, os.WriteFile(packed, members, 0o600))

	other := bytes.Repeat([]byte{0xee}, len(scattered))
	return map[string]powered{
		"new":       {image: plain, disk: scattered},
		"allocated": {image: plain, disk: scattered, alloc: true, again: 6},
		"replaced":  {image: plain, disk: scattered, force: true, left: powerfail.Files{diskName: []byte("the old disk")}},
		// What a run left that was killed before its first record, and one of another image.
		"part without record": {image: plain, disk: scattered, left: powerfail.Files{partName: other}},
		"part of another":     {image: plain, disk: scattered, left: powerfail.Files{partName: other, recordName: foreignRecord(t, int64(len(other)))}, again: 6},
		"link for rename": {image: plain, disk: scattered, again: 6, refuse: func(op fsop.Op) error {
			if op.Kind == fsop.Rename && op.Fresh {
				return syscall.EINVAL
			}
			return nil
		}},
		"written zeros": {image: plain, disk: scattered, again: 6, refuse: func(op fsop.Op) error {
			if op.Kind == fsop.Zero {
				return errors.ErrUnsupported
			}
			return nil
		}},
		// A stream goes on at a member of gzip; its part is shortened to what came.
		"stream": {image: packed, disk: long, each: 700 << 10, again: 9, room: 4 << 20, segment: 512 << 10},
	}
}

const small = 64 << 10 // the shortest segment

// scatteredDisk has segments that are data, partly data, or nothing.
func scatteredDisk() []byte {
	b := make([]byte, 12*small+512)
	for at := range b {
		if s := at / small; s%4 != 1 && (s%4 != 2 || at%small < small/4) {
			b[at] = byte(at>>12) | 1
		}
	}
	return b
}

// writeSparse leaves out what is zero.
func writeSparse(t *testing.T, path string, b []byte) {
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	must(t, f.Truncate(int64(len(b))))
	const page = 4096
	for at := 0; at < len(b); at += page {
		if p := b[at:min(at+page, len(b))]; slices.Max(p) > 0 {
			_, err := f.WriteAt(p, int64(at))
			must(t, err)
		}
	}
}

func foreignRecord(t *testing.T, size int64) []byte {
	rec := journal.Record{Bind: journal.Bind{Source: "another", Identity: "x", Size: size}}
	rec.Done.Add(0, size)
	b, err := rec.Encode()
	must(t, err)
	return b
}

// shm is a folder in memory if there is one: what is tested is the order, and real flushes would take minutes.
func shm(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "cdictl-test")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// order makes operations in another order than the program, or leaves them out.
type order interface {
	tap(op fsop.Op, do func() error, perform func(op fsop.Op, do func() error) error) error
}

// failing runs imports and looks at what a power failure leaves after each operation.
type failing struct {
	powered
	t       *testing.T
	rng     *rand.Rand
	scratch string // where survivors go on

	mu     sync.Mutex // of an operation, and of runs
	runs   int
	folder *powerfail.Folder
	wrong  order
	at     string // look only there, and often
	ops    int
	stop   int // operations until the process is killed, -1 for never
	look   func(after string)

	boundaries, states, resumed int
	found                       []string
}

// tapped is a run whose operations are seen. What it leaves behind it, such as a flush that nobody waits for, does nothing
// any more when it has ended.
func (f *failing) tapped(dir string) (importer.Result, error) {
	begin := func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.runs++
		return f.runs
	}
	mine := begin()
	defer begin()
	return f.run(dir, func(op fsop.Op, do func() error) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.runs != mine {
			return errKilled
		}
		return f.tap(op, do)
	})
}

func (f *failing) tap(op fsop.Op, do func() error) error {
	if f.ops == f.stop {
		return errKilled
	}
	f.ops++
	if f.refuse != nil {
		if err := f.refuse(op); err != nil {
			return err
		}
	}
	if f.wrong != nil {
		return f.wrong.tap(op, do, f.perform)
	}
	return f.perform(op, do)
}

// perform makes op, in the folder and in the model.
func (f *failing) perform(op fsop.Op, do func() error) error {
	if err := do(); err != nil {
		return err
	}
	if err := f.folder.Apply(op); err != nil {
		f.t.Error(err)
	}
	if f.look != nil {
		f.look(fmt.Sprintf("%s %s", op.Kind, filepath.Base(op.Path)))
	}
	return nil
}

// run imports to dir, which is as f.folder says.
func (f *failing) run(dir string, tap fsop.Tap) (importer.Result, error) {
	r := importer.Request{Source: filesource.New(f.image), Resume: true, Preallocate: f.alloc, Max: f.room,
		Target: filesink.New(filepath.Join(dir, diskName), filesink.Options{Force: f.force, Tap: tap})}
	r.SaveEach(f.each, f.segment)
	return importer.Import(context.Background(), r)
}

// begin is a folder to run in, and the model of it.
func (f *failing) begin(name string, files powerfail.Files, stop int) string {
	dir := filepath.Join(f.scratch, name)
	must(f.t, files.Put(dir))
	f.folder, f.ops, f.stop = powerfail.New(files), 0, stop
	return dir
}

// failures looks at what may be there now if power fails, by n of the survivals or, with 0, by all.
func (f *failing) failures(after string, n int, finished bool) {
	f.boundaries++
	list := powerfail.Survivals
	if n > 0 {
		list = nil
		for range n {
			list = append(list, powerfail.Survivals[f.rng.IntN(len(powerfail.Survivals))])
		}
	}
	for _, how := range list {
		f.check(fmt.Sprintf("%s, %v", after, how), f.folder.Fail(how, f.rng), finished)
	}
	if finished || n == 0 {
		f.check(after+", killed", f.folder.Now(), finished)
	}
}

func (f *failing) violation(where, what string, files powerfail.Files) {
	if len(f.found) < 20 {
		f.found = append(f.found, fmt.Sprintf("after %s: %s; %s", where, what, strings.Join(files.Names(), ", ")))
	}
}

// check wants that files, which have survived, hold no half disk and no wrong record, and that the next run ends well.
func (f *failing) check(where string, files powerfail.Files, finished bool) {
	f.states++
	disk, there := files[diskName]
	whole := bytes.Equal(disk, f.disk)
	old, hadOld := f.left[diskName]
	switch {
	case there && whole:
	case there && hadOld && !finished && bytes.Equal(disk, old):
	case there || hadOld:
		f.violation(where, "under the target's name is neither the old disk nor the new one", files)
		return
	case finished:
		f.violation(where, "the disk that was reported is gone", files)
		return
	}
	if what := f.lies(files); what != "" {
		f.violation(where, what, files)
		return
	}
	dir := filepath.Join(f.scratch, "survivor")
	must(f.t, files.Put(dir))
	res, err := f.run(dir, nil)
	if there && !f.force {
		if !errors.Is(err, errdef.ErrExists) {
			f.violation(where, fmt.Sprintf("the next run: %v", err), files)
			return
		}
	} else if err != nil {
		f.violation(where, fmt.Sprintf("the next run: %v", err), files)
		return
	}
	if res.Resumed {
		f.resumed++
	}
	got, err := powerfail.Get(dir)
	must(f.t, err)
	if len(got) != 1 || !bytes.Equal(got[diskName], f.disk) {
		f.violation(where, "the next run leaves something else: "+strings.Join(got.Names(), ", "), files)
	}
}

// lies says what a record of this image promises and the part beside it does not have.
func (f *failing) lies(files powerfail.Files) string {
	part, ok := files[partName]
	rec, err := journal.Decode(files[recordName])
	if !ok || err != nil || len(part) == 0 || rec.Bind.Source != f.image || rec.Bind.Size >= 0 && rec.Bind.Size != int64(len(part)) {
		return "" // of no use to anybody
	}
	for at := int64(0); at < rec.Done.End(); {
		in, n := rec.Done.At(at)
		if in {
			if at+n > int64(len(part)) || !bytes.Equal(part[at:at+n], f.disk[at:at+n]) {
				return fmt.Sprintf("the record has [%d,+%d) as durable, the part has something else", at, n)
			}
		}
		at += n
	}
	return ""
}

func newFailing(t *testing.T, p powered) *failing {
	if p.each == 0 {
		p.each = 60 << 10
	}
	if p.segment == 0 {
		p.segment = small
	}
	p.again = max(p.again, 3)
	return &failing{powered: p, t: t, rng: rand.New(rand.NewPCG(8, 2)), scratch: shm(t), stop: -1}
}

// first fails a run that begins with what is left, after each of its operations, and returns how many they are.
func (f *failing) first() int {
	dir := f.begin("first", f.left, -1)
	f.look = func(after string) {
		if f.at == "" {
			f.failures(after, 0, false)
		} else if strings.HasPrefix(after, f.at) {
			f.failures(after, 20*len(powerfail.Survivals), false)
		}
	}
	if f.wrong == nil {
		f.look("nothing")
	}
	_, err := f.tapped(dir)
	if err != nil {
		f.t.Fatal(err)
	}
	f.failures("the end", 0, true)
	f.agree(dir)
	return f.ops
}

// agree wants that the model has what the folder has: no operation has gone past the tap.
func (f *failing) agree(dir string) {
	got, err := powerfail.Get(dir)
	must(f.t, err)
	want := f.folder.Now()
	if !slices.Equal(got.Names(), want.Names()) {
		f.t.Fatalf("the folder has %v, the model %v", got.Names(), want.Names())
	}
	for name, b := range got {
		if !bytes.Equal(b, want[name]) {
			f.t.Fatalf("%s is not what the model has", name)
		}
	}
}

// second kills a run after n operations, and fails the one that goes on in what it left, none of which is made durable by that.
func (f *failing) second(n int) {
	dir := f.begin("second", f.left, n)
	f.look = nil
	if _, err := f.tapped(dir); n >= 0 && err == nil {
		return // the last flush is of no interest to anybody
	}
	f.agree(dir)
	f.ops, f.stop = 0, -1
	f.look = func(after string) {
		if f.ops <= 12 || f.ops%f.again == 0 { // the beginning is where what was left is sorted out
			f.failures(fmt.Sprintf("a kill at %d, then %d: %s", n, f.ops, after), 1, false)
		}
	}
	_, err := f.tapped(dir)
	if err != nil && (f.force || !errors.Is(err, errdef.ErrExists)) {
		f.t.Fatalf("killed at %d: %v", n, err)
	}
	f.failures(fmt.Sprintf("a kill at %d, then the end", n), 1, err == nil)
	f.agree(dir)
}

// TestPowerFail lets power fail after each single operation of an import, and after each of one that follows a killed one.
// Of what was not flushed anything may be there. There is never half a disk, a record never says too much, and the next run
// ends with the disk and nothing else. See package powerfail for what the model takes for durable.
func TestPowerFail(t *testing.T) {
	for name, p := range poweredWays(t) {
		if testing.Short() {
			if name != "stream" {
				continue // the others only begin in other folders
			}
			p.again = 12
		}
		t.Run(name, func(t *testing.T) {
			f := newFailing(t, p)
			n := f.first()
			for k := 0; k < n; k += f.again {
				f.second(k)
			}
			for _, v := range f.found {
				t.Error(v)
			}
			if f.resumed == 0 {
				t.Error("no run has gone on with anything")
			}
			t.Logf("%d operations; %d boundaries, %d states, %d of them gone on with", n, f.boundaries, f.states, f.resumed)
		})
	}
}

// lateSync flushes the part later than the program says: when the first operation that due names is over, or at once
// before one that it must not pass.
type lateSync struct {
	due, before func(op fsop.Op) bool
	held        func(path string) error
}

func (l *lateSync) tap(op fsop.Op, do func() error, perform func(op fsop.Op, do func() error) error) error {
	if op.Kind == fsop.Sync && strings.HasSuffix(op.Path, ".part") {
		l.held = func(path string) error { return perform(fsop.Op{Kind: fsop.Sync, Path: path}, do) }
		return nil
	}
	if l.held != nil && l.before(op) {
		if err := l.flush(op.Path); err != nil {
			return err
		}
	}
	err := perform(op, do)
	if err == nil && l.held != nil && l.due(op) {
		err = l.flush(op.To)
	}
	return err
}

func (l *lateSync) flush(near string) error {
	held := l.held
	l.held = nil
	if filepath.Base(near) == diskName {
		return held(near) // the part has this name now
	}
	return held(filepath.Join(filepath.Dir(near), partName))
}

func publishes(op fsop.Op) bool { return op.Kind == fsop.Rename && filepath.Base(op.To) == diskName }

func records(op fsop.Op) bool { return op.Kind == fsop.Rename && filepath.Base(op.To) == recordName }

// noSync leaves flushes out.
type noSync struct{ is func(op fsop.Op) bool }

func (n noSync) tap(op fsop.Op, do func() error, perform func(op fsop.Op, do func() error) error) error {
	if n.is(op) {
		return nil
	}
	return perform(op, do)
}

// firstFolder leaves out the folder's first flush.
type firstFolder struct{ seen bool }

func (x *firstFolder) tap(op fsop.Op, do func() error, perform func(op fsop.Op, do func() error) error) error {
	if op.Kind == fsop.SyncFolder && !x.seen {
		x.seen = true
		return nil
	}
	return perform(op, do)
}

// TestPowerFailFinds: with each of these wrong orders something is lost, and TestPowerFail would see it.
func TestPowerFailFinds(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	ways := poweredWays(t)
	never := func(fsop.Op) bool { return false }
	for _, c := range []struct {
		name, way, at, want string
		wrong               order
	}{
		{"record before the data is flushed", "new", "rename .disk.cdictl.journal.new", "the record has", &lateSync{due: records, before: publishes}},
		{"name before the data is flushed", "new", "rename .disk.cdictl.part", "neither the old disk nor the new", &lateSync{due: publishes, before: never}},
		{"replaced before the data is flushed", "replaced", "rename .disk.cdictl.part", "neither the old disk nor the new", &lateSync{due: publishes, before: never}},
		{"data is never flushed", "new", "rename .disk.cdictl.journal.new", "the record has",
			noSync{func(op fsop.Op) bool { return op.Kind == fsop.Sync && filepath.Base(op.Path) == partName }}},
		{"folder is never flushed", "new", "the end", "that was reported is gone", noSync{func(op fsop.Op) bool { return op.Kind == fsop.SyncFolder }}},
		// The old part may come back beside the record of the new one.
		{"folder is not flushed before the new part is written", "part without record", "rename .disk.cdictl.journal.new", "the record has", &firstFolder{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFailing(t, ways[c.way])
			f.wrong, f.at = c.wrong, c.at
			f.first()
			if !slices.ContainsFunc(f.found, func(v string) bool { return strings.Contains(v, c.want) }) {
				t.Fatalf("%d states, and none that %q: %q", f.states, c.want, f.found)
			}
			for _, v := range f.found[:min(len(f.found), 3)] {
				t.Log(v)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
