package manifest

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"github.com/cdictl/cdictl/cmd/internal/coexist"
	"github.com/cdictl/cdictl/lib/errdef"
)

var update = flag.Bool("update", false, "write testdata anew")

// Everything but the definitions, which are generated and have their own tests.
func TestGolden(t *testing.T) {
	for name, o := range map[string]Options{
		"default.yaml": {Image: "registry.example/agent:v1", Version: "v1.2.3"},
		"other.yaml":   {Image: "localhost/agent@sha256:0123", Namespace: "storage", Replicas: 1, Version: "v1.2.3-dirty+x"},
	} {
		t.Run(name, func(t *testing.T) {
			all, err := Objects(o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := YAML(slices.DeleteFunc(all, func(o Object) bool { _, ok := o.(*apiextensionsv1.CustomResourceDefinition); return ok }))
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join("testdata", name)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("(-want +got); go test ./cmd/internal/manifest -update\n%s", diff)
			}
		})
	}
}

func TestDeterministic(t *testing.T) {
	var first []byte
	for range 5 {
		all, err := Objects(Options{Image: "x"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := YAML(all)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = b
		}
		if !bytes.Equal(first, b) {
			t.Fatal("two runs differ")
		}
	}
	if bytes.Contains(first, []byte("creationTimestamp: null")) || bytes.Contains(first, []byte("\nstatus:")) {
		t.Error("fields of the server are in the manifest")
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]Options{
		"no image":    {},
		"image":       {Image: "a b"},
		"namespace":   {Image: "x", Namespace: "Storage"},
		"replicas":    {Image: "x", Replicas: -1},
		"line breaks": {Image: "x\nkind: Secret"},
	} {
		if _, err := Objects(o); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// grants are verbs on resources, "core/pods create", and who asks for them.
type grants map[string]string

func (g grants) add(who string, rules []rbacv1.PolicyRule) {
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					g[cmp.Or(group, "core")+"/"+resource+" "+verb] = who
				}
			}
		}
	}
}

var (
	demand = regexp.MustCompile(`^// RBAC(, in the agent's namespace)?: (""|[\w.]+) ?/ ?([\w/]+(?:, [\w/]+)*) (.*)$`)
	verb   = regexp.MustCompile(`\b(get|list|watch|create|update|patch|delete|deletecollection)\b`)
)

// demands reads what the packages of the agent ask for, in lines with RBAC: everywhere, and in the agent's own namespace.
func demands(t *testing.T) (everywhere, own grants) {
	t.Helper()
	everywhere, own = grants{}, grants{}
	err := filepath.WalkDir("../../agent", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "// RBAC") {
				continue
			}
			m := demand.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				t.Errorf("%s: %q is not understood", path, line)
				continue
			}
			to := everywhere
			if m[1] != "" || strings.Contains(m[4], "in the manager's own namespace") {
				to = own
			}
			group := m[2]
			if group == `""` {
				group = "core"
			}
			for _, resource := range strings.Split(m[3], ", ") {
				for _, v := range verb.FindAllString(m[4], -1) {
					to[group+"/"+resource+" "+v] = path
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return everywhere, own
}

// The agent may do what its packages ask for, and nothing else.
func TestLeastPrivilege(t *testing.T) {
	everywhere, own := demands(t)
	for _, tt := range []struct {
		name   string
		rules  []rbacv1.PolicyRule
		needed grants
	}{{"everywhere", clusterRules(), everywhere}, {"own namespace", namespaceRules(), own}} {
		t.Run(tt.name, func(t *testing.T) {
			granted := grants{}
			granted.add("the manifest", tt.rules)
			for _, g := range slices.Sorted(maps.Keys(tt.needed)) {
				if granted[g] == "" {
					t.Errorf("%s: needed by %s, not granted", g, tt.needed[g])
				}
			}
			for _, g := range slices.Sorted(maps.Keys(granted)) {
				if tt.needed[g] == "" {
					t.Errorf("%s: granted, needed by nobody", g)
				}
			}
		})
	}
}

// Secrets of others are never read.
func TestSecretsAreNotRead(t *testing.T) {
	for _, r := range append(clusterRules(), coexist.Rules()...) {
		for _, verb := range r.Verbs {
			all := slices.Contains(r.Resources, "secrets") || slices.Contains(r.Resources, "*")
			if all && !slices.Contains([]string{"create", "update", "patch", "delete"}, verb) {
				t.Errorf("%v: %s", r.Resources, verb)
			}
		}
	}
}
