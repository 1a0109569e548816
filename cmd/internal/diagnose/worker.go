package diagnose

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cdictl/cdictl/lib/job"
)

// lastResult is how a try of the worker ended.
type lastResult struct {
	job.Result
	// read: the worker itself said so. Else Message is made of what the kubelet knows.
	read   bool
	reason string // the kubelet's: OOMKilled, Error, Completed
	exit   int32
	ended  time.Time
}

// container is the worker's main container, nil before the kubelet has seen it.
func container(p *corev1.Pod) *corev1.ContainerStatus {
	if p == nil || len(p.Status.ContainerStatuses) == 0 {
		return nil
	}
	return &p.Status.ContainerStatuses[0]
}

func resultOf(p *corev1.Pod) *lastResult {
	c := container(p)
	if c == nil {
		return nil
	}
	t := c.State.Terminated
	if t == nil {
		t = c.LastTerminationState.Terminated
	}
	if t == nil {
		return nil
	}
	r := &lastResult{reason: t.Reason, exit: t.ExitCode, ended: t.FinishedAt.Time}
	if json.Unmarshal([]byte(t.Message), &r.Result) == nil && r.Outcome != "" {
		r.read = true
		return r
	}
	r.Result = job.Result{Outcome: job.Retry, Reason: t.Reason, Message: fmt.Sprintf("the worker ended with exit status %d (%s) and left no word", t.ExitCode, t.Reason)}
	if text := terminationText(p); text != "" {
		r.Message = fmt.Sprintf("the worker ended with exit status %d (%s): %s", t.ExitCode, t.Reason, text)
	}
	if t.ExitCode == 0 {
		r.Outcome, r.Message = job.Succeeded, "the worker ended well"
	}
	return r
}

func restarts(p *corev1.Pod) int32 {
	if c := container(p); c != nil {
		return c.RestartCount
	}
	return 0
}

// waiting is why the container does not run: reason and message, "" if it does not wait.
func waiting(p *corev1.Pod) (reason, message string) {
	if p == nil {
		return "", ""
	}
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for _, c := range list {
			if w := c.State.Waiting; w != nil {
				return w.Reason, w.Message
			}
		}
	}
	return "", ""
}

// running says that the worker is at work, since when.
func running(p *corev1.Pod) (since time.Time, ok bool) {
	c := container(p)
	if c == nil || c.State.Running == nil {
		return time.Time{}, false
	}
	return c.State.Running.StartedAt.Time, true
}

func podCondition(p *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	if p == nil {
		return nil
	}
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == t {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func nodeReady(n *corev1.Node) (ready bool, c *corev1.NodeCondition) {
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == corev1.NodeReady {
			return n.Status.Conditions[i].Status == corev1.ConditionTrue, &n.Status.Conditions[i]
		}
	}
	return false, nil
}

// mounts says that the pod has the claim as a volume.
func mounts(p *corev1.Pod, claim string) bool {
	for _, v := range p.Spec.Volumes {
		if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim {
			return true
		}
	}
	return false
}
