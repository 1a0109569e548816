// Package gcssource reads objects of Google Cloud Storage.
//
// It fetches nothing itself: a bucket and an object become a URL of the XML API, which honours ranges and gives strong
// ETags, and httpsource asks for it, with a fresh token on each request. No limit is set on the time that a whole object
// takes.
package gcssource

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// Options of a Source. The zero value reads public objects.
type Options struct {
	// HTTP says how to talk to the server. What authorizes there (user, password, token) must be empty, and so must its
	// Authorizer and Name.
	HTTP httpsource.Options
	// Credentials is where tokens come from; nil: requests have none.
	Credentials Credentials
	// Endpoint is the URL of another server than https://storage.googleapis.com, such as an emulator.
	Endpoint string
	// Project pays for requests to a bucket whose owner does not; empty: nobody does.
	Project string
	// Generation pins one state of the object; 0: the newest. One in the source's name goes before.
	Generation int64
}

// Source is one object. It is safe for concurrent use and may be opened more than once.
type Source struct {
	o    Options
	at   address
	name string
}

var (
	_ source.Source    = (*Source)(nil)
	_ source.Statter   = (*Source)(nil)
	_ source.Siblinger = (*Source)(nil)
)

// New checks name and options; the errors are errdef.ErrUsage. name is gs://bucket/object or gs://bucket/object#generation,
// where the object's name is taken as it is, or an https URL of Google's that means the same.
func New(name string, o Options) (*Source, error) {
	at, err := parse(name)
	if err != nil {
		return nil, err
	}
	if at.generation == 0 {
		at.generation = o.Generation
	}
	switch {
	case at.generation < 0:
		return nil, usage("generation %d is negative", at.generation)
	case o.HTTP.Authorizer != nil || o.HTTP.BearerToken != "" || o.HTTP.Username != "" || o.HTTP.Password != "":
		return nil, usage("give Google's own credentials instead of a user name or a token")
	case strings.ContainsFunc(o.Project, func(c rune) bool { return c <= ' ' || c > '~' }):
		return nil, usage("the project's name has characters that none has")
	}
	s := &Source{o: o, at: at, name: at.String()}
	if _, err := s.http(nil); err != nil {
		return nil, err
	}
	return s, nil
}

// String is gs://bucket/object.
func (s *Source) String() string { return s.name }

// Open asks for the first 64 KiB, as httpsource does.
func (s *Source) Open(ctx context.Context, env source.Env) (source.Blob, error) {
	h, err := s.authorized(ctx)
	if err != nil {
		return nil, s.fail(err)
	}
	return h.Open(ctx, env)
}

// Stat asks for one byte.
func (s *Source) Stat(ctx context.Context, env source.Env) (source.Info, error) {
	h, err := s.authorized(ctx)
	if err != nil {
		return source.Info{}, s.fail(err)
	}
	return h.Stat(ctx, env)
}

// Sibling is the newest generation of the object that lies beside this one.
func (s *Source) Sibling(name string) (source.Source, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00\r\n") {
		return nil, s.fail(fmt.Errorf("%q is not an object beside it: %w", name, errdef.ErrRefused))
	}
	at := s.at
	at.object, at.generation = at.object[:strings.LastIndexByte(at.object, '/')+1]+name, 0
	if len(at.object) > maxObject {
		return nil, s.fail(fmt.Errorf("the object's name would have %d bytes: %w", len(at.object), errdef.ErrRefused))
	}
	return &Source{o: s.o, at: at, name: at.String()}, nil
}

// authorized is the object with tokens that last as long as ctx, which is the blob's.
func (s *Source) authorized(ctx context.Context) (*httpsource.Source, error) {
	if s.o.Credentials == nil {
		return s.http(nil)
	}
	client, err := s.o.HTTP.Client()
	if err != nil {
		return nil, err
	}
	t, err := newTokens(ctx, s.o.Credentials, client)
	if err != nil {
		return nil, err
	}
	return s.http(t)
}

func (s *Source) http(t *tokens) (*httpsource.Source, error) {
	endpoint := defaultEndpoint
	if s.o.Endpoint != "" {
		u, err := url.Parse(s.o.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return nil, usage("the endpoint is not the http or https URL of a server")
		}
		endpoint = strings.TrimSuffix(s.o.Endpoint, "/")
	}
	raw := endpoint + "/" + s.at.bucket + "/" + escape(s.at.object)
	if s.at.generation > 0 {
		raw += "?generation=" + strconv.FormatInt(s.at.generation, 10)
	}
	o := s.o.HTTP
	o.Name, o.IfMatch = s.name, true
	o.Authorizer = &authorizer{tokens: t, project: s.o.Project}
	o.Unauthorized = "these credentials may not read the object (role Storage Object Viewer), or it is absent and they may not list the bucket"
	if s.o.Credentials == nil {
		o.Unauthorized = "the object is not public: give credentials"
	}
	return httpsource.New(raw, o)
}

func (s *Source) fail(err error) error {
	return &errdef.Error{Op: "open", Side: errdef.Source, Name: s.name, Err: err}
}

func usage(format string, args ...any) error {
	return fmt.Errorf("gcs source: "+format+": %w", append(args, errdef.ErrUsage)...)
}
