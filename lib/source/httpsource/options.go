package httpsource

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Options of a Source. The zero value reads public content with sensible bounds.
//
// Credentials (SecretHeader, Username, Password, BearerToken, the URL's user info, and any Header whose name says that
// it is one: authorization, cookie, token, key, secret, …) are sent to the origin of the URL only: a redirect to another
// host or port, or from https to http, goes on without them, and so does everything behind it.
type Options struct {
	Header       http.Header // sent with each request
	SecretHeader http.Header // the same; its values never appear in an error

	Username, Password string // basic authentication; goes before the URL's user info
	BearerToken        string
	// Authorizer, if not nil, takes the place of the three above.
	Authorizer Authorizer
	// IfMatch makes ranges conditional by If-Match instead of If-Range, for object stores, which know the former only.
	IfMatch bool
	// Pinned: the URL names its content by a digest, which the caller checks. What it gives never changes, so ranges need no
	// validator, and mirrors need not agree on one.
	Pinned bool
	// Form, if not nil, is posted instead of asking for the content: for services that give tokens. Values
	// whose name says that they are secret never appear in an error, and no redirect is followed.
	Form url.Values
	// Foreign: a server has chosen the URL, not the user. A link-local address is refused as behind a redirect.
	Foreign bool
	// Name is what people are shown instead of the URL.
	Name string
	// Unauthorized is the hint when the origin refuses us, instead of one about the options above.
	Unauthorized string

	// CAFile is a PEM bundle, or a folder of *.pem, *.crt and *.cer, trusted beside the system's authorities.
	CAFile string
	// CAs are PEM certificates trusted beside the system's and CAFile's, for who has them in memory.
	CAs []byte
	// CertFile and KeyFile are PEM files of a client certificate, shown to the URL's origin only. An empty KeyFile
	// means that CertFile holds both.
	CertFile, KeyFile string
	// Insecure accepts any server certificate.
	Insecure bool
	// Proxy is the URL of a proxy (http, https, socks5) for every request. Empty: HTTP_PROXY, HTTPS_PROXY and
	// NO_PROXY of the environment decide, which never name a proxy for localhost.
	Proxy string

	// Retries is how many failures in a row, without a byte of progress, are repeated. 0 means 5; negative: none.
	Retries int
	// Backoff is the delay before the first repetition; it doubles up to 30 s. 0 means 500 ms.
	Backoff time.Duration
	// StallTimeout: a server that sends nothing for this long is given up for broken. 0 means 60 s, longer than a
	// cold object store takes to its first byte.
	StallTimeout time.Duration
	// Connections is how many ranges are in flight at most. 0 means 4; at most 16.
	Connections int
	// MaxRedirects bounds a chain of redirects. 0 means 10; negative: a redirect is refused.
	MaxRedirects int
	// AllowLinkLocal lets a redirect lead to link-local addresses, where clouds keep credentials for their machines.
	// The URL itself may name one without it.
	AllowLinkLocal bool
}

const (
	defaultStall       = 60 * time.Second
	defaultConnections = 4
	maxConnections     = 16
	defaultRedirects   = 10
)

func (o Options) withDefaults() Options {
	if o.StallTimeout <= 0 {
		o.StallTimeout = defaultStall
	}
	if o.Connections <= 0 {
		o.Connections = defaultConnections
	}
	o.Connections = min(o.Connections, maxConnections)
	if o.MaxRedirects == 0 {
		o.MaxRedirects = defaultRedirects
	}
	return o
}

func (o Options) check() error {
	for _, h := range []http.Header{o.Header, o.SecretHeader} {
		for name, values := range h {
			if err := checkHeader(name, values); err != nil {
				return err
			}
		}
	}
	switch {
	case o.BearerToken != "" && (o.Username != "" || o.Password != ""):
		return usage("both a bearer token and a user name are given")
	case o.Authorizer != nil && (o.BearerToken != "" || o.Username != "" || o.Password != ""):
		return usage("requests are authorized otherwise than by a user name or a bearer token")
	case !validValue(o.BearerToken):
		return usage("the bearer token has control characters (a line break at its end?)")
	case strings.Contains(o.Username, ":"):
		return usage("a user name must not contain a colon")
	case o.KeyFile != "" && o.CertFile == "":
		return usage("a client key is given without a certificate")
	}
	return nil
}

// ours are the headers that this package has to choose itself.
var ours = map[string]bool{
	"Range": true, "If-Range": true, "If-Match": true, "If-None-Match": true, "If-Modified-Since": true,
	"If-Unmodified-Since": true, "Accept-Encoding": true, "Content-Length": true, "Transfer-Encoding": true,
	"Connection": true, "Te": true, "Trailer": true, "Upgrade": true, "Expect": true,
}

func checkHeader(name string, values []string) error {
	if name == "" || strings.ContainsFunc(name, func(c rune) bool {
		return c <= ' ' || c >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, c)
	}) {
		return usage("%q is no header name", clip(name, 40))
	}
	if ours[http.CanonicalHeaderKey(name)] {
		return usage("header %s cannot be set: the requests need their own", name)
	}
	for _, v := range values {
		if !validValue(v) {
			return usage("the value of header %s has control characters (a line break at its end?)", name)
		}
	}
	return nil
}

func validValue(v string) bool {
	return !strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f })
}

func usage(format string, args ...any) error {
	return fmt.Errorf("http source: "+format+": %w", append(args, errdef.ErrUsage)...)
}

// parseURL takes only what can be fetched. Its errors do not repeat the URL, which may hold a password in the wrong place.
func parseURL(s, what string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errdef.WithHint(usage("%s is not valid", what),
			"percent-encode special characters, those of the user name and password too")
	}
	known := false
	for _, sch := range schemes {
		known = known || u.Scheme == sch
	}
	switch {
	case !known:
		return nil, usage("%s does not begin with one of %s", what, strings.Join(schemes, ", "))
	case u.Hostname() == "":
		return nil, usage("%s has no host", what)
	}
	u.Fragment, u.RawFragment = "", ""
	return u, nil
}

// proxyURL is nil if the environment decides.
func (o Options) proxyURL() (*url.URL, error) {
	if o.Proxy == "" {
		return nil, nil
	}
	raw := o.Proxy
	if !strings.Contains(raw, "://") {
		raw = "http://" + raw
	}
	return parseURL(raw, "the proxy's URL", "http", "https", "socks5", "socks5h")
}
