package datavolume

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/claim"
	"github.com/cdictl/cdictl/cmd/agent/internal/dvstatus"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// plan is what the claim is to be.
type plan struct {
	spec        *corev1.PersistentVolumeClaimSpec
	flow        dvstatus.Flow
	content     *content // nil: it needs none
	preallocate bool
	immediate   bool // the claim is not to wait for a consumer, whatever its class says
}

// planClaim decides about a claim that is to be made. One that is there has been decided about.
func (r *reconciler) planClaim(ctx context.Context, w *work) error {
	if w.claim != nil || w.finished() {
		return nil
	}
	p := &plan{flow: dvstatus.External}
	isExternal := external(w.dv)
	if !isExternal {
		var err error
		// A claim for a volume that is there needs no source that is supported.
		if p.content, err = contentOf(w.dv); err != nil && !checksStatic(w.dv) {
			return err
		}
	}
	in, err := r.input(ctx, w.dv)
	if err != nil {
		return err
	}
	if p.spec, err = claim.Render(in); err != nil {
		return err
	}
	p.preallocate = ptr.Deref(w.dv.Spec.Preallocation, in.Config != nil && in.Config.Status.Preallocation)
	p.immediate = !honorsConsumer(in.Config)
	w.plan = p

	volume, err := r.staticVolume(ctx, w.dv, p.spec, in.Class)
	switch {
	case err != nil:
		return err
	case volume != "":
		p.flow, p.content, p.spec.VolumeName = dvstatus.Given, nil, volume
		p.spec.DataSource, p.spec.DataSourceRef = nil, nil
		return nil
	case isExternal:
		return nil
	case p.content == nil:
		_, err := contentOf(w.dv)
		return err
	}
	populator, err := r.usesPopulator(ctx, w.dv, p.spec, in.Class)
	if err != nil {
		return err
	}
	p.flow = dvstatus.Plain
	if populator {
		p.flow = dvstatus.Populated
		p.spec.DataSource = nil
		p.spec.DataSourceRef = &corev1.TypedObjectReference{
			APIGroup: ptr.To(cdi.Group),
			Kind:     cdiv1.VolumeImportSourceRef,
			Name:     cdi.ImportSourceName(w.dv.UID),
		}
	}
	return nil
}

// honorsConsumer is the gate by which claims of certain classes wait for their consumer. It is on unless CDIConfig lists
// gates, and not this one.
func honorsConsumer(config *cdiv1.CDIConfig) bool {
	return config == nil || config.Spec.FeatureGates == nil || slices.Contains(config.Spec.FeatureGates, "HonorWaitForFirstConsumer")
}

// input fetches what the claim's spec depends on.
func (r *reconciler) input(ctx context.Context, dv *cdiv1.DataVolume) (claim.Input, error) {
	in := claim.Input{DV: dv}
	var classes storagev1.StorageClassList
	if err := r.client.List(ctx, &classes); err != nil {
		return in, fmt.Errorf("list StorageClasses: %w", err)
	}
	in.Class = claim.Class(dv, classes.Items)
	var err error
	if in.Config, err = r.config(ctx); err != nil {
		return in, err
	}
	if in.Class != nil {
		var profile cdiv1.StorageProfile
		err := r.client.Get(ctx, client.ObjectKey{Name: in.Class.Name}, &profile)
		if client.IgnoreNotFound(err) != nil {
			return in, fmt.Errorf("StorageProfile %s: %w", in.Class.Name, err)
		}
		if err == nil {
			in.Profile = &profile
		}
		return in, nil
	}
	var volumes corev1.PersistentVolumeList
	if err := r.client.List(ctx, &volumes, client.UnsafeDisableDeepCopy); err != nil {
		return in, fmt.Errorf("list PersistentVolumes: %w", err)
	}
	in.Volumes = volumes.Items
	return in, nil
}

// usesPopulator says whether the claim is to be filled through a second one. That takes a driver that makes volumes on
// demand; a claim for a certain volume can only be filled itself.
func (r *reconciler) usesPopulator(ctx context.Context, dv *cdiv1.DataVolume, spec *corev1.PersistentVolumeClaimSpec, class *storagev1.StorageClass) (bool, error) {
	if value, ok := dv.Annotations[cdi.AnnUsePopulator]; ok {
		yes, err := strconv.ParseBool(value)
		if err != nil {
			return false, stop(reasonNotValid, fmt.Sprintf("annotation %s is %q, neither true nor false", cdi.AnnUsePopulator, value),
				fmt.Sprintf("kubectl annotate --overwrite dv %s %s=true", dv.Name, cdi.AnnUsePopulator))
		}
		return yes, nil
	}
	if class == nil || spec.VolumeName != "" {
		return false, nil
	}
	return r.hasCSIDriver(ctx, class)
}

func (r *reconciler) hasCSIDriver(ctx context.Context, class *storagev1.StorageClass) (bool, error) {
	if strings.Contains(class.Provisioner, "/") {
		return false, nil // kubernetes.io/no-provisioner and its like: no driver can have such a name
	}
	err := r.client.Get(ctx, client.ObjectKey{Name: class.Provisioner}, &storagev1.CSIDriver{})
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("CSIDriver %s: %w", class.Provisioner, err)
	}
	return err == nil, nil
}

// classOf is the class that a claim has, nil if there is none of that name.
func (r *reconciler) classOf(ctx context.Context, w *work) (*storagev1.StorageClass, error) {
	name := w.claim.Spec.StorageClassName
	if name == nil {
		// The API names the default when it admits the claim or when there is one; until then it is the one to come.
		var classes storagev1.StorageClassList
		if err := r.client.List(ctx, &classes); err != nil {
			return nil, fmt.Errorf("list StorageClasses: %w", err)
		}
		return claim.Class(w.dv, classes.Items), nil
	}
	if *name == "" {
		return nil, nil
	}
	class := &storagev1.StorageClass{}
	err := r.client.Get(ctx, client.ObjectKey{Name: *name}, class)
	switch {
	case err == nil:
		return class, nil
	case apierrors.IsNotFound(err):
		return nil, nil
	}
	return nil, fmt.Errorf("StorageClass %s: %w", *name, err)
}

// bindsLate says that the class of the claim waits for its first consumer. A claim that names its volume never waits.
func (r *reconciler) bindsLate(ctx context.Context, w *work) (bool, error) {
	if w.claim.Spec.VolumeName != "" {
		return false, nil
	}
	class, err := r.classOf(ctx, w)
	if err != nil || class == nil {
		return false, err
	}
	return ptr.Deref(class.VolumeBindingMode, storagev1.VolumeBindingImmediate) == storagev1.VolumeBindingWaitForFirstConsumer, nil
}

func checksStatic(dv *cdiv1.DataVolume) bool {
	_, ok := dv.Annotations[cdi.AnnCheckStaticVolume]
	return ok
}

// staticVolume finds the volume that was made for the claim and has its content already, as the DataVolume's annotation
// says; "" if there is none.
func (r *reconciler) staticVolume(ctx context.Context, dv *cdiv1.DataVolume, spec *corev1.PersistentVolumeClaimSpec, class *storagev1.StorageClass) (string, error) {
	if !checksStatic(dv) {
		return "", nil
	}
	var list corev1.PersistentVolumeList
	if err := r.client.List(ctx, &list, client.MatchingFields{claimRefIndex: dv.Namespace + "/" + dv.Name}); err != nil {
		return "", fmt.Errorf("list PersistentVolumes for PVC %s/%s: %w", dv.Namespace, dv.Name, err)
	}
	want := ptr.Deref(spec.StorageClassName, "")
	if spec.StorageClassName == nil && class != nil {
		want = class.Name
	}
	var fit []string
	for i := range list.Items {
		pv := &list.Items[i]
		ref := pv.Spec.ClaimRef
		have := pv.Spec.Capacity[corev1.ResourceStorage]
		if pv.Status.Phase == corev1.VolumeAvailable && pv.DeletionTimestamp == nil && ref != nil && ref.UID == "" &&
			pv.Spec.StorageClassName == want && (spec.VolumeName == "" || spec.VolumeName == pv.Name) &&
			ptr.Deref(pv.Spec.VolumeMode, corev1.PersistentVolumeFilesystem) == claim.VolumeMode(spec) &&
			have.Cmp(spec.Resources.Requests[corev1.ResourceStorage]) >= 0 && hasModes(pv, spec) {
			fit = append(fit, pv.Name)
		}
	}
	if len(fit) == 0 {
		return "", nil
	}
	return slices.Min(fit), nil
}

func hasModes(pv *corev1.PersistentVolume, spec *corev1.PersistentVolumeClaimSpec) bool {
	for _, m := range spec.AccessModes {
		if !slices.Contains(pv.Spec.AccessModes, m) {
			return false
		}
	}
	return true
}
