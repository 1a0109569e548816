package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/cdictl/cdictl/cmd/agent/internal/manager"
	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/manifest"
)

// asAgent makes the test binary be the agent: a manager that is killed must be a process.
const asAgent = "CDICTL_TEST_AS_AGENT"

// lease is as long as no machine stands still.
const lease = 30 * time.Second

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		manage = func(ctx context.Context, cfg *rest.Config, o manager.Options) error {
			o.Lease, o.Renew, o.Retry = lease, lease-5*time.Second, 2*time.Second
			return manager.Run(ctx, cfg, o)
		}
		os.Exit(run(os.Args[1:]))
	}
	apitest.Main(m, apitest.Options{})
}

const namespace = "cdi-managers"

// TestManagers has two managers of one installation, each a process with no more rights than the manifest grants.
func TestManagers(t *testing.T) {
	e := apitest.Start(t)
	install(t, e)
	serve := e.ServeWebhook(t, namespace)
	kubeconfig := kubeconfigOf(t, e, cdi.Agent)

	a := start(t, kubeconfig, webhookPort(serve))
	a.ready(t)
	b := start(t, kubeconfig, apitest.FreePort(t))
	b.ready(t)

	t.Run("the webhook answers", func(t *testing.T) {
		err := e.Client.Create(t.Context(), &cdiv1.DataVolume{ObjectMeta: metav1.ObjectMeta{Name: "bad", Namespace: namespace}})
		if err == nil || !strings.Contains(err.Error(), "Missing Data volume PVC") {
			t.Errorf("a DataVolume without anything: %v", err)
		}
	})
	t.Run("the leader works", func(t *testing.T) {
		profiled(t, e, "first", 10*time.Second)
		apitest.Within(t, 10*time.Second, func() error {
			return e.Exists(t.Context(), "", cdi.ConfigName, &cdiv1.CDIConfig{})
		})
	})
	t.Run("metrics", func(t *testing.T) { metrics(t, e, a) })

	leader, other := a, b
	if first := holder(t, e); !strings.Contains(first, "_") {
		t.Fatalf("lease held by %q", first)
	} else if b.leads() {
		leader, other = b, a
	}
	if leader.leads() == other.leads() {
		t.Fatalf("both or none lead:\n%s\n%s", leader.log(), other.log())
	}
	before := holder(t, e)

	t.Run("killed", func(t *testing.T) {
		began := time.Now()
		if err := leader.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		apitest.Within(t, 30*time.Second, func() error {
			if now := holder(t, e); now == before || now == "" {
				return fmt.Errorf("lease held by %q", now)
			}
			return nil
		})
		t.Logf("the other took over after %v", time.Since(began).Round(time.Millisecond))
		profiled(t, e, "second", 10*time.Second)
	})

	t.Run("ended in order", func(t *testing.T) {
		third := start(t, kubeconfig, apitest.FreePort(t))
		third.ready(t)
		began := time.Now()
		if err := other.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := other.wait(t, 2*time.Minute); code != 0 {
			t.Errorf("exit code %d:\n%s", code, other.log())
		}
		apitest.Within(t, 20*time.Second, func() error {
			if !third.leads() {
				return errors.New("the third does not lead")
			}
			return nil
		})
		took := time.Since(began)
		t.Logf("ended and followed after %v", took.Round(time.Millisecond))
		if took >= lease { // it was not given back
			t.Errorf("followed after %v", took)
		}
		profiled(t, e, "third", 10*time.Second)
		if err := third.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if code := third.wait(t, 2*time.Minute); code != 0 {
			t.Errorf("exit code %d:\n%s", code, third.log())
		}
		if h := holder(t, e); h != "" {
			t.Errorf("nobody is there, and the lease is held by %q", h)
		}
	})

	t.Run("rights", func(t *testing.T) {
		for _, p := range []*process{a, b} {
			if i := strings.Index(p.log(), "forbidden"); i >= 0 {
				t.Errorf("the manifest grants too little:\n%s", p.log())
			}
		}
	})

	t.Run("another CDI", func(t *testing.T) {
		labels := map[string]string{"a": "b"}
		d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "cdi-deployment", Namespace: namespace}, Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}},
		}}
		if err := e.Client.Create(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		defer e.Delete(t, d)
		p := start(t, kubeconfig, apitest.FreePort(t))
		if code := p.wait(t, 2*time.Minute); code != 20 || !strings.Contains(p.log(), "cdi-deployment") {
			t.Errorf("exit code %d:\n%s", code, p.log())
		}
	})
}

// install makes what the manifest has, as far as it has to do with rights.
func install(t *testing.T, e *apitest.Env) {
	t.Helper()
	objects, err := manifest.Objects(manifest.Options{Namespace: namespace, Image: "registry.example/agent:v1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		switch o.(type) {
		case *corev1.Namespace, *corev1.ServiceAccount, *rbacv1.ClusterRole, *rbacv1.ClusterRoleBinding, *rbacv1.Role, *rbacv1.RoleBinding:
			if err := e.Client.Create(t.Context(), o.(client.Object)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// token is one of a ServiceAccount, which is made if need be.
func token(t *testing.T, e *apitest.Env, account string) string {
	t.Helper()
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: account}}
	if err := e.Client.Create(t.Context(), sa.DeepCopy()); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
	request := &authenticationv1.TokenRequest{}
	if err := e.Client.SubResource("token").Create(t.Context(), sa, request); err != nil {
		t.Fatal(err)
	}
	return request.Status.Token
}

func kubeconfigOf(t *testing.T, e *apitest.Env, account string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: e.Config.Host, CertificateAuthorityData: e.Config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token(t, e, account)}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// webhookPort is the one that the API server was told.
func webhookPort(serve func(*ctrl.Options)) int {
	var o ctrl.Options
	serve(&o)
	return o.WebhookServer.(*webhook.DefaultServer).Options.Port
}

// process is a manager.
type process struct {
	cmd             *exec.Cmd
	health, metrics string
	mu              sync.Mutex
	out             bytes.Buffer
	done            chan struct{}
}

func start(t *testing.T, kubeconfig string, port int) *process {
	t.Helper()
	p := &process{
		health: fmt.Sprintf("127.0.0.1:%d", apitest.FreePort(t)), metrics: fmt.Sprintf("127.0.0.1:%d", apitest.FreePort(t)),
		done: make(chan struct{}),
	}
	p.cmd = exec.CommandContext(context.WithoutCancel(t.Context()), os.Args[0], "manager", "--namespace", namespace, "--worker-image", "registry.example/agent:v1",
		"--kubeconfig", kubeconfig, "--health-address", p.health, "--metrics-address", p.metrics, "--webhook-port", fmt.Sprint(port))
	p.cmd.Env = append(os.Environ(), asAgent+"=1")
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // ProcessState has what matters
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("process %d:\n%s", p.cmd.Process.Pid, p.log())
		}
	})
	return p
}

// Write takes what the process says.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *process) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func (p *process) leads() bool { return strings.Contains(p.log(), "Successfully acquired lease") }

func (p *process) wait(t *testing.T, d time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(d):
		t.Fatalf("the process goes on:\n%s", p.log())
		return 0
	}
}

// ready waits for /readyz, and for /healthz on the way.
func (p *process) ready(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/healthz", "/readyz"} {
		apitest.Within(t, 60*time.Second, func() error {
			select {
			case <-p.done:
				return errors.New("the process has ended")
			default:
			}
			status, body, err := get(t, "http://"+p.health+path+"?verbose=1", "")
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%s: %d %s", path, status, body)
			}
			return err
		})
	}
}

func get(t *testing.T, url, token string) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	c := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the certificate of /metrics is its own
		DialContext:       (&net.Dialer{Timeout: time.Minute}).DialContext,
	}}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

// profiled makes a class and waits for the leader to have made its profile.
func profiled(t *testing.T, e *apitest.Env, name string, d time.Duration) {
	t.Helper()
	class := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "rbd.csi.ceph.com"}
	if err := e.Client.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	apitest.Within(t, d, func() error {
		p := &cdiv1.StorageProfile{}
		err := e.Exists(t.Context(), "", name, p)
		if err == nil && len(p.Status.ClaimPropertySets) == 0 {
			err = errors.New("empty profile")
		}
		return err
	})
}

func holder(t *testing.T, e *apitest.Env) string {
	t.Helper()
	return ptr.Deref(apitest.Get(t, e, namespace, cdi.Lease, &coordinationv1.Lease{}).Spec.HolderIdentity, "")
}

// metrics are for those who may read them.
func metrics(t *testing.T, e *apitest.Env, p *process) {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "reads-metrics"},
		Rules: []rbacv1.PolicyRule{{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}}}}
	binding := &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "reads-metrics"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: "prometheus"}}}
	for _, o := range []client.Object{role, binding} {
		if err := e.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	e.Allowed(t, authorizationv1.SubjectAccessReviewSpec{User: "system:serviceaccount:" + namespace + ":prometheus",
		NonResourceAttributes: &authorizationv1.NonResourceAttributes{Path: "/metrics", Verb: "get"}})
	// Its server makes itself a key first, which readiness does not wait for.
	apitest.Within(t, 30*time.Second, func() error { _, _, err := get(t, "https://"+p.metrics+"/metrics", ""); return err })
	for _, c := range []struct {
		name, token string
		want        int
	}{
		{"nobody", "", http.StatusUnauthorized},
		{"somebody unknown", "abc", http.StatusUnauthorized},
		{"somebody else", token(t, e, "default-reader"), http.StatusForbidden},
		{"who may", token(t, e, "prometheus"), http.StatusOK},
	} {
		for range 2 { // the second answer is remembered
			status, body, err := get(t, "https://"+p.metrics+"/metrics", c.token)
			if err != nil || status != c.want || status == http.StatusOK && !strings.Contains(body, "go_goroutines") {
				t.Errorf("%s: %d, %v; want %d", c.name, status, err, c.want)
			}
		}
	}
}

func TestFlags(t *testing.T) {
	env := map[string]string{"POD_NAMESPACE": "ns", "KUBECONFIG": "/k"}
	o, kubeconfig, err := flags([]string{"--worker-image=i", "--log-level=debug"}, func(k string) string { return env[k] }, io.Discard)
	if err != nil || o.Namespace != "ns" || kubeconfig != "/k" || o.WorkerImage != "i" || o.QPS < 100 || o.Version == "" || !o.Log.Enabled(t.Context(), -4) {
		t.Errorf("%+v, %q, %v", o, kubeconfig, err)
	}
	for _, args := range [][]string{{"x"}, {"--log-level=loud"}, {"--kube-api-qps=0"}, {"--kube-api-burst=-1"}, {"--nothing"}} {
		if _, _, err := flags(args, func(string) string { return "" }, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}

func TestRun(t *testing.T) {
	for want, commands := range map[int][][]string{
		0: {{"version"}, {"help"}},
		2: {nil, {"frobnicate"}, {"manager", "--frobnicate"}},
	} {
		for _, args := range commands {
			if got := run(slices.Clone(args)); got != want {
				t.Errorf("agent %v: exit code %d, want %d", args, got, want)
			}
		}
	}
}
