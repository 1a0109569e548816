// Package storageprofile keeps one StorageProfile for every StorageClass, of the same name: what is known of its volumes,
// where the profile's spec does not say otherwise. A profile that is deleted is made again, one whose class is gone is
// deleted.
//
// RBAC: cdi.kubevirt.io/storageprofiles get list watch create patch delete
// RBAC: cdi.kubevirt.io/storageprofiles/status patch
// RBAC: storage.k8s.io/storageclasses get list watch
// RBAC: core/persistentvolumes get list watch
package storageprofile

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/cdictl/cdictl/cmd/agent/internal/profile"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Options of the controller: none so far.
type Options struct{}

// Add adds the controller to the manager.
func Add(mgr ctrl.Manager, _ Options) error {
	r := &reconciler{client: mgr.GetClient()}
	err := ctrl.NewControllerManagedBy(mgr).
		Named("storageprofile").
		For(&cdiv1.StorageProfile{}).
		Watches(&storagev1.StorageClass{}, &handler.EnqueueRequestForObject{}). // the names are the same
		Watches(&corev1.PersistentVolume{}, handler.EnqueueRequestsFromMapFunc(classOfVolume)).
		Complete(r)
	if err != nil {
		return fmt.Errorf("controller storageprofile: %w", err)
	}
	return nil
}

// classOfVolume asks for the profile of a volume's class, where the volume may be made by hand.
func classOfVolume(_ context.Context, o client.Object) []reconcile.Request {
	pv, ok := o.(*corev1.PersistentVolume)
	if !ok || pv.Spec.StorageClassName == "" || pv.Annotations[annProvisionedBy] != "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: pv.Spec.StorageClassName}}}
}

// annProvisionedBy is on volumes that a provisioner made.
const annProvisionedBy = "pv.kubernetes.io/provisioned-by"

type reconciler struct{ client client.Client }

// Reconcile makes the profile of one class say what it should.
func (r *reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	var class storagev1.StorageClass
	err := r.client.Get(ctx, req.NamespacedName, &class)
	if apierrors.IsNotFound(err) || err == nil && class.DeletionTimestamp != nil {
		return ctrl.Result{}, r.remove(ctx, req.Name)
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("StorageClass %s: %w", req.Name, err)
	}
	p, err := r.ensure(ctx, &class)
	if err != nil || p == nil {
		return ctrl.Result{}, err
	}
	volumes, err := r.volumes(ctx, &class)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.publish(ctx, p, status(&class, &p.Spec, volumes))
}

func (r *reconciler) remove(ctx context.Context, name string) error {
	var p cdiv1.StorageProfile
	err := r.client.Get(ctx, types.NamespacedName{Name: name}, &p)
	if err == nil {
		err = r.client.Delete(ctx, &p, client.Preconditions{UID: &p.UID})
	}
	if err := client.IgnoreNotFound(err); err != nil {
		return fmt.Errorf("delete StorageProfile %s, whose StorageClass is gone: %w", name, err)
	}
	return nil
}

// ensure returns the profile of the class, made if need be, with labels and annotations; nil where it is just going, which
// will be told of.
func (r *reconciler) ensure(ctx context.Context, class *storagev1.StorageClass) (*cdiv1.StorageProfile, error) {
	p := &cdiv1.StorageProfile{}
	err := r.client.Get(ctx, types.NamespacedName{Name: class.Name}, p)
	switch {
	case apierrors.IsNotFound(err):
		p = &cdiv1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: class.Name, Labels: labels(), Annotations: annotations(class)}}
		if err := r.client.Create(ctx, p); err != nil {
			return nil, fmt.Errorf("create StorageProfile %s: %w", class.Name, err)
		}
		return p, nil
	case err != nil:
		return nil, fmt.Errorf("StorageProfile %s: %w", class.Name, err)
	case p.DeletionTimestamp != nil:
		return nil, nil
	}
	before := p.DeepCopy()
	p.Annotations = merge(annotations(class), p.Annotations)
	p.Labels = merge(labels(), p.Labels)
	if maps.Equal(before.Annotations, p.Annotations) && maps.Equal(before.Labels, p.Labels) {
		return p, nil
	}
	if err := r.client.Patch(ctx, p, client.MergeFrom(before)); err != nil {
		return nil, fmt.Errorf("annotate StorageProfile %s: %w", class.Name, err)
	}
	return p, nil
}

func (r *reconciler) volumes(ctx context.Context, class *storagev1.StorageClass) ([]corev1.PersistentVolume, error) {
	if class.Provisioner != profile.NoProvisioner {
		return nil, nil
	}
	var list corev1.PersistentVolumeList
	if err := r.client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("volumes of StorageClass %s: %w", class.Name, err)
	}
	return list.Items, nil
}

// publish writes the status if it says anything new.
func (r *reconciler) publish(ctx context.Context, p *cdiv1.StorageProfile, want cdiv1.StorageProfileStatus) error {
	now := metav1.Now()
	for i := range want.Conditions {
		c := &want.Conditions[i]
		c.LastTransitionTime, c.LastHeartbeatTime = now, now
		for _, old := range p.Status.Conditions {
			if old.Type != c.Type {
				continue
			}
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			if old.Status == c.Status && old.Reason == c.Reason && old.Message == c.Message {
				c.LastHeartbeatTime = old.LastHeartbeatTime
			}
		}
	}
	if equality.Semantic.DeepEqual(p.Status, want) {
		return nil
	}
	before := p.DeepCopy()
	p.Status = want
	if err := r.client.Status().Patch(ctx, p, client.MergeFrom(before)); err != nil {
		return fmt.Errorf("status of StorageProfile %s: %w", p.Name, err)
	}
	return nil
}

func labels() map[string]string {
	return map[string]string{
		cdi.LabelApp:          cdi.App,
		cdi.LabelComponent:    "",
		cdi.LabelManagedBy:    cdi.ManagedBy,
		cdi.LabelK8sComponent: "storage",
	}
}

// merge returns defaults overlaid with what is there.
func merge(defaults, there map[string]string) map[string]string {
	if len(defaults) == 0 {
		return there
	}
	maps.Copy(defaults, there)
	return defaults
}
