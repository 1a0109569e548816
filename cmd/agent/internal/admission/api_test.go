package admission_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cdictl/cdictl/cmd/agent/internal/admission"
	"github.com/cdictl/cdictl/cmd/agent/internal/certs"
	"github.com/cdictl/cdictl/cmd/internal/apitest"
)

func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{}) }

// setUp runs the webhook as the agent does, and returns once the API server asks it.
func setUp(t *testing.T) (*apitest.Env, string) {
	t.Helper()
	e := apitest.Start(t)
	ns := e.Namespace(t)
	var ready <-chan struct{}
	e.StartManager(t, func(mgr ctrl.Manager) (err error) {
		if err := admission.Add(mgr); err != nil {
			return err
		}
		_, ready, err = certs.Add(mgr, certs.Options{Namespace: ns})
		return err
	}, e.ServeWebhook(t, ns))
	select {
	case <-ready:
	case <-time.After(3 * time.Minute):
		t.Fatal("no certificates")
	}
	// The API server takes a moment to see the configuration, and another to see its CA bundle.
	apitest.Within(t, 30*time.Second, func() error {
		err := e.Client.Create(t.Context(), object(t, ns, "probe", entry{Spec: map[string]any{
			"source": map[string]any{}, "storage": map[string]any{},
		}}), client.DryRunAll)
		if !apierrors.IsInvalid(err) {
			return fmt.Errorf("the webhook is not asked: %w", errors.Join(err, errors.New("want Invalid")))
		}
		return nil
	})
	return e, ns
}

// entry is one of the tables.
type entry struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`  // DataVolume if empty
	Named       string            `json:"named"` // the object's name, if that is the point
	Annotations map[string]string `json:"annotations"`
	Spec        map[string]any    `json:"spec"`
	Message     string            `json:"message"`
	Not         string            `json:"not"` // may not be in the message
	Type        metav1.CauseType  `json:"type"`
	Field       string            `json:"field"`
}

func object(t *testing.T, namespace, name string, c entry) *unstructured.Unstructured {
	t.Helper()
	kind := c.Kind
	if kind == "" {
		kind = "DataVolume"
	}
	o := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "cdi.kubevirt.io/v1beta1", "kind": kind}}
	if !slices.Contains([]string{"CDIConfig", "StorageProfile", "ObjectTransfer"}, kind) {
		o.SetNamespace(namespace)
	}
	o.SetName(name)
	o.SetAnnotations(c.Annotations)
	if c.Spec != nil {
		o.Object["spec"] = c.Spec
	}
	return o
}

// TestCreate goes through the tables.
func TestCreate(t *testing.T) {
	e, ns := setUp(t)
	for _, file := range []string{"testdata/datavolumes.yaml", "testdata/others.yaml"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var entries []entry
		if err := yaml.UnmarshalStrict(b, &entries); err != nil {
			t.Fatal(err)
		}
		for i, c := range entries {
			t.Run(c.Name, func(t *testing.T) {
				name := c.Named
				if name == "" {
					name = fmt.Sprintf("case-%d", i)
				}
				refused(t, e.Client.Create(t.Context(), object(t, ns, name, c)), c)
			})
		}
	}
}

// refused checks an answer.
func refused(t *testing.T, err error, c entry) {
	t.Helper()
	if c.Message == "" {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("accepted, want %q", c.Message)
	}
	if !strings.Contains(err.Error(), c.Message) {
		t.Errorf("got %q, want %q", err, c.Message)
	}
	if c.Not != "" && strings.Contains(err.Error(), c.Not) {
		t.Errorf("%q has %q in it", err, c.Not)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		t.Fatalf("no details: %#v", err)
	}
	if !apierrors.IsInvalid(err) {
		t.Errorf("reason %s", status.Status().Reason)
	}
	want := c.Type
	if want == "" {
		want = metav1.CauseTypeFieldValueInvalid
	}
	causes := status.Status().Details.Causes
	if !slices.ContainsFunc(causes, func(s metav1.StatusCause) bool { return s.Type == want && s.Field == c.Field }) {
		t.Errorf("causes %+v, want %s of %s", causes, want, c.Field)
	}
}
