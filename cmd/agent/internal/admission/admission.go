package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/cdictl/cdictl/cmd/agent/internal/admission/validate"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Add serves the webhook at cdi.WebhookPath of the manager's webhook server.
func Add(mgr ctrl.Manager) error {
	// The claim of a DataVolume may be a moment old, so it is asked of the API server and not of the cache.
	h := &handler{reader: mgr.GetAPIReader()}
	mgr.GetWebhookServer().Register(cdi.WebhookPath, &admission.Webhook{Handler: h})
	return nil
}

// handler is safe for concurrent use.
type handler struct{ reader client.Reader }

// Handle implements admission.Handler.
func (h *handler) Handle(ctx context.Context, req admission.Request) admission.Response {
	causes, err := h.review(ctx, &req.AdmissionRequest)
	switch {
	case err != nil:
		return admission.Errored(http.StatusInternalServerError, err)
	case len(causes) > 0:
		return refused(&req.AdmissionRequest, causes)
	}
	return admission.Allowed("")
}

// review decodes by the kind; kinds that it does not know are none of its business.
func (h *handler) review(ctx context.Context, req *admissionv1.AdmissionRequest) (validate.Causes, error) {
	if req.Resource.Group != cdi.Group || req.SubResource != "" {
		return nil, nil
	}
	switch req.Resource.Resource {
	case "datavolumes":
		return check(req, func(dv *cdiv1.DataVolume) (validate.Causes, error) {
			if causes := validate.DataVolume(dv); len(causes) > 0 {
				return causes, nil
			}
			if causes, err := h.claim(ctx, dv); len(causes) > 0 || err != nil {
				return causes, err
			}
			return h.source(ctx, dv)
		}, validate.DataVolumeUpdate)
	case "dataimportcrons":
		return check(req, pure(validate.DataImportCron), validate.DataImportCronUpdate)
	case "volumeimportsources":
		return check(req, pure(validate.VolumeImportSource), validate.VolumeImportSourceUpdate)
	}
	return nil, nil
}

// object is a pointer to T that is an object of the API.
type object[T any] interface {
	*T
	metav1.Object
}

// check asks one of the two, by the operation. An object that is being deleted passes: its finalizers must come off,
// whatever it looks like.
func check[T any, P object[T]](req *admissionv1.AdmissionRequest, create func(P) (validate.Causes, error), update func(old, obj P) validate.Causes) (validate.Causes, error) {
	obj := P(new(T))
	if err := decode(req.Object.Raw, obj); err != nil {
		return nil, err
	}
	if obj.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	if obj.GetNamespace() == "" {
		obj.SetNamespace(req.Namespace) // the request knows it, the object need not
	}
	switch req.Operation {
	case admissionv1.Create:
		return create(obj)
	case admissionv1.Update:
		old := P(new(T))
		if err := decode(req.OldObject.Raw, old); err != nil {
			return nil, err
		}
		return update(old, obj), nil
	}
	return nil, nil
}

func decode(raw []byte, into any) error {
	// Not strictly: fields that our version of the API does not know were let through by the schema.
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("decode the object under review: %w", err)
	}
	return nil
}

func pure[P any](f func(P) validate.Causes) func(P) (validate.Causes, error) {
	return func(p P) (validate.Causes, error) { return f(p), nil }
}

// refused is an answer as the API server itself gives it to an object that its schema does not let through.
func refused(req *admissionv1.AdmissionRequest, causes validate.Causes) admission.Response {
	r := admission.Denied(causes.String())
	r.Result.Code = http.StatusUnprocessableEntity
	r.Result.Reason = metav1.StatusReasonInvalid
	r.Result.Details = &metav1.StatusDetails{
		Name: req.Name, Group: req.Kind.Group, Kind: req.Kind.Kind, Causes: causes,
	}
	return r
}
