package containerdisk

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/cdictl/cdictl/lib/source/registrysource"
)

const (
	kindManifest = "application/vnd.oci.image.manifest.v1+json"
	kindIndex    = "application/vnd.oci.image.index.v1+json"
	kindConfig   = "application/vnd.oci.image.config.v1+json"
	kindLayer    = "application/vnd.oci.image.layer.v1.tar"

	// Docker's, which a tag may have.
	kindDockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	kindDockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"

	// maxDocument is what registries take for a manifest at most (OCI Distribution Specification, Pushing Manifests).
	maxDocument = 4 << 20
)

// mediaTypes of a layer, by its codec.
var mediaTypes = map[string]string{"none": kindLayer, "gzip": kindLayer + "+gzip", "zstd": kindLayer + "+zstd"}

// A descriptor names a blob.
type descriptor struct {
	MediaType   string                   `json:"mediaType"`
	Digest      string                   `json:"digest"`
	Size        int64                    `json:"size"`
	Platform    *registrysource.Platform `json:"platform,omitempty"`
	Annotations map[string]string        `json:"annotations,omitempty"`
}

// config is the image's configuration. Maps are written in the order of their keys, so its digest follows from what it says.
func (r *Request) config(p registrysource.Platform, diffID string) (blob, error) {
	type history struct {
		Created   *time.Time `json:"created,omitempty"`
		CreatedBy string     `json:"created_by"`
	}
	type settings struct {
		Env    []string          `json:"Env,omitempty"`
		Labels map[string]string `json:"Labels,omitempty"`
	}
	c := struct {
		Created      *time.Time `json:"created,omitempty"`
		Architecture string     `json:"architecture"`
		OS           string     `json:"os"`
		Variant      string     `json:"variant,omitempty"`
		Config       settings   `json:"config"`
		RootFS       struct {
			Type    string   `json:"type"`
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
		History []history `json:"history"`
	}{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant, History: []history{{CreatedBy: "cdictl push"}}}
	if !r.Created.IsZero() {
		at := r.Created.UTC().Truncate(time.Second)
		c.Created, c.History[0].Created = &at, &at
	}
	for _, k := range slices.Sorted(maps.Keys(r.Env)) {
		c.Config.Env = append(c.Config.Env, k+"="+r.Env[k])
	}
	c.Config.Labels = r.Labels
	c.RootFS.Type, c.RootFS.DiffIDs = "layers", []string{diffID}
	b, err := encode(c)
	if err != nil {
		return blob{}, err
	}
	return blob{"configuration", digestOf(b), int64(len(b)), bytes.NewReader(b)}, nil
}

// manifest names the configuration and the layer.
func manifest(config, layer blob, kind string) (document, error) {
	b, err := encode(struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{2, kindManifest, descriptor{MediaType: kindConfig, Digest: config.digest, Size: config.size},
		[]descriptor{{MediaType: kind, Digest: layer.digest, Size: layer.size}}})
	return document{kindManifest, b}, err
}

// encode writes v as it is: < and & are no danger in a document.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
