//go:build linux

// Package hostile gives files and servers that lie to the real binary. Each must end in exit status 12, 15 or 20, within
// two seconds and 128 MiB, with a message that names what lies, and with nothing left behind.
// `make hostile` prints the table.
package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// file is one of those that the program craft writes.
type file struct {
	Name       string `json:"name"`
	Format     string `json:"format"`
	Exit       int    `json:"exit"`
	Says       string `json:"says"`
	StreamSays string `json:"streamSays"`
	Only       bool   `json:"streamOnly"`  // there, and nowhere else
	Reads      bool   `json:"streamReads"` // by a stream: no lie is seen
	Snapshot   string `json:"snapshot"`
	Expansion  int64  `json:"expansion"` // not 0: a bomb, which this bounds
}

// args are flags of import for the file.
func (f file) args() []string {
	var args []string
	if f.Snapshot != "" {
		args = append(args, "--snapshot", f.Snapshot)
	}
	if f.Expansion > 0 {
		args = append(args, "--max-expansion", fmt.Sprint(f.Expansion))
	}
	return args
}

// A crafter is the program craft, which may import what the tests may not.
type crafter string

// newCrafter builds it in dir.
func newCrafter(ctx context.Context, dir string) (crafter, error) {
	root, err := proc.Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "craft")
	_, err = proc.Tool(ctx, "go", "build", "-C", root, "-o", path, "./lib/internal/testimage/craft")
	return crafter(path), err
}

// list is what there is.
func (c crafter) list(ctx context.Context) (files []file, err error) {
	out, err := proc.Tool(ctx, string(c), "-hostile")
	if err != nil {
		return nil, err
	}
	return files, json.Unmarshal([]byte(out), &files)
}

// write makes one file.
func (c crafter) write(ctx context.Context, f file, path string) error {
	_, err := proc.Tool(ctx, string(c), "-hostile", f.Name, path)
	return err
}
