package population

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// Annotations of PVC′ that only this package reads.
const (
	// annResult is the job.Result of the worker that filled the claim: the record that its volume is complete.
	annResult = "cdictl.dev/result"
	// annNode is the node that was copied from the user's claim. The provisioner takes selected-node away when it cannot
	// make the volume there; this tells it from a node that was never given.
	annNode = "cdictl.dev/selected-node"
)

// world is everything that the next step is decided from.
type world struct {
	now    time.Time
	claim  *corev1.PersistentVolumeClaim // the user's
	flow   flow
	said   cdi.Population                // what the claim's annotation says already
	prime  *corev1.PersistentVolumeClaim // PVC′; nil: there is none, or no need
	pod    *corev1.Pod                   // of the worker's name; nil: there is none
	volume *corev1.PersistentVolume      // of PVC′ once it is filled; without PVC′, one that was given to the claim
	class  *storagev1.StorageClass       // nil: there is none of that name
	csi    bool                          // its provisioner is a CSI driver
	source *cdiv1.VolumeImportSourceSpec // nil: not there yet
	wrong  error                         // the annotations cannot be read
	config *cdiv1.CDIConfig              // nil: defaults

	progress *job.Progress // the newest answer of the worker
}

// working is the claim that is filled.
func (w *world) working() *corev1.PersistentVolumeClaim {
	if w.flow == viaPrime {
		return w.prime
	}
	return w.claim
}

// origin names where the order comes from, for people.
func (w *world) origin() string {
	if w.flow == viaPrime {
		return sourceKind + " " + w.claim.Spec.DataSourceRef.Name
	}
	return "PersistentVolumeClaim " + w.claim.Name
}

func (w *world) waitsForConsumer() bool {
	return w.class != nil && ptr.Deref(w.class.VolumeBindingMode, "") == storagev1.VolumeBindingWaitForFirstConsumer
}

// honorsConsumer is the gate by which claims that are filled directly wait for their consumer. It is on unless CDIConfig
// lists gates, and not this one.
func (w *world) honorsConsumer() bool {
	if w.config == nil || w.config.Spec.FeatureGates == nil {
		return true
	}
	for _, gate := range w.config.Spec.FeatureGates {
		if gate == "HonorWaitForFirstConsumer" {
			return true
		}
	}
	return false
}

// podIsOurs says that the pod was made for the claim, and not for one of its name before it.
func (w *world) podIsOurs() bool { return metav1.IsControlledBy(w.pod, w.claim) }

// fatal says that it was given up. Taking the annotation away is how to try once more.
func (w *world) fatal() bool { return w.claim.Annotations[cdi.AnnFatalError] != "" }

// record is the result that was written down for the working claim, nil if there is none. One that cannot be read is none:
// then the volume is filled once more.
func (w *world) record() *job.Result {
	c := w.working()
	if c == nil {
		return nil
	}
	r, err := job.ParseResult([]byte(c.Annotations[annResult]))
	if err != nil || r.Outcome != job.Succeeded {
		return nil
	}
	return &r
}

// saidOf reads what this controller wrote on a claim. What cannot be read is written anew.
func saidOf(c *corev1.PersistentVolumeClaim) cdi.Population {
	p, err := cdi.PopulationOf(c.Annotations)
	if err != nil || p == nil {
		return cdi.Population{}
	}
	return *p
}

// obstacle is what of the order keeps the claim from being filled, nil if nothing.
func (w *world) obstacle() *problem {
	err := w.wrong
	if err == nil {
		err = check(w.source, w.origin())
	}
	if err == nil {
		_, err = orderOf(w)
	}
	var p *problem
	if err == nil || errors.As(err, &p) {
		return p
	}
	return &problem{reason: reasonInvalid, message: fmt.Sprintf("%s: %v", w.origin(), err)}
}
