package diagnose

import (
	"fmt"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

func twoAgents(v *view) *Finding {
	if v.Agent.Peer == "" || len(v.Agent.Deployments) == 0 {
		return nil
	}
	return &Finding{ID: "TwoControllers", Verdict: Stuck, Summary: "is in a cluster where two controllers fill claims",
		WaitsFor: "one of them to go",
		Cause:    "KubeVirt's CDI is installed (" + v.Agent.Peer + ") beside this agent; both work on the same objects, and nobody can say which wins",
		Next: []string{"Decide for one: read the plan of cdictl install, which refuses a cluster with CDI, or remove the agent: cdictl uninstall | kubectl delete -f -",
			v.agentLog()}}
}

func agentMissing(v *view) *Finding {
	if !v.Agent.Known || len(v.Agent.Deployments) > 0 || v.Agent.Peer != "" {
		return nil
	}
	return &Finding{ID: "AgentNotInstalled", Verdict: Stuck, Summary: "is stuck: no agent is installed", WaitsFor: "an agent that fills it",
		Cause: "the cluster knows DataVolumes, but has no agent to work on them",
		Next:  []string{"Install it: cdictl install | kubectl apply -f -"}}
}

// leaseGrace is how long nobody may lead: a change of leader takes a lease's duration, 15 s by default.
const leaseGrace = 45 * time.Second

func agentDown(v *view) *Finding {
	if len(v.Agent.Deployments) == 0 {
		return nil
	}
	d := &v.Agent.Deployments[0]
	for i := range v.Agent.Deployments {
		if v.Agent.Deployments[i].Status.ReadyReplicas > 0 {
			d = &v.Agent.Deployments[i]
		}
	}
	f := &Finding{ID: "AgentDown", Verdict: Stuck, WaitsFor: "the agent (deployment " + d.Namespace + "/" + d.Name + ") to run"}
	if d.Status.ReadyReplicas == 0 {
		f.Summary = "is stuck: the agent does not run"
		f.Cause, f.Since, f.Next = whyDown(v, d)
		return f
	}
	l := v.Agent.Lease
	if l == nil || l.Spec.RenewTime == nil || v.Now.Sub(l.Spec.RenewTime.Time) < leaseGrace {
		return nil
	}
	f.ID, f.Since = "AgentWithoutLeader", l.Spec.RenewTime.Time
	f.Summary = "is stuck: no replica of the agent works"
	f.Cause = fmt.Sprintf("its replicas are ready, but none has renewed the lease %s/%s since", l.Namespace, l.Name)
	f.Next = []string{v.agentLog(), "If they say nothing new, start them again: kubectl -n " + d.Namespace + " rollout restart deployment/" + d.Name}
	return f
}

// whyDown says why no pod of the agent is ready.
func whyDown(v *view, d *appsv1.Deployment) (cause string, since time.Time, next []string) {
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentAvailable && c.Status != corev1.ConditionTrue {
			since = c.LastTransitionTime.Time
		}
	}
	if d.Spec.Replicas != nil && *d.Spec.Replicas == 0 {
		return "the deployment is scaled to 0 replicas", since,
			[]string{fmt.Sprintf("Scale it up: kubectl -n %s scale deployment/%s --replicas=2", d.Namespace, d.Name)}
	}
	describe := fmt.Sprintf("Look at its pods: kubectl -n %s describe pods -l %s", d.Namespace, AgentSelector)
	for i := range v.Agent.Pods {
		p := &v.Agent.Pods[i]
		if p.Namespace != d.Namespace || p.DeletionTimestamp != nil {
			continue
		}
		reason, message := waiting(p)
		ended := resultOf(p)
		switch c := podCondition(p, corev1.PodScheduled); {
		case c != nil && c.Status == corev1.ConditionFalse:
			return fmt.Sprintf("pod %s cannot be scheduled: %s", p.Name, oneLine(c.Message)), since, []string{describe}
		case imageTrouble(reason):
			return fmt.Sprintf("pod %s has no image: %s", p.Name, oneLine(orElse(message, reason))), since,
				[]string{"Make the image " + imageOf(p) + " available to the nodes, or install with another: cdictl install --image …"}
		case ended != nil:
			cause := fmt.Sprintf("pod %s ends again and again, last with exit status %d (%s), started %d times", p.Name, ended.exit, ended.reason, restarts(p)+1)
			if ended.reason == "OOMKilled" {
				cause += ": its memory limit is too low"
			} else if t := terminationText(p); t != "" {
				cause += ": " + t
			}
			return cause, since, []string{fmt.Sprintf("Read what it said: kubectl -n %s logs %s --previous", p.Namespace, p.Name)}
		case reason != "" && reason != "ContainerCreating" && reason != "PodInitializing":
			return fmt.Sprintf("pod %s: %s", p.Name, strings.TrimSuffix(reason+": "+oneLine(message), ": ")), since, []string{describe}
		}
		if at, ok := running(p); ok {
			return fmt.Sprintf("pod %s runs since %s and is not ready", p.Name, age(v.Now, at)), since, []string{v.agentLog(), describe}
		}
		if n := v.node(p.Spec.NodeName); n != nil {
			if ready, c := nodeReady(n); !ready {
				return fmt.Sprintf("pod %s is on node %s, which is not ready (%s)", p.Name, n.Name, nodeWhy(c)), since, []string{"Look at the node: kubectl describe node " + n.Name}
			}
		}
	}
	cause = "the deployment has no ready pod"
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			cause = "its pods cannot be made: " + oneLine(c.Message)
		}
	}
	return cause, since, []string{fmt.Sprintf("Look at it: kubectl -n %s describe deployment %s", d.Namespace, d.Name), describe}
}

// terminationText is the last line that a container left; the kubelet keeps the end of its log.
func terminationText(p *corev1.Pod) string {
	c := container(p)
	if c == nil {
		return ""
	}
	t := c.State.Terminated
	if t == nil {
		t = c.LastTerminationState.Terminated
	}
	if t == nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(t.Message), "\n")
	return oneLine(lines[len(lines)-1])
}

func (v *view) node(name string) *corev1.Node {
	for i := range v.Nodes {
		if name != "" && v.Nodes[i].Name == name {
			return &v.Nodes[i]
		}
	}
	return nil
}

func nodeWhy(c *corev1.NodeCondition) string {
	if c == nil {
		return "it has never reported"
	}
	return orElse(oneLine(c.Message), c.Reason)
}

func imageOf(p *corev1.Pod) string {
	if len(p.Spec.Containers) == 0 {
		return ""
	}
	return p.Spec.Containers[0].Image
}

func imageTrouble(reason string) bool {
	return has([]string{"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable"}, reason)
}
