package compress

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// TestResumeGzip begins inside of members, and finds there what is wrong with all of them.
func TestResumeGzip(t *testing.T) {
	noise := make([]byte, 5<<20)
	_, _ = rand.NewChaCha8([32]byte{3}).Read(noise)
	data := append(append(sample(8<<20), noise...), sample(5<<20)...)
	one := pack(t, data, "gzip", "-1")
	packed, want := bytes.Repeat(one, 2), bytes.Repeat(data, 2)
	var points []Point
	out, err := unpack(t, bytes.NewReader(packed), Gzip, Options{OnPoint: func(p Point) { points = append(points, p) }})
	if err != nil || !bytes.Equal(out, want) {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	inside := 0
	for _, p := range points {
		rest := packed[p.Stored:]
		if len(p.State) > 0 {
			inside++
			for what, at := range map[string]int{"sum": len(rest) - 8, "length": len(rest) - 4} {
				bad := bytes.Clone(rest)
				bad[at] ^= 1
				if _, err := resumed(bad, p); !errors.Is(err, errdef.ErrCorrupt) {
					t.Errorf("from %d, wrong %s: %v", p.Stored, what, err)
				}
			}
			wrong := p
			wrong.State = bytes.Clone(p.State)
			wrong.State[1] ^= 1
			if _, err := resumed(rest, wrong); !errors.Is(err, errdef.ErrCorrupt) {
				t.Errorf("from %d, wrong sum of what lies before: %v", p.Stored, err)
			}
		}
		out, err := resumed(rest, p)
		if err != nil || !bytes.Equal(out, want[p.Out:]) {
			t.Fatalf("from %d: %d of %d bytes, %v", p.Stored, len(out), int64(len(want))-p.Out, err)
		}
	}
	if least := 2 * (len(one) / (gzipStep + 1<<20)); inside < least {
		t.Errorf("%d points in two members of %d bytes, want %d", inside, len(one), least)
	}
	for _, state := range [][]byte{{1}, make([]byte, gzipStateHead+32<<10+1), append([]byte{8}, make([]byte, 100)...)} {
		if _, err := resumed(packed, Point{Stored: 1, State: state}); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("state of %d bytes: %v", len(state), err)
		}
	}
}

func resumed(b []byte, p Point) ([]byte, error) {
	r, err := Gzip.Resume(bytes.NewReader(b), p, Options{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}
