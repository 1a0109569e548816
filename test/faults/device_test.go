//go:build linux

package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

const (
	deviceBytes = 136 << 20
	diskBytes   = 112 << 20
	smallBytes  = 48 << 20 // of the disk that is to be unpacked, which takes longest
)

// deviceWays are the routes to a device that can be gone on with.
var deviceWays = []killed{
	{"qcow2, direct", nil, false, func(_ *testing.T, _, qcow2, to string) error { return os.Link(qcow2, to) }, true},
	{"raw, hashed", nil, true, func(_ *testing.T, raw, _, to string) error { return os.Link(raw, to) }, true},
	{"raw.xz, stream", nil, false, func(t *testing.T, raw, _, to string) error { return blocksOfXZ(t, raw, to, "--block-size=2MiB") }, false},
}

// deviceMoments are where a device's import is killed, in percent of the stored bytes. The last lies behind the last write of data
// and before anything is given back of what was held back: at the first hole that Commit makes.
var deviceMoments = []int{10, 50, 99, 100}

// TestDevice kills the real program at work on a block device that held something else, and runs it again. Nothing is
// found on the device in between, and in the end it is qemu-img's disk, then zeros.
func TestDevice(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	b := newBench(t)
	table := &report.Table{Title: "kill -9 on a block device", Header: []string{"image", "at", "device held", "found", "went on", "stored MiB", "fetched MiB", "verdict"}}
	b.disk(t, diskBytes, 3072)
	for _, w := range deviceWays {
		if !w.bound { // what is fetched again is less than what may be, however it goes on
			b.disk(t, smallBytes, 512)
		}
		served := t.TempDir()
		stored := filepath.Join(served, "disk")
		must(t, w.make(t, b.raw, b.qcow2, stored))
		for i, percent := range deviceMoments {
			t.Run(fmt.Sprintf("%s, %d%%", w.name, percent), func(t *testing.T) {
				held := b.soil(t, i%2 == 0)
				k := &deviceKill{bench: b, t: t, stored: stored, percent: percent}
				if !w.bound {
					k.rest = firstRest // else any record will do
				}
				if w.sum {
					k.sum = "sha256:" + digest(t, stored)
				}
				err := k.run()
				if err != nil {
					t.Error(err)
				}
				table.Row(w.name, fmt.Sprintf("%d%%", percent), held, k.found, fmt.Sprint(k.resumed), mib(k.size), mib(k.fetched), verdict(err))
				table.Count(w.name, err)
			})
		}
	}
	table.Print(os.Stdout)
}

// bench has a device and the disk that is to be on it.
type bench struct {
	bin, dir, dev, raw, qcow2 string
	state                     string // folder of records
	old                       string // a disk with a GPT and an ext4
	want                      string // digest of the device at the end
}

func newBench(t *testing.T) *bench {
	proc.Need(t, "losetup", "qemu-img", "xz", "wipefs", "blkid", "mkfs.ext4", "sfdisk", "strace")
	if os.Geteuid() != 0 {
		proc.Lacking(t, "loop devices are root's")
	}
	dir := t.TempDir()
	b := &bench{bin: proc.TestBinary(t), dir: dir, old: filepath.Join(dir, "old")}
	must(t, os.WriteFile(b.old, nil, 0o600))
	must(t, os.Truncate(b.old, deviceBytes))
	must(t, partition(t, b.old))
	tool(t, "mkfs.ext4", "-q", "-F", "-E", fmt.Sprintf("offset=%d", 1<<20), b.old, "64M")

	// In memory, where there is a filesystem for that: it is the program that is tested, not a disk.
	memory, err := os.MkdirTemp("/dev/shm", "cdictl-device")
	if err != nil {
		memory = dir
	} else {
		t.Cleanup(func() { _ = os.RemoveAll(memory) })
	}
	backing := filepath.Join(memory, "device")
	must(t, os.WriteFile(backing, nil, 0o600))
	must(t, os.Truncate(backing, deviceBytes))
	b.state = filepath.Join(memory, "state")
	b.dev = strings.TrimSpace(tool(t, "losetup", "--find", "--show", backing))
	t.Cleanup(func() {
		if _, err := proc.Tool(bare(t), "losetup", "--detach", b.dev); err != nil {
			t.Error(err)
		}
	})
	return b
}

// disk makes the disk that is to be on the device, with so much noise in each page: that takes long to pack and unpack.
func (b *bench) disk(t *testing.T, size int64, noise int) {
	t.Helper()
	name := filepath.Join(b.dir, fmt.Sprint("disk", size>>20))
	b.raw, b.qcow2 = name+".raw", name+".qcow2"
	must(t, sparse(b.raw, size, noise))
	must(t, partition(t, b.raw))
	tool(t, "qemu-img", "convert", "-O", "qcow2", "-f", "raw", b.raw, b.qcow2)
	oracle := name + ".oracle"
	tool(t, "qemu-img", "convert", "-O", "raw", b.qcow2, oracle)
	must(t, os.Truncate(oracle, deviceBytes))
	b.want = digest(t, oracle)
	must(t, os.Remove(oracle))
}

// sparse makes a disk whose holes are all of 64 KiB: such are zeroed by writing, so that the first hole that is made in the
// device is Commit's.
func sparse(path string, size int64, noise int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	source, block := rand.NewChaCha8([32]byte{11}), make([]byte, 1<<20)
	text := bytes.Repeat([]byte("cdictl, "), 512)
	for off := int64(0); off < size && err == nil; off += int64(len(block)) {
		for page := range slices.Chunk(block, 4096) {
			_, _ = source.Read(page[:noise])
			copy(page[noise:], text)
		}
		if off > 0 && off < size-(2<<20) {
			clear(block[512<<10:][:64<<10])
		}
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close())
}

// partition writes a GPT with one partition from the first MiB on.
func partition(t *testing.T, path string) error {
	r, err := proc.Run(t.Context(), proc.Command{Args: []string{"sfdisk", "--quiet", path}, Stdin: strings.NewReader("label: gpt\nstart=2048\n")})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("sfdisk: %s", r.Stderr)
	}
	return err
}

// soil puts old content on the device: a GPT with an ext4, or 0xA5 everywhere.
func (b *bench) soil(t *testing.T, gpt bool) string {
	t.Helper()
	f, err := os.OpenFile(b.dev, os.O_WRONLY, 0)
	must(t, err)
	defer f.Close()
	in, what := io.Reader(nil), "0xA5"
	if gpt {
		old, err := os.Open(b.old)
		must(t, err)
		defer old.Close()
		in, what = old, "GPT, ext4"
	} else {
		in = io.LimitReader(repeat(0xa5), deviceBytes)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, struct{ io.Reader }{in}, make([]byte, 1<<20))
	must(t, errors.Join(err, f.Sync()))
	if gpt {
		if out := tool(t, "wipefs", "--no-act", b.dev); !strings.Contains(out, "gpt") {
			t.Fatalf("the old table is not found: %s", out)
		}
	}
	return what
}

type repeat byte

func (r repeat) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r)
	}
	return len(p), nil
}

// nothing is nil if the tools that people use find nothing on the device.
func (b *bench) nothing(t *testing.T) error {
	if out := tool(t, "wipefs", "--no-act", b.dev); out != "" {
		return fmt.Errorf("wipefs finds %s", out)
	}
	r, err := proc.Run(t.Context(), proc.Command{Args: []string{"blkid", "--probe", b.dev}})
	if err == nil && r.Exit != 2 {
		err = fmt.Errorf("blkid: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	return err
}

// deviceKill is one import that is killed once.
type deviceKill struct {
	*bench
	t           *testing.T
	stored, sum string
	percent     int
	rest        time.Duration // how long no record came when it is killed: then all that had come is noted

	size, fetched int64
	found         string
	resumed       bool
}

func (k *deviceKill) command(url string) []string {
	args := []string{k.bin, "import", url + "/disk", k.dev, "--force", "--state-dir", k.state, "-o", "json", "--progress", "none"}
	if k.sum != "" {
		args = append(args, "--checksum", k.sum)
	}
	return args
}

// firstRest is how long one waits at first for the last record; one comes 2.5 s after a write at the latest.
const firstRest = 5 * time.Second

var errNotOn = errors.New("it did not go on")

// run kills and goes on. A machine that stood still may have made the only record before there was anything to go on from:
// then it is given more time.
func (k *deviceKill) run() error {
	for {
		err := k.once()
		if !errors.Is(err, errNotOn) || k.rest >= 4*firstRest {
			return err
		}
		k.rest = max(2*k.rest, firstRest)
	}
}

func (k *deviceKill) once() error {
	st, err := os.Stat(k.stored)
	if err != nil {
		return err
	}
	k.size = st.Size()
	g := &gate{handler: web.Ranges(filepath.Dir(k.stored)), left: k.size * int64(k.percent) / 100, opened: make(chan struct{})}
	if k.percent == 100 {
		g.open()
	}
	srv := web.Start(k.t, g)
	args := k.command(srv.URL)
	if err := k.kill(args, g); err != nil {
		return err
	}
	k.found = "nothing"
	if err := k.nothing(k.t); err != nil {
		k.found = "something"
		return err
	}
	g.open()
	r, err := proc.Run(k.t.Context(), proc.Command{Args: args})
	k.fetched = srv.Sent.Load()
	var res struct {
		Resumed   bool
		BytesKept int64
	}
	if err == nil && r.Exit == 0 {
		err = json.Unmarshal([]byte(r.Stdout), &res)
	}
	k.resumed = res.Resumed
	left, _ := os.ReadDir(k.state)
	switch bound := k.size*11/10 + 64<<20; {
	case err != nil:
		return err
	case r.Exit != 0 || strings.Contains(r.Stderr, "note: "):
		return fmt.Errorf("the second run: exit %d: %s", r.Exit, r.Stderr)
	case k.percent >= 50 && (!res.Resumed || res.BytesKept == 0):
		return fmt.Errorf("%w: %s", errNotOn, r.Stdout)
	case k.fetched > bound:
		return fmt.Errorf("%d bytes were fetched, %d are allowed", k.fetched, bound)
	case digest(k.t, k.dev) != k.want:
		return errors.New("the device is not qemu-img's disk and zeros")
	case len(left) > 0:
		return fmt.Errorf("left in the state folder: %v", left)
	}
	return nil
}

// kill ends a first run at the moment.
func (k *deviceKill) kill(args []string, g *gate) error {
	if k.percent == 100 {
		args = append([]string{"strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=fallocate", "-e", "inject=fallocate:signal=SIGKILL"}, args...)
	}
	p, err := proc.Start(k.t.Context(), proc.Command{Args: args})
	if err != nil {
		return err
	}
	if k.percent < 100 {
		k.until(p, func() bool { return g.shut() && (k.percent < 50 || recorded(k.state, k.rest)) })
		must(k.t, p.Signal(syscall.SIGKILL))
	}
	r, err := p.Wait()
	if err == nil && r.Exit != 128+int(syscall.SIGKILL) {
		err = fmt.Errorf("it was not killed: exit %d: %s", r.Exit, r.Stderr)
	}
	return err
}

// recorded says whether there is a record, and has not changed for a while.
func recorded(state string, rest time.Duration) bool {
	found, _ := filepath.Glob(filepath.Join(state, "*.record"))
	if len(found) == 0 {
		return false
	}
	st, err := os.Stat(found[0])
	return err == nil && time.Since(st.ModTime()) >= rest
}

func (k *deviceKill) until(p *proc.Process, due func() bool) {
	for end := time.Now().Add(patience); !due(); time.Sleep(time.Millisecond) {
		select {
		case <-p.Done():
			return
		default:
		}
		if time.Now().After(end) {
			k.t.Errorf("the moment did not come in %v", patience)
			return
		}
	}
}

// A gate lets so many bytes pass, and no more until it is opened.
type gate struct {
	handler http.Handler
	mu      sync.Mutex
	left    int64
	opened  chan struct{}
	once    sync.Once
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

func (g *gate) shut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.left == 0
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.handler.ServeHTTP(&gated{w, r, g}, r)
}

type gated struct {
	http.ResponseWriter
	r *http.Request
	g *gate
}

func (w *gated) Write(p []byte) (n int, err error) {
	for n < len(p) {
		k := w.g.take(int64(len(p) - n))
		if k == 0 {
			_ = http.NewResponseController(w.ResponseWriter).Flush() // what has passed is to arrive
			select {
			case <-w.g.opened:
			case <-w.r.Context().Done():
				return n, w.r.Context().Err()
			}
			continue
		}
		m, err := w.ResponseWriter.Write(p[n : n+int(k)])
		if n += m; err != nil {
			return n, err
		}
	}
	return n, nil
}

func (g *gate) take(n int64) int64 {
	select {
	case <-g.opened:
		return n
	default:
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	n = min(n, g.left)
	g.left -= n
	return n
}

// TestDeviceOnce: a second writer of a device is refused while the first one is at work, which does not notice; what a killed
// one left is dropped when that is asked for, and by one whose disk is another.
func TestDeviceOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	b := newBench(t)
	b.disk(t, diskBytes, 3072)
	b.soil(t, true)
	served := t.TempDir()
	k := &deviceKill{bench: b, t: t, stored: filepath.Join(served, "disk"), percent: 60}
	must(t, os.Link(b.qcow2, k.stored))
	st, err := os.Stat(k.stored)
	must(t, err)
	begin := func() (*proc.Process, *gate, []string) {
		g := &gate{handler: web.Ranges(served), left: st.Size() * 6 / 10, opened: make(chan struct{})}
		args := k.command(web.Start(t, g).URL)
		p, err := proc.Start(t.Context(), proc.Command{Args: args})
		must(t, err)
		k.until(p, func() bool { return g.shut() && recorded(b.state, 0) })
		return p, g, args
	}
	run := func(args ...string) proc.Result {
		r, err := proc.Run(t.Context(), proc.Command{Args: args})
		must(t, err)
		return r
	}

	first, g, _ := begin()
	args := k.command(web.Start(t, web.Ranges(served)).URL)
	for _, more := range [][]string{nil, {"--discard"}} {
		if r := run(append(args, more...)...); r.Exit != 18 || !strings.Contains(r.Stderr, "another process has the device") {
			t.Errorf("a second writer %v: exit %d: %s", more, r.Exit, r.Stderr)
		}
	}
	g.open()
	if r, err := first.Wait(); err != nil || r.Exit != 0 || digest(t, b.dev) != b.want {
		t.Errorf("the first writer: %v, exit %d: %s", err, r.Exit, r.Stderr)
	}

	stop := func() (*gate, []string) {
		p, g, args := begin()
		sent := time.Now()
		must(t, p.Signal(os.Interrupt))
		r, err := p.Wait()
		told := strings.Contains(r.Stderr, "run again to continue, --discard to drop")
		if err != nil || r.Exit != 130 || !told && time.Since(sent) < gaveUp {
			t.Fatalf("%v, exit %d: %s", err, r.Exit, r.Stderr)
		}
		must(t, b.nothing(t))
		return g, args
	}
	_, args = stop()
	if r := run(append(args, "--discard")...); r.Exit != 0 || !strings.Contains(r.Stdout, `"discarded": true`) {
		t.Errorf("--discard: exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if left, _ := os.ReadDir(b.state); len(left) > 0 {
		t.Errorf("--discard left %v", left)
	}
	head := make([]byte, 1<<20)
	f, err := os.Open(b.dev)
	must(t, err)
	_, err = io.ReadFull(f, head)
	must(t, errors.Join(err, f.Close()))
	if len(bytes.Trim(head, "\x00")) > 0 {
		t.Error("--discard left something in the first MiB of the device")
	}

	// Somebody makes a filesystem on it, which leaves the place of the token alone: that is not written over unasked, and
	// nobody goes on there.
	g, args = stop()
	g.open()
	tool(t, "mkfs.ext4", "-q", "-F", "-E", "nodiscard", b.dev)
	r := run(args...)
	if r.Exit != 0 || !strings.Contains(r.Stderr, "beginning from the start") || digest(t, b.dev) != b.want {
		t.Errorf("after a mkfs: exit %d: %s", r.Exit, r.Stderr)
	}
}
