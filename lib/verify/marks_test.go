package verify

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestMarks(t *testing.T) {
	data := make([]byte, 5<<20+777)
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	for _, a := range algorithms {
		h := a.new()
		h.Write(data)
		want := Digest{a.name, string(h.Sum(nil))}
		v := NewReader(bytes.NewReader(data), want)
		if _, _, ok := v.Mark(10 << 20); ok {
			t.Error("a mark before anything was read")
		}
		if _, err := io.CopyN(io.Discard, v, 4<<20+5); err != nil {
			t.Fatal(err)
		}
		v.Sum() // so that the hash has caught up
		if _, _, ok := v.Mark(1<<20 - 1); ok {
			t.Error("a mark before the first")
		}
		off, state, ok := v.Mark(3<<20 + 5)
		if !ok || off != 3<<20 {
			t.Fatalf("%s: mark at %d, %v", a.name, off, ok)
		}
		for _, c := range []struct {
			data []byte
			err  error
		}{{data[off:], nil}, {data[off+1:], errdef.ErrDigestMismatch}} {
			w := NewReader(bytes.NewReader(c.data), want)
			if err := w.Resume(off, state); err != nil {
				t.Fatal(err)
			}
			if at, _, ok := w.Mark(off); !ok || at != off {
				t.Errorf("%s: %d, %v", a.name, at, ok)
			}
			if err := w.Verify(); !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", a.name, err, c.err)
			}
		}
		if err := NewReader(nil, want).Resume(off, state[1:]); !errors.Is(err, errdef.ErrCorrupt) {
			t.Errorf("%s: %v", a.name, err)
		}
	}
}
