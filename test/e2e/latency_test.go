package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// TestLatency tells how long it takes from kubectl apply to Succeeded, when the cluster has nothing else to do.
func TestLatency(t *testing.T) {
	b := on(t)
	image := noise(t)
	s := b.newSpace(t)
	for _, source := range []string{"http", "blank"} {
		var times []time.Duration
		for i := range 10 {
			v := volume{name: fmt.Sprintf("%s-%d", source, i), class: b.quick()}
			if source == "http" {
				v.url = image.url()
			}
			manifest, err := json.Marshal(s.dataVolume(t, v))
			must(t, err)
			began := time.Now()
			_, err = s.kubectl(t.Context(), string(manifest), "apply", "-f", "-")
			must(t, err)
			s.until(t, v.name, "Succeeded", phase("Succeeded"))
			times = append(times, time.Since(began))
		}
		slices.Sort(times)
		seconds := make([]string, len(times))
		for i, d := range times {
			seconds[i] = fmt.Sprintf("%.1f", d.Seconds())
		}
		fmt.Printf("latency: %s, from kubectl apply to Succeeded: median %.1f s of %s\n",
			word(source == "http", "64 MiB of raw over http", "blank"), (times[4]+times[5]).Seconds()/2, strings.Join(seconds, " "))
	}
}

// TestMany orders fifty blank disks at once and counts what that asks of the API server.
func TestMany(t *testing.T) {
	const many = 50
	b := on(t)
	s := b.newSpace(t)
	list := []any{}
	for i := range many {
		list = append(list, s.dataVolume(t, volume{name: fmt.Sprintf("blank-%02d", i), class: b.quick()}))
	}
	manifest, err := json.Marshal(kube.Object{"apiVersion": "v1", "kind": "List", "items": list})
	must(t, err)
	audit := filepath.Join(b.state, "log", "audit.log")
	all, from := b.requests(t), size(audit)
	began := time.Now()
	_, err = s.kubectl(t.Context(), string(manifest), "apply", "-f", "-")
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	done := map[string]bool{}
	err = s.Watch(ctx, s.path("datavolumes"), func(dv kube.Object, _ bool) bool {
		if phase("Succeeded")(dv) {
			done[dv.Name()] = true
		}
		return len(done) == many
	})
	if len(done) < many {
		t.Fatalf("%d of %d are Succeeded: %v", len(done), many, err)
	}
	took := time.Since(began)
	fmt.Printf("many: %d blank DataVolumes at once in %.1f s; %.0f requests to the API server per DataVolume by everything in the cluster\n",
		many, took.Seconds(), float64(b.requests(t)-all)/many)
	if b.state == "" {
		return
	}
	counts := asked(t, audit, from)
	total := 0
	for _, n := range counts {
		total += n
	}
	fmt.Printf("many: %.1f of them by the agent:\n", float64(total)/many)
	for _, key := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return counts[b] - counts[a] }) {
		fmt.Printf("  %6.1f %s\n", float64(counts[key])/many, key)
	}
}

// requests are all that the API server has answered so far.
func (b *bed) requests(t *testing.T) (n int64) {
	t.Helper()
	out, err := b.Raw(t.Context(), http.MethodGet, "/metrics", "", nil)
	must(t, err)
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "apiserver_request_total{") {
			f := strings.Fields(line)
			v, err := strconv.ParseFloat(f[len(f)-1], 64)
			must(t, err)
			n += int64(v)
		}
	}
	return n
}

func size(file string) int64 {
	fi, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// asked counts the requests of the agent's account by verb and resource, from an offset of the audit log on. The agent's
// leases are not a DataVolume's.
func asked(t *testing.T, audit string, from int64) map[string]int {
	t.Helper()
	f, err := os.Open(audit)
	must(t, err)
	defer f.Close()
	_, err = f.Seek(from, 0)
	must(t, err)
	counts := map[string]int{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e kube.Object
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			continue // the line is being written
		}
		what := e.Text("objectRef", "resource")
		if sub := e.Text("objectRef", "subresource"); sub != "" {
			what += "/" + sub
		}
		if what != "leases" {
			counts[e.Text("verb")+" "+what]++
		}
	}
	must(t, lines.Err())
	return counts
}
