package transfer

import (
	"context"
	"sync"
)

// A ledger is where workers tell what they are done with. Safe for concurrent use.
type ledger struct {
	mu   sync.Mutex
	idle sync.Cond // sent became 0
	sent int       // tasks under way
	done []unpacked
}

// unpacked is a packed run at off that has used of the most bytes that it could have had.
type unpacked struct {
	off        int64
	used, most uint32
}

func (l *ledger) init() { l.idle.L = &l.mu }

func (l *ledger) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
}

func (l *ledger) end(done []unpacked) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, done...)
	if l.sent--; l.sent == 0 {
		l.idle.Broadcast()
	}
}

// take returns what was unpacked since the last time.
func (l *ledger) take() []unpacked {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := l.done
	l.done = nil
	return done
}

// wait waits until no task is under way, or ctx ends.
func (l *ledger) wait(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.idle.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.sent > 0 && ctx.Err() == nil {
		l.idle.Wait()
	}
}
