package validate

import (
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

// sources names the members of a source that are set.
func sources(s *cdiv1.DataVolumeSource) []string {
	var named []string
	for _, m := range []struct {
		name string
		set  bool
	}{
		{"HTTP", s.HTTP != nil}, {"S3", s.S3 != nil}, {"GCS", s.GCS != nil}, {"Registry", s.Registry != nil},
		{"PVC", s.PVC != nil}, {"Upload", s.Upload != nil}, {"Blank", s.Blank != nil}, {"Imageio", s.Imageio != nil},
		{"VDDK", s.VDDK != nil}, {"Snapshot", s.Snapshot != nil},
	} {
		if m.set {
			named = append(named, m.name)
		}
	}
	return named
}

// contentType checks that the source, by its name, can give such content.
func contentType(path *field.Path, t cdiv1.DataVolumeContentType, source string) Causes {
	switch {
	case t == "", t == cdiv1.DataVolumeKubeVirt:
		return nil
	case t != cdiv1.DataVolumeArchive:
		return invalid(path, "ContentType not one of: %s, %s", cdiv1.DataVolumeKubeVirt, cdiv1.DataVolumeArchive)
	case source == "Blank":
		return invalid(path, "SourceType cannot be blank and the contentType be archive")
	case source == "Registry", source == "Imageio", source == "VDDK":
		return invalid(path, "ContentType must be %s when Source is %s", cdiv1.DataVolumeKubeVirt, source)
	}
	return nil
}

// source checks a source with exactly one member.
func source(path *field.Path, s *cdiv1.DataVolumeSource) Causes {
	switch {
	case s.HTTP != nil:
		path = path.Child("http")
		return first(
			func() Causes { return sourceURL(path, s.HTTP.URL) },
			func() Causes { return checksum(path.Child("checksum"), s.HTTP.Checksum) },
		)
	case s.S3 != nil:
		return sourceURL(path.Child("s3"), s.S3.URL)
	case s.GCS != nil:
		return sourceURL(path.Child("gcs"), s.GCS.URL)
	case s.Registry != nil:
		return registry(path.Child("registry"), s.Registry)
	case s.Imageio != nil:
		return imageio(path.Child("imageio"), s.Imageio)
	case s.VDDK != nil:
		return vddk(path.Child("vddk"), s.VDDK)
	case s.PVC != nil:
		if s.PVC.Namespace == "" || s.PVC.Name == "" {
			return invalid(path.Child("pvc"), "Source PVC is not valid: namespace and name are needed")
		}
	case s.Snapshot != nil:
		if s.Snapshot.Namespace == "" || s.Snapshot.Name == "" {
			return invalid(path.Child("snapshot"), "Source snapshot is not valid: namespace and name are needed")
		}
	}
	return nil
}

// sourceURL never repeats the URL: it may have a password in it.
func sourceURL(path *field.Path, raw string) Causes {
	path = path.Child("url")
	if raw == "" {
		return invalid(path, "source URL is empty")
	}
	u, err := url.ParseRequestURI(raw)
	if err != nil {
		return invalid(path, "Invalid source URL: %s", urlProblem(err))
	}
	if !slices.Contains([]string{"http", "https", "gs"}, u.Scheme) {
		return invalid(path, "Invalid source URL scheme: %q is none of http, https, gs", u.Scheme)
	}
	if u.Host == "" {
		return invalid(path, "Invalid source URL: it names no host")
	}
	return nil
}

// urlProblem is an error of net/url without the URL.
func urlProblem(err error) string {
	var bad *url.Error
	if !errors.As(err, &bad) {
		return "it cannot be parsed"
	}
	if reason := bad.Err.Error(); !strings.Contains(reason, `"`) {
		return reason
	}
	return "it cannot be parsed" // the reason quotes a part of the URL
}

// digestBytes are the lengths of the digests that a checksum may be.
var digestBytes = map[string]int{"md5": 16, "sha1": 20, "sha256": 32, "sha512": 64}

func checksum(path *field.Path, sum string) Causes {
	if sum == "" {
		return nil
	}
	alg, digest, ok := strings.Cut(sum, ":")
	want := digestBytes[strings.ToLower(alg)]
	switch {
	case !ok:
		return invalid(path, "Invalid checksum format: %q is not algorithm:hex", sum)
	case want == 0:
		return invalid(path, "Invalid checksum format: algorithm %q is none of md5, sha1, sha256, sha512", alg)
	case len(digest) != 2*want:
		return invalid(path, "Invalid checksum format: %s has %d hexadecimal digits, not %d", alg, 2*want, len(digest))
	}
	if _, err := hex.DecodeString(digest); err != nil {
		return invalid(path, "Invalid checksum format: %q is not hexadecimal", digest)
	}
	return nil
}

func registry(path *field.Path, r *cdiv1.DataVolumeSourceRegistry) Causes {
	if (r.URL == nil) == (r.ImageStream == nil) {
		return invalid(path, "Source registry should have either URL or ImageStream")
	}
	method := cdiv1.RegistryPullPod
	if r.PullMethod != nil && *r.PullMethod != "" {
		method = *r.PullMethod
	}
	return first(
		func() Causes {
			if r.URL == nil {
				return nil
			}
			u, err := url.Parse(*r.URL)
			switch {
			case err != nil:
				return invalid(path.Child("url"), "Illegal registry source URL: %s", urlProblem(err))
			case u.Scheme != cdiv1.RegistrySchemeDocker && u.Scheme != cdiv1.RegistrySchemeOci:
				return invalid(path.Child("url"), "Illegal registry source URL scheme %q: neither %s nor %s", u.Scheme,
					cdiv1.RegistrySchemeDocker, cdiv1.RegistrySchemeOci)
			}
			return nil
		},
		func() Causes {
			if method != cdiv1.RegistryPullPod && method != cdiv1.RegistryPullNode {
				return invalid(path.Child("pullMethod"), `ImportMethod %s is neither %s, %s or ""`, method, cdiv1.RegistryPullPod, cdiv1.RegistryPullNode)
			}
			return nil
		},
		func() Causes {
			switch {
			case r.ImageStream == nil:
				return nil
			case *r.ImageStream == "":
				return invalid(path.Child("imageStream"), "Source registry ImageStream is not valid")
			case method != cdiv1.RegistryPullNode:
				return invalid(path.Child("imageStream"), "Source registry ImageStream is supported only with node pull import method")
			}
			return nil
		},
	)
}

func imageio(path *field.Path, s *cdiv1.DataVolumeSourceImageIO) Causes {
	return first(
		func() Causes { return sourceURL(path, s.URL) },
		func() Causes {
			if s.SecretRef == "" || s.DiskID == "" {
				return invalid(path, "Source Imageio is not valid: secretRef and diskId are needed")
			}
			return nil
		},
		func() Causes {
			if s.CertConfigMap == "" && (s.InsecureSkipVerify == nil || !*s.InsecureSkipVerify) {
				return invalid(path, "Source Imageio requires CertConfigMap or InsecureSkipVerify")
			}
			return nil
		},
	)
}

func vddk(path *field.Path, s *cdiv1.DataVolumeSourceVDDK) Causes {
	return first(
		func() Causes { return sourceURL(path, s.URL) },
		func() Causes {
			if s.SecretRef == "" || s.UUID == "" || s.BackingFile == "" || s.Thumbprint == "" {
				return invalid(path, "Source VDDK is not valid: secretRef, uuid, backingFile and thumbprint are needed")
			}
			return nil
		},
	)
}
