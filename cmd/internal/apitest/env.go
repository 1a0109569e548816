package apitest

import (
	"context"
	"fmt"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// Namespace makes a namespace for this test alone.
func (e *Env) Namespace(t testing.TB) string {
	t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}
	if err := e.Client.Create(t.Context(), ns); err != nil {
		t.Fatalf("make a namespace: %v", err)
	}
	return ns.Name
}

// ConfigFor is Config as somebody else, by impersonation.
func (e *Env) ConfigFor(user string, groups ...string) *rest.Config {
	c := rest.CopyConfig(e.Config)
	c.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append([]string{"system:authenticated"}, groups...)}
	return c
}

// As returns a client of somebody else, to see what RBAC lets them do.
func (e *Env) As(t testing.TB, user string, groups ...string) client.Client {
	t.Helper()
	c, err := client.New(e.ConfigFor(user, groups...), client.Options{Scheme: e.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Allowed waits until the API server, which hears of new rights a moment later, lets somebody do something.
func (e *Env) Allowed(t testing.TB, who authorizationv1.SubjectAccessReviewSpec) {
	t.Helper()
	Within(t, time.Minute, func() error {
		review := &authorizationv1.SubjectAccessReview{Spec: who}
		if err := e.Client.Create(t.Context(), review); err != nil {
			return err
		}
		if !review.Status.Allowed {
			return fmt.Errorf("not allowed: %+v", who)
		}
		return nil
	})
}

// AsServiceAccount is As for a ServiceAccount.
func (e *Env) AsServiceAccount(t testing.TB, namespace, name string) client.Client {
	t.Helper()
	return e.As(t, "system:serviceaccount:"+namespace+":"+name, "system:serviceaccounts", "system:serviceaccounts:"+namespace)
}

// StartManager runs a manager that add puts controllers into, until the test ends or stop is called; stop waits for it.
func (e *Env) StartManager(t testing.TB, add func(ctrl.Manager) error, change ...func(*ctrl.Options)) (stop func()) {
	t.Helper()
	o := ctrl.Options{
		Scheme:                 e.Scheme,
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
		// Several managers with the same controllers live in one test process.
		Controller: config.Controller{SkipNameValidation: new(true)},
	}
	for _, f := range change {
		f(&o)
	}
	mgr, err := ctrl.NewManager(e.Config, o)
	if err != nil {
		t.Fatalf("make a manager: %v", err)
	}
	if err := add(mgr); err != nil {
		t.Fatalf("add to the manager: %v", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// patience is for machines that do much else and stand still now and then. It costs nothing where a test passes.
const patience = 3 * time.Minute

// Within asks check again and again until it returns nil, and fails the test with its last error if that takes longer than d, or
// three minutes if d is less.
func Within(t testing.TB, d time.Duration, check func() error) {
	t.Helper()
	d = max(d, patience)
	deadline := time.Now().Add(d)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("still so after %v: %v", d, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Get reads an object by its name and namespace, and fails the test if it is not there.
func Get[T client.Object](t testing.TB, e *Env, namespace, name string, into T) T {
	t.Helper()
	if err := e.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, into); err != nil {
		t.Fatalf("get %s/%s: %v", namespace, name, err)
	}
	return into
}

// Exists returns an error, for Within, unless the object is there.
func (e *Env) Exists(ctx context.Context, namespace, name string, into client.Object) error {
	if err := e.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, into); err != nil {
		return fmt.Errorf("%T %s/%s: %w", into, namespace, name, err)
	}
	return nil
}

// Delete deletes an object, also at the end of a test, when its context is over.
func (e *Env) Delete(t testing.TB, o client.Object) {
	t.Helper()
	if err := e.Client.Delete(context.WithoutCancel(t.Context()), o); client.IgnoreNotFound(err) != nil {
		t.Errorf("delete %T %s: %v", o, o.GetName(), err)
	}
}
