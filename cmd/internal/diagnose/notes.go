package diagnose

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// notes are worth knowing and not the cause.
func notes(v *view, cause string) []string {
	var all []string
	add := func(s string) {
		if s != "" {
			all = append(all, s)
		}
	}
	if cause == "Completed" {
		return nil
	}
	add(restartNote(v))
	if v.Agent.Peer != "" && cause != "TwoControllers" {
		add("claims are filled by KubeVirt's CDI here (" + v.Agent.Peer + "), not by this project's agent; what only the agent tells is missing")
	}
	if v.Claim != nil {
		if _, err := cdi.PopulationOf(v.Claim.Annotations); err != nil {
			add("what the agent wrote on claim " + v.Name + " cannot be read: " + err.Error())
		}
	}
	if v.source.insecure {
		add("the certificate of the server is not checked (insecureSkipVerify)")
	}
	for i := range v.Quotas {
		for _, line := range quotaLines(&v.Quotas[i]) {
			if cause == "ErrExceededQuota" {
				add("quota " + v.Quotas[i].Name + ": " + line)
			}
		}
	}
	return all
}

// quotaLines are what a quota allows of the things that an import takes.
func quotaLines(q *corev1.ResourceQuota) []string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		if !quotaMatters(name) {
			continue
		}
		hard, used := q.Status.Hard[name], q.Status.Used[name]
		lines = append(lines, fmt.Sprintf("%s of %s %s used", used.String(), hard.String(), name))
	}
	return lines
}

func quotaMatters(name corev1.ResourceName) bool {
	switch name {
	case corev1.ResourceRequestsStorage, corev1.ResourcePersistentVolumeClaims, corev1.ResourcePods, corev1.ResourceLimitsMemory,
		corev1.ResourceLimitsCPU, corev1.ResourceRequestsMemory, corev1.ResourceRequestsCPU:
		return true
	}
	return false
}
