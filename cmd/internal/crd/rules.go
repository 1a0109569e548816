package crd

import apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

// A Rule is a CEL expression that the API server evaluates itself, before it asks our webhook: it also holds while no
// manager runs. Only what needs no order is a rule: the server evaluates all of them and tells every one that failed,
// where the webhook stops at the first.
type Rule struct {
	CRD  string // name of the definition
	Path string // where in the schema the rule stands: "spec", "spec.checkpoints.[]", "" for the object
	// Expr is true for what is right. One that mentions oldSelf is looked at on update alone.
	Expr    string
	Message string
	// Reason is a cause in the API's answer; "" is FieldValueInvalid.
	Reason apiextensionsv1.FieldValueErrorReason
}

const (
	dataVolumes = "datavolumes.cdi.kubevirt.io"
	transfers   = "objecttransfers.cdi.kubevirt.io"
	uploads     = "volumeuploadsources.cdi.kubevirt.io"
)

// rules are all of them. The messages are those that users of the API know.
var rules = []Rule{
	{CRD: uploads, Path: "spec", Expr: "self == oldSelf", Message: "Cannot update VolumeUploadSource Spec"},
	{CRD: transfers, Path: "spec", Expr: "self == oldSelf", Message: "ObjectTransfer spec is immutable"},
	{CRD: transfers, Path: "spec.source", Expr: "self.kind in ['DataVolume', 'PersistentVolumeClaim']",
		Message: "ObjectTransfer source kind must be DataVolume or PersistentVolumeClaim"},
	{CRD: transfers, Path: "spec.target", Expr: "has(self.name) || has(self.namespace)",
		Message: "ObjectTransfer target needs a name or a namespace"},
	{CRD: dataVolumes, Path: "spec", Expr: "has(self.pvc) || has(self.storage)", Message: "Missing Data volume PVC"},
	{CRD: dataVolumes, Path: "spec", Expr: "!(has(self.pvc) && has(self.storage))",
		Message: "Duplicate storage definition, both target storage and target pvc defined"},
}

func (r Rule) add(v *apiextensionsv1.CustomResourceDefinitionVersion) error {
	return at(r.Path, func(s *apiextensionsv1.JSONSchemaProps) {
		rule := apiextensionsv1.ValidationRule{Rule: r.Expr, Message: r.Message}
		if r.Reason != "" {
			rule.Reason = &r.Reason
		}
		s.XValidations = append(s.XValidations, rule)
	})(v)
}
