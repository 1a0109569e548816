package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// TestMatrix fills claims of every class and mode from the examples, has a pod read each back, and prints a table.
func TestMatrix(t *testing.T) {
	b := on(t)
	image := small(t)
	var mu sync.Mutex
	var rows []string
	t.Cleanup(func() {
		fmt.Printf("\n%-6s %-16s %-10s %-9s %-22s %7s  %s\n", "source", "class", "mode", "driver", "binding", "seconds", "sha256 of the disk")
		slices.Sort(rows)
		for _, r := range rows {
			fmt.Println(r)
		}
		fmt.Println()
	})
	for _, c := range b.classes {
		for _, block := range []bool{false, true} {
			for _, source := range []string{"http", "blank"} {
				for _, now := range []bool{false, true} {
					if now && (!c.wffc || source == "blank") {
						continue // there is nothing not to wait for; or the other source has shown it
					}
					v := volume{name: "disk", class: c, block: block, now: now}
					want := blank
					if source == "http" {
						v.url, want = image.url(), image
					}
					name := fmt.Sprintf("%s/%s/%s", source, c.name, v.mode())
					if now {
						name += "/now"
					}
					t.Run(name, func(t *testing.T) {
						t.Parallel()
						took, got := b.cell(t, v, want)
						mu.Lock()
						defer mu.Unlock()
						rows = append(rows, fmt.Sprintf("%-6s %-16s %-10s %-9s %-22s %7.1f  %s", source, c.name, v.mode(),
							word(c.csi, "CSI", "no CSI"), word(now, "WFFC, but now", word(c.wffc, "WFFC", "immediate")), took.Seconds(), got))
					})
				}
			}
		}
	}
}

func word(is bool, yes, no string) string {
	if is {
		return yes
	}
	return no
}

// cell fills and reads one claim. The time is from the moment when nothing was waited for any more.
func (b *bed) cell(t *testing.T, v volume, want picture) (time.Duration, string) {
	s := b.newSpace(t)
	began := time.Now()
	s.order(t, v)
	if v.class.wffc && !v.now {
		waits := word(v.class.csi, "PendingPopulation", "WaitForFirstConsumer")
		dv := s.until(t, v.name, waits, phase(waits))
		if c := dv.Condition("Ready"); !strings.Contains(c.Text("message"), "first pod") {
			t.Errorf("Ready does not say what it waits for: %s", c.Text("message"))
		}
		began = time.Now()
		s.consume(t, v)
	}
	dv := s.succeed(t, v.name)
	took := time.Since(began)
	if v.class.wffc && !v.now {
		s.ran(t, "first-"+v.name)
	}
	if n := dv.Int("status", "restartCount"); n != 0 {
		t.Errorf("restartCount is %d, want 0", n)
	}
	claim, err := s.Get(t.Context(), s.path("persistentvolumeclaims", v.name))
	must(t, err)
	if claim.Text("spec", "volumeMode") != v.mode() || claim.Text("status", "phase") != "Bound" {
		t.Errorf("the claim is %s and %s", claim.Text("spec", "volumeMode"), claim.Text("status", "phase"))
	}
	if got := claim.Annotation("cdi.kubevirt.io/storage.usePopulator"); got != word(v.class.csi, "true", "false") {
		t.Errorf("the claim says usePopulator %q", got)
	}
	c := s.holds(t, v, want)
	// The disk is what was asked for, or what a filesystem so small leaves of it.
	if asked := quantity(claimSize); !v.block && (c.Length < asked*4/5 || c.Length > asked) {
		t.Errorf("the disk has %d bytes of the %d that were asked for", c.Length, asked)
	}
	s.tidy(t)
	if want.size == 0 {
		return took, fmt.Sprintf("zeros, %d MiB", c.Length/mib)
	}
	return took, c.SHA256
}

// tidy checks that no helpers are left when a DataVolume is done: no worker, no PVC′, no Secret with a job.
func (s space) tidy(t *testing.T) {
	t.Helper()
	s.tidyBut(t, "")
}

// tidyBut is tidy without a look at one resource.
func (s space) tidyBut(t *testing.T, without string) {
	t.Helper()
	s.eventually(t, "wait for helpers to be gone", func(ctx context.Context) error {
		for _, resource := range []string{"pods", "persistentvolumeclaims", "secrets", "volumeimportsources"} {
			list, err := s.List(ctx, s.path(resource))
			if err != nil {
				return err
			}
			for _, o := range list {
				if resource != without && helper(resource, o) {
					return fmt.Errorf("%s %s is left", resource, o.Name())
				}
			}
		}
		return nil
	})
}

func helper(resource string, o kube.Object) bool {
	switch resource {
	case "pods":
		return o.Text("metadata", "labels", "cdi.kubevirt.io") != ""
	case "persistentvolumeclaims":
		return strings.HasPrefix(o.Name(), "prime-")
	case "secrets":
		return strings.HasPrefix(o.Name(), "import-job-")
	case "volumeimportsources":
		return o.Text("metadata", "deletionTimestamp") != ""
	}
	return false
}
