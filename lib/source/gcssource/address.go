package gcssource

import (
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	defaultHost     = "storage.googleapis.com"
	defaultEndpoint = "https://" + defaultHost
	maxObject       = 1024 // bytes, Google's own bound
)

// address is where an object lies.
type address struct {
	bucket, object string
	generation     int64 // 0: the newest
}

// buckets: 3 to 222 characters, with dots and underscores.
var buckets = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$`)

// parse reads what New takes. Its errors do not repeat the name.
func parse(name string) (a address, err error) {
	scheme, rest, _ := strings.Cut(name, "://")
	switch strings.ToLower(scheme) {
	case "gs":
		a.bucket, a.object, _ = strings.Cut(rest, "/")
		// An object's name may have a # of its own; a number behind the last one is a generation, as in Google's tools.
		if i := strings.LastIndexByte(a.object, '#'); i >= 0 {
			if n, err := strconv.ParseInt(a.object[i+1:], 10, 64); err == nil {
				a.object, a.generation = a.object[:i], n
			}
		}
	case "https":
		if a, err = parseURL(name); err != nil {
			return a, err
		}
	default:
		return a, usage("the source does not begin with gs://")
	}
	switch {
	case !buckets.MatchString(a.bucket):
		return a, usage("the bucket's name is missing or not valid")
	case a.object == "" || strings.HasSuffix(a.object, "/"):
		return a, usage("the object's name is missing, or that of a folder")
	case len(a.object) > maxObject:
		return a, usage("the object's name has %d bytes, more than %d", len(a.object), maxObject)
	case !utf8.ValidString(a.object) || strings.ContainsAny(a.object, "\r\n\x00"):
		return a, usage("the object's name has characters that none has")
	}
	return a, nil
}

// parseURL takes https://storage.googleapis.com/bucket/object, https://storage.cloud.google.com/bucket/object and
// https://bucket.storage.googleapis.com/object.
func parseURL(s string) (a address, err error) {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.Port() != "" {
		return a, usage("the URL is not that of an object")
	}
	path := strings.TrimPrefix(u.Path, "/")
	switch bucket, ok := strings.CutSuffix(u.Host, "."+defaultHost); {
	case u.Host == defaultHost || u.Host == "storage.cloud.google.com":
		a.bucket, a.object, _ = strings.Cut(path, "/")
	case ok:
		a.bucket, a.object = bucket, path
	default:
		return a, usage("the URL's host is not one of Google Cloud Storage")
	}
	for name, values := range u.Query() {
		if name != "generation" || len(values) != 1 {
			return a, usage("the URL's query has something else than a generation; a signed URL is read as it is")
		}
		if a.generation, err = strconv.ParseInt(values[0], 10, 64); err != nil {
			return a, usage("the generation is no number")
		}
	}
	return a, nil
}

// escape encodes what a path needs, and leaves the slashes, which the XML API takes for part of the name.
func escape(object string) string {
	parts := strings.Split(object, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}

// String is the address as Google's tools write it.
func (a address) String() string {
	s := "gs://" + a.bucket + "/" + a.object
	if a.generation > 0 {
		s += "#" + strconv.FormatInt(a.generation, 10)
	}
	return s
}
