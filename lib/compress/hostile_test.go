package compress

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/internal/testimage"
)

// TestHostile unpacks what lies: to an error that says how, and never far past a bound, whether points are wanted or not.
func TestHostile(t *testing.T) {
	for _, h := range testimage.CodecHostiles() {
		t.Run(h.String(), func(t *testing.T) {
			if testing.Short() && h.Expansion > 0 {
				t.Skip("a bomb goes through one goroutine; once will do")
			}
			unpackHostile(t, h, nil)
		})
		t.Run(h.String()+", points", func(t *testing.T) {
			unpackHostile(t, h, func(Point) {})
		})
	}
}

func unpackHostile(t *testing.T, h testimage.Hostile, points func(Point)) {
	packed, want := h.Make()
	codec := detect(t, packed)
	start := time.Now()
	z, err := codec.NewReader(bytes.NewReader(packed), Options{Expansion: h.Expansion, OnPoint: points})
	var out bytes.Buffer
	var n int64
	if err == nil {
		defer z.Close()
		n, err = io.Copy(&out, io.LimitReader(z, 1<<20))
		if err == nil {
			var more int64
			more, err = io.Copy(io.Discard, z)
			n += more
		}
	}
	if problem := h.Check(err); problem != nil {
		t.Fatal(problem)
	}
	if err == nil && !bytes.Equal(out.Bytes(), want) {
		t.Errorf("%q", out.Bytes())
	}
	if bound := free + h.Expansion*int64(len(packed)); h.Expansion > 0 && n > bound+bound/100 {
		t.Errorf("%d bytes came out, the bound is %d", n, bound)
	}
	if d := time.Since(start); d > 5*time.Minute { // a hundredth of that on a machine that is not busy, without the race detector
		t.Errorf("it takes %v", d)
	}
}
