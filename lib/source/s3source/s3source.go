// Package s3source reads objects of S3 and of servers that speak its protocol.
//
// It fetches nothing itself: a bucket and a key become a URL, and httpsource asks for it in ranges, each request signed
// just before it is sent (AWS Signature Version 4). So resume, retries, reading ahead and limits are httpsource's.
package s3source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// Options of a Source. The zero value reads public objects of AWS in us-east-1.
type Options struct {
	// HTTP says how to talk to the server. What authorizes there (user, password, token) must be empty, and so must its
	// Authorizer and Name.
	HTTP httpsource.Options
	// Credentials is where keys come from; nil: requests are not signed.
	Credentials Credentials
	// Region that is signed for. Empty: what the endpoint's name or the credentials' configuration tells, or us-east-1.
	// S3 tells the right one if it is another.
	Region string
	// Endpoint is the URL of a server other than AWS. Empty: what the credentials' configuration names, or AWS.
	Endpoint string
	// Style says where the bucket is put.
	Style Style
	// RequesterPays agrees to pay for requests to a bucket whose owner does not.
	RequesterPays bool
	// VersionID pins one version of the object; empty: the newest. One in the source's name goes before.
	VersionID string
}

// Style says where a bucket's name is put in a URL.
type Style string

// The styles.
const (
	// Auto is Path for an endpoint of one's own and for names with dots, which no certificate fits, else Host.
	Auto Style = ""
	Path Style = "path" // https://host/bucket/key
	Host Style = "host" // https://bucket.host/key
)

// Source is one object. It is safe for concurrent use and may be opened more than once.
type Source struct {
	o    Options
	at   address
	name string

	mu     sync.Mutex
	set    *settings // what Credentials found
	region string    // that S3 has told
}

var (
	_ source.Source    = (*Source)(nil)
	_ source.Statter   = (*Source)(nil)
	_ source.Siblinger = (*Source)(nil)
)

// New checks name and options; the errors are errdef.ErrUsage. name is s3://bucket/key, where the key is taken as it is,
// or the URL of an object at an endpoint, https://endpoint/bucket/key (with s3+https and s3+http too), percent-encoded.
// Either may end in ?versionId=ID.
func New(name string, o Options) (*Source, error) {
	at, err := parse(name)
	if err != nil {
		return nil, err
	}
	if o.Endpoint != "" {
		if at.endpoint != nil {
			return nil, usage("an endpoint is given twice")
		}
		if at.endpoint, err = parseEndpoint(o.Endpoint); err != nil {
			return nil, err
		}
	}
	if at.version == "" {
		at.version = o.VersionID
	}
	switch {
	case o.Style != Auto && o.Style != Path && o.Style != Host:
		return nil, usage("style %.20q is neither %q nor %q", o.Style, Path, Host)
	case o.Region != "" && !validRegion(o.Region):
		return nil, usage("%.40q is no name of a region", o.Region)
	case strings.ContainsFunc(at.version, func(c rune) bool { return c <= ' ' || c > '~' }) || len(at.version) > 1024:
		return nil, usage("the version ID has characters that none has")
	case o.HTTP.Authorizer != nil || o.HTTP.BearerToken != "" || o.HTTP.Username != "" || o.HTTP.Password != "":
		return nil, usage("S3 takes neither user name nor token, but an access key")
	}
	s := &Source{o: o, at: at, name: at.String()}
	// What is wrong with the rest of the options is told here and not by Open.
	if _, err := s.http(&settings{}, ""); err != nil {
		return nil, err
	}
	return s, nil
}

// String is the object as s3://bucket/key, or with its endpoint if one was given.
func (s *Source) String() string { return s.name }

// Open asks for the first 64 KiB, as httpsource does.
func (s *Source) Open(ctx context.Context, env source.Env) (b source.Blob, err error) {
	err = s.ask(ctx, func(h *httpsource.Source) (err error) {
		b, err = h.Open(ctx, env)
		return err
	})
	return b, err
}

// Stat asks for one byte.
func (s *Source) Stat(ctx context.Context, env source.Env) (i source.Info, err error) {
	err = s.ask(ctx, func(h *httpsource.Source) (err error) {
		i, err = h.Stat(ctx, env)
		return err
	})
	return i, err
}

// Sibling is the newest version of the object that lies beside this one.
func (s *Source) Sibling(name string) (source.Source, error) {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00\r\n") {
		return nil, s.fail(fmt.Errorf("%q is not an object beside it: %w", name, errdef.ErrRefused))
	}
	at := s.at
	at.key, at.version = at.key[:strings.LastIndexByte(at.key, '/')+1]+name, ""
	if len(at.key) > maxKey {
		return nil, s.fail(fmt.Errorf("the key would have %d bytes: %w", len(at.key), errdef.ErrRefused))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Source{o: s.o, at: at, name: at.String(), set: s.set, region: s.region}, nil
}

// ask runs f, and once more if the first answer tells that the bucket is in another region.
func (s *Source) ask(ctx context.Context, f func(*httpsource.Source) error) error {
	set, err := s.settings(ctx)
	if err != nil {
		return s.fail(err)
	}
	s.mu.Lock()
	region := s.region
	s.mu.Unlock()
	for {
		h, err := s.http(set, region)
		if err != nil {
			return s.fail(err)
		}
		err = f(h)
		told := bucketRegion(err)
		if told == "" || told == s.regionOf(set, region) || region != "" {
			return err
		}
		region = told
		s.mu.Lock()
		s.region = told
		s.mu.Unlock()
	}
}

// bucketRegion is where S3 says the bucket is, when it refuses to answer for that reason.
func bucketRegion(err error) string {
	a, ok := errors.AsType[*httpsource.Answer](err)
	if !ok {
		return ""
	}
	switch a.Status {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusBadRequest, http.StatusForbidden:
	default:
		return ""
	}
	if region := a.Header.Get("X-Amz-Bucket-Region"); validRegion(region) {
		return region
	}
	return ""
}

// settings asks the credentials once what they know. A failure is not kept.
func (s *Source) settings(ctx context.Context) (*settings, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set != nil {
		return s.set, nil
	}
	set := &settings{}
	if s.o.Credentials != nil {
		client, err := s.o.HTTP.Client()
		if err != nil {
			return nil, err
		}
		found, err := s.o.Credentials.settings(ctx, client)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, err
		}
		set = &found
	}
	s.set = set
	return set, nil
}

// http is the object as a URL, with a signer; region goes before all others.
func (s *Source) http(set *settings, region string) (*httpsource.Source, error) {
	at := s.at
	if at.endpoint == nil && set.endpoint != "" {
		var err error
		if at.endpoint, err = parseEndpoint(set.endpoint); err != nil {
			return nil, err
		}
	}
	region = s.regionOf(set, region)
	o := s.o.HTTP
	o.Name, o.IfMatch = s.name, true
	o.Authorizer = newSigner(set.provider, region, s.o.RequesterPays)
	o.Unauthorized = "the keys are wrong, have ended, or may not read this object (S3 says 403 for an absent one too, if it may not be listed)"
	if set.provider == nil {
		o.Unauthorized = "the object is not public: give credentials"
	}
	return httpsource.New(at.url(region, s.o.Style), o)
}

func (s *Source) regionOf(set *settings, told string) string {
	for _, r := range []string{told, s.o.Region, s.at.region(), set.region} {
		if r != "" {
			return r
		}
	}
	return defaultRegion
}

func (s *Source) fail(err error) error {
	return &errdef.Error{Op: "open", Side: errdef.Source, Name: s.name, Err: err}
}

func usage(format string, args ...any) error {
	return fmt.Errorf("s3 source: "+format+": %w", append(args, errdef.ErrUsage)...)
}
