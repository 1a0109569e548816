package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/google/go-cmp/cmp"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

func storageClass(name string) *storagev1.StorageClass {
	return &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "csi.example.com"}
}

// images serves a raw image of a little more than 3 MiB as /disk.raw, and answers 404 and 401 elsewhere.
func images(t *testing.T) string {
	disk := strings.Repeat("disk", 3<<18) + strings.Repeat("x", 512)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/disk.raw":
			http.ServeContent(w, r, "", time.Unix(1, 0), strings.NewReader(disk))
		case "/private.raw":
			w.WriteHeader(http.StatusUnauthorized)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// absent wants that no DataVolume was made.
func (w *world) absent(name string) {
	w.t.Helper()
	err := w.Client.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, &cdiv1.DataVolume{})
	if !apierrors.IsNotFound(err) {
		w.t.Errorf("dv/%s: %v, want none", name, err)
	}
}

func (w *world) imports(code int, args ...string) *run {
	w.t.Helper()
	return begin(w.t, w.Kubeconfig, append(append([]string{"import"}, args...), "-n", w.ns)...).end(w.t, code)
}

func TestImportMakes(t *testing.T) {
	w, url := newWorld(t), images(t)
	w.imports(0, url+"/disk.raw", "--dv", "auto", "--wait=false").says(t, true, "made, 4Mi", "follow it: cdictl get dv auto")
	all := []string{url + "/disk.raw", "--dv", "all", "--wait=false", "--size", "1Gi", "--storage-class", "fast", "--volume-mode", "Block", "--access-mode", "RWX,ReadWriteOnce",
		"--checksum", "md5:00112233445566778899aabbccddeeff", "--secret", "login", "--ca-configmap", "authorities", "--header", "X-A: b", "--header-secret", "token", "--preallocate", "--immediate"}
	w.imports(0, all...)
	got := w.get("all")
	want := cdiv1.DataVolumeSpec{
		Source: &cdiv1.DataVolumeSource{HTTP: &cdiv1.DataVolumeSourceHTTP{URL: url + "/disk.raw", SecretRef: "login", CertConfigMap: "authorities", ExtraHeaders: []string{"X-A: b"},
			SecretExtraHeaders: []string{"token"}, Checksum: "md5:00112233445566778899aabbccddeeff"}},
		Preallocation: new(true),
		Storage: &cdiv1.StorageSpec{StorageClassName: new("fast"), VolumeMode: new(corev1.PersistentVolumeBlock),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany, corev1.ReadWriteOnce}, Resources: got.Spec.Storage.Resources},
	}
	if diff := cmp.Diff(want, got.Spec); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if q := got.Spec.Storage.Resources.Requests[corev1.ResourceStorage]; q.String() != "1Gi" || got.Annotations[cdi.AnnImmediateBinding] == "" {
		t.Errorf("size %s, annotations %v", q.String(), got.Annotations)
	}
	// The same words find it, other words do not.
	w.imports(0, all...).says(t, true, "is there already, with the same spec")
	w.imports(0, url+"/disk.raw", "--dv", "auto", "--wait=false").says(t, true, "is there already")
	w.imports(0, url+"/disk.raw", "--dv", "auto", "--wait=false", "--immediate", "-o", "json").says(t, false, `"name": "auto"`, `"size": "4Mi"`)
	if w.get("auto").Annotations[cdi.AnnImmediateBinding] == "" {
		t.Error("--immediate did nothing to a DataVolume that is there")
	}
	w.imports(19, url+"/disk.raw", "--dv", "auto", "--wait=false", "--size", "1Gi").says(t, true, "has another spec", "hint: choose another name")
}

func TestImportRefuses(t *testing.T) {
	w, url := newWorld(t), images(t)
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		code int
		says string
		args []string
	}{
		{10, "hint: the cluster may be able to read it; say the size then: --size 10Gi", []string{url + "/none", "--dv", "x"}},
		{11, "hint: give this machine the credentials too", []string{url + "/private.raw", "--dv", "x"}},
		{14, "the image has a virtual size of 3.0 MiB", []string{url + "/disk.raw", "--dv", "x", "--size", "1Mi"}},
		{2, "everybody who can read the DataVolume would see it", []string{"http://user:hunter2@h/disk.raw", "--dv", "x"}},
		{2, "only http://… and https://… can", []string{"./disk.raw", "--dv", "x"}},
		{2, "--secret NAME", []string{url + "/disk.raw", "--dv", "x", "--username", "u", "--password-file", secret}},
		{2, "--header-secret NAME", []string{url + "/disk.raw", "--dv", "x", "--token-file", secret}},
		{2, "--force does not go with --dv", []string{url + "/disk.raw", "--dv", "x", "--force"}},
		{2, "a TARGET or --dv NAME, not both", []string{url + "/disk.raw", "disk.img", "--dv", "x"}},
		{2, "--immediate is about a DataVolume", []string{url + "/disk.raw", "disk.img", "--immediate"}},
		{2, "must be one of ReadWriteOnce", []string{url + "/disk.raw", "--dv", "x", "--access-mode", "RW"}},
		{2, "Invalid value", []string{url + "/disk.raw", "--dv", "X_"}},
	} {
		args := tt.args
		r := begin(t, w.Kubeconfig, append(append([]string{"import"}, args...), "-n", w.ns)...).end(t, tt.code).says(t, true, tt.says)
		if strings.Contains(r.err.String(), "hunter2") {
			t.Errorf("%v tells the secret: %s", args, &r.err)
		}
	}
	w.absent("x")
	// A size that cannot be checked from here is taken as it is.
	w.imports(0, "http://127.0.0.1:1/disk.raw", "--dv", "there", "--size", "1Gi", "--wait=false").says(t, true, "note: the image's header cannot be read from here")
	begin(t, w.Kubeconfig, "import", url+"/disk.raw", "--dv", "x", "--wait=false", "-n", "no-such-namespace").end(t, 10).says(t, true, "hint: is there such a namespace?")
}

func TestImportFollows(t *testing.T) {
	w, url := newWorld(t), images(t)
	r := begin(t, w.Kubeconfig, "import", url+"/disk.raw", "--dv", "good", "-o", "json", "--progress", "json", "-n", w.ns)
	r.until(t, &r.err, "made, 4Mi")
	w.population("good", cdi.Population{State: cdi.StateScheduled, Reason: "Pending", Message: "the worker's pod is made", Percent: -1})
	w.status("good", cdiv1.ImportInProgress, "50.00%")
	p := cdi.Population{State: cdi.StateRunning, Reason: "Running", Message: "…", Total: 4 << 20, Done: 2 << 20, Fetched: 1 << 20, Percent: 50}
	w.population("good", p)
	r.until(t, &r.err, `"virtualDone":2097152`)
	p.Done, p.Fetched = 1<<20, 1<<19 // the worker began again
	w.population("good", p)
	r.until(t, &r.err, `"virtualDone":1048576`)
	w.population("good", cdi.Population{State: cdi.StateDone, Reason: "Completed", Message: "the claim is filled", Format: "raw", VirtualSize: 3146240, Fetched: 3146240, Total: 4 << 20, Done: 4 << 20, Percent: 100})
	w.status("good", cdiv1.Succeeded, "100.0%")
	r.end(t, 0).says(t, true, `"last":true`)
	var got struct {
		Name, Phase, Format string
		VirtualSize         int64
	}
	if err := json.Unmarshal([]byte(r.out.String()), &got); err != nil || got.Name != "good" || got.Phase != "Succeeded" || got.Format != "raw" || got.VirtualSize != 3146240 {
		t.Errorf("%v: %s", err, &r.out)
	}
	w.imports(0, url+"/disk.raw", "--dv", "good").says(t, false, "dv/good in namespace "+w.ns+": done")
}

func TestImportFails(t *testing.T) {
	w, url := newWorld(t), images(t)
	for _, tt := range []struct {
		reason string
		code   int
		hint   string
	}{
		{"DigestMismatch", 13, "checksum"}, {"InvalidImage", 12, "cdictl info"}, {"TargetTooSmall", 14, "Ask for"}, {"PolicyRefused", 20, "hint:"}, {"SomethingElse", 1, "hint:"},
	} {
		name := strings.ToLower(tt.reason)
		r := begin(t, w.Kubeconfig, "import", url+"/disk.raw", "--dv", name, "-q", "-n", w.ns)
		apitest.Within(t, 20*time.Second, func() error {
			return w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, &cdiv1.DataVolume{})
		})
		w.population(name, cdi.Population{State: cdi.StateFailed, Reason: tt.reason, Message: "it went wrong like this", Percent: -1})
		w.status(name, cdiv1.Failed, "N/A")
		r.end(t, tt.code).says(t, true, "dv/"+name+" in namespace "+w.ns+" failed: it went wrong like this", tt.hint)
		if strings.Count(r.err.String(), "\n") != 2 {
			t.Errorf("more than the error and its hint, in spite of -q: %s", &r.err)
		}
	}
	r := begin(t, w.Kubeconfig, "import", url+"/disk.raw", "--dv", "gone", "-n", w.ns)
	r.until(t, &r.err, "made")
	if err := w.Client.Delete(t.Context(), w.get("gone")); err != nil {
		t.Fatal(err)
	}
	r.end(t, 10).says(t, true, "was deleted")
}

func TestImportLetsGo(t *testing.T) {
	w, url := newWorld(t), images(t)
	r := begin(t, w.Kubeconfig, "import", url+"/disk.raw", "--dv", "one", "-n", w.ns)
	r.until(t, &r.err, "dv/one is stuck: no agent is installed") // told by itself
	r.until(t, &r.err, "next   Install it")
	sent := time.Now()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	r.end(t, 130).says(t, true, "stopped following dv/one: the import goes on in the cluster", "hint: follow it again: cdictl get dv one -n "+w.ns+" --watch")
	if took := time.Since(sent); took > 10*time.Second {
		t.Errorf("an interrupt took %s", took)
	}
	if strings.Contains(r.err.String(), "nothing was left") {
		t.Errorf("the hint of a local import: %s", &r.err)
	}
	w.get("one") // still there
	w.imports(22, url+"/disk.raw", "--dv", "one", "--timeout", "1s").says(t, true, "not done after 1s", "hint: ask why: cdictl explain dv/one")
}
