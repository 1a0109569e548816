package datavolume

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Options of the controller.
type Options struct {
	// Concurrency is how many DataVolumes are looked at at the same time; 0: 4, which is plenty for work that only waits
	// for the API.
	Concurrency int
	// Labels are given to claims and sources beside those that they always have: version and part-of of the installation.
	Labels map[string]string
	// SkipNameValidation lets several managers live in one process, for tests.
	SkipNameValidation bool
}

// resync is when an unfinished DataVolume is looked at again though nothing told of a change.
const resync = 10 * time.Minute

// claimRefIndex finds the volumes that are kept for a claim: "namespace/name".
const claimRefIndex = "datavolume.claimRef"

// Add adds the controller to the manager.
func Add(mgr ctrl.Manager, o Options) error {
	if o.Concurrency == 0 {
		o.Concurrency = 4
	}
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &corev1.PersistentVolume{}, claimRefIndex, claimRef)
	if err != nil {
		return fmt.Errorf("controller datavolume: index PersistentVolumes by their claims: %w", err)
	}
	r := &reconciler{
		client: mgr.GetClient(),
		live:   mgr.GetAPIReader(),
		events: mgr.GetEventRecorder("datavolume-controller"),
		labels: o.Labels,
		now:    time.Now,
	}
	waiting := handler.EnqueueRequestsFromMapFunc(r.waiting)
	err = ctrl.NewControllerManagedBy(mgr).
		Named("datavolume").
		For(&cdiv1.DataVolume{}, builder.WithPredicates(asked{})).
		Watches(&corev1.PersistentVolumeClaim{}, &handler.EnqueueRequestForObject{}). // the names are the same
		Owns(&cdiv1.VolumeImportSource{}, builder.WithPredicates(deletions)).
		Watches(&corev1.PersistentVolume{}, handler.EnqueueRequestsFromMapFunc(r.keptFor), builder.WithPredicates(available)).
		Watches(&storagev1.StorageClass{}, waiting).
		Watches(&storagev1.CSIDriver{}, waiting, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&cdiv1.StorageProfile{}, waiting).
		Watches(&cdiv1.CDIConfig{}, waiting).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.Concurrency, SkipNameValidation: &o.SkipNameValidation}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("controller datavolume: %w", err)
	}
	return nil
}

// reconciler looks at one DataVolume at a time.
type reconciler struct {
	client client.Client // reads from a cache
	live   client.Reader // reads from the API, where the cache is known to be behind
	events events.EventRecorder
	labels map[string]string
	now    func() time.Time
	writes written
}

// asked passes changes of what the user asks for. The status is our own.
type asked struct {
	predicate.Funcs
}

// Update passes changes of spec, labels, annotations and the beginning of a deletion.
func (asked) Update(e event.UpdateEvent) bool {
	return predicate.Or[client.Object](
		predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}, predicate.LabelChangedPredicate{},
	).Update(e)
}

// deletions passes nothing but deletions.
var deletions = predicate.Funcs{
	CreateFunc:  func(event.CreateEvent) bool { return false },
	UpdateFunc:  func(event.UpdateEvent) bool { return false },
	GenericFunc: func(event.GenericEvent) bool { return false },
}

// available passes volumes that claims may be bound to.
var available = predicate.NewPredicateFuncs(func(o client.Object) bool {
	pv, ok := o.(*corev1.PersistentVolume)
	return ok && pv.Status.Phase == corev1.VolumeAvailable
})

func claimRef(o client.Object) []string {
	pv, ok := o.(*corev1.PersistentVolume)
	if !ok || pv.Spec.ClaimRef == nil {
		return nil
	}
	return []string{pv.Spec.ClaimRef.Namespace + "/" + pv.Spec.ClaimRef.Name}
}

// keptFor asks for the DataVolume of the claim that a volume is kept for. A volume kept for none may be the one of its
// class that a DataVolume waits for.
func (r *reconciler) keptFor(ctx context.Context, o client.Object) []reconcile.Request {
	pv, ok := o.(*corev1.PersistentVolume)
	if !ok {
		return nil
	}
	if ref := pv.Spec.ClaimRef; ref != nil {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}}}
	}
	return r.waiting(ctx, o)
}

// waiting asks for all DataVolumes that have not got on to a worker: a class, a profile or a setting may help them.
func (r *reconciler) waiting(ctx context.Context, _ client.Object) []reconcile.Request {
	var list cdiv1.DataVolumeList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "list DataVolumes")
		return nil
	}
	var requests []reconcile.Request
	for i := range list.Items {
		if dv := &list.Items[i]; dv.Status.Phase == cdiv1.PhaseUnset || dv.Status.Phase == cdiv1.Pending {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(dv)})
		}
	}
	return requests
}

func (r *reconciler) config(ctx context.Context) (*cdiv1.CDIConfig, error) {
	var config cdiv1.CDIConfig
	err := r.client.Get(ctx, client.ObjectKey{Name: cdi.ConfigName}, &config)
	switch {
	case err == nil:
		return &config, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	}
	return nil, fmt.Errorf("CDIConfig %s: %w", cdi.ConfigName, err)
}
