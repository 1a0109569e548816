package httprange

import (
	"net/http"
	"strings"
	"time"
)

// maxValidator bounds a validator, which is sent again with each request. Real ones have under 100 bytes.
const maxValidator = 1 << 10

// A Validator tells one state of a resource from another.
type Validator struct {
	ETag         string // with its quotes, and W/ if it is weak; empty: none
	LastModified string // as the server wrote it; empty: none
	// Strong is what an If-Range header may hold: the ETag, or Last-Modified if it is strong. Empty: equal
	// validators do not promise equal bytes.
	Strong string
}

// ParseValidator takes the validators of an answer. What is malformed counts as absent.
func ParseValidator(h http.Header) Validator {
	var v Validator
	if tag := h.Get("ETag"); validETag(tag) {
		v.ETag = tag
		if !strings.HasPrefix(tag, "W/") {
			v.Strong = tag
		}
	}
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	if err != nil || len(h.Get("Last-Modified")) > maxValidator {
		return v
	}
	v.LastModified = h.Get("Last-Modified")
	// RFC 9110, section 8.8.2.2: two states written in the same second share a Last-Modified, but then one of them was
	// sent in that very second. At least a second between the two dates excludes it.
	date, err := http.ParseTime(h.Get("Date"))
	if v.Strong == "" && err == nil && date.Sub(modified) >= time.Second {
		v.Strong = v.LastModified
	}
	return v
}

// String is the validator in the words of its headers, the stronger one only; empty if there is none.
func (v Validator) String() string {
	switch {
	case v.ETag != "" && (v.Strong == v.ETag || v.Strong == ""):
		return "etag=" + v.ETag
	case v.LastModified != "":
		return "last-modified=" + v.LastModified
	}
	return ""
}

// Same reports whether an answer with header h is of the state that v, a strong validator, tells of. ifRange says that
// the answer is partial, to a request with If-Range: such an answer may leave Last-Modified out (RFC 9110, section
// 15.3.7), but never the ETag.
func (v Validator) Same(h http.Header, ifRange bool) bool {
	if v.Strong == "" {
		return false
	}
	if v.Strong == v.ETag {
		return h.Get("ETag") == v.ETag
	}
	m := h.Get("Last-Modified")
	return m == v.LastModified || m == "" && ifRange
}

// validETag checks for an optional W/ and a quoted string of visible characters.
func validETag(s string) bool {
	if len(s) > maxValidator {
		return false
	}
	s = strings.TrimPrefix(s, "W/")
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return false
	}
	for _, c := range []byte(s[1 : len(s)-1]) {
		if c <= ' ' || c == '"' || c == 0x7f {
			return false
		}
	}
	return true
}
