package crd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
)

// definition is what a client sees of a kind, apart from its fields.
type definition struct {
	Scope, Short, Categories, Columns string
	Status, Deprecated                bool
}

// What KubeVirt, virtctl, kubectl and existing manifests go by.
func TestDefinitions(t *testing.T) {
	want := map[string]definition{
		"cdiconfigs.cdi.kubevirt.io":         {Scope: "Cluster"},
		"cdis.cdi.kubevirt.io":               {Scope: "Cluster", Short: "cdi,cdis", Columns: "Age,Phase"},
		"dataimportcrons.cdi.kubevirt.io":    {Scope: "Namespaced", Short: "dic,dics", Categories: "all", Columns: "Format"},
		"datasources.cdi.kubevirt.io":        {Scope: "Namespaced", Short: "das", Categories: "all"},
		"datavolumes.cdi.kubevirt.io":        {Scope: "Namespaced", Short: "dv,dvs", Categories: "all", Columns: "Phase,Progress,Restarts,Age", Status: true},
		"objecttransfers.cdi.kubevirt.io":    {Scope: "Cluster", Short: "ot,ots", Columns: "Age,Phase", Status: true, Deprecated: true},
		"storageprofiles.cdi.kubevirt.io":    {Scope: "Cluster", Status: true},
		"volumeclonesources.cdi.kubevirt.io": {Scope: "Namespaced"}, "volumeimportsources.cdi.kubevirt.io": {Scope: "Namespaced"},
		"volumeuploadsources.cdi.kubevirt.io":                {Scope: "Namespaced"},
		"openstackvolumepopulators.forklift.cdi.kubevirt.io": {Scope: "Namespaced", Short: "osvp,osvps"},
		"ovirtvolumepopulators.forklift.cdi.kubevirt.io":     {Scope: "Namespaced", Short: "ovvp,ovvps"},
	}
	got := map[string]definition{}
	for _, d := range all(t) {
		if len(d.Spec.Versions) != 1 || d.Spec.Versions[0].Name != "v1beta1" || !d.Spec.Versions[0].Storage || !d.Spec.Versions[0].Served {
			t.Errorf("%s: want v1beta1 alone, served and stored", d.Name)
		}
		v, n := d.Spec.Versions[0], d.Spec.Names
		var columns []string
		for _, c := range v.AdditionalPrinterColumns {
			columns = append(columns, c.Name)
		}
		got[d.Name] = definition{
			Scope: string(d.Spec.Scope), Short: strings.Join(n.ShortNames, ","), Categories: strings.Join(n.Categories, ","),
			Columns: strings.Join(columns, ","), Status: v.Subresources != nil && v.Subresources.Status != nil, Deprecated: v.Deprecated,
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every schema is structural, and says of every kind and its spec what it is.
func TestSchemas(t *testing.T) {
	for _, d := range all(t) {
		props := d.Spec.Versions[0].Schema.OpenAPIV3Schema
		var internal apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props, &internal, nil); err != nil {
			t.Fatal(err)
		}
		s, err := schema.NewStructural(&internal)
		if err != nil {
			t.Errorf("%s: %v", d.Name, err)
			continue
		}
		if errs := schema.ValidateStructural(nil, s); len(errs) > 0 {
			t.Errorf("%s: %v", d.Name, errs.ToAggregate())
		}
		if props.Description == "" || props.Properties["spec"].Description == "" {
			t.Errorf("%s: nothing for kubectl explain", d.Name)
		}
	}
}

// A message that the server would not tell, or that is none, helps nobody.
func TestRules(t *testing.T) {
	for _, r := range rules {
		if r.Message == "" || r.Expr == "" || r.Reason == apiextensionsv1.FieldValueDuplicate {
			t.Errorf("%s %s: %+v", r.CRD, r.Path, r)
		}
	}
}

// Two callers get two copies.
func TestCopies(t *testing.T) {
	all(t)[0].Labels["x"] = "y"
	if all(t)[0].Labels["x"] != "" || Labels["x"] != "" {
		t.Error("a caller changed what the next one gets")
	}
}

func TestPaths(t *testing.T) {
	s := &apiextensionsv1.JSONSchemaProps{Properties: map[string]apiextensionsv1.JSONSchemaProps{"list": {
		Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &apiextensionsv1.JSONSchemaProps{
			Properties: map[string]apiextensionsv1.JSONSchemaProps{"name": {Type: "string"}},
		}},
	}}}
	if err := visit(s, "list.[].name", func(p *apiextensionsv1.JSONSchemaProps) { p.Description = "found" }); err != nil {
		t.Fatal(err)
	}
	if got := s.Properties["list"].Items.Schema.Properties["name"].Description; got != "found" {
		t.Errorf("got %q", got)
	}
	for _, path := range []string{"no", "list.name", "list.[].no", "[]"} {
		if visit(s, path, func(*apiextensionsv1.JSONSchemaProps) {}) == nil {
			t.Errorf("%s: no error", path)
		}
	}
}

func all(t *testing.T) []*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	d, err := All()
	if err != nil {
		t.Fatal(err)
	}
	return d
}
