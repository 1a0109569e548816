package population

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/agent/internal/workerclient"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Certs are what manager and workers know each other by.
type Certs interface {
	// IssueWorker makes the certificate of the worker of the order with this UID, and tells whom it may answer.
	IssueWorker(uid string, validFor time.Duration) (cert, key, ca []byte, err error)
	// ClientTLS is how to ask that worker, and no other.
	ClientTLS(uid string) (*tls.Config, error)
}

// Options of the controller.
type Options struct {
	// Image of the workers: the agent's own.
	Image      string
	PullPolicy corev1.PullPolicy // "": the cluster's default
	// Namespace of the agent: of the ConfigMap with certificates of CDIConfig's proxy.
	Namespace string
	Certs     Certs
	Placement podspec.Placement
	// Concurrency is how many claims are looked at at a time; 0 means 4. None of it waits for a worker.
	Concurrency int
	// WorkerPort is where workers are asked for their progress; 0 means job.MetricsPort. For tests.
	WorkerPort int
	// SkipNameValidation lets several managers live in one process, in tests.
	SkipNameValidation bool
}

// Name of the controller.
const Name = "population"

// owner is the field manager of all that is written.
const owner = client.FieldOwner("cdi-population")

// bySource is an index of claims by the VolumeImportSource that they name.
const bySource = "population.source"

type reconciler struct {
	client.Client               // reads from the cache
	live          client.Reader // reads from the API server
	events        events.EventRecorder
	progress      *asker
	o             Options
	now           func() time.Time
}

// Add adds the controller to the manager.
func Add(mgr ctrl.Manager, o Options) error {
	if o.Concurrency <= 0 {
		o.Concurrency = 4
	}
	r := newReconciler(mgr.GetClient(), mgr.GetAPIReader(), mgr.GetEventRecorder(Name), o)
	if err := mgr.Add(r.progress); err != nil {
		return fmt.Errorf("controller %s: %w", Name, err)
	}
	if err := mgr.GetFieldIndexer().IndexField(context.Background(), &corev1.PersistentVolumeClaim{}, bySource, sourceOf); err != nil {
		return fmt.Errorf("controller %s: index: %w", Name, err)
	}
	ours := predicate.NewPredicateFuncs(func(o client.Object) bool {
		c, ok := o.(*corev1.PersistentVolumeClaim)
		return ok && flowOf(c) != foreign
	})
	var skip *bool // the manager's own setting holds, unless this one says more
	if o.SkipNameValidation {
		skip = &o.SkipNameValidation
	}
	owned := handler.EnqueueRequestForOwner(mgr.GetScheme(), mgr.GetRESTMapper(), &corev1.PersistentVolumeClaim{}, handler.OnlyControllerOwner())
	return ctrl.NewControllerManagedBy(mgr).
		Named(Name).
		For(&corev1.PersistentVolumeClaim{}, builder.WithPredicates(ours)).
		Watches(&corev1.PersistentVolumeClaim{}, owned).
		Watches(&corev1.Pod{}, owned).
		Watches(&cdiv1.VolumeImportSource{}, handler.EnqueueRequestsFromMapFunc(r.claimsOf)).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.Concurrency, SkipNameValidation: skip}).
		Complete(r)
}

func newReconciler(c client.Client, live client.Reader, rec events.EventRecorder, o Options) *reconciler {
	ask := &workerclient.Client{TLS: o.Certs.ClientTLS, Port: o.WorkerPort}
	return &reconciler{Client: c, live: live, events: rec, progress: newAsker(ask.Progress), o: o, now: time.Now}
}

func sourceOf(o client.Object) []string {
	c, ok := o.(*corev1.PersistentVolumeClaim)
	if !ok || flowOf(c) != viaPrime {
		return nil
	}
	return []string{c.Spec.DataSourceRef.Name}
}

func (r *reconciler) claimsOf(ctx context.Context, source client.Object) (requests []reconcile.Request) {
	var list corev1.PersistentVolumeClaimList
	if err := r.List(ctx, &list, client.InNamespace(source.GetNamespace()), client.MatchingFields{bySource: source.GetName()}); err != nil {
		return nil // the cache is not there, so nothing is
	}
	for i := range list.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

// maxSteps are more than a claim has on its whole way.
const maxSteps = 12

// Reconcile brings one claim as far as it goes now.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	w, err := r.gather(ctx, req.NamespacedName)
	if err != nil || w == nil {
		return ctrl.Result{}, err
	}
	for range maxSteps {
		s := decide(w)
		if s.do == rest {
			return r.settle(ctx, w, s)
		}
		stop, err := r.act(ctx, w, &s)
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) { // something went, or was made anew, under our hands
			return ctrl.Result{RequeueAfter: soon}, nil
		}
		if err != nil {
			return ctrl.Result{}, fmt.Errorf("claim %s: %s: %w", req, s.do, err)
		}
		if stop {
			return r.settle(ctx, w, s)
		}
	}
	return ctrl.Result{}, fmt.Errorf("claim %s: no end after %d steps", req, maxSteps)
}

// settle tells how it stands, and when to look again.
func (r *reconciler) settle(ctx context.Context, w *world, s step) (ctrl.Result, error) {
	if s.mute {
		return ctrl.Result{RequeueAfter: s.again}, nil
	}
	if s.ask != nil {
		if err := r.hear(ctx, w, &s); err != nil {
			return ctrl.Result{}, fmt.Errorf("claim %s: %w", w.claim.Name, err)
		}
	}
	if err := r.report(ctx, w, s); apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return ctrl.Result{RequeueAfter: soon}, nil
	} else if err != nil {
		return ctrl.Result{}, err
	}
	if s.status.State == cdi.StateRunning {
		if err := r.renew(ctx, w); err != nil {
			return ctrl.Result{}, fmt.Errorf("claim %s: %w", w.claim.Name, err)
		}
	} else {
		r.progress.Forget(w.claim.UID)
	}
	return ctrl.Result{RequeueAfter: s.again}, nil
}

// gather reads the world, from the cache alone. It is nil if there is nothing to be done for the claim.
func (r *reconciler) gather(ctx context.Context, key types.NamespacedName) (*world, error) {
	w := &world{now: r.now(), claim: &corev1.PersistentVolumeClaim{}}
	if err := r.Get(ctx, key, w.claim); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	if w.flow = flowOf(w.claim); w.flow == foreign {
		return nil, nil
	}
	w.said = saidOf(w.claim)
	if w.said.State == cdi.StateDone && w.claim.DeletionTimestamp == nil {
		return nil, nil
	}
	var err error
	w.pod, err = get(ctx, r, key.Namespace, podName(w.claim, w.flow), &corev1.Pod{}, err)
	w.config, err = get(ctx, r, "", cdi.ConfigName, &cdiv1.CDIConfig{}, err)
	if name := ptr.Deref(w.claim.Spec.StorageClassName, ""); name != "" {
		w.class, err = get(ctx, r, "", name, &storagev1.StorageClass{}, err)
	}
	if w.class != nil {
		var driver *storagev1.CSIDriver
		driver, err = get(ctx, r, "", w.class.Provisioner, &storagev1.CSIDriver{}, err)
		w.csi = driver != nil
	}
	if w.flow == direct {
		w.source, w.wrong = fromAnnotations(w.claim)
	} else {
		err = r.gatherPrime(ctx, w, err)
	}
	if err != nil {
		return nil, err
	}
	if w.pod != nil && w.pod.Status.PodIP != "" && containerOf(w.pod).State.Running != nil && w.podIsOurs() {
		w.progress = r.progress.Ask(w.claim.UID, w.pod.Status.PodIP, containerOf(w.pod).RestartCount)
	}
	return w, nil
}

func (r *reconciler) gatherPrime(ctx context.Context, w *world, err error) error {
	ns := w.claim.Namespace
	w.prime, err = get(ctx, r, ns, cdi.PrimeName(w.claim.UID), &corev1.PersistentVolumeClaim{}, err)
	var source *cdiv1.VolumeImportSource
	source, err = get(ctx, r, ns, w.claim.Spec.DataSourceRef.Name, &cdiv1.VolumeImportSource{}, err)
	if err != nil {
		return err
	}
	if source != nil {
		w.source = &source.Spec
	}
	if w.prime != nil {
		if w.record() != nil && w.prime.Spec.VolumeName != "" {
			w.volume, err = get(ctx, r, "", w.prime.Spec.VolumeName, &corev1.PersistentVolume{}, err)
		}
		return err
	}
	if w.said.State != cdi.StatePublishing || w.claim.Spec.VolumeName != "" {
		return nil
	}
	var volumes corev1.PersistentVolumeList
	if err := r.List(ctx, &volumes); err != nil {
		return err
	}
	for i := range volumes.Items {
		if ref := volumes.Items[i].Spec.ClaimRef; ref != nil && ref.UID == w.claim.UID {
			w.volume = &volumes.Items[i]
		}
	}
	return nil
}

// get reads an object that may be absent: then it is nil. After an error it reads nothing.
func get[T client.Object](ctx context.Context, c client.Reader, namespace, name string, o T, err error) (T, error) {
	var none T
	if err != nil {
		return none, err
	}
	if err := c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, o); err != nil {
		return none, client.IgnoreNotFound(err)
	}
	return o, nil
}

// renew gives a worker new certificates where it and we do not trust each other any more.
func (r *reconciler) renew(ctx context.Context, w *world) error {
	if !r.progress.Distrusted(w.claim.UID) {
		return nil
	}
	return r.writeJob(ctx, w)
}
