package importer_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
)

// TestStreamConvert reads every sort of qcow2 as a stream with little memory: once where it can be had again, once with a
// spool, once with neither.
func TestStreamConvert(t *testing.T) {
	const hold = 128 << 10
	few := []string{"zlib", "zstd-512", "extended-l2-life", "snapshot-zlib", "resized-life"}
	passes, spools, refused := 0, 0, 0
	for _, c := range testimage.Qcow2Cases() {
		if testing.Short() && !slices.Contains(few, c.Name) || c.Name == "sparse-1g" {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			dir := t.TempDir()
			path := testimage.Make(t, dir, c)
			if err := testimage.Raw(t.Context(), path, filepath.Join(dir, "want"), c.OracleArgs()...); err != nil {
				t.Fatal(err)
			}
			q, want := read(t, path), read(t, filepath.Join(dir, "want"))
			for name, src := range map[string]func() source.Source{
				"again": func() source.Source { s, _ := onServer(t, q, testserver.Options{NoRanges: true}); return s },
				"spool": func() source.Source { return filesource.FromReader("-", bytes.NewReader(q)) },
				"never": func() source.Source { return filesource.FromReader("-", bytes.NewReader(q)) },
			} {
				out := t.TempDir()
				r := importer.Request{Source: src(), Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{}), Hold: hold, Checksum: sum(t, q)}
				if strings.Contains(c.Name, "2m") {
					r.Hold = 16 << 20 // a packed run must fit
				}
				r.Snapshot, r.Tracker = c.Snapshot, new(progress.Tracker)
				if name == "spool" {
					r.Spool = out
				}
				res, err := importer.Import(t.Context(), r)
				if name == "never" && errors.Is(err, errdef.ErrScratchNeeded) {
					refused++
					onlyFiles(t, out)
					continue
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if got := read(t, filepath.Join(out, "disk")); !bytes.Equal(got, want) {
					t.Errorf("%s: %d bytes differ from the %d expected", name, len(got), len(want))
				}
				onlyFiles(t, out, "disk")
				if res.Route != plan.StreamConvert || res.HeldMax > r.Hold || name != "spool" && res.Spooled != 0 || name != "again" && res.Passes != 1 {
					t.Errorf("%s: %+v", name, res)
				}
				if s := r.Tracker.Snapshot(); s.Virtual != res.VirtualSize {
					t.Errorf("%s: progress ends at %d of %d", name, s.Virtual, res.VirtualSize)
				}
				if res.Passes > 1 {
					passes++
				}
				if res.Spooled > 0 {
					spools++
				}
			}
		})
	}
	if passes == 0 || spools == 0 || refused == 0 {
		t.Errorf("%d took another pass, %d a spool, %d were refused: none is left untried", passes, spools, refused)
	}
	t.Logf("%d took another pass, %d a spool, %d were refused for want of both", passes, spools, refused)
}

// TestSecondPassChanged gives another image to the second pass.
func TestSecondPassChanged(t *testing.T) {
	path := testimage.Make(t, t.TempDir(), testimage.Qcow2Case("snapshot-active"))
	q := read(t, path)
	for name, o := range map[string]testserver.Options{
		"other identity": {NoRanges: true, ChangeAfterRequests: 1},
	} {
		src, _ := onServer(t, bytes.Clone(q), o)
		out := t.TempDir()
		_, err := importer.Import(t.Context(), importer.Request{Source: src, Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{}), Hold: 64 << 10})
		if !errors.Is(err, errdef.ErrChanged) {
			t.Errorf("%s: %v", name, err)
		}
		onlyFiles(t, out)
	}
	// A file that is replaced between the passes has another identity, too.
	in := filepath.Join(t.TempDir(), "x.gz")
	if err := os.WriteFile(in, gz(t, q), 0o600); err != nil {
		t.Fatal(err)
	}
	r := importer.Request{Source: filesource.New(in), Target: filesink.New(filepath.Join(t.TempDir(), "disk"), filesink.Options{}), Hold: 64 << 10}
	r.OnPlan = func(importer.Explanation) {
		if err := os.WriteFile(in, gz(t, append(q, 0)), 0o600); err != nil {
			t.Error(err)
		}
	}
	if _, err := importer.Import(t.Context(), r); !errors.Is(err, errdef.ErrChanged) && !errors.Is(err, errdef.ErrCorrupt) {
		t.Errorf("file: %v", err)
	}
}
