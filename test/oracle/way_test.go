package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// ways are those that an image comes to cdictl: the table's columns.
var ways = []way{
	{name: "file", base: "file"},
	{name: "http ranges", base: "ranges"},
	{name: "http plain", base: "plain"},
	{name: "file+sum", base: "file", checksum: true},
	{name: "ranges+sum", base: "ranges", checksum: true},
	{name: "plain+sum", base: "plain", checksum: true},
	{name: "stdin", base: "stdin"},
	{name: "gz", packed: "gz"},
	{name: "xz", packed: "xz"},
	{name: "zst", packed: "zst"},
	{name: "bz2", packed: "bz2"},
	{name: "ova", packed: "ova", base: "file"},
	{name: "ova ranges", packed: "ova", base: "ranges"},
	{name: "ova plain", packed: "ova", base: "plain"},
	{name: "ova stdin", packed: "ova", base: "stdin"},
	{name: "ova.gz", packed: "ova.gz", base: "stdin"},
}

type way struct {
	name     string
	packed   string // one of forms.stored
	base     string // file, ranges, plain, stdin; empty: from row to row another of the first three
	checksum bool
}

// What a cell has instead of a digest.
const (
	refused = "refused"
	absent  = "–" // an OVF package for a kind that nobody has in one
)

func (w way) stream() bool {
	return w.base == "plain" || w.base == "stdin" || w.packed != "" && w.packed != "ova"
}

// refuses says which ways cannot be: nothing is beside a stream or a member of an archive, and a checksum of a
// descriptor covers no disk.
func (w way) refuses(k images.Kind) bool {
	return k.Refused || k.Many && (w.packed != "" || w.stream() || w.checksum)
}

// cell imports one stored form by one way and returns what to show.
func (s *suite) cell(ctx context.Context, f forms, w way, snapshot, want string, turn int) string {
	stored, ok := f.stored[w.packed]
	if !ok {
		return absent
	}
	if w.base == "" {
		w.base = []string{"file", "ranges", "plain"}[turn%3]
	}
	got, err := s.get(ctx, f, w, stored, snapshot)
	switch no := w.refuses(f.kind); {
	case no && got == "exit 12", no && w.checksum && got == "exit 2":
		got, err = refused, nil
	case no && err == nil:
		got, err = "≠"+got, fmt.Errorf("digest %s of what must be refused", got)
	case err == nil && got != want:
		got, err = "≠"+got, fmt.Errorf("digest %s, want %s", got, want)
	}
	s.table.Count(filepath.Base(stored)+" "+snapshot+" "+w.name, err)
	return got
}

// get imports and returns the disk's digest, or what went wrong in a word and in whole.
func (s *suite) get(ctx context.Context, f forms, w way, stored, snapshot string) (string, error) {
	cmd := proc.Command{Args: []string{s.bin, "import", stored, f.target, "--force", "--progress", "none", "-o", "json"}}
	switch w.base {
	case "file":
	case "stdin":
		in, err := os.Open(stored)
		if err != nil {
			return "no image", err
		}
		defer in.Close()
		cmd.Args[2], cmd.Stdin = "-", io.MultiReader(in) // a pipe, not the file
	default:
		rel, err := filepath.Rel(s.dir, stored)
		if err != nil {
			return "no image", err
		}
		cmd.Args[2] = s.server.URL + "/" + w.base + "/" + rel
	}
	if snapshot != "" {
		cmd.Args = append(cmd.Args, "--snapshot", snapshot)
	}
	if w.checksum {
		sum, err := images.SHA256(stored)
		if err != nil {
			return "no digest", err
		}
		cmd.Args = append(cmd.Args, "--checksum", "sha256:"+sum)
	}
	r, err := proc.Run(ctx, cmd)
	if err != nil {
		return "no start", err
	}
	if r.Exit != 0 {
		return fmt.Sprintf("exit %d", r.Exit), fmt.Errorf("exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	}
	if err := w.check(f.kind, r.Stdout); err != nil {
		return "route", fmt.Errorf("result: %w", err)
	}
	got, err := images.SHA256(f.target)
	if err != nil {
		return "no target", err
	}
	return got, nil
}

// check holds the promises about the way: random access is used where there is some; a stream is placed as it comes, with
// little of it held; nothing is spooled.
func (w way) check(k images.Kind, out string) error {
	var res struct {
		Format, Codec, Route               string
		Passes, BytesSpooled, BytesHeldMax int64
	}
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		return err
	}
	codec := w.packed != "" && w.packed != "ova"
	route := "direct"
	switch {
	case k.InOrder && (w.base != "file" || w.checksum || w.stream()):
		route = "stream"
	case w.stream():
		route = "stream-convert"
	case w.checksum || w.packed == "ova": // the package's manifest has one
		route = "hashed"
	}
	switch {
	case res.Format != k.Format:
		return fmt.Errorf("format %q", res.Format)
	case (res.Codec != "") != codec:
		return fmt.Errorf("codec %q", res.Codec)
	case res.Route != route:
		return fmt.Errorf("route %s, want %s", res.Route, route)
	case res.BytesSpooled != 0 || res.BytesHeldMax > 16<<20 || res.Passes > 1:
		return fmt.Errorf("%d bytes spooled, %d held, %d passes", res.BytesSpooled, res.BytesHeldMax, res.Passes)
	}
	return nil
}
