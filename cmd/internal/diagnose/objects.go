// Package diagnose says why a DataVolume, or the claim that it fills, is where it is: what it waits for, since when, the
// cause, and what to do next. It is pure: whoever wants to know fetches the objects (package gather), and the rules look at
// nothing else.
package diagnose

import (
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// Objects are what the rules look at. What is nil is not there, unless Unread names it.
type Objects struct {
	// Now is when the objects were fetched: ages are counted from it.
	Now time.Time
	// Namespace and Name are those of the DataVolume and of its claim.
	Namespace, Name string

	DataVolume *cdiv1.DataVolume
	Claim      *corev1.PersistentVolumeClaim
	// Prime is the claim that is filled in place of Claim.
	Prime        *corev1.PersistentVolumeClaim
	ImportSource *cdiv1.VolumeImportSource
	// Volume is the one of Claim, else of Prime.
	Volume *corev1.PersistentVolume
	Worker *corev1.Pod
	// Users are other pods that use Claim.
	Users []corev1.Pod

	// Class is the StorageClass of the claim, of the DataVolume before there is a claim, or the default one.
	Class   *storagev1.StorageClass
	Classes []storagev1.StorageClass
	Profile *cdiv1.StorageProfile
	Driver  *storagev1.CSIDriver
	// CSINodes say which CSI drivers each node has registered.
	CSINodes []storagev1.CSINode
	Quotas   []corev1.ResourceQuota
	Nodes    []corev1.Node
	// Events are those about the objects above, oldest first.
	Events []corev1.Event
	// Absent are Secrets and ConfigMaps that the source names and that are not there.
	Absent []Ref
	Agent  Agent

	// Unread says what could not be looked at, and why.
	Unread []Unread
}

// Agent is what fills claims here.
type Agent struct {
	// Known says that the cluster was looked through; without the right to, absence means nothing.
	Known       bool
	Deployments []appsv1.Deployment
	Pods        []corev1.Pod
	Lease       *coordinationv1.Lease
	// Peer is what gives KubeVirt's CDI away, "" if nothing does.
	Peer string
}

// Ref names an object.
type Ref struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// Unread is an object that could not be looked at.
type Unread struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// unread says that something of this kind could not be looked at.
func (o *Objects) unread(kind string) bool {
	for _, u := range o.Unread {
		if u.What == kind || strings.HasPrefix(u.What, kind+"/") {
			return true
		}
	}
	return false
}

// view is Objects with what the rules ask again and again.
type view struct {
	*Objects
	population *cdi.Population // never nil
	result     *lastResult     // how the worker's last try ended; nil: not known
	source     source
}

func look(o *Objects) *view {
	v := &view{Objects: o, population: &cdi.Population{Percent: -1}}
	if o.Claim != nil {
		// A value that nobody can read is as good as none: the rules then go by the objects alone.
		if p, err := cdi.PopulationOf(o.Claim.Annotations); err == nil && p != nil {
			v.population = p
		}
	}
	v.result = resultOf(o.Worker)
	v.source = sourceOf(o)
	return v
}

func (v *view) phase() cdiv1.DataVolumePhase {
	if v.DataVolume == nil {
		return ""
	}
	return v.DataVolume.Status.Phase
}

// working is the claim that gets the data: PVC′ where there is one.
func (v *view) working() *corev1.PersistentVolumeClaim {
	if v.Prime != nil {
		return v.Prime
	}
	return v.Claim
}

func (v *view) condition(t cdiv1.DataVolumeConditionType) *cdiv1.DataVolumeCondition {
	if v.DataVolume == nil {
		return nil
	}
	for i := range v.DataVolume.Status.Conditions {
		if c := &v.DataVolume.Status.Conditions[i]; c.Type == t {
			return c
		}
	}
	return nil
}

// created is when it all began.
func (v *view) created() time.Time {
	switch {
	case v.DataVolume != nil:
		return v.DataVolume.CreationTimestamp.Time
	case v.Claim != nil:
		return v.Claim.CreationTimestamp.Time
	}
	return v.Now
}

// subject is how the object asked about is called.
func (v *view) subject() string {
	if v.DataVolume != nil {
		return "dv/" + v.Name
	}
	return "pvc/" + v.Name
}

// event is the newest event with one of the reasons about one of the kinds; nil if there is none.
func (v *view) event(kinds []string, reasons ...string) *corev1.Event {
	for i := len(v.Events) - 1; i >= 0; i-- {
		e := &v.Events[i]
		if has(kinds, e.InvolvedObject.Kind) && has(reasons, e.Reason) {
			return e
		}
	}
	return nil
}

func has(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// LastSeen is when an event happened last, whichever field says so.
func LastSeen(e *corev1.Event) time.Time {
	if e.Series != nil && !e.Series.LastObservedTime.IsZero() {
		return e.Series.LastObservedTime.Time
	}
	for _, t := range []time.Time{e.LastTimestamp.Time, e.EventTime.Time, e.FirstTimestamp.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return e.CreationTimestamp.Time
}

// firstSeen is when it happened first.
func firstSeen(e *corev1.Event) time.Time {
	for _, t := range []time.Time{e.FirstTimestamp.Time, e.EventTime.Time} {
		if !t.IsZero() {
			return t
		}
	}
	return e.CreationTimestamp.Time
}

// times is how often an event happened.
func times(e *corev1.Event) int32 {
	if e.Series != nil {
		return max(e.Series.Count, 1)
	}
	return max(e.Count, 1)
}

func annotated(o metav1.Object, key string) bool {
	_, ok := o.GetAnnotations()[key]
	return ok
}
