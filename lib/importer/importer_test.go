package importer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/plan"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/sink"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/sink/pipesink"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/filesource"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/verify"
)

// onServer is content on a server that behaves as o says.
func onServer(t *testing.T, content []byte, o testserver.Options) (source.Source, *testserver.File) {
	t.Helper()
	f := testserver.NewFile(content, o)
	return served(t, f), f
}

func served(t *testing.T, h http.Handler) source.Source {
	t.Helper()
	s, err := httpsource.New(testserver.Start(t, h)+"/disk.img", httpsource.Options{Retries: 2})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func onDisk(t *testing.T, content []byte) source.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return filesource.New(path)
}

func sum(t *testing.T, content []byte) verify.Digest {
	t.Helper()
	s := sha256.Sum256(content)
	d, err := verify.ParseDigest("sha256:" + hex.EncodeToString(s[:]))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func gz(t *testing.T, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// onlyFiles fails if dir holds anything but names.
func onlyFiles(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}

// raw is a disk of odd size with data, zeros and data.
func raw() []byte {
	b := make([]byte, 3_000_001)
	for i := range b[:1_000_000] {
		b[i] = byte(i * i >> 7)
	}
	copy(b[2_500_000:], bytes.Repeat([]byte("cdictl"), 80_000))
	return b
}

// padded is b with zeros up to a whole sector, as qemu-img pads a raw image.
func padded(b []byte) []byte { return append(bytes.Clone(b), make([]byte, (512-len(b)%512)%512)...) }

func TestRoutes(t *testing.T) {
	dir := t.TempDir()
	qcow2 := testimage.Make(t, dir, testimage.Qcow2Case("life-zlib"))
	q := read(t, qcow2)
	if _, err := testimage.Run(t.Context(), "qemu-img", "convert", "-O", "raw", qcow2, filepath.Join(dir, "want")); err != nil {
		t.Fatal(err)
	}
	want := read(t, filepath.Join(dir, "want"))
	vhd := filepath.Join(dir, "fixed.vhd")
	if err := os.WriteFile(filepath.Join(dir, "raw"), padded(raw()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := testimage.Run(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "subformat=fixed,force_size=on", filepath.Join(dir, "raw"), vhd); err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name     string
		content  []byte
		want     []byte
		file     plan.Route // without a checksum
		fileSum  plan.Route // with one
		http     plan.Route
		httpSum  plan.Route
		noRanges plan.Route
	}{
		{"raw", raw(), padded(raw()), plan.Direct, plan.Stream, plan.Stream, plan.Stream, plan.Stream},
		{"raw.gz", gz(t, raw()), padded(raw()), plan.Stream, plan.Stream, plan.Stream, plan.Stream, plan.Stream},
		{"qcow2", q, want, plan.Direct, plan.Hashed, plan.Direct, plan.Hashed, plan.StreamConvert},
		{"qcow2.gz", gz(t, q), want, plan.StreamConvert, plan.StreamConvert, plan.StreamConvert, plan.StreamConvert, plan.StreamConvert},
		{"vhd", read(t, vhd), padded(raw()), plan.Direct, plan.Stream, plan.Stream, plan.Stream, plan.Stream},
		{"vhd.gz", gz(t, read(t, vhd)), padded(raw()), plan.Stream, plan.Stream, plan.Stream, plan.Stream, plan.Stream},
		{"empty", nil, nil, plan.Direct, plan.Stream, plan.Stream, plan.Stream, plan.Stream},
	} {
		for _, v := range []struct {
			name  string
			src   func() source.Source
			sum   bool
			route plan.Route
		}{
			{"file", func() source.Source { return onDisk(t, c.content) }, false, c.file},
			{"file, checksum", func() source.Source { return onDisk(t, c.content) }, true, c.fileSum},
			{"http", func() source.Source { s, _ := onServer(t, c.content, testserver.Options{}); return s }, false, c.http},
			{"http, checksum", func() source.Source { s, _ := onServer(t, c.content, testserver.Options{}); return s }, true, c.httpSum},
			{"http, no ranges", func() source.Source {
				s, _ := onServer(t, c.content, testserver.Options{NoRanges: true, NoContentLength: true})
				return s
			}, true, c.noRanges},
			{"stdin", func() source.Source { return filesource.FromReader("-", bytes.NewReader(c.content)) }, true, c.noRanges},
		} {
			t.Run(c.name+"/"+v.name, func(t *testing.T) {
				out := t.TempDir()
				r := importer.Request{Source: v.src(), Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{}), Spool: out}
				r.Tracker = new(progress.Tracker)
				if v.sum {
					r.Checksum = sum(t, c.content)
				}
				res, err := importer.Import(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				if got := read(t, filepath.Join(out, "disk")); !bytes.Equal(got, c.want) {
					t.Errorf("%d bytes differ from the %d expected", len(got), len(c.want))
				}
				onlyFiles(t, out, "disk")
				if res.Route != v.route || res.VirtualSize != int64(len(c.want)) || res.StoredSize != int64(len(c.content)) {
					t.Errorf("result %+v; want route %s", res, v.route)
				}
				if res.Spooled > 0 || res.Passes != 1 || res.HeldMax > 0 && v.route != plan.StreamConvert {
					t.Errorf("route %s spooled %d bytes, held %d, in %d passes", res.Route, res.Spooled, res.HeldMax, res.Passes)
				}
				if s := r.Tracker.Snapshot(); s.Virtual != res.VirtualSize {
					t.Errorf("progress ends at %d of %d", s.Virtual, res.VirtualSize)
				}
			})
		}
	}
}

func TestGrowAndPipe(t *testing.T) {
	grown := append(padded(raw()), make([]byte, 5<<20-len(padded(raw())))...)
	for name, content := range map[string][]byte{"raw": raw(), "gz": gz(t, raw())} {
		out := t.TempDir()
		for _, preallocate := range []bool{false, true} {
			r := importer.Request{Source: onDisk(t, content), Target: filesink.New(filepath.Join(out, "disk"), filesink.Options{Force: true}), Size: 5 << 20, Preallocate: preallocate}
			res, err := importer.Import(t.Context(), r)
			if err != nil {
				t.Fatal(name, err)
			}
			if !bytes.Equal(read(t, filepath.Join(out, "disk")), grown) || res.VirtualSize != 5<<20 {
				t.Errorf("%s: wrong disk, %+v", name, res)
			}
		}
		var pipe bytes.Buffer
		r := importer.Request{Source: onDisk(t, content), Target: pipesink.New(&pipe, "-"), Size: 5 << 20, Checksum: sum(t, content)}
		if _, err := importer.Import(t.Context(), r); err != nil {
			t.Fatal(name, err)
		}
		if !bytes.Equal(pipe.Bytes(), grown) {
			t.Errorf("%s: wrong bytes in the pipe", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	q := read(t, testimage.Make(t, t.TempDir(), testimage.Qcow2Case("zlib")))
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB
	httpOf := func(content []byte, o testserver.Options) func(*testing.T) source.Source {
		return func(t *testing.T) source.Source { s, _ := onServer(t, content, o); return s }
	}
	fileOf := func(content []byte) func(*testing.T) source.Source {
		return func(t *testing.T) source.Source { return onDisk(t, content) }
	}
	wrong := sum(t, []byte("something else"))
	for name, c := range map[string]struct {
		src  func(*testing.T) source.Source
		req  importer.Request
		want error
		side errdef.Side
	}{
		"wrong checksum, stream":    {src: httpOf(big, testserver.Options{}), req: importer.Request{Checksum: wrong}, want: errdef.ErrDigestMismatch, side: errdef.Source},
		"wrong checksum, hashed":    {src: httpOf(q, testserver.Options{}), req: importer.Request{Checksum: wrong}, want: errdef.ErrDigestMismatch, side: errdef.Source},
		"wrong checksum, convert":   {src: fileOf(gz(t, q)), req: importer.Request{Checksum: wrong, Spool: t.TempDir()}, want: errdef.ErrDigestMismatch, side: errdef.Source},
		"wrong checksum, hashfirst": {src: fileOf(q), req: importer.Request{Checksum: wrong}, want: errdef.ErrDigestMismatch, side: errdef.Source},
		"too small, raw":            {src: fileOf(big), req: importer.Request{Size: 1 << 20}, want: errdef.ErrTooSmall},
		"too small, gz":             {src: fileOf(gz(t, big)), req: importer.Request{Size: 1 << 20}, want: errdef.ErrTooSmall},
		"too small, qcow2.gz":       {src: fileOf(gz(t, q)), req: importer.Request{Size: 1 << 20, Spool: t.TempDir()}, want: errdef.ErrTooSmall},
		"wrong checksum, spool":     {src: fileOf(gz(t, q)), req: importer.Request{Checksum: wrong, Spool: t.TempDir(), Target: pipesink.New(io.Discard, "-")}, want: errdef.ErrDigestMismatch, side: errdef.Source},
		"no scratch":                {src: fileOf(gz(t, q)), req: importer.Request{Target: pipesink.New(io.Discard, "-")}, want: errdef.ErrScratchNeeded},
		"truncated qcow2.gz":        {src: fileOf(gz(t, q[:len(q)/2])), want: errdef.ErrCorrupt, side: errdef.Source},
		"qcow2 in truncated gz":     {src: fileOf(gz(t, q)[:20000]), want: errdef.ErrCorrupt, side: errdef.Source},
		"codec in codec":            {src: fileOf(gz(t, gz(t, big))), want: errdef.ErrUnsupported, side: errdef.Source},
		"truncated gz":              {src: fileOf(gz(t, big)[:5000]), want: errdef.ErrCorrupt, side: errdef.Source},
		"truncated qcow2":           {src: fileOf(q[:len(q)/2]), want: errdef.ErrCorrupt, side: errdef.Source},
		"changed":                   {src: httpOf(big, testserver.Options{ChangeAfterBytes: 1 << 20}), want: errdef.ErrChanged, side: errdef.Source},
		"changed qcow2":             {src: httpOf(bytes.Clone(q), testserver.Options{ChangeAfterRequests: 2}), req: importer.Request{Checksum: sum(t, q)}, want: errdef.ErrChanged, side: errdef.Source},
		"missing":                   {src: func(t *testing.T) source.Source { return filesource.New(filepath.Join(t.TempDir(), "no")) }, want: errdef.ErrNotFound, side: errdef.Source},
		"snapshot of raw":           {src: fileOf(big), req: importer.Request{Options: importer.Options{Snapshot: "s"}}, want: errdef.ErrUsage},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			if c.req.Source = c.src(t); c.req.Target == nil {
				c.req.Target = filesink.New(filepath.Join(out, "disk"), filesink.Options{})
			}
			_, err := importer.Import(t.Context(), c.req)
			if !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			var e *errdef.Error
			if c.side != "" && (!errors.As(err, &e) || e.Side != c.side) {
				t.Errorf("%v does not belong to the %s", err, c.side)
			}
			if errdef.Hint(err) == "" {
				t.Errorf("%v has no hint", err)
			}
			onlyFiles(t, out)
		})
	}
}

func TestTooLargeIsSeenInTheHeader(t *testing.T) {
	content := make([]byte, 64<<20)
	copy(content[1<<20:], raw())
	src, f := onServer(t, content, testserver.Options{})
	_, err := importer.Import(t.Context(), importer.Request{Source: src, Target: filesink.New(filepath.Join(t.TempDir(), "d"), filesink.Options{}), Size: 32 << 20})
	if !errors.Is(err, errdef.ErrTooSmall) {
		t.Fatal(err)
	}
	if n := f.BytesSent(); n > 2<<20 {
		t.Errorf("%d bytes were fetched to see that the image is too large", n)
	}
}

// changing is a file that is touched while it is read.
type changing struct {
	*filesource.Source
	path string
}

func (c changing) Open(ctx context.Context, env source.Env) (source.Blob, error) {
	b, err := c.Source.Open(ctx, env)
	if err == nil {
		err = os.WriteFile(c.path, []byte("other content"), 0o600)
	}
	return b, err
}

func TestLocalFileChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "image")
	content := raw()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	_, err := importer.Import(t.Context(), importer.Request{Source: changing{filesource.New(path), path}, Target: filesink.New(filepath.Join(out, "d"), filesink.Options{})})
	if !errors.Is(err, errdef.ErrChanged) {
		t.Fatalf("got %v, want ErrChanged", err)
	}
	onlyFiles(t, out)
}

func TestCancel(t *testing.T) {
	src, _ := onServer(t, bytes.Repeat([]byte("0123456789abcdef"), 1<<19), testserver.Options{StallAfter: 1 << 20})
	ctx, cancel := context.WithCancel(t.Context())
	out := t.TempDir()
	tracker := new(progress.Tracker)
	done := make(chan error)
	go func() {
		_, err := importer.Import(ctx, importer.Request{Source: src, Target: filesink.New(filepath.Join(out, "d"), filesink.Options{}), Options: importer.Options{Tracker: tracker}})
		done <- err
	}()
	for tracker.Snapshot().Stored < 512<<10 {
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || errdef.ExitCode(err) != 130 {
		t.Errorf("got %v", err)
	}
	onlyFiles(t, out)
}

func TestProbeAndExplain(t *testing.T) {
	q := read(t, testimage.Make(t, t.TempDir(), testimage.Qcow2Case("snapshot-active")))
	for name, src := range map[string]source.Source{"file": onDisk(t, q), "gz": onDisk(t, gz(t, q))} {
		info, err := importer.Probe(t.Context(), src, importer.Options{})
		if err != nil {
			t.Fatal(name, err)
		}
		if info.Format != "qcow2" || info.VirtualSize == 0 || info.ClusterSize != 65536 || len(info.Snapshots)+info.SnapshotCount != 1 {
			t.Errorf("%s: %+v", name, info)
		}
		if s := info.String(); !strings.Contains(s, "qcow2") {
			t.Errorf("%s: %s", name, s)
		}
		ex, err := importer.Explain(t.Context(), importer.Request{Source: src, Target: forbidden{}, Spool: "/"})
		if err != nil || ex.Reason == "" || ex.VirtualSize != info.VirtualSize {
			t.Errorf("%s: %+v, %v", name, ex, err)
		}
	}
}

// forbidden is a target that must not be opened.
type forbidden struct{}

func (forbidden) Open(context.Context, sink.Options) (sink.Sink, error) { panic("opened") }
func (forbidden) String() string                                        { return "forbidden" }

// Max is room beyond Size: an image between the two keeps its own size.
func TestMax(t *testing.T) {
	disk := padded(raw())
	size := int64(len(disk))
	for _, c := range []struct {
		name      string
		size, max int64
		stream    bool
		want      int64 // -1: too small
	}{
		{"grown", size + 1024, size + 4096, false, size + 1024},
		{"between", size - 512, size, false, size},
		{"above", 512, size - 512, false, -1},
		{"no size", 0, size, false, size},
		{"no size, above", 0, size - 512, false, -1},
		{"stream, grown", size + 1024, size + 4096, true, size + 1024},
		{"stream, between", size - 512, size, true, size},
		{"stream, above", 512, size - 4096, true, -1},
	} {
		t.Run(c.name, func(t *testing.T) {
			src, _ := onServer(t, disk, testserver.Options{NoRanges: c.stream, NoContentLength: c.stream})
			path := filepath.Join(t.TempDir(), "disk")
			var plans []importer.Explanation
			track := new(progress.Tracker)
			res, err := importer.Import(t.Context(), importer.Request{Source: src, Target: filesink.New(path, filesink.Options{}), Size: c.size, Max: c.max,
				OnPlan: func(x importer.Explanation) { plans = append(plans, x) }, Options: importer.Options{Tracker: track}})
			if len(plans) != 1 || plans[0].Format != "raw" || !c.stream && plans[0].VirtualSize != size {
				t.Errorf("plans: %+v", plans)
			}
			if c.want < 0 {
				if !errors.Is(err, errdef.ErrTooSmall) {
					t.Errorf("%+v, %v", res, err)
				}
				return
			}
			if err != nil || res.VirtualSize != c.want || int64(len(read(t, path))) != c.want {
				t.Errorf("%+v, %v", res, err)
			}
			if s := track.Snapshot(); s.Virtual != s.Total || s.Total != c.want {
				t.Errorf("%+v", s)
			}
		})
	}
}

func TestCleanSpool(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".cdictl-spool-12", "mine"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := importer.CleanSpool(dir); err != nil {
		t.Error(err)
	}
	onlyFiles(t, dir, "mine")
	if err := importer.CleanSpool(filepath.Join(dir, "none")); err == nil {
		t.Error("no error for no folder")
	}
}
