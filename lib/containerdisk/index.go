package containerdisk

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source/registrysource"
	"github.com/cdictl/cdictl/lib/verify"
)

// maxImages in an index that is extended. Real ones have some ten.
const maxImages = 1000

// appended is the index that the tag shall name: what was there, with m for its platform. Of what was there each word is kept,
// those that we do not know too.
func appended(ctx context.Context, st store, was *document, m document, p registrysource.Platform) (document, int, error) {
	index := map[string]json.RawMessage{}
	var entries []json.RawMessage
	if was != nil {
		var err error
		if index, entries, err = opened(ctx, st, *was); err != nil {
			return document{}, 0, err
		}
	}
	entry, err := encode(descriptor{MediaType: m.kind, Digest: digestOf(m.text), Size: int64(len(m.text)), Platform: &p})
	if err != nil {
		return document{}, 0, err
	}
	all, placed := make([]json.RawMessage, 0, len(entries)+1), false
	for _, e := range entries {
		var d descriptor
		if err := json.Unmarshal(e, &d); err != nil {
			return document{}, 0, corrupt("an entry of the index is no descriptor")
		}
		switch {
		case d.Platform == nil || !p.Same(*d.Platform):
			all = append(all, e)
		case !placed:
			all, placed = append(all, entry), true
		}
	}
	if !placed {
		all = append(all, entry)
	}
	if len(all) > maxImages {
		return document{}, 0, fmt.Errorf("the index would have %d images, more than %d: %w", len(all), maxImages, errdef.ErrLimit)
	}
	for k, v := range map[string]any{"schemaVersion": 2, "mediaType": kindIndex, "manifests": all} {
		if index[k], err = encode(v); err != nil {
			return document{}, 0, err
		}
	}
	b, err := encode(index)
	if err == nil && len(b) > maxDocument {
		err = fmt.Errorf("the index would have %d bytes, more than %d: %w", len(b), maxDocument, errdef.ErrLimit)
	}
	return document{kindIndex, b}, len(all), err
}

// opened takes an index apart, or makes one of a single image.
func opened(ctx context.Context, st store, was document) (map[string]json.RawMessage, []json.RawMessage, error) {
	index := map[string]json.RawMessage{}
	if err := json.Unmarshal(was.text, &index); err != nil {
		return nil, nil, corrupt("what the tag names is no JSON of a manifest")
	}
	if list, ok := index["manifests"]; ok {
		var entries []json.RawMessage
		if err := json.Unmarshal(list, &entries); err != nil || index["layers"] != nil || index["config"] != nil {
			return nil, nil, corrupt("the index that the tag names cannot be read")
		}
		return index, entries, nil
	}
	p, err := platformOf(ctx, st, index["config"])
	if err != nil {
		return nil, nil, err
	}
	kind := kindManifest
	if was.kind == kindDockerManifest {
		kind = was.kind
	}
	e, err := encode(descriptor{MediaType: kind, Digest: digestOf(was.text), Size: int64(len(was.text)), Platform: &p})
	return map[string]json.RawMessage{}, []json.RawMessage{e}, err
}

// platformOf asks the configuration of an image.
func platformOf(ctx context.Context, st store, config json.RawMessage) (registrysource.Platform, error) {
	var d descriptor
	var p registrysource.Platform
	if config == nil || json.Unmarshal(config, &d) != nil {
		return p, errdef.WithHint(fmt.Errorf("the tag names no image that an index could have: %w", errdef.ErrUnsupported), "push to another tag")
	}
	if v, err := verify.ParseDigest(d.Digest); err != nil || v.String() != d.Digest || v.Algorithm() != "sha256" || d.Size < 0 || d.Size > maxDocument {
		return p, corrupt("the manifest that the tag names has no configuration that can be read")
	}
	c, err := st.get(ctx, d.Digest, d.Size)
	if err != nil {
		return p, err
	}
	if c == nil || json.Unmarshal(c.text, &p) != nil || p.OS == "" || p.Architecture == "" {
		return p, errdef.WithHint(fmt.Errorf("the image that the tag names does not say what platform it is for: %w", errdef.ErrUnsupported), "push to another tag")
	}
	return p, nil
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdef.ErrCorrupt)...)
}
