package diagnose

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// A Summary is a DataVolume in a line, from what it and its claim say of themselves.
type Summary struct {
	Phase    string
	Progress string // "33.10%"; "" while it is not known
	Rate     string // "140 MiB/s"
	ETA      string // "27s"
	Restarts int32
	// Reason and Message say why it does not go on; both are empty while it does.
	Reason, Message string
	// Population is what the agent wrote on the claim, nil if nothing can be read.
	Population *cdi.Population
}

// Summarize makes the line. claim may be nil: not there, or not looked at.
func Summarize(dv *cdiv1.DataVolume, claim *corev1.PersistentVolumeClaim) Summary {
	s := Summary{Phase: orElse(string(dv.Status.Phase), "-"), Progress: string(dv.Status.Progress), Restarts: dv.Status.RestartCount}
	if claim != nil {
		if p, err := cdi.PopulationOf(claim.Annotations); err == nil {
			s.Population = p
		}
	}
	if p := s.Population; p != nil && p.State == cdi.StateRunning && dv.Status.Phase != cdiv1.Succeeded {
		if p.Rate > 0 {
			s.Rate = size(int64(p.Rate)) + "/s"
		}
		if p.Remaining > 0 {
			s.ETA = time.Duration(p.Remaining * float64(time.Second)).Round(time.Second).String()
		}
		if p.Percent >= 0 {
			s.Progress = fmt.Sprintf("%.2f%%", p.Percent)
		}
	}
	if s.Progress == "N/A" {
		s.Progress = ""
	}
	s.Reason, s.Message = whyNot(dv, s.Population)
	return s
}

// whyNot says what keeps it from going on.
func whyNot(dv *cdiv1.DataVolume, p *cdi.Population) (reason, message string) {
	if dv.Status.Phase == cdiv1.Succeeded {
		return "", ""
	}
	if p != nil {
		switch {
		case p.State == cdi.StateConsumer:
			return "WaitForFirstConsumer", oneLine(p.Message)
		case p.State == cdi.StateBackoff, p.State == cdi.StateFailed, complaint(p.Reason):
			return orElse(p.Reason, string(p.State)), oneLine(p.Message)
		case p.State != "":
			return "", ""
		}
	}
	if dv.Status.Phase == cdiv1.PendingPopulation || dv.Status.Phase == cdiv1.WaitForFirstConsumer {
		return "WaitForFirstConsumer", ""
	}
	v := view{Objects: &Objects{DataVolume: dv}}
	for _, t := range []cdiv1.DataVolumeConditionType{cdiv1.DataVolumeRunning, cdiv1.DataVolumeBound, cdiv1.DataVolumeReady} {
		if c := v.condition(t); c != nil && c.Status != corev1.ConditionTrue && complaint(c.Reason) {
			return c.Reason, oneLine(c.Message)
		}
	}
	return "", ""
}
