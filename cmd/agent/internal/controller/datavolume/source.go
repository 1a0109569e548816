package datavolume

import (
	"fmt"
	"strconv"

	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// content is what a claim is to be filled with, in both ways that the population controller can be told.
type content struct {
	source      *cdiv1.ImportSourceType // of a VolumeImportSource
	annotations map[string]string       // of a claim that is written to itself
}

// contentOf maps the source of a DataVolume. This is the only place that knows which sources there are.
func contentOf(dv *cdiv1.DataVolume) (*content, error) {
	if t := dv.Spec.ContentType; t != "" && t != cdiv1.DataVolumeKubeVirt {
		return nil, notSupported(fmt.Sprintf("contentType %s", t))
	}
	if dv.Spec.SourceRef != nil {
		return nil, notSupported("spec.sourceRef")
	}
	source := dv.Spec.Source
	if source == nil {
		return nil, stop(reasonNotValid, "Data volume should have either Source or SourceRef, or be externally populated", "delete the DataVolume and create it again with spec.source")
	}
	switch {
	case source.HTTP != nil:
		return &content{
			source:      &cdiv1.ImportSourceType{HTTP: source.HTTP.DeepCopy()},
			annotations: httpAnnotations(source.HTTP),
		}, nil
	case source.Blank != nil:
		return &content{
			source:      &cdiv1.ImportSourceType{Blank: &cdiv1.DataVolumeBlankImage{}},
			annotations: map[string]string{cdi.AnnSource: "none"},
		}, nil
	case source.S3 != nil:
		return nil, notSupported("source s3")
	case source.GCS != nil:
		return nil, notSupported("source gcs")
	case source.Registry != nil:
		return nil, notSupported("source registry")
	case source.PVC != nil:
		return nil, notSupported("source pvc")
	case source.Snapshot != nil:
		return nil, notSupported("source snapshot")
	case source.Upload != nil:
		return nil, notSupported("source upload")
	case source.Imageio != nil:
		return nil, notSupported("source imageio")
	case source.VDDK != nil:
		return nil, notSupported("source vddk")
	}
	return nil, notSupported("this source")
}

func notSupported(what string) error {
	return stop(reasonNotSupported, fmt.Sprintf("%s is not supported by this version of the agent", what),
		"use source http or blank with contentType kubevirt, or install a version that has it")
}

func httpAnnotations(h *cdiv1.DataVolumeSourceHTTP) map[string]string {
	a := map[string]string{cdi.AnnSource: "http", cdi.AnnEndpoint: h.URL}
	for key, value := range map[string]string{
		cdi.AnnSecret:        h.SecretRef,
		cdi.AnnCertConfigMap: h.CertConfigMap,
		cdi.AnnChecksum:      h.Checksum,
	} {
		if value != "" {
			a[key] = value
		}
	}
	if h.InsecureSkipVerify != nil {
		a[cdi.AnnInsecureSkipVerify] = strconv.FormatBool(*h.InsecureSkipVerify)
	}
	for i, header := range h.ExtraHeaders {
		a[cdi.AnnExtraHeaders+strconv.Itoa(i)] = header
	}
	for i, secret := range h.SecretExtraHeaders {
		a[cdi.AnnSecretExtraHeaders+strconv.Itoa(i)] = secret
	}
	return a
}

// external says that somebody else fills the claim: spec.pvc or spec.storage names a data source of its own.
func external(dv *cdiv1.DataVolume) bool {
	if dv.Spec.Source != nil || dv.Spec.SourceRef != nil {
		return false
	}
	if p := dv.Spec.PVC; p != nil {
		return p.DataSource != nil || p.DataSourceRef != nil
	}
	s := dv.Spec.Storage
	return s != nil && (s.DataSource != nil || s.DataSourceRef != nil)
}
