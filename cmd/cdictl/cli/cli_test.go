package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/lib/errdef"
)

func newApp() *app {
	return &app{in: os.Stdin, out: os.Stdout, talk: os.Stderr, defaultConfigDir: configDir}
}

// The table in help and the one in errdef are the same.
func TestExitStatuses(t *testing.T) {
	want := map[int]bool{0: true}
	for _, err := range []error{fmt.Errorf("other"), errdef.ErrUsage, errdef.ErrNotFound, errdef.ErrUnauthorized, errdef.ErrCorrupt,
		errdef.ErrUnsupported, errdef.ErrDigestMismatch, errdef.ErrTooSmall, errdef.ErrNoSpace, errdef.ErrLimit, errdef.ErrScratchNeeded,
		errdef.ErrChanged, errdef.ErrBusy, errdef.ErrExists, errdef.ErrRefused, errdef.ErrUnavailable, errdef.ErrTimeout, context.Canceled} {
		want[errdef.ExitCode(err)] = true
	}
	got := map[int]bool{}
	last := -1
	for _, e := range exitStatuses {
		got[e.code] = true
		if e.code <= last || e.meaning == "" {
			t.Errorf("code %d: out of order, or without meaning", e.code)
		}
		last = e.code
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every command can be looked up, and every flag says what it is.
func TestEveryCommandHasHelp(t *testing.T) {
	var look func(*cobra.Command)
	look = func(c *cobra.Command) {
		if c.Name() != "help" && (c.Example == "" || c.Long == "" || c.Short == "" || strings.HasSuffix(c.Short, ".")) {
			t.Errorf("%s lacks a description or examples, or its short one ends in a dot", c.CommandPath())
		}
		if strings.Contains(c.Example, "%") {
			t.Errorf("%s: the name is not filled in: %s", c.CommandPath(), c.Example)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" || strings.HasSuffix(f.Usage, ".") {
				t.Errorf("%s --%s: usage %q", c.CommandPath(), f.Name, f.Usage)
			}
		})
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(newApp().root())
}

// docs/cli is what the hidden docs command writes; make docs writes it anew.
func TestReferenceIsUpToDate(t *testing.T) {
	const dir = "../../../docs/cli"
	pages := 0
	for _, c := range visible(newApp().root()) {
		path := filepath.Join(dir, pageName(c, "_")+".md")
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(markdown(c), string(got)); diff != "" {
			t.Errorf("%s is old (-want +got); go run ./cmd/cdictl docs --format markdown docs/cli\n%s", path, diff)
		}
		pages++
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != pages {
		t.Errorf("%s has %d files for %d pages (%v)", dir, len(files), pages, err)
	}
}

func TestFileName(t *testing.T) {
	for src, want := range map[string]string{
		"-": "", "a.img": "a.img", "/x/a.img": "a.img", "./a b.img": "a b.img",
		"https://h/x/a.img": "a.img", "https://h/x/a.img?sig=1&x=/b.img": "a.img", "https://h/a%20b.img": "a b.img",
		"https://u:p@h/a.img#b": "a.img", "https://h": "", "https://h/": "", "file:///x/a.img": "a.img", "https://h/%zz": "",
	} {
		if got := fileName(src); got != want {
			t.Errorf("%s: got %q, want %q", src, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                        "plain",
		"two\nlines\r\n":               "two lines",
		"\x1b[31mred\x07":              "?[31mred?",
		"größer als … ist\tgut":        "größer als … ist gut",
		"bidi \u202e override":         "bidi ? override",
		"broken \xff\xfe bytes":        "broken \ufffd\ufffd bytes",
		strings.Repeat("\n", 3) + "ok": "ok",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	for _, tt := range []struct{ live, want int64 }{
		{0, softLimit}, {30 << 20, softLimit}, {40 << 20, softLimit}, {64 << 20, 88 << 20}, {65 << 20, 96 << 20}, {200 << 20, 224 << 20},
	} {
		if got := memoryLimit(tt.live); got != tt.want {
			t.Errorf("live %d: got %d, want %d", tt.live, got, tt.want)
		}
	}
}

func TestProgram(t *testing.T) {
	for in, want := range map[string]string{"/usr/bin/cdictl": "cdictl", "kubectl-cdi.exe": plugin, "./KUBECTL-CDI.EXE": plugin, "": "."} {
		if got := program(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestHeaders(t *testing.T) {
	h, err := headers("--header", []string{"A: 1", " b :2 ", "", "A:3", "Empty:"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string][]string{"A": {"1", "3"}, "B": {"2"}, "Empty": {""}}, map[string][]string(h)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := headers("--header", []string{"A: 1", "hunter2"}); errdef.ExitCode(err) != 2 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestWrap(t *testing.T) {
	got := wrap("one two\nthree four\n\nfive", 9)
	if want := "one two\nthree\nfour\n\nfive"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
