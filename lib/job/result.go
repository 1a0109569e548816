package job

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Completed is the Reason of success.
const Completed = "Completed"

// Encode writes r as ParseResult reads it, in at most MaxResultSize bytes: texts become one line, and where all would be
// too long, the message loses its middle (what went wrong is at its end, where at its start), then the hint, then labels.
// An empty Version becomes ours.
func (r Result) Encode() []byte {
	if r.Version == "" {
		r.Version = Version
	}
	r.Message, r.Hint = oneLine(r.Message), oneLine(r.Hint)
	r.Labels = maps.Clone(r.Labels)
	for {
		b := r.marshal()
		over := len(b) - MaxResultSize
		if over <= 0 {
			return b
		}
		switch {
		case len(r.Message) > shortest:
			r.Message = shorten(r.Message, over)
		case len(r.Hint) > shortest:
			r.Hint = shorten(r.Hint, over)
		case len(r.Labels) > 0:
			delete(r.Labels, longest(r.Labels))
		case len(r.Reason) > shortest: // all the rest is ours, and short
			r.Reason = shorten(r.Reason, over)
		default:
			r.Format, r.Codec, r.Route, r.Digest = "", "", "", ""
		}
	}
}

func (r Result) marshal() []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // it would take six bytes for one
	if err := e.Encode(r); err != nil {
		// Only a float that is no number can do this.
		r.Seconds = 0
		b.Reset()
		_ = e.Encode(r)
	}
	return bytes.TrimSpace(b.Bytes())
}

// shortest is what a text may keep: it takes at most six bytes a byte in JSON.
const shortest = 120

// shorten takes out at least n bytes, or so many that shortest are left, a little before the end.
func shorten(s string, n int) string {
	const gap = "…"
	keep := max(shortest-len(gap), len(s)-n-len(gap))
	head, tail := keep*2/3, keep-keep*2/3
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	from := len(s) - tail
	for from < len(s) && !utf8.RuneStart(s[from]) {
		from++
	}
	return s[:head] + gap + s[from:]
}

func longest(m map[string]string) string {
	return slices.MaxFunc(slices.Sorted(maps.Keys(m)), func(a, b string) int { return len(a) + len(m[a]) - len(b) - len(m[b]) })
}

// oneLine makes text from anywhere fit for a condition, an event or a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) || r == utf8.RuneError:
			return '?'
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// sentinels are the errors behind the reasons of errdef's table.
var sentinels = []error{
	errdef.ErrUsage, errdef.ErrNotFound, errdef.ErrUnauthorized, errdef.ErrUnsupported, errdef.ErrDigestMismatch, errdef.ErrTooSmall,
	errdef.ErrLimit, errdef.ErrScratchNeeded, errdef.ErrChanged, errdef.ErrBusy, errdef.ErrExists, errdef.ErrRefused,
	errdef.ErrUnavailable, errdef.ErrTimeout, context.Canceled,
}

// Err is nil for a success, else an error with r's message and hint that is (errors.Is) a sentinel of r's reason: what
// a caller in the same process would have got.
func (r Result) Err() error {
	if r.Outcome == Succeeded {
		return nil
	}
	e := resultError{text: r.Message}
	if e.text == "" {
		e.text = r.Reason
	}
	for _, s := range sentinels {
		if errdef.Reason(s) == r.Reason {
			e.is = s
		}
	}
	if r.Hint == "" {
		return e
	}
	return errdef.WithHint(e, r.Hint)
}

type resultError struct {
	text string
	is   error
}

func (e resultError) Error() string { return e.text }
func (e resultError) Unwrap() error { return e.is }
