package diagnose

import (
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// size is bytes for the eye, exact where a unit divides them.
func size(n int64) string {
	v, unit := float64(n), "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB", "PiB"} {
		if v < 1024 {
			break
		}
		v, unit = v/1024, u
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + " " + unit
}

func quantity(q resource.Quantity) string {
	if q.IsZero() {
		return ""
	}
	return q.String()
}

// progressText is how far the transfer is: "1.2 of 5 GiB, 140 MiB/s, 27s to go".
func progressText(p *cdi.Population) string {
	if p.Total <= 0 {
		return ""
	}
	s := fmt.Sprintf("%s of %s", size(p.Done), size(p.Total))
	if p.Percent >= 0 {
		s += fmt.Sprintf(" (%.1f%%)", p.Percent)
	}
	if p.Rate > 0 {
		s += fmt.Sprintf(", %s/s", size(int64(p.Rate)))
	}
	if p.Remaining > 0 {
		s += fmt.Sprintf(", %s to go", time.Duration(p.Remaining*float64(time.Second)).Round(time.Second))
	}
	return s
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// lowerFirst makes a sentence fit for the middle of one. Abbreviations and names such as PersistentVolumeClaim stay.
func lowerFirst(s string) string {
	word, _, _ := strings.Cut(s, " ")
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 || strings.ContainsFunc(word[n:], unicode.IsUpper) {
		return s
	}
	return strings.TrimSuffix(string(unicode.ToLower(r))+s[n:], ".")
}

func since(c *cdiv1.DataVolumeCondition) time.Time {
	if c == nil {
		return time.Time{}
	}
	return c.LastTransitionTime.Time
}

// again is the step for what cannot be mended in place.
func (v *view) again() string {
	if v.DataVolume == nil {
		return fmt.Sprintf("Delete the claim and make it again: kubectl -n %s delete pvc %s", v.Namespace, v.Name)
	}
	return fmt.Sprintf("Delete the DataVolume and make it again, its spec cannot be changed: kubectl -n %s delete dv %s", v.Namespace, v.Name)
}

// edit names the place of a field of the source.
func (v *view) field(name string) string {
	if strings.HasPrefix(v.source.field, "spec.") {
		return v.source.field + "." + name
	}
	return orElse(v.source.field, "spec.source") + " (" + name + ")"
}

// AgentSelector finds the agent's objects.
const AgentSelector = cdi.LabelName + "=" + cdi.Agent

// agentLog is the step to take when only the agent knows more.
func (v *view) agentLog() string {
	for _, d := range v.Agent.Deployments {
		return fmt.Sprintf("Read what the agent says: kubectl -n %s logs deployment/%s --tail=50", d.Namespace, d.Name)
	}
	return "Read what the agent says: kubectl logs -A -l " + AgentSelector + " --tail=50"
}

// tryAgain adds when the agent tries again by itself.
func (v *view) tryAgain(f *Finding) {
	if t := v.population.NextTry; t != nil {
		if t.After(v.Now) {
			f.Next = append(f.Next, fmt.Sprintf("It is tried again by itself in %s (%s).", age(*t, v.Now), t.UTC().Format("15:04:05 UTC")))
		} else {
			f.Next = append(f.Next, "It is tried again by itself, about now.")
		}
	}
}

// named lists names for a sentence; "none" if there are none.
func named(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func eventCause(e *corev1.Event) string { return oneLine(e.Message) }
