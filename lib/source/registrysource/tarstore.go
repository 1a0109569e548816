package registrysource

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/lib/compress"
	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
	"github.com/cdictl/cdictl/lib/verify"
)

// maxMembers bounds an archive of an image: some files for each layer.
const maxMembers = 10_000

// A member is a file in an archive, or a link to one.
type member struct {
	off, size int64
	link      string // cleaned
}

// archive is a tar of files that are read in place.
type archive struct {
	src     *Source
	blob    source.Blob
	ra      io.ReaderAt
	members map[string]member
}

// openArchive reads the headers of the archive's files, and nothing of what lies between.
func openArchive(ctx context.Context, s *Source, env source.Env) (_ *archive, err error) {
	b, err := filesource.New(s.name.file).Open(ctx, env)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	ra, ok := b.(io.ReaderAt)
	if !ok {
		return nil, errdef.WithHint(fmt.Errorf("an archive is read out of order, and this is no file: %w", errdef.ErrUnsupported), "save it to a file first")
	}
	a := &archive{src: s, blob: b, ra: ra, members: map[string]member{}}
	return a, a.index()
}

func (a *archive) index() error {
	r := io.NewSectionReader(a.ra, 0, a.blob.Info().Size)
	head := make([]byte, compress.PeekSize)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return err
	}
	if c, ok := compress.Detect(head[:n]); ok {
		return errdef.WithHint(fmt.Errorf("the archive is compressed by %s, so it cannot be read out of order: %w", c.Name(), errdef.ErrUnsupported), "decompress it first; its layers stay compressed")
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, tar.ErrInsecurePath) {
			err = nil // names lead nowhere here
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if errors.Is(err, tar.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrFieldTooLong) {
				err = corrupt("the archive is no tar, or is cut: %w", err)
			}
			return err
		}
		if len(a.members) == maxMembers || len(h.Name) > maxName || len(h.Linkname) > maxName {
			return fmt.Errorf("the archive has more than %d files, or names of more than %d bytes: %w", maxMembers, maxName, errdef.ErrLimit)
		}
		off, err := r.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		name := clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			if h.Size < 0 || h.Size > r.Size()-off || len(h.PAXRecords) > 0 && sparse(h) {
				return corrupt("%.100q is not whole in the archive", printable(name))
			}
			a.members[name] = member{off: off, size: h.Size}
		case tar.TypeSymlink:
			a.members[name] = member{link: clean(path.Join(path.Dir(name), h.Linkname))}
		case tar.TypeLink:
			a.members[name] = member{link: clean(h.Linkname)}
		}
	}
}

func sparse(h *tar.Header) bool {
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// file is the content of a member. Links lead to other members, never out of the archive.
func (a *archive) file(name string) (*io.SectionReader, error) {
	for at, step := name, 0; step < maxLinks; step++ {
		m, ok := a.members[at]
		if !ok {
			break
		}
		if m.link == "" {
			return io.NewSectionReader(a.ra, m.off, m.size), nil
		}
		at = m.link
	}
	return nil, fmt.Errorf("the archive has no file %.100q: %w", printable(name), errdef.ErrNotFound)
}

func (a *archive) read(name string, most int64) ([]byte, error) {
	f, err := a.file(name)
	if err != nil {
		return nil, err
	}
	return readSmall(f, name, most)
}

func (a *archive) Close() error { return a.blob.Close() }

// layoutArchive is an OCI layout in a tar.
type layoutArchive struct{ *archive }

func openLayoutArchive(ctx context.Context, s *Source, env source.Env) (store, error) {
	a, err := openArchive(ctx, s, env)
	if err != nil {
		return nil, err
	}
	return &layoutArchive{a}, nil
}

func (a *layoutArchive) load(ctx context.Context) (*image, error) {
	b, err := a.read("index.json", maxManifest)
	if errors.Is(err, errdef.ErrNotFound) && a.members["manifest.json"] != (member{}) {
		return nil, errdef.WithHint(corrupt("it is no OCI archive, but one of docker save"), "write docker-archive: instead of oci-archive:")
	}
	if err != nil {
		return nil, err
	}
	return a.src.fromIndex(ctx, b, func(_ context.Context, d descriptor, _ string) ([]byte, error) {
		digest, err := parseDigest(d.Digest)
		if err != nil {
			return nil, err
		}
		return a.read(blobPath(digest), d.Size)
	})
}

func (a *layoutArchive) open(_ context.Context, l layer, at int64) (io.ReadCloser, error) {
	f, err := a.file(blobPath(l.stored))
	if l.foreign && errors.Is(err, errdef.ErrNotFound) {
		return nil, errForeign(l)
	}
	if err == nil {
		_, err = f.Seek(at, io.SeekStart)
	}
	return io.NopCloser(f), err
}

// dockerArchive is what docker save writes.
type dockerArchive struct{ *archive }

func openDockerArchive(ctx context.Context, s *Source, env source.Env) (store, error) {
	a, err := openArchive(ctx, s, env)
	if err != nil {
		return nil, err
	}
	return &dockerArchive{a}, nil
}

// saved is an image in a manifest.json.
type saved struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// load reads manifest.json, which vouches for nothing: the configuration has the digests of the layers' tars, and its own
// is the image's ID.
func (a *dockerArchive) load(ctx context.Context) (*image, error) {
	b, err := a.read("manifest.json", maxManifest)
	if errors.Is(err, errdef.ErrNotFound) && a.members["index.json"] != (member{}) {
		return nil, errdef.WithHint(corrupt("it is no archive of docker save, but an OCI archive"), "write oci-archive: instead of docker-archive:")
	}
	if err != nil {
		return nil, err
	}
	var list []saved
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, corrupt("manifest.json is no JSON of one: %v", shortly(err))
	}
	one, err := a.src.saved(list)
	if err != nil {
		return nil, err
	}
	if err := a.src.allowed(ctx, [][]byte{b}, nil); err != nil {
		return nil, err
	}
	text, err := a.read(clean(one.Config), maxManifest)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	m := &image{digest: sum256(text)}
	// The name is the digest: <hex>.json, or blobs/sha256/<hex>.
	if d, err := parseDigest("sha256:" + strings.TrimSuffix(path.Base(one.Config), ".json")); err == nil {
		if err := check("configuration", d, text); err != nil {
			return nil, err
		}
	}
	if m.config, err = parseConfig(text); err != nil {
		return nil, err
	}
	ids := m.config.RootFS.DiffIDs
	switch {
	case len(ids) != len(one.Layers):
		return nil, corrupt("the configuration has %d digests for %d layers", len(ids), len(one.Layers))
	case len(ids) > maxLayers:
		return nil, fmt.Errorf("the image has %d layers, more than %d: %w", len(ids), maxLayers, errdef.ErrLimit)
	}
	for i, id := range ids {
		d, err := parseDigest(id)
		if err != nil {
			return nil, corrupt("layer %d: %w", i+1, err)
		}
		m.layers = append(m.layers, layer{unpacked: d, size: -1, file: clean(one.Layers[i])})
	}
	return m, nil
}

func sum256(b []byte) verify.Digest {
	h := verify.NewHash("sha256")
	h.Write(b)
	d, _ := verify.ParseDigest(fmt.Sprintf("sha256:%x", h.Sum(nil))) // never fails: it has the form
	return d
}

// saved takes what the user's name means out of a manifest.json: a tag, @ and its number from 0, or nothing for the only one.
func (s *Source) saved(list []saved) (saved, error) {
	var names []string
	for i, one := range list {
		if s.name.image == fmt.Sprintf("@%d", i) || s.name.image != "" && slices.ContainsFunc(one.RepoTags, func(t string) bool { return sameTag(t, s.name.image) }) {
			return one, nil
		}
		names = append(names, fmt.Sprintf("@%d %.200q", i, one.RepoTags))
	}
	if more := len(names) - maxListed; more > 0 {
		names = append(names[:maxListed], fmt.Sprintf("%d more", more))
	}
	there := strings.Join(names, ", ")
	switch {
	case len(list) == 0:
		return saved{}, fmt.Errorf("there is no image in it: %w", errdef.ErrNotFound)
	case s.name.image != "":
		return saved{}, errdef.WithHint(fmt.Errorf("no image %.100q; there is %s: %w", s.name.image, there, errdef.ErrNotFound), "name one of these behind the path and a colon")
	case len(list) > 1:
		return saved{}, errdef.WithHint(usage("%d images, and it was not said which: %s", len(list), there), "name one behind the path and a colon: docker-archive:FILE:NAME")
	}
	return list[0], nil
}

// sameTag compares a tag with what the user wrote: without a tag it is latest.
func sameTag(tag, want string) bool {
	if last := want[strings.LastIndexByte(want, '/')+1:]; !strings.Contains(last, ":") {
		want += ":latest"
	}
	short := func(s string) string {
		return strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(s, "docker.io/"), "library/"), "localhost/")
	}
	return tag == want || short(tag) == short(want)
}

func (a *dockerArchive) open(_ context.Context, l layer, _ int64) (io.ReadCloser, error) {
	f, err := a.file(l.file) // from its start: no place in it is noted
	return io.NopCloser(f), err
}
