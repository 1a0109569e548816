// Package httpsource reads images from http and https URLs.
//
// A server that honours ranges and has a strong validator (a strong ETag, or a Last-Modified that is strong by RFC 9110,
// section 8.8.2.2) gives a blob that is an io.ReaderAt and that reads ahead with several ranges in flight. Any other
// server gives a plain stream: one GET, no HEAD, nothing expected of the headers. A broken connection goes on where it
// stopped as long as a strong validator proves that the content is still the same; a content that has changed is
// errdef.ErrChanged, never a mixture. What a server says wrongly about a range is tried again like a broken connection,
// and is errdef.ErrUnavailable in the end.
//
// After a redirect the final URL serves all further requests. When it fails, the original URL is asked again, and
// another mirror is taken if size and strong validator agree.
//
// A content of unknown size that is sent without chunks (HTTP/1.0 style) ends where the connection ends: there a break
// cannot be told from the end. Give a checksum.
package httpsource

import (
	"context"
	"net/http"
	"net/url"
	"path"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source"
)

// Source is the content behind one URL. It is safe for concurrent use and may be opened more than once.
type Source struct {
	url     *url.URL // without user info
	name    string   // for people
	o       Options
	plain   http.Header // to every host
	secret  http.Header // to the URL's origin
	secrets secrets
	proxy   *url.URL // nil: the environment decides
}

var (
	_ source.Source  = (*Source)(nil)
	_ source.Statter = (*Source)(nil)
)

// New checks the URL and the options; the errors are errdef.ErrUsage. Nothing is read or asked before Open.
func New(rawURL string, o Options) (*Source, error) {
	u, err := parseURL(rawURL, "the URL", "http", "https")
	if err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &Source{o: o.withDefaults(), plain: http.Header{}, secret: http.Header{}, secrets: secrets{}}
	if s.proxy, err = o.proxyURL(); err != nil {
		return nil, err
	}
	if s.proxy != nil {
		if pass, ok := s.proxy.User.Password(); ok {
			s.secrets.addBasic(s.proxy.User.Username(), pass)
		}
	}
	if o.Form != nil {
		s.o.MaxRedirects = -1
	}
	for name, values := range o.Form {
		for _, v := range values {
			if secretName(name) {
				s.secrets.add(v, url.QueryEscape(v))
			}
		}
	}
	s.headers(u)
	u.User = nil
	s.url, s.name = u, display(u)
	if o.Name != "" {
		s.name = printable(o.Name)
	}
	s.secrets.addQuery(u)
	return s, nil
}

// headers sorts what is sent into what every host may see and what only the origin may.
func (s *Source) headers(u *url.URL) {
	for name, values := range s.o.Header {
		to := s.plain
		if secretName(name) {
			to = s.secret
		}
		for _, v := range values {
			to.Add(name, v)
		}
	}
	for name, values := range s.o.SecretHeader {
		for _, v := range values {
			s.secret.Add(name, v)
		}
	}
	auth := http.Request{Header: http.Header{}}
	user, pass := s.o.Username, s.o.Password
	if user == "" && pass == "" && u.User != nil && s.o.Authorizer == nil {
		user = u.User.Username()
		pass, _ = u.User.Password()
	}
	switch {
	case s.o.BearerToken != "":
		auth.Header.Set("Authorization", "Bearer "+s.o.BearerToken)
	case user != "" || pass != "":
		auth.SetBasicAuth(user, pass)
		s.secrets.addBasic(user, pass)
	}
	if v := auth.Header.Get("Authorization"); v != "" {
		s.secret.Set("Authorization", v)
	}
	if s.plain.Get("User-Agent") == "" {
		s.plain.Set("User-Agent", "cdictl")
	}
	s.secrets.addHeader(s.secret)
}

// String is the URL without user info and without the values of its query.
func (s *Source) String() string { return s.name }

// fileName is the last element of the URL's path, which checksum files name.
func (s *Source) fileName() string {
	if name := path.Base(s.url.Path); name != "/" && name != "." {
		return name
	}
	return ""
}

// Open asks for the first 64 KiB, and by the answer gives a blob with random access (it is an io.ReaderAt, and
// Info.Strong is true) or a plain stream.
func (s *Source) Open(ctx context.Context, env source.Env) (source.Blob, error) {
	ses, err := s.newSession(ctx, env)
	if err != nil {
		return nil, s.fail("open", err)
	}
	blob, err := ses.open(headSize)
	if err != nil {
		ses.close()
		return nil, s.fail("open", err)
	}
	return blob, nil
}

// Stat asks for one byte and tells what Open would.
func (s *Source) Stat(ctx context.Context, env source.Env) (source.Info, error) {
	ses, err := s.newSession(ctx, env)
	if err != nil {
		return source.Info{}, s.fail("stat", err)
	}
	defer ses.close()
	blob, err := ses.open(1)
	if err != nil {
		return source.Info{}, s.fail("stat", err)
	}
	return blob.Info(), blob.Close()
}

// fail says where an error happened; it leaves nil alone.
func (s *Source) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return &errdef.Error{Op: op, Side: errdef.Source, Name: s.name, Err: err}
}
