package filesink

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cdictl/cdictl/lib/internal/bufpool"
	"github.com/cdictl/cdictl/lib/sink"
)

// BenchmarkWrite writes a new disk of 256 MiB in the temporary folder, durable at the end of each turn, from one to three
// goroutines. "plain" is the obvious way, buffered writes into a sparse file and fsync. "direct" and "cached" are this
// sink's two ways, "auto" is what it does by default. cpu-s/GB counts all threads, the kernel's own excepted.
//
// On a guest that gives free memory back to its host, the first touch of page cache is slow: plain and cached suffer
// from it here as an import does. Memory is not touched beforehand.
//
//	go test -run '^$' -bench Write -benchtime 3x ./lib/sink/filesink
func BenchmarkWrite(b *testing.B) {
	const total = 256 << 20
	for _, size := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20} {
		for _, writers := range []int{1, 2, 3} {
			for _, way := range []struct {
				name string
				open func(b *testing.B) (at, func() error)
			}{
				{"plain", openPlain},
				{"direct", openSink(Options{Direct: DirectOn}, false)},
				{"cached", openSink(Options{Direct: DirectOff}, false)},
				{"auto", openSink(Options{}, false)},
				{"preallocated", openSink(Options{}, true)},
			} {
				b.Run(fmt.Sprintf("write=%dK/writers=%d/%s", size>>10, writers, way.name), func(b *testing.B) {
					b.SetBytes(total)
					before := cpu()
					for b.Loop() {
						w, finish := way.open(b)
						writeAll(b, w, total, size, writers)
						if err := finish(); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric((cpu()-before)/(float64(b.N)*total/1e9), "cpu-s/GB")
				})
			}
		}
	}
}

type at interface {
	WriteAt(p []byte, off int64) (int, error)
}

func openPlain(b *testing.B) (at, func() error) {
	f, err := os.Create(filepath.Join(b.TempDir(), "disk"))
	if err != nil {
		b.Fatal(err)
	}
	return f, func() error {
		return errors.Join(f.Sync(), f.Close(), os.Remove(f.Name()))
	}
}

func openSink(o Options, preallocate bool) func(b *testing.B) (at, func() error) {
	return func(b *testing.B) (at, func() error) {
		path := filepath.Join(b.TempDir(), "disk")
		o.Force = true
		s, err := New(path, o).Open(b.Context(), sink.Options{Size: 256 << 20, Preallocate: preallocate})
		if err != nil {
			b.Fatal(err)
		}
		return s, func() error {
			return errors.Join(s.Commit(b.Context(), 256<<20), s.Close(), os.Remove(path))
		}
	}
}

func writeAll(b *testing.B, w at, total int64, size, writers int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			p := bufpool.Make(size)
			for i := range p {
				p[i] = byte(i + g + 1)
			}
			for {
				off := next.Add(int64(size)) - int64(size)
				if off >= total {
					return
				}
				if _, err := w.WriteAt(p, off); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// cpu is what this process has used, in seconds.
func cpu() float64 {
	var r unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &r)
	return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
}
