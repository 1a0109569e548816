// Package httprange reads and writes what HTTP range requests are made of (RFC 9110, sections 8.8, 14).
package httprange

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Unknown stands for a total that the server does not tell, and for a range without an end.
const Unknown = -1

// Format is the value of a Range header for n bytes at off; n < 0: all from off to the end.
func Format(off, n int64) string {
	if n < 0 {
		return fmt.Sprintf("bytes=%d-", off)
	}
	return fmt.Sprintf("bytes=%d-%d", off, off+n-1)
}

// ContentRange is the value of a Content-Range header.
type ContentRange struct {
	First, Last int64 // both Unknown in the answer to a range that cannot be had ("bytes */N")
	Total       int64 // Unknown for "*"
}

// Len is the number of bytes in the range.
func (c ContentRange) Len() int64 {
	if c.First < 0 {
		return 0
	}
	return c.Last - c.First + 1
}

// ParseContentRange reads "bytes first-last/total", with * for an unknown part. What it returns is in itself right:
// 0 <= first <= last < total.
func ParseContentRange(s string) (ContentRange, error) {
	bad := func(why string) (ContentRange, error) {
		return ContentRange{}, fmt.Errorf("Content-Range %q %s", clip(s), why)
	}
	unit, rest, ok := strings.Cut(s, " ")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return bad("is not in bytes")
	}
	span, total, ok := strings.Cut(strings.TrimSpace(rest), "/")
	if !ok {
		return bad("has no total")
	}
	c := ContentRange{Unknown, Unknown, Unknown}
	if total != "*" {
		if c.Total, ok = number(total); !ok {
			return bad("has no valid total")
		}
	}
	if span == "*" {
		if c.Total == Unknown {
			return bad("says nothing")
		}
		return c, nil
	}
	first, last, _ := strings.Cut(span, "-")
	var ok1, ok2 bool
	c.First, ok1 = number(first)
	c.Last, ok2 = number(last)
	switch {
	case !ok1 || !ok2 || c.Last < c.First:
		return bad("has no valid range")
	case c.Total != Unknown && c.Last >= c.Total:
		return bad("passes its own total")
	}
	return c, nil
}

// String is the header's value.
func (c ContentRange) String() string {
	span, total := "*", "*"
	if c.First >= 0 {
		span = fmt.Sprintf("%d-%d", c.First, c.Last)
	}
	if c.Total >= 0 {
		total = strconv.FormatInt(c.Total, 10)
	}
	return "bytes " + span + "/" + total
}

// number reads digits only. The largest is one less than an int64 holds, so that adding 1 to it is safe.
func number(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && n < math.MaxInt64
}

// clip shortens what a server said, for an error.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
