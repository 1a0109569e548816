package cli

import (
	"os"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

// The process stays under 96 MiB with codec windows up to 32 MiB. What the runtime itself, the binary's pages and
// stacks take beside the heap fits between this limit and that.
const (
	softLimit = 64 << 20
	// headroom is what the collector may let pile up over the live heap when that alone comes near the limit (a
	// codec window of 64 MiB and more): without it, it would run without a pause.
	headroom = 24 << 20
)

// A governor keeps the memory limit above what is really in use.
type governor struct {
	once sync.Once
	done chan struct{}
}

// govern sets the memory limit, unless GOMEMLIMIT does.
func govern() *governor {
	g := &governor{done: make(chan struct{})}
	if os.Getenv("GOMEMLIMIT") != "" {
		return g
	}
	debug.SetMemoryLimit(softLimit)
	go g.run()
	return g
}

func (g *governor) run() {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit := int64(softLimit)
	for {
		select {
		case <-g.done:
			return
		case <-tick.C:
			metrics.Read(sample)
			if l := memoryLimit(int64(sample[0].Value.Uint64())); l != limit {
				debug.SetMemoryLimit(l)
				limit = l
			}
		}
	}
}

// memoryLimit is the limit for a live heap of that many bytes, in steps so that it does not change all the time.
func memoryLimit(live int64) int64 {
	const step = 8 << 20
	return max(softLimit, (live+headroom+step-1)/step*step)
}

func (g *governor) stop() { g.once.Do(func() { close(g.done) }) }
