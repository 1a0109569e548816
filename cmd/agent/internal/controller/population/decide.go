package population

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// action is what a step does. Each may be done twice, and may be the last thing before the manager is killed.
type action string

const (
	rest        action = ""            // nothing but to say how it stands
	makePrime   action = "make PVC′"   //
	dropPrime   action = "drop PVC′"   // its volume is gone
	moveNode    action = "move node"   // selected-node goes from the claim to PVC′
	reschedule  action = "reschedule"  // PVC′ cannot be made there: the scheduler is to choose another node
	startWorker action = "start"       //
	dropWorker  action = "drop worker" // another is made when it is gone
	record      action = "record"      // the volume is complete
	publish     action = "publish"     // the volume goes from PVC′ to the claim
	finish      action = "finish"      // everything else goes, then Done
	giveUp      action = "give up"     // for good
	cleanUp     action = "clean up"    // after giving up
)

// step is one move of the state machine: what to do, and how it stands before it is done. Once it is, the next step is
// decided, until one rests.
type step struct {
	do     action
	status cdi.Population
	sight  *sight        // of the pod, if it was looked at
	result *job.Result   // to be recorded, or why it is given up
	counts bool          // dropWorker: it had failed
	again  time.Duration // rest: look again after this, 0: when something changes
	ask    client.Object // rest: whose events may say more
	mute   bool          // rest: there is nothing to say, not even the state
}

const (
	soon     = time.Second      // after what should settle by itself
	poll     = 2 * time.Second  // while a worker runs
	often    = 10 * time.Second // while something is awaited that is not watched
	minPause = 10 * time.Second // before a pod that ended is replaced, doubled with every failure …
	maxPause = 5 * time.Minute  // … up to the kubelet's own limit
)

// decide is the state machine.
func decide(w *world) step {
	switch {
	case w.flow == foreign:
		return step{mute: true}
	case w.claim.DeletionTimestamp != nil:
		return w.leave()
	case w.said.State == cdi.StateDone:
		return step{mute: true}
	case w.fatal():
		return w.givenUp()
	case w.claim.Status.Phase == corev1.ClaimLost:
		return w.failed("ClaimLost", "the claim's PersistentVolume is gone", "delete the claim; its DataVolume makes it again")
	case w.flow == viaPrime:
		return w.indirectly()
	}
	return w.directly()
}

// leave is for a claim that is being deleted: the pod must go first, or it never goes. The rest goes with its owner.
func (w *world) leave() step {
	if w.pod != nil && w.podIsOurs() && w.pod.DeletionTimestamp == nil {
		return step{do: dropWorker, mute: true}
	}
	return step{mute: true}
}

// givenUp cleans up after a failure for good. Saying that there is no pod is the end of it.
func (w *world) givenUp() step {
	status := w.said
	if status.State != cdi.StateFailed {
		status = cdi.Population{State: cdi.StateFailed, Reason: "Failed", Message: w.claim.Annotations[cdi.AnnFatalError], Percent: -1}
	}
	ours := w.pod != nil && w.podIsOurs()
	if !retained(w.claim) && (w.prime != nil || ours || w.said.Pod != "") {
		return step{do: cleanUp, status: status}
	}
	return step{status: status}
}

// failed is a state that ends when its cause does.
func (w *world) failed(reason, message, hint string) step {
	return step{status: cdi.Population{State: cdi.StateFailed, Reason: reason, Message: message, Hint: hint, Percent: -1}, again: often}
}

// refuses is failed, or waits if something other than the claim is to be mended: who sees Failed may give up.
func (w *world) refuses(p *problem) step {
	if p.elsewhere {
		return waits(p.reason, p.message, p.hint)
	}
	return w.failed(p.reason, p.message, p.hint)
}

func waits(reason, message, hint string) step {
	return step{status: cdi.Population{State: cdi.StateWaiting, Reason: reason, Message: message, Hint: hint, Percent: -1}, again: often}
}

func (w *world) awaitsConsumer() step {
	s := waits("WaitForFirstConsumer", fmt.Sprintf("StorageClass %s binds a claim when a pod wants it, and none does yet", w.class.Name),
		fmt.Sprintf("start the VM or pod that uses the claim, or do not wait: kubectl annotate -n %s pvc %s %s=", w.claim.Namespace, w.claim.Name, cdi.AnnImmediateBinding))
	s.status.State, s.again = cdi.StateConsumer, 0
	return s
}

// directly fills the claim itself.
func (w *world) directly() step {
	if r := w.record(); r != nil {
		status := cdi.Population{State: cdi.StatePublishing, Reason: "Publishing", Message: "the worker is done", Pod: w.said.Pod}
		describe(&status, r)
		return step{do: finish, status: status}
	}
	return w.work()
}

// work is the worker's part: it is the same for both ways.
func (w *world) work() step {
	if w.pod == nil {
		return w.mayStart()
	}
	if !w.podIsOurs() {
		return waits("PodNameTaken", fmt.Sprintf("a pod %s is there that was not made for this claim", w.pod.Name),
			fmt.Sprintf("it should go with its claim; else: kubectl delete pod -n %s %s", w.pod.Namespace, w.pod.Name))
	}
	if w.pod.Annotations[podspec.AnnWorkingClaim] != string(w.working().UID) {
		return w.replace("it filled a claim that is gone")
	}
	s := look(w.pod, w.now)
	status := cdi.Population{State: s.state, Reason: s.reason, Message: s.message, Hint: s.hint, Pod: w.pod.Name, NextTry: s.nextTry, Percent: -1}
	switch {
	case s.ended && s.result != nil && s.result.Outcome == job.Succeeded:
		return step{do: record, status: status, sight: &s, result: s.result}
	case s.state == cdi.StateBackoff && s.result != nil && s.result.Outcome == job.Failed:
		status.State, status.NextTry = cdi.StateFailed, nil
		return step{do: giveUp, status: status, sight: &s, result: s.result}
	case w.pod.DeletionTimestamp != nil:
		return step{status: status, sight: &s, again: often}
	case s.ended:
		next := s.since.Add(pause(max(s.restarts, restartsOf(w.claim))))
		status.NextTry = &next
		if d := next.Sub(w.now); d > 0 {
			return step{status: status, sight: &s, again: d}
		}
		return step{do: dropWorker, status: status, sight: &s, counts: true}
	}
	next := step{status: status, sight: &s}
	switch s.state {
	case cdi.StateRunning:
		next.again = poll
		tellProgress(&next.status, w.progress)
	case cdi.StateScheduled:
		if next.again = patience; s.stuck {
			next.ask, next.again = w.pod, often
		}
	}
	return next
}

// replace deletes a pod that is of no use, and waits until it is gone.
func (w *world) replace(why string) step {
	if !w.podIsOurs() {
		return waits("PodNameTaken", fmt.Sprintf("a pod %s is there that was not made for this claim", w.pod.Name), "")
	}
	status := cdi.Population{State: cdi.StateWaiting, Reason: "Restarting", Message: "the worker is started anew: " + why, Pod: w.pod.Name, Percent: -1}
	if w.pod.DeletionTimestamp != nil {
		s := look(w.pod, w.now)
		if s.reason == "NodeLost" {
			status.Reason, status.Message, status.Hint = s.reason, s.message, s.hint
		}
		return step{status: status, again: often}
	}
	return step{do: dropWorker, status: status}
}

// mayStart says whether a worker can be made.
func (w *world) mayStart() step {
	working, consumer := w.working(), w.waitsForConsumer()
	start := step{do: startWorker, status: cdi.Population{State: cdi.StateScheduled, Reason: "Pending", Message: "the worker's pod is made", Percent: -1}}
	if w.source == nil && w.wrong == nil { // taken away after PVC′ was made
		return waits("SourceMissing", w.origin()+" does not exist", "create it in namespace "+w.claim.Namespace)
	}
	if p := w.obstacle(); p != nil {
		return w.refuses(p)
	}
	switch {
	case bound(working):
		return start
	case w.flow == direct && consumer && (immediate(w.claim) || !w.honorsConsumer()):
		return start // the pod is the consumer
	case w.flow == direct && consumer:
		return w.awaitsConsumer()
	case w.flow == direct:
		s := waits("ClaimPending", fmt.Sprintf("claim %s is not bound to a volume yet", w.claim.Name), "kubectl describe -n "+w.claim.Namespace+" pvc "+w.claim.Name)
		s.ask = w.claim
		return s
	case consumer && immediate(w.claim):
		return start
	}
	if s, ok := w.node(); consumer && ok {
		return s
	}
	s := waits("Provisioning", fmt.Sprintf("the volume of claim %s is being made", w.prime.Name), "")
	s.again = patience
	if w.now.Sub(w.prime.CreationTimestamp.Time) >= patience {
		s.ask, s.again = w.prime, often
	}
	return s
}

// pause is how long to wait before a pod is replaced that failed.
func pause(failures int32) time.Duration {
	return min(minPause<<min(max(failures, 0), 10), maxPause)
}

// describe puts what was imported into p.
func describe(p *cdi.Population, r *job.Result) {
	p.Format, p.VirtualSize, p.Digest, p.Fetched = r.Format, r.VirtualSize, r.Digest, r.Fetched
	p.Done, p.Total, p.Percent = r.VirtualSize, r.VirtualSize, 100
	p.Rate, p.Remaining = 0, 0
}
