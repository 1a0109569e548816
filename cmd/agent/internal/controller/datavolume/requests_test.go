package datavolume

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// counter counts requests by verb and kind.
type counter struct {
	next http.RoundTripper
	mu   sync.Mutex
	n    map[string]int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if i := slices.Index(parts, "namespaces"); i >= 0 && len(parts) > i+2 {
		what := parts[i+2]
		if len(parts) > i+4 {
			what += "/" + parts[i+4]
		}
		c.mu.Lock()
		c.n[r.Method+" "+what]++
		c.mu.Unlock()
	}
	return c.next.RoundTrip(r)
}

// TestRequests counts what the controller asks of the API server for one import with four changes of state.
func TestRequests(t *testing.T) {
	const disks = 20
	// Without events: 1 source, 1 claim, 5 patches of status, 1 deletion of the source, and here and there a conflict.
	const most = 9.0
	w := newWorld(t)
	count := &counter{n: map[string]int{}}
	env := *w.env
	env.Config = rest.CopyConfig(w.env.Config)
	env.Config.Wrap(func(next http.RoundTripper) http.RoundTripper { count.next = next; return count })
	env.StartManager(t, func(mgr ctrl.Manager) error { return Add(mgr, Options{SkipNameValidation: true}) })

	name := func(i int) string { return fmt.Sprintf("disk-%d", i) }
	each := func(do func(string)) {
		for i := range disks {
			do(name(i))
		}
	}
	each(func(n string) { w.dataVolume(n, classNow, fromHTTP) })
	for _, part := range []struct {
		do    func(string)
		phase cdiv1.DataVolumePhase
	}{
		{func(string) {}, cdiv1.Pending},
		{func(n string) { w.note(n, scheduled) }, cdiv1.ImportScheduled},
		{func(n string) { w.note(n, running) }, cdiv1.ImportInProgress},
		{func(n string) { w.bind(n, corev1.ClaimBound) }, cdiv1.ImportInProgress},
		{func(n string) { w.note(n, done, cdi.AnnPopulatedFor, n) }, cdiv1.Succeeded},
	} {
		each(part.do)
		each(func(n string) { w.await(n, part.phase) })
	}
	apitest.Within(t, patience, func() error {
		if n := w.events(name(disks - 1)); n["Normal ImportSucceeded"] != 1 {
			return fmt.Errorf("events %v", n)
		}
		return nil
	})
	time.Sleep(2 * time.Second) // what still comes is counted too

	count.mu.Lock()
	defer count.mu.Unlock()
	all, events := 0, 0
	for _, k := range slices.Sorted(maps.Keys(count.n)) {
		t.Logf("%-45s %.2f per DataVolume", k, float64(count.n[k])/disks)
		all += count.n[k]
		if strings.HasSuffix(k, " events") {
			events += count.n[k]
		}
	}
	t.Logf("%.2f requests per DataVolume, and %.2f for events", float64(all-events)/disks, float64(events)/disks)
	if got := float64(all-events) / disks; got > most {
		t.Errorf("%.2f requests per DataVolume, want at most %.1f", got, most)
	}
}
