// Package dvstatus says what the status of a DataVolume is: phase, progress, restarts and conditions, from its claim and
// what the population controller noted on the claim. It is pure: facts in, status out.
//
// The words that other programs switch on (phases; the reasons TransferRunning, Bound, Pending, NotFound, Completed, Error,
// ImagePullFailed, Unschedulable, ErrExceededQuota) are those of the containerized-data-importer. Unlike there, no condition
// is ever empty: Ready alone tells how far it is, or why it does not go on and what to do.
package dvstatus

import (
	"math"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// Facts is all that a status depends on.
type Facts struct {
	// DV as it was read, with its old status.
	DV *cdiv1.DataVolume
	// Claim of the DataVolume's name; nil: there is none.
	Claim *corev1.PersistentVolumeClaim
	// Flow is how the claim comes by its content.
	Flow Flow
	// LateBinding says that the claim's class waits for the first consumer.
	LateBinding bool
	// Stuck is what kept the controller from going on; nil: nothing did.
	Stuck *Stuck
	// Now is when this is.
	Now metav1.Time
}

// Flow is how a claim comes by its content.
type Flow int

const (
	// Populated claims stay unbound until their content, which was written to another claim, is complete.
	Populated Flow = iota
	// Plain claims are bound first, and then written to.
	Plain
	// External claims are filled by somebody else: what their dataSourceRef names.
	External
	// Given claims have their content: adopted, restored, or made for a volume that was there.
	Given
)

// Stuck is a cause that the controller knows, in words.
type Stuck struct {
	Reason  string
	Message string
	Hint    string // the next step; "": none
}

// Compute returns the status that the facts ask for. Times of conditions that say nothing new are kept, so that a status
// that is the same as before is equal to it.
func Compute(f Facts) cdiv1.DataVolumeStatus {
	v := newView(f)
	old := f.DV.Status
	status := cdiv1.DataVolumeStatus{
		ClaimName:    old.ClaimName,
		Phase:        v.phase,
		Progress:     v.progress(),
		RestartCount: max(old.RestartCount, v.claim.restarts),
	}
	if f.Claim != nil && v.ours {
		status.ClaimName = f.Claim.Name
	}
	status.Conditions = merge(old.Conditions, []cdiv1.DataVolumeCondition{v.ready(), v.bound(), v.running()}, f.Now)
	return status
}

// merge gives the conditions their times: of the last change of status, and of the last change at all. Conditions of other
// types are kept.
func merge(old, conditions []cdiv1.DataVolumeCondition, now metav1.Time) []cdiv1.DataVolumeCondition {
	kept := make(map[cdiv1.DataVolumeConditionType]cdiv1.DataVolumeCondition, len(old))
	for _, c := range old {
		kept[c.Type] = c
	}
	for i := range conditions {
		c := &conditions[i]
		c.LastTransitionTime, c.LastHeartbeatTime = now, now
		was, ok := kept[c.Type]
		delete(kept, c.Type)
		if !ok || was.Status != c.Status {
			continue
		}
		c.LastTransitionTime = was.LastTransitionTime
		if was.Reason == c.Reason && was.Message == c.Message {
			c.LastHeartbeatTime = was.LastHeartbeatTime
		}
	}
	for _, c := range old {
		if _, ok := kept[c.Type]; ok {
			conditions = append(conditions, c)
		}
	}
	return conditions
}

// Condition returns the condition of the type, nil if there is none.
func Condition(s *cdiv1.DataVolumeStatus, t cdiv1.DataVolumeConditionType) *cdiv1.DataVolumeCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

// Done says that the claim has its content, so that nothing is left to do.
func Done(f Facts) bool {
	v := newView(f)
	return v.phase == cdiv1.Succeeded
}

// progress is a percentage as the ecosystem writes it. 100 is only said at the end: what waits for it would look too soon.
func (v *view) progress() cdiv1.DataVolumeProgress {
	const unknown = "N/A"
	if v.phase == cdiv1.Succeeded {
		return "100.0%"
	}
	if v.Claim == nil || !v.ours || v.population == nil || v.population.Percent < 0 || math.IsNaN(v.population.Percent) {
		return unknown
	}
	if !v.started() {
		return unknown
	}
	percent := math.Floor(min(v.population.Percent, 99.99)*100) / 100
	return cdiv1.DataVolumeProgress(strconv.FormatFloat(percent, 'f', 2, 64) + "%")
}
