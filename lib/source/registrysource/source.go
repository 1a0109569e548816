// Package registrysource reads container disks: the one regular file below /disk/ in an image of a container registry, an
// OCI layout, or an archive made by skopeo, podman or docker.
//
// The file is looked for in the merged view of the layers, from the top: upper layers win, whiteouts count, hard links lead
// to their file. Nothing is stored on the way: a layer's tar is read as it passes, and the file in it is the Blob, a stream.
// The Blob ends in io.EOF only after everything that was believed has proven itself: the digests of manifest, configuration
// and of each layer that was read, and that there is no second file where none was named. Whoever reads to the end before
// he publishes anything, as the importer does, publishes nothing of an image that lies.
//
// It follows the OCI Image Format Specification 1.1 (image index, manifest, configuration, layer, layout), Docker's image
// manifest version 2, schema 2, and the OCI Distribution Specification 1.1.
package registrysource

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/limits"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// Options of a Source. The zero value reads a public image for this machine's architecture.
type Options struct {
	// HTTP is how to talk to a registry: authorities, proxy, retries, times. Its credentials (user and password, headers) are
	// for the registry that the name says, and no mirror. Insecure also allows plain http.
	HTTP httpsource.Options
	// AuthFile is a file of credentials as docker login and podman login write it, or a Secret's .dockerconfigjson. Empty: the
	// places where these programs put it, credential helpers included. They are asked only for a registry.
	AuthFile string
	// RegistriesConf is read instead of this machine's registries.conf: mirrors, and what is blocked or insecure.
	RegistriesConf string
	// CertsDirs are folders with one for each registry, by host:port, that holds authorities (*.crt) and a client certificate
	// (*.cert, *.key); containers-certs.d(5). The first that has a registry counts.
	CertsDirs []string
	// Platform is os/arch[/variant] of the image to take out of an index. Empty: linux on this machine's architecture.
	Platform string
	// Path of the disk in the image. Empty: the one regular file below /disk/.
	Path string
	// Limits bound the decoding of layers.
	Limits limits.Limits
	// Policy is a file of what must be true of an image before it is read, as containers-policy.json(5) says. Empty: nothing.
	Policy string
}

// Source is one image. It is safe for concurrent use and may be opened more than once.
type Source struct {
	name     name
	o        Options
	platform platform
	path     string // cleaned; "" for any below disk/

	mu    sync.Mutex
	known map[string]*choice // by the digest of the manifest
}

var _ source.Source = (*Source)(nil)

// Schemes are what a name begins with.
var Schemes = []string{"docker", "oci", "oci-archive", "docker-archive"}

// New checks the name and the options; the errors are errdef.ErrUsage. Nothing is read or asked before Open.
//
//	docker://host/repository:tag             an image in a registry; docker://repository is Docker Hub's
//	docker://host/repository@sha256:…        the same, pinned; a tag before the @ is for people
//	oci:folder[:name]                        an OCI layout
//	oci-archive:file[:name]                  an OCI layout in a tar
//	docker-archive:file[:name]               what docker save writes
func New(raw string, o Options) (*Source, error) {
	n, err := parseName(raw)
	if err != nil {
		return nil, err
	}
	s := &Source{name: n, o: o, known: map[string]*choice{}, platform: platform{OS: "linux", Architecture: runtime.GOARCH}}
	s.o.Limits = o.Limits.WithDefaults()
	if o.Platform != "" {
		if s.platform, err = parsePlatform(o.Platform); err != nil {
			return nil, err
		}
	}
	if o.Path != "" {
		if s.path = clean(o.Path); s.path == "" || strings.Contains(s.path, "\x00") {
			return nil, usage("path %.100q names no file", o.Path)
		}
	}
	return s, nil
}

// String is the name as it was given.
func (s *Source) String() string { return s.name.String() }

// Open finds the disk and gives a stream of it. What lies in the layers above it is read on the way.
func (s *Source) Open(ctx context.Context, env source.Env) (source.Blob, error) {
	b, err := s.open(ctx, env)
	if err != nil {
		return nil, s.fail("open", err)
	}
	return b, nil
}

func (s *Source) open(ctx context.Context, env source.Env) (_ source.Blob, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	st, err := s.store(ctx, env)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	b := &blob{src: s, ctx: ctx, cancel: cancel, env: env, store: st}
	defer func() {
		if err != nil {
			_ = b.Close()
		}
	}()
	if b.image, err = st.load(ctx); err != nil {
		return nil, err
	}
	if err := b.image.check(s); err != nil {
		return nil, err
	}
	return b, b.begin()
}

// store is where the image lies.
func (s *Source) store(ctx context.Context, env source.Env) (store, error) {
	switch s.name.transport {
	case "oci":
		return &layout{src: s, env: env}, nil
	case "oci-archive":
		return openLayoutArchive(ctx, s, env)
	case "docker-archive":
		return openDockerArchive(ctx, s, env)
	}
	return openRegistry(ctx, s, env)
}

// fail says where an error happened; it leaves nil and what says so already alone.
func (s *Source) fail(op string, err error) error {
	if e := (*errdef.Error)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return &errdef.Error{Op: op, Side: errdef.Source, Name: s.String(), Err: err}
}

func usage(format string, args ...any) error {
	return fmt.Errorf("container disk: "+format+": %w", append(args, errdef.ErrUsage)...)
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errdef.ErrCorrupt)...)
}
