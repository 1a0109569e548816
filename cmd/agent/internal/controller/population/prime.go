package population

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// indirectly fills a claim through PVC′.
func (w *world) indirectly() step {
	if w.claim.Spec.VolumeName != "" {
		return w.hasVolume()
	}
	if w.prime == nil || w.prime.DeletionTimestamp != nil {
		if w.pod != nil {
			return w.replace("PVC′ is gone")
		}
		if w.prime != nil {
			return waits("PrimeTerminating", fmt.Sprintf("claim %s is being deleted; it is made again when it is gone", w.prime.Name), "")
		}
		if w.volume != nil { // it had been given to the claim before somebody deleted PVC′
			status := w.said
			status.State = cdi.StatePublishing
			return step{status: status, again: often}
		}
		return w.begin()
	}
	if r := w.record(); r != nil {
		return w.publishes(r)
	}
	if w.prime.Status.Phase == corev1.ClaimLost {
		if w.pod != nil {
			return w.replace("its volume is gone")
		}
		return step{do: dropPrime, status: waits("PrimeLost", fmt.Sprintf("claim %s lost its volume, and is made again", w.prime.Name), "").status}
	}
	return w.work()
}

// hasVolume is for a claim that is bound, or about to be.
func (w *world) hasVolume() step {
	began := w.said.State != ""
	published := w.said // with what is known of the image
	published.State, published.Reason, published.Message = cdi.StatePublishing, "Publishing", "the volume moves to the claim"
	published.Hint, published.NextTry = "", nil
	ours := w.prime == nil && w.said.State == cdi.StatePublishing ||
		w.prime != nil && w.record() != nil && w.prime.Spec.VolumeName == w.claim.Spec.VolumeName
	switch {
	case ours && bound(w.claim):
		if r := w.record(); r != nil {
			describe(&published, r)
		}
		return step{do: finish, status: published}
	case ours:
		return step{status: published, again: often}
	case !began && w.prime == nil && w.pod == nil:
		return step{mute: true} // it came with its volume
	}
	s := w.failed("BoundElsewhere", fmt.Sprintf("claim %s was bound to PersistentVolume %s before it was filled", w.claim.Name, w.claim.Spec.VolumeName),
		"delete the claim and make it again without volumeName")
	if w.prime != nil || w.pod != nil && w.podIsOurs() {
		s.do = cleanUp
	}
	return s
}

// begin is before PVC′ is there.
func (w *world) begin() step {
	ref := w.claim.Spec.DataSourceRef
	switch {
	case ptr.Deref(ref.Namespace, w.claim.Namespace) != w.claim.Namespace:
		return w.failed(reasonUnsupported, fmt.Sprintf("dataSourceRef names %s %s in another namespace", ref.Kind, ref.Name), "make one in namespace "+w.claim.Namespace)
	case w.source == nil && w.wrong == nil:
		s := waits("SourceMissing", fmt.Sprintf("%s %s does not exist", sourceKind, ref.Name), "create it in namespace "+w.claim.Namespace)
		s.again = 0
		return s
	}
	if p := w.obstacle(); p != nil {
		return w.refuses(p)
	}
	name := ptr.Deref(w.claim.Spec.StorageClassName, "")
	switch {
	case w.class == nil && name == "":
		return waits("NoStorageClass", "the claim has no StorageClass, and there is no default", "make the claim with a storageClassName, or make a StorageClass the default")
	case w.class == nil:
		return waits("NoStorageClass", fmt.Sprintf("StorageClass %s does not exist", name), "create it, or make the claim with another")
	case !w.csi && w.claim.Annotations[cdi.AnnUsePopulator] != "true":
		return waits("NoCSIDriver", fmt.Sprintf("StorageClass %s is not of a CSI driver (provisioner %s): it cannot make volumes from a dataSourceRef", name, w.class.Provisioner),
			fmt.Sprintf("use a class of a CSI driver, or a DataVolume, or annotate the claim with %s=true", cdi.AnnUsePopulator))
	case w.waitsForConsumer() && w.claim.Annotations[cdi.AnnSelectedNode] == "" && !immediate(w.claim):
		return w.awaitsConsumer()
	}
	return step{do: makePrime, status: waits("Provisioning", "a claim for the volume is being made", "").status}
}

// publishes moves a filled volume.
func (w *world) publishes(r *job.Result) step {
	status := cdi.Population{State: cdi.StatePublishing, Reason: "Publishing", Message: "the volume moves to the claim", Pod: w.said.Pod}
	describe(&status, r)
	if w.volume == nil && w.prime.Status.Phase != corev1.ClaimLost {
		// Not seen is not gone. That it is gone, Kubernetes says.
		return step{status: status, again: soon}
	}
	if w.volume == nil {
		if w.pod != nil {
			return w.replace("its volume is gone")
		}
		return step{do: dropPrime, status: waits("PrimeLost", fmt.Sprintf("the PersistentVolume of claim %s is gone; it is made again", w.prime.Name), "").status}
	}
	ref := ptr.Deref(w.volume.Spec.ClaimRef, corev1.ObjectReference{})
	switch ref.UID {
	case w.prime.UID:
		return step{do: publish, status: status}
	case w.claim.UID:
		return step{status: status, again: often}
	}
	return w.failed("VolumeTaken", fmt.Sprintf("PersistentVolume %s, filled for claim %s, was given to claim %s/%s",
		w.volume.Name, w.claim.Name, ref.Namespace, ref.Name), "delete the claim and make it again")
}

// node keeps PVC′ on the node that the scheduler chose for the claim.
func (w *world) node() (step, bool) {
	chosen, copied, now := w.claim.Annotations[cdi.AnnSelectedNode], w.prime.Annotations[annNode], w.prime.Annotations[cdi.AnnSelectedNode]
	status := waits("Provisioning", fmt.Sprintf("the volume of claim %s is being made on node %s", w.prime.Name, cmp.Or(chosen, "…")), "").status
	switch {
	case chosen == "":
		return w.awaitsConsumer(), true
	case now == "" && copied == chosen:
		status.Message = fmt.Sprintf("the volume cannot be made on node %s; the scheduler is asked for another", chosen)
		return step{do: reschedule, status: status}, true
	case now != chosen:
		return step{do: moveNode, status: status}, true
	}
	return step{}, false
}
