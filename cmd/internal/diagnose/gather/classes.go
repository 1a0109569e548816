package gather

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/cmd/internal/diagnose"
	"github.com/cdictl/cdictl/cmd/internal/kube"
)

// classes finds the StorageClass that the claim has or will have, its profile and its driver.
func (g *gatherer) classes(ctx context.Context) {
	o := g.o
	o.Classes = list[storagev1.StorageClass](ctx, g, kube.StorageClasses, "", "")
	o.Class = classOf(o)
	if o.Class == nil {
		return
	}
	o.Profile = get[cdiv1.StorageProfile](ctx, g, kube.StorageProfiles, "", o.Class.Name)
	o.Driver = get[storagev1.CSIDriver](ctx, g, kube.CSIDrivers, "", o.Class.Provisioner)
}

// classOf is the class of the claim, else the one that the DataVolume asks for, else the default.
func classOf(o *diagnose.Objects) *storagev1.StorageClass {
	var name *string
	switch {
	case o.Claim != nil:
		name = o.Claim.Spec.StorageClassName
	case o.DataVolume.Spec.Storage != nil:
		name = o.DataVolume.Spec.Storage.StorageClassName
	case o.DataVolume.Spec.PVC != nil:
		name = o.DataVolume.Spec.PVC.StorageClassName
	}
	if name == nil {
		archive := o.DataVolume != nil && o.DataVolume.Spec.ContentType == cdiv1.DataVolumeArchive
		if !archive {
			if c := newest(o.Classes, cdi.AnnDefaultVirtClass); c != nil && o.Claim == nil {
				return c
			}
		}
		if o.Claim != nil {
			return nil // one that is the default now would have been written into it
		}
		return newest(o.Classes, cdi.AnnDefaultClass)
	}
	for i := range o.Classes {
		if o.Classes[i].Name == *name {
			return &o.Classes[i]
		}
	}
	return nil
}

// newest is the class that was marked as the default; of many the one made last, then by name.
func newest(classes []storagev1.StorageClass, mark string) *storagev1.StorageClass {
	var best *storagev1.StorageClass
	for i := range classes {
		c := &classes[i]
		if c.Annotations[mark] != "true" {
			continue
		}
		if best == nil || best.CreationTimestamp.Before(&c.CreationTimestamp) ||
			best.CreationTimestamp.Equal(&c.CreationTimestamp) && c.Name < best.Name {
			best = c
		}
	}
	return best
}
