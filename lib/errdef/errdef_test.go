package errdef

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// byName are the names that docs/errors.md uses for what a caller may branch on.
var byName = map[string]error{
	"ErrUsage": ErrUsage, "ErrNotFound": ErrNotFound, "ErrUnauthorized": ErrUnauthorized, "ErrCorrupt": ErrCorrupt,
	"ErrUnsupported": ErrUnsupported, "ErrDigestMismatch": ErrDigestMismatch, "ErrTooSmall": ErrTooSmall,
	"ErrNoSpace": ErrNoSpace, "ErrLimit": ErrLimit, "ErrScratchNeeded": ErrScratchNeeded, "ErrChanged": ErrChanged,
	"ErrBusy": ErrBusy, "ErrExists": ErrExists, "ErrRefused": ErrRefused, "ErrUnavailable": ErrUnavailable,
	"ErrTimeout": ErrTimeout, "context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
	"fs.ErrNotExist": fs.ErrNotExist, "ENOSPC": syscall.ENOSPC, "EDQUOT": syscall.EDQUOT, "(other)": errors.New("something else"),
}

// The table for people says what Classify does, row by row, and has every sentinel exactly once.
func TestDocumentIsTheTable(t *testing.T) {
	doc, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`^\| (\d+) \| ([A-Za-z–]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$`)
	quoted := regexp.MustCompile("`([^`]+)`|(\\(other\\))")
	seen := map[string]bool{}
	for line := range strings.Lines(string(doc)) {
		cells := row.FindStringSubmatch(strings.TrimSpace(line))
		if cells == nil || cells[1] == "0" {
			continue
		}
		exit, _ := strconv.Atoi(cells[1])
		names := quoted.FindAllStringSubmatch(cells[3], -1)
		if len(names) == 0 {
			t.Errorf("exit %d names no error", exit)
		}
		for _, m := range names {
			name := m[1] + m[2]
			if byName[name] == nil {
				t.Errorf("exit %d names %s, which does not exist", exit, name)
				continue
			}
			if seen[name] {
				t.Errorf("%s occurs twice", name)
			}
			seen[name] = true
			got := Classify(fmt.Errorf("wrapped: %w", byName[name]))
			if got.ExitCode != exit || got.Reason != cells[2] || string(got.Retry) != cells[4] {
				t.Errorf("%s: the document has %d %s %q, Classify %d %s %q", name, exit, cells[2], cells[4], got.ExitCode, got.Reason, got.Retry)
			}
		}
	}
	for name := range byName {
		if !seen[name] {
			t.Errorf("%s is not in the document", name)
		}
	}
}

// What several sentinels match is told by the one that says most.
func TestClassifyOrder(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want int
	}{
		{"nil", nil, 0},
		{"canceled while the server was down", fmt.Errorf("%w: %w", ErrUnavailable, context.Canceled), 130},
		{"wrong digest of a corrupt image", errors.Join(ErrCorrupt, ErrDigestMismatch), 13},
		{"corrupt because it changed", errors.Join(ErrCorrupt, ErrChanged), 17},
		{"deadline while retrying", fmt.Errorf("%w: %w", ErrUnavailable, context.DeadlineExceeded), 22},
		{"no space, by the system", &fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}, 14},
		{"no file, by the system", &fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}, 10},
		{"inside an Error", &Error{Op: "open", Err: ErrBusy}, 18},
		{"under a hint", WithHint(ErrLimit, "raise it"), 15},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := Classify(tt.err)
			if c.ExitCode != tt.want || ExitCode(tt.err) != tt.want || Reason(tt.err) != c.Reason {
				t.Errorf("Classify = %+v, ExitCode %d, Reason %s; want %d", c, ExitCode(tt.err), Reason(tt.err), tt.want)
			}
		})
	}
}

// Two sentinels must not be told by one another: each has its own identity.
func TestSentinelsAreDistinct(t *testing.T) {
	for a, ea := range byName {
		for b, eb := range byName {
			same := errors.Is(ea, eb)
			if same != (a == b) && !(errors.Is(ea, fs.ErrNotExist) && errors.Is(eb, fs.ErrNotExist)) {
				t.Errorf("errors.Is(%s, %s) = %v", a, b, same)
			}
		}
	}
}

func TestErrorText(t *testing.T) {
	cause := errors.New("why")
	for want, e := range map[string]*Error{
		"open source https://h/x: why": {Op: "open", Side: Source, Name: "https://h/x", Err: cause},
		"write target disk.img: why":   {Op: "write", Side: Target, Name: "disk.img", Err: cause, Hint: "not shown"},
		"plan: why":                    {Op: "plan", Err: cause},
	} {
		if diff := cmp.Diff(want, e.Error()); diff != "" {
			t.Error(diff)
		}
		if !errors.Is(e, cause) {
			t.Errorf("%v does not unwrap to its cause", e)
		}
	}
}

func TestHint(t *testing.T) {
	plain := errors.New("plain")
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"nil", nil, ""},
		{"none", plain, ""},
		{"WithHint", WithHint(plain, "a"), "a"},
		{"wrapped", fmt.Errorf("x: %w", WithHint(plain, "a")), "a"},
		{"Error", &Error{Op: "o", Err: plain, Hint: "a"}, "a"},
		{"Error without, hint below", &Error{Op: "o", Err: WithHint(plain, "a")}, "a"},
		{"the outermost: WithHint around Error", WithHint(&Error{Op: "o", Err: plain, Hint: "inner"}, "outer"), "outer"},
		{"the outermost: Error around WithHint", &Error{Op: "o", Err: WithHint(plain, "inner"), Hint: "outer"}, "outer"},
		{"two Errors", &Error{Op: "o", Err: &Error{Op: "p", Err: WithHint(plain, "inner"), Hint: "outer"}}, "outer"},
		{"in a join", errors.Join(plain, WithHint(plain, "a")), "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := Hint(tt.err); got != tt.want {
				t.Errorf("Hint = %q, want %q", got, tt.want)
			}
		})
	}
	if WithHint(nil, "a") != nil {
		t.Error("WithHint(nil) is an error")
	}
	if got := WithHint(plain, "a").Error(); got != "plain" {
		t.Errorf("a hint changed the message: %q", got)
	}
}
