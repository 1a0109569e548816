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
	Hint     string // what to do where the error itself does not say
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
		return Class{130, "Canceled", RetrySoon, "nothing was left at the target; run the same command to start again"}
	case is(ErrUsage):
		return Class{2, "InvalidSpec", RetryNever, "see --help"}
	case is(ErrDigestMismatch):
		return Class{13, "DigestMismatch", RetryNever, "the download is damaged, or the checksum belongs to another file; nothing was written"}
	case is(ErrChanged):
		return Class{17, "SourceChanged", RetrySoon, "the source was replaced while it was read; run again to read the new content from the start"}
	case is(ErrTooSmall, ErrNoSpace, syscall.ENOSPC, syscall.EDQUOT):
		return Class{14, "TargetTooSmall", RetryOnInput, "free some space, or choose a larger target"}
	case is(ErrLimit):
		return Class{15, "LimitExceeded", RetryNever, "if the image is trusted, raise the limit that the message names"}
	case is(ErrScratchNeeded):
		return Class{16, "ScratchNeeded", RetryScratch, "name a folder with room for the image: --scratch DIR"}
	case is(ErrRefused):
		return Class{20, "PolicyRefused", RetryNever, "this is refused for safety; fetch the file another way if you trust it"}
	case is(ErrUnauthorized):
		return Class{11, "SourceUnauthorized", RetryOnInput, "check user, password, token or client certificate"}
	case is(ErrBusy):
		return Class{18, "TargetBusy", RetrySoon, "wait for the other writer to end, or choose another target"}
	case is(ErrExists):
		return Class{19, "TargetExists", RetryNever, "choose another name, or overwrite it with --force"}
	case is(ErrTimeout, context.DeadlineExceeded):
		return Class{22, "DeadlineExceeded", RetrySoon, "allow more time, or try again when the source is faster"}
	case is(ErrUnavailable):
		return Class{21, "SourceUnavailable", RetrySoon, "check the network and the server, then run again"}
	case is(ErrCorrupt, ErrUnsupported):
		return Class{12, "InvalidImage", RetryNever, "compare the file with its checksum, or convert it with the tool that made it"}
	case is(ErrNotFound, fs.ErrNotExist):
		return Class{10, "SourceNotFound", RetrySlowly, "check the name"}
	}
	return Class{1, "ImportFailed", RetrySoon, ""}
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

// Hint returns the outermost hint in err's chain, or its class's.
func Hint(err error) string {
	if h := ownHint(err); h != "" {
		return h
	}
	return Classify(err).Hint
}

func ownHint(err error) string {
	//nolint:errorlint // this is a walk over the tree of wrapped errors, from the outside in
	switch e := err.(type) {
	case *Error:
		if e.Hint != "" {
			return e.Hint
		}
	case hinted:
		return e.hint
	}
	switch e := err.(type) { //nolint:errorlint // as above
	case interface{ Unwrap() error }:
		return ownHint(e.Unwrap())
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			if h := ownHint(err); h != "" {
				return h
			}
		}
	}
	return ""
}
