// Package cdiconfig keeps the one CDIConfig, "config": it is made if there is none, and its status says what follows from
// its spec: the overhead of every class, the resources of workers, and so on. KubeVirt and virtctl read the status.
//
// RBAC: cdi.kubevirt.io/cdiconfigs get list watch create patch
// RBAC: storage.k8s.io/storageclasses get list watch
package cdiconfig

import (
	"context"
	"fmt"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Options of the controller: none so far.
type Options struct{}

var theOne = reconcile.Request{NamespacedName: types.NamespacedName{Name: cdi.ConfigName}}

// Add adds the controller to the manager.
func Add(mgr ctrl.Manager, _ Options) error {
	r := &reconciler{client: mgr.GetClient()}
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{theOne}
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("cdiconfig").
		Watches(&cdiv1.CDIConfig{}, one).
		Watches(&storagev1.StorageClass{}, one).
		// A cluster with neither of them has no events either.
		WatchesRawSource(source.Func(func(_ context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
			q.Add(theOne)
			return nil
		})).
		Complete(r)
	if err != nil {
		return fmt.Errorf("controller cdiconfig: %w", err)
	}
	return nil
}

type reconciler struct{ client client.Client }

// Reconcile makes the CDIConfig, or brings its status up to date.
func (r *reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	var classes storagev1.StorageClassList
	if err := r.client.List(ctx, &classes, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("StorageClasses: %w", err)
	}
	config := &cdiv1.CDIConfig{}
	err := r.client.Get(ctx, theOne.NamespacedName, config)
	switch {
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, r.create(ctx, classes.Items)
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("CDIConfig %s: %w", cdi.ConfigName, err)
	case config.DeletionTimestamp != nil:
		return ctrl.Result{}, nil // made again when it is gone
	}
	before := config.DeepCopy()
	config.Status = Status(&config.Spec, &config.Status, classes.Items)
	if equality.Semantic.DeepEqual(before.Status, config.Status) {
		return ctrl.Result{}, nil
	}
	// The kind has no status sub-resource. The patch has only what changed, so the spec stays what others make it.
	if err := r.client.Patch(ctx, config, client.MergeFrom(before)); err != nil {
		return ctrl.Result{}, fmt.Errorf("status of CDIConfig %s: %w", cdi.ConfigName, err)
	}
	return ctrl.Result{}, nil
}

func (r *reconciler) create(ctx context.Context, classes []storagev1.StorageClass) error {
	config := &cdiv1.CDIConfig{
		ObjectMeta: metav1.ObjectMeta{
			Name: cdi.ConfigName,
			Labels: map[string]string{
				cdi.LabelApp:          cdi.App,
				cdi.LabelComponent:    "",
				cdi.LabelManagedBy:    cdi.ManagedBy,
				cdi.LabelK8sComponent: "storage",
			},
		},
		Spec: cdiv1.CDIConfigSpec{FeatureGates: append([]string(nil), DefaultFeatureGates...)},
	}
	config.Status = Status(&config.Spec, &config.Status, classes)
	if err := r.client.Create(ctx, config); err != nil {
		return fmt.Errorf("create CDIConfig %s: %w", cdi.ConfigName, err)
	}
	return nil
}
