package registrysource

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/verify"
)

// Bounds. Registries refuse manifests above 4 MiB (OCI Distribution Specification, Pushing Manifests), kernels mount no more
// than some hundred layers, and configurations have some KiB.
const (
	maxManifest = 4 << 20
	maxLayers   = 500
	maxIndex    = 1000
	maxNested   = 3  // indexes in indexes
	maxListed   = 20 // names in a message
)

// A descriptor as documents have it. Its digest is not to be believed before parseDigest has seen it.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls"`
	Platform    *platform         `json:"platform"`
	Annotations map[string]string `json:"annotations"`
}

func (d descriptor) isManifest() bool {
	switch d.MediaType {
	case "", "application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
		"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json":
		return true
	}
	return false
}

// layerTypes are the layers that are tars. Which codec lies over one is told by its first bytes.
var layerTypes = []string{"application/vnd.oci.image.layer.v1.tar", "application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.docker.image.rootfs.diff.tar", "application/vnd.docker.image.rootfs.foreign.diff.tar"}

// A layer is a tar in an image, compressed or not.
type layer struct {
	stored   verify.Digest // of its bytes as they are stored; zero in a docker archive
	unpacked verify.Digest // of the tar; zero where stored is known
	size     int64         // stored
	foreign  bool          // it was made to lie elsewhere
	file     string        // in a docker archive
}

func (l layer) String() string {
	if !l.stored.IsZero() {
		return "layer " + l.stored.String()
	}
	return "layer " + l.unpacked.String()
}

// An image is what a manifest names, verified but for its layers.
type image struct {
	digest verify.Digest // of the manifest; of the configuration in a docker archive
	config config
	layers []layer // from the bottom
}

// A document is an index or a manifest.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *descriptor     `json:"config"`
	Layers        []descriptor    `json:"layers"`
	Manifests     []descriptor    `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

func parseDocument(b []byte) (*document, error) {
	d := &document{}
	if err := json.Unmarshal(b, d); err != nil {
		return nil, corrupt("the manifest is no JSON of one: %v", shortly(err))
	}
	switch {
	case d.FSLayers != nil || d.SchemaVersion == 1:
		return nil, errdef.WithHint(fmt.Errorf("the manifest is Docker's schema 1, which proves nothing of its layers: %w", errdef.ErrUnsupported),
			"push the image again with a tool of the last years")
	case d.SchemaVersion != 2:
		return nil, corrupt("the manifest has schema version %d", d.SchemaVersion)
	case d.Manifests != nil && (d.Layers != nil || d.Config != nil):
		return nil, corrupt("the manifest is an index too, so what it is depends on who reads it") // CVE-2021-41190
	case d.Manifests == nil && d.Config == nil:
		return nil, corrupt("the manifest has no configuration")
	case len(d.Manifests) > maxIndex:
		return nil, fmt.Errorf("the index has %d images, more than %d: %w", len(d.Manifests), maxIndex, errdef.ErrLimit)
	case len(d.Layers) > maxLayers:
		return nil, fmt.Errorf("the image has %d layers, more than %d: %w", len(d.Layers), maxLayers, errdef.ErrLimit)
	}
	return d, nil
}

func shortly(err error) string { return fmt.Sprintf("%.120s", printable(err.Error())) }

// A fetcher gives a small document that a descriptor names.
type fetcher func(ctx context.Context, d descriptor, kind string) ([]byte, error)

// resolve goes from a document, whose digest is right, through indexes to the image. The policy is asked before anything but
// manifests is read.
func (s *Source) resolve(ctx context.Context, b []byte, digest verify.Digest, fetch fetcher, find finder) (*image, error) {
	var all [][]byte
	for range maxNested {
		all = append(all, b)
		doc, err := parseDocument(b)
		if err != nil {
			return nil, err
		}
		if doc.Manifests == nil {
			if err := s.allowed(ctx, all, find); err != nil {
				return nil, err
			}
			return s.manifest(ctx, doc, digest, fetch)
		}
		d, err := s.platform.choose(doc.Manifests)
		if err != nil {
			return nil, err
		}
		if b, digest, err = verified(ctx, d, "manifest", fetch); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("more than %d indexes lie in each other: %w", maxNested, errdef.ErrLimit)
}

// verified fetches what d names and compares it with that.
func verified(ctx context.Context, d descriptor, kind string, fetch fetcher) ([]byte, verify.Digest, error) {
	want, err := parseDigest(d.Digest)
	if err != nil {
		return nil, want, corrupt("%s: %w", kind, err)
	}
	if d.Size < 0 || d.Size > maxManifest {
		return nil, want, fmt.Errorf("%s %s has %d bytes, more than %d: %w", kind, want, d.Size, maxManifest, errdef.ErrLimit)
	}
	b, err := fetch(ctx, d, kind)
	if err != nil {
		return nil, want, err
	}
	if int64(len(b)) != d.Size {
		return nil, want, lies(kind, fmt.Errorf("%d bytes, expected %d: %w", len(b), d.Size, errdef.ErrDigestMismatch))
	}
	return b, want, check(kind, want, b)
}

// check compares a document with its digest.
func check(kind string, want verify.Digest, b []byte) error {
	h := want.Hash()
	h.Write(b)
	return lies(kind, want.Check(h.Sum(nil)))
}

// lies says of what a digest is wrong.
func lies(kind string, err error) error {
	if err == nil {
		return nil
	}
	return errdef.WithHint(fmt.Errorf("%s: %w", kind, err), "the image is damaged where it is stored, or a proxy on the way is: nothing of it was kept")
}

func (s *Source) manifest(ctx context.Context, doc *document, digest verify.Digest, fetch fetcher) (*image, error) {
	m := &image{digest: digest}
	for i, d := range doc.Layers {
		l, err := parseLayer(d)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i+1, err)
		}
		m.layers = append(m.layers, l)
	}
	b, _, err := verified(ctx, *doc.Config, "configuration", fetch)
	if err != nil {
		return nil, err
	}
	m.config, err = parseConfig(b)
	return m, err
}

func parseLayer(d descriptor) (layer, error) {
	kind, _, _ := strings.Cut(d.MediaType, "+")
	kind = strings.TrimSuffix(strings.TrimSuffix(kind, ".gzip"), ".zstd")
	if !slices.Contains(layerTypes, kind) || strings.Contains(d.MediaType, "encrypted") {
		return layer{}, errdef.WithHint(fmt.Errorf("media type %.100q is not that of a layer: %w", printable(d.MediaType), errdef.ErrUnsupported),
			"a container disk is an ordinary container image with the disk below /disk/")
	}
	digest, err := parseDigest(d.Digest)
	switch {
	case err != nil:
		return layer{}, corrupt("%w", err)
	case d.Size < 0:
		return layer{}, corrupt("its size is %d", d.Size)
	}
	foreign := strings.Contains(kind, "nondistributable") || strings.Contains(kind, "foreign") || len(d.URLs) > 0
	return layer{stored: digest, size: d.Size, foreign: foreign}, nil
}

// errForeign is for a layer that is not where the image is.
func errForeign(l layer) error {
	return errdef.WithHint(fmt.Errorf("%s is foreign: it does not lie where the image does, and the URLs that the manifest has for it are not followed: %w", l, errdef.ErrRefused),
		"push the image with its foreign layers: docker's allow-nondistributable-artifacts, or another base image")
}
