package manifest

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// user is who the processes are: 107 is qemu in KubeVirt, which owns the disks.
const user = 107

func (o Options) deployment() *appsv1.Deployment {
	one := intstr.FromInt32(1)
	return &appsv1.Deployment{
		TypeMeta: kind("apps/v1", "Deployment"), ObjectMeta: o.meta(o.Namespace, cdi.Agent),
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(o.Replicas)),
			Selector: &metav1.LabelSelector{MatchLabels: selector},
			// The old ones go on until the new ones are ready: the webhook is never without an answer.
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: new(intstr.FromInt32(0)), MaxSurge: &one}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: o.labels()}, Spec: o.pod()},
		},
	}
}

func (o Options) pod() corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: cdi.Agent,
		// Without the agent no DataVolume can be made or changed.
		PriorityClassName:             "system-cluster-critical",
		EnableServiceLinks:            new(false),
		TerminationGracePeriodSeconds: new(int64(30)),
		NodeSelector:                  map[string]string{"kubernetes.io/os": "linux"},
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: new(true), RunAsUser: new(int64(user)), RunAsGroup: new(int64(user)),
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		// On different nodes, where there are several.
		Affinity: &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 100, PodAffinityTerm: corev1.PodAffinityTerm{
				LabelSelector: &metav1.LabelSelector{MatchLabels: selector}, TopologyKey: "kubernetes.io/hostname",
			}}},
		}},
		Containers: []corev1.Container{{
			Name:            "manager",
			Image:           o.Image,
			ImagePullPolicy: corev1.PullIfNotPresent,
			Args:            []string{"manager", "--namespace=" + o.Namespace, "--worker-image=" + o.Image},
			Env: []corev1.EnvVar{{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{
				FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"},
			}}},
			Ports: []corev1.ContainerPort{
				{Name: "webhook", ContainerPort: cdi.WebhookPort, Protocol: corev1.ProtocolTCP},
				{Name: "health", ContainerPort: cdi.HealthPort, Protocol: corev1.ProtocolTCP},
				{Name: "metrics", ContainerPort: cdi.ManagerMetricsPort, Protocol: corev1.ProtocolTCP},
			},
			// The limit has room for the caches of a cluster with some ten thousand claims and volumes.
			Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
				Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")},
			},
			StartupProbe:   probe("/healthz", 2, 60), // the first start makes certificates
			LivenessProbe:  probe("/healthz", 10, 6),
			ReadinessProbe: probe("/readyz", 2, 3),
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
				Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			},
			TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		}},
	}
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("health")}},
		PeriodSeconds: period, FailureThreshold: failures, TimeoutSeconds: 5,
	}
}

// A node can be drained, but not two with a manager at the same time.
func (o Options) disruptionBudget() *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		TypeMeta: kind("policy/v1", "PodDisruptionBudget"), ObjectMeta: o.meta(o.Namespace, cdi.Agent),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable:             new(intstr.FromInt32(1)),
			Selector:                   &metav1.LabelSelector{MatchLabels: selector},
			UnhealthyPodEvictionPolicy: new(policyv1.AlwaysAllow),
		},
	}
}

func (o Options) service() *corev1.Service {
	return &corev1.Service{
		TypeMeta: kind("v1", "Service"), ObjectMeta: o.meta(o.Namespace, cdi.WebhookService),
		Spec: corev1.ServiceSpec{
			Selector: selector,
			Ports:    []corev1.ServicePort{{Name: "webhook", Port: 443, TargetPort: intstr.FromString("webhook"), Protocol: corev1.ProtocolTCP}},
		},
	}
}

// Install is the pair of commands that makes an installation, for messages.
func Install(namespace string) string {
	if namespace == "" || namespace == cdi.DefaultNamespace {
		return "cdictl install | kubectl apply -f -"
	}
	return fmt.Sprintf("cdictl install --namespace %s | kubectl apply -f -", namespace)
}
