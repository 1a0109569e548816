package population

import (
	"fmt"
	"net/url"
	"path"
	"strconv"

	"golang.org/x/net/http/httpproxy"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/agent/internal/claim"
	"github.com/cdictl/cdictl/cmd/agent/internal/podspec"
	"github.com/cdictl/cdictl/cmd/internal/cdi"
	"github.com/cdictl/cdictl/lib/job"
)

// diskMode is what KubeVirt expects of a disk in a file: qemu's group may write.
const diskMode = "0660"

// orderOf is the job that fills the working claim of w.
func orderOf(w *world) (job.Spec, error) {
	size := w.claim.Spec.Resources.Requests[corev1.ResourceStorage]
	spec := job.Spec{
		Version:     job.Version,
		UID:         string(w.claim.UID),
		Preallocate: preallocate(w),
	}
	if block(w.claim) {
		spec.Target = job.Target{Device: job.DevicePath, Size: size.Value(), Replace: true}
		spec.StateDir = job.StateDir
	} else {
		overhead, err := claim.Overhead(w.config, ptr.Deref(w.claim.Spec.StorageClassName, ""))
		if err != nil {
			return spec, &problem{
				reason: reasonConfig, elsewhere: true,
				message: fmt.Sprintf("CDIConfig %s: status.filesystemOverhead: %v", cdi.ConfigName, err),
				hint:    "correct spec.filesystemOverhead of CDIConfig " + cdi.ConfigName,
			}
		}
		spec.Target = job.Target{
			File: job.DiskPath, Size: size.Value(), Overhead: overhead.String(), Replace: true,
			Mode: diskMode, UID: ptr.To(podspec.UserID), GID: ptr.To(podspec.UserID),
		}
	}
	if w.source.Source.Blank != nil {
		spec.Source.Blank = &job.Blank{}
	} else {
		h := w.source.Source.HTTP
		spec.Checksum = h.Checksum
		spec.Source.HTTP = httpOrder(h, w.config)
	}
	if err := spec.Validate(); err != nil {
		return spec, &problem{reason: reasonInvalid, message: fmt.Sprintf("%s: %v", w.origin(), err), hint: "correct the source"}
	}
	return spec, nil
}

func preallocate(w *world) bool {
	if w.source.Preallocation != nil {
		return *w.source.Preallocation
	}
	if v, err := strconv.ParseBool(w.claim.Annotations[cdi.AnnPreallocRequest]); err == nil {
		return v
	}
	return w.config != nil && w.config.Status.Preallocation
}

func httpOrder(h *cdiv1.DataVolumeSourceHTTP, config *cdiv1.CDIConfig) *job.HTTP {
	o := &job.HTTP{
		URL:      h.URL,
		Headers:  h.ExtraHeaders,
		Insecure: ptr.Deref(h.InsecureSkipVerify, false),
		Proxy:    proxyFor(h.URL, config),
	}
	if h.SecretRef != "" {
		o.UsernamePath = path.Join(job.SecretDir, podspec.KeyUser)
		o.PasswordPath = path.Join(job.SecretDir, podspec.KeyPassword)
	}
	if h.CertConfigMap != "" || o.Proxy != "" && proxyCA(config) != "" {
		o.CAPath = job.CADir
	}
	for i := range h.SecretExtraHeaders {
		o.SecretHeaderPaths = append(o.SecretHeaderPaths, path.Join(job.HeaderDir, strconv.Itoa(i)))
	}
	return o
}

// proxyFor is the proxy for a URL as CDIConfig's status has it, by the rules of http_proxy, https_proxy and no_proxy.
func proxyFor(raw string, config *cdiv1.CDIConfig) string {
	if config == nil || config.Status.ImportProxy == nil {
		return ""
	}
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	p := config.Status.ImportProxy
	rules := httpproxy.Config{HTTPProxy: ptr.Deref(p.HTTPProxy, ""), HTTPSProxy: ptr.Deref(p.HTTPSProxy, ""), NoProxy: ptr.Deref(p.NoProxy, "")}
	proxy, err := rules.ProxyFunc()(u)
	if err != nil || proxy == nil {
		return ""
	}
	return proxy.String()
}

// proxyCA is the ConfigMap, in the manager's namespace, with the certificates of CDIConfig's proxy.
func proxyCA(config *cdiv1.CDIConfig) string {
	if config == nil || config.Status.ImportProxy == nil {
		return ""
	}
	return ptr.Deref(config.Status.ImportProxy.TrustedCAProxy, "")
}
