package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// absentReferences: the source names a Secret or a ConfigMap that is not there.
func absentReferences(v *view) *Finding {
	if _, ok := running(v.Worker); ok || len(v.Absent) == 0 {
		return nil
	}
	r := v.Absent[0]
	f := &Finding{ID: r.Kind + "Missing", Verdict: Stuck, WaitsFor: r.Kind + " " + r.Name,
		Summary: fmt.Sprintf("is stuck: there is no %s %s in namespace %s", r.Kind, r.Name, v.Namespace)}
	switch {
	case r.Kind == "ConfigMap":
		f.Cause = v.field("certConfigMap") + " names it for the certificates of the server"
		f.Next = []string{fmt.Sprintf("Make it: kubectl -n %s create configmap %s --from-file=ca.crt=FILE", v.Namespace, r.Name)}
	case r.Name == v.source.secret:
		f.Cause = v.field("secretRef") + " names it for user and password"
		f.Next = []string{fmt.Sprintf("Make it: kubectl -n %s create secret generic %s --from-literal=accessKeyId=USER --from-file=secretKey=FILE", v.Namespace, r.Name)}
	default:
		f.Cause = v.field("secretExtraHeaders") + " names it for headers"
		f.Next = []string{fmt.Sprintf("Make it, with a line 'Name: value' in a file: kubectl -n %s create secret generic %s --from-file=header=FILE", v.Namespace, r.Name)}
	}
	f.Next = append(f.Next, "The import goes on by itself when it is there.")
	return f
}

// noClaim: the DataVolume has no claim yet, or no more.
func noClaim(v *view) *Finding {
	if v.DataVolume == nil || v.Claim != nil || v.unread("pvc") {
		return nil
	}
	if f := quota(v); f != nil {
		return f
	}
	if f := classOfDataVolume(v); f != nil {
		return f
	}
	bound := v.condition(cdiv1.DataVolumeBound)
	if e := v.event([]string{"DataVolume"}, "ErrClaimNotValid", "ErrResourceExists", "ErrUnableToClone", "CloneWithoutSource", "NoCSIDriverForExternalPopulation", "NoAnyVolumeDataSource"); e != nil {
		return &Finding{ID: e.Reason, Verdict: Stuck, Summary: "is stuck: its claim cannot be made", WaitsFor: "claim " + v.Name,
			Since: firstSeen(e), Cause: eventCause(e), Next: []string{v.again()}}
	}
	if bound != nil && complaint(bound.Reason) {
		return &Finding{ID: bound.Reason, Verdict: Stuck, Summary: "is stuck: its claim cannot be made", WaitsFor: "claim " + v.Name,
			Since: since(bound), Cause: orElse(oneLine(bound.Message), bound.Reason)}
	}
	if v.DataVolume.Status.ClaimName != "" || bound != nil && bound.Reason == "NotFound" && v.DataVolume.Status.RestartCount > 0 {
		f := &Finding{ID: "ClaimDeleted", Verdict: Stuck, Summary: "has lost its claim: claim " + v.Name + " was deleted", WaitsFor: "the agent to make the claim again",
			Since: since(bound), Cause: "somebody deleted the claim before the import was done",
			Next: []string{"Nothing: a new claim is made, and the import starts again from the beginning.",
				fmt.Sprintf("To give it up, delete the DataVolume: kubectl -n %s delete dv %s", v.Namespace, v.Name)}}
		if v.Now.Sub(f.Since) > time.Minute && !f.Since.IsZero() {
			f.Next = append(f.Next, "If no claim comes: "+lowerFirst(v.agentLog()))
		}
		return f
	}
	return nil
}

// classOfDataVolume: what keeps a claim from being made out of spec.storage.
func classOfDataVolume(v *view) *Finding {
	s := v.DataVolume.Spec.Storage
	if s == nil || v.unread("storageclass") {
		return nil
	}
	f := &Finding{Verdict: Stuck, WaitsFor: "a StorageClass", Since: since(v.condition(cdiv1.DataVolumeBound))}
	named := ""
	if s.StorageClassName != nil {
		named = *s.StorageClassName
	}
	switch {
	case named == "" && v.Class == nil && len(s.AccessModes) == 0:
		return noDefaultClass(v, f)
	case named != "" && v.Class == nil:
		return classMissing(v, f, named)
	case v.Class != nil && profileLacks(v, s):
		return profileIncomplete(v, f)
	}
	return nil
}

func noDefaultClass(v *view, f *Finding) *Finding {
	f.ID, f.Summary = "NoDefaultStorageClass", "is stuck: no StorageClass is named, and none is the default"
	f.Cause = fmt.Sprintf("the cluster has these classes: %s; none is marked as the default", named(classNames(v.Classes)))
	f.Next = []string{v.again() + ", with spec.storage.storageClassName (cdictl import … --storage-class NAME)"}
	if names := classNames(v.Classes); len(names) > 0 {
		f.Next = append([]string{fmt.Sprintf("Make one the default: kubectl annotate storageclass %s %s=true", names[0], cdi.AnnDefaultClass)}, f.Next...)
	}
	return f
}

func classMissing(v *view, f *Finding, class string) *Finding {
	f.ID, f.WaitsFor = "StorageClassMissing", "StorageClass "+class
	f.Summary = fmt.Sprintf("is stuck: there is no StorageClass %s", class)
	f.Cause = fmt.Sprintf("it asks for class %s; the cluster has: %s", class, named(classNames(v.Classes)))
	f.Next = []string{"Make the class; the import goes on by itself.", "Or take another. " + v.again()}
	return f
}

func profileLacks(v *view, s *cdiv1.StorageSpec) bool {
	if len(s.AccessModes) > 0 || v.unread("storageprofile") {
		return false
	}
	if v.Profile == nil {
		return false // it is made in a moment
	}
	for _, set := range slices.Concat(v.Profile.Spec.ClaimPropertySets, v.Profile.Status.ClaimPropertySets) {
		if len(set.AccessModes) > 0 {
			return false
		}
	}
	return true
}

func profileIncomplete(v *view, f *Finding) *Finding {
	f.ID, f.WaitsFor = "StorageProfileIncomplete", "access modes in StorageProfile "+v.Class.Name
	f.Summary = fmt.Sprintf("is stuck: nobody has said which access modes StorageClass %s can do", v.Class.Name)
	f.Cause = fmt.Sprintf("it asks for no access mode, and StorageProfile %s has none: its provisioner %s is not one that is known", v.Class.Name, v.Class.Provisioner)
	f.Next = []string{
		fmt.Sprintf(`Say it once for the class: kubectl patch storageprofile %s --type=merge -p '{"spec":{"claimPropertySets":[{"accessModes":["ReadWriteOnce"],"volumeMode":"Filesystem"}]}}'`, v.Class.Name),
		"Or say it for this one. " + v.again() + ", with spec.storage.accessModes (cdictl import … --access-mode ReadWriteOnce)"}
	return f
}

func classNames(classes []storagev1.StorageClass) []string {
	var names []string
	for i := range classes {
		names = append(names, classes[i].Name)
	}
	slices.Sort(names)
	return names
}

// claimNotOurs: a claim of the name is there, and belongs to nobody or somebody else.
func claimNotOurs(v *view) *Finding {
	if v.DataVolume == nil || v.Claim == nil {
		return nil
	}
	if o := metav1.GetControllerOf(v.Claim); o != nil && o.UID == v.DataVolume.UID {
		return nil
	}
	e := v.event([]string{"DataVolume"}, "ErrResourceExists")
	if e == nil {
		return nil
	}
	return &Finding{ID: "ErrResourceExists", Verdict: Stuck, Summary: "is stuck: a claim of its name is there and is not its own", WaitsFor: "the name " + v.Name,
		Since: firstSeen(e), Cause: eventCause(e),
		Next: []string{"Take another name, or delete the claim if nobody needs its data: kubectl -n " + v.Namespace + " delete pvc " + v.Name,
			fmt.Sprintf("Or hand the claim over as it is, with its data: kubectl -n %s annotate pvc %s %s=true", v.Namespace, v.Name, cdi.AnnAllowClaimAdoption)}}
}

// firstConsumer: volumes of the class are made where the pod runs that uses them, and there is no such pod.
func firstConsumer(v *view) *Finding {
	c := v.Claim
	waits := v.population.State == cdi.StateConsumer || v.phase() == cdiv1.PendingPopulation || v.phase() == cdiv1.WaitForFirstConsumer
	if v.DataVolume == nil && c != nil && v.population.State == "" && v.Class != nil && c.Status.Phase == corev1.ClaimPending {
		waits = v.Class.VolumeBindingMode != nil && *v.Class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	}
	if !waits || c == nil || c.Annotations[cdi.AnnSelectedNode] != "" || annotated(c, cdi.AnnImmediateBinding) {
		return nil
	}
	f := &Finding{ID: "WaitForFirstConsumer", Verdict: Waiting, Summary: "waits for its first consumer, which is usual for its StorageClass",
		WaitsFor: "the first pod or virtual machine that uses claim " + v.Name,
		Cause:    "its StorageClass makes a volume only where the first pod runs that uses it, and none has been scheduled yet"}
	if v.Class != nil {
		f.Cause = strings.Replace(f.Cause, "its StorageClass", "StorageClass "+v.Class.Name, 1)
	}
	if b := v.condition(cdiv1.DataVolumeBound); b != nil {
		f.Since = since(b)
	}
	for i := range v.Users {
		p := &v.Users[i]
		if s := podCondition(p, corev1.PodScheduled); s != nil && s.Status == corev1.ConditionFalse {
			f.Verdict, f.Summary = Stuck, "is stuck: the pod that wants it cannot be scheduled"
			f.Cause = fmt.Sprintf("pod %s uses the claim, and: %s", p.Name, oneLine(s.Message))
			f.Next = []string{fmt.Sprintf("Look at it: kubectl -n %s describe pod %s", v.Namespace, p.Name)}
			return f
		}
	}
	f.Next = []string{"Start the virtual machine or the pod that uses it; the import begins then.",
		fmt.Sprintf("Or have it filled now, wherever: kubectl -n %s annotate pvc %s %s=", v.Namespace, v.Name, cdi.AnnImmediateBinding)}
	return f
}

// classOfClaim: the claim itself names no class, or one that is not there.
func classOfClaim(v *view) *Finding {
	c := v.working()
	if c == nil || c.Spec.VolumeName != "" || c.Status.Phase == corev1.ClaimBound || v.Class != nil || v.unread("storageclass") {
		return nil
	}
	f := &Finding{Verdict: Stuck, WaitsFor: "a volume for claim " + c.Name, Since: c.CreationTimestamp.Time}
	if c.Spec.StorageClassName == nil {
		return noDefaultClass(v, f)
	}
	class := *c.Spec.StorageClassName
	if class == "" {
		f.ID, f.Summary = "NoVolume", "is stuck: its claim is without a StorageClass, and no volume fits"
		f.Cause = "a claim with the class \"\" takes a volume that somebody has made by hand, and none is free that fits"
		f.Next = []string{"Make a PersistentVolume that fits, or name a StorageClass. " + v.again()}
		return f
	}
	return classMissing(v, f, class)
}

// quota: something may not be made because the namespace has used up what it may.
func quota(v *view) *Finding {
	text, at := "", time.Time{}
	if v.Claim == nil || v.Claim.Status.Phase != corev1.ClaimBound || v.Worker == nil {
		if e := v.event([]string{"DataVolume", "PersistentVolumeClaim"}, "ErrExceededQuota", "ErrStartingPod", "ErrCreatingPVCPrime", "FailedCreate"); e != nil && strings.Contains(e.Message, "exceeded quota") && !v.overtaken(e) {
			text, at = e.Message, firstSeen(e)
		}
	}
	for _, m := range []string{v.population.Message, v.conditionMessage(cdiv1.DataVolumeBound), v.conditionMessage(cdiv1.DataVolumeRunning)} {
		if text == "" && strings.Contains(m, "exceeded quota") {
			text = m
		}
	}
	if text == "" || v.Worker != nil {
		return nil
	}
	f := &Finding{ID: "ErrExceededQuota", Verdict: Stuck, Summary: "is stuck: the quota of namespace " + v.Namespace + " is used up", WaitsFor: "room in the quota",
		Since: at, Cause: oneLine(text)}
	if i := strings.Index(text, "exceeded quota"); i >= 0 {
		f.Cause = oneLine(text[i:])
	}
	f.Next = []string{"See what uses it: kubectl -n " + v.Namespace + " describe quota",
		"Free some, or have the quota raised; the import goes on by itself."}
	return f
}

// overtaken says that something was made after the event, so what it complains about has passed.
func (v *view) overtaken(e *corev1.Event) bool {
	for _, c := range []*corev1.PersistentVolumeClaim{v.Claim, v.Prime} {
		if c != nil && LastSeen(e).Before(c.CreationTimestamp.Time) {
			return true
		}
	}
	return false
}

func (v *view) conditionMessage(t cdiv1.DataVolumeConditionType) string {
	if c := v.condition(t); c != nil {
		return c.Message
	}
	return ""
}

// provisioningPatience is how long a driver may take to make a volume before it is worth a word.
const provisioningPatience = time.Minute

// provisioning: the volume is not made.
func provisioning(v *view) *Finding {
	c := v.working()
	if c == nil || c.Status.Phase == corev1.ClaimBound {
		return nil
	}
	driver := "the provisioner"
	if v.Class != nil {
		driver = "provisioner " + v.Class.Provisioner
	}
	if e := v.claimEvent(c.Name, "ProvisioningFailed"); e != nil {
		f := &Finding{ID: "ProvisioningFailed", Verdict: Stuck, Summary: "is stuck: no volume can be made for claim " + c.Name,
			WaitsFor: "a volume for claim " + c.Name, Since: firstSeen(e), Cause: driver + " says: " + eventCause(e)}
		f.Next = []string{"Mend what the driver complains about (room, parameters of the class, credentials of the storage); it tries again by itself.",
			"Read what the driver says: find its controller with kubectl get pods -A, and read the log of its csi-provisioner and of the driver."}
		return f
	}
	e := v.claimEvent(c.Name, "ExternalProvisioning", "Provisioning")
	if e == nil || v.Now.Sub(firstSeen(e)) < provisioningPatience {
		return nil
	}
	f := &Finding{ID: "NoProvisioner", Verdict: Stuck, Summary: "is stuck: nobody makes a volume for claim " + c.Name,
		WaitsFor: "a volume for claim " + c.Name, Since: firstSeen(e), Cause: driver + " was asked and has not answered"}
	if v.Class != nil && v.Driver == nil && !v.unread("csidriver") {
		f.Cause += "; there is no CSIDriver of that name, so it is most likely not installed"
	}
	f.Next = []string{"Is its controller running? kubectl get pods -A"}
	return f
}

func (v *view) claimEvent(name string, reasons ...string) *corev1.Event {
	for i := len(v.Events) - 1; i >= 0; i-- {
		e := &v.Events[i]
		if e.InvolvedObject.Kind == "PersistentVolumeClaim" && e.InvolvedObject.Name == name && has(reasons, e.Reason) {
			return e
		}
	}
	return nil
}
