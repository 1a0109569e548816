package registrysource

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
	"github.com/cdictl/cdictl/lib/verify"
)

// refName is the annotation by which a layout's index names an image.
const refName = "org.opencontainers.image.ref.name"

// layout is an OCI layout in a folder.
type layout struct {
	src *Source
	env source.Env
}

func (l *layout) load(ctx context.Context) (*image, error) {
	b, err := l.read(ctx, "index.json", maxManifest)
	if errors.Is(err, errdef.ErrNotFound) {
		err = errdef.WithHint(fmt.Errorf("it is no OCI layout, which has an index.json: %w", err), "name the folder that skopeo copy … oci:FOLDER or buildah push wrote")
	}
	if err != nil {
		return nil, err
	}
	return l.src.fromIndex(ctx, b, func(ctx context.Context, d descriptor, kind string) ([]byte, error) {
		digest, err := parseDigest(d.Digest)
		if err != nil {
			return nil, err
		}
		return l.read(ctx, blobPath(digest), d.Size)
	})
}

// blobPath is where a layout has the blob of a digest that parseDigest has made, so it is no path of somebody else's.
func blobPath(d verify.Digest) string {
	alg, hex, _ := strings.Cut(d.String(), ":")
	return "blobs/" + alg + "/" + hex
}

func (l *layout) file(name string) *filesource.Source {
	return filesource.New(filepath.Join(l.src.name.file, filepath.FromSlash(name)))
}

func (l *layout) read(ctx context.Context, name string, most int64) ([]byte, error) {
	blob, err := l.file(name).Open(ctx, l.env)
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	return readSmall(blob, name, most)
}

// readSmall reads a document that must not be longer than most.
func readSmall(r io.Reader, what string, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes: %w", what, most, errdef.ErrLimit)
	}
	return b, err
}

func (l *layout) open(ctx context.Context, y layer, at int64) (io.ReadCloser, error) {
	blob, err := l.file(blobPath(y.stored)).Open(ctx, l.env)
	if y.foreign && errors.Is(err, errdef.ErrNotFound) {
		return nil, errForeign(y)
	}
	if err != nil {
		return nil, err
	}
	return begin(blob, at)
}

// begin makes a blob begin at a byte of it, and closes one that cannot.
func begin(b source.Blob, at int64) (io.ReadCloser, error) {
	if at == 0 {
		return b, nil
	}
	s, ok := b.(source.Starter)
	err := fmt.Errorf("it gives no ranges any more: %w", errdef.ErrChanged)
	if ok {
		err = s.StartAt(at)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (*layout) Close() error { return nil }

// fromIndex resolves what an index.json names.
func (s *Source) fromIndex(ctx context.Context, b []byte, fetch fetcher) (*image, error) {
	var index struct {
		SchemaVersion int          `json:"schemaVersion"`
		Manifests     []descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, corrupt("index.json is no JSON of an index: %v", shortly(err))
	}
	switch {
	case index.SchemaVersion != 2:
		return nil, corrupt("index.json has schema version %d", index.SchemaVersion)
	case len(index.Manifests) > maxIndex:
		return nil, fmt.Errorf("index.json has %d images, more than %d: %w", len(index.Manifests), maxIndex, errdef.ErrLimit)
	}
	d, err := s.named(index.Manifests)
	if err != nil {
		return nil, err
	}
	m, digest, err := verified(ctx, d, "manifest", fetch)
	if err != nil {
		return nil, err
	}
	return s.resolve(ctx, m, digest, fetch, nil)
}

// named takes what the user's name means out of a layout's index. Without a name it is the only one, or that of the platform.
func (s *Source) named(list []descriptor) (descriptor, error) {
	n := s.name
	var names []string
	var hits []descriptor
	platforms := true
	for _, d := range list {
		if !d.isManifest() {
			continue
		}
		is := d.Annotations[refName]
		if is != "" {
			names = append(names, fmt.Sprintf("%.100q", is))
		}
		switch {
		case !n.pin.IsZero():
			if d.Digest == n.pin.String() {
				return d, nil
			}
		case n.image == "" || is == n.image:
			hits = append(hits, d)
			platforms = platforms && d.Platform != nil
		}
	}
	if more := len(names) - maxListed; more > 0 {
		names = append(names[:maxListed], fmt.Sprintf("%d more", more))
	}
	there := strings.Join(names, ", ")
	if there == "" {
		there = "no image that has a name"
	}
	switch {
	case len(hits) == 1:
		return hits[0], nil
	case len(hits) > 1 && platforms:
		return s.platform.choose(hits)
	case !n.pin.IsZero():
		return descriptor{}, fmt.Errorf("no image %s; there is %s: %w", n.pin, there, errdef.ErrNotFound)
	case len(hits) == 0 && n.image != "":
		return descriptor{}, errdef.WithHint(fmt.Errorf("no image %.100q; there is %s: %w", n.image, there, errdef.ErrNotFound), "name one of these behind the path and a colon")
	case len(hits) == 0:
		return descriptor{}, fmt.Errorf("there is no image in it: %w", errdef.ErrNotFound)
	}
	return descriptor{}, errdef.WithHint(usage("%d images, and it was not said which: %s", len(hits), there), "name one behind the path and a colon: "+n.transport+":PATH:NAME")
}
