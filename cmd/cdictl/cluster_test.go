package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// world plays the agent in a namespace: it writes what the agent would.
type world struct {
	*apitest.Env
	t  *testing.T
	ns string
}

func newWorld(t *testing.T) *world {
	e := apitest.Start(t)
	return &world{Env: e, t: t, ns: e.Namespace(t)}
}

func (w *world) create(objects ...client.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.Client.Create(w.t.Context(), o); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) dataVolume(name string) *cdiv1.DataVolume {
	dv := &cdiv1.DataVolume{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name},
		Spec: cdiv1.DataVolumeSpec{
			Source: &cdiv1.DataVolumeSource{HTTP: &cdiv1.DataVolumeSourceHTTP{URL: "http://images.example/server.qcow2", SecretRef: "login"}},
			Storage: &cdiv1.StorageSpec{Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}}},
		},
	}
	w.create(dv)
	return dv
}

// get reads the DataVolume anew.
func (w *world) get(name string) *cdiv1.DataVolume {
	w.t.Helper()
	dv := &cdiv1.DataVolume{}
	if err := w.Client.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, dv); err != nil {
		w.t.Fatal(err)
	}
	return dv
}

// status writes the status of a DataVolume.
func (w *world) status(name string, phase cdiv1.DataVolumePhase, progress string, conditions ...cdiv1.DataVolumeCondition) {
	w.t.Helper()
	dv := w.get(name)
	dv.Status.Phase, dv.Status.Progress, dv.Status.ClaimName = phase, cdiv1.DataVolumeProgress(progress), name
	dv.Status.Conditions = conditions
	if err := w.Client.Status().Update(w.t.Context(), dv); err != nil {
		w.t.Fatal(err)
	}
}

// population writes what the agent knows onto the claim, and makes the claim if there is none.
func (w *world) population(name string, p cdi.Population) {
	w.t.Helper()
	b, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	claim := &corev1.PersistentVolumeClaim{}
	if err := w.Client.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: name}, claim); err == nil {
		claim.Annotations = map[string]string{cdi.AnnPopulation: string(b)}
		if err := w.Client.Update(w.t.Context(), claim); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	dv := w.get(name)
	w.create(&corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: name, Annotations: map[string]string{cdi.AnnPopulation: string(b)},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(dv, cdiv1.SchemeGroupVersion.WithKind("DataVolume"))}},
		Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: new(w.ns), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1085Mi")}}},
	})
}

// agent makes the agent's Deployment, with so many ready replicas.
func (w *world) agent(ready int32) {
	w.t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: cdi.Agent, Labels: map[string]string{cdi.LabelName: cdi.Agent}},
		Spec: appsv1.DeploymentSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "manager", Image: "agent"}}}}}}
	w.create(d)
	w.t.Cleanup(func() { w.Delete(w.t, d) })
	d.Status.ReadyReplicas, d.Status.Replicas = ready, ready
	if err := w.Client.Status().Update(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
}

// stranger is a kubeconfig for a user who may read DataVolumes of the namespace, and these kinds, and nothing else.
func (w *world) stranger(resources ...string) string {
	w.t.Helper()
	w.create(
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "some"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"", "cdi.kubevirt.io"}, Resources: append(resources, "datavolumes"), Verbs: []string{"get", "list", "watch"}}}},
		&rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "some"},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "some"}, Subjects: []rbacv1.Subject{{Kind: "User", Name: "stranger-" + w.ns}}})
	w.Allowed(w.t, authorizationv1.SubjectAccessReviewSpec{User: "stranger-" + w.ns, ResourceAttributes: &authorizationv1.ResourceAttributes{
		Namespace: w.ns, Verb: "list", Group: "cdi.kubevirt.io", Resource: "datavolumes"}})
	config, err := clientcmd.LoadFromFile(w.Kubeconfig)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "stranger-" + w.ns
	}
	return save(w.t, *config)
}

func save(t *testing.T, config clientcmdapi.Config) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGet(t *testing.T) {
	w := newWorld(t)
	cdictl := func(code int, args ...string) *run {
		return begin(t, w.Kubeconfig, append(args, "-n", w.ns)...).end(t, code)
	}
	cdictl(0, "get", "dv").says(t, true, "no DataVolumes in namespace "+w.ns)
	w.dataVolume("stuck")
	w.dataVolume("busy")
	w.dataVolume("done")
	w.status("busy", cdiv1.ImportInProgress, "33.10%")
	w.population("busy", cdi.Population{State: cdi.StateRunning, Reason: "Running", Message: "…", Total: 1 << 30, Done: 1 << 28, Rate: 10 << 20, Remaining: 77, Percent: 25})
	w.status("done", cdiv1.Succeeded, "100.0%")
	w.status("stuck", cdiv1.ImportScheduled, "N/A")
	w.population("stuck", cdi.Population{State: cdi.StateBackoff, Reason: "SourceNotFound", Message: "404 Not Found", Percent: -1})

	lines := strings.Split(cdictl(0, "get", "dv").out.String(), "\n")
	var got []string
	for _, l := range lines {
		f := strings.Fields(l)
		if len(f) > 6 && f[0] != "NAME" {
			f[len(f)-2] = "AGE"
		}
		got = append(got, strings.Join(f, " "))
	}
	want := []string{
		"NAME PHASE PROGRESS RATE ETA RESTARTS AGE REASON",
		"busy ImportInProgress 25.00% 10 MiB/s 1m17s 0 AGE -",
		"done Succeeded 100.0% - - 0 AGE -",
		"stuck ImportScheduled - - - 0 AGE SourceNotFound",
		"",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s", strings.Join(got, "\n"))
	}
	cdictl(0, "get", "dv", "stuck", "-o", "wide").says(t, false, "MESSAGE", "404 Not Found", "1085Mi", w.ns, "http://images.example/server.qcow2")
	begin(t, w.Kubeconfig, "get", "dvs", "-A").end(t, 0).says(t, false, "NAMESPACE", w.ns)
	cdictl(0, "get", "datavolume", "done", "-o", "yaml").says(t, false, "kind: DataVolume", "phase: Succeeded")
	var list struct {
		Kind  string
		Items []cdiv1.DataVolume
	}
	if err := json.Unmarshal([]byte(cdictl(0, "get", "dv", "-o", "json").out.String()), &list); err != nil || list.Kind != "List" || len(list.Items) != 3 {
		t.Errorf("json: %v, %d items of %s", err, len(list.Items), list.Kind)
	}
	cdictl(10, "get", "dv", "none").says(t, true, "not found", "hint: see what there is")
	cdictl(2, "get", "vm").says(t, true, `"vm" is nothing to get`)
	cdictl(2, "get", "dv", "done", "-A")
}

func TestGetWatch(t *testing.T) {
	w := newWorld(t)
	w.dataVolume("one")
	r := begin(t, w.Kubeconfig, "get", "dv", "-w", "-n", w.ns)
	r.until(t, &r.out, "one")
	w.status("one", cdiv1.ImportScheduled, "N/A")
	r.until(t, &r.out, "ImportScheduled")
	w.population("one", cdi.Population{State: cdi.StateBackoff, Reason: "SourceUnauthorized", Message: "401", Percent: -1})
	r.until(t, &r.out, "SourceUnauthorized")
	dv := w.get("one")
	if err := w.Client.Delete(t.Context(), dv); err != nil {
		t.Fatal(err)
	}
	r.until(t, &r.out, "(deleted)")
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	r.end(t, 130)
	if n := strings.Count(r.out.String(), "NAME "); n != 1 {
		t.Errorf("%d headings in:\n%s", n, &r.out)
	}
}

func TestWhichCluster(t *testing.T) {
	w := newWorld(t)
	w.dataVolume("one")
	config, err := clientcmd.LoadFromFile(w.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Contexts {
		c.Namespace = w.ns
		config.Contexts["other"] = c
	}
	good := save(t, *config)
	begin(t, good, "get", "dv", "one").end(t, 0)
	begin(t, "/nonexistent", "get", "dv", "one", "--kubeconfig", good, "--context", "other").end(t, 0)
	begin(t, good, "get", "dv", "--context", "none").end(t, 2).says(t, true, "none", "hint: list the contexts")
	begin(t, "/nonexistent", "get", "dv").end(t, 2).says(t, true, "no cluster is configured", "--kubeconfig")
	begin(t, w.stranger(), "get", "dv").end(t, 11).says(t, true, "list dv", "hint: ask for the right to list datavolumes")
	for _, c := range config.Clusters {
		c.Server = "https://127.0.0.1:1"
	}
	begin(t, save(t, *config), "get", "dv").end(t, 21).says(t, true, "connection refused", "hint: is the cluster at https://127.0.0.1:1 up")
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	cdictl := func(code int, args ...string) *run {
		return begin(t, w.Kubeconfig, append(append([]string{"explain"}, args...), "-n", w.ns)...).end(t, code)
	}
	w.dataVolume("one")
	cdictl(3, "dv/one").says(t, false, "no agent is installed", "cdictl install | kubectl apply -f -", "secret/login", "absent")
	w.agent(0)
	cdictl(3, "dv/one").says(t, false, "the agent does not run", "deployment/"+w.ns+"/cdi-agent")
	d := apitest.Get(t, w.Env, w.ns, cdi.Agent, &appsv1.Deployment{})
	d.Status.Replicas, d.Status.ReadyReplicas = 1, 1
	if err := w.Client.Status().Update(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	cdictl(3, "dv", "one").says(t, false, "there is no Secret login", "kubectl -n "+w.ns+" create secret generic login")
	w.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "login"}, StringData: map[string]string{"accessKeyId": "user", "secretKey": "hunter2"}})
	w.status("one", cdiv1.ImportScheduled, "N/A")
	next := time.Now().Add(time.Hour)
	w.population("one", cdi.Population{State: cdi.StateBackoff, Reason: "SourceUnauthorized", Message: "open source http://images.example/server.qcow2: 401 Unauthorized", NextTry: &next, Percent: -1})
	w.create(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "e1"}, InvolvedObject: corev1.ObjectReference{Kind: "DataVolume", Namespace: w.ns, Name: "one"},
		Type: "Warning", Reason: "ImportFailed", Message: "401", LastTimestamp: metav1.Now(), Count: 3})
	// There is no class of that name; that the source does not answer is not known to be worse.
	cdictl(3, "dv/one").says(t, false, "there is no StorageClass "+w.ns)
	class := storageClass(w.ns)
	w.create(class)
	t.Cleanup(func() { w.Delete(t, class) })
	r := cdictl(3, "dv/one").says(t, false, "the server wants other credentials", "Secret login", "tried again by itself in", "ImportFailed ×3", "storageclass/"+w.ns)
	if strings.Contains(r.out.String()+r.err.String(), "hunter2") {
		t.Errorf("the secret was told:\n%s", &r.out)
	}
	cdictl(3, "pvc/one").says(t, false, "the server wants other credentials")
	var report struct {
		ID, Verdict, Cause string
		Next               []string
		Chain              []struct{ Kind, Name, State string }
	}
	if err := json.Unmarshal([]byte(cdictl(3, "dv/one", "-o", "json").out.String()), &report); err != nil {
		t.Fatal(err)
	}
	if report.ID != "SourceUnauthorized" || report.Verdict != "Stuck" || report.Cause == "" || len(report.Next) < 2 || len(report.Chain) < 4 {
		t.Errorf("json: %+v", report)
	}
	w.status("one", cdiv1.Succeeded, "100.0%")
	cdictl(0, "dv/one").says(t, false, "dv/one is done")
	cdictl(10, "dv/none").says(t, true, "not found")
	cdictl(2, "one").says(t, true, "write dv/one")
	cdictl(2, "vm/one")
}

// Who may see little learns what there is to see, and what there is not.
func TestExplainForStrangers(t *testing.T) {
	w := newWorld(t)
	w.dataVolume("one")
	w.status("one", cdiv1.ImportScheduled, "N/A", cdiv1.DataVolumeCondition{Type: cdiv1.DataVolumeRunning, Status: corev1.ConditionFalse,
		Reason: "SourceNotFound", Message: "404 Not Found", LastTransitionTime: metav1.Now(), LastHeartbeatTime: metav1.Now()})
	begin(t, w.stranger(), "explain", "dv/one", "-n", w.ns).end(t, 3).says(t, false,
		"404 Not Found", "not looked at:", "pvc/one: not allowed", "event: not allowed", "node: not allowed", "secret/login: not allowed", "deployment: not allowed")
}
