package containerdisk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/filesink"
)

const (
	refName    = "org.opencontainers.image.ref.name"
	layoutFile = "oci-layout"
	layoutText = `{"imageLayoutVersion":"1.0.0"}`
	indexFile  = "index.json"
	blobFolder = "blobs/sha256"
)

// layout is an OCI layout in a folder. Each file of it appears when it is whole and durable; index.json, which leads to the others, is
// the last.
type layout struct {
	dir, name string
	track     *progress.Tracker
	res       *Result
	made      []string // files and folders, which go again if the image does not come about
}

func openLayout(dir, name string, track *progress.Tracker, res *Result) (store, error) {
	l := &layout{dir: dir, name: name, track: track, res: res}
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(filepath.Clean(dir))); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	case len(entries) > 0:
		b, err := readAll(l.path(layoutFile), maxDocument)
		if err != nil || !strings.Contains(string(b), "imageLayoutVersion") {
			return nil, errdef.WithHint(fmt.Errorf("the folder is not empty, and no OCI layout: %w", errdef.ErrExists), "name a new folder, or that of a layout")
		}
	}
	return l, nil
}

func (l *layout) path(name string) string { return filepath.Join(l.dir, filepath.FromSlash(name)) }

func (l *layout) blob(digest string) string {
	return l.path(blobFolder + "/" + strings.TrimPrefix(digest, "sha256:"))
}

// ready makes the folders.
func (l *layout) ready(context.Context) error {
	for _, dir := range []string{"", "blobs", blobFolder} {
		err := os.Mkdir(l.path(dir), 0o755)
		switch {
		case err == nil:
			l.made = append(l.made, l.path(dir))
		case !errors.Is(err, fs.ErrExist):
			return err
		}
	}
	return nil
}

func (l *layout) close(_ context.Context, keep bool) error {
	if keep {
		return nil
	}
	for i := len(l.made) - 1; i >= 0; i-- {
		_ = os.Remove(l.made[i]) // a folder that somebody else has begun to use stays
	}
	return nil
}

func (l *layout) has(_ context.Context, b blob) (bool, error) {
	fi, err := os.Stat(l.blob(b.digest))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return fi.Mode().IsRegular() && fi.Size() == b.size, nil
}

func (l *layout) put(ctx context.Context, b blob) error {
	err := l.write(ctx, l.blob(b.digest), b.bytes, b.size)
	l.res.Sent += b.size
	return err
}

// write makes or replaces a file.
func (l *layout) write(ctx context.Context, path string, r io.ReaderAt, size int64) error {
	_, err := os.Lstat(path)
	fresh := errors.Is(err, fs.ErrNotExist)
	s, err := filesink.New(path, filesink.Options{Force: true, Mode: 0o644}).Open(ctx, sink.Options{Size: size})
	if err != nil {
		return err
	}
	defer s.Close()
	p := make([]byte, min(chunk, size))
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := p[:min(int64(len(p)), size-off)]
		if n, err := r.ReadAt(part, off); n < len(part) {
			return err
		}
		if _, err := s.WriteAt(part, off); err != nil {
			return err
		}
		off += int64(len(part))
		l.track.AddVirtual(int64(len(part)))
	}
	if err := s.Commit(ctx, size); err != nil {
		return err
	}
	if fresh {
		l.made = append(l.made, path)
	}
	return nil
}

// index reads index.json; nil if there is none yet.
func (l *layout) index() (map[string]json.RawMessage, []json.RawMessage, error) {
	b, err := readAll(l.path(indexFile), maxDocument)
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]json.RawMessage{}, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	index := map[string]json.RawMessage{}
	var entries []json.RawMessage
	if json.Unmarshal(b, &index) != nil || index["manifests"] != nil && json.Unmarshal(index["manifests"], &entries) != nil {
		return nil, nil, corrupt("index.json is no JSON of an index")
	}
	return index, entries, nil
}

func (l *layout) get(_ context.Context, digest string, most int64) (*document, error) {
	kind := ""
	if digest == "" {
		_, entries, err := l.index()
		if err != nil {
			return nil, err
		}
		d, ok := l.named(entries)
		if !ok {
			return nil, nil
		}
		digest, kind = d.Digest, d.MediaType
		if len(digest) != len(digestOf(nil)) || strings.ContainsAny(digest, `/\.`) || !strings.HasPrefix(digest, "sha256:") {
			return nil, corrupt("digest %.100q in index.json", digest)
		}
	}
	b, err := readAll(l.blob(digest), most)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	case digestOf(b) != digest:
		return nil, fmt.Errorf("the layout's blob %s is another: %w", digest, errdef.ErrDigestMismatch)
	}
	return &document{kind, b}, nil
}

// named is the entry that has the image's name.
func (l *layout) named(entries []json.RawMessage) (descriptor, bool) {
	for _, e := range entries {
		var d descriptor
		if json.Unmarshal(e, &d) == nil && d.Annotations[refName] == l.name {
			return d, true
		}
	}
	return descriptor{}, false
}

func (l *layout) set(ctx context.Context, d document, tag bool) error {
	digest := digestOf(d.text)
	if there, err := l.has(ctx, blob{digest: digest, size: int64(len(d.text))}); err != nil {
		return err
	} else if !there {
		if err := l.write(ctx, l.blob(digest), strings.NewReader(string(d.text)), int64(len(d.text))); err != nil {
			return err
		}
	}
	if !tag {
		return nil
	}
	index, entries, err := l.index()
	if err != nil {
		return err
	}
	var all []any
	for _, e := range entries {
		if _, ours := l.named([]json.RawMessage{e}); !ours {
			all = append(all, e)
		}
	}
	all = append(all, descriptor{MediaType: d.kind, Digest: digest, Size: int64(len(d.text)), Annotations: map[string]string{refName: l.name}})
	for k, v := range map[string]any{"schemaVersion": 2, "manifests": all} {
		if index[k], err = encode(v); err != nil {
			return err
		}
	}
	b, err := encode(index)
	if err != nil {
		return err
	}
	if _, err := os.Stat(l.path(layoutFile)); errors.Is(err, fs.ErrNotExist) {
		if err := l.write(ctx, l.path(layoutFile), strings.NewReader(layoutText), int64(len(layoutText))); err != nil {
			return err
		}
	}
	return l.write(ctx, l.path(indexFile), strings.NewReader(string(b)), int64(len(b)))
}

// readAll reads a small file.
func readAll(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes: %w", filepath.Base(path), most, errdef.ErrLimit)
	}
	return b, err
}
