package filesink

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/sinktest"
)

// place is a target named disk.img alone in dir.
func place(dir string, o Options) sinktest.Place {
	path := filepath.Join(dir, "disk.img")
	forced := o
	forced.Force = true
	return sinktest.Place{
		Target: New(path, o),
		Forced: New(path, forced),
		Read:   func() ([]byte, error) { return os.ReadFile(path) },
		Leftovers: func() ([]string, error) {
			es, err := os.ReadDir(dir)
			var names []string
			for _, e := range es {
				if e.Name() != "disk.img" {
					names = append(names, e.Name())
				}
			}
			return names, err
		},
		Allocated: func() (int64, error) { return allocatedBytes(path) },
		Occupy:    func(content []byte) error { return os.WriteFile(path, content, 0o600) },
	}
}

func TestConformance(t *testing.T) {
	for name, direct := range map[string]Direct{"auto": DirectAuto, "off": DirectOff} {
		t.Run(name, func(t *testing.T) {
			sinktest.Run(t, sinktest.Factory{
				New:    func(t *testing.T) sinktest.Place { return place(t.TempDir(), Options{Direct: direct}) },
				Sparse: sparseHere, Preallocate: sparseHere,
			})
		})
	}
}

func TestRefusedTargets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, path string
		want       error
		exit       int
	}{
		{"empty", "", errdef.ErrUsage, 2},
		{"folder", dir, errdef.ErrUsage, 2},
		{"like a folder", file + string(filepath.Separator), errdef.ErrUsage, 2},
		{"no folder", filepath.Join(dir, "no", "disk.img"), errdef.ErrUsage, 2},
		{"file", file, errdef.ErrExists, 19},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := New(tt.path, Options{}).Open(t.Context(), sink.Options{Size: 1})
			if err == nil {
				_ = s.Close()
			}
			if !errors.Is(err, tt.want) || errdef.ExitCode(err) != tt.exit || tt.path != "" && errdef.Hint(err) == "" {
				t.Errorf("Open: %v (exit %d, hint %q), want exit %d and a hint", err, errdef.ExitCode(err), errdef.Hint(err), tt.exit)
			}
		})
	}
	_, err := New(filepath.Join(dir, "new"), Options{}).Open(t.Context(), sink.Options{Size: 1, Mode: sink.Update})
	if !errors.Is(err, errdef.ErrUnsupported) || errdef.Hint(err) == "" {
		t.Errorf("mode update: %v, want ErrUnsupported with a hint", err)
	}
}

func TestLongName(t *testing.T) {
	p := place(t.TempDir(), Options{})
	path := filepath.Join(filepath.Dir(p.Target.String()), strings.Repeat("n", 255))
	s, err := New(path, Options{}).Open(t.Context(), sink.Options{Size: 3})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Commit(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Size() != 3 {
		t.Errorf("%v, %v", fi, err)
	}
}

// TestCommitAgain: an error of Commit that goes away can be overcome.
func TestCommitAgain(t *testing.T) {
	p := place(t.TempDir(), Options{})
	s, err := p.Target.Open(t.Context(), sink.Options{Size: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.WriteAt([]byte("disk"), 0); err != nil {
		t.Fatal(err)
	}
	if err := p.Occupy([]byte("other")); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), 4); !errors.Is(err, errdef.ErrExists) {
		t.Fatalf("Commit: %v, want ErrExists", err)
	}
	if err := os.Remove(p.Target.String()); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	if got, err := p.Read(); err != nil || !bytes.Equal(got, []byte("disk")) {
		t.Errorf("%q, %v", got, err)
	}
	if err := s.Commit(t.Context(), 4); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Commit after Commit: %v", err)
	}
}

func TestWrittenRuns(t *testing.T) {
	type run struct {
		Off, N int64
		Was    bool
	}
	const gi = 1 << 30
	for _, tt := range []struct {
		name   string
		size   int64
		marks  [][2]int64
		off, n int64
		want   []run
	}{
		{"nothing", gi, nil, 0, gi, []run{{0, gi, false}}},
		{"one block", gi, [][2]int64{{8192, 1}}, 0, gi, []run{{0, 8192, false}, {8192, 1, true}, {8193, gi - 8193, false}}},
		{"inside a block", gi, [][2]int64{{8192, 1}, {20000, 1}}, 8190, 10, []run{{8190, 2, false}, {8192, 8, true}}},
		{"words and leaves", 5 * gi, [][2]int64{{gi - 4096, gi + 8192}, {4*gi + 1, 1}}, 0, 5 * gi,
			[]run{{0, gi - 4096, false}, {gi - 4096, gi + 8192, true}, {2*gi + 4096, 2*gi - 4096, false}, {4 * gi, 2, true}, {4*gi + 2, gi - 2, false}}},
		{"large disk, coarse bits", 1 << 46, [][2]int64{{1 << 45, 1}}, 1<<45 - 1, 3, []run{{1<<45 - 1, 1, false}, {1 << 45, 1, true}, {1<<45 + 1, 1, false}}},
		{"size unknown", -1, [][2]int64{{0, 65537}}, 0, gi, []run{{0, 65537, true}, {65537, gi - 65537, false}}},
		{"size unknown, beyond the bits", -1, [][2]int64{{1 << 50, 10}}, 1<<40 - 5, 10, []run{{1<<40 - 5, 5, false}, {1 << 40, 5, true}}},
		{"at the end of what there is", 1<<63 - 1, [][2]int64{{1<<63 - 10, 9}}, 1<<63 - 20, 19, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var w written
			w.init(tt.size)
			for _, m := range tt.marks {
				w.mark(m[0], m[1])
			}
			var got []run
			at := tt.off
			_ = w.runs(tt.off, tt.n, func(off, n int64, was bool) error {
				if off != at || n <= 0 {
					t.Fatalf("run [%d,+%d) at %d", off, n, at)
				}
				at += n
				got = append(got, run{off, n, was})
				return nil
			})
			if at != tt.off+tt.n {
				t.Errorf("the runs end at %d", at)
			}
			if tt.want == nil {
				return
			}
			if len(got) != len(tt.want) {
				t.Fatalf("%+v, want %+v", got, tt.want)
			}
			for i := range got {
				if got[i] != tt.want[i] {
					t.Errorf("run %d: %+v, want %+v", i, got[i], tt.want[i])
				}
			}
		})
	}
}
