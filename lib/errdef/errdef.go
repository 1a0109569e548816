// Package errdef defines the errors a caller may branch on, what they mean for an exit code and a condition, and the
// struct that says where something went wrong and what to do about it. docs/errors.md is the same table for people.
package errdef

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
)

// Sentinels; compare with errors.Is.
var (
	ErrUsage          = errors.New("invalid usage")
	ErrNotFound       = errors.New("not found")
	ErrUnauthorized   = errors.New("unauthorized")
	ErrCorrupt        = errors.New("corrupt")
	ErrUnsupported    = errors.New("unsupported")
	ErrDigestMismatch = errors.New("digest mismatch")
	ErrTooSmall       = errors.New("too small")
	ErrNoSpace        = errors.New("no space left")
	ErrLimit          = errors.New("limit exceeded")
	ErrScratchNeeded  = errors.New("scratch space needed")
	ErrChanged        = errors.New("changed while reading")
	ErrBusy           = errors.New("busy")
	ErrExists         = errors.New("already exists")
	ErrRefused        = errors.New("refused by policy")
	ErrUnavailable    = errors.New("unavailable")
	ErrTimeout        = errors.New("timed out")
)

// Retry says when another try may help.
type Retry string

// When another try may help.
const (
	RetryNever   Retry = "no"
	RetrySoon    Retry = "yes"
	RetrySlowly  Retry = "slowly"
	RetryOnInput Retry = "when its input changes"
	RetryScratch Retry = "with scratch"
)

// Class is one row of the table: what an error means to a shell, a condition and a controller.
type Class struct {
	ExitCode int
	Reason   string
	Retry    Retry
}

// Classify returns the class of err; the zero Class (exit 0) for nil. The most specific sentinel in the chain wins; the
// first row that matches is taken, so cancellation comes before what it caused.
func Classify(err error) Class {
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return Class{}
	case is(context.Canceled):
		return Class{130, "Canceled", RetrySoon}
	case is(ErrUsage):
		return Class{2, "InvalidSpec", RetryNever}
	case is(ErrDigestMismatch):
		return Class{13, "DigestMismatch", RetryNever}
	case is(ErrChanged):
		return Class{17, "SourceChanged", RetrySoon}
	case is(ErrTooSmall, ErrNoSpace, syscall.ENOSPC, syscall.EDQUOT):
		return Class{14, "TargetTooSmall", RetryOnInput}
	case is(ErrLimit):
		return Class{15, "LimitExceeded", RetryNever}
	case is(ErrScratchNeeded):
		return Class{16, "ScratchNeeded", RetryScratch}
	case is(ErrRefused):
		return Class{20, "PolicyRefused", RetryNever}
	case is(ErrUnauthorized):
		return Class{11, "SourceUnauthorized", RetryOnInput}
	case is(ErrBusy):
		return Class{18, "TargetBusy", RetrySoon}
	case is(ErrExists):
		return Class{19, "TargetExists", RetryNever}
	case is(ErrTimeout, context.DeadlineExceeded):
		return Class{22, "DeadlineExceeded", RetrySoon}
	case is(ErrUnavailable):
		return Class{21, "SourceUnavailable", RetrySoon}
	case is(ErrCorrupt, ErrUnsupported):
		return Class{12, "InvalidImage", RetryNever}
	case is(ErrNotFound, fs.ErrNotExist):
		return Class{10, "SourceNotFound", RetrySlowly}
	}
	return Class{1, "ImportFailed", RetrySoon}
}

// ExitCode is Classify(err).ExitCode.
func ExitCode(err error) int { return Classify(err).ExitCode }

// Reason is Classify(err).Reason: a condition's reason in CamelCase.
func Reason(err error) string { return Classify(err).Reason }

// Side says which end of a transfer an error belongs to.
type Side string

// The two ends.
const (
	Source Side = "source"
	Target Side = "target"
)

// Error says what was done (Op, a verb: "open", "read", "decode", "write", …), to which side, by which name (never with
// credentials), why it went wrong, and what the user can do (Hint, one line, may be empty).
type Error struct {
	Op   string
	Side Side
	Name string
	Err  error
	Hint string
}

// Error is "op side name: cause".
func (e *Error) Error() string {
	s := e.Op
	if e.Side != "" {
		s += " " + string(e.Side)
	}
	if e.Name != "" {
		s += " " + e.Name
	}
	return s + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }

// hinted carries a hint without adding to the message.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }

// WithHint attaches a one-line hint to err and leaves its message alone; nil stays nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return hinted{err, hint}
}

// Hint returns the outermost hint in err's chain, or "".
func Hint(err error) string {
	for err != nil {
		var h hinted
		var e *Error
		switch {
		case errors.As(err, &e) && e.Hint != "":
			return e.Hint
		case errors.As(err, &h):
			return h.hint
		case e != nil:
			err = e.Err
		default:
			return ""
		}
	}
	return ""
}
