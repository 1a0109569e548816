package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// picture is an image that the file server has.
type picture struct {
	name   string // below http://fileserver.fileserver/
	size   int64  // of the disk in it
	digest string // of the disk, as qemu-img converts it
	stored string // SHA-256 of the file
	bytes  int64  // of the file
}

func (p picture) url() string { return "http://fileserver.fileserver/" + p.name }

const mib = 1 << 20

// Images of the suites, each made when it is first needed. Digests are always those of what qemu-img makes of the file.
var (
	small = maker("small.qcow2", 64*mib, 24*mib, "-O", "qcow2")
	noise = maker("noise.raw", 64*mib, 63*mib)
	large = maker("large.qcow2", 5<<30, 2<<30, "-O", "qcow2")
)

func maker(name string, size, data int64, convert ...string) func(*testing.T) picture {
	var made picture
	var err error
	var once sync.Once
	return func(t *testing.T) picture {
		t.Helper()
		b := on(t)
		once.Do(func() { made, err = b.make(context.WithoutCancel(t.Context()), name, size, data, convert) })
		must(t, err)
		return made
	}
}

func (b *bed) make(ctx context.Context, name string, size, data int64, convert []string) (picture, error) {
	p := picture{name: name, size: size}
	raw, file := filepath.Join(b.work, name+".raw"), filepath.Join(b.work, name)
	defer os.Remove(raw)
	if err := images.Raw(raw, size, data, uint64(size+data)); err != nil {
		return p, err
	}
	if len(convert) == 0 {
		if err := os.Rename(raw, file); err != nil {
			return p, err
		}
	} else {
		if _, err := proc.Tool(ctx, append(append([]string{"qemu-img", "convert", "-f", "raw"}, convert...), raw, file)...); err != nil {
			return p, err
		}
	}
	defer os.Remove(file)
	return b.serve(ctx, file, p)
}

// serve gives a file to the file server under its own name, and finds out what qemu-img reads in it.
func (b *bed) serve(ctx context.Context, file string, p picture) (picture, error) {
	format := strings.TrimPrefix(filepath.Ext(file), ".")
	oracle := file + ".oracle"
	defer os.Remove(oracle)
	if _, err := proc.Tool(ctx, "qemu-img", "convert", "-f", format, "-O", "raw", file, oracle); err != nil {
		return p, err
	}
	var err error
	if p.digest, err = images.SHA256(oracle); err != nil {
		return p, err
	}
	if p.stored, err = images.SHA256(file); err != nil {
		return p, err
	}
	fi, err := os.Stat(file)
	if err != nil {
		return p, err
	}
	p.bytes = fi.Size()
	return p, b.put(ctx, file, p.name)
}

// put makes the file server have a file.
func (b *bed) put(ctx context.Context, file, name string) error {
	if b.state != "" {
		if _, err := proc.Tool(ctx, "cp", "--sparse=always", file, filepath.Join(b.state, "www", "."+name)); err != nil {
			return err
		}
		return os.Rename(filepath.Join(b.state, "www", "."+name), filepath.Join(b.state, "www", name))
	}
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	return b.Send(ctx, http.MethodPut, b.server+"/files/"+name, content)
}

// copyOf serves a copy of an image under a name of the test's own, so that rules and counts are the test's own.
func (b *bed) copyOf(t *testing.T, p picture) picture {
	t.Helper()
	name := fmt.Sprintf("copy-%d-%s", copies.Add(1), p.name)
	b.link(t, p, name)
	p.name = name
	return p
}

var copies atomic.Int64

// link serves an image under another name too.
func (b *bed) link(t *testing.T, p picture, name string) {
	t.Helper()
	if b.state == "" {
		b.write(t, name, b.fetch(t, p))
		return
	}
	www := filepath.Join(b.state, "www")
	must(t, os.Link(filepath.Join(www, p.name), filepath.Join(www, name)))
	t.Cleanup(func() { os.Remove(filepath.Join(www, name)) })
}

// fetch reads a small image back from the file server.
func (b *bed) fetch(t *testing.T, p picture) []byte {
	t.Helper()
	content, err := b.Raw(t.Context(), http.MethodGet, strings.Replace(b.server, ":admin/", ":http/", 1)+"/"+p.name, "", nil)
	must(t, err)
	return content
}

// write serves a few bytes that are no image of qemu-img's.
func (b *bed) write(t *testing.T, name string, content []byte) picture {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(file, content, 0o644))
	must(t, b.put(t.Context(), file, name))
	return picture{name: name, bytes: int64(len(content))}
}

func (p picture) String() string { return fmt.Sprintf("%s (%d MiB)", p.name, p.size/mib) }
