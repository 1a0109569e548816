package importer_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/sink/pipesink"
	"github.com/cdictl/cdictl/lib/source"
)

// vast is a stream that can be had once and says that it is longer than any filesystem is large. It breaks off behind r.
type vast struct{ r io.Reader }

var errBroken = errors.New("broken off")

func (v vast) String() string                                        { return "vast" }
func (v vast) Open(context.Context, source.Env) (source.Blob, error) { return v, nil }
func (v vast) Close() error                                          { return nil }
func (v vast) Info() source.Info                                     { return source.Info{Size: 1 << 62} }
func (v vast) Read(p []byte) (n int, err error) {
	if n, err = v.r.Read(p); errors.Is(err, io.EOF) {
		err = errBroken
	}
	return n, err
}

// TestSpoolRoom: a spool that may become larger than its filesystem has room is refused when it would be begun, and not
// when the filesystem is full.
func TestSpoolRoom(t *testing.T) {
	path := testimage.Make(t, t.TempDir(), testimage.Qcow2Case("snapshot-active"))
	q := read(t, path)
	for name, target := range map[string]func(dir string) sink.Target{
		"guest order": func(string) sink.Target { return pipesink.New(io.Discard, "-") },
		"late tables": func(dir string) sink.Target {
			return filesink.New(filepath.Join(dir, "disk"), filesink.Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			r := importer.Request{Source: vast{bytes.NewReader(q)}, Target: target(out), Spool: out, Hold: 64 << 10}
			_, err := importer.Import(t.Context(), r)
			if !errors.Is(err, errdef.ErrNoSpace) || errors.Is(err, errBroken) || errdef.ExitCode(err) != 14 {
				t.Fatalf("%v", err)
			}
			if text := err.Error(); !strings.Contains(text, out) || !strings.Contains(text, "bytes of the stream may have to wait there") {
				t.Errorf("it does not say what lacks where: %v", err)
			}
			if hint := errdef.Hint(err); !strings.Contains(hint, "--scratch") {
				t.Errorf("hint is %q", hint)
			}
			onlyFiles(t, out)
		})
	}
}
