package compress

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// FuzzPoints looks for points in whatever comes, which must change neither what comes out nor whether it is taken, and begins
// at one of them: with the state that was told of it, and with another.
func FuzzPoints(f *testing.F) {
	for _, packed := range small(f) {
		for n := 1; n <= 3; n++ {
			f.Add(bytes.Repeat(packed, n), uint8(n), []byte{})
		}
		f.Add(packed[:len(packed)/2], uint8(0), []byte{})
	}
	blocks := small(f)["xz blocks"]
	for _, p := range pointsOf(f, XZ, blocks) {
		f.Add(blocks, uint8(1), p.State)
	}
	f.Fuzz(func(t *testing.T, in []byte, which uint8, state []byte) {
		codec, ok := Detect(in[:min(len(in), PeekSize)])
		if !ok || !codec.Points() {
			return
		}
		plain, plainErr := fuzzRead(t, codec, bytes.NewReader(in))
		var points []Point
		z, err := codec.NewReader(bytes.NewReader(in), Options{Window: 1 << 20, OnPoint: func(p Point) { points = append(points, p) }})
		if err != nil {
			t.Fatal(err)
		}
		out, err := fuzzDrain(t, z)
		if (err == nil) != (plainErr == nil) || err == nil && !bytes.Equal(out, plain) {
			t.Fatalf("%d bytes, %v; with points %d, %v", len(plain), plainErr, len(out), err)
		}
		if len(points) == 0 {
			return
		}
		p := points[int(which)%len(points)]
		if p.Stored <= 0 || p.Stored > int64(len(in)) || p.Out < 0 {
			t.Fatalf("point %+v of %d bytes", p, len(in))
		}
		rest, restErr := fuzzResume(t, codec, in[p.Stored:], p)
		switch {
		case errors.Is(err, errMore) || errors.Is(restErr, errMore):
		case err == nil && (restErr != nil || p.Out > int64(len(out)) || !bytes.Equal(rest, out[p.Out:])):
			t.Fatalf("from %+v: %d bytes of %d, %v", p, len(rest), len(out), restErr)
		case err != nil && restErr == nil && int64(len(out)) > p.Out: // else what is wrong lies before the point
			t.Fatalf("from %+v: taken, and as a whole: %v", p, err)
		}
		// What a journal says of a point may be anything.
		_, _ = fuzzResume(t, codec, in[p.Stored:], Point{p.Stored, p.Out, state})
	})
}

func fuzzResume(t *testing.T, c Codec, in []byte, p Point) ([]byte, error) {
	z, err := c.Resume(bytes.NewReader(in), p, Options{Window: 1 << 20, OnPoint: func(Point) {}})
	if err != nil {
		if !errors.Is(err, errdef.ErrUsage) {
			t.Fatalf("no sentinel: %v", err)
		}
		return nil, err
	}
	return fuzzDrain(t, z)
}

// fuzzDrain reads z, up to a limit, and closes it.
func fuzzDrain(t *testing.T, z io.ReadCloser) ([]byte, error) {
	defer z.Close()
	var out bytes.Buffer
	n, err := io.CopyN(&out, z, most)
	switch {
	case n == most:
		return out.Bytes(), errMore
	case err == io.EOF:
		return out.Bytes(), nil
	case !errors.Is(err, errdef.ErrCorrupt) && !errors.Is(err, errdef.ErrUnsupported) && !errors.Is(err, errdef.ErrLimit):
		t.Fatalf("no sentinel: %v", err)
	}
	return out.Bytes(), err
}

func pointsOf(t testing.TB, c Codec, packed []byte) (points []Point) {
	z, err := c.NewReader(bytes.NewReader(packed), Options{OnPoint: func(p Point) { points = append(points, p) }})
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if _, err := io.Copy(io.Discard, z); err != nil {
		t.Fatal(err)
	}
	return points
}
