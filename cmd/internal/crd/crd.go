// Package crd has the CustomResourceDefinitions of the groups cdi.kubevirt.io and forklift.cdi.kubevirt.io. They are
// generated from the published API module by `make crds`, embedded as they come, and finished here: patches.go has what
// the module's markers do not say, rules.go what a schema alone cannot.
package crd

import (
	"embed"
	"fmt"
	"io/fs"
	"maps"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

//go:embed generated/*.yaml
var generated embed.FS

// Labels are on every definition: what has them was made by us.
var Labels = map[string]string{
	"app.kubernetes.io/part-of":    "cdictl",
	"app.kubernetes.io/managed-by": "cdictl",
	"app.kubernetes.io/component":  "storage",
}

// All returns the definitions, finished, in the order of their names. They are the caller's.
func All() ([]*apiextensionsv1.CustomResourceDefinition, error) {
	files, err := fs.Glob(generated, "generated/*.yaml") // sorted: by group and plural
	if err != nil {
		return nil, err
	}
	all := make([]*apiextensionsv1.CustomResourceDefinition, 0, len(files))
	byName := make(map[string]*apiextensionsv1.CustomResourceDefinition, len(files))
	for _, name := range files {
		b, err := generated.ReadFile(name)
		if err != nil {
			return nil, err
		}
		d := new(apiextensionsv1.CustomResourceDefinition)
		if err := yaml.UnmarshalStrict(b, d); err != nil {
			return nil, fmt.Errorf("crd: %s: %w", name, err)
		}
		d.Labels = maps.Clone(Labels)
		all, byName[d.Name] = append(all, d), d
	}
	for _, p := range patches {
		if err := apply(byName, p.crd, p.change); err != nil {
			return nil, err
		}
	}
	for _, r := range rules {
		if err := apply(byName, r.CRD, r.add); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func apply(byName map[string]*apiextensionsv1.CustomResourceDefinition, name string,
	change func(*apiextensionsv1.CustomResourceDefinitionVersion) error,
) error {
	d := byName[name]
	if d == nil {
		return fmt.Errorf("crd: %s: there is no such definition", name)
	}
	for i := range d.Spec.Versions {
		if err := change(&d.Spec.Versions[i]); err != nil {
			return fmt.Errorf("crd: %s: %w", name, err)
		}
	}
	return nil
}
