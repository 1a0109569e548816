package dvstatus

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// view is the facts, read.
type view struct {
	Facts
	claim      claim
	population *cdi.Population // nil: nobody has begun
	ours       bool            // the claim is this DataVolume's
	phase      cdiv1.DataVolumePhase
}

func newView(f Facts) *view {
	v := &view{Facts: f, claim: readClaim(f.Claim)}
	v.ours = f.Claim != nil && metav1.IsControlledBy(f.Claim, f.DV)
	v.population = v.claim.population
	if f.Flow == Given || f.Flow == External || f.Claim == nil || !v.ours {
		v.population = nil
	}
	v.phase = v.choosePhase()
	return v
}

func (v *view) choosePhase() cdiv1.DataVolumePhase {
	finished := v.DV.Status.Phase == cdiv1.Succeeded
	switch {
	case v.Claim == nil || !v.ours || v.Claim.DeletionTimestamp != nil:
		// What succeeded has done so, even if the claim was deleted since: it is not filled again behind anybody's back.
		if finished {
			return cdiv1.Succeeded
		}
		return cdiv1.Pending
	case v.isLost():
		return cdiv1.Failed
	case finished:
		return cdiv1.Succeeded
	case v.Stuck != nil:
		return cdiv1.Pending
	case v.waitsForConsumer():
		// Names that consumers know: both mean that a pod that uses the claim has to come first.
		if v.Flow == Populated {
			return cdiv1.PendingPopulation
		}
		return cdiv1.WaitForFirstConsumer
	case v.Flow == Given || v.Flow == External:
		if v.isBound() {
			return cdiv1.Succeeded
		}
		return cdiv1.Pending
	}
	return v.phaseOfPopulation()
}

func (v *view) phaseOfPopulation() cdiv1.DataVolumePhase {
	if v.population == nil {
		return v.idle()
	}
	switch v.population.State {
	case cdi.StateScheduled:
		return cdiv1.ImportScheduled
	case cdi.StateRunning, cdi.StateBackoff, cdi.StatePublishing:
		// A worker that is started again, and a volume on its way to the claim, are part of the import: no client waits
		// for other phases here.
		return cdiv1.ImportInProgress
	case cdi.StateFailed:
		return cdiv1.Failed
	case cdi.StateDone:
		if v.isBound() {
			return cdiv1.Succeeded
		}
		return cdiv1.ImportInProgress
	}
	return v.idle()
}

// idle is the phase of a claim that no worker has begun with.
func (v *view) idle() cdiv1.DataVolumePhase {
	if v.isBound() && v.Flow == Plain {
		return cdiv1.PVCBound
	}
	return cdiv1.Pending
}

func (v *view) isBound() bool { return v.Claim != nil && v.Claim.Status.Phase == corev1.ClaimBound }

func (v *view) isLost() bool { return v.ours && v.Claim.Status.Phase == corev1.ClaimLost }

// waitsForConsumer says that the class binds when a pod uses the claim, and none has been scheduled that does. A worker
// that was made nevertheless goes before.
func (v *view) waitsForConsumer() bool {
	if v.isBound() || v.claim.selectedNode || v.claim.immediate {
		return false
	}
	if v.population != nil {
		switch v.population.State {
		case cdi.StateConsumer:
			return true
		case cdi.StateWaiting:
		default:
			return false
		}
	}
	return v.LateBinding
}

// started says that a worker has read something.
func (v *view) started() bool {
	if v.population == nil {
		return false
	}
	switch v.population.State {
	case cdi.StateRunning, cdi.StateBackoff, cdi.StateFailed, cdi.StatePublishing, cdi.StateDone:
		return true
	}
	return false
}
