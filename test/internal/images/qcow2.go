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
	// Format is qemu-img's name of it; empty: qcow2.
	Format string
	// Options are qemu-img convert's, -o and -c.
	Options []string
	// Snapshots can be read beside the active disk.
	Snapshots []string
	// life is what happens to the file after it was made: commands, with itself where the path goes.
	life [][]string
}

const itself = "IMAGE"

func img(args ...string) []string { return append([]string{"qemu-img"}, args...) }

func qio(commands ...string) []string {
	args := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	return append(args, itself)
}

// Kinds are the qcow2 files of the oracle. Each begins as a 256 MiB disk with content up to its ends.
var Kinds = []Kind{
	{Name: "v2", Options: []string{"-o", "compat=0.10"}},
	{Name: "v3", Options: []string{"-o", "compat=1.1"}},
	{Name: "cluster-512", Options: []string{"-o", "cluster_size=512"}},
	{Name: "cluster-4k", Options: []string{"-o", "cluster_size=4096"}},
	{Name: "cluster-64k", Options: []string{"-o", "cluster_size=65536"}},
	{Name: "cluster-2m", Options: []string{"-o", "cluster_size=2097152"}},
	{Name: "zlib", Options: []string{"-c", "-o", "compression_type=zlib"}},
	{Name: "zstd", Options: []string{"-c", "-o", "compression_type=zstd"}},
	{Name: "zlib-2m", Options: []string{"-c", "-o", "compression_type=zlib,cluster_size=2097152"}},
	{Name: "zstd-4k", Options: []string{"-c", "-o", "compression_type=zstd,cluster_size=4096"}},
	{Name: "extended-l2", Options: []string{"-o", "extended_l2=on"}, life: [][]string{
		// Single subclusters of 2 KiB, one of them across a cluster's border, and holes among data.
		qio("write -P 1 130M 2k", "write -P 2 131074k 4k", "write -P 3 200M 512", "write -z 1M 6k", "discard 3M 10k"),
	}},
	{Name: "extended-l2-zstd", Options: []string{"-c", "-o", "extended_l2=on,compression_type=zstd"}, life: [][]string{
		qio("write -P 4 8M 2k", "write -P 5 9000k 130k"),
	}},
	{Name: "zero-clusters", Options: []string{"-o", "preallocation=metadata,refcount_bits=1"}, life: [][]string{
		qio("write -z 0 1M", "write -z -u 64M 1M", "write -z 100M 1536"),
	}},
	{Name: "snapshot", Snapshots: []string{"before"}, life: [][]string{
		img("snapshot", "-c", "before", itself),
		qio("write -P 6 0 3M", "write -P 7 77M 5k", "write -z 255M 1M"),
	}},
	{Name: "resized", life: [][]string{
		img("resize", "-q", "-f", "qcow2", itself, "+128M"), // moves the L1 table to the end of the file
		qio("write -P 8 383M 1M", "write -P 9 300M 70k"),
	}},
	{Name: "life", Options: []string{"-c"}, Snapshots: []string{"one", "three"}, life: [][]string{
		img("snapshot", "-c", "one", itself),
		qio("write -P 10 0 1M", "write -P 11 99M 777k", "write -c -P 12 120M 64k", "discard 10M 4M"),
		img("snapshot", "-c", "two", itself),
		qio("write -P 13 512k 9M", "write -z 90M 10M", "write -P 14 99M 1k"),
		img("snapshot", "-d", "two", itself),
		qio("write -P 15 200M 6M", "discard 0 64k"),
		img("snapshot", "-c", "three", itself),
		qio("write -P 16 200M 1M", "write -P 17 7M 33k"),
	}},
}

// FormatName is qemu-img's name of the format.
func (k Kind) FormatName() string {
	if k.Format == "" {
		return "qcow2"
	}
	return k.Format
}

// Make writes the image made of the raw file into dir and returns its path.
func (k Kind) Make(ctx context.Context, raw, dir string) (string, error) {
	path := filepath.Join(dir, k.Name+"."+k.FormatName())
	args := append([]string{"qemu-img", "convert", "-f", "raw", "-O", k.FormatName()}, k.Options...)
	if _, err := proc.Tool(ctx, append(args, raw, path)...); err != nil {
		return "", err
	}
	for _, step := range k.life {
		command := slices.Clone(step)
		command[slices.Index(command, itself)] = path
		if _, err := proc.Tool(ctx, command...); err != nil {
			return "", err
		}
	}
	return path, nil
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
