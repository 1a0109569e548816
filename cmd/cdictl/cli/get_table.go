package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/cdictl/cdictl/cmd/internal/diagnose"
)

// An item is a DataVolume as the API server has it, and as its type.
type item struct {
	raw  *unstructured.Unstructured
	dv   *cdiv1.DataVolume
	gone bool
}

func newItem(u *unstructured.Unstructured) (item, error) {
	dv := new(cdiv1.DataVolume)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, dv); err != nil {
		return item{}, fmt.Errorf("dv/%s in namespace %s: %w", u.GetName(), u.GetNamespace(), err)
	}
	return item{raw: u, dv: dv}, nil
}

func (i item) key() string { return i.dv.Namespace + "/" + i.dv.Name }

// finished: nothing about it changes any more.
func (i item) finished() bool { return i.dv.Status.Phase == cdiv1.Succeeded }

// columnSet says which columns a table has.
type columnSet struct{ namespaces, wide bool }

func (c columnSet) heading() []string {
	h := []string{"NAME", "PHASE", "PROGRESS", "RATE", "ETA", "RESTARTS", "AGE", "REASON"}
	if c.namespaces {
		h = append([]string{"NAMESPACE"}, h...)
	}
	if c.wide {
		h = append(h, "SIZE", "CLASS", "FORMAT", "SOURCE", "MESSAGE")
	}
	return h
}

func (c columnSet) row(i item, claim *corev1.PersistentVolumeClaim, now time.Time) []string {
	s := diagnose.Summarize(i.dv, claim)
	if i.gone {
		s.Phase, s.Reason = "(deleted)", ""
	}
	row := []string{i.dv.Name, s.Phase, s.Progress, s.Rate, s.ETA, fmt.Sprint(s.Restarts),
		duration.HumanDuration(max(now.Sub(i.dv.CreationTimestamp.Time), 0)), s.Reason}
	if c.namespaces {
		row = append([]string{i.dv.Namespace}, row...)
	}
	if c.wide {
		size, class := asked(i.dv, claim)
		format := ""
		if s.Population != nil {
			format = s.Population.Format
		}
		row = append(row, size, class, format, diagnose.SourceOf(i.dv), s.Message)
	}
	for n := range row {
		if row[n] = clean(row[n]); row[n] == "" {
			row[n] = "-"
		}
	}
	return row
}

// asked is the size and the class of the claim, or what the DataVolume asks for while there is none.
func asked(dv *cdiv1.DataVolume, claim *corev1.PersistentVolumeClaim) (size, class string) {
	var resources corev1.VolumeResourceRequirements
	var name *string
	switch {
	case claim != nil:
		resources, name = claim.Spec.Resources, claim.Spec.StorageClassName
	case dv.Spec.Storage != nil:
		resources, name = dv.Spec.Storage.Resources, dv.Spec.Storage.StorageClassName
	case dv.Spec.PVC != nil:
		resources, name = dv.Spec.PVC.Resources, dv.Spec.PVC.StorageClassName
	}
	if q, ok := resources.Requests[corev1.ResourceStorage]; ok {
		size = q.String()
	}
	if name != nil {
		class = *name
	}
	return size, class
}

// A table aligns rows that come one after the other: columns have the width of the first ones, and grow if they must.
type table struct{ widths []int }

// add returns the rows as text, under the heading if they are the first.
func (t *table) add(heading []string, rows [][]string) string {
	if t.widths == nil {
		rows = append([][]string{heading}, rows...)
		t.widths = make([]int, len(heading))
	}
	for _, r := range rows {
		for n, cell := range r {
			t.widths[n] = max(t.widths[n], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, r := range rows {
		line := ""
		for n, cell := range r {
			line += cell + strings.Repeat(" ", t.widths[n]-utf8.RuneCountInString(cell)+3)
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return b.String()
}

// encode writes the objects as the API server has them, as a List if they are one.
func encode(format string, items []item, list bool) string {
	var docs []any
	for _, i := range items {
		u := i.raw.DeepCopy()
		u.SetManagedFields(nil) // as kubectl leaves them out
		docs = append(docs, u.Object)
	}
	if list {
		if docs == nil {
			docs = []any{}
		}
		docs = []any{map[string]any{"apiVersion": "v1", "kind": "List", "metadata": map[string]any{"resourceVersion": ""}, "items": docs}}
	}
	var b strings.Builder
	for _, d := range docs {
		// What came as JSON goes as JSON and as YAML.
		if format == "yaml" {
			text, _ := yaml.Marshal(d)
			b.WriteString("---\n" + string(text))
			continue
		}
		text, _ := json.MarshalIndent(d, "", "    ")
		b.Write(append(text, '\n'))
	}
	return strings.TrimPrefix(b.String(), "---\n")
}
