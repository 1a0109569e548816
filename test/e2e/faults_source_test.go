package e2e

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
)

// fault is what a DataVolume tells of something that does not pass by itself.
type fault struct {
	reason string   // of Ready
	words  []string // what the message has to name
	phase  string   // empty: any but Succeeded
}

// tells waits until a DataVolume tells a fault: Ready has the reason, the message names the cause and the next step, and
// cdictl explain does too.
func (s space) tells(t *testing.T, name string, f fault) kube.Object {
	t.Helper()
	words := append([]string{"Next step: "}, f.words...)
	dv := s.until(t, name, fmt.Sprintf("stuck with %s and the words %q", f.reason, words), func(dv kube.Object) bool {
		c := dv.Condition("Ready")
		lacks := func(w string) bool { return !strings.Contains(c.Text("message"), w) }
		return c.Text("reason") == f.reason && !slices.ContainsFunc(words, lacks)
	})
	if p := dv.Text("status", "phase"); p == "Succeeded" || f.phase != "" && p != f.phase {
		t.Errorf("the phase is %s, want %s", p, word(f.phase != "", f.phase, "any but Succeeded"))
	}
	if dv.Condition("Running").Text("status") == "True" {
		t.Errorf("it is said to be running: %s", brief(dv))
	}
	s.spoken(t, dv)
	t.Logf("%s\n%s", brief(dv), s.explained(t, name))
	return dv
}

// TestSourceFaults imports from sources that cannot be imported. Each ends in a condition with cause and next step, early
// and with little fetched; where the cause can be mended, the import goes on when it is.
func TestSourceFaults(t *testing.T) {
	b := on(t)
	image := small(t)

	t.Run("not found", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		v := volume{name: "disk", class: b.quick(), url: "http://fileserver.fileserver/" + s.name + ".qcow2"}
		s.order(t, v)
		s.tells(t, v.name, fault{reason: "SourceNotFound", words: []string{"404", s.name + ".qcow2", "tried again"}})
		late := image
		late.name = s.name + ".qcow2"
		b.link(t, image, late.name)
		s.again(t)
		s.succeed(t, v.name)
		s.holds(t, v, late)
	})
	t.Run("password", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		own := b.copyOf(t, image)
		b.misbehave(t, rule{"path": "/" + own.name, "user": "importer", "password": "right"})
		login := func(password string) kube.Object {
			return kube.Object{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "login", "namespace": s.name},
				"stringData": map[string]any{"accessKeyId": "importer", "secretKey": password}}
		}
		must(t, s.Apply(t.Context(), login("wr0ng-secret")))
		v := volume{name: "disk", class: b.quick(), url: own.url(), http: map[string]any{"secretRef": "login"}}
		s.order(t, v)
		dv := s.tells(t, v.name, fault{reason: "SourceUnauthorized", words: []string{"401"}})
		if strings.Contains(brief(dv), "wr0ng-secret") {
			t.Error("the password is told")
		}
		must(t, s.Apply(t.Context(), login("right")))
		s.again(t)
		s.succeed(t, v.name)
		s.holds(t, v, own)
	})
	t.Run("no such secret", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		v := volume{name: "disk", class: b.quick(), url: image.url(), http: map[string]any{"secretRef": "login"}}
		s.order(t, v)
		s.until(t, v.name, "waiting for the Secret", func(dv kube.Object) bool {
			m := dv.Condition("Ready").Text("message")
			return strings.Contains(m, "login") && strings.Contains(m, "Next step: ")
		})
		must(t, s.Apply(t.Context(), kube.Object{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "login", "namespace": s.name},
			"data": map[string]any{"accessKeyId": base64.StdEncoding.EncodeToString([]byte("a")), "secretKey": "Yg=="}}))
		s.succeed(t, v.name)
		s.holds(t, v, image)
	})
	t.Run("certificate", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		url := strings.Replace(image.url(), "http:", "https:", 1)
		v := volume{name: "disk", class: b.quick(), url: url}
		s.order(t, v)
		s.until(t, v.name, "stuck with the certificate", func(dv kube.Object) bool {
			m := dv.Condition("Ready").Text("message")
			return strings.Contains(m, "certificate") && strings.Contains(m, "Next step: ") && !phase("Succeeded")(dv)
		})
		t.Log(s.explain(t, v.name))
		trusting := volume{name: "trusting", class: b.quick(), url: url, http: map[string]any{"insecureSkipVerify": true}}
		s.order(t, trusting)
		s.succeed(t, trusting.name)
		s.holds(t, trusting, image)
	})
	t.Run("too big", func(t *testing.T) {
		t.Parallel()
		for _, block := range []bool{false, true} {
			s := b.newSpace(t)
			own := b.copyOf(t, image)
			v := volume{name: word(block, "block", "file"), class: b.quick(), url: own.url(), size: "32Mi", block: block}
			s.order(t, v)
			s.tells(t, v.name, fault{reason: "TargetTooSmall", words: []string{"DataVolume too small to contain image"}})
			if _, fetched := b.served(t, own.name); fetched > own.bytes/4 {
				t.Errorf("%d of %d bytes were fetched before it was found too small", fetched, own.bytes)
			}
		}
	})
	t.Run("corrupt", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		content := b.fetch(t, image)
		// The first entry of the L1 table, whose offset is in the header, points far past the file's end.
		copy(content[binary.BigEndian.Uint64(content[40:]):], []byte{0x80, 0x00, 0x01, 0, 0, 0, 0, 0})
		bad := b.write(t, s.name+"-bad.qcow2", content)
		v := volume{name: "disk", class: b.quick(), url: bad.url()}
		s.order(t, v)
		s.tells(t, v.name, fault{reason: "InvalidImage", words: []string{"qcow2"}})
	})
	t.Run("truncated", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		content := b.fetch(t, image)
		half := b.write(t, s.name+"-half.qcow2", content[:len(content)/2])
		v := volume{name: "disk", class: b.quick(), url: half.url()}
		s.order(t, v)
		s.tells(t, v.name, fault{reason: "InvalidImage", words: []string{"qcow2"}})
	})
	t.Run("checksum", func(t *testing.T) {
		t.Parallel()
		s := b.newSpace(t)
		v := volume{name: "disk", class: b.quick(), url: image.url(), http: map[string]any{"checksum": "sha256:" + strings.Repeat("ab", 32)}}
		s.order(t, v)
		dv := s.tells(t, v.name, fault{reason: "DigestMismatch", words: []string{image.stored}, phase: "Failed"})
		if r := dv.Condition("Running").Text("reason"); r != "ChecksumError" {
			t.Errorf("Running has the reason %s, want ChecksumError", r)
		}
		s.still(t, v.name, 5*time.Second, phase("Failed"))
		right := volume{name: "right", class: b.quick(), url: image.url(), http: map[string]any{"checksum": "sha256:" + image.stored}}
		s.order(t, right)
		s.succeed(t, right.name)
		s.holds(t, right, image)
	})
	t.Run("server trouble", func(t *testing.T) {
		t.Parallel()
		for name, r := range map[string]rule{
			"drops":    {"times": 6, "dropAfter": 1000000},
			"errors":   {"times": 4, "status": 503},
			"noranges": {"noRanges": true},
		} {
			s := b.newSpace(t)
			own := b.copyOf(t, image)
			r["path"] = "/" + own.name
			mend := b.misbehave(t, r)
			v := volume{name: name, class: b.quick(), url: own.url()}
			s.order(t, v)
			s.succeed(t, v.name)
			s.holds(t, v, own)
			mend()
		}
	})
}

// again does what a person does who does not want to wait for the next try: deletes the worker.
func (s space) again(t *testing.T) {
	t.Helper()
	pods, err := s.workers(t.Context())
	must(t, err)
	for _, p := range pods {
		must(t, s.Delete(t.Context(), s.path("pods", p.Name()), true))
	}
}

// still checks that a DataVolume stays as it is for a while.
func (s space) still(t *testing.T, name string, d time.Duration, ok func(kube.Object) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	_, err := s.Wait(ctx, s.path("datavolumes", name), func(dv kube.Object) bool {
		if dv != nil && ok(dv) {
			return false
		}
		t.Errorf("DataVolume %s did not stay as it was: %s", name, brief(dv))
		return true
	})
	if err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("DataVolume %s could not be watched: %v", name, err)
	}
	last, err := s.Get(t.Context(), s.path("datavolumes", name))
	must(t, err)
	if !ok(last) {
		t.Errorf("DataVolume %s did not stay as it was: %s", name, brief(last))
	}
}
