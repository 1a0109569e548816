package diagnose

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// trouble is how the last try went wrong, whoever told.
type trouble struct {
	reason, message, hint string
	since                 time.Time
	// virtual size of the image, 0 if not known.
	virtual int64
}

// failedForGood: a try has ended in a way that no other one can better.
func failedForGood(v *view) *Finding {
	p := v.population
	fatal := p.State == cdi.StateFailed || v.phase() == cdiv1.Failed || v.Claim != nil && v.Claim.Annotations[cdi.AnnFatalError] != ""
	t := trouble{reason: p.Reason, message: p.Message, hint: p.Hint, virtual: p.VirtualSize}
	if r := v.result; r != nil && r.Outcome == job.Failed {
		fatal = true
		t = trouble{reason: r.Reason, message: r.Message, hint: r.Hint, virtual: r.VirtualSize, since: r.ended}
	}
	if !fatal {
		return nil
	}
	c := v.condition(cdiv1.DataVolumeRunning)
	if c != nil && t.message == "" {
		t.reason, t.message = orElse(t.reason, c.Reason), c.Message
	}
	if t.since.IsZero() {
		t.since = since(c)
	}
	f := v.explainTrouble(t)
	f.Verdict, f.WaitsFor = Failed, ""
	f.Summary = "has failed: " + f.Summary
	return f
}

// sourceTrouble: the last try went wrong, and another follows.
func sourceTrouble(v *view) *Finding {
	if _, ok := running(v.Worker); ok {
		return nil
	}
	p, r := v.population, v.result
	var t trouble
	switch {
	case r != nil && r.Outcome == job.Retry && r.read:
		t = trouble{reason: r.Reason, message: r.Message, hint: r.Hint, virtual: r.VirtualSize, since: r.ended}
	case p.State == cdi.StateBackoff && p.Message != "":
		t = trouble{reason: p.Reason, message: p.Message, hint: p.Hint, virtual: p.VirtualSize}
	case r != nil && r.Outcome == job.Retry && v.Worker.Status.Phase != corev1.PodFailed:
		t = trouble{reason: orElse(r.reason, "Error"), message: r.Message, since: r.ended}
	default:
		return nil
	}
	if t.since.IsZero() {
		t.since = since(v.condition(cdiv1.DataVolumeRunning))
	}
	f := v.explainTrouble(t)
	f.Verdict, f.Summary = Stuck, "is stuck: "+f.Summary
	if n := restarts(v.Worker); n > 0 {
		f.Cause += fmt.Sprintf(" (tried %d times)", n+1)
	}
	v.tryAgain(f)
	if reason, _ := waiting(v.Worker); v.population.NextTry == nil && reason == "CrashLoopBackOff" {
		f.Next = append(f.Next, "It is tried again by itself, with growing pauses of up to five minutes.")
	}
	return f
}

// explainTrouble puts errdef's reasons into the words of a cluster. Summary is without its beginning.
func (v *view) explainTrouble(t trouble) *Finding {
	f := &Finding{ID: orElse(t.reason, "ImportFailed"), Since: t.since, Cause: oneLine(t.message), WaitsFor: "a try that goes well"}
	what := v.source.what()
	certificate := strings.Contains(t.message, "certificate is not trusted")
	switch {
	case certificate:
		f.ID, f.Summary, f.WaitsFor = "CertificateNotTrusted", "the certificate of the server is not trusted", "a server whose certificate is trusted"
		f.Next = v.certificateSteps()
	case t.reason == "SourceNotFound":
		f.Summary, f.WaitsFor = "the server says that the image is not there", what
		f.Next = []string{"Check " + v.field("url") + "; if the file appears there, the import goes on by itself.", "For another URL: " + lowerFirst(v.again())}
	case t.reason == "SourceUnauthorized":
		f.Summary, f.WaitsFor = "the server wants other credentials", "credentials that "+what+" takes"
		f.Next = v.credentialSteps()
	case t.reason == "SourceUnavailable":
		f.Summary, f.WaitsFor = "the server cannot be reached, or does not answer rightly", what
		f.Next = []string{"Is the server up, and can pods of namespace " + v.Namespace + " reach it (DNS, NetworkPolicies, a proxy)?", "It is tried again by itself."}
	case t.reason == "TargetTooSmall":
		v.tooSmall(f, t)
	case t.reason == "InvalidImage":
		f.Summary, f.WaitsFor = "the image is damaged, or of a kind that is not supported", "another image"
		f.Next = []string{"Look at it: cdictl info " + orElse(v.source.url, "URL"),
			"Compare it with the checksum that its maker gives, and put a sound one there. " + v.again()}
	case t.reason == "DigestMismatch":
		f.Summary, f.WaitsFor = "the image is not the one that the checksum belongs to", "an image with the right checksum"
		f.Next = []string{"Compare " + v.field("checksum") + " with what the maker of the image gives; files at such URLs are often replaced by newer ones.", v.again()}
	case t.reason == "SourceChanged":
		f.Summary, f.WaitsFor = "the image was replaced while it was read", what
		f.Next = []string{"Nothing: it is read again from the start. If it changes all the time, name a fixed version of it."}
	case t.reason == "LimitExceeded":
		f.Summary = "the image passes a limit that protects from hostile ones"
		f.Next = []string{"If you trust it, convert it on your machine, where limits can be raised: cdictl import --help, LIMIT FLAGS"}
	case t.reason == "ScratchNeeded":
		f.Summary = "the image needs room for a copy while it is read, and there is none"
		f.Next = []string{"Give the claim more room, or convert the image first: cdictl convert"}
	case t.reason == "PolicyRefused":
		f.Summary = "the source leads to something that is refused for safety"
		f.Next = []string{orElse(sentence(t.hint), "Name the image by the URL that it really has.")}
	case t.reason == "TargetBusy":
		f.Summary, f.WaitsFor = "somebody else writes to the volume", "the other writer to end"
		f.Next = []string{"Stop the pods that use claim " + v.Name + "; it is tried again by itself."}
	case t.reason == "DeadlineExceeded":
		f.Summary, f.WaitsFor = "it took too long", what
		f.Next = []string{"It is tried again by itself; a nearer or faster server helps."}
	case v.result == nil && t.message != "" && t.reason != "" && t.reason != "ImportFailed":
		// Not the worker said it but the agent, of an order that it cannot carry out.
		f.Summary, f.WaitsFor = lowerFirst(oneLine(t.message)), "what the cause names"
		f.Next = []string{orElse(sentence(t.hint), "Mend what the cause names."), v.again()}
	default:
		f.Summary = "the worker ends with an error"
		f.Next = []string{orElse(sentence(t.hint), "Read what it said: kubectl -n "+v.Namespace+" logs "+v.workerName()+" --previous")}
	}
	if f.Cause == "" {
		f.Cause = f.Summary
	}
	return f
}

func (v *view) workerName() string {
	if v.Worker != nil {
		return v.Worker.Name
	}
	return orElse(v.population.Pod, "-l "+cdi.LabelComponent+"=importer")
}

func (v *view) tooSmall(f *Finding, t trouble) {
	f.Summary, f.WaitsFor = "the claim is too small for the image", "a larger claim"
	room := ""
	if c := v.working(); c != nil {
		room = quantity(c.Spec.Resources.Requests[corev1.ResourceStorage])
	}
	if strings.Contains(t.message, "no space left") || strings.Contains(t.message, "quota exceeded") {
		f.Summary, f.WaitsFor = "the volume is full", "room on the volume"
		f.Next = []string{"The volume took less than the " + orElse(room, "size") + " that it was asked for: look at the storage behind it; thin pools and shared filesystems can be full."}
		// Only a bound claim can be enlarged; one that is filled through PVC′ is bound last.
		if v.Claim != nil && v.Claim.Status.Phase == corev1.ClaimBound && v.Class != nil && v.Class.AllowVolumeExpansion != nil && *v.Class.AllowVolumeExpansion {
			f.Next = append(f.Next, fmt.Sprintf("Or enlarge the claim: kubectl -n %s edit pvc %s", v.Namespace, v.Name))
			return
		}
		f.Next = append(f.Next, "Or ask for more. "+v.again())
		return
	}
	want := "a size that the image fits in"
	if t.virtual > 0 {
		want = fmt.Sprintf("at least %s", size(t.virtual))
	}
	f.Next = []string{fmt.Sprintf("Ask for %s instead of %s. %s", want, orElse(room, "less"), v.again())}
	if v.source.kind == "http" && v.DataVolume != nil {
		f.Next = append(f.Next, fmt.Sprintf("This takes the size from the image: cdictl import %s --dv %s -n %s", v.source.url, v.Name, v.Namespace))
	}
}

func (v *view) credentialSteps() []string {
	if v.source.secret == "" {
		return []string{
			"Make a Secret with user and password: kubectl -n " + v.Namespace + " create secret generic NAME --from-literal=accessKeyId=USER --from-file=secretKey=FILE",
			"Name it in " + v.field("secretRef") + ". " + v.again()}
	}
	return []string{
		fmt.Sprintf("Put the right user and password into Secret %s (keys accessKeyId and secretKey): kubectl -n %s edit secret %s", v.source.secret, v.Namespace, v.source.secret),
		"The import goes on by itself when the Secret changes."}
}

func (v *view) certificateSteps() []string {
	if v.source.configMap == "" {
		return []string{
			"Make a ConfigMap with the authority that signed it: kubectl -n " + v.Namespace + " create configmap NAME --from-file=ca.crt=FILE",
			"Name it in " + v.field("certConfigMap") + ". " + v.again()}
	}
	return []string{
		fmt.Sprintf("ConfigMap %s does not hold the authority that signed it, or the server's name is not in its certificate: kubectl -n %s get configmap %s -o yaml", v.source.configMap, v.Namespace, v.source.configMap),
		"Put the right one there; it is tried again by itself."}
}

// sentence makes one of a hint.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + strings.TrimSuffix(s[1:], ".") + "."
}
