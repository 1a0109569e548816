package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/report"
	"github.com/cdictl/cdictl/test/internal/web"
)

// vmdkChannels are the ways a VMDK comes to cdictl; with ova the disk lies in an OVF package.
var vmdkChannels = []struct {
	name, base, codec string
	ova               bool
}{
	{name: "file"},
	{name: "http ranges", base: "ranges"},
	{name: "http plain", base: "plain"},
	{name: "stdin", base: "stdin"},
	{name: "gz", codec: "gz"},
	{name: "xz", codec: "xz", base: "ranges"},
	{name: "zst", codec: "zst", base: "plain"},
	{name: "ova", ova: true},
	{name: "ova ranges", ova: true, base: "ranges"},
	{name: "ova plain", ova: true, base: "plain"},
	{name: "ova stdin", ova: true, base: "stdin"},
	{name: "ova gz", ova: true, codec: "gz", base: "stdin"},
}

// TestVMDK is the table of VMDK: one row per kind, one column per channel. A disk that lies in several files can be read
// where these can be reached, and is refused elsewhere.
func TestVMDK(t *testing.T) {
	proc.Need(t, "qemu-img", "gzip", "xz", "zstd")
	dir := t.TempDir()
	mux := http.NewServeMux()
	mux.Handle("/ranges/", web.Ranges(dir))
	mux.Handle("/plain/", web.Plain(dir))
	s := &suite{bin: proc.TestBinary(t), dir: dir, server: web.Start(t, mux), table: &report.Table{
		Title:  "SHA-256 of the disk, first 12 digits: qemu-img's, then ours by the way the VMDK came",
		Header: []string{"VMDK", "qemu-img"},
	}}
	for _, c := range vmdkChannels {
		s.table.Header = append(s.table.Header, c.name)
	}
	raw := filepath.Join(dir, "content.raw")
	if err := images.Raw(raw, virtual/4, data/4, seed); err != nil {
		t.Fatal(err)
	}
	for _, kind := range images.VMDKs {
		row, err := s.vmdk(t.Context(), kind, raw)
		if err != nil {
			t.Fatal(err)
		}
		s.table.Row(row...)
	}
	s.table.Print(os.Stdout)
	if n := s.table.Failed(); n > 0 {
		t.Fatalf("%d of the cells are not as specified", n)
	}
}

// vmdk makes one kind and returns its row.
func (s *suite) vmdk(ctx context.Context, kind images.VMDK, raw string) ([]string, error) {
	path, err := kind.Make(ctx, raw, s.dir)
	if err != nil {
		return nil, err
	}
	want := "refused"
	if !kind.Refused {
		if want, err = kind.Oracle(ctx, path); err != nil {
			return nil, err
		}
	}
	ova := filepath.Join(s.dir, kind.Name+".ova")
	if err := images.OVA(path, ova); err != nil {
		return nil, err
	}
	row := []string{kind.Name, want[:min(12, len(want))]}
	for _, c := range vmdkChannels {
		stored := path
		if c.ova {
			stored = ova
		}
		if c.codec != "" {
			plain := stored
			stored += "." + c.codec
			if err := images.Compress(ctx, c.codec, plain, stored); err != nil {
				return nil, err
			}
		}
		refused := kind.Refused || kind.Many && (c.ova || c.codec != "" || c.base == "plain" || c.base == "stdin")
		got, problem := s.vmdkCell(ctx, kind.Name, c.base, stored)
		switch {
		case refused && got == "exit 12":
			got, problem = "refused", nil
		case problem == nil && (refused || got != want):
			problem = fmt.Errorf("digest %s, qemu-img's is %s, refused: %v", got, want, refused)
			got = "≠" + got
		}
		s.table.Count(kind.Name+" "+c.name, problem)
		row = append(row, got[:min(12, len(got))])
	}
	return row, nil
}

// vmdkCell imports one stored file and returns the disk's digest, or what to show instead.
func (s *suite) vmdkCell(ctx context.Context, kind, base, stored string) (string, error) {
	target := filepath.Join(s.dir, kind+".ours.raw")
	from := stored
	cmd := proc.Command{}
	switch base {
	case "":
	case "stdin":
		f, err := os.Open(stored)
		if err != nil {
			return "no image", err
		}
		defer f.Close()
		from, cmd.Stdin = "-", io.MultiReader(f) // a pipe, not the file
	default:
		from = s.server.URL + "/" + base + "/" + filepath.Base(stored)
	}
	cmd.Args = []string{s.bin, "import", from, target, "--force", "--progress", "none", "-o", "json"}
	r, err := proc.Run(ctx, cmd)
	if err != nil {
		return "no start", err
	}
	if r.Exit != 0 {
		return fmt.Sprintf("exit %d", r.Exit), fmt.Errorf("exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	}
	var res struct {
		Format       string
		BytesSpooled int64
		BytesHeldMax int64
		Passes       int
	}
	if err := json.Unmarshal([]byte(r.Stdout), &res); err != nil {
		return "result", fmt.Errorf("result: %w", err)
	}
	if res.Format != "vmdk" || res.BytesSpooled != 0 || res.BytesHeldMax > 16<<20 || res.Passes > 1 {
		return "result", fmt.Errorf("result: %+v", res)
	}
	got, err := images.SHA256(target)
	if err != nil {
		return "no target", err
	}
	return got, nil
}
