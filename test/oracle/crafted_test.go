package oracle

import (
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// refused is what stands in the table for a disk that must be refused as no image of ours.
const refused = "exit 12"

// crafted adds the rows of files that qemu-img cannot write; a program of ours writes each with the disk that must come out.
func (s *suite) crafted(t *testing.T) {
	root, err := proc.Root()
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(s.dir, "craft")
	if _, err := proc.Tool(t.Context(), "go", "build", "-C", root, "-buildvcs=false", "-o", bin, "./lib/internal/testimage/craft"); err != nil {
		t.Fatal(err)
	}
	for turn, c := range []struct{ name, format string }{
		{"vhdx-dirty", "vhdx"}, {"vhdx-4096", "vhdx"}, {"vhdx-dirty-4096", "vhdx"}, {"vhdx-differencing", ""},
		{"vhd-geometry", "vpc"}, {"vhd-old-footer", "vpc"}, {"vhd-differencing", ""},
		{"vdi-64k", "vdi"}, {"vdi-differencing", ""},
	} {
		path := filepath.Join(s.dir, c.name+".img")
		if _, err := proc.Tool(t.Context(), bin, c.name, path); err != nil {
			t.Fatal(err)
		}
		want := refused
		if c.format != "" {
			if want, err = images.SHA256(path + ".raw"); err != nil {
				t.Fatal(err)
			}
		}
		f, err := s.compress(t.Context(), path, c.format)
		if err != nil {
			t.Fatal(err)
		}
		s.table.Row(s.row(t.Context(), f, c.name, "crafted", want, "", turn)...)
	}
}
