package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// TestClaimDeleted deletes the claim in the midst of its import. It is made again, and filled.
func TestClaimDeleted(t *testing.T) {
	b := on(t)
	for _, c := range b.classes {
		if c.wffc {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := b.newSpace(t)
			image := b.copyOf(t, noise(t))
			mend := b.misbehave(t, rule{"path": "/" + image.name, "rate": 4 * mib})
			v := volume{name: "disk", class: c, url: image.url()}
			s.order(t, v)
			s.until(t, v.name, "running", moving)
			old, err := s.Get(t.Context(), s.path("persistentvolumeclaims", v.name))
			must(t, err)
			must(t, s.Delete(t.Context(), s.path("persistentvolumeclaims", v.name), false))
			mend()
			s.eventually(t, "wait for another claim", func(ctx context.Context) error {
				o, err := s.Get(ctx, s.path("persistentvolumeclaims", v.name))
				if err == nil && o.UID() == old.UID() {
					err = fmt.Errorf("it is still the old claim, deleted at %s", o.Text("metadata", "deletionTimestamp"))
				}
				return err
			})
			s.succeed(t, v.name)
			s.holds(t, v, image)
			s.tidy(t)
		})
	}
}

// TestDataVolumeDeleted deletes the DataVolume in the midst of its import. All goes with it.
func TestDataVolumeDeleted(t *testing.T) {
	b := on(t)
	s := b.newSpace(t)
	image := b.copyOf(t, noise(t))
	b.misbehave(t, rule{"path": "/" + image.name, "rate": 1 * mib})
	v := volume{name: "disk", class: b.quick(), url: image.url()}
	s.order(t, v)
	s.until(t, v.name, "running", moving)
	must(t, s.Delete(t.Context(), s.path("datavolumes", v.name), false))
	s.tidy(t)
	s.eventually(t, "wait for the claim to be gone", func(ctx context.Context) error {
		list, err := s.List(ctx, s.path("persistentvolumeclaims"))
		if err == nil && len(list) > 0 {
			err = fmt.Errorf("claim %s is left", list[0].Name())
		}
		return err
	})
}

// TestQuota forbids claims, room and pods, one after the other. Each is told, and each import goes on when there is room.
func TestQuota(t *testing.T) {
	b := on(t)
	image := small(t)
	for name, c := range map[string]struct {
		hard  map[string]any
		words string
	}{
		"claims":  {map[string]any{"persistentvolumeclaims": "0"}, "persistentvolumeclaims"},
		"storage": {map[string]any{"requests.storage": "20Mi"}, "requests.storage"},
		"prime":   {map[string]any{"persistentvolumeclaims": "1"}, "persistentvolumeclaims"},
		"pods":    {map[string]any{"pods": "0"}, "pods"},
		"secrets": {map[string]any{"count/secrets": "0"}, "secrets"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := b.newSpace(t)
			must(t, s.Apply(t.Context(), kube.Object{"apiVersion": "v1", "kind": "ResourceQuota",
				"metadata": map[string]any{"name": "tight", "namespace": s.name}, "spec": map[string]any{"hard": c.hard}}))
			// Until the quota's status is there, nothing is admitted at all, for another reason.
			_, err := s.Wait(t.Context(), s.path("resourcequotas", "tight"), func(q kube.Object) bool { return len(q.Object("status", "hard")) > 0 })
			must(t, err)
			v := volume{name: "disk", class: b.quick(), url: image.url()}
			s.order(t, v)
			dv := s.until(t, v.name, "stuck with the quota", func(dv kube.Object) bool {
				m := dv.Condition("Ready").Text("message")
				return strings.Contains(m, "quota") && strings.Contains(m, c.words) && strings.Contains(m, "Next step: ")
			})
			s.spoken(t, dv)
			said := s.explained(t, v.name)
			if !strings.Contains(said, "quota") {
				t.Errorf("cdictl explain does not tell of the quota:\n%s", said)
			}
			t.Logf("%s\n%s", brief(dv), said)
			must(t, s.Delete(t.Context(), s.path("resourcequotas", "tight"), false))
			s.succeed(t, v.name)
			s.holds(t, v, image)
		})
	}
}

// TestCSIFaults makes the storage fail three times where a volume is made, and where it is given to the worker.
func TestCSIFaults(t *testing.T) {
	b := own(t)
	image := small(t)
	for _, c := range []struct {
		call  string
		block bool
	}{
		{call: "CreateVolume"}, {call: "NodeStageVolume"}, {call: "NodePublishVolume"}, {"NodePublishVolume", true},
	} {
		call := c.call
		t.Run(call+word(c.block, "/Block", ""), func(t *testing.T) {
			t.Parallel()
			s := b.newSpace(t)
			left := s.csiFault(t, call, 3)
			v := volume{name: "disk", class: b.quick(), url: image.url(), block: c.block}
			s.order(t, v)
			s.succeed(t, v.name)
			if left() {
				t.Errorf("%s was not called three times", call)
			}
			s.holds(t, v, image)
		})
	}
	t.Run("for long", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		s.csiFault(t, "CreateVolume", 0)
		v := volume{name: "disk", class: b.quick(), url: image.url()}
		s.order(t, v)
		dv := s.until(t, v.name, "stuck with the storage", func(dv kube.Object) bool {
			return strings.Contains(brief(dv), "the array is being restarted")
		})
		t.Logf("%s\n%s", brief(dv), s.explain(t, v.name))
	})
}

// TestTargetFull fills the filesystem behind a claim while the image comes in.
func TestTargetFull(t *testing.T) {
	b := own(t)
	s := b.newSpace(t)
	image := b.copyOf(t, noise(t))
	mend := b.misbehave(t, rule{"path": "/" + image.name, "rate": 1 * mib})
	v := volume{name: "disk", class: class{name: "local-immediate"}, url: image.url()}
	s.order(t, v)
	s.until(t, v.name, "running", moving)
	claim, err := s.Get(t.Context(), s.path("persistentvolumeclaims", v.name))
	must(t, err)
	filler := filepath.Join(b.state, "local", claim.Text("spec", "volumeName"), "filler")
	t.Cleanup(func() { os.Remove(filler) })
	must(t, fill(filler))
	mend()
	s.tells(t, v.name, fault{reason: "TargetTooSmall", words: []string{"DataVolume too small to contain image"}, phase: "Failed"})
	// What it says to do: the claim is made again, on a volume with room.
	must(t, os.Remove(filler))
	must(t, s.Delete(t.Context(), s.path("persistentvolumeclaims", v.name), false))
	s.succeed(t, v.name)
	s.holds(t, v, image)
}

// fill takes all the room that a filesystem has.
func fill(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for n := int64(8 << 30); n >= 4096; { // as much as there is, then half of that, …
		if err := allocate(f, n); err != nil {
			n /= 2
		}
	}
	return nil
}
