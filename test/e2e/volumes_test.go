package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// patience is how long a step of the cluster may take on two busy cores, which may stand still now and then.
const patience = 10 * time.Minute

// space is a namespace of a test's own, and what a test does in it.
type space struct {
	*bed
	name string
}

// newSpace makes a namespace in which only restricted pods may run. It is deleted with the test; where the test failed,
// what is in it is told first.
func (b *bed) newSpace(t *testing.T) space {
	t.Helper()
	o, err := b.Create(t.Context(), kube.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{
		"generateName": "e2e-", "labels": map[string]any{"pod-security.kubernetes.io/enforce": "restricted"},
	}})
	must(t, err)
	s := space{bed: b, name: o.Name()}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if t.Failed() {
			t.Log(s.story(ctx))
		}
		if err := b.Delete(ctx, "/api/v1/namespaces/"+s.name, false); err != nil {
			t.Errorf("delete namespace: %v", err)
		}
	})
	// A pod needs the account, which a controller makes.
	_, err = b.Wait(t.Context(), s.path("serviceaccounts", "default"), func(o kube.Object) bool { return o != nil })
	must(t, err)
	return s
}

// story tells what is in the namespace, and why.
func (s space) story(ctx context.Context) string {
	var b strings.Builder
	for _, args := range [][]string{
		{"-n", s.name, "get", "dv,pvc,pods,events", "-o", "wide"},
		{"-n", s.name, "get", "dv,pvc", "-o", "yaml", "--show-managed-fields=false"},
		{"-n", s.name, "logs", "-l", "cdi.kubevirt.io=importer", "--tail=20", "--prefix"},
		{"-n", agentNamespace, "logs", "-l", "app.kubernetes.io/name=" + agentName, "--tail=40", "--prefix"},
	} {
		out, err := s.kubectl(ctx, "", args...)
		fmt.Fprintf(&b, "$ kubectl %s\n%s", strings.Join(args, " "), out)
		if err != nil {
			fmt.Fprintln(&b, err)
		}
	}
	return b.String()
}

// path is where the API has an object of the namespace; a resource of our group has no dot either.
func (s space) path(resource string, name ...string) string {
	prefix := "/api/v1"
	if resource == "datavolumes" || resource == "volumeimportsources" {
		prefix = "/apis/cdi.kubevirt.io/v1beta1"
	}
	return strings.Join(append([]string{prefix, "namespaces", s.name, resource}, name...), "/")
}

// example reads a manifest of examples/kubernetes.
func (s space) example(t *testing.T, name string) []kube.Object {
	t.Helper()
	out, err := s.kubectl(t.Context(), "", "create", "--dry-run=client", "--validate=false", "-o", "json",
		"-f", filepath.Join(s.root, "examples/kubernetes", name))
	must(t, err)
	var objects []kube.Object
	for d := json.NewDecoder(strings.NewReader(out)); ; {
		var o kube.Object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if o.Text("kind") == "List" {
			objects = append(objects, o.Objects("items")...)
		} else {
			objects = append(objects, o)
		}
	}
	for _, o := range objects {
		o.Set(s.name, "metadata", "namespace")
	}
	return objects
}

// claimSize has room for the small images.
const claimSize = "192Mi"

// volume is a claim to be filled by a DataVolume.
type volume struct {
	name  string
	class class
	block bool
	url   string // empty: blank
	size  string // default claimSize
	now   bool   // do not wait for the first consumer
	http  map[string]any
}

func (v volume) mode() string {
	if v.block {
		return "Block"
	}
	return "Filesystem"
}

// dataVolume is an example, changed as little as the volume needs.
func (s space) dataVolume(t *testing.T, v volume) kube.Object {
	t.Helper()
	name := "blank.yaml"
	if v.url != "" {
		name = "http.yaml"
	}
	dv := s.example(t, name)[0]
	if v.size == "" {
		v.size = claimSize
	}
	dv.Set(v.name, "metadata", "name")
	dv.Set(v.mode(), "spec", "storage", "volumeMode")
	dv.Set([]any{"ReadWriteOnce"}, "spec", "storage", "accessModes")
	dv.Set(v.class.name, "spec", "storage", "storageClassName")
	dv.Set(v.size, "spec", "storage", "resources", "requests", "storage")
	if v.url != "" {
		dv.Set(v.url, "spec", "source", "http", "url")
	}
	for key, value := range v.http {
		dv.Set(value, "spec", "source", "http", key)
	}
	if v.now {
		dv.Set("", "metadata", "annotations", "cdi.kubevirt.io/storage.bind.immediate.requested")
	}
	return dv
}

// order applies a DataVolume for the volume. A manager that is being killed refuses nothing for long.
func (s space) order(t *testing.T, v volume) {
	t.Helper()
	dv := s.dataVolume(t, v)
	s.eventually(t, "apply DataVolume "+v.name, func(ctx context.Context) error { return s.Apply(ctx, dv) })
}

// eventually repeats f until it gives no error.
func (s space) eventually(t *testing.T, what string, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// until waits for a DataVolume to be as ok says, and fails the test when it takes longer than the cluster may take.
func (s space) until(t *testing.T, name, what string, ok func(dv kube.Object) bool) kube.Object {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last kube.Object
	_, err := s.Wait(ctx, s.path("datavolumes", name), func(dv kube.Object) bool {
		last = dv
		return dv != nil && ok(dv)
	})
	if err != nil {
		t.Fatalf("DataVolume %s was not %s in %v; it is %s", name, what, patience, brief(last))
	}
	return last
}

// brief tells a DataVolume's status.
func brief(dv kube.Object) string {
	s := fmt.Sprintf("%s %s, %d restarts", dv.Text("status", "phase"), dv.Text("status", "progress"), dv.Int("status", "restartCount"))
	for _, c := range dv.Objects("status", "conditions") {
		s += fmt.Sprintf("\n  %s=%s %s: %s", c.Text("type"), c.Text("status"), c.Text("reason"), c.Text("message"))
	}
	return s
}

func phase(want ...string) func(kube.Object) bool {
	return func(dv kube.Object) bool {
		for _, p := range want {
			if dv.Text("status", "phase") == p {
				return true
			}
		}
		return false
	}
}

// succeed waits for a DataVolume to be Succeeded and its conditions to tell it.
func (s space) succeed(t *testing.T, name string) kube.Object {
	t.Helper()
	dv := s.until(t, name, "Succeeded", func(dv kube.Object) bool {
		return phase("Succeeded")(dv) && dv.Condition("Ready").Text("status") == "True"
	})
	s.spoken(t, dv)
	if p := dv.Text("status", "progress"); p != "100.0%" {
		t.Errorf("progress of %s is %q, want 100.0%%", name, p)
	}
	return dv
}

// spoken holds a DataVolume to conditions that are all there and say something.
func (s space) spoken(t *testing.T, dv kube.Object) {
	t.Helper()
	for _, kind := range []string{"Ready", "Bound", "Running"} {
		c := dv.Condition(kind)
		if c.Text("status") == "" || c.Text("reason") == "" || c.Text("message") == "" {
			t.Errorf("condition %s of %s is empty: %v", kind, dv.Name(), c)
		}
	}
}

// pod is a restricted pod of user 107 that runs a command with claims, as /mnt/CLAIM or /dev/CLAIM.
func (s space) pod(name string, block bool, command []string, claims ...string) kube.Object {
	volumes, uses := []any{}, []any{}
	key, at, dir := "volumeMounts", "mountPath", "/mnt/"
	if block {
		key, at, dir = "volumeDevices", "devicePath", "/dev/"
	}
	for _, c := range claims {
		volumes = append(volumes, map[string]any{"name": c, "persistentVolumeClaim": map[string]any{"claimName": c}})
		uses = append(uses, map[string]any{"name": c, at: dir + c})
	}
	return kube.Object{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name, "namespace": s.name},
		"spec": map[string]any{
			"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
			"securityContext": map[string]any{
				"runAsUser": 107, "runAsGroup": 107, "fsGroup": 107, "runAsNonRoot": true,
				"seccompProfile": map[string]any{"type": "RuntimeDefault"},
			},
			"containers": []any{map[string]any{
				"name": "box", "image": "localhost/box:1", "command": command, key: uses,
				"securityContext": map[string]any{
					"allowPrivilegeEscalation": false, "capabilities": map[string]any{"drop": []any{"ALL"}},
				},
			}},
			"volumes": volumes,
		},
	}
}

// ran waits for a pod to end well and returns what it printed.
func (s space) ran(t *testing.T, name string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	last, err := s.Wait(ctx, s.path("pods", name), func(p kube.Object) bool {
		return p != nil && (p.Text("status", "phase") == "Succeeded" || p.Text("status", "phase") == "Failed")
	})
	if err != nil {
		t.Fatalf("pod %s did not end: %v; it is %s", name, err, last.Text("status", "phase"))
	}
	out, err := s.Raw(t.Context(), http.MethodGet, s.path("pods", name, "log"), "", nil)
	must(t, err)
	if last.Text("status", "phase") != "Succeeded" {
		t.Fatalf("pod %s failed: %s", name, out)
	}
	return string(out)
}

// consume makes a pod that wants a claim and does nothing with it: the first consumer.
func (s space) consume(t *testing.T, v volume) {
	t.Helper()
	_, err := s.Create(t.Context(), s.pod("first-"+v.name, v.block, []string{"true"}, v.name))
	must(t, err)
}

// content is what a pod reads in a claim, as localhost/box's digest tells it.
type content struct {
	SHA256    string `json:"sha256"`
	Length    int64  `json:"length"`
	Soiled    int64  `json:"soiled"`
	Mode      string `json:"mode"`
	Owner     string `json:"owner"`
	Allocated int64  `json:"allocated"`
	Files     int    `json:"files"`
}

// read has a pod read the disk in a claim: so many bytes of it, and that the rest is zeros.
func (s space) read(t *testing.T, v volume, size int64) content {
	t.Helper()
	disk := "/dev/" + v.name
	command := []string{"digest", "-size", fmt.Sprint(size)}
	if !v.block {
		disk = "/mnt/" + v.name + "/disk.img"
		command = append(command, "-folder", "/mnt/"+v.name)
	}
	name := "read-" + v.name
	_, err := s.Create(t.Context(), s.pod(name, v.block, append(command, disk), v.name))
	must(t, err)
	var c content
	if err := json.Unmarshal([]byte(s.ran(t, name)), &c); err != nil {
		t.Fatal(err)
	}
	must(t, s.Delete(t.Context(), s.path("pods", name), true))
	return c
}

// holds checks that a claim holds an image: its bytes, then zeros to the end, in a file as virtual machines want it.
func (s space) holds(t *testing.T, v volume, p picture) content {
	t.Helper()
	c := s.read(t, v, p.size)
	if c.SHA256 != p.digest {
		t.Errorf("the disk in %s has sha256 %s, qemu-img's has %s", v.name, c.SHA256, p.digest)
	}
	if c.Soiled >= 0 {
		t.Errorf("the disk in %s has old data at %d, past the image's end", v.name, c.Soiled)
	}
	if !v.block && (c.Mode != "0660" || c.Owner != "107:107") {
		t.Errorf("disk.img in %s is %s %s, want 0660 107:107", v.name, c.Mode, c.Owner)
	}
	if !v.block && c.Files != 1 {
		t.Errorf("claim %s has %d files, want disk.img only", v.name, c.Files)
	}
	return c
}

// blank is the image of an empty disk of any size: nothing is compared but that all of it is zeros.
var blank = picture{digest: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}

// explain runs cdictl explain on a DataVolume.
func (s space) explain(t *testing.T, name string) string {
	t.Helper()
	said, err := s.tryExplain(t.Context(), name)
	if err != nil {
		t.Error(err)
	}
	return said
}

// explained is explain of what is stuck: it has a cause and a next step. Only while a worker tries again may it say that instead,
// and then it tells how the last try ended.
func (s space) explained(t *testing.T, name string) (said string) {
	t.Helper()
	s.eventually(t, "cdictl explain", func(ctx context.Context) (err error) {
		if said, err = s.tryExplain(ctx, name); err != nil || !strings.Contains(said, " is being filled") {
			return err
		}
		if !strings.Contains(said, "the last try ended with: ") {
			t.Errorf("cdictl explain does not tell how the last try ended:\n%s", said)
		}
		return fmt.Errorf("a try is under way:\n%s", said)
	})
	if !strings.Contains(said, "\n  cause ") || !strings.Contains(said, "\n  next ") {
		t.Errorf("cdictl explain has no cause or no next step:\n%s", said)
	}
	return said
}

func (s space) tryExplain(ctx context.Context, name string) (string, error) {
	r, err := proc.Run(ctx, proc.Command{Args: []string{s.cdictl, "explain", "dv/" + name, "-n", s.name}})
	if err == nil && r.Exit > 1 && r.Stdout == "" {
		err = fmt.Errorf("cdictl explain dv/%s: exit %d: %s", name, r.Exit, r.Stderr)
	}
	return r.Stdout, err
}
