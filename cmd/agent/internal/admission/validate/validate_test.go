package validate

import (
	"os"
	"strings"
	"testing"

	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/yaml"
)

// The tables of the API tests, without an API server: what no schema and no cluster has to say.
func TestDataVolume(t *testing.T) {
	b, err := os.ReadFile("../testdata/datavolumes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var entries []struct {
		Name, Message, Type, Field string
		Spec                       any
	}
	if err := yaml.Unmarshal(b, &entries); err != nil {
		t.Fatal(err)
	}
	for _, c := range entries {
		t.Run(c.Name, func(t *testing.T) {
			raw, err := yaml.Marshal(map[string]any{"spec": c.Spec})
			if err != nil {
				t.Fatal(err)
			}
			dv := new(cdiv1.DataVolume)
			if err := yaml.Unmarshal(raw, dv); err != nil || c.Type != "" || c.Field == "spec.source.http.url" && c.Message == "Required value" {
				t.Skip("the schema's")
			}
			causes := DataVolume(dv)
			if c.Message == "" {
				if len(causes) > 0 {
					t.Errorf("got %v", causes)
				}
				return
			}
			if len(causes) != 1 || causes[0].Field != c.Field || !strings.Contains(causes[0].Message, c.Message) {
				t.Errorf("got %v, want %s: %s", causes, c.Field, c.Message)
			}
		})
	}
}

func TestSchedule(t *testing.T) {
	for _, s := range []string{
		"", "@hourly", "* * * * *", "0 0 1 1 0", "59 23 31 12 7", "*/5 * * * *", "0-30/10 1,2,3 * jan-mar MON-fri", "0 0 ? * 1", "5/15 * * * *",
	} {
		if err := Schedule(s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{
		" ", "@often", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 13 *", "* * * * 8", "-1 * * * *",
		"5-1 * * * *", "*/0 * * * *", "*/x * * * *", "1,,2 * * * *", "? * * * *", "a * * * *", "* * * mon *", "1- * * * *", "1/ * * * *",
	} {
		if Schedule(s) == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}
