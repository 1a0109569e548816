package vmdk

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/format/formattest"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/limits"
)

// A hostile image is a good one with a lie in it.
type hostile struct {
	name string
	file crafted
	want error // nil: it reads
	says string
}

// readAll opens a disk and reads all of it in every way; ways that disagree are a panic.
func readAll(t testing.TB, b []byte, o Options) ([]byte, error) {
	img, err := Open(t.Context(), bytes.NewReader(b), int64(len(b)), o)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	disk := make([]byte, img.Size())
	_, err = io.ReadFull(io.NewSectionReader(img, 0, img.Size()), disk)
	for off := int64(0); off < img.Size(); {
		x, e := img.NextExtent(off, img.Size())
		if e != nil {
			if err == nil {
				t.Fatalf("reads, but NextExtent(%d): %v", off, e)
			}
			return nil, err
		}
		if err == nil && x.Kind.IsZero() && !zero(disk[off:x.End()]) {
			t.Fatalf("%v extent [%d,%d) has data", x.Kind, x.Start, x.End())
		}
		off = x.End()
	}
	m, ok := img.(*Image)
	if !ok {
		return disk, err
	}
	byRuns := make([]byte, img.Size())
	for r, e := range m.Runs(0, img.Size()) {
		if e == nil && r.Packed {
			e = m.Unpack(byRuns[r.Guest:][:r.Length], b[r.Stored:][:r.StoredLength])
		} else if e == nil {
			copy(byRuns[r.Guest:][:r.Length], b[r.Stored:])
		}
		if e != nil {
			if err == nil {
				t.Fatalf("reads, but runs: %v", e)
			}
			return nil, err
		}
	}
	if err == nil && !bytes.Equal(disk, byRuns) {
		t.Fatal("runs give another disk")
	}
	return disk, err
}

// learnAll lets a Learner put the disk together.
func learnAll(b []byte, o Options) ([]byte, error) {
	return formattest.LearnDisk(NewLearner(o), b)
}

func check(t *testing.T, how string, err error, h hostile) {
	t.Helper()
	switch {
	case h.want == nil && err != nil:
		t.Errorf("%s: %v", how, err)
	case h.want == nil:
	case !errors.Is(err, h.want) || !strings.Contains(err.Error(), h.says):
		t.Errorf("%s: %v; want %v that says %q", how, err, h.want, h.says)
	}
}

func TestHostile(t *testing.T) {
	for _, h := range testimage.VMDKHostiles() {
		t.Run(h.String(), func(t *testing.T) {
			file, _ := h.Make()
			defer formattest.Frugal(t)()
			o := Options{Limits: limits.Limits{VirtualSize: 1 << 46}}
			_, err := readAll(t, file, o)
			if problem := h.Check(err); problem != nil && !h.StreamOnly {
				t.Errorf("open: %v", problem)
			}
			_, err = learnAll(file, o)
			// What a Learner sees is the same, but it may see it in other words.
			if problem := h.Check(err); problem != nil && (h.StreamOnly || (err == nil) != (h.Want == nil)) {
				t.Errorf("learner: %v", problem)
			}
		})
	}
}
