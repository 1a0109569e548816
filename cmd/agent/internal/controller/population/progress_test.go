package population

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cdictl/cdictl/cmd/agent/internal/workerclient"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

func TestAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, fail := 0, error(nil)
		a := newAsker(func(_ context.Context, ip, uid string) (job.Progress, error) {
			asked++
			return job.Progress{UID: uid + "@" + ip, Retries: asked}, fail
		})
		const u = types.UID("u")
		if a.Ask(u, "ip", 0) != nil {
			t.Error("an answer before the manager runs")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = a.Start(ctx) }()
		synctest.Wait()
		ask := func(restarts int32) *job.Progress {
			p := a.Ask(u, "ip", restarts)
			synctest.Wait()
			return p
		}
		if ask(0) != nil || asked != 1 {
			t.Errorf("first question: asked %d times", asked)
		}
		if p := ask(0); p == nil || p.UID != "u@ip" || asked != 1 {
			t.Errorf("answer %+v, asked %d times", p, asked)
		}
		time.Sleep(poll)
		if p := ask(0); p.Retries != 1 || asked != 2 {
			t.Errorf("answer %+v, asked %d times", p, asked)
		}
		// A worker that does not answer is as it was, and is asked less often.
		fail = errors.New("no route")
		for range 20 {
			time.Sleep(poll)
			if p := ask(0); p == nil || p.Retries != 2 {
				t.Fatalf("answer %+v", p)
			}
		}
		if asked > 2+3+40/15+1 {
			t.Errorf("asked %d times", asked)
		}
		if a.Distrusted(u) {
			t.Error("distrusted for no reason")
		}
		fail = fmt.Errorf("handshake: %w", workerclient.ErrTrust)
		time.Sleep(slowly)
		ask(0)
		if !a.Distrusted(u) || a.Distrusted(u) {
			t.Error("not distrusted once")
		}
		// Another container is another worker: what the first said is not shown for it.
		fail = nil
		if ask(1) != nil {
			t.Error("an answer of the container before")
		}
		if ask(1) == nil || a.Distrusted(u) {
			t.Error("no answer of the new container")
		}
		time.Sleep(2 * forgetting)
		a.Ask("other", "ip", 0)
		synctest.Wait()
		if _, ok := a.answers[u]; ok {
			t.Error("not forgotten")
		}
	})
}

func TestTellProgress(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    job.Progress
		want string
	}{
		{"known", progress(5<<30, 5<<29, 1<<30, 150<<20, 17.4), "2.5 GiB of 5.0 GiB (50%), 150.0 MiB/s, 17s left"},
		{"size not known", progress(0, 1<<20, 0, 0, -1), "1.0 MiB"},
		{"header only", progress(0, 0, 512, 0, -1), "512 B fetched"},
		{"repeated", job.Progress{Retries: 2, LastRetry: "reset", Remaining: -1}, "0 B fetched; repeated 2 times, last: reset"},
	} {
		p := cdi.Population{State: cdi.StateRunning, Reason: "Running", Message: "the worker is running"}
		tellProgress(&p, &tt.p)
		if p.Message != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, p.Message, tt.want)
		}
	}
	p := cdi.Population{Reason: "NodeNotReady", Message: "no answer"}
	if tellProgress(&p, &job.Progress{}); p.Message != "no answer" {
		t.Errorf("%q hides the node", p.Message)
	}
}

func progress(total, done, fetched int64, rate, left float64) job.Progress {
	p := job.Progress{Rate: rate, Remaining: left}
	p.Total, p.Virtual, p.Stored = total, done, fetched
	return p
}
