package crd

import (
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// patches are where the definitions differ from the markers of the API module.
var patches = []struct {
	crd    string
	change func(*apiextensionsv1.CustomResourceDefinitionVersion) error
}{
	// The template of a DataImportCron is a whole DataVolume. Without this the server would drop the labels and
	// annotations in it, without a word.
	{"dataimportcrons.cdi.kubevirt.io", at("spec.template.metadata", func(s *apiextensionsv1.JSONSchemaProps) {
		s.Description = "Labels and annotations of the DataVolumes that are made from this template"
		s.XPreserveUnknownFields = new(true)
	})},
	{"objecttransfers.cdi.kubevirt.io", func(v *apiextensionsv1.CustomResourceDefinitionVersion) error {
		v.Deprecated = true
		v.DeprecationWarning = new("cdi.kubevirt.io/v1beta1 ObjectTransfer is deprecated and will be removed in v1")
		return nil
	}},
}

// at changes the schema at path: names of properties with dots between them, "" for the object itself, and "[]" for the
// items of a list.
func at(path string, change func(*apiextensionsv1.JSONSchemaProps)) func(*apiextensionsv1.CustomResourceDefinitionVersion) error {
	return func(v *apiextensionsv1.CustomResourceDefinitionVersion) error {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			return fmt.Errorf("version %s has no schema", v.Name)
		}
		return visit(v.Schema.OpenAPIV3Schema, path, change)
	}
}

// visit goes down to path and back up: properties are values in a map, so each is put back where it was.
func visit(s *apiextensionsv1.JSONSchemaProps, path string, change func(*apiextensionsv1.JSONSchemaProps)) error {
	if path == "" {
		change(s)
		return nil
	}
	name, rest, _ := strings.Cut(path, ".")
	if name == "[]" {
		if s.Items == nil || s.Items.Schema == nil {
			return fmt.Errorf("%s: not a list", path)
		}
		return visit(s.Items.Schema, rest, change)
	}
	p, ok := s.Properties[name]
	if !ok {
		return fmt.Errorf("%s: no such property", path)
	}
	if err := visit(&p, rest, change); err != nil {
		return err
	}
	s.Properties[name] = p
	return nil
}
