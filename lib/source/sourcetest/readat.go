package sourcetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cdictl/cdictl/lib/image"
)

// same compares got with want, which lies at off in the content, and tells the first difference.
func same(t *testing.T, what string, got, want []byte, off int64) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	n := 0
	for n < min(len(got), len(want)) && got[n] == want[n] {
		n++
	}
	t.Errorf("%s: %d bytes, want %d; the first difference is at offset %d", what, len(got), len(want), off+int64(n))
}

// checkReadAt reads length bytes at off and compares them with content, the io.ReaderAt contract included.
func checkReadAt(t *testing.T, ra io.ReaderAt, content []byte, off int64, length int) {
	t.Helper()
	const mark = 0xA5
	p := bytes.Repeat([]byte{mark}, length+1)
	n, err := ra.ReadAt(p[:length:length], off)
	what := fmt.Sprintf("ReadAt(%d bytes, %d) of %d", length, off, len(content))
	want := content[min(off, int64(len(content))):min(off+int64(length), int64(len(content)))]
	if n < 0 || n > length {
		t.Errorf("%s returns n=%d", what, n)
		return
	}
	same(t, what, p[:n], want, off)
	switch {
	case p[length] != mark:
		t.Errorf("%s wrote past its buffer", what)
	case length == 0 && err != nil:
		t.Errorf("%s: %v, want nil", what, err)
	case len(want) < length && !errors.Is(err, io.EOF):
		t.Errorf("%s: short with %v, want EOF", what, err)
	case len(want) == length && err != nil && err != io.EOF:
		t.Errorf("%s: %v", what, err)
	case err == io.EOF && off+int64(length) < int64(len(content)):
		t.Errorf("%s: EOF before the end", what)
	}
}

func readAt(t *testing.T, ra io.ReaderAt, content []byte) {
	size := int64(len(content))
	for _, boundary := range []int64{0, 512, 4096, 64 << 10, 1 << 20, 2 << 20, size / 2, size} {
		for _, d := range []int64{-513, -1, 0, 1, 4095} {
			off := boundary + d
			if off < 0 || off > size+4096 {
				continue
			}
			for _, length := range []int{0, 1, 511, 512, 4097, 70_001} {
				checkReadAt(t, ra, content, off, length)
			}
		}
	}
	checkReadAt(t, ra, content, 0, len(content))
	checkReadAt(t, ra, content, 0, len(content)+1)
	checkReadAt(t, ra, content, size+1<<40, 10)
	if n, err := ra.ReadAt(make([]byte, 1), -1); n != 0 || err == nil || err == io.EOF {
		t.Errorf("ReadAt at -1: %d, %v, want an error", n, err)
	}
}

// readAtConcurrently reads at random from several goroutines while another one reads the stream.
func readAtConcurrently(t *testing.T, b io.Reader, ra io.ReaderAt, content []byte) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 7))
			for range 25 {
				checkReadAt(t, ra, content, r.Int64N(int64(len(content))+1), r.IntN(100_000))
			}
		})
	}
	wg.Go(func() {
		got, err := io.ReadAll(sized{b, 33_333})
		if err != nil {
			t.Errorf("Read beside ReadAt: %v", err)
		}
		same(t, "Read beside ReadAt", got, content, 0)
	})
	wg.Wait()
}

func extents(t *testing.T, x image.Extenter, content []byte) {
	size := int64(len(content))
	check := func(off, limit int64) int64 {
		e, err := image.Next(x, off, limit)
		if err != nil {
			t.Errorf("NextExtent(%d, %d) of %d: %v", off, limit, size, err)
			return size
		}
		switch {
		case e.End() > size:
			t.Errorf("NextExtent(%d, %d): %+v passes the end at %d", off, limit, e, size)
			return size
		case e.Kind == image.Unchanged:
			t.Errorf("NextExtent(%d, %d): Unchanged in a whole image", off, limit)
		case e.Kind.IsZero() && len(bytes.Trim(content[e.Start:e.End()], "\x00")) > 0:
			t.Errorf("NextExtent(%d, %d): %+v has data in it", off, limit, e)
		}
		return e.End()
	}
	for _, step := range []int64{1 << 62, 1 << 20, 100_003} {
		for off := int64(0); off < size; {
			off = check(off, min(step, size-off))
		}
	}
	if size > 0 {
		check(0, 1<<62) // max may pass the end
		check(size-1, 1)
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(g), 11))
				for range 50 {
					off := r.Int64N(size)
					check(off, 1+r.Int64N(size-off))
				}
			})
		}
		wg.Wait()
	}
	for _, q := range [][2]int64{{size, 1}, {size + 1<<40, 1}, {-1, 1}} {
		if e, err := x.NextExtent(q[0], q[1]); err == nil {
			t.Errorf("NextExtent(%d, %d) of %d: %+v, want an error", q[0], q[1], size, e)
		}
	}
}
