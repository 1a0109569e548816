package cdiconfig

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/lib/resize"
)

// HonorWaitForFirstConsumer is the feature gate that leaves claims of such classes alone until a pod wants them.
const HonorWaitForFirstConsumer = "HonorWaitForFirstConsumer"

// DefaultFeatureGates are those of a CDIConfig that is made because there was none.
var DefaultFeatureGates = []string{HonorWaitForFirstConsumer}

// Enabled says whether a feature gate is open. Without a CDIConfig it is as in a new one.
func Enabled(config *cdiv1.CDIConfig, gate string) bool {
	if config == nil {
		return slices.Contains(DefaultFeatureGates, gate)
	}
	return slices.Contains(config.Spec.FeatureGates, gate)
}

// DefaultResources are those of a worker. A worker needs 96 MiB at most for codecs with windows of 32 MiB; the rest of its
// memory is the page cache's, which the kernel takes back. It is a fourth of what the containerized-data-importer asks for,
// and quotas count it for every import.
func DefaultResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("750m"), corev1.ResourceMemory: resource.MustParse("192Mi")},
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("60M")},
	}
}

// Status is what follows from a CDIConfig's spec and the classes of the cluster. The upload proxy's CA is none of these: it
// is kept as it was.
func Status(spec *cdiv1.CDIConfigSpec, was *cdiv1.CDIConfigStatus, classes []storagev1.StorageClass) cdiv1.CDIConfigStatus {
	spec = spec.DeepCopy()
	resources := withDefaults(spec.PodResourceRequirements)
	s := cdiv1.CDIConfigStatus{
		UploadProxyURL:                 spec.UploadProxyURLOverride,
		UploadProxyCA:                  was.UploadProxyCA,
		ImportProxy:                    spec.ImportProxy,
		DefaultPodResourceRequirements: &resources,
		FilesystemOverhead:             overhead(spec.FilesystemOverhead, classes),
		Preallocation:                  spec.Preallocation != nil && *spec.Preallocation,
		ImagePullSecrets:               spec.ImagePullSecrets,
	}
	if spec.ScratchSpaceStorageClass != nil && slices.ContainsFunc(classes, func(c storagev1.StorageClass) bool { return c.Name == *spec.ScratchSpaceStorageClass }) {
		s.ScratchSpaceStorageClass = *spec.ScratchSpaceStorageClass
	}
	return s
}

// withDefaults overlays the defaults with what is set, resource by resource. A default request never exceeds the limit.
func withDefaults(set *corev1.ResourceRequirements) corev1.ResourceRequirements {
	r := DefaultResources()
	if set == nil {
		return r
	}
	r.Claims = set.Claims
	for name, q := range set.Limits {
		r.Limits[name] = q
		if request, ok := r.Requests[name]; ok && request.Cmp(q) > 0 {
			r.Requests[name] = q
		}
	}
	for name, q := range set.Requests {
		r.Requests[name] = q
		_, isSet := set.Limits[name]
		if limit, ok := r.Limits[name]; ok && !isSet && limit.Cmp(q) < 0 {
			r.Limits[name] = q // nor does a default limit stay below the request
		}
	}
	return r
}

// overhead has a figure for every class: the one set for it, else the one for all, else 6%. Figures that cannot be read
// are passed over; the CRD admits none.
func overhead(set *cdiv1.FilesystemOverhead, classes []storagev1.StorageClass) *cdiv1.FilesystemOverhead {
	o := &cdiv1.FilesystemOverhead{Global: cdiv1.Percent(resize.DefaultOverhead.String()), StorageClass: map[string]cdiv1.Percent{}}
	if set != nil && valid(set.Global) {
		o.Global = set.Global
	}
	for _, c := range classes {
		o.StorageClass[c.Name] = o.Global
	}
	if set == nil {
		return o
	}
	for class, percent := range set.StorageClass { // of names that only volumes have, too
		if valid(percent) {
			o.StorageClass[class] = percent
		}
	}
	return o
}

func valid(p cdiv1.Percent) bool {
	_, err := resize.ParseOverhead(string(p))
	return err == nil
}
