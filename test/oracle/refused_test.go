package oracle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
)

// A stranger is a file of a format that is recognised to be refused.
type stranger struct {
	name string // what an error must say
	hint string // a part of it
	need string // a tool
	make func(ctx context.Context, raw, path string) error
	// tail: told by its end, so that info of a stream, which reads the start, knows nothing of it.
	tail bool
}

// tool makes a stranger by a command, in which RAW, DIR and OUT are replaced.
func tool(command string) func(ctx context.Context, raw, path string) error {
	return func(ctx context.Context, raw, path string) error {
		args := strings.Fields(command)
		for i, a := range args {
			args[i] = strings.NewReplacer("RAW", raw, "DIR", filepath.Dir(raw), "OUT", path).Replace(a)
		}
		_, err := proc.Tool(ctx, args...)
		return err
	}
}

// luks makes one by qemu-img, which refuses to begin with when the kernel tells it no processor time for a moment of
// deriving a key; then it is asked again.
func luks(ctx context.Context, _, path string) (err error) {
	for range 100 {
		_, err = proc.Tool(ctx, "qemu-img", "create", "-q", "-f", "luks", "--object", "secret,id=s,data=x", "-o", "key-secret=s,iter-time=10", path, "1M")
		if err == nil || !strings.Contains(err.Error(), "accurate CPU usage") {
			return err
		}
	}
	return err
}

// evidence makes an EWF, whose tool takes the name without an ending.
func evidence(ctx context.Context, raw, path string) error {
	f, err := os.Open(raw)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := proc.Run(ctx, proc.Command{Args: []string{"ewfacquirestream", "-q", "-t", path}, Stdin: f})
	if err != nil {
		return err
	}
	if r.Exit != 0 {
		return fmt.Errorf("ewfacquirestream: exit %d: %s", r.Exit, r.Stderr)
	}
	return os.Rename(path+".E01", path)
}

// start and end put magic into a file that no tool of Debian makes.
func start(magic string) func(ctx context.Context, raw, path string) error {
	return func(_ context.Context, _, path string) error {
		return os.WriteFile(path, append([]byte(magic), make([]byte, 1<<20)...), 0o600)
	}
}

func end(magic string, of int) func(ctx context.Context, raw, path string) error {
	return func(_ context.Context, raw, path string) error {
		b, err := os.ReadFile(raw)
		if err != nil {
			return err
		}
		b = append(b, magic...)
		return os.WriteFile(path, append(b, make([]byte, of-len(magic))...), 0o600)
	}
}

var strangers = []stranger{
	{name: "qcow (qcow version 1)", hint: "qemu-img convert", make: tool("qemu-img convert -f raw -O qcow RAW OUT")},
	{name: "qed (QEMU enhanced disk)", hint: "qemu-img convert", make: tool("qemu-img convert -f raw -O qed RAW OUT")},
	{name: "parallels (Parallels disk)", hint: "qemu-img convert", make: tool("qemu-img convert -f raw -O parallels RAW OUT")},
	{name: "bochs (Bochs growing disk)", hint: "qemu-img convert", make: start("Bochs Virtual HD Image\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00Redolog\x00\x00\x00\x00\x00\x00\x00\x00\x00Growing\x00")},
	{name: "cloop (compressed loop)", hint: "qemu-img convert", need: "create_compressed_fs", make: tool("create_compressed_fs -q -q -q RAW OUT")},
	{name: "luks (LUKS encrypted disk): encrypted", hint: "decrypt it first", make: luks},
	{name: "dmg (Apple disk image)", hint: "qemu-img convert -f dmg", make: end("koly\x00\x00\x00\x04\x00\x00\x02\x00", 512), tail: true},
	{name: "wim (Windows imaging)", hint: "a WIM holds files, not a disk", need: "wimlib-imagex", make: tool("wimlib-imagex capture DIR OUT --quiet")},
	{name: "zip (zip archive)", hint: "unpack it first", need: "zip", make: tool("zip -q -j OUT RAW")},
	{name: "ewf (EnCase evidence)", hint: "ewfexport", need: "ewfacquirestream", make: evidence},
}

// TestRefused makes real files of formats that are recognised and not read, and wants each refused by its name and with a
// hint by every command and through every channel, without anything left.
func TestRefused(t *testing.T) {
	proc.Need(t, "qemu-img", "gzip")
	bin, dir := proc.TestBinary(t), t.TempDir()
	raw := filepath.Join(dir, "in", "content.raw")
	if err := os.Mkdir(filepath.Dir(raw), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := images.Raw(raw, 1<<20, 512<<10, seed); err != nil {
		t.Fatal(err)
	}
	for _, s := range strangers {
		t.Run(strings.Fields(s.name)[0], func(t *testing.T) {
			if s.need != "" {
				proc.Need(t, s.need)
			}
			// zip and ewfacquirestream add an ending to a name that has none of theirs.
			path := filepath.Join(dir, strings.Fields(s.name)[0]+".img")
			if err := s.make(t.Context(), raw, path); err != nil {
				t.Fatal(err)
			}
			if err := images.Compress(t.Context(), "gz", path, path+".gz"); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"import", "convert", "convert -O qcow2", "info"} {
				for _, from := range []string{path, "-", path + ".gz"} {
					if err := s.refused(t.Context(), bin, command, path, from); err != nil {
						t.Errorf("%s %s: %v", command, filepath.Base(from), err)
					}
				}
			}
		})
	}
}

// refused runs a command on a stranger.
func (s stranger) refused(ctx context.Context, bin, command, path, from string) (err error) {
	out := path + ".out"
	if err := os.Mkdir(out, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(out)) }()
	c := proc.Command{Args: append(append([]string{bin}, strings.Fields(command)...), from)}
	if command != "info" {
		c.Args = append(c.Args, filepath.Join(out, "disk"), "--progress", "none")
	}
	if from == "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		c.Stdin = io.MultiReader(f) // a pipe, not the file
	}
	r, err := proc.Run(ctx, c)
	if err != nil {
		return err
	}
	if s.tail && command == "info" && from != path {
		if r.Exit != 0 || !strings.Contains(r.Stdout, "unknown until the end of the stream") {
			return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
		}
		return nil
	}
	if r.Exit != 12 || r.Stdout != "" || !strings.Contains(r.Stderr, s.name) {
		return fmt.Errorf("exit %d: %s%s", r.Exit, r.Stdout, r.Stderr)
	}
	if _, hint, ok := strings.Cut(r.Stderr, "\nhint: "); !ok || !strings.Contains(hint, s.hint) {
		return fmt.Errorf("no hint with %q: %s", s.hint, r.Stderr)
	}
	left, err := os.ReadDir(out)
	if err != nil || len(left) > 0 {
		return fmt.Errorf("left %v: %w", left, errors.Join(err, os.ErrExist))
	}
	return nil
}
