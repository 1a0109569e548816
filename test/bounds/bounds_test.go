//go:build linux

// Package bounds holds the binary to what it promises about bytes fetched, honest disks that are nearly all zeros,
// and memory. `go test -v ./test/bounds` prints the tables; -size 100GiB and -data 1GiB are the full measure.
package bounds

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

var (
	blankSize = size(2 << 30)
	dataSize  = size(96 << 20)
)

func init() {
	flag.Var(&blankSize, "size", "size of the blank disks, a multiple of 1 GiB")
	flag.Var(&dataSize, "data", "data in the images of the memory table")
}

// size is a flag in bytes, MiB or GiB.
type size int64

func (s *size) String() string {
	if *s%(1<<30) == 0 {
		return fmt.Sprintf("%d GiB", *s>>30)
	}
	return fmt.Sprintf("%d MiB", *s>>20)
}

func (s *size) Set(v string) error {
	number, unit := v, int64(1)
	for name, n := range map[string]int64{"MiB": 1 << 20, "GiB": 1 << 30} {
		if rest, ok := strings.CutSuffix(v, name); ok {
			number, unit = rest, n
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 40)
	*s = size(n * unit)
	return err
}

// scratch is a folder on the disk, not on a tmpfs, which would be counted as memory by nobody and bound the sizes.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "cdictl-bounds-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func tool(t *testing.T, args ...string) string {
	t.Helper()
	out, err := proc.Tool(t.Context(), args...)
	must(t, err)
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// measureImport imports into a new file, checks its digest, removes it and returns the account.
func measureImport(ctx context.Context, bin, source, dir, digest string, args ...string) (proc.Usage, error) {
	target := filepath.Join(dir, "ours.raw")
	defer os.Remove(target)
	u, err := proc.Measure(ctx, append([]string{bin, "import", source, target, "--progress", "none"}, args...)...)
	if err != nil || digest == "" {
		return u, err
	}
	got, err := images.SHA256(target)
	if err == nil && got != digest {
		err = fmt.Errorf("digest %s, want %s", got, digest)
	}
	return u, err
}

func mib(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
