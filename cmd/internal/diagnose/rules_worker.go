package diagnose

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/cdictl/cdictl/lib/job"
)

// nodeDown: the worker's node does not answer.
func nodeDown(v *view) *Finding {
	if v.Worker == nil {
		return nil
	}
	n := v.node(v.Worker.Spec.NodeName)
	if n == nil {
		return nil
	}
	ready, c := nodeReady(n)
	if ready {
		return nil
	}
	f := &Finding{ID: "NodeNotReady", Verdict: Stuck, Summary: "is stuck: node " + n.Name + ", where the worker runs, does not answer",
		WaitsFor: "node " + n.Name, Cause: "the node is not ready: " + nodeWhy(c)}
	if c != nil {
		f.Since = c.LastTransitionTime.Time
	}
	f.Next = []string{"Look at the node and its kubelet: kubectl describe node " + n.Name,
		"If it comes back, the import goes on by itself.",
		"If it is switched off for good, say so, and a new worker is started elsewhere: kubectl taint node " + n.Name + " node.kubernetes.io/out-of-service=nodeshutdown:NoExecute",
	}
	return f
}

// workerScheduling: no node takes the worker.
func workerScheduling(v *view) *Finding {
	c := podCondition(v.Worker, corev1.PodScheduled)
	if c == nil || c.Status != corev1.ConditionFalse {
		return nil
	}
	f := &Finding{ID: "Unschedulable", Verdict: Stuck, Summary: "is stuck: no node can take the worker", WaitsFor: "a node for pod " + v.Worker.Name,
		Since: c.LastTransitionTime.Time, Cause: oneLine(c.Message)}
	var down []string
	for i := range v.Nodes {
		if ready, _ := nodeReady(&v.Nodes[i]); !ready {
			down = append(down, v.Nodes[i].Name)
		}
	}
	switch m := c.Message; {
	case len(down) > 0 && len(down) == len(v.Nodes):
		f.Next = []string{"No node is ready: kubectl get nodes"}
	case strings.Contains(m, "Insufficient"):
		f.Next = []string{"Free CPU or memory, add a node, or lower what workers ask for (spec.config.podResourceRequirements of the CDI settings)."}
	case strings.Contains(m, "taint"):
		f.Next = []string{"Give workers the toleration (the agent's placement of workloads), or take the taint away: kubectl describe nodes"}
	case strings.Contains(m, "volume node affinity"):
		f.Next = []string{"The volume is bound to a node that cannot take the pod: make room there, or delete the DataVolume and make it again."}
	case strings.Contains(m, "PersistentVolumeClaim"):
		f.Next = []string{"Its claim has no volume yet; the chain and the events below say why."}
	default:
		f.Next = []string{"See what the scheduler says of each node: kubectl -n " + v.Namespace + " describe pod " + v.Worker.Name}
	}
	if len(down) > 0 && len(down) < len(v.Nodes) {
		f.Next = append(f.Next, "These nodes are not ready: "+strings.Join(down, ", "))
	}
	return f
}

func workerImage(v *view) *Finding {
	reason, message := waiting(v.Worker)
	if !imageTrouble(reason) {
		return nil
	}
	image := imageOf(v.Worker)
	f := &Finding{ID: "ImagePullFailed", Verdict: Stuck, Summary: "is stuck: the worker's image cannot be had", WaitsFor: "image " + image,
		Since: v.Worker.CreationTimestamp.Time, Cause: oneLine(orElse(message, reason))}
	f.Next = []string{"Make " + image + " available to node " + v.Worker.Spec.NodeName + " (registry, network, pull secret); it is tried again by itself.",
		"Or install the agent with an image from elsewhere: cdictl install --image … | kubectl apply -f -"}
	return f
}

// volumePatience is how long mounting may take before its failures are worth a word.
const volumePatience = 10 * time.Second

// workerVolumes: the kubelet cannot bring the volumes to the worker.
func workerVolumes(v *view) *Finding {
	reason, _ := waiting(v.Worker)
	if v.Worker == nil || reason != "ContainerCreating" && reason != "PodInitializing" && (reason != "" || container(v.Worker) != nil) {
		return nil
	}
	e := v.event([]string{"Pod"}, "FailedMount", "FailedAttachVolume", "FailedMapVolume")
	if e == nil || e.InvolvedObject.Name != v.Worker.Name || v.Now.Sub(v.Worker.CreationTimestamp.Time) < volumePatience {
		return nil
	}
	f := &Finding{ID: e.Reason, Verdict: Stuck, Summary: "is stuck: its volume cannot be brought to the worker", WaitsFor: "the volume on node " + v.Worker.Spec.NodeName,
		Since: firstSeen(e), Cause: eventCause(e)}
	driver := "the CSI driver"
	if v.Class != nil {
		driver = "driver " + v.Class.Provisioner
	}
	switch {
	case strings.Contains(e.Message, "not found in the list of registered CSI drivers"):
		f.Next = []string{"Its node plugin does not run on node " + v.Worker.Spec.NodeName + ": kubectl get pods -A -o wide --field-selector spec.nodeName=" + v.Worker.Spec.NodeName}
	case strings.Contains(e.Message, "Multi-Attach"):
		f.Next = []string{"Another node still has the volume: stop the pod that uses it there, or wait until it is detached (six minutes after a node is lost)."}
	case strings.Contains(e.Message, "secret") || strings.Contains(e.Message, "configmap"):
		f.Next = []string{"Make what it names; the import goes on by itself."}
	default:
		f.Next = []string{"Mend what " + driver + " complains about; it tries again by itself.",
			"Read what its node plugin on " + v.Worker.Spec.NodeName + " says: kubectl get pods -A -o wide --field-selector spec.nodeName=" + v.Worker.Spec.NodeName}
	}
	return f
}

// workerContainer: the container runtime refuses to start it.
func workerContainer(v *view) *Finding {
	reason, message := waiting(v.Worker)
	if !has([]string{"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreStartHookError"}, reason) {
		return nil
	}
	return &Finding{ID: reason, Verdict: Stuck, Summary: "is stuck: the worker's container cannot be started", WaitsFor: "the container of pod " + v.Worker.Name,
		Since: v.Worker.CreationTimestamp.Time, Cause: oneLine(orElse(message, reason)),
		Next: []string{"See it whole: kubectl -n " + v.Namespace + " describe pod " + v.Worker.Name, v.agentLog()}}
}

// outOfMemory: the kernel killed the worker, and it has not started again.
func outOfMemory(v *view) *Finding {
	if _, ok := running(v.Worker); ok || v.result == nil || v.result.reason != "OOMKilled" {
		return nil
	}
	limit := ""
	if len(v.Worker.Spec.Containers) > 0 {
		limit = quantity(v.Worker.Spec.Containers[0].Resources.Limits[corev1.ResourceMemory])
	}
	f := &Finding{ID: "OOMKilled", Verdict: Stuck, Summary: "is stuck: the worker needs more memory than it may take", WaitsFor: "the worker to be started again",
		Since: v.result.ended, Cause: fmt.Sprintf("the kernel has killed it %d times at its limit of %s", max(restarts(v.Worker), 1), orElse(limit, "the node's memory"))}
	f.Next = []string{"Raise the limit of workers: spec.config.podResourceRequirements of the CDI settings. They need no more than 200 MiB as a rule: please report an image that takes more."}
	v.tryAgain(f)
	return f
}

// workerEvicted: the pod ended without its containers being to blame.
func workerEvicted(v *view) *Finding {
	if v.Worker == nil || v.Worker.Status.Phase != corev1.PodFailed || v.result != nil && v.result.read {
		return nil
	}
	return &Finding{ID: orElse(v.Worker.Status.Reason, "WorkerFailed"), Verdict: Stuck, Summary: "is stuck: its worker was ended by the node", WaitsFor: "a new worker",
		Since: v.Worker.CreationTimestamp.Time, Cause: oneLine(orElse(v.Worker.Status.Message, "pod "+v.Worker.Name+" has failed")),
		Next: []string{"Nothing, as a rule: a new worker is made.", v.agentLog()}}
}

// restartNote tells of a worker that was started more than once and runs now.
func restartNote(v *view) string {
	n := restarts(v.Worker)
	if _, ok := running(v.Worker); !ok || n == 0 {
		return ""
	}
	s := fmt.Sprintf("the worker was started again %d times", n)
	if n == 1 {
		s = "the worker was started again once"
	}
	r := v.result
	switch {
	case r == nil:
		return s
	case r.reason == "OOMKilled":
		s += "; the last time it was killed because it took more memory than its limit"
	case r.read && r.Outcome != job.Succeeded && r.Message != "":
		s += "; the last try ended with: " + r.Message
	case r.exit == 137:
		s += "; the last time it was killed from outside"
	default:
		s += fmt.Sprintf("; the last time with exit status %d (%s)", r.exit, r.reason)
	}
	return s
}
