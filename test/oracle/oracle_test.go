// Package oracle compares what cdictl makes of every kind of qcow2 file with what qemu-img makes of it: through a file,
// http with and without ranges, and each codec, with and without a checksum. `go test -v ./test/oracle` prints the
// table of digests.
package oracle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

const (
	virtual = 256 << 20
	data    = 16 << 20 // what bzip2 can take 16 times in a minute; L2 tables and refcounts are the same as for more
	seed    = 20
)

// channels are the ways an image comes to cdictl: the table's columns.
var channels = []channel{
	{name: "file"},
	{name: "http ranges", base: "ranges"},
	{name: "http plain", base: "plain"},
	{name: "file+sum", checksum: true},
	{name: "ranges+sum", base: "ranges", checksum: true},
	{name: "plain+sum", base: "plain", checksum: true},
	{name: "stdin", base: "stdin"},
	{name: "gz", codec: "gz"},
	{name: "xz", codec: "xz"},
	{name: "zst", codec: "zst"},
	{name: "bz2", codec: "bz2"},
}

type channel struct {
	name     string
	base     string // the server's prefix; empty: the path itself. A codec alternates between all three
	codec    string
	checksum bool
}

type suite struct {
	bin, dir string
	server   *web.Server
	table    *report.Table
}

// TestDigests is the table: one row per disk, one column per channel, and qemu-img's digest before them all.
func TestDigests(t *testing.T) {
	proc.Need(t, "qemu-img", "qemu-io", "gzip", "xz", "zstd", "bzip2")
	begin := time.Now()
	dir := t.TempDir()
	mux := http.NewServeMux()
	mux.Handle("/ranges/", web.Ranges(dir))
	mux.Handle("/plain/", web.Plain(dir))
	s := &suite{bin: proc.TestBinary(t), dir: dir, server: web.Start(t, mux), table: &report.Table{
		Title:  "SHA-256 of the disk, first 12 digits: qemu-img's, then ours by the way the image came",
		Header: []string{"image", "disk", "qemu-img"},
	}}
	for _, c := range channels {
		s.table.Header = append(s.table.Header, c.name)
	}
	raw := filepath.Join(dir, "content.raw")
	if err := images.Raw(raw, virtual, data, seed); err != nil {
		t.Fatal(err)
	}
	rows := make([][][]string, len(images.Kinds))
	t.Run("kind", func(t *testing.T) {
		for i, kind := range images.Kinds {
			t.Run(kind.Name, func(t *testing.T) {
				t.Parallel()
				var err error
				if rows[i], err = s.kind(t.Context(), i, kind, raw); err != nil {
					t.Fatal(err)
				}
			})
		}
	})
	for _, row := range slices.Concat(rows...) {
		s.table.Row(row...)
	}
	s.table.Print(os.Stdout)
	fmt.Printf("(%.0f s)\n", time.Since(begin).Seconds())
	if n := s.table.Failed(); n > 0 {
		t.Fatalf("%d of the digests differ", n)
	}
}

// kind makes one image and its compressed forms and returns a row for each of its disks. An error means that the test
// could not be made, not that it failed.
func (s *suite) kind(ctx context.Context, turn int, kind images.Qcow2, raw string) (rows [][]string, err error) {
	path, err := kind.Make(ctx, raw, s.dir)
	if err != nil {
		return nil, err
	}
	target := filepath.Join(s.dir, kind.Name+".ours.raw")
	stored := map[string]string{"": path}
	for codec := range images.Codecs {
		stored[codec] = path + "." + codec
		if err := images.Compress(ctx, codec, path, stored[codec]); err != nil {
			return nil, err
		}
	}
	for _, snapshot := range append([]string{""}, kind.Snapshots...) {
		want, err := images.Oracle(ctx, path, snapshot)
		if err != nil {
			return nil, err
		}
		disk := "active"
		if snapshot != "" {
			disk = "snapshot " + snapshot
		}
		cells := []string{kind.Name, disk, want[:12]}
		for column, c := range channels {
			got, problem := s.cell(ctx, c, stored[c.codec], target, snapshot, turn+column)
			if problem == nil && got != want {
				problem = fmt.Errorf("digest %s, qemu-img's is %s", got, want)
				got = "≠" + got
			}
			s.table.Count(kind.Name+" "+disk+" "+c.name, problem)
			cells = append(cells, got[:min(12, len(got))])
		}
		rows = append(rows, cells)
	}
	for _, p := range append(slices.Collect(maps.Values(stored)), target) {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
	}
	return rows, nil
}

// cell imports one stored file by one channel and returns the disk's digest, or what to show instead.
func (s *suite) cell(ctx context.Context, c channel, stored, target, snapshot string, turn int) (string, error) {
	from := stored
	base := c.base
	if c.codec != "" {
		base = []string{"", "ranges", "plain"}[turn%3]
	}
	switch base {
	case "":
	case "stdin":
		from = "-"
	default:
		from = s.server.URL + "/" + base + "/" + filepath.Base(stored)
	}
	args := []string{s.bin, "import", from, target, "--force", "--progress", "none", "-o", "json"}
	if snapshot != "" {
		args = append(args, "--snapshot", snapshot)
	}
	if c.checksum {
		sum, err := images.SHA256(stored)
		if err != nil {
			return "no digest", err
		}
		args = append(args, "--checksum", "sha256:"+sum)
	}
	cmd := proc.Command{Args: args}
	if from == "-" {
		f, err := os.Open(stored)
		if err != nil {
			return "no image", err
		}
		defer f.Close()
		cmd.Stdin = io.MultiReader(f) // a pipe, not the file
	}
	r, err := proc.Run(ctx, cmd)
	if err != nil {
		return "no start", err
	}
	if r.Exit != 0 {
		return fmt.Sprintf("exit %d", r.Exit), fmt.Errorf("exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	}
	if err := checkRoute(c, base, r.Stdout); err != nil {
		return "route", err
	}
	got, err := images.SHA256(target)
	if err != nil {
		return "no target", err
	}
	return got, nil
}

// checkRoute holds the promise that a source with random access is never spooled, with a checksum or without, and that
// of a stream no more is held than what is promised.
func checkRoute(c channel, base, out string) error {
	var res struct {
		Format, Codec, Route string
		BytesSpooled         int64
		BytesHeldMax         int64
	}
	if err := json.Unmarshal([]byte(out), &res); err != nil {
		return fmt.Errorf("result: %w", err)
	}
	if res.Format != "qcow2" {
		return fmt.Errorf("result: format %q", res.Format)
	}
	if (res.Codec == "") != (c.codec == "") {
		return fmt.Errorf("result: codec %q for %q", res.Codec, c.codec)
	}
	if c.codec != "" || base == "plain" || base == "stdin" {
		if res.Route != "stream-convert" || res.BytesHeldMax > 16<<20 {
			return fmt.Errorf("result: route %s with %d bytes held", res.Route, res.BytesHeldMax)
		}
		return nil
	}
	want := "direct"
	if c.checksum {
		want = "hashed"
	}
	if res.Route != want || res.BytesSpooled != 0 {
		return fmt.Errorf("result: route %s with %d bytes spooled, want %s with none", res.Route, res.BytesSpooled, want)
	}
	return nil
}
