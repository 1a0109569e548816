package dvstatus

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Reasons of conditions that programs switch on.
const (
	ReasonBound           = "Bound"
	ReasonPending         = "Pending"
	ReasonNotFound        = "NotFound"
	ReasonClaimLost       = "ClaimLost"
	ReasonTransferRunning = "TransferRunning"
	ReasonCompleted       = "Completed"
	ReasonError           = "Error"         // KubeVirt shows the VM as broken
	ReasonChecksum        = "ChecksumError" // the stored bytes are not those asked for
	ReasonImagePull       = "ImagePullFailed"
	ReasonUnschedulable   = "Unschedulable"
	reasonPodRunning      = "Pod is running"
	reasonConsumer        = "WaitForFirstConsumer"
	reasonPublishing      = "Publishing"
)

func condition(t cdiv1.DataVolumeConditionType, status corev1.ConditionStatus, reason, message string) cdiv1.DataVolumeCondition {
	return cdiv1.DataVolumeCondition{Type: t, Status: status, Reason: reason, Message: message}
}

// bound is about the claim alone.
func (v *view) bound() cdiv1.DataVolumeCondition {
	no := func(reason, message string) cdiv1.DataVolumeCondition {
		return condition(cdiv1.DataVolumeBound, corev1.ConditionFalse, reason, message)
	}
	switch {
	case v.Stuck != nil && (!v.isBound() || !v.ours || v.Claim.DeletionTimestamp != nil):
		return no(v.Stuck.Reason, say(v.Stuck.Message, v.Stuck.Hint))
	case v.Claim == nil && v.DV.Status.Phase == cdiv1.Succeeded:
		return no(ReasonNotFound, say("No PVC found: it was deleted after it had been filled", "delete the DataVolume and create it again to have it filled anew"))
	case v.Claim == nil:
		return no(ReasonNotFound, "No PVC found: it is about to be created")
	}
	name := v.Claim.Name
	switch v.Claim.Status.Phase {
	case corev1.ClaimBound:
		return condition(cdiv1.DataVolumeBound, corev1.ConditionTrue, ReasonBound, fmt.Sprintf("PVC %s Bound", name))
	case corev1.ClaimLost:
		return no(ReasonClaimLost, v.lost())
	}
	if v.claim.boundMessage != "" {
		reason := v.claim.boundReason
		if reason == "" {
			reason = ReasonPending
		}
		return no(reason, fmt.Sprintf("target PVC %s Pending and %s", name, v.claim.boundMessage))
	}
	why := "its volume is not there yet"
	switch {
	case v.waitsForConsumer():
		why = "its class waits for the first pod that uses it"
	case v.Flow == External:
		why = "what fills it has not finished"
	case v.Flow == Populated:
		why = "it is bound when its content is complete"
	}
	return no(ReasonPending, fmt.Sprintf("PVC %s Pending: %s", name, why))
}

func (v *view) lost() string {
	volume := "its volume"
	if n := v.Claim.Spec.VolumeName; n != "" {
		volume = "PersistentVolume " + n
	}
	return say(fmt.Sprintf("Claim Lost: %s of PVC %s is gone, and the data with it", volume, v.Claim.Name),
		fmt.Sprintf("delete PVC %s, and it is made and filled again", v.Claim.Name))
}

// running is about the worker pod.
func (v *view) running() cdiv1.DataVolumeCondition {
	no := func(reason, message string) cdiv1.DataVolumeCondition {
		return condition(cdiv1.DataVolumeRunning, corev1.ConditionFalse, reason, message)
	}
	p := v.population
	switch {
	case v.phase == cdiv1.Succeeded:
		return no(ReasonCompleted, v.completed())
	case v.Stuck != nil:
		return no(v.Stuck.Reason, say(v.Stuck.Message, v.Stuck.Hint))
	case v.isLost():
		return no(ReasonClaimLost, v.lost())
	case p == nil || v.Claim.DeletionTimestamp != nil:
		return no(ReasonPending, v.waiting())
	}
	switch p.State {
	case cdi.StateRunning:
		return condition(cdiv1.DataVolumeRunning, corev1.ConditionTrue, first(v.claim.runReason, reasonPodRunning), v.moving())
	case cdi.StateScheduled:
		if v.claim.noNode || p.Reason == ReasonUnschedulable {
			return no(ReasonUnschedulable, say(join(": ", "Importer pod cannot be scheduled", p.Message), p.Hint))
		}
		reason := first(p.Reason, v.claim.runReason, ReasonPending)
		if failure(reason) == ReasonImagePull {
			reason = ReasonImagePull
		}
		return no(reason, say(first(p.Message, "the importer pod is being started"), p.Hint))
	case cdi.StateBackoff, cdi.StateFailed:
		return no(failure(p.Reason), v.trouble())
	case cdi.StatePublishing, cdi.StateDone:
		return no(ReasonCompleted, "Import Complete: "+v.publishing())
	}
	return no(first(p.Reason, ReasonPending), v.waiting())
}

// failure is the reason that clients know for a worker's.
func failure(reason string) string {
	switch reason {
	case "DigestMismatch":
		return ReasonChecksum
	case ReasonImagePull, "ErrImagePull", "ImagePullBackOff", "InvalidImageName":
		return ReasonImagePull
	}
	return ReasonError
}

// ready is the whole story in one condition.
func (v *view) ready() cdiv1.DataVolumeCondition {
	no := func(reason, message string) cdiv1.DataVolumeCondition {
		return condition(cdiv1.DataVolumeReady, corev1.ConditionFalse, reason, message)
	}
	p := v.population
	switch {
	case v.phase == cdiv1.Succeeded && (v.Claim == nil || !v.ours || v.Claim.DeletionTimestamp != nil):
		b := v.bound()
		return no(b.Reason, b.Message)
	case v.phase == cdiv1.Succeeded:
		return condition(cdiv1.DataVolumeReady, corev1.ConditionTrue, ReasonCompleted, v.completed())
	case v.Stuck != nil:
		return no(v.Stuck.Reason, say(v.Stuck.Message, v.Stuck.Hint))
	case v.Claim == nil || v.isLost():
		b := v.bound()
		return no(b.Reason, b.Message)
	case v.waitsForConsumer():
		return no(reasonConsumer, v.waiting())
	case p == nil:
		return no(ReasonPending, v.waiting())
	}
	switch p.State {
	case cdi.StateRunning:
		return no(ReasonTransferRunning, v.moving())
	case cdi.StateScheduled:
		r := v.running()
		return no(r.Reason, r.Message)
	case cdi.StateBackoff, cdi.StateFailed:
		return no(first(p.Reason, ReasonError), v.trouble())
	case cdi.StatePublishing, cdi.StateDone:
		return no(reasonPublishing, v.publishing())
	}
	return no(first(p.Reason, ReasonPending), v.waiting())
}

// completed tells of a claim with its content.
func (v *view) completed() string {
	name := v.DV.Name
	if v.Claim == nil {
		return fmt.Sprintf("Import Complete: PVC %s, which is gone, was filled", name)
	}
	switch p := v.population; {
	case v.Flow == Given:
		return fmt.Sprintf("PVC %s had its content already", name)
	case v.Flow == External:
		return fmt.Sprintf("PVC %s was filled by its data source", name)
	case p == nil || p.VirtualSize == 0:
		return fmt.Sprintf("Import Complete: PVC %s has its content", name)
	default:
		from := ""
		if p.Format != "" {
			from = " from " + p.Format
		}
		return join(", ", fmt.Sprintf("Import Complete: PVC %s has a disk of %s%s", name, size(float64(p.VirtualSize)), from), p.Digest)
	}
}

// waiting tells what has to come before a worker starts.
func (v *view) waiting() string {
	name := v.DV.Name
	switch p := v.population; {
	case v.Claim != nil && v.Claim.DeletionTimestamp != nil:
		return fmt.Sprintf("PVC %s is being deleted", name)
	case v.waitsForConsumer():
		message, hint := "", ""
		if p != nil && p.State == cdi.StateWaiting {
			message, hint = p.Message, p.Hint
		}
		return say(join("; ", fmt.Sprintf("PVC %s waits for the first pod that uses it, as its StorageClass asks", name), message),
			first(hint, fmt.Sprintf("start what uses it, or do not wait: kubectl annotate pvc %s %s=", name, cdi.AnnImmediateBinding)))
	case v.claim.unreadable != nil:
		return say(fmt.Sprintf("what was noted on PVC %s cannot be read: %v", name, v.claim.unreadable), "")
	case p != nil && p.Message != "":
		return say(p.Message, p.Hint)
	case v.Flow == External && !v.isBound():
		return fmt.Sprintf("PVC %s waits for what its data source names to fill it", name)
	case v.Flow == Given:
		return fmt.Sprintf("PVC %s, which has its content already, is not bound yet", name)
	case v.isBound():
		return fmt.Sprintf("PVC %s is bound; a worker is about to be made", name)
	}
	return fmt.Sprintf("PVC %s is made; a worker is about to be made", name)
}

// moving tells how far a running worker is.
func (v *view) moving() string {
	p := v.population
	if p.Rate < 1 && p.Message != "" {
		return say(p.Message, p.Hint) // it may tell why nothing comes
	}
	return say(first(transfer(p), p.Message, "the importer pod is running"), p.Hint)
}

// trouble tells what went wrong, when it is tried again, and what to do.
func (v *view) trouble() string {
	p := v.population
	message := simplify(p.Reason, first(p.Message, "the importer pod failed"))
	again, hint := nextTry(p), p.Hint
	if v.claim.fatal {
		again = "it is not tried again"
		hint = join("; ", strings.TrimRight(hint, ". "), v.redo())
	}
	return say(join("; ", strings.TrimRight(message, ". "), again), hint)
}

// redo tells how what failed for good is begun anew. The spec of a DataVolume cannot be changed.
func (v *view) redo() string {
	anew := "delete the DataVolume and create it again"
	switch v.population.Reason {
	case "TargetTooSmall":
		return anew + " with a larger size"
	case "InvalidSpec", "PolicyRefused", "LimitExceeded":
		return anew + " with another spec"
	}
	return fmt.Sprintf("when the source is mended, delete PVC %s to import again; for another spec, %s", v.DV.Name, anew)
}

func (v *view) publishing() string {
	if v.Flow == Plain {
		return fmt.Sprintf("PVC %s has its content", v.DV.Name)
	}
	return fmt.Sprintf("the volume with the content is moved to PVC %s", v.DV.Name)
}

// first returns the first that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
