package registrysource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// hub is where the images of docker.io lie.
const hub = "registry-1.docker.io"

const hintLogin = "log in with podman login or docker login, name their file with --authfile, or give --username and --password-stdin; a private image that one may not see looks the same"

// accepted are the manifests that are understood.
var accepted = []string{
	"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
}

// registry is the registry of a name, and its mirrors.
type registry struct {
	src   *Source
	env   source.Env
	sys   *types.SystemContext
	order []*endpoint // who is asked; the one that had the manifest comes first then
}

// An endpoint is one server that may have the image.
type endpoint struct {
	r        *registry
	ref      reference.Named // there
	named    bool            // by the user: his credentials are for it
	insecure bool
	base     string // of its API; "" before it was asked
	http     httpsource.Options
}

func openRegistry(_ context.Context, s *Source, env source.Env) (store, error) {
	r := &registry{src: s, env: env, sys: &types.SystemContext{SystemRegistriesConfPath: s.o.RegistriesConf}}
	named := &endpoint{r: r, ref: s.name.ref, named: true, insecure: s.o.HTTP.Insecure}
	conf, err := sysregistriesv2.FindRegistry(r.sys, s.name.ref.Name())
	switch {
	case err != nil:
		return nil, fmt.Errorf("registries.conf cannot be read: %s: %w", shortly(err), errdef.ErrUsage)
	case conf == nil:
		r.order = []*endpoint{named}
		return r, nil
	case conf.Blocked:
		return nil, errdef.WithHint(fmt.Errorf("registry %s is blocked: %w", conf.Prefix, errdef.ErrRefused), "registries.conf of this machine says so")
	}
	places, err := conf.PullSourcesFromReference(s.name.ref)
	if err != nil {
		return nil, fmt.Errorf("registries.conf: %s: %w", shortly(err), errdef.ErrUsage)
	}
	for _, p := range places {
		if reference.Domain(p.Reference) == reference.Domain(named.ref) && p.Reference.Name() == named.ref.Name() {
			named.insecure = named.insecure || p.Endpoint.Insecure
			r.order = append(r.order, named)
			continue
		}
		r.order = append(r.order, &endpoint{r: r, ref: p.Reference, insecure: p.Endpoint.Insecure})
	}
	return r, nil
}

func (r *registry) Close() error { return nil }

// load takes the manifest from the first endpoint that has it.
func (r *registry) load(ctx context.Context) (*image, error) {
	var b []byte
	err := r.each(ctx, func(e *endpoint) (err error) {
		what := r.src.name.pin.String()
		if t, ok := r.src.name.ref.(reference.Tagged); ok && what == "" {
			what = t.Tag()
		}
		if b, err = e.small(ctx, "manifests/"+what, maxManifest); err == nil && !r.src.name.pin.IsZero() {
			err = check("manifest", r.src.name.pin, b)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	digest := r.src.name.pin
	if digest.IsZero() {
		digest = sum256(b)
	}
	return r.src.resolve(ctx, b, digest, r.fetch, r.signatures)
}

// fetch is the registry's fetcher.
func (r *registry) fetch(ctx context.Context, d descriptor, kind string) (b []byte, err error) {
	what := "blobs/" + d.Digest
	if kind == "manifest" {
		what = "manifests/" + d.Digest
	}
	err = r.each(ctx, func(e *endpoint) (err error) {
		b, err = e.small(ctx, what, d.Size)
		return err
	})
	return b, err
}

// each asks one endpoint after the other until one has what is wanted, and puts that first. The error is that of the one
// the user has named, if it was asked: what a mirror lacks is not what he asked for.
func (r *registry) each(ctx context.Context, ask func(e *endpoint) error) error {
	var last error
	for i, e := range r.order {
		err := e.ping(ctx)
		if err == nil {
			err = ask(e)
		}
		if err == nil {
			r.order = append([]*endpoint{e}, slices.Delete(slices.Clone(r.order), i, i+1)...)
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		if last == nil || e.named {
			last = err
		}
	}
	if last == nil {
		last = fmt.Errorf("registries.conf leaves nobody to ask for %s: %w", r.src.name, errdef.ErrUnavailable)
	}
	return last
}

// open begins to read a layer. What it is, is proven by its digest, so it may come from any endpoint.
func (r *registry) open(ctx context.Context, l layer, at int64) (io.ReadCloser, error) {
	var blob source.Blob
	err := r.each(ctx, func(e *endpoint) error {
		o := e.http
		o.Pinned = true
		s, err := httpsource.New(e.url("blobs/"+l.stored.String()), o)
		if err != nil {
			return err
		}
		b, err := s.Open(ctx, r.env)
		if err != nil {
			return err
		}
		if n := b.Info().Size; n >= 0 && n != l.size {
			_ = b.Close()
			return lies(l.String(), fmt.Errorf("%d bytes, expected %d: %w", n, l.size, errdef.ErrDigestMismatch))
		}
		blob = b
		return nil
	})
	if l.foreign && errors.Is(err, errdef.ErrNotFound) {
		return nil, errForeign(l)
	}
	if err != nil {
		return nil, err
	}
	return begin(blob, at)
}

// host is whom to connect to.
func (e *endpoint) host() string {
	if h := reference.Domain(e.ref); h != "docker.io" {
		return h
	}
	return hub
}

func (e *endpoint) url(what string) string {
	return e.base + "/v2/" + reference.Path(e.ref) + "/" + what
}

// small fetches a document.
func (e *endpoint) small(ctx context.Context, what string, most int64) ([]byte, error) {
	o := e.http
	o.Header = o.Header.Clone()
	if o.Header == nil {
		o.Header = http.Header{}
	}
	o.Header.Set("Accept", strings.Join(accepted, ", "))
	if strings.HasPrefix(what, "blobs/") {
		o.Header.Set("Accept", "*/*")
	}
	s, err := httpsource.New(e.url(what), o)
	if err != nil {
		return nil, err
	}
	b, err := s.Open(ctx, e.r.env)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	kind, _, _ := strings.Cut(what, "/")
	return readSmall(b, "the document in "+kind, most)
}

// ping finds out how the endpoint is spoken to, once.
func (e *endpoint) ping(ctx context.Context) error {
	if e.base != "" {
		return nil
	}
	o := e.r.src.o.HTTP
	o.Name, o.Unauthorized, o.Insecure = e.r.src.String(), hintLogin, e.insecure
	if !e.named {
		o.Name += " at mirror " + e.host()
		o.Username, o.Password, o.BearerToken, o.SecretHeader, o.CertFile, o.KeyFile = "", "", "", nil, "", ""
	}
	if err := certificates(e.r.src.o.CertsDirs, reference.Domain(e.ref), &o); err != nil {
		return err
	}
	user := types.DockerAuthConfig{Username: o.Username, Password: o.Password}
	o.Username, o.Password = "", ""
	bases := []string{"https://" + e.host()}
	if e.insecure {
		bases = append(bases, "http://"+e.host())
	}
	var first error
	for i, base := range bases {
		try := o
		if i+1 < len(bases) {
			try.Retries = -1 // there is another way, and a port that speaks no TLS will not begin to
		}
		c, err := ask(ctx, base, try, e.r.env)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		e.base, e.http = base, o
		if c != nil && o.BearerToken == "" {
			e.http.Authorizer = &authorizer{e: e, challenge: *c, user: user}
		}
		return nil
	}
	return first
}

// ask asks base whether it is a registry; the challenge is nil if it wants to know nobody.
func ask(ctx context.Context, base string, o httpsource.Options, env source.Env) (*challenge, error) {
	s, err := httpsource.New(base+"/v2/", o)
	if err != nil {
		return nil, err
	}
	b, err := s.Open(ctx, env)
	if err == nil {
		return nil, b.Close()
	}
	var a *httpsource.Answer
	if !errors.As(err, &a) {
		return nil, err
	}
	switch a.Status {
	case http.StatusUnauthorized:
		c, ok := parseChallenges(a.Header.Values("Www-Authenticate"))
		if !ok {
			return nil, err
		}
		return &c, nil
	case http.StatusNotFound, http.StatusForbidden:
		return nil, nil // not a registry by the book; the manifest will tell
	}
	return nil, err
}
