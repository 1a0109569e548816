// Package apitest gives tests a real API server: etcd and kube-apiserver as processes, the CRDs of the group installed, no
// node. One server serves all tests of a package; every test takes a namespace of its own.
//
//	func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{}) }
//
//	func TestX(t *testing.T) {
//		e := apitest.Start(t)
//		ns := e.Namespace(t)
//		…
//	}
//
// The programs are looked for in $KUBEBUILDER_ASSETS and in .cache/cluster/bin of the module. Where they are absent, the
// test is skipped, or fails if CDICTL_REQUIRE_TOOLS is 1. Only tests import this package.
package apitest

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/cdictl/cdictl/cmd/internal/crd"
)

// Options are what the server of a package is started with.
type Options struct {
	// CRDs are installed beside those of the group.
	CRDs []*apiextensionsv1.CustomResourceDefinition
	// NoCRDs leaves out those of the group, for tests of their installation.
	NoCRDs bool
	// Controllers are controllers of kube-controller-manager to run, by their names: "garbage-collector-controller",
	// "namespace-controller", …  None are run without; so namespaces are never gone and owners take nothing with them.
	Controllers []string
	// Flags are further flags of kube-apiserver, without the dashes.
	Flags map[string]string
	// Log is where etcd, kube-apiserver and kube-controller-manager write. nil: nowhere.
	Log io.Writer
}

// Env is a running server.
type Env struct {
	// Config is of a user of group system:masters.
	Config *rest.Config
	// Client is the same user's, with no cache.
	Client client.Client
	// Scheme has the built-in kinds, CRDs and those of cdi.kubevirt.io/v1beta1.
	Scheme *runtime.Scheme
	// Kubeconfig is a file for Config, for programs.
	Kubeconfig string
	// Bin is the folder of the programs; kubectl is one of them.
	Bin string

	control *envtest.Environment
	stops   []func()
}

var shared struct {
	once sync.Once
	set  bool
	opts Options
	env  *Env
	err  error
}

// Main runs the tests of a package and stops the server that they started. It does not return.
func Main(m *testing.M, o Options) {
	shared.set, shared.opts = true, o
	if o.Log == nil {
		// controller-runtime complains, with a stack, where nobody has told it where to log.
		log.SetLogger(logr.Discard())
	}
	code := m.Run()
	if shared.env != nil {
		shared.env.stop()
	}
	os.Exit(code)
}

// Start returns the package's server; the first test that asks starts it.
func Start(t testing.TB) *Env {
	t.Helper()
	if !shared.set {
		t.Fatal("apitest: call apitest.Main in TestMain, so that the server is stopped at the end")
	}
	bin, err := assets()
	if err != nil {
		if os.Getenv("CDICTL_REQUIRE_TOOLS") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	shared.once.Do(func() { shared.env, shared.err = start(bin, shared.opts) })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	return shared.env
}

// NewScheme returns a scheme with all kinds that the agent and its tests deal with.
func NewScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, cdiv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func start(bin string, o Options) (_ *Env, err error) {
	scheme, err := NewScheme()
	if err != nil {
		return nil, err
	}
	crds := o.CRDs
	if !o.NoCRDs {
		group, err := crd.All()
		if err != nil {
			return nil, fmt.Errorf("apitest: CRDs: %w", err)
		}
		crds = append(group, crds...)
	}
	ctl := &envtest.Environment{
		BinaryAssetsDirectory:    bin,
		Scheme:                   scheme,
		CRDs:                     crds,
		ControlPlaneStartTimeout: 2 * time.Minute, // two busy cores
		ControlPlaneStopTimeout:  time.Minute,
	}
	if o.Log != nil {
		ctl.ControlPlane.GetAPIServer().Out, ctl.ControlPlane.GetAPIServer().Err = o.Log, o.Log
	}
	args := ctl.ControlPlane.GetAPIServer().Configure()
	for k, v := range o.Flags {
		args.Set(k, v)
	}
	e := &Env{Scheme: scheme, Bin: bin, control: ctl}
	defer func() {
		if err != nil {
			e.stop()
		}
	}()
	if e.Config, err = ctl.Start(); err != nil {
		return nil, fmt.Errorf("apitest: start: %w", err)
	}
	if e.Client, err = client.New(e.Config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "apitest-")
	if err != nil {
		return nil, err
	}
	e.stops = append(e.stops, func() { _ = os.RemoveAll(dir) })
	e.Kubeconfig = filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(e.Kubeconfig, ctl.KubeConfig, 0o600); err != nil {
		return nil, err
	}
	if len(o.Controllers) > 0 {
		stop, err := startControllers(bin, e.Kubeconfig, o.Controllers, o.Log)
		if err != nil {
			return nil, err
		}
		e.stops = append(e.stops, stop)
	}
	return e, nil
}

// stop ends everything that was started, last first.
func (e *Env) stop() {
	for i := len(e.stops) - 1; i >= 0; i-- {
		e.stops[i]()
	}
	if err := e.control.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "apitest: stop:", err)
	}
}

// assets finds the folder with the programs.
func assets() (string, error) {
	bin := os.Getenv("KUBEBUILDER_ASSETS")
	if bin == "" {
		root, err := moduleRoot()
		if err != nil {
			return "", err
		}
		bin = filepath.Join(root, ".cache", "cluster", "bin")
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("no API server to test with: %w (set KUBEBUILDER_ASSETS, or run `make test-api`, which builds it)", err)
		}
	}
	return bin, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod above the working directory: %w", os.ErrNotExist)
		}
		dir = parent
	}
}
