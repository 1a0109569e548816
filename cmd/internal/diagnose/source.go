package diagnose

import (
	"net/url"

	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// source is where the data comes from, however it was asked for.
type source struct {
	kind      string // "http", "blank", …
	url       string // without credentials
	secret    string
	configMap string
	headers   []string // Secrets with headers
	checksum  string
	insecure  bool
	// field is where the user wrote it: "spec.source.http" of the DataVolume, …
	field string
}

// what names it for people.
func (s source) what() string {
	switch {
	case s.url != "":
		return s.url
	case s.kind == "blank":
		return "an empty disk"
	case s.kind != "":
		return "the source of kind " + s.kind
	}
	return "its source"
}

func sourceOf(o *Objects) source {
	switch {
	case o.DataVolume != nil:
		return ofDataVolume(o.DataVolume.Spec.Source)
	case o.ImportSource != nil && o.ImportSource.Spec.Source != nil:
		s := o.ImportSource.Spec.Source
		return ofHTTP(s.HTTP, s.Blank)
	case o.Claim != nil:
		return ofAnnotations(o.Claim.Annotations)
	}
	return source{}
}

func ofDataVolume(s *cdiv1.DataVolumeSource) source {
	if s == nil {
		return source{}
	}
	switch {
	case s.HTTP != nil, s.Blank != nil:
		return ofHTTP(s.HTTP, s.Blank)
	case s.S3 != nil:
		return source{kind: "s3", url: plain(s.S3.URL), secret: s.S3.SecretRef, configMap: s.S3.CertConfigMap, field: "spec.source.s3"}
	case s.GCS != nil:
		return source{kind: "gcs", url: plain(s.GCS.URL), secret: s.GCS.SecretRef, field: "spec.source.gcs"}
	case s.Registry != nil:
		r := source{kind: "registry", field: "spec.source.registry"}
		for from, to := range map[*string]*string{s.Registry.URL: &r.url, s.Registry.SecretRef: &r.secret, s.Registry.CertConfigMap: &r.configMap} {
			if from != nil {
				*to = *from
			}
		}
		r.url = plain(r.url)
		return r
	case s.Imageio != nil:
		return source{kind: "imageio", url: plain(s.Imageio.URL), secret: s.Imageio.SecretRef, configMap: s.Imageio.CertConfigMap, field: "spec.source.imageio"}
	case s.VDDK != nil:
		return source{kind: "vddk", url: plain(s.VDDK.URL), secret: s.VDDK.SecretRef, configMap: s.VDDK.CertConfigMap, field: "spec.source.vddk"}
	case s.PVC != nil:
		return source{kind: "pvc", field: "spec.source.pvc"}
	case s.Snapshot != nil:
		return source{kind: "snapshot", field: "spec.source.snapshot"}
	case s.Upload != nil:
		return source{kind: "upload", field: "spec.source.upload"}
	}
	return source{}
}

func ofHTTP(h *cdiv1.DataVolumeSourceHTTP, blank *cdiv1.DataVolumeBlankImage) source {
	switch {
	case h != nil:
		return source{kind: "http", url: plain(h.URL), secret: h.SecretRef, configMap: h.CertConfigMap, headers: h.SecretExtraHeaders,
			checksum: h.Checksum, insecure: h.InsecureSkipVerify != nil && *h.InsecureSkipVerify, field: "spec.source.http"}
	case blank != nil:
		return source{kind: "blank", field: "spec.source.blank"}
	}
	return source{}
}

func ofAnnotations(a map[string]string) source {
	s := source{kind: a[cdi.AnnSource], url: plain(a[cdi.AnnEndpoint]), secret: a[cdi.AnnSecret], configMap: a[cdi.AnnCertConfigMap],
		checksum: a[cdi.AnnChecksum], insecure: a[cdi.AnnInsecureSkipVerify] == "true", field: "the claim's annotations"}
	if s.kind == "none" {
		s.kind = "blank"
	}
	return s
}

// References are the Secrets and ConfigMaps that the source names.
func (o *Objects) References() []Ref {
	s := sourceOf(o)
	var refs []Ref
	for _, name := range append([]string{s.secret}, s.headers...) {
		if name != "" {
			refs = append(refs, Ref{"Secret", name})
		}
	}
	if s.configMap != "" {
		refs = append(refs, Ref{"ConfigMap", s.configMap})
	}
	return refs
}

// plain is a URL without what may be secret in it: user, password, query, fragment.
func plain(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.RawQuery != "" {
		u.RawQuery = "…"
	}
	return u.String()
}

// SourceOf is where a DataVolume's data comes from, in a word or by its URL, without credentials.
func SourceOf(dv *cdiv1.DataVolume) string {
	s := ofDataVolume(dv.Spec.Source)
	switch {
	case s.url != "":
		return s.url
	case dv.Spec.SourceRef != nil:
		return "datasource/" + dv.Spec.SourceRef.Name
	}
	return s.kind
}
