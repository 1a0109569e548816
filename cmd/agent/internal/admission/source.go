package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/admission/validate"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// source refuses a clone of what cannot be: the DataSource and the namespaces must be there when a DataVolume names them,
// though what is cloned may come later. A DataVolume whose data is there already clones nothing.
func (h *handler) source(ctx context.Context, dv *cdiv1.DataVolume) (validate.Causes, error) {
	for _, name := range []string{cdi.AnnPrePopulated, cdi.AnnCheckStaticVolume} {
		if _, ok := dv.Annotations[name]; ok {
			return nil, nil
		}
	}
	if ref := dv.Spec.SourceRef; ref != nil {
		key := client.ObjectKey{Namespace: dv.Namespace, Name: ref.Name}
		if ref.Namespace != nil && *ref.Namespace != "" {
			key.Namespace = *ref.Namespace
		}
		source := new(cdiv1.DataSource)
		if causes, err := h.exists(ctx, "spec.sourceRef", key, source); len(causes) > 0 || err != nil {
			return causes, err
		}
		return h.namespaces(ctx, "spec.sourceRef", source.Spec.Source.PVC, source.Spec.Source.Snapshot)
	}
	if s := dv.Spec.Source; s != nil {
		return h.namespaces(ctx, "spec.source", s.PVC, s.Snapshot)
	}
	return nil, nil
}

func (h *handler) namespaces(ctx context.Context, field string, claim *cdiv1.DataVolumeSourcePVC, snapshot *cdiv1.DataVolumeSourceSnapshot) (validate.Causes, error) {
	switch {
	case claim != nil:
		return h.exists(ctx, field+".pvc.namespace", client.ObjectKey{Name: claim.Namespace}, new(corev1.Namespace))
	case snapshot != nil:
		return h.exists(ctx, field+".snapshot.namespace", client.ObjectKey{Name: snapshot.Namespace}, new(corev1.Namespace))
	}
	return nil, nil
}

func (h *handler) exists(ctx context.Context, field string, key client.ObjectKey, into client.Object) (validate.Causes, error) {
	err := h.reader.Get(ctx, key, into)
	switch {
	case err == nil:
		return nil, nil
	case apierrors.IsNotFound(err):
		return validate.Causes{{Type: metav1.CauseTypeFieldValueNotFound, Field: field, Message: err.Error()}}, nil
	}
	return nil, fmt.Errorf("%s: %w", field, err)
}
