package blanksource_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/image"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/blanksource"
)

func TestBlank(t *testing.T) {
	for _, size := range []int64{0, 1, 4097, 1 << 50} {
		s := blanksource.New(size)
		b, err := s.Open(t.Context(), source.Env{})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if i := b.Info(); i.Size != size || !i.Strong || !i.Local || i.Identity == "" {
			t.Errorf("%+v", i)
		}
		ra, x := b.(io.ReaderAt), b.(image.Extenter)
		p := []byte{1, 2, 3}
		n, err := ra.ReadAt(p, max(size-2, 0))
		if want := int(min(size, 2)); n != want || !errors.Is(err, io.EOF) {
			t.Errorf("size %d: read %d, %v", size, n, err)
		}
		for _, c := range p[:n] {
			if c != 0 {
				t.Errorf("size %d: read %v", size, p[:n])
			}
		}
		if n, err := ra.ReadAt(nil, size+5); n != 0 || err != nil {
			t.Errorf("nothing: %d, %v", n, err)
		}
		if size > 0 {
			if e, err := image.Next(x, size/2, size-size/2); err != nil || e.Kind != image.Hole || e.Length != size-size/2 {
				t.Errorf("size %d: %+v, %v", size, e, err)
			}
		}
		if _, err := x.NextExtent(size, 1); err == nil {
			t.Errorf("size %d: an extent behind the end", size)
		}
	}
	b, err := blanksource.New(5000).Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(b); err != nil || len(all) != 5000 {
		t.Errorf("%d bytes, %v", len(all), err)
	}
}

func TestBlankEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b, err := blanksource.New(10).Open(ctx, source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := b.(io.ReaderAt).ReadAt(make([]byte, 1), 0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := blanksource.New(10).Open(ctx, source.Env{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := blanksource.New(-1).Open(t.Context(), source.Env{}); !errors.Is(err, errdef.ErrUsage) {
		t.Error(err)
	}
}
