package admission

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/admission/validate"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// claim refuses a DataVolume whose claim exists and is nobody's to take: it would be overwritten.
func (h *handler) claim(ctx context.Context, dv *cdiv1.DataVolume) (validate.Causes, error) {
	if dv.Name == "" {
		return nil, nil // generateName: the name is new
	}
	claim := new(corev1.PersistentVolumeClaim)
	err := h.reader.Get(ctx, client.ObjectKeyFromObject(dv), claim)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("is there a claim %s/%s already? %w", dv.Namespace, dv.Name, err)
	case cdi.PopulatedFor(claim, dv.Name), cdi.ControlledByDataVolume(claim):
		return nil, nil
	}
	gate, err := h.adoptionGate(ctx)
	if err != nil {
		return nil, err
	}
	if cdi.MayAdopt(claim, dv, gate) {
		return nil, nil
	}
	return validate.DataVolumeExists(claim), nil
}

// adoptionGate asks the CDIConfig; a cluster that has none yet has no gates.
func (h *handler) adoptionGate(ctx context.Context) (bool, error) {
	config := new(cdiv1.CDIConfig)
	err := h.reader.Get(ctx, client.ObjectKey{Name: cdi.ConfigName}, config)
	if err != nil && !apierrors.IsNotFound(err) {
		return false, fmt.Errorf("is %s set? CDIConfig %s: %w", cdi.GateClaimAdoption, cdi.ConfigName, err)
	}
	return slices.Contains(config.Spec.FeatureGates, cdi.GateClaimAdoption), nil
}
