package registrysource

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/journal"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source"
)

const resumeSize = 12 << 20

// stopped imports s until half of the disk is there and can be gone on with.
func stopped(t *testing.T, s source.Source, dir string) importer.Request {
	t.Helper()
	r := importer.Request{Source: s, Target: filesink.New(filepath.Join(dir, "disk"), filesink.Options{}), Resume: true}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := r
	first.Tracker, first.Grace = new(progress.Tracker), time.Hour
	noted := func() bool {
		b, err := os.ReadFile(filepath.Join(dir, ".disk.cdictl.journal"))
		if err != nil {
			return false
		}
		rec, err := journal.Decode(b)
		return err == nil && rec.Point != nil && rec.Done.Bytes() >= resumeSize/4
	}
	over := make(chan struct{})
	go func() {
		for first.Tracker.Snapshot().Virtual < resumeSize/2 || !noted() {
			select {
			case <-over:
				return
			case <-time.After(time.Millisecond):
			}
		}
		cancel()
	}()
	_, err := importer.Import(ctx, first)
	close(over)
	var in *importer.Interrupted
	if !errors.As(err, &in) {
		t.Fatalf("%v, want it interrupted", err)
	}
	return r
}

// resumable are layers with a disk whose content is want, by how they are packed.
func resumable(t *testing.T, want []byte) map[string][]byte {
	t.Helper()
	upper := file{name: "etc/motd", content: strings.Repeat("m", 3000)}
	all := map[string][]byte{"tar": want, "tar+gzip": want, "raw.gz in a tar": gzipped(t, want)}
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "raw"), want)
	if _, err := testimage.Run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", filepath.Join(dir, "raw"), filepath.Join(dir, "q")); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "q"))
	if err != nil {
		t.Fatal(err)
	}
	all["qcow2, tar+gzip"] = b
	for name, b := range all {
		l := makeTar(t, upper, d("disk.img", string(b)), file{name: "etc/last", content: "x"})
		if strings.HasSuffix(name, "gzip") {
			l = gzipped(t, l)
		}
		all[name] = l
	}
	return all
}

// TestGoesOn: an import that was interrupted goes on in the layer, and still proves all of it.
func TestGoesOn(t *testing.T) {
	want := randomBytes(resumeSize)
	store := &front{next: behind(t)}
	base := testserver.Start(t, store)
	for name, l := range resumable(t, want) {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(name, "qcow2") {
				t.Skip("it waits for records")
			}
			push(t, base, "resume/disk", "v1", makeImage(here, nil, makeTar(t, file{name: "lower", content: other}), l, makeTar(t, file{name: "upper", content: other})))
			f, g := &testserver.Front{}, testserver.NewGate(store, int64(len(l))*3/4, int64(len(l)))
			s := newSource(t, nameOf(f.Start(t, testserver.Start(t, g)), "resume/disk:v1"), Options{HTTP: quick})
			dir := t.TempDir()
			r := stopped(t, s, dir)
			g.Reopen()
			before := f.Sent()
			x, err := importer.Explain(t.Context(), r)
			if err != nil || !strings.Contains(x.Left, "to go on with") {
				t.Errorf("left %q, %v", x.Left, err)
			}
			explained := f.Sent()
			r.OnNotice = func(text string) { t.Error(text) }
			// Another process knows nothing but the name.
			r.Source = newSource(t, s.String(), Options{HTTP: quick})
			res, err := importer.Import(t.Context(), r)
			if err != nil || !res.Resumed || res.Kept < resumeSize/4 {
				t.Fatalf("%+v, %v", res, err)
			}
			got, err := os.ReadFile(filepath.Join(dir, "disk"))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("another disk, %v", err)
			}
			t.Logf("layer of %d: %d fetched before, %d after, %d of the disk kept", len(l), before, f.Sent()-explained, res.Kept)
			// How much less depends on how far the record was behind when the interruption came.
			if n := f.Sent() - explained; n >= int64(len(l))*95/100 {
				t.Errorf("%d bytes were fetched after the interruption", n)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// TestGoesOnLies: what is read behind an interruption is proven with what was read before it.
func TestGoesOnLies(t *testing.T) {
	store := &front{next: behind(t)}
	base := testserver.Start(t, store)
	l := makeTar(t, d("disk.img", string(randomBytes(resumeSize))))
	push(t, base, "lies/disk", "v1", makeImage(here, nil, l))
	var bad atomic.Bool
	f := &testserver.Front{After: func(_ int, r *http.Response) {
		if cr := r.Header.Get("Content-Range"); bad.Load() && cr != "" && !strings.HasPrefix(cr, "bytes 0-") {
			r.Body = spoiled{r.Body}
		}
	}}
	g := testserver.NewGate(store, int64(len(l))*3/4, int64(len(l)))
	s := newSource(t, nameOf(f.Start(t, testserver.Start(t, g)), "lies/disk:v1"), Options{HTTP: quick})
	dir := t.TempDir()
	r := stopped(t, s, dir)
	g.Reopen()
	bad.Store(true)
	_, err := importer.Import(t.Context(), r)
	wantError(t, err, errdef.ErrDigestMismatch, "layer "+sum256(l).String())
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestMark begins at every place that is noted, for layers of every codec.
func TestMark(t *testing.T) {
	want := randomBytes(5 << 20)
	l := makeTar(t, file{name: "x", content: "y"}, d("disk.img", string(want)), file{name: "z", content: "y"})
	for name, packed := range map[string][]byte{"tar": l, "gzip": gzipped(t, l), "zstd": append(zstded(t, l[:3<<20]), zstded(t, l[3<<20:])...)} {
		t.Run(name, func(t *testing.T) {
			m := makeImage(here, nil, packed)
			for _, s := range []*Source{newSource(t, "oci:"+m.layout(t, ""), Options{}), newSource(t, "oci-archive:"+archiveOf(t, m.files("")), Options{})} {
				b, err := s.Open(t.Context(), source.Env{})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				k := b.(source.Marker)
				if where, ok := k.Marks(); !ok || where == "" {
					t.Fatalf("%q, %v", where, ok)
				}
				if _, ok := k.Mark(0); ok {
					t.Error("a place before all")
				}
				var states [][]byte
				for off := 0; off < len(want); off += 1 << 19 {
					got := make([]byte, 1<<19)
					if _, err := io.ReadFull(b, got); err != nil || !bytes.Equal(got, want[off:off+1<<19]) {
						t.Fatalf("other bytes at %d, %v", off, err)
					}
					if state, ok := k.Mark(int64(off) + 1<<19); ok {
						states = append(states, state)
						again(t, s, state, off+1<<19, want)
					}
				}
				if len(states) == 0 {
					t.Error("no place was noted")
				}
				for _, bad := range []string{"", "{}x", `{"stored":-1}`, `{"stored":1,"hashed":2}`, `{"stored":9999999999}`, `{"out":9999999999}`, `{"new":1}`, `{"hash":"AAAA"}`} {
					if err := k.StartWith([]byte(bad), 1); err == nil {
						t.Errorf("state %q was taken", bad)
					}
				}
			}
		})
	}
}

// again opens s once more, and reads it from off on, twice: an interruption may follow another.
func again(t *testing.T, s *Source, state []byte, off int, want []byte) {
	t.Helper()
	b, err := s.Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if _, err := b.Read(make([]byte, 1000)); err != nil { // as who looks at the head does
		t.Fatal(err)
	}
	k := b.(source.Marker)
	for range 2 {
		if err := k.StartWith(state, int64(off)); err != nil {
			t.Fatal(err)
		}
		next, ok := k.Mark(int64(off))
		if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want[off:]) || !ok {
			t.Fatalf("from %d: %d bytes, %v, %v", off, len(got), err, ok)
		}
		state = next
	}
}
