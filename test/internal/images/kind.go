package images

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/cdictl/cdictl/test/internal/proc"
)

// A Kind is one kind of image file.
type Kind struct {
	Name string
	// Format is qemu-img's name of it.
	Format string
	// Options are qemu-img convert's, -o and -c.
	Options []string
	// Snapshots can be read beside the active disk.
	Snapshots []string
	// life is what happens to the file after it was made: commands, with itself where the path goes.
	life [][]string
	// write makes the files of a kind that qemu-img can read and not write.
	write func(raw, path string) error
	// crafted files are those that qemu-img reads otherwise or not at all; the disk that must be read comes with them.
	crafted bool

	InOrder  bool // its stored bytes are the disk's: a stream of it needs no tables
	Many     bool // it lies in several files beside each other
	Refused  bool // as specified
	Packaged bool // people have it in OVF packages
}

const itself = "IMAGE"

// Make writes the image made of the raw file into dir and returns its path and the digest of the disk that must be read
// from it, by snapshot; of a refused kind it has none.
func (k Kind) Make(ctx context.Context, raw, dir string) (path string, disks map[string]string, err error) {
	path = filepath.Join(dir, k.Name+"."+k.Format)
	if k.crafted {
		disks, err = k.craft(ctx, path)
		return path, disks, err
	}
	if err := k.Write(ctx, raw, path); err != nil || k.Refused {
		return path, nil, err
	}
	disks = map[string]string{}
	for _, s := range append([]string{""}, k.Snapshots...) {
		if disks[s], err = Oracle(ctx, path, k.Format, s); err != nil {
			return "", nil, err
		}
	}
	return path, disks, nil
}

// Write writes the image made of the raw file to path; not for crafted files.
func (k Kind) Write(ctx context.Context, raw, path string) error {
	if k.write != nil {
		return k.write(raw, path)
	}
	args := append([]string{"qemu-img", "convert", "-f", "raw", "-O", k.Format}, k.Options...)
	if _, err := proc.Tool(ctx, append(args, raw, path)...); err != nil {
		return err
	}
	for _, step := range k.life {
		command := slices.Clone(step)
		command[slices.Index(command, itself)] = path
		if _, err := proc.Tool(ctx, command...); err != nil {
			return err
		}
	}
	return nil
}

// MadeBy names who wrote the file, and who says what disk is in it.
func (k Kind) MadeBy() string {
	switch {
	case k.crafted:
		return "own, both"
	case k.write != nil:
		return "own"
	}
	return "qemu-img"
}

// Oracle converts the image, or a snapshot of it, by qemu-img and returns the digest of the raw disk.
func Oracle(ctx context.Context, path, format, snapshot string) (digest string, err error) {
	args := []string{"qemu-img", "convert", "-f", format, "-O", "raw"}
	if snapshot != "" {
		args = append(args, "-l", "snapshot.name="+snapshot)
	}
	out := path + ".oracle.raw"
	defer func() { err = errors.Join(err, os.Remove(out)) }()
	if _, err := proc.Tool(ctx, append(args, path, out)...); err != nil {
		return "", err
	}
	return SHA256(out)
}
