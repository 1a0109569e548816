package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/kube"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// bed is the cluster with the agent on it.
type bed struct {
	*kube.Client
	root    string // of the work tree
	cdictl  string
	state   string // of a test/cluster; empty on any other cluster
	restart string // kills components of a test/cluster
	work    string // folder of images
	server  string // path of the file server's other side
	classes []class
	rules   sync.Mutex
}

var (
	the     *bed
	missing string // why there is no bed
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("E2E_BIN") == "" {
		missing = "there is no cluster: run the suites with test/e2e/run.sh"
		return m.Run()
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	the, err = start(ctx, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	code := m.Run()
	if err := the.Close(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
	}
	return code
}

// on returns the bed, or ends the test if there is none.
func on(t *testing.T) *bed {
	t.Helper()
	if the == nil {
		proc.Lacking(t, missing)
	}
	return the
}

// own ends the test on a cluster whose parts cannot be reached.
func own(t *testing.T) *bed {
	t.Helper()
	b := on(t)
	if b.state == "" {
		t.Skip("left out: only a test/cluster has parts that a test can break")
	}
	return b
}

func start(ctx context.Context, dir string) (*bed, error) {
	root, err := proc.Root()
	if err != nil {
		return nil, err
	}
	b := &bed{
		root: root, state: os.Getenv("E2E_STATE"), restart: filepath.Join(root, "test/cluster/restart.sh"),
		cdictl: filepath.Join(os.Getenv("E2E_BIN"), "cdictl"), work: os.Getenv("E2E_WORK"),
		server: "/api/v1/namespaces/fileserver/services/fileserver:admin/proxy",
	}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return nil, err
	}
	if b.Client, err = kube.Start(ctx, dir); err != nil {
		return nil, err
	}
	began := time.Now()
	if err := b.install(ctx); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	fmt.Printf("the agent is ready %.1f s after kubectl apply\n", time.Since(began).Seconds())
	if err := errors.Join(b.findClasses(ctx), b.profiles(ctx), b.setRules(ctx, nil)); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// install does what a user does: cdictl install | kubectl apply -f -.
func (b *bed) install(ctx context.Context) error {
	if b.state == "" { // test/cluster has a file server
		if _, err := b.kubectl(ctx, "", "apply", "-f", filepath.Join(b.root, "test/e2e/testdata/fileserver.yaml")); err != nil {
			return err
		}
	}
	args := append([]string{b.cdictl, "install"}, strings.Fields(os.Getenv("E2E_INSTALL"))...)
	manifest, err := proc.Tool(ctx, args...)
	if err != nil {
		return err
	}
	if _, err := b.kubectl(ctx, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	for _, d := range [][2]string{{"fileserver", "fileserver"}, {agentNamespace, agentName}} {
		if _, err := b.kubectl(ctx, "", "-n", d[0], "rollout", "status", "deployment/"+d[1], "--timeout=600s"); err != nil {
			out, _ := b.kubectl(ctx, "", "-n", d[0], "describe", "pods")
			logs, _ := b.kubectl(ctx, "", "-n", d[0], "logs", "deployment/"+d[1], "--tail=50")
			return fmt.Errorf("%w\n%s\n%s", err, out, logs)
		}
	}
	return nil
}

const (
	agentNamespace = "cdi"
	agentName      = "cdi-agent"
	agentLease     = "cdi-agent-leader"
)

// kubectl runs it with an input.
func (b *bed) kubectl(ctx context.Context, stdin string, args ...string) (string, error) {
	r, err := proc.Run(ctx, proc.Command{Args: append([]string{"kubectl"}, args...), Stdin: strings.NewReader(stdin)})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("kubectl %s: exit %d: %s", strings.Join(args, " "), r.Exit, strings.TrimSpace(r.Stderr))
	}
	return r.Stdout, err
}

// class is a StorageClass that the matrix tries.
type class struct {
	name string
	wffc bool // waits for the first consumer
	csi  bool
}

// findClasses looks at the classes of a test/cluster, or at the cluster's default and those in E2E_CLASSES.
func (b *bed) findClasses(ctx context.Context) error {
	want := strings.Fields(os.Getenv("E2E_CLASSES"))
	if b.state != "" && len(want) == 0 {
		want = []string{"loop", "loop-wffc", "local-immediate", "local"}
	}
	list, err := b.List(ctx, "/apis/storage.k8s.io/v1/storageclasses")
	if err != nil {
		return err
	}
	found := map[string]class{}
	for _, o := range list {
		_, err := b.Get(ctx, "/apis/storage.k8s.io/v1/csidrivers/"+o.Text("provisioner"))
		if err != nil && !kube.IsNotFound(err) {
			return err
		}
		c := class{name: o.Name(), csi: err == nil, wffc: o.Text("volumeBindingMode") == "WaitForFirstConsumer"}
		found[c.name] = c
		if len(want) == 0 && o.Annotation("storageclass.kubernetes.io/is-default-class") == "true" {
			b.classes = append(b.classes, c)
		}
	}
	for _, name := range want {
		c, ok := found[name]
		if !ok {
			return fmt.Errorf("the cluster has no StorageClass %s", name)
		}
		b.classes = append(b.classes, c)
	}
	if len(b.classes) == 0 {
		return errors.New("the cluster has no default StorageClass; name some in E2E_CLASSES")
	}
	return nil
}

// profiles does what an administrator does for a provisioner that is not known: says what its volumes can be.
func (b *bed) profiles(ctx context.Context) error {
	for _, c := range b.classes {
		path := "/apis/cdi.kubevirt.io/v1beta1/storageprofiles/" + c.name
		profile, err := b.Wait(ctx, path, func(o kube.Object) bool { return o.Text("status", "storageClass") != "" })
		if err != nil {
			return fmt.Errorf("wait for the StorageProfile of %s: %w", c.name, err)
		}
		if len(profile.Objects("status", "claimPropertySets")) > 0 {
			continue
		}
		sets := []any{}
		for _, mode := range []string{"Filesystem", "Block"} {
			sets = append(sets, map[string]any{"accessModes": []any{"ReadWriteOnce"}, "volumeMode": mode})
		}
		if err := b.Patch(ctx, path, kube.Object{"spec": map[string]any{"claimPropertySets": sets}}); err != nil {
			return err
		}
	}
	return nil
}

// quick is a class whose volumes are there at once, for tests that are not about classes.
func (b *bed) quick() class {
	for _, c := range b.classes {
		if c.csi && !c.wffc {
			return c
		}
	}
	return b.classes[0]
}

// rule is one of the file server's, see test/cluster/tools/images/fileserver.
type rule map[string]any

// setRules changes the file server's rules: those for the paths of the given rules are replaced, and others stay.
func (b *bed) setRules(ctx context.Context, rules []rule, without ...string) error {
	b.rules.Lock()
	defer b.rules.Unlock()
	out, err := b.Raw(ctx, http.MethodGet, b.server+"/rules", "", nil)
	if err != nil {
		return err
	}
	var old []rule
	if err := json.Unmarshal(out, &old); err != nil {
		return err
	}
	gone := map[any]bool{}
	for _, r := range rules {
		gone[r["path"]] = true
	}
	for _, path := range without {
		gone[path] = true
	}
	for _, r := range old {
		if !gone[r["path"]] {
			rules = append(rules, r)
		}
	}
	if rules == nil {
		rules = []rule{}
	}
	body, err := json.Marshal(rules)
	if err != nil {
		return err
	}
	_, err = b.Raw(ctx, http.MethodPut, b.server+"/rules", "application/json", body)
	return err
}

// misbehave makes the file server treat a path in some way until the test ends, or until the returned function is called.
func (b *bed) misbehave(t *testing.T, r rule) (mend func()) {
	t.Helper()
	must(t, b.setRules(t.Context(), []rule{r}))
	mend = sync.OnceFunc(func() {
		if err := b.setRules(context.WithoutCancel(t.Context()), nil, r["path"].(string)); err != nil {
			t.Errorf("take back rule: %v", err)
		}
	})
	t.Cleanup(mend)
	return mend
}

// served tells how many requests there were for a path and how many bytes were sent.
func (b *bed) served(t *testing.T, path string) (requests, bytes int64) {
	t.Helper()
	o, err := b.Get(t.Context(), b.server+"/counts")
	must(t, err)
	c := o.Object("/" + path)
	return c.Int("requests"), c.Int("bytes")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
