package diagnose

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// A rule looks for one cause. nil: not this one.
type rule func(*view) *Finding

// rules in order: the first that finds something names the cause. What ends everything comes first, then what keeps
// anybody from working, then the way of the data from its claim to its end. The last one always finds something.
var rules = []rule{
	done,
	claimLost,
	failedForGood,
	beingDeleted,
	twoAgents,
	agentMissing,
	agentDown,
	claimBeingDeleted,
	absentReferences,
	noClaim,
	claimNotOurs,
	firstConsumer,
	classOfClaim,
	quota,
	provisioning,
	nodeDown,
	workerScheduling,
	workerImage,
	workerVolumes,
	workerContainer,
	outOfMemory,
	sourceTrouble,
	workerEvicted,
	stateSays,
	atWork,
	publishing,
	conditionSays,
	untouched,
	onItsWay,
}

func done(v *view) *Finding {
	succeeded := v.phase() == cdiv1.Succeeded
	if v.DataVolume == nil && v.Claim != nil {
		succeeded = v.population.State == cdi.StateDone ||
			v.Claim.Annotations[cdi.AnnPodPhase] == string(corev1.PodSucceeded) && v.Claim.Status.Phase == corev1.ClaimBound
	}
	if !succeeded {
		return nil
	}
	if v.Claim == nil && !v.unread("pvc") {
		return &Finding{ID: "ClaimGone", Verdict: Stuck, Summary: "was filled, but its claim is gone",
			Cause: fmt.Sprintf("the claim %s was deleted after the import, and the data with it", v.Name),
			Next:  []string{"Delete the DataVolume and make it again: kubectl -n " + v.Namespace + " delete dv " + v.Name}}
	}
	f := &Finding{ID: "Completed", Verdict: Done, Summary: "is done: the disk is in claim " + v.Name}
	if p := v.population; p.VirtualSize > 0 {
		f.Summary += fmt.Sprintf(" (%s, %s)", size(p.VirtualSize), orElse(p.Format, "raw"))
	}
	return f
}

func claimLost(v *view) *Finding {
	bound := v.condition(cdiv1.DataVolumeBound)
	lost := v.Claim != nil && v.Claim.Status.Phase == corev1.ClaimLost || bound != nil && bound.Reason == "ClaimLost"
	if !lost {
		return nil
	}
	name := "the volume"
	if v.Claim != nil && v.Claim.Spec.VolumeName != "" {
		name = "volume " + v.Claim.Spec.VolumeName
	}
	return &Finding{ID: "ClaimLost", Verdict: Failed, Summary: "has failed: the volume of its claim is gone", Since: since(bound),
		Cause: name + " was deleted while claim " + v.Name + " was bound to it; the data is lost",
		Next:  []string{"Delete the claim, and a new one is made and filled: kubectl -n " + v.Namespace + " delete pvc " + v.Name}}
}

func beingDeleted(v *view) *Finding {
	if v.DataVolume == nil || v.DataVolume.DeletionTimestamp == nil {
		return nil
	}
	f := &Finding{ID: "BeingDeleted", Verdict: Waiting, Summary: "is being deleted", WaitsFor: "its deletion",
		Since: v.DataVolume.DeletionTimestamp.Time, Cause: "somebody deleted it"}
	if fin := v.DataVolume.Finalizers; len(fin) > 0 {
		f.Cause += "; it stays until these finalizers are gone: " + strings.Join(fin, ", ")
	}
	if v.Now.Sub(f.Since) > 2*time.Minute && len(v.DataVolume.Finalizers) > 0 {
		f.Verdict = Stuck
		f.Next = []string{"Look at whoever owns the finalizer: it should take it away."}
	}
	return f
}

func claimBeingDeleted(v *view) *Finding {
	for _, c := range []*corev1.PersistentVolumeClaim{v.Claim, v.Prime} {
		if c == nil || c.DeletionTimestamp == nil {
			continue
		}
		f := &Finding{ID: "ClaimBeingDeleted", Verdict: Stuck, Summary: "is stuck: its claim " + c.Name + " is being deleted",
			WaitsFor: "the deletion of claim " + c.Name, Since: c.DeletionTimestamp.Time,
			Cause: "somebody deleted the claim while it was being filled"}
		var users []string
		if v.Worker != nil && mounts(v.Worker, c.Name) {
			users = append(users, "pod/"+v.Worker.Name)
		}
		for i := range v.Users {
			if mounts(&v.Users[i], c.Name) {
				users = append(users, "pod/"+v.Users[i].Name)
			}
		}
		if len(users) > 0 {
			f.Cause += "; it stays as long as it is used by " + strings.Join(users, ", ")
		} else if len(c.Finalizers) > 0 {
			f.Cause += "; it stays until these finalizers are gone: " + strings.Join(c.Finalizers, ", ")
		}
		f.Next = append(f.Next, "Nothing, if the import shall start again: a new claim is made as soon as the old one is gone.")
		for i := range v.Users {
			f.Next = append(f.Next, fmt.Sprintf("Stop what still uses it: kubectl -n %s delete pod %s", v.Namespace, v.Users[i].Name))
		}
		if v.DataVolume != nil {
			f.Next = append(f.Next, fmt.Sprintf("To give it up, delete the DataVolume too: kubectl -n %s delete dv %s", v.Namespace, v.Name))
		}
		return f
	}
	return nil
}

// atWork: the worker runs.
func atWork(v *view) *Finding {
	start, ok := running(v.Worker)
	if !ok {
		return nil
	}
	f := &Finding{ID: "TransferRunning", Verdict: Working, Summary: "is being filled", WaitsFor: "the transfer of " + v.source.what(), Since: start}
	if p := progressText(v.population); p != "" {
		f.Summary += ": " + p
	}
	return f
}

func publishing(v *view) *Finding {
	if v.population.State != cdi.StatePublishing {
		return nil
	}
	f := &Finding{ID: "Publishing", Verdict: Working, Summary: "has all its data; the volume is being moved to claim " + v.Name,
		WaitsFor: "claim " + v.Name + " to be bound to the filled volume", Cause: v.population.Message}
	if v.result != nil && !v.result.ended.IsZero() {
		f.Since = v.result.ended
		if v.Now.Sub(f.Since) > 2*time.Minute {
			f.Verdict, f.Summary = Stuck, "is stuck: it has all its data, but the volume does not come to claim "+v.Name
			f.Next = []string{"Look at the volume and both claims below: the volume's claimRef must name claim " + v.Name + ".", v.agentLog()}
		}
	}
	return f
}

// stateSays passes on what the agent wrote on the claim.
func stateSays(v *view) *Finding {
	p := v.population
	switch p.State {
	case cdi.StateBackoff, cdi.StateConsumer:
	case cdi.StateWaiting, cdi.StateScheduled:
		if !complaint(p.Reason) {
			return nil
		}
	default:
		return nil
	}
	if p.Message == "" {
		return nil
	}
	f := &Finding{ID: orElse(p.Reason, string(p.State)), Verdict: Stuck, Summary: "is stuck: " + lowerFirst(p.Message), Cause: p.Message, WaitsFor: "what the cause names"}
	if p.Hint != "" {
		f.Next = []string{p.Hint}
	}
	v.tryAgain(f)
	return f
}

// conditionSays passes on what the DataVolume's own conditions tell.
func conditionSays(v *view) *Finding {
	for _, t := range []cdiv1.DataVolumeConditionType{cdiv1.DataVolumeRunning, cdiv1.DataVolumeBound, cdiv1.DataVolumeReady} {
		c := v.condition(t)
		if c == nil || c.Status == corev1.ConditionTrue || !complaint(c.Reason) {
			continue
		}
		return &Finding{ID: c.Reason, Verdict: Stuck, Summary: "is stuck: " + lowerFirst(orElse(c.Message, c.Reason)), Since: since(c),
			Cause: orElse(c.Message, c.Reason), WaitsFor: "what the cause names"}
	}
	return nil
}

// complaint tells reasons that say something is wrong from those that only say where it is. What is not known is taken for
// a complaint: somebody took the trouble to say it.
func complaint(reason string) bool {
	switch reason {
	case "", "Pending", "Bound", "NotFound", "Running", "TransferRunning", "Completed", "Pod is running", "CreatingScratchSpace", "AwaitingVDDK", // CDI's
		"Provisioning", "ClaimPending", "Restarting", "Terminating", "Scheduled", "Publishing", "Waiting": // the agent's
		return false
	}
	return true
}

// untouchedFor is how long a new DataVolume may stay without a word from the agent.
const untouchedFor = 15 * time.Second

// untouched: nobody has looked at it.
func untouched(v *view) *Finding {
	fresh := v.DataVolume != nil && v.phase() == "" && len(v.DataVolume.Status.Conditions) == 0
	if v.DataVolume == nil && v.Claim != nil {
		fresh = v.population.State == "" && v.Claim.Annotations[cdi.AnnPodPhase] == "" && v.Claim.Status.Phase == corev1.ClaimPending
	}
	if !fresh || v.Now.Sub(v.created()) < untouchedFor {
		return nil
	}
	f := &Finding{ID: "NobodyLooks", Verdict: Stuck, Summary: "is stuck: nobody has looked at it", WaitsFor: "the agent",
		Cause: "the agent has not written a word of status since it was made", Next: []string{v.agentLog()}}
	if !v.Agent.Known {
		f.Cause += "; most likely it is not installed, or does not run"
		f.Next = []string{"Ask who runs the cluster to look: kubectl get deployments,pods -A -l " + AgentSelector}
	}
	return f
}

// onItsWay is the end of the list.
func onItsWay(v *view) *Finding {
	f := &Finding{ID: "OnItsWay", Verdict: Working, Summary: "is on its way"}
	switch {
	case v.phase() != "":
		f.Summary += ": " + string(v.phase())
	case v.population.State != "":
		f.Summary += ": " + string(v.population.State)
	}
	switch {
	case v.DataVolume == nil && v.Claim != nil && v.population.State == "" && v.source.kind == "":
		f.ID, f.Verdict, f.Summary = "NotOurs", Done, "is a claim that nobody asked to be filled"
	case v.Claim == nil:
		f.WaitsFor = "its claim"
	case v.Worker == nil:
		f.WaitsFor = "the worker pod"
	default:
		f.WaitsFor = "the worker pod to run"
	}
	if v.population.Message != "" {
		f.Cause = v.population.Message
	} else if c := v.condition(cdiv1.DataVolumeRunning); c != nil && c.Message != "" {
		f.Cause = c.Message
	}
	return f
}
