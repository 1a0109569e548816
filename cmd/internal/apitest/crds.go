package apitest

import (
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// groupCRDs returns the CRDs of cdi.kubevirt.io with schemas that let everything through.
func groupCRDs() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	var out []*apiextensionsv1.CustomResourceDefinition
	for _, k := range []struct {
		kind       string
		namespaced bool
		status     bool
	}{
		{"DataVolume", true, true}, {"DataImportCron", true, false}, {"DataSource", true, false},
		{"StorageProfile", false, true}, {"CDIConfig", false, false}, {"CDI", false, false}, {"ObjectTransfer", false, true},
		{"VolumeImportSource", true, false}, {"VolumeUploadSource", true, false}, {"VolumeCloneSource", true, false},
	} {
		plural := strings.ToLower(k.kind) + "s"
		scope := apiextensionsv1.ClusterScoped
		if k.namespaced {
			scope = apiextensionsv1.NamespaceScoped
		}
		v := apiextensionsv1.CustomResourceDefinitionVersion{
			Name: "v1beta1", Served: true, Storage: true,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
				Type: "object", XPreserveUnknownFields: new(true),
			}},
		}
		if k.status {
			v.Subresources = &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}}
		}
		out = append(out, &apiextensionsv1.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: plural + ".cdi.kubevirt.io"},
			Spec: apiextensionsv1.CustomResourceDefinitionSpec{
				Group: "cdi.kubevirt.io", Scope: scope,
				Names: apiextensionsv1.CustomResourceDefinitionNames{
					Kind: k.kind, ListKind: k.kind + "List", Plural: plural, Singular: strings.ToLower(k.kind),
				},
				Versions: []apiextensionsv1.CustomResourceDefinitionVersion{v},
			},
		})
	}
	return out, nil
}
