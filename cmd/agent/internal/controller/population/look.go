package population

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// sight is what a worker's pod tells.
type sight struct {
	state                 cdi.State // Scheduled, Running or Backoff
	reason, message, hint string
	restarts              int32
	ready, noNode         bool
	nextTry               *time.Time
	// ended: no container will run in this pod again; since when. result is what the newest container left, if it did.
	ended  bool
	since  time.Time
	result *job.Result
	// stuck: something outside may know more than the pod does: ask for events.
	stuck bool
}

const (
	// patience is how long a pod may take to start before its events are asked for.
	patience = 5 * time.Second
	// lost is how long after its grace period a pod may go on being deleted before its node is suspected.
	lost = 30 * time.Second
)

// look reads a pod. It never guesses: where the pod says nothing, neither does it.
func look(pod *corev1.Pod, now time.Time) sight {
	c := containerOf(pod)
	s := sight{restarts: c.RestartCount, ready: ready(pod)}
	switch {
	case pod.Status.Phase == corev1.PodFailed, pod.Status.Phase == corev1.PodSucceeded:
		s.over(pod, c)
	case pod.DeletionTimestamp != nil:
		s.leaving(pod, now)
	case c.State.Running != nil:
		s.state, s.reason, s.message = cdi.StateRunning, "Running", "the worker is running"
		if t, gone := unready(pod, now); gone {
			s.reason = "NodeNotReady"
			s.message = fmt.Sprintf("the worker was running on node %s, which has not answered since %s", pod.Spec.NodeName, t.UTC().Format(time.RFC3339))
			s.hint = "kubectl describe node " + pod.Spec.NodeName
		}
	case c.State.Terminated != nil:
		s.stopped(c.State.Terminated)
	case c.LastTerminationState.Terminated != nil:
		s.stopped(c.LastTerminationState.Terminated)
		if c.State.Waiting != nil {
			s.backoff(c.State.Waiting, c.LastTerminationState.Terminated)
		}
	default:
		s.starting(pod, c, now)
	}
	return s
}

func containerOf(pod *corev1.Pod) corev1.ContainerStatus {
	for _, c := range pod.Status.ContainerStatuses {
		if c.Name == podspec.Container {
			return c
		}
	}
	return corev1.ContainerStatus{}
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

func ready(pod *corev1.Pod) bool {
	c := condition(pod, corev1.PodReady)
	return c != nil && c.Status == corev1.ConditionTrue
}

// unready says since when a running pod is not ready. It has no probe, so the kubelet always says that it is; the control
// plane says otherwise when the node no longer answers.
func unready(pod *corev1.Pod, now time.Time) (time.Time, bool) {
	c := condition(pod, corev1.PodReady)
	if c == nil || c.Status == corev1.ConditionTrue || now.Sub(c.LastTransitionTime.Time) < 2*patience {
		return time.Time{}, false
	}
	return c.LastTransitionTime.Time, true
}

func (s *sight) over(pod *corev1.Pod, c corev1.ContainerStatus) {
	s.ended, s.state = true, cdi.StateBackoff
	s.since = pod.CreationTimestamp.Time
	if t := cmp.Or(c.State.Terminated, c.LastTerminationState.Terminated); t != nil {
		s.since = t.FinishedAt.Time
		s.stopped(t)
	}
	if pod.Status.Phase == corev1.PodFailed && (s.result == nil || s.result.Outcome == job.Retry) {
		// Evicted, preempted, its node shut down: what the worker said when it was told to go is not the cause.
		s.reason = cmp.Or(pod.Status.Reason, s.reason, "PodFailed")
		s.message = fmt.Sprintf("the worker's pod ended on node %s: %s", pod.Spec.NodeName, cmp.Or(pod.Status.Message, s.message, s.reason))
		return
	}
	if s.result != nil {
		return
	}
	s.reason, s.message = "NoResult", "the worker ended without saying how"
	s.hint = fmt.Sprintf("kubectl logs -n %s %s", pod.Namespace, pod.Name)
}

// stopped reads what a container left.
func (s *sight) stopped(t *corev1.ContainerStateTerminated) {
	s.state = cdi.StateBackoff
	if r, err := job.ParseResult([]byte(t.Message)); err == nil {
		s.result = &r
		s.reason, s.message, s.hint = r.Reason, cmp.Or(r.Message, r.Reason), r.Hint
		return
	}
	s.reason = cmp.Or(t.Reason, "Error")
	s.message = fmt.Sprintf("the worker ended with exit code %d (%s)", t.ExitCode, s.reason)
	if t.Reason == "OOMKilled" {
		s.message = "the worker was killed: it wanted more memory than its limit"
		s.hint = "raise spec.podResourceRequirements of CDIConfig " + cdi.ConfigName
	} else if text := strings.TrimSpace(t.Message); text != "" {
		s.message += ": " + text
	}
}

// backoffTime finds the pause in what the kubelet says: "back-off 1m20s restarting failed container=…".
var backoffTime = regexp.MustCompile(`^back-off (\S+) restarting`)

func (s *sight) backoff(w *corev1.ContainerStateWaiting, t *corev1.ContainerStateTerminated) {
	if m := backoffTime.FindStringSubmatch(w.Message); m != nil {
		if d, err := time.ParseDuration(m[1]); err == nil {
			next := t.FinishedAt.Add(d)
			s.nextTry = &next
		}
	}
}

func (s *sight) leaving(pod *corev1.Pod, now time.Time) {
	s.state, s.reason, s.message = cdi.StateScheduled, "Terminating", "the worker's pod is being deleted; another is made when it is gone"
	if now.Sub(pod.DeletionTimestamp.Time) > lost {
		s.reason = "NodeLost"
		s.message = fmt.Sprintf("pod %s was to be gone by %s, and node %s has not said that it is",
			pod.Name, pod.DeletionTimestamp.UTC().Format(time.RFC3339), pod.Spec.NodeName)
		s.hint = fmt.Sprintf("bring node %[1]s back; if it is off for good: kubectl taint node %[1]s node.kubernetes.io/out-of-service=nodeshutdown:NoExecute", pod.Spec.NodeName)
	}
}

// starting reads a pod that has not run yet.
func (s *sight) starting(pod *corev1.Pod, c corev1.ContainerStatus, now time.Time) {
	s.state, s.reason, s.message = cdi.StateScheduled, "Pending", "the worker's pod is starting"
	s.stuck = now.Sub(pod.CreationTimestamp.Time) >= patience
	if p := condition(pod, corev1.PodScheduled); p != nil && p.Status == corev1.ConditionFalse {
		s.reason = cmp.Or(p.Reason, corev1.PodReasonUnschedulable)
		s.message = "no node takes the worker's pod: " + cmp.Or(p.Message, s.reason)
		s.stuck, s.noNode = false, true
		return
	}
	if w := c.State.Waiting; w != nil && w.Reason != "" && w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
		s.reason, s.message, s.stuck = w.Reason, fmt.Sprintf("the worker's container cannot start: %s", cmp.Or(w.Message, w.Reason)), false
		if strings.Contains(w.Reason, "Image") {
			s.hint = "check the agent's image, and imagePullSecrets of CDIConfig " + cdi.ConfigName
		}
	}
}
