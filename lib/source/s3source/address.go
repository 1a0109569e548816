package s3source

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

const (
	defaultRegion = "us-east-1"
	maxKey        = 1024 // bytes, S3's own bound
)

// address is where an object lies.
type address struct {
	endpoint    *url.URL // nil: not given
	bucket, key string
	version     string
	// inHost: the endpoint's URL came with the bucket in its host, which stays there.
	inHost bool
}

var (
	regions = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
	// AWS takes lower case and at most 63; older buckets and other servers are freer.
	buckets = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$`)
	hosted  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$`) // fit for the host of a URL
	// awsHost: [bucket.]s3[.dualstack][.region].amazonaws.com[.cn], with the older s3-region and s3-fips too.
	awsHost = regexp.MustCompile(`^(?:(.+)\.)?s3(?:-fips)?(?:\.dualstack)?(?:[.-]([a-z0-9-]+))?\.amazonaws\.com(?:\.cn)?$`)
)

func validRegion(s string) bool { return regions.MatchString(s) }

// parse reads what New takes. Its errors do not repeat the name.
func parse(name string) (address, error) {
	scheme, rest, _ := strings.Cut(name, "://")
	switch strings.ToLower(scheme) {
	case "s3":
		return parsePlain(rest)
	case "s3+http", "s3+https":
		return parseURL(strings.ToLower(scheme[len("s3+"):]) + "://" + rest)
	case "http", "https":
		return parseURL(name)
	}
	return address{}, usage("the source is neither s3://bucket/key nor the URL of an object")
}

// parsePlain takes the key as it is, like AWS's own tools: a key may hold any character.
func parsePlain(rest string) (address, error) {
	var a address
	if i := strings.LastIndex(rest, "?versionId="); i >= 0 {
		rest, a.version = rest[:i], rest[i+len("?versionId="):]
	}
	a.bucket, a.key, _ = strings.Cut(rest, "/")
	return a, a.check()
}

func parseURL(s string) (address, error) {
	u, err := parseEndpoint(s)
	if err != nil {
		return address{}, err
	}
	var a address
	for name, values := range u.Query() {
		if name != "versionId" || len(values) != 1 {
			return a, usage("the URL's query has something else than a versionId; a signed URL is read by https://")
		}
		a.version = values[0]
	}
	path := strings.TrimPrefix(u.Path, "/")
	if m := awsHost.FindStringSubmatch(u.Hostname()); m != nil && m[1] != "" {
		a.bucket, a.key, a.inHost = m[1], path, true
	} else {
		a.bucket, a.key, _ = strings.Cut(path, "/")
	}
	u.Path, u.RawPath, u.RawQuery = "", "", ""
	a.endpoint = u
	return a, a.check()
}

// parseEndpoint takes the URL of a server, which may have a path of its own.
func parseEndpoint(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, usage("the endpoint is no valid URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, usage("the endpoint does not begin with http:// or https://")
	case u.Hostname() == "":
		return nil, usage("the endpoint has no host")
	case u.User != nil:
		return nil, usage("the endpoint's URL holds a user name: keys are given otherwise")
	case u.Fragment != "":
		return nil, usage("the endpoint's URL has a fragment (write # as %%23)")
	}
	// The signature is of the host as it is sent, and signers leave a usual port out.
	if u.Port() == "80" && u.Scheme == "http" || u.Port() == "443" && u.Scheme == "https" {
		u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	return u, nil
}

func (a address) check() error {
	switch {
	case !buckets.MatchString(a.bucket) || strings.Contains(a.bucket, ".."):
		return usage("the bucket's name is missing or not valid")
	case a.key == "" || strings.HasSuffix(a.key, "/"):
		return usage("the key is missing, or names a folder")
	case len(a.key) > maxKey:
		return usage("the key has %d bytes, more than %d", len(a.key), maxKey)
	case !utf8.ValidString(a.key) || strings.Contains(a.key, "\x00"):
		return usage("the key is not valid UTF-8")
	}
	return nil
}

// region is what the endpoint's host tells, "" if nothing.
func (a address) region() string {
	if a.endpoint == nil {
		return ""
	}
	m := awsHost.FindStringSubmatch(a.endpoint.Hostname())
	if m == nil || !validRegion(m[2]) {
		return ""
	}
	return m[2]
}

// url is where the object is asked for.
func (a address) url(region string, style Style) string {
	u := url.URL{Scheme: "https", Host: "s3." + region + ".amazonaws.com"}
	if strings.HasPrefix(region, "cn-") {
		u.Host += ".cn"
	}
	own := a.endpoint != nil && !awsHost.MatchString(a.endpoint.Hostname())
	if a.endpoint != nil && (own || a.endpoint.Scheme == "http" || a.region() == region) {
		u = *a.endpoint
		if a.inHost {
			u.Host = strings.TrimPrefix(u.Host, a.bucket+".")
		}
	}
	inHost := style == Host || style == Auto && hosted.MatchString(a.bucket) && !own
	path := strings.TrimSuffix(u.EscapedPath(), "/") + "/"
	if inHost {
		u.Host = a.bucket + "." + u.Host
	} else {
		path += a.bucket + "/"
	}
	path += escape(a.key)
	query := ""
	if a.version != "" {
		query = "?versionId=" + url.QueryEscape(a.version)
	}
	return u.Scheme + "://" + u.Host + path + query
}

// escape encodes a key as signatures have it: everything but letters, digits, "-._~" and the slash.
func escape(key string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(key) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~/", c) >= 0:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String()
}

// String is the address for people, and tells two endpoints apart.
func (a address) String() string {
	s := "s3://" + a.bucket + "/" + a.key
	if a.endpoint != nil {
		host := a.endpoint.Host
		if a.inHost {
			host = strings.TrimPrefix(host, a.bucket+".")
		}
		s = "s3+" + a.endpoint.Scheme + "://" + host + strings.TrimSuffix(a.endpoint.EscapedPath(), "/") + "/" + a.bucket + "/" + escape(a.key)
	}
	if a.version != "" {
		s += "?versionId=" + a.version
	}
	return s
}
