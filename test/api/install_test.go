package api

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
)

const (
	namespace  = "cdi"
	deployment = "cdi-agent" // and the ServiceAccount
	service    = "cdi-agent-webhook"
	webhooks   = "cdi-agent-validate"
	lease      = "cdi-agent-leader"
)

// An agent is a manager in a process of its own, logged in as the ServiceAccount of the installation.
type agent struct {
	process *proc.Process
	health  string
	log     *buffer
}

// buffer may be written and read at once.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startAgent runs the manager.
func startAgent(t *testing.T, s *server, bin string, webhookPort int) *agent {
	t.Helper()
	token := s.must(t, "", "create", "token", deployment, "-n", namespace)
	health := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	a := &agent{health: "http://" + health + "/readyz", log: new(buffer)}
	a.process = start(t, proc.Command{
		Args: []string{"/bin/sh", "-c", `exec "$@" 2>&1`, "sh", bin, "manager", "--namespace=" + namespace, "--worker-image=registry.example/agent:test",
			"--kubeconfig=" + s.kubeconfig(t, deployment, token), "--health-address=" + health, "--metrics-address=0",
			fmt.Sprintf("--webhook-port=%d", webhookPort)},
		Stdout: a.log,
	})
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("an agent said:\n%s", tail(a.log.String(), 60))
		}
	})
	return a
}

func (a *agent) ready(t *testing.T) error {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.health, nil)
	if err != nil {
		return err
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer r.Body.Close()
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s\n%s", a.health, r.Status, tail(a.log.String(), 5))
	}
	return nil
}

// TestInstallation follows one installation from `cdictl install` to the death of a manager.
func TestInstallation(t *testing.T) {
	s := startServer(t)
	bin := agentBinary(t)
	r, err := proc.Run(t.Context(), proc.Command{Args: []string{
		proc.TestBinary(t), "install", "--check=always", "--kubeconfig=" + s.admin, "--image=registry.example/agent:test",
	}})
	if err != nil || r.Exit != 0 {
		t.Fatalf("cdictl install: exit %d, %v\n%s", r.Exit, err, r.Stderr)
	}
	s.must(t, r.Stdout, "apply", "-f", "-")
	s.must(t, "", "wait", "--for=condition=Established", "--timeout=300s", "crd", "--all")

	// There are neither pods nor a network of Services: the Service becomes an alias of this machine, and the port that of
	// a manager which is started here.
	port := freePort(t)
	s.must(t, "", "delete", "service", service, "-n", namespace)
	s.must(t, "", "create", "service", "externalname", service, "--external-name=localhost", "-n", namespace)
	var patch []string
	for i := range strings.Fields(s.must(t, "", "get", "validatingwebhookconfiguration", webhooks, "-o", "jsonpath={.webhooks[*].name}")) {
		patch = append(patch, fmt.Sprintf(`{"op":"replace","path":"/webhooks/%d/clientConfig/service/port","value":%d}`, i, port))
	}
	s.must(t, "", "patch", "validatingwebhookconfiguration", webhooks, "--type=json", "-p=["+strings.Join(patch, ",")+"]")

	// Both answer, one leads. The one that the API server asks is not the one that will be killed.
	leader := startAgent(t, s, bin, freePort(t))
	within(t, 2*time.Minute, func() error { return leader.ready(t) })
	within(t, time.Minute, func() error {
		_, err := s.kubectl(t, "", "get", "lease", lease, "-n", namespace)
		return err
	})
	other := startAgent(t, s, bin, port)
	within(t, 2*time.Minute, func() error { return other.ready(t) })

	s.must(t, "", "create", "namespace", "work")
	// In a cluster these roles are a part of edit and view, put together by a controller that is not here.
	for user, role := range map[string]string{"erin": "edit", "vic": "view"} {
		s.must(t, "", "create", "rolebinding", user, "--clusterrole=cdi.kubevirt.io:"+role, "--user="+user, "-n", "work")
	}

	t.Run("webhook", func(t *testing.T) {
		within(t, time.Minute, func() error { // the API server takes a moment to see the CA bundle
			_, err := s.kubectl(t, dataVolume("probe", "source: {}"), "create", "--dry-run=server", "-f", "-")
			return expect(err, "spec.source: Missing Data volume source")
		})
	})
	t.Run("people", func(t *testing.T) {
		if _, err := s.kubectl(t, dataVolume("a", "source: {blank: {}}"), "create", "-f", "-", "--as=vic"); expect(err, "cannot create resource") != nil {
			t.Errorf("vic, who may look, creates: %v", err)
		}
		if _, err := s.kubectl(t, dataVolume("a", "source: {ftp: {}}"), "create", "-f", "-", "--as=erin"); expect(err, `unknown field "spec.source.ftp"`) != nil {
			t.Errorf("a field that there is not: %v", err)
		}
		s.must(t, dataVolume("a", "source: {blank: {}}"), "create", "-f", "-", "--as=erin")
		if got := s.must(t, "", "get", "dv", "a", "-n", "work", "--as=vic", "--no-headers"); !strings.HasPrefix(got, "a ") {
			t.Errorf("vic sees %q", got)
		}
		if _, err := s.kubectl(t, "", "patch", "dv", "a", "-n", "work", "--as=erin", "--type=merge", `-p={"spec":{"priorityClassName":"p"}}`); expect(err, "Cannot update DataVolume Spec") != nil {
			t.Errorf("a spec changes: %v", err)
		}
		s.must(t, "", "label", "dv", "a", "-n", "work", "--as=erin", "a=b")
		for _, user := range []string{"erin", "vic", "nobody"} {
			s.must(t, "", "get", "cdiconfig", "config", "--as="+user, "--as-group=system:authenticated")
		}
	})
	class := func(name string) {
		s.must(t, fmt.Sprintf("apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: %s}\nprovisioner: kubernetes.io/no-provisioner\n", name), "create", "-f", "-")
		within(t, time.Minute, func() error {
			_, err := s.kubectl(t, "", "get", "storageprofile", name)
			return err
		})
	}
	t.Run("controllers", func(*testing.T) { class("before") })
	t.Run("the leader is killed", func(t *testing.T) {
		if err := leader.process.Signal(os.Kill); err != nil {
			t.Fatal(err)
		}
		<-leader.process.Done()
		class("after")
	})
	t.Run("rights", func(t *testing.T) {
		for _, a := range []*agent{leader, other} {
			for line := range strings.SplitSeq(a.log.String(), "\n") {
				if strings.Contains(line, "forbidden") {
					t.Errorf("a manager wants more than it may: %s", line)
				}
			}
		}
	})
}

// expect wants an error that says so.
func expect(err error, text string) error {
	if err != nil && strings.Contains(err.Error(), text) {
		return nil
	}
	return fmt.Errorf("got %v, want %q", err, text) //nolint:errorlint // it may be nil, and is only told
}

func dataVolume(name, source string) string {
	return fmt.Sprintf(`apiVersion: cdi.kubevirt.io/v1beta1
kind: DataVolume
metadata: {name: %s, namespace: work}
spec:
  %s
  pvc: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: before}
`, name, source)
}

// agentBinary builds the agent from the work tree as it is.
func agentBinary(t *testing.T) string {
	t.Helper()
	root, err := proc.Root()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "agent")
	r, err := proc.Run(t.Context(), proc.Command{
		Args: []string{"go", "build", "-buildvcs=false", "-o", bin, "./cmd/agent"}, Dir: root, Env: []string{"CGO_ENABLED=0"},
	})
	if err != nil || r.Exit != 0 {
		t.Fatalf("go build ./cmd/agent: exit %d, %v\n%s", r.Exit, err, r.Stderr)
	}
	return bin
}
