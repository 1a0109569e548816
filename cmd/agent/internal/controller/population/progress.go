package population

import (
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cdictl/cdictl/cmd/agent/internal/workerclient"
	"github.com/cdictl/cdictl/lib/job"
)

const (
	askers     = 16               // questions at a time
	slowly     = 15 * time.Second // between questions to a worker that did not answer three times
	renewal    = 10 * time.Minute // between renewals of one worker's certificates: the kubelet takes a minute to bring them
	forgetting = time.Hour        // after which an answer that nobody took is dropped
)

// asker asks workers for their progress without anybody waiting for the answer: a reconcile takes the newest that came. What
// it knows may be lost at any time.
type asker struct {
	ask   func(ctx context.Context, ip, uid string) (job.Progress, error)
	now   func() time.Time
	slots chan struct{}

	mu      sync.Mutex
	ctx     context.Context // the manager's, nil until it runs: questions outlive the reconcile that asked them
	answers map[types.UID]*answer
}

type answer struct {
	ip         string
	restarts   int32
	progress   *job.Progress
	asked      time.Time
	busy       bool
	failures   int
	distrusted bool
	renewed    time.Time
}

func newAsker(ask func(ctx context.Context, ip, uid string) (job.Progress, error)) *asker {
	return &asker{ask: ask, now: time.Now, slots: make(chan struct{}, askers), answers: map[types.UID]*answer{}}
}

// Start lets questions be asked until ctx ends. It is called by the manager.
func (a *asker) Start(ctx context.Context) error {
	a.mu.Lock()
	a.ctx = ctx
	a.mu.Unlock()
	<-ctx.Done()
	return nil
}

// Ask returns the newest answer of the worker of a claim, nil if there is none, and asks anew if it is time. Another
// address or a container started again is another worker, whose answer is awaited.
func (a *asker) Ask(uid types.UID, ip string, restarts int32) *job.Progress {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	x := a.answers[uid]
	if x == nil || x.ip != ip || x.restarts != restarts {
		fresh := &answer{ip: ip, restarts: restarts}
		if x != nil {
			fresh.renewed = x.renewed
		}
		x = fresh
		a.answers[uid] = x
		a.drop(now)
	}
	interval := poll - 100*time.Millisecond // it is asked every poll, a little less or more
	if x.failures >= 3 {
		interval = slowly
	}
	if a.ctx == nil || x.busy || now.Sub(x.asked) < interval {
		return x.progress
	}
	select {
	case a.slots <- struct{}{}:
		x.busy, x.asked = true, now
		go a.question(a.ctx, uid, x)
	default: // enough are being asked; the next reconcile tries again
	}
	return x.progress
}

func (a *asker) question(ctx context.Context, uid types.UID, x *answer) {
	p, err := a.ask(ctx, x.ip, string(uid))
	<-a.slots
	a.mu.Lock()
	defer a.mu.Unlock()
	x.busy = false
	if err != nil {
		x.failures++
		x.distrusted = errors.Is(err, workerclient.ErrTrust)
		return
	}
	x.progress, x.failures, x.distrusted = &p, 0, false
}

// Distrusted says, and not again for a while, that worker and manager do not trust each other's certificates.
func (a *asker) Distrusted(uid types.UID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	x, now := a.answers[uid], a.now()
	if x == nil || !x.distrusted || now.Sub(x.renewed) < renewal {
		return false
	}
	x.renewed = now
	return true
}

// Forget drops what is known of a claim's worker.
func (a *asker) Forget(uid types.UID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.answers, uid)
}

// drop forgets claims that went without a word.
func (a *asker) drop(now time.Time) {
	for uid, x := range a.answers {
		if !x.asked.IsZero() && now.Sub(x.asked) > forgetting {
			delete(a.answers, uid)
		}
	}
}
