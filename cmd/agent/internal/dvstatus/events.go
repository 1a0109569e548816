package dvstatus

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// Event is what is to be told of a change of status.
type Event struct {
	Type    string // corev1.EventTypeNormal or corev1.EventTypeWarning
	Reason  string
	Message string
}

// Reasons of events.
const (
	EventScheduled    = "ImportScheduled"
	EventInProgress   = "ImportInProgress"
	EventSucceeded    = "ImportSucceeded"
	EventFailed       = "ImportFailed"
	EventClaimLost    = "ErrClaimLost"
	EventExternalDone = "ExternalPopulationSucceeded"
)

// Events are what the change from the old status to the new one is told by: phases, why it is stuck, and failures of the
// worker. The same change is told once; what stays as it was is not told again.
func Events(f Facts, old, now *cdiv1.DataVolumeStatus) []Event {
	var events []Event
	add := func(kind, reason, message string) { events = append(events, Event{kind, reason, message}) }
	name := f.DV.Name
	bound, wasBound := Condition(now, cdiv1.DataVolumeBound), Condition(old, cdiv1.DataVolumeBound)
	running, wasRunning := Condition(now, cdiv1.DataVolumeRunning), Condition(old, cdiv1.DataVolumeRunning)

	lost := now.Phase == cdiv1.Failed && bound != nil && bound.Reason == ReasonClaimLost
	stuck := f.Stuck != nil && bound != nil && bound.Reason == f.Stuck.Reason
	if bound != nil && (wasBound == nil || wasBound.Reason != bound.Reason) {
		switch {
		case lost:
			add(corev1.EventTypeWarning, EventClaimLost, bound.Message)
		case stuck:
			add(corev1.EventTypeWarning, bound.Reason, bound.Message)
		default:
			add(corev1.EventTypeNormal, bound.Reason, bound.Message)
		}
	}

	broken := running != nil && (running.Reason == ReasonError || running.Reason == ReasonChecksum || running.Reason == ReasonImagePull)
	if broken && now.Phase != cdiv1.Failed && (wasRunning == nil || wasRunning.Reason != running.Reason) {
		add(corev1.EventTypeWarning, running.Reason, running.Message)
	}

	if now.Phase == old.Phase {
		return events
	}
	switch now.Phase {
	case cdiv1.ImportScheduled:
		add(corev1.EventTypeNormal, EventScheduled, fmt.Sprintf("Import into %s scheduled", name))
	case cdiv1.ImportInProgress:
		add(corev1.EventTypeNormal, EventInProgress, fmt.Sprintf("Import into %s in progress", name))
	case cdiv1.Succeeded:
		switch f.Flow {
		case External:
			add(corev1.EventTypeNormal, EventExternalDone, fmt.Sprintf("PVC %s successfully populated", name))
		case Populated, Plain:
			add(corev1.EventTypeNormal, EventSucceeded, fmt.Sprintf("Successfully imported into PVC %s", name))
		}
	case cdiv1.Failed:
		if !lost {
			message := fmt.Sprintf("Failed to import into PVC %s", name)
			if running != nil {
				message = join(": ", message, running.Message)
			}
			add(corev1.EventTypeWarning, EventFailed, message)
		}
	}
	return events
}
