//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// corpus is one disk in all its stored forms.
type corpus struct {
	dir    string
	digest string // of the raw disk
	about  string
}

func (c *corpus) path(name string) string { return filepath.Join(c.dir, name) }

// forms are the stored forms beside disk.raw, made in this order; SRC and DST are put in.
var forms = []struct{ name, src, command string }{
	{"plain.qcow2", "disk.raw", "qemu-img convert -f raw -O qcow2 SRC DST"},
	{"zlib.qcow2", "disk.raw", "qemu-img convert -m 4 -W -f raw -O qcow2 -c SRC DST"},
	{"zstd.qcow2", "disk.raw", "qemu-img convert -m 4 -W -f raw -O qcow2 -c -o compression_type=zstd SRC DST"},
	{"disk.raw.gz", "disk.raw", "(pigz -6 -n -c SRC || gzip -6 -n -c SRC) > DST"},
	{"disk.raw.zst", "disk.raw", "zstd -q -3 -T0 -c SRC > DST"},
	{"disk.raw.xz", "disk.raw", "xz -1 -T0 -c SRC > DST"},
}

// prepare makes the corpus, or takes the one that an earlier run left.
func prepare(ctx context.Context, c config) (*corpus, error) {
	size, least, name := int64(8<<30), int64(3<<29), "full"
	if c.quick {
		size, least, name = 1<<30, 256<<20, "quick"
	}
	im := &corpus{dir: filepath.Join(c.dir, name)}
	note := im.path("complete")
	if b, err := os.ReadFile(note); err == nil {
		im.digest, im.about, _ = strings.Cut(strings.TrimSpace(string(b)), " ")
		return im, nil
	}
	if err := errors.Join(os.RemoveAll(im.dir), os.MkdirAll(im.dir, 0o755)); err != nil {
		return nil, err
	}
	start := time.Now()
	fmt.Fprintf(os.Stderr, "bench: making images in %s\n", im.dir)
	tree := im.path("tree")
	defer os.RemoveAll(tree)
	from, err := realFiles(tree, least)
	if err != nil {
		return nil, err
	}
	raw := im.path("disk.raw")
	if err := errors.Join(os.WriteFile(raw, nil, 0o644), os.Truncate(raw, size)); err != nil {
		return nil, err
	}
	if _, err := proc.Tool(ctx, "mke2fs", "-q", "-t", "ext4", "-F", "-d", tree, raw); err != nil {
		return nil, err
	}
	for _, f := range forms {
		line := strings.NewReplacer("SRC", quote(im.path(f.src)), "DST", quote(im.path(f.name))).Replace(f.command)
		if _, err := proc.Tool(ctx, "bash", "-c", line); err != nil {
			return nil, err
		}
	}
	if im.digest, err = images.SHA256(raw); err != nil {
		return nil, err
	}
	st, err := os.Stat(raw)
	if err != nil {
		return nil, err
	}
	im.about = fmt.Sprintf("ext4 of files of %s, %.2f GiB of data in %d GiB", from, float64(st.Sys().(*syscall.Stat_t).Blocks)/(2<<20), size>>30)
	fmt.Fprintf(os.Stderr, "bench: made in %.0f s: %s\n", time.Since(start).Seconds(), im.about)
	return im, os.WriteFile(note, []byte(im.digest+" "+im.about+"\n"), 0o644)
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
