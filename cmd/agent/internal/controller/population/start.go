package population

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// certificateLife is longer than imports take; one that takes longer is given new ones.
const certificateLife = 7 * 24 * time.Hour

// startWorker makes the job and its pod, after a look past the cache: a volume that is complete is never filled again.
func (r *reconciler) startWorker(ctx context.Context, w *world, s *step) (stop bool, err error) {
	now := &corev1.PersistentVolumeClaim{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(w.working()), now); client.IgnoreNotFound(err) != nil {
		return true, err
	}
	if now.UID != w.working().UID || now.DeletionTimestamp != nil || now.Annotations[annResult] != "" || now.Annotations[cdi.AnnFatalError] != "" {
		s.again, s.mute = soon, true // the cache is behind
		return true, nil
	}
	if w.flow == direct {
		if user, err := r.userOf(ctx, w.claim); err != nil {
			return true, err
		} else if user != "" {
			message := fmt.Sprintf("pod %s uses the claim; it is filled when no pod does", user)
			if w.said.Message != message {
				r.event(w.claim, corev1.EventTypeWarning, eventInUse, message)
			}
			*s = waits("TargetInUse", message, fmt.Sprintf("stop it: kubectl delete pod -n %s %s", w.claim.Namespace, user))
			s.again = patience
			return true, nil
		}
	}
	if err := r.writeJob(ctx, w); err != nil {
		return r.cannotStart(w, s, err)
	}
	pod := r.podOf(w)
	switch err := r.Create(ctx, pod, owner); {
	case err == nil:
		w.pod = pod
		return false, nil
	case apierrors.IsAlreadyExists(err):
		return true, r.adopt(ctx, w, pod, s)
	default:
		return r.cannotStart(w, s, err)
	}
}

// cannotStart tells the cause, not only that there is one.
func (r *reconciler) cannotStart(w *world, s *step, err error) (stop bool, _ error) {
	var p *problem
	switch {
	case errors.As(err, &p):
		*s = w.refuses(p)
	case refused(err):
		r.refuse(w, s, eventNoPod, fmt.Sprintf("the worker's pod cannot be made: %v", err))
	default:
		return true, err
	}
	return true, nil
}

// userOf is a pod that uses the claim and is not done, other than the worker. Namespaces are not in the cache as a whole,
// and this is asked once for an import.
func (r *reconciler) userOf(ctx context.Context, c *corev1.PersistentVolumeClaim) (string, error) {
	list := &corev1.PodList{}
	for {
		if err := r.live.List(ctx, list, client.InNamespace(c.Namespace), client.Limit(500), client.Continue(list.Continue)); err != nil {
			return "", fmt.Errorf("pods that use claim %s: %w", c.Name, err)
		}
		for i := range list.Items {
			p := &list.Items[i]
			if p.Name == podspec.Name(c) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
				continue
			}
			for _, v := range p.Spec.Volumes {
				if v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == c.Name {
					return p.Name, nil
				}
			}
		}
		if list.Continue == "" {
			return "", nil
		}
	}
}

// writeJob makes the job's Secret, or writes it anew: what it was made from may have changed.
func (r *reconciler) writeJob(ctx context.Context, w *world) error {
	spec, err := orderOf(w)
	if err != nil {
		return err
	}
	text, err := spec.Encode()
	if err != nil {
		return err
	}
	cert, key, ca, err := r.o.Certs.IssueWorker(string(w.claim.UID), certificateLife)
	if err != nil {
		return err
	}
	data := map[string][]byte{podspec.KeySpec: text, podspec.KeyCert: cert, podspec.KeyKey: key, podspec.KeyCA: ca}
	if usesProxyCA(w) {
		if data[podspec.KeyProxyCA], err = r.proxyCA(ctx, proxyCA(w.config)); err != nil {
			return err
		}
	}
	o := podspec.OwnedBy(w.claim)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name: podspec.JobName(w.claim.UID), Namespace: w.claim.Namespace,
			Labels:          map[string]string{cdi.LabelApp: cdi.App, cdi.LabelManagedBy: cdi.ManagedBy},
			OwnerReferences: []metav1.OwnerReference{o},
		},
		Type: corev1.SecretTypeOpaque,
		Data: data,
	}
	// Never a patch: to be allowed one is to be shown any Secret whose name one knows, as the answer is the whole object.
	err = r.Create(ctx, secret)
	if apierrors.IsAlreadyExists(err) {
		err = r.Update(ctx, secret)
	}
	if err != nil {
		return fmt.Errorf("secret %s: %w", secret.Name, err)
	}
	return nil
}

// usesProxyCA says whether the worker gets certificates for its proxy.
func usesProxyCA(w *world) bool {
	h := w.source.Source.HTTP
	return h != nil && proxyCA(w.config) != "" && proxyFor(h.URL, w.config) != ""
}

// proxyCA are all certificates of a ConfigMap in the agent's namespace, in one file.
func (r *reconciler) proxyCA(ctx context.Context, name string) ([]byte, error) {
	cm := &corev1.ConfigMap{}
	if err := r.live.Get(ctx, types.NamespacedName{Namespace: r.o.Namespace, Name: name}, cm); err != nil {
		if !apierrors.IsNotFound(err) {
			return nil, err
		}
		return nil, &problem{
			reason: reasonConfig, elsewhere: true,
			message: fmt.Sprintf("CDIConfig %s: importProxy.trustedCAProxy: ConfigMap %s is not in namespace %s", cdi.ConfigName, name, r.o.Namespace),
			hint:    "create it, or take it out of CDIConfig " + cdi.ConfigName,
		}
	}
	var all []byte
	for _, key := range slices.Sorted(maps.Keys(cm.Data)) {
		all = append(append(all, cm.Data[key]...), '\n')
	}
	return all, nil
}

// podOf is the worker's pod.
func (r *reconciler) podOf(w *world) *corev1.Pod {
	in := podspec.Input{
		Claim:      w.claim,
		Working:    w.working(),
		Job:        podspec.JobName(w.claim.UID),
		Image:      r.o.Image,
		PullPolicy: r.o.PullPolicy,
		Placement:  r.o.Placement,
	}
	if w.config != nil {
		in.Resources = w.config.Status.DefaultPodResourceRequirements
		in.PullSecrets = w.config.Status.ImagePullSecrets
	}
	if h := w.source.Source.HTTP; h != nil {
		in.Secret, in.CAs, in.Headers = h.SecretRef, h.CertConfigMap, h.SecretExtraHeaders
		in.ProxyCA = usesProxyCA(w)
	}
	return podspec.Import(in)
}
