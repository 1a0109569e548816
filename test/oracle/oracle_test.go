// Package oracle compares what cdictl makes of every kind of image with what qemu-img makes of it: through a file, http
// with and without ranges, a pipe, each codec and an OVF package, with and without a checksum. `make table` prints the
// digests; the table of formats in docs/formats.md is made of the same rows.
package oracle

import (
	"context"
	"errors"
	"flag"
	"fmt"
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

// seed of the disks' content.
const seed = 20

var write = flag.Bool("write", false, "write the table into docs/formats.md")

// sets are all kinds, and the disk that each set begins as: content up to its ends and holes. The sizes are what bzip2
// can take 16 times in a minute; L2 tables and refcounts are the same as for more.
var sets = []struct {
	kinds      []images.Kind
	size, data int64
}{
	{images.Flat, 64<<20 + 3*512, 4 << 20},
	{images.QCOW2, 256 << 20, 8 << 20},
	{images.VMDK, 64 << 20, 4 << 20},
	{images.Blocks, 64<<20 + 3*512, 4 << 20},
	{images.Crafted, 0, 0},
}

type suite struct {
	bin, dir string
	mux      *http.ServeMux
	server   *web.Server
	table    *report.Table
}

// TestDigests is the table: one row per disk, one column per way that it comes, and before them the digest that all must
// have. No cell is left out but where the way does not exist.
func TestDigests(t *testing.T) {
	proc.Need(t, "qemu-img", "qemu-io", "gzip", "xz", "zstd", "bzip2")
	begin, dir := time.Now(), t.TempDir()
	mux := http.NewServeMux()
	s := &suite{bin: proc.TestBinary(t), dir: dir, mux: mux, server: web.Start(t, mux), table: &report.Table{
		Title:  "SHA-256 of the disk, first 12 digits: what it must be, then ours by the way the image came",
		Header: []string{"image", "disk", "made by", "digest"},
	}}
	for _, w := range ways {
		s.table.Header = append(s.table.Header, w.name)
	}
	rows := make([][][]row, len(sets))
	t.Run("set", func(t *testing.T) {
		for i, set := range sets {
			raw := filepath.Join(dir, fmt.Sprintf("content-%d.raw", i))
			if set.size > 0 {
				if err := images.Raw(raw, set.size, set.data, seed); err != nil {
					t.Fatal(err)
				}
			}
			rows[i] = make([][]row, len(set.kinds))
			for j, kind := range set.kinds {
				t.Run(kind.Name, func(t *testing.T) {
					t.Parallel()
					var err error
					if rows[i][j], err = s.kind(t.Context(), j, kind, raw); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	})
	all := slices.Concat(slices.Concat(rows...)...)
	for _, r := range all {
		s.table.Row(r.cells()...)
	}
	s.table.Print(os.Stdout)
	fmt.Printf("(%.0f s)\n", time.Since(begin).Seconds())
	if n := s.table.Failed(); n > 0 {
		t.Fatalf("%d of the cells are not as specified", n)
	}
	if strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return // not all rows
	}
	if err := document(all, *write); err != nil {
		t.Fatal(err)
	}
}

// A row is one disk of one image, by every way.
type row struct {
	kind       images.Kind
	disk, want string
	got        []string // by way: the digest, "refused", "–", or what went wrong
}

func (r row) cells() []string {
	cells := []string{r.kind.Format + " " + r.kind.Name, r.disk, r.kind.MadeBy(), short(r.want)}
	for _, g := range r.got {
		cells = append(cells, short(g))
	}
	return cells
}

func short(digest string) string { return digest[:min(12, len(digest))] }

// kind makes one image and its other forms and returns a row for each of its disks. An error means that the test could
// not be made, not that it failed.
func (s *suite) kind(ctx context.Context, turn int, kind images.Kind, raw string) (rows []row, err error) {
	dir := filepath.Join(s.dir, kind.Name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	s.mux.Handle("/ranges/"+kind.Name+"/", web.Ranges(dir))
	s.mux.Handle("/plain/"+kind.Name+"/", web.Plain(dir))
	path, disks, err := kind.Make(ctx, raw, dir)
	if err != nil {
		return nil, err
	}
	f, err := store(ctx, kind, path)
	if err != nil {
		return nil, err
	}
	if kind.Refused {
		disks = map[string]string{"": refused}
	}
	for _, snapshot := range slices.Sorted(maps.Keys(disks)) {
		r := row{kind: kind, disk: "active", want: disks[snapshot]}
		if snapshot != "" {
			r.disk = "snapshot " + snapshot
		}
		for column, w := range ways {
			got := s.cell(ctx, f, w, snapshot, r.want, turn+column)
			r.got = append(r.got, got)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// forms are an image and what it was packed into, by what store named them.
type forms struct {
	kind   images.Kind
	stored map[string]string
	target string
}

// store packs the image at path: by each codec's name, as "ova" in an OVF package, as "ova.gz" in a compressed one.
func store(ctx context.Context, kind images.Kind, path string) (forms, error) {
	f := forms{kind, map[string]string{"": path}, path + ".ours.raw"}
	for codec := range images.Codecs {
		f.stored[codec] = path + "." + codec
		if err := images.Compress(ctx, codec, path, f.stored[codec]); err != nil {
			return f, err
		}
	}
	if !kind.Packaged {
		return f, nil
	}
	f.stored["ova"] = path + ".ova"
	if err := images.OVA(path, f.stored["ova"]); err != nil {
		return f, err
	}
	f.stored["ova.gz"] = path + ".ova.gz"
	return f, images.Compress(ctx, "gz", f.stored["ova"], f.stored["ova.gz"])
}
