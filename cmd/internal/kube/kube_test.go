package kube

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/apitest"
	"github.com/cdictl/cdictl/lib/errdef"
)

func TestMain(m *testing.M) { apitest.Main(m, apitest.Options{NoCRDs: true}) }

func connect(t *testing.T) (*Cluster, *apitest.Env) {
	t.Helper()
	e := apitest.Start(t)
	c, err := New(e.Config, e.Namespace(t))
	if err != nil {
		t.Fatal(err)
	}
	return c, e
}

// A kind that the cluster does not know, an object that is not there and one that may not be seen are three things.
func TestErrors(t *testing.T) {
	c, e := connect(t)
	_, err := Get[cdiv1.DataVolume](t.Context(), c, DataVolumes, c.Namespace, "x")
	if !IsNoKind(err) || IsNotFound(err) || errdef.ExitCode(err) != 10 || !strings.Contains(errdef.Hint(err), "cdictl install") {
		t.Errorf("unknown kind: %v (%s)", err, errdef.Hint(err))
	}
	if _, _, err = List[cdiv1.DataVolume](t.Context(), c, DataVolumes, "", metav1.ListOptions{}); !IsNoKind(err) {
		t.Errorf("list of an unknown kind: %v", err)
	}
	_, err = Get[corev1.Pod](t.Context(), c, Pods, c.Namespace, "x")
	if IsNoKind(err) || !IsNotFound(err) || errdef.ExitCode(err) != 10 {
		t.Errorf("absent: %v", err)
	}
	other, err := New(e.ConfigFor("nobody"), c.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Get[corev1.Pod](t.Context(), other, Pods, c.Namespace, "x")
	if !IsForbidden(err) || errdef.ExitCode(err) != 11 || !strings.Contains(errdef.Hint(err), "kubectl auth can-i get pods -n "+c.Namespace) {
		t.Errorf("forbidden: %v (%s)", err, errdef.Hint(err))
	}
	_, err = Create(t.Context(), c, Pods, c.Namespace, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "X_"}})
	if errdef.ExitCode(err) != 2 || !strings.Contains(err.Error(), "create pod/X_ in namespace "+c.Namespace) {
		t.Errorf("invalid: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Get[corev1.Pod](ctx, c, Pods, c.Namespace, "x"); errdef.ExitCode(err) != 130 {
		t.Errorf("canceled: %v", err)
	}
}

// Whether a Secret is there can be told without its content.
func TestExists(t *testing.T) {
	c, _ := connect(t)
	if there, err := c.Exists(t.Context(), Secrets, c.Namespace, "login"); there || err != nil {
		t.Errorf("absent: %v, %v", there, err)
	}
	if _, err := Create(t.Context(), c, Secrets, c.Namespace, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "login"}}); err != nil {
		t.Fatal(err)
	}
	if there, err := c.Exists(t.Context(), Secrets, c.Namespace, "login"); !there || err != nil {
		t.Errorf("there: %v, %v", there, err)
	}
	if _, err := Create(t.Context(), c, Secrets, c.Namespace, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "login"}}); !IsExists(err) || errdef.ExitCode(err) != 19 {
		t.Errorf("again: %v", err)
	}
}

// A list of several pages is one list; a watch tells what is there, what comes, and what goes.
func TestListAndWatch(t *testing.T) {
	c, e := connect(t)
	for _, name := range []string{"a", "b", "c"} {
		if _, err := Create(t.Context(), c, ConfigMaps, c.Namespace, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"mine": "yes"}}}); err != nil {
			t.Fatal(err)
		}
	}
	mine := metav1.ListOptions{LabelSelector: "mine=yes", Limit: 2}
	all, version, err := List[corev1.ConfigMap](t.Context(), c, ConfigMaps, c.Namespace, mine)
	if err != nil || len(all) != 3 || version == "" {
		t.Fatalf("%d of 3, %q, %v", len(all), version, err)
	}
	stop := errors.New("seen enough")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	seen, lists := "", 0
	err = Watch(ctx, c, ConfigMaps, c.Namespace, mine, func(all []corev1.ConfigMap) error { lists += len(all); return nil }, func(ch Change[corev1.ConfigMap]) error {
		seen += ch.Object.Name
		switch {
		case ch.Gone:
			return stop
		case seen == "abc":
			go func() { _ = c.Annotate(ctx, ConfigMaps, c.Namespace, "b", map[string]string{"x": "y"}) }()
		case seen == "abcb" && ch.Object.Annotations["x"] == "y":
			go func() {
				_ = e.Client.Delete(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: "a"}})
			}()
		}
		return nil
	})
	if !errors.Is(err, stop) || seen != "abcba" || lists != 3 {
		t.Errorf("seen %q, %d listed, %v", seen, lists, err)
	}
	// What will not pass ends it; what may pass does not.
	if err := Watch(ctx, c, DataVolumes, c.Namespace, metav1.ListOptions{}, nil, func(Change[cdiv1.DataVolume]) error { return nil }); !IsNoKind(err) {
		t.Errorf("watch of an unknown kind: %v", err)
	}
	config := *e.Config
	config.Host = "127.0.0.1:1"
	down, err := New(&config, c.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := Watch(short, down, Pods, c.Namespace, metav1.ListOptions{}, nil, func(Change[corev1.Pod]) error { return nil }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("watch of a server that is down: %v", err)
	}
	// An error of who listens ends it, whatever its class.
	if err := Watch(ctx, c, ConfigMaps, c.Namespace, mine, nil, func(Change[corev1.ConfigMap]) error { return errdef.ErrUnavailable }); !errors.Is(err, errdef.ErrUnavailable) {
		t.Errorf("error of the listener: %v", err)
	}
}

func TestWarningsOnce(t *testing.T) {
	var told []string
	w := &warnings{tell: func(s string) { told = append(told, s) }, seen: map[string]bool{}}
	for _, text := range []string{"old field", "old field", "", "another"} {
		w.HandleWarningHeader(299, "-", text)
	}
	w.HandleWarningHeader(199, "-", "no warning")
	if strings.Join(told, ",") != "old field,another" {
		t.Errorf("told %q", told)
	}
}
