package images

import (
	"context"
	"errors"
	"os"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// Crafted are small files that a program of ours writes byte by byte, each with the disk that must come out.
var Crafted = []Kind{
	crafted("vhdx", "dirty"),
	crafted("vhdx", "4096"),
	crafted("vhdx", "dirty-4096"),
	refused(crafted("vhdx", "differencing")),
	crafted("vhd", "geometry"),
	crafted("vhd", "old-footer"),
	refused(crafted("vhd", "differencing")),
	crafted("vdi", "64k"),
	refused(crafted("vdi", "differencing")),
}

func crafted(format, kind string) Kind {
	k := Kind{Name: format + "-" + kind, Format: format, crafted: true}
	if format == "vhd" {
		k.Format = "vpc"
	}
	return k
}

func refused(k Kind) Kind {
	k.Refused = true
	return k
}

// craft runs the program, which may import what the tests may not.
func (k Kind) craft(ctx context.Context, path string) (map[string]string, error) {
	root, err := proc.Root()
	if err != nil {
		return nil, err
	}
	if _, err := proc.Tool(ctx, "go", "run", "-C", root, "./lib/internal/testimage/craft", k.Name, path); err != nil || k.Refused {
		return nil, err
	}
	disk := path + ".raw"
	sum, err := SHA256(disk)
	return map[string]string{"": sum}, errors.Join(err, os.Remove(disk))
}
