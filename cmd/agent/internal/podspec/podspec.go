// Package podspec makes the pods of workers. It is pure: the same Input gives the same pod, and golden files under testdata
// show what that is. Every pod meets the restricted Pod Security Standard.
package podspec

import (
	"path"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// UserID is the user and group of workers and of the disks they make: qemu's, as KubeVirt knows it.
const UserID = 107

// Names in a worker's pod.
const (
	Container   = "importer"
	MetricsPort = "metrics"
)

// Keys of the Secret with the job.
const (
	KeySpec    = "spec.json"
	KeyCert    = corev1.TLSCertKey
	KeyKey     = corev1.TLSPrivateKeyKey
	KeyCA      = "ca.crt"
	KeyProxyCA = "proxy-ca.crt"
)

// Keys of a source's Secret.
const (
	KeyUser     = "accessKeyId"
	KeyPassword = "secretKey"
)

// AnnWorkingClaim is the UID of the claim that a pod fills: of PVC′, or of the user's. A claim made again has another, and
// what a pod did to the first says nothing about the second.
const AnnWorkingClaim = "cdictl.dev/working-claim-uid"

// Placement says on which nodes workers may run.
type Placement struct {
	NodeSelector map[string]string
	Affinity     *corev1.Affinity
	Tolerations  []corev1.Toleration
}

// Input is what a worker's pod depends on.
type Input struct {
	// Claim is the user's: it owns the pod, and its annotations choose networks, priority and account.
	Claim *corev1.PersistentVolumeClaim
	// Working is the claim that is filled: Claim itself, or PVC′.
	Working *corev1.PersistentVolumeClaim
	// Job is the Secret with spec and certificates. ProxyCA: it has certificates for a proxy too.
	Job     string
	ProxyCA bool
	// Secret has the source's credentials, CAs (a ConfigMap) the certificates to trust, Headers (Secrets) headers. "": none.
	Secret  string
	CAs     string
	Headers []string

	Image       string
	PullPolicy  corev1.PullPolicy
	PullSecrets []corev1.LocalObjectReference
	Resources   *corev1.ResourceRequirements // nil: DefaultResources
	Placement   Placement
	// Init are containers that run first: of sources that bring programs of their own. Image is theirs to replace, too.
	Init []corev1.Container
}

// DefaultResources are those of a worker where CDIConfig has none: a third of the containerized-data-importer's limit of memory,
// because a worker's is bounded by construction (96 MiB and the codec's window).
func DefaultResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Limits: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("750m"),
			corev1.ResourceMemory: resource.MustParse("192Mi"),
		},
		Requests: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("100m"),
			corev1.ResourceMemory: resource.MustParse("60M"),
		},
	}
}

// stateSize is room for the journal of a block device of many TiB. Who exceeds it is evicted.
const stateSize = "64Mi"

// Import is the pod that fills a claim.
func Import(in Input) *corev1.Pod {
	resources := DefaultResources()
	if in.Resources != nil {
		resources = *in.Resources.DeepCopy()
	}
	volumes, mounts, devices := volumes(in)
	restricted := &corev1.SecurityContext{
		AllowPrivilegeEscalation: ptr.To(false),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		ReadOnlyRootFilesystem:   ptr.To(true),
		RunAsNonRoot:             ptr.To(true),
		RunAsUser:                ptr.To[int64](UserID),
		RunAsGroup:               ptr.To[int64](UserID),
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name:            Name(in.Working),
			Namespace:       in.Claim.Namespace,
			Labels:          labels(),
			Annotations:     annotations(in),
			OwnerReferences: []metav1.OwnerReference{OwnedBy(in.Claim)},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:                corev1.RestartPolicyOnFailure,
			AutomountServiceAccountToken: ptr.To(false),
			EnableServiceLinks:           ptr.To(false),
			ServiceAccountName:           in.Claim.Annotations[cdi.AnnServiceAccount],
			PriorityClassName:            in.Claim.Annotations[cdi.AnnPriorityClass],
			ImagePullSecrets:             in.PullSecrets,
			NodeSelector:                 in.Placement.NodeSelector,
			Affinity:                     in.Placement.Affinity,
			Tolerations:                  in.Placement.Tolerations,
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: ptr.To(true),
				RunAsUser:    ptr.To[int64](UserID),
				RunAsGroup:   ptr.To[int64](UserID),
				// Secrets are readable by their group only. A volume that has the group is not walked again.
				FSGroup:             ptr.To[int64](UserID),
				FSGroupChangePolicy: ptr.To(corev1.FSGroupChangeOnRootMismatch),
				SeccompProfile:      &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			InitContainers: in.Init,
			Containers: []corev1.Container{{
				Name:                     Container,
				Image:                    in.Image,
				ImagePullPolicy:          in.PullPolicy,
				Args:                     []string{"worker", "import"},
				Resources:                resources,
				Ports:                    []corev1.ContainerPort{{Name: MetricsPort, ContainerPort: job.MetricsPort, Protocol: corev1.ProtocolTCP}},
				VolumeMounts:             mounts,
				VolumeDevices:            devices,
				SecurityContext:          restricted,
				TerminationMessagePath:   job.ResultPath,
				TerminationMessagePolicy: corev1.TerminationMessageReadFile,
			}},
			Volumes: volumes,
		},
	}
}

// OwnedBy makes a claim the controller of what is made for it. Nothing waits for the child's end: it would need leave to
// update the claim's finalizers.
func OwnedBy(claim *corev1.PersistentVolumeClaim) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Name: claim.Name, UID: claim.UID, Controller: ptr.To(true),
	}
}

// JobName is the Secret with the job of the user's claim with this UID.
func JobName(claim types.UID) string { return "import-job-" + string(claim) }

// Labels that pods of workers have and nothing else has: what the manager watches.
func Labels() map[string]string {
	return map[string]string{cdi.LabelApp: cdi.App, cdi.LabelComponent: Container}
}

func labels() map[string]string {
	l := Labels()
	l[cdi.LabelPartOf] = cdi.App
	l[cdi.LabelManagedBy] = cdi.ManagedBy
	l[cdi.LabelK8sComponent] = "storage"
	l[cdi.LabelMetrics] = "true"
	l[cdi.LabelAllowServices] = "true"
	return l
}

func annotations(in Input) map[string]string {
	a := map[string]string{
		AnnWorkingClaim: string(in.Working.UID),
		// A sidecar would outlive the worker, and the pod would never be done.
		"sidecar.istio.io/inject": "false",
		"linkerd.io/inject":       "disabled",
	}
	for _, key := range cdi.PodAnnotations {
		if v, ok := in.Claim.Annotations[key]; ok {
			a[key] = v
		}
	}
	return a
}

const (
	volData  = "data"
	volState = "state"
	volJob   = "job"
	volAuth  = "secret"
	volCA    = "ca"
)

// secretMode: the worker's group reads, nobody else.
const secretMode int32 = 0o440

func volumes(in Input) (v []corev1.Volume, m []corev1.VolumeMount, d []corev1.VolumeDevice) {
	v = append(v, corev1.Volume{Name: volData, VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: in.Working.Name},
	}})
	if ptr.Deref(in.Working.Spec.VolumeMode, "") == corev1.PersistentVolumeBlock {
		d = append(d, corev1.VolumeDevice{Name: volData, DevicePath: job.DevicePath})
	} else {
		m = append(m, corev1.VolumeMount{Name: volData, MountPath: job.DataDir})
	}
	add := func(name, at string, readOnly bool, s corev1.VolumeSource) {
		v = append(v, corev1.Volume{Name: name, VolumeSource: s})
		m = append(m, corev1.VolumeMount{Name: name, MountPath: at, ReadOnly: readOnly})
	}
	add(volState, job.StateDir, false, corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr.To(resource.MustParse(stateSize))},
	})
	tls := path.Base(job.ServerDir)
	add(volJob, path.Dir(job.SpecPath), true, secret(in.Job,
		corev1.KeyToPath{Key: KeySpec, Path: path.Base(job.SpecPath)},
		corev1.KeyToPath{Key: KeyCert, Path: path.Join(tls, "tls.crt")},
		corev1.KeyToPath{Key: KeyKey, Path: path.Join(tls, "tls.key")},
		corev1.KeyToPath{Key: KeyCA, Path: path.Join(tls, "ca.crt")}))
	if in.Secret != "" {
		// Only these two: what else is in the Secret is not the worker's.
		add(volAuth, job.SecretDir, true, secret(in.Secret,
			corev1.KeyToPath{Key: KeyUser, Path: KeyUser}, corev1.KeyToPath{Key: KeyPassword, Path: KeyPassword}))
	}
	if ca := trust(in); len(ca) > 0 {
		add(volCA, job.CADir, true, corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: ca, DefaultMode: ptr.To(secretMode)}})
	}
	for i, name := range in.Headers {
		n := strconv.Itoa(i)
		add("headers-"+n, path.Join(job.HeaderDir, n), true, secret(name))
	}
	return v, m, d
}

func secret(name string, items ...corev1.KeyToPath) corev1.VolumeSource {
	return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: name, Items: items, DefaultMode: ptr.To(secretMode)}}
}

// trust puts the certificates of source and proxy into one folder.
func trust(in Input) (s []corev1.VolumeProjection) {
	if in.CAs != "" {
		s = append(s, corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: in.CAs}}})
	}
	if in.ProxyCA {
		s = append(s, corev1.VolumeProjection{Secret: &corev1.SecretProjection{
			LocalObjectReference: corev1.LocalObjectReference{Name: in.Job},
			Items:                []corev1.KeyToPath{{Key: KeyProxyCA, Path: KeyProxyCA}},
		}})
	}
	return s
}

// Name is that of the pod that fills a claim: importer-CLAIM, and where that is no name for a pod, one that is shortened and
// made distinct by a hash.
func Name(working *corev1.PersistentVolumeClaim) string {
	return shortName(Container + "-" + working.Name)
}
