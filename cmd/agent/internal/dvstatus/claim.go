package dvstatus

import (
	"math"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// claim is what a claim's annotations say. They are read here and nowhere else in this package.
type claim struct {
	population   *cdi.Population // nil: nobody has begun with it
	unreadable   error           // of the population
	restarts     int32
	selectedNode bool
	immediate    bool
	fatal        bool   // it failed for good
	noNode       bool   // storage.pod.schedulable is false
	boundReason  string // where the working claim does not bind
	boundMessage string
	runReason    string // of the worker pod
}

func readClaim(c *corev1.PersistentVolumeClaim) claim {
	if c == nil {
		return claim{}
	}
	a := c.Annotations
	out := claim{
		selectedNode: a[cdi.AnnSelectedNode] != "",
		fatal:        a[cdi.AnnFatalError] != "",
		noNode:       a[cdi.AnnPodSchedulable] == "false",
		runReason:    a[cdi.AnnRunningReason],
	}
	_, out.immediate = a[cdi.AnnImmediateBinding]
	if n, err := strconv.ParseInt(a[cdi.AnnPodRestarts], 10, 32); err == nil && n > 0 {
		out.restarts = int32(n)
	}
	if strings.EqualFold(a[cdi.AnnBound], "false") {
		out.boundReason, out.boundMessage = a[cdi.AnnBoundReason], a[cdi.AnnBoundMessage]
	}
	out.population, out.unreadable = cdi.PopulationOf(a)
	if out.population == nil {
		out.population = fromPod(a)
	}
	return out
}

// fromPod makes a Population from the annotations that mirror a worker pod: what claims have that another controller of
// this ecosystem fills, or filled before an upgrade.
func fromPod(a map[string]string) *cdi.Population {
	p := &cdi.Population{
		Reason:    a[cdi.AnnRunningReason],
		Message:   a[cdi.AnnRunningMessage],
		Pod:       a[cdi.AnnImportPod],
		Percent:   percent(a[cdi.AnnPopulatorProgress]),
		Remaining: -1,
	}
	notRunning := strings.EqualFold(a[cdi.AnnRunning], "false")
	switch corev1.PodPhase(a[cdi.AnnPodPhase]) {
	case corev1.PodPending:
		p.State = cdi.StateScheduled
	case corev1.PodRunning:
		p.State = cdi.StateRunning
		if notRunning {
			p.State = cdi.StateBackoff
		}
	case corev1.PodFailed:
		p.State = cdi.StateBackoff
		if a[cdi.AnnFatalError] != "" {
			p.State = cdi.StateFailed
		}
	case corev1.PodSucceeded:
		p.State = cdi.StateDone
	default:
		return nil
	}
	return p
}

func percent(s string) float64 {
	p, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || math.IsNaN(p) || p < 0 || p > 100 {
		return -1
	}
	return p
}
