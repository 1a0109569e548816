package formattest

import (
	"runtime/metrics"
	"testing"
	"time"
)

// What a hostile file may cost: all that is ever allocated, so that what is held at a time is less; and a time that only
// a loop reaches, also on a machine that does much else.
const (
	frugalBytes = 128 << 20
	frugalTime  = 2 * time.Minute
)

// Frugal begins to count what a hostile file costs; what it returns fails t if that was too much:
//
//	defer formattest.Frugal(t)()
func Frugal(t testing.TB) func() {
	start, before := time.Now(), Allocated()
	return func() {
		t.Helper()
		if n := Allocated() - before; n > frugalBytes {
			t.Errorf("%d bytes were allocated, more than %d", n, frugalBytes)
		}
		if d := time.Since(start); d > frugalTime {
			t.Errorf("it takes %v", d)
		}
	}
}

// Allocated is how much was ever allocated on the heap. Unlike runtime.ReadMemStats it does not stop the world.
func Allocated() uint64 {
	m := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(m)
	return m[0].Value.Uint64()
}
