package population

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// problem is why a claim cannot be filled, for people. It is no error of ours, and trying again does not mend it.
type problem struct {
	reason, message, hint string
	elsewhere             bool // it is mended without making the claim again
}

func (p *problem) Error() string { return p.message }

// Reasons of problems.
const (
	reasonUnsupported = "UnsupportedSource"
	reasonInvalid     = "InvalidSpec"
	reasonConfig      = "InvalidConfig"
)

// fromAnnotations reads the order on a claim that has no dataSourceRef, in the form that a VolumeImportSource has.
func fromAnnotations(c *corev1.PersistentVolumeClaim) (*cdiv1.VolumeImportSourceSpec, error) {
	a := c.Annotations
	spec := &cdiv1.VolumeImportSourceSpec{
		Source:      &cdiv1.ImportSourceType{},
		ContentType: cdiv1.DataVolumeContentType(a[cdi.AnnContentType]),
	}
	switch a[cdi.AnnSource] {
	case "none":
		spec.Source.Blank = &cdiv1.DataVolumeBlankImage{}
	case "s3":
		spec.Source.S3 = &cdiv1.DataVolumeSourceS3{}
	case "gcs":
		spec.Source.GCS = &cdiv1.DataVolumeSourceGCS{}
	case "registry":
		spec.Source.Registry = &cdiv1.DataVolumeSourceRegistry{}
	case "imageio":
		spec.Source.Imageio = &cdiv1.DataVolumeSourceImageIO{}
	case "vddk":
		spec.Source.VDDK = &cdiv1.DataVolumeSourceVDDK{}
	default: // others are http to the containerized-data-importer, too
		h := &cdiv1.DataVolumeSourceHTTP{
			URL:           a[cdi.AnnEndpoint],
			SecretRef:     a[cdi.AnnSecret],
			CertConfigMap: a[cdi.AnnCertConfigMap],
			Checksum:      a[cdi.AnnChecksum],
		}
		if v := a[cdi.AnnInsecureSkipVerify]; v != "" {
			b, err := strconv.ParseBool(v)
			if err != nil {
				return nil, invalid(c, cdi.AnnInsecureSkipVerify, fmt.Sprintf("%.40q is neither true nor false", v))
			}
			h.InsecureSkipVerify = &b
		}
		h.ExtraHeaders = numbered(a, cdi.AnnExtraHeaders)
		h.SecretExtraHeaders = numbered(a, cdi.AnnSecretExtraHeaders)
		spec.Source.HTTP = h
	}
	return spec, nil
}

func invalid(c *corev1.PersistentVolumeClaim, annotation, what string) *problem {
	return &problem{
		reason:  reasonInvalid,
		message: fmt.Sprintf("PersistentVolumeClaim %s: annotation %s: %s", c.Name, annotation, what),
		hint:    fmt.Sprintf("correct it: kubectl annotate --overwrite -n %s pvc %s %s=…", c.Namespace, c.Name, annotation),
	}
}

// numbered are the values of annotations prefix+N, in the order of N.
func numbered(a map[string]string, prefix string) []string {
	type item struct {
		n     int
		value string
	}
	var items []item
	for key, value := range a {
		if s, ok := strings.CutPrefix(key, prefix); ok {
			if n, err := strconv.Atoi(s); err == nil {
				items = append(items, item{n, value})
			}
		}
	}
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.n, b.n) })
	var values []string
	for _, i := range items {
		values = append(values, i.value)
	}
	return values
}

// check tells what of an order we cannot do. name is where it comes from, for people.
func check(spec *cdiv1.VolumeImportSourceSpec, name string) error {
	unsupported := func(what, hint string) error {
		return &problem{reason: reasonUnsupported, message: fmt.Sprintf("%s: %s", name, what), hint: hint}
	}
	s := ptr.Deref(spec.Source, cdiv1.ImportSourceType{})
	if spec.ContentType == cdiv1.DataVolumeArchive {
		return unsupported("content type archive is not supported yet", "use contentType kubevirt: one disk image")
	}
	if len(spec.Checkpoints) > 0 || ptr.Deref(spec.TargetClaim, "") != "" {
		return unsupported("an import in stages (checkpoints, targetClaim) is not supported yet", "import the disk in one go")
	}
	const instead = "put the image behind http or https, and use the http source"
	kinds := 0
	var other string
	for kind, set := range map[string]bool{
		"http": s.HTTP != nil, "blank": s.Blank != nil, "s3": s.S3 != nil, "gcs": s.GCS != nil,
		"registry": s.Registry != nil, "imageio": s.Imageio != nil, "vddk": s.VDDK != nil,
	} {
		if set {
			kinds++
			if kind != "http" && kind != "blank" {
				other = kind
			}
		}
	}
	switch {
	case kinds != 1:
		return &problem{reason: reasonInvalid, message: fmt.Sprintf("%s: %d sources are set, one must be", name, kinds), hint: "set one of source.http and source.blank"}
	case other != "":
		return unsupported(fmt.Sprintf("source %s is not supported yet", other), instead)
	}
	return nil
}
