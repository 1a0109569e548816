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
	// Reason is a cause in the API's answer; "" is FieldValueInvalid. Of FieldValueDuplicate the API server (1.36) tells no
	// message ("spec: Duplicate value"), so it is left to the webhook.
	Reason apiextensionsv1.FieldValueErrorReason
}

const (
	dataVolumes = "datavolumes.cdi.kubevirt.io"
	transfers   = "objecttransfers.cdi.kubevirt.io"
	uploads     = "volumeuploadsources.cdi.kubevirt.io"
	imports     = "volumeimportsources.cdi.kubevirt.io"
	clones      = "volumeclonesources.cdi.kubevirt.io"
	dataSources = "datasources.cdi.kubevirt.io"
	crons       = "dataimportcrons.cdi.kubevirt.io"
)

// importSources counts the members of a VolumeImportSource's source.
const importSources = "[has(self.source.http), has(self.source.s3), has(self.source.gcs), has(self.source.registry), " +
	"has(self.source.blank), has(self.source.imageio), has(self.source.vddk)].filter(x, x).size()"

// rules are all of them. The messages are those that users of the API know.
var rules = []Rule{
	{CRD: uploads, Path: "spec", Expr: "self == oldSelf", Message: "Cannot update VolumeUploadSource Spec"},
	{CRD: uploads, Path: "spec", Expr: "!has(self.contentType) || self.contentType in ['', 'kubevirt', 'archive']", Message: "ContentType not one of: kubevirt, archive"},
	{CRD: clones, Path: "spec.source", Expr: "self.name != ''", Message: "The clone source has no name"},
	{CRD: clones, Path: "spec", Expr: "self == oldSelf", Message: "Cannot update VolumeCloneSource Spec"},
	{CRD: clones, Path: "spec.source", Message: "Unsupported clone source: neither a PersistentVolumeClaim nor a VolumeSnapshot of snapshot.storage.k8s.io",
		Expr: "self.kind == 'PersistentVolumeClaim' ? !has(self.apiGroup) || self.apiGroup == '' : " +
			"self.kind == 'VolumeSnapshot' && has(self.apiGroup) && self.apiGroup == 'snapshot.storage.k8s.io'"},
	{CRD: imports, Path: "spec", Expr: "has(self.source) && " + importSources + " >= 1", Message: "Missing VolumeImport source"},
	{CRD: imports, Path: "spec", Expr: "!has(self.source) || " + importSources + " <= 1", Message: "Multiple VolumeImport sources"},
	{CRD: imports, Path: "spec", Expr: "!has(self.checkpoints) || size(self.checkpoints) == 0 || has(self.targetClaim) && self.targetClaim != ''",
		Message: "Unable to do multi-stage import without specifying a target claim"},
	{CRD: dataSources, Path: "spec.source", Expr: "[has(self.pvc), has(self.snapshot), has(self.dataSource)].filter(x, x).size() <= 1",
		Message: "Multiple DataSource sources"},
	{CRD: crons, Path: "spec", Expr: "!has(self.importsToKeep) || self.importsToKeep >= 0", Message: "Illegal ImportsToKeep value"},
	{CRD: crons, Path: "spec", Expr: "self.managedDataSource != ''", Message: "Illegal ManagedDataSource value"},
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
