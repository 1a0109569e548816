package transfer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/progress"
)

func checkDisk(t *testing.T, s *memSink, want []byte) {
	t.Helper()
	if !bytes.Equal(s.data, want) {
		for i := range want {
			if s.data[i] != want[i] {
				t.Fatalf("byte %d is %#x, want %#x", i, s.data[i], want[i])
			}
		}
	}
	for i, touched := range s.touched {
		if !touched {
			t.Fatalf("byte %d was never written or zeroed: old data shines through", i)
		}
	}
}

func TestRoutesMakeTheSameDisk(t *testing.T) {
	for seed := range uint64(8) {
		f := newFakeImage(seed, int(seed)*13+1, int(seed%3)*512)
		file := File{bytes.NewReader(f.blob), int64(len(f.blob))}
		for _, o := range []Options{
			{},
			{Workers: 3, InFlight: 7, Segment: 64 << 10, Fetch: 64 << 10},
			{Workers: 1, InFlight: 1, Segment: 64 << 10, Fetch: 20000},
		} {
			t.Run(fmt.Sprintf("seed %d/%d", seed, o.Fetch), func(t *testing.T) {
				o.Tracker = new(progress.Tracker)
				s := newMemSink(t, f.Size())
				if _, err := Copy(t.Context(), s, f, o); err != nil {
					t.Fatal("Copy:", err)
				}
				checkDisk(t, s, f.guest)
				s = newMemSink(t, f.Size())
				s.ordered = true
				if _, err := Copy(t.Context(), s, f, o); err != nil {
					t.Fatal("ordered Copy:", err)
				}
				checkDisk(t, s, f.guest)

				o.Tracker = new(progress.Tracker)
				s = newMemSink(t, f.Size())
				stats, err := CopyStored(t.Context(), s, f, file, o)
				if err != nil {
					t.Fatal("CopyStored:", err)
				}
				checkDisk(t, s, f.guest)
				if got := o.Tracker.Snapshot().Virtual; got != f.Size() || stats.Data+stats.Zero != got {
					t.Errorf("progress counts %d and %+v of %d", got, stats, f.Size())
				}
				small := o
				small.MaxIndex = 5 * entrySize
				s = newMemSink(t, f.Size())
				if _, err := CopyStored(t.Context(), s, f, file, small); err != nil {
					t.Fatal("CopyStored in batches:", err)
				}
				checkDisk(t, s, f.guest)

				s = newMemSink(t, f.Size())
				w := NewWitness(file)
				g := *f
				g.ra = w
				h := sha256.New()
				if _, err := CopyHashed(t.Context(), s, &g, file, w, h, HashedOptions{}, o); err != nil {
					t.Fatal("CopyHashed:", err)
				}
				checkDisk(t, s, f.guest)
				if want := sha256.Sum256(f.blob); !bytes.Equal(h.Sum(nil), want[:]) {
					t.Error("CopyHashed hashed something else than the file")
				}
			})
		}
	}
}

func TestHashedSeesThatTablesChanged(t *testing.T) {
	f := newFakeImage(3, 40, 0)
	other := bytes.Clone(f.blob)
	other[1234] ^= 1 // in the table
	w := NewWitness(bytes.NewReader(f.blob))
	f.ra = w
	_, err := CopyHashed(t.Context(), newMemSink(t, f.Size()), f, File{bytes.NewReader(other), int64(len(other))}, w, sha256.New(), HashedOptions{}, Options{})
	if !errors.Is(err, errdef.ErrChanged) {
		t.Fatalf("got %v, want ErrChanged", err)
	}
}

func TestWitnessSeesAChange(t *testing.T) {
	blob := make([]byte, 1000)
	w := NewWitness(bytes.NewReader(blob))
	p := make([]byte, 10)
	if _, err := w.ReadAt(p, 5); err != nil {
		t.Fatal(err)
	}
	blob[7] = 1
	if _, err := w.ReadAt(p, 5); !errors.Is(err, errdef.ErrChanged) {
		t.Fatalf("got %v, want ErrChanged", err)
	}
}

func TestHashedBoundsItsIndex(t *testing.T) {
	f := newFakeImage(3, 40, 0)
	file := File{bytes.NewReader(f.blob), int64(len(f.blob))}
	_, err := CopyHashed(t.Context(), newMemSink(t, f.Size()), f, file, NewWitness(file), sha256.New(), HashedOptions{}, Options{MaxIndex: 5 * entrySize})
	if !errors.Is(err, errdef.ErrLimit) || errdef.Hint(err) == "" {
		t.Fatalf("got %v, want ErrLimit with a hint", err)
	}
}

func TestShortFileIsAChange(t *testing.T) {
	f := newFakeImage(4, 40, 0)
	file := File{bytes.NewReader(f.blob[:len(f.blob)/2]), int64(len(f.blob))}
	if _, err := CopyStored(t.Context(), newMemSink(t, f.Size()), f, file, Options{}); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("CopyStored: got %v, want ErrChanged", err)
	}
	w := NewWitness(file)
	if _, err := CopyHashed(t.Context(), newMemSink(t, f.Size()), f, file, w, sha256.New(), HashedOptions{}, Options{}); !errors.Is(err, errdef.ErrChanged) {
		t.Errorf("CopyHashed: got %v, want ErrChanged", err)
	}
}

// A read that goes on until Abort must not outlive a failed write, and the write is the cause.
func TestFirstErrorAborts(t *testing.T) {
	f := newFakeImage(5, 200, 0)
	for name, run := range map[string]func(ctx context.Context, s *memSink, file File, o Options) error{
		"stored": func(ctx context.Context, s *memSink, file File, o Options) error {
			_, err := CopyStored(ctx, s, f, file, o)
			return err
		},
		"hashed": func(ctx context.Context, s *memSink, file File, o Options) error {
			w := NewWitness(bytes.NewReader(f.blob))
			_, err := CopyHashed(ctx, s, f, file, w, sha256.New(), HashedOptions{}, o)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := newMemSink(t, f.Size())
			s.fail = func(off int64) error {
				if off > f.Size()/4 {
					return syscall.ENOSPC
				}
				return nil
			}
			file := File{blockingReader{f.blob, ctx, int64(len(f.blob)) - 300000}, int64(len(f.blob))}
			err := run(ctx, s, file, Options{Fetch: 64 << 10, Segment: 64 << 10, InFlight: 8, Abort: cancel})
			var e *errdef.Error
			if !errors.As(err, &e) || e.Side != errdef.Target || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("got %v, want ENOSPC of the target", err)
			}
		})
	}
}

// blockingReader blocks past from until ctx ends.
type blockingReader struct {
	data []byte
	ctx  context.Context
	from int64
}

func (b blockingReader) ReadAt(p []byte, off int64) (int, error) {
	if off > b.from {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	return bytes.NewReader(b.data).ReadAt(p, off)
}

func TestStream(t *testing.T) {
	f := newFakeImage(6, 300, 0)
	for _, n := range []int{0, 1, 511, 512, 513, 4095, 64 << 10, 64<<10 + 1, 1_000_000, len(f.guest)} {
		for _, ordered := range []bool{false, true} {
			t.Run(fmt.Sprint(n, ordered), func(t *testing.T) {
				want := append(bytes.Clone(f.guest[:n]), make([]byte, (512-n%512)%512)...)
				s := newMemSink(t, int64(len(want)))
				s.ordered = ordered
				size, _, err := Stream(t.Context(), s, iotest.DataErrReader(bytes.NewReader(f.guest[:n])), StreamOptions{}, Options{Segment: 64 << 10})
				if err != nil || size != int64(len(want)) {
					t.Fatalf("got %d, %v; want %d", size, err, len(want))
				}
				if ordered { // a pipe pads in Commit
					s.data, s.touched, want = s.data[:n], s.touched[:n], want[:n]
				}
				checkDisk(t, s, want)
			})
		}
	}
}

func TestStreamTail(t *testing.T) {
	const seg = 64 << 10
	for _, n := range []int{512, 700, seg, seg + 1, seg + 511, seg + 512, seg + 513, 2*seg + 100, 3 * seg} {
		data := bytes.Repeat([]byte{7}, n-512)
		data = append(data, bytes.Repeat([]byte{9}, 512)...)
		s := newMemSink(t, int64(n-512))
		size, _, err := Stream(t.Context(), s, bytes.NewReader(data), StreamOptions{
			Max: int64(n - 512),
			Tail: func(tail []byte, length int64) (int64, error) {
				if !bytes.Equal(tail, data[n-512:]) || length != int64(n) {
					return 0, fmt.Errorf("tail of %d bytes at %d is wrong", len(tail), length)
				}
				return length - 512, nil
			},
		}, Options{Segment: seg})
		if err != nil || size != int64(n-512) {
			t.Fatalf("%d: got %d, %v", n, size, err)
		}
		checkDisk(t, s, data[:n-512])
	}
}

func TestStreamErrors(t *testing.T) {
	bad := errors.New("bad")
	big := &endless{}
	s := newMemSink(t, 1<<20)
	_, _, err := Stream(t.Context(), s, big, StreamOptions{Max: 1 << 20, TooLarge: bad}, Options{Segment: 64 << 10})
	if !errors.Is(err, bad) {
		t.Errorf("endless: %v", err)
	}
	if big.n > 1<<20+3*64<<10 {
		t.Errorf("%d bytes were read of a stream that was to stop at 1 MiB", big.n)
	}
	_, _, err = Stream(t.Context(), newMemSink(t, 1000), io.MultiReader(bytes.NewReader(make([]byte, 700)), iotest.ErrReader(bad)), StreamOptions{}, Options{})
	var e *errdef.Error
	if !errors.As(err, &e) || e.Side != errdef.Source || !errors.Is(err, bad) {
		t.Errorf("read error: %v", err)
	}
	s = newMemSink(t, 1<<20)
	s.fail = func(int64) error { return syscall.ENOSPC }
	_, _, err = Stream(t.Context(), s, &endless{}, StreamOptions{}, Options{Segment: 64 << 10})
	if !errors.As(err, &e) || e.Side != errdef.Target || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write error: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err = Stream(ctx, newMemSink(t, 1<<20), &endless{}, StreamOptions{}, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}

type endless struct{ n int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 1
	}
	e.n += int64(len(p))
	return len(p), nil
}

func TestSplit(t *testing.T) {
	p := make([]byte, 256<<10)
	mark := func(off int) { p[off] = 1 }
	mark(0)
	mark(100 << 10)
	if d, z := split(0, p); d != 4096 || z != 96<<10 {
		t.Errorf("got %d, %d", d, z)
	}
	if d, z := split(4096, p[4096:]); d != 0 || z != 96<<10 {
		t.Errorf("got %d, %d", d, z)
	}
	clear(p)
	mark(0)
	mark(20 << 10) // the zeros between are too short for a hole
	if d, z := split(0, p); d != 24<<10 || z != 232<<10 {
		t.Errorf("got %d, %d", d, z)
	}
	if d, z := split(100, p[:3]); d != 3 || z != 0 {
		t.Errorf("got %d, %d", d, z)
	}
}

func BenchmarkIsZero(b *testing.B) {
	p := make([]byte, 64<<10)
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if !isZero(p) {
			b.Fatal()
		}
	}
}
