package images

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
)

// Codecs are the compressors, by the ending they are known for. The window is the decoder's, which is what matters
// here; the effort is low, which is what a test can afford.
var Codecs = map[string][]string{
	"gz":  {"gzip", "-1", "-n", "-c"},
	"xz":  {"xz", "-T1", "--lzma2=preset=0,dict=8MiB", "-c"},
	"zst": {"zstd", "-q", "-1", "--zstd=wlog=23", "-c"},
	"bz2": {"bzip2", "-9", "-c"},
}

// Compress writes path's content through a codec to dst.
func Compress(ctx context.Context, codec, path, dst string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	return CompressStream(ctx, codec, in, dst)
}

// CompressStream writes r through a codec to dst.
func CompressStream(ctx context.Context, codec string, r io.Reader, dst string) (err error) {
	args, ok := Codecs[codec]
	if !ok {
		return fmt.Errorf("no codec %q", codec)
	}
	return Pipe(ctx, r, dst, args...)
}

// Pipe runs a filter with r as its input and a new file dst as its output.
func Pipe(ctx context.Context, r io.Reader, dst string, args ...string) (err error) {
	out, err := os.Create(dst)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := out.Close(); err == nil {
			err = cerr
		}
	}()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = r, out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return nil
}
