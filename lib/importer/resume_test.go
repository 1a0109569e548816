package importer_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
)

// held serves content, of which three quarters, and the end, which is looked at first, come before the gate is opened.
func held(t *testing.T, content []byte) (source.Source, *testserver.Gate) {
	g := testserver.NewGate(testserver.NewFile(content, testserver.Options{}), int64(len(content))*3/4, int64(len(content))-4096)
	return served(t, g), g
}

// halfway is an import of s to dir/disk that is cancelled when half of it is there; it leaves a part. What is there is all
// noted, however long that takes.
func halfway(t *testing.T, s source.Source, dir string, rate int64, change func(*importer.Request)) importer.Request {
	t.Helper()
	r := importer.Request{Source: s, Target: filesink.New(filepath.Join(dir, "disk"), filesink.Options{}), Resume: true}
	if change != nil {
		change(&r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := r
	first.Tracker, first.Limiter, first.Grace = new(progress.Tracker), limits.NewRate(rate), time.Hour
	go func() {
		for first.Tracker.Snapshot().Virtual < halfSize/2 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := importer.Import(ctx, first)
	var in *importer.Interrupted
	if !errors.Is(err, context.Canceled) || !errors.As(err, &in) {
		t.Fatalf("%v, want it interrupted", err)
	}
	onlyFiles(t, dir, ".disk.cdictl.journal", ".disk.cdictl.part")
	return r
}

const halfSize = 24 << 20

func large() []byte {
	b := make([]byte, halfSize)
	for i := 0; i < len(b); i += 512 {
		b[i], b[i+1], b[i+2] = byte(i>>9), byte(i>>17), 1
	}
	return b
}

// TestInterrupted: the same request goes on, with its checksum, and leaves nothing but the disk.
func TestInterrupted(t *testing.T) {
	content := large()
	for name, change := range map[string]func(*importer.Request){
		"plain":    nil,
		"checksum": func(r *importer.Request) { r.Checksum = sum(t, content) },
		"grown":    func(r *importer.Request) { r.Size = halfSize + 1<<20 },
	} {
		t.Run(name, func(t *testing.T) {
			s, g := held(t, content)
			dir := t.TempDir()
			r := halfway(t, s, dir, 0, change)
			g.Reopen()
			x, err := importer.Explain(t.Context(), r)
			if err != nil || !strings.Contains(x.Left, "to go on with") {
				t.Errorf("%+v, %v", x, err)
			}
			r.OnNotice = func(text string) { t.Error(text) }
			res, err := importer.Import(t.Context(), r)
			if err != nil || !res.Resumed || res.Kept < halfSize/4 || res.Fetched > halfSize*3/4 {
				t.Fatalf("%+v, %v", res, err)
			}
			onlyFiles(t, dir, "disk")
			if got := read(t, filepath.Join(dir, "disk")); !bytes.Equal(got[:halfSize], content) {
				t.Error("another disk")
			}
		})
	}
}

// TestStale: what is of another import, or damaged, is never used, and that is said.
func TestStale(t *testing.T) {
	content := large()
	other := bytes.Clone(content)
	other[5] = 7
	journalOf := func(dir string) string { return filepath.Join(dir, ".disk.cdictl.journal") }
	for _, c := range []struct {
		name, says string
		spoil      func(t *testing.T, dir string, r *importer.Request)
	}{
		{"another source", "another source", func(t *testing.T, _ string, r *importer.Request) {
			r.Source, _ = onServer(t, content, testserver.Options{})
		}},
		{"other options", "other options", func(_ *testing.T, _ string, r *importer.Request) { r.Size = halfSize * 2 }},
		{"a checksum", "another checksum", func(t *testing.T, _ string, r *importer.Request) { r.Checksum = sum(t, content) }},
		{"damaged", "damaged", func(t *testing.T, dir string, _ *importer.Request) {
			b, err := os.ReadFile(journalOf(dir))
			if err == nil {
				b[len(b)-1] ^= 1
				err = os.WriteFile(journalOf(dir), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
		{"torn", "no record", func(t *testing.T, dir string, _ *importer.Request) {
			if err := os.Truncate(journalOf(dir), 20); err != nil {
				t.Fatal(err)
			}
		}},
		{"no part", "part is gone", func(t *testing.T, dir string, _ *importer.Request) {
			if err := os.Remove(filepath.Join(dir, ".disk.cdictl.part")); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, g := held(t, content)
			dir := t.TempDir()
			r := halfway(t, s, dir, 0, nil)
			g.Reopen()
			c.spoil(t, dir, &r)
			said := ""
			r.OnNotice = func(text string) { said += text }
			res, err := importer.Import(t.Context(), r)
			if err != nil || res.Resumed || !strings.Contains(said, c.says) {
				t.Fatalf("%+v, %v, said %q", res, err, said)
			}
			onlyFiles(t, dir, "disk")
		})
	}
}

// TestChangedSince: a source that has another validator is read anew.
func TestChangedSince(t *testing.T) {
	content := large()
	dir, path := t.TempDir(), filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	r := halfway(t, filesource.New(path), dir, halfSize/6, nil) // so slow that it is not done when it is cancelled
	content[3] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	said := ""
	r.OnNotice = func(text string) { said += text }
	if res, err := importer.Import(t.Context(), r); err != nil || res.Resumed || !strings.Contains(said, "has changed") {
		t.Fatalf("%+v, %v, said %q", res, err, said)
	}
	if got := read(t, filepath.Join(dir, "disk")); !bytes.Equal(got, content) {
		t.Error("another disk")
	}
}

// TestForGood: an error that stays leaves nothing, also of what an earlier run of the same source left.
func TestForGood(t *testing.T) {
	content := large()
	wrong := sum(t, []byte("something else"))
	for name, c := range map[string]struct {
		first, then func(*importer.Request)
		want        error
	}{
		"wrong checksum": {func(r *importer.Request) { r.Checksum = wrong }, func(*importer.Request) {}, errdef.ErrDigestMismatch},
		"too small":      {nil, func(r *importer.Request) { r.Size = 4096 }, errdef.ErrTooSmall},
		"limit":          {nil, func(r *importer.Request) { r.Limits.VirtualSize = 4096 }, errdef.ErrLimit},
	} {
		t.Run(name, func(t *testing.T) {
			s, g := held(t, content)
			dir := t.TempDir()
			r := halfway(t, s, dir, 0, c.first)
			g.Reopen()
			c.then(&r)
			if _, err := importer.Import(t.Context(), r); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			onlyFiles(t, dir)
		})
	}
}

// TestNotAsked: without Resume an interrupted import leaves nothing, as it always was.
func TestNotAsked(t *testing.T) {
	s, _ := held(t, large())
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	tracker := new(progress.Tracker)
	go func() {
		for tracker.Snapshot().Virtual < halfSize/2 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	_, err := importer.Import(ctx, importer.Request{Source: s, Target: filesink.New(filepath.Join(dir, "disk"), filesink.Options{}),
		Options: importer.Options{Tracker: tracker}})
	if in := (*importer.Interrupted)(nil); !errors.Is(err, context.Canceled) || errors.As(err, &in) {
		t.Error(err)
	}
	onlyFiles(t, dir)
}
