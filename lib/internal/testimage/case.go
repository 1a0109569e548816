package testimage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ImagePath stands for the path of the image in the commands of a [Case].
const ImagePath = "IMAGE"

// A Case is an image that qemu-img and qemu-io make.
type Case struct {
	Name string
	// Format is qemu-img's name of the image's format; empty: qcow2.
	Format string
	// Size of the disk when it is made.
	Size int64
	// Options are for qemu-img -o.
	Options string
	// Compress makes the clusters compressed.
	Compress bool
	// Blank makes an empty disk; else it has what WriteContent writes.
	Blank bool
	// Life is what happens to the image afterwards: command lines in which ImagePath is the image.
	Life [][]string
	// Snapshot is the internal snapshot that is to be read; empty: the active disk.
	Snapshot string
}

// OracleArgs are the arguments with which qemu-img convert reads what the case is about.
func (c Case) OracleArgs() []string {
	if c.Snapshot == "" {
		return []string{"-f", c.format()}
	}
	return []string{"-l", "snapshot.name=" + c.Snapshot}
}

// Build makes the image in dir and returns its path.
func Build(ctx context.Context, dir string, c Case) (string, error) {
	path := filepath.Join(dir, c.Name+"."+c.format())
	if err := c.base(ctx, dir, path); err != nil {
		return "", fmt.Errorf("make image %s: %w", c.Name, err)
	}
	for _, line := range c.Life {
		args := make([]string, len(line)-1)
		for i, a := range line[1:] {
			args[i] = strings.ReplaceAll(a, ImagePath, path)
		}
		if _, err := Run(ctx, line[0], args...); err != nil {
			return "", fmt.Errorf("make image %s: %w", c.Name, err)
		}
	}
	return path, nil
}

func (c Case) format() string {
	if c.Format == "" {
		return "qcow2"
	}
	return c.Format
}

func (c Case) base(ctx context.Context, dir, path string) error {
	var options []string
	if c.Options != "" {
		options = []string{"-o", c.Options}
	}
	if c.Blank {
		args := append([]string{"create", "-q", "-f", c.format()}, options...)
		_, err := Run(ctx, "qemu-img", append(args, path, fmt.Sprint(c.Size))...)
		return err
	}
	raw := filepath.Join(dir, c.Name+".content")
	defer os.Remove(raw)
	if err := WriteRaw(raw, c.Size, 1); err != nil {
		return err
	}
	args := []string{"convert", "-f", "raw", "-O", c.format()}
	if c.Compress {
		args = append(args, "-c")
	}
	_, err := Run(ctx, "qemu-img", append(append(args, options...), raw, path)...)
	return err
}

// WriteRaw makes a sparse raw disk with what WriteContent writes.
func WriteRaw(path string, size int64, seed uint64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return err
	}
	if err := WriteContent(f, size, seed); err != nil {
		return err
	}
	return f.Close()
}

// Make is [Build] for a test; it asks for the tools first.
func Make(t testing.TB, dir string, c Case) string {
	t.Helper()
	Require(t, "qemu-img", "qemu-io")
	path, err := Build(t.Context(), dir, c)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
