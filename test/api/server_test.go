package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/servers"
)

// A server is etcd and kube-apiserver, until the test ends.
type server struct {
	dir, bin string // where its files are, and the programs
	url      string
	admin    string // kubeconfig
}

func startServer(t *testing.T) *server {
	t.Helper()
	s := &server{dir: t.TempDir(), bin: programs(t)}
	etcd, peer, api := freePort(t), freePort(t), freePort(t)
	s.url = fmt.Sprintf("https://127.0.0.1:%d", api)
	key, tokens := filepath.Join(s.dir, "sa.key"), filepath.Join(s.dir, "tokens")
	writeKey(t, key)
	write(t, tokens, `admin-token,admin,1,"system:masters"`+"\n")
	s.admin = s.kubeconfig(t, "admin", "admin-token")

	client := fmt.Sprintf("http://127.0.0.1:%d", etcd)
	peers := fmt.Sprintf("http://127.0.0.1:%d", peer)
	s.run(t, "etcd", "--data-dir="+filepath.Join(s.dir, "etcd"), "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peers, "--initial-advertise-peer-urls="+peers, "--initial-cluster=default="+peers)
	s.run(t, "kube-apiserver", "--etcd-servers="+client, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", api),
		"--cert-dir="+filepath.Join(s.dir, "certs"), "--token-auth-file="+tokens, "--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file="+key,
		"--service-account-signing-key-file="+key, "--service-cluster-ip-range=10.0.0.0/24",
		// There is no controller that would give pods an account.
		"--disable-admission-plugins=ServiceAccount")
	within(t, 2*time.Minute, func() error {
		_, err := s.kubectl(t, "", "get", "namespace", "kube-system", "default")
		return err
	})
	return s
}

// run starts a program of the server.
func (s *server) run(t *testing.T, name string, args ...string) *proc.Process {
	t.Helper()
	return start(t, proc.Command{Args: append([]string{filepath.Join(s.bin, name)}, args...)})
}

// start starts a process that ends with the test, or by its context; what it said is shown if the test has failed.
func start(t *testing.T, c proc.Command) *proc.Process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	p, err := proc.Start(ctx, c)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		r, err := p.Wait()
		if err != nil {
			t.Errorf("%s: %v", c.Args[0], err)
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(c.Args[0]), tail(r.Stderr, 60))
		}
	})
	return p
}

// kubectl runs it as the administrator.
func (s *server) kubectl(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	r, err := proc.Run(t.Context(), proc.Command{
		Args:  append([]string{filepath.Join(s.bin, "kubectl"), "--kubeconfig=" + s.admin, "--cache-dir=" + filepath.Join(s.dir, "cache")}, args...),
		Stdin: strings.NewReader(stdin),
	})
	switch {
	case err != nil:
		return "", err
	case r.Exit != 0:
		return r.Stdout, errors.New(strings.TrimSpace(r.Stderr))
	}
	return strings.TrimSpace(r.Stdout), nil
}

// must is kubectl where it has to succeed.
func (s *server) must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := s.kubectl(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// kubeconfig writes one for whoever has the token, and returns its name.
func (s *server) kubeconfig(t *testing.T, user, token string) string {
	t.Helper()
	name := filepath.Join(s.dir, user+".kubeconfig")
	write(t, name, fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: test
clusters: [{name: test, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: test, user: {token: %q}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
`, s.url, filepath.Join(s.dir, "certs", "apiserver.crt"), token))
	return name
}

// programs is the folder of etcd, kube-apiserver and kubectl.
func programs(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("KUBEBUILDER_ASSETS")
	if bin == "" {
		root, err := proc.Root()
		if err != nil {
			t.Fatal(err)
		}
		bin = filepath.Join(root, ".cache", "cluster", "bin")
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kubectl"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
				t.Fatalf("no API server to test with: %v", err)
			}
			t.Skipf("no API server to test with: %v (make test-api builds it)", err)
		}
	}
	return bin
}

func freePort(t *testing.T) int {
	t.Helper()
	_, port, err := net.SplitHostPort(servers.Address(t))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func writeKey(t *testing.T, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, name, string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// within asks again and again until there is no error.
func within(t *testing.T, d time.Duration, check func() error) {
	t.Helper()
	d = max(d, 3*time.Minute) // the machine may do much else
	for end := time.Now().Add(d); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still so after %v: %v", d, err)
		}
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
