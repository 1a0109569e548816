package registrysource

import (
	"context"
	"fmt"
	"runtime"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// A Destination is a name that an image can be written to, with what it takes to be let in.
type Destination struct{ src *Source }

// NewDestination checks the name and the options; the errors are errdef.ErrUsage. Nothing is asked.
//
//	docker://host/repository:tag             a registry; without a tag it is latest
//	oci:folder:name                          an OCI layout, which is made if it is not there
func NewDestination(raw string, o Options) (*Destination, error) {
	n, err := parseName(raw)
	if err != nil {
		return nil, err
	}
	switch {
	case n.transport != "docker" && n.transport != "oci":
		return nil, errdef.WithHint(usage("an image cannot be written to %s:", n.transport), "write to docker://host/repository:tag or oci:folder:name; skopeo copy makes archives of these")
	case !n.pin.IsZero():
		return nil, errdef.WithHint(usage("an image is written to a tag, and its digest follows from what it holds"), "leave out what begins with @")
	case n.transport == "oci" && n.image == "":
		return nil, errdef.WithHint(usage("the image in the layout has no name"), "write oci:folder:name")
	}
	return &Destination{&Source{name: n, o: o}}, nil
}

// String is the name as it was given.
func (d *Destination) String() string { return d.src.String() }

// Layout is the folder of an OCI layout and the image's name in it; ok is false for a registry.
func (d *Destination) Layout() (folder, name string, ok bool) {
	return d.src.name.file, d.src.name.image, d.src.name.transport == "oci"
}

// Pinned is the name by which what has this digest can be read, wherever the tag goes on to.
func (d *Destination) Pinned(digest string) string {
	if d.src.name.transport == "oci" {
		return "oci:" + d.src.name.file + ":@" + digest
	}
	return "docker://" + d.src.name.ref.Name() + "@" + digest
}

// Host is that of the registry, "" for a layout.
func (d *Destination) Host() string {
	if d.src.name.ref == nil {
		return ""
	}
	return reference.Domain(d.src.name.ref)
}

// Host is that of the registry which the name says, "" for other transports.
func (s *Source) Host() string { return (&Destination{s}).Host() }

// A Repository is where images of a name lie in their registry.
type Repository struct {
	URL  string             // with a slash at its end: blobs/, manifests/ and the rest of the API are below it
	Tag  string             // what is written to
	HTTP httpsource.Options // let its requests in
}

// Repository asks the registry how it is spoken to, by who wants to read and write. Mirrors are not: what is written belongs to the
// registry that the name says.
func (d *Destination) Repository(ctx context.Context, env source.Env) (*Repository, error) {
	s := d.src
	r := &registry{src: s, env: env, sys: &types.SystemContext{SystemRegistriesConfPath: s.o.RegistriesConf}}
	e := &endpoint{r: r, ref: s.name.ref, named: true, insecure: s.o.HTTP.Insecure, actions: "pull,push"}
	conf, err := sysregistriesv2.FindRegistry(r.sys, s.name.ref.Name())
	switch {
	case err != nil:
		return nil, fmt.Errorf("registries.conf cannot be read: %s: %w", shortly(err), errdef.ErrUsage)
	case conf != nil && conf.Blocked:
		return nil, errdef.WithHint(fmt.Errorf("registry %s is blocked: %w", conf.Prefix, errdef.ErrRefused), "registries.conf of this machine says so")
	case conf != nil:
		e.insecure = e.insecure || conf.Insecure
	}
	if err := e.ping(ctx); err != nil {
		return nil, err
	}
	tag := ""
	if t, ok := s.name.ref.(reference.Tagged); ok {
		tag = t.Tag()
	}
	return &Repository{URL: e.url(""), Tag: tag, HTTP: e.http}, nil
}

// Platform is what an image is for, as configurations and indexes say it.
type Platform = platform

// ParsePlatform reads os/arch or os/arch/variant; "" is linux on this machine's architecture.
func ParsePlatform(text string) (Platform, error) {
	if text == "" {
		return Platform{OS: "linux", Architecture: runtime.GOARCH}, nil
	}
	return parsePlatform(text)
}

// Same reports whether both name one platform: an architecture without a variant means its plain one.
func (p platform) Same(q Platform) bool { return p.suits(q) >= 2 }
