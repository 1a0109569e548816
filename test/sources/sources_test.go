//go:build linux

// Package sources imports from every kind of source, as a user would: the real binary, real servers on loopback. It holds
// them to the same promises, whatever the bytes come through. `make sources` prints its tables.
package sources

import (
	"crypto/sha256"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/servers"
	"github.com/cdictl/cdictl/test/internal/web"
)

// A stored is one form of the disk.
type stored struct {
	name, path string
	codec      bool
	// inOrder: the stored bytes, unpacked, are the disk's.
	inOrder bool
}

// disk makes a disk of size bytes, and its forms, in dir. It returns them and the digest of what qemu-img reads.
func disk(t *testing.T, dir string, size, data int64) (kinds []stored, want string) {
	t.Helper()
	proc.Need(t, "qemu-img", "gzip", "xz", "zstd")
	at := func(name string) string { return filepath.Join(dir, name) }
	raw := at("disk.raw")
	must(t, images.Raw(raw, size, data, 6))
	for name, args := range map[string][]string{
		"disk.qcow2": {"-O", "qcow2"}, "zlib.qcow2": {"-O", "qcow2", "-c"},
		"stream.vmdk": {"-O", "vmdk", "-o", "subformat=streamOptimized"},
	} {
		tool(t, append(append([]string{"qemu-img", "convert", "-f", "raw"}, args...), raw, at(name))...)
	}
	kinds = []stored{
		{name: "raw", path: raw, inOrder: true}, {name: "qcow2", path: at("disk.qcow2")},
		{name: "qcow2 zlib", path: at("zlib.qcow2")}, {name: "vmdk stream", path: at("stream.vmdk")},
	}
	for _, codec := range []string{"gz", "xz", "zst"} {
		must(t, images.Compress(t.Context(), codec, raw, raw+"."+codec))
		kinds = append(kinds, stored{"raw." + codec, raw + "." + codec, true, true})
	}
	want, err := images.Oracle(t.Context(), at("zlib.qcow2"), "qcow2", "")
	must(t, err)
	if got, err := images.SHA256(raw); err != nil || got != want {
		t.Fatalf("qemu-img reads another disk than was made: %s, %s, %v", got, want, err)
	}
	return kinds, want
}

// A network source: a front before a server, behind which each file can be found.
type network struct {
	name  string
	front *web.Front
	// put stores a file under the name of the image.
	put func(t testing.TB, path string)
	// source and args are what the command line says, and env what is around it.
	source    string
	args, env []string
	// pinned: what is read has a digest in its name, so a replacement is not seen.
	pinned bool
}

// house are the servers, which are started once.
type house struct {
	s3       *servers.S3
	gcs      *servers.GCS
	registry *servers.Registry
	files    string // folder behind web
	web      *web.Server
	open     *servers.Proxy // anybody's
	closed   *servers.Proxy // for proxyUser
}

const (
	proxyUser     = "someone"
	proxyPassword = "pr0xy-w0rd-that-nobody-may-see"
)

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{files: t.TempDir(), s3: servers.StartS3(t), gcs: servers.StartGCS(t), registry: servers.StartRegistry(t),
		open: servers.StartProxy(t, "", ""), closed: servers.StartProxy(t, proxyUser, proxyPassword)}
	h.web = web.Start(t, web.Ranges(h.files))
	return h
}

// networks are the network sources, each with a front of its own that prepare has seen.
func (h *house) networks(t *testing.T, prepare func(*web.Front)) []*network {
	t.Helper()
	file := func(t testing.TB, name, path string) {
		b, err := os.ReadFile(path)
		must(t, err)
		part := filepath.Join(h.files, name+".part")
		must(t, os.WriteFile(part, b, 0o600))
		must(t, os.Rename(part, filepath.Join(h.files, name)))
	}
	front := func(target string, tls bool) *web.Front {
		f := &web.Front{}
		prepare(f)
		if !tls {
			f.Start(t, target, nil)
			return f
		}
		f.Start(t, target, func(s *httptest.Server) {
			s.StartTLS()
			f.CA = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
		})
		return f
	}
	var all []*network
	for _, tt := range []struct {
		name  string
		tls   bool
		proxy string
	}{
		{"http", false, ""}, {"https", true, ""}, {"http, proxy", false, "http://" + h.open.Addr},
		{"https, proxy with password", true, "http://" + proxyUser + ":" + proxyPassword + "@" + h.closed.Addr},
	} {
		n := &network{name: tt.name, front: front(h.web.URL, tt.tls)}
		name := strings.NewReplacer(", ", "-", " ", "-").Replace(tt.name)
		n.put = func(t testing.TB, path string) { file(t, name, path) }
		n.source = n.front.URL + "/" + name
		if tt.tls {
			ca := filepath.Join(t.TempDir(), "ca.pem")
			must(t, os.WriteFile(ca, n.front.CA, 0o600))
			n.args = append(n.args, "--ca-file", ca)
		}
		if tt.proxy != "" {
			n.env = append(n.env, "CDICTL_PROXY="+tt.proxy)
		}
		all = append(all, n)
	}
	s3 := &network{name: "s3", front: front(h.s3.URL, false), source: "s3://images/disk"}
	s3.put = func(t testing.TB, path string) { h.s3.Put(t, "disk", path) }
	s3.args = []string{"--s3-endpoint", s3.front.URL, "--s3-keys", h.s3.Keys}
	gcs := &network{name: "gcs", front: front(h.gcs.URL, false), source: "gs://images/disk"}
	gcs.put = func(t testing.TB, path string) { h.gcs.Put(t, "disk", path) }
	gcs.args = []string{"--gcs-endpoint", gcs.front.URL, "--anonymous"}
	reg := &network{name: "registry", front: front(h.registry.URL, false), pinned: true, args: []string{"--insecure"}}
	reg.source = "docker://" + reg.front.Host() + "/vms/disk:v1"
	reg.put = func(t testing.TB, path string) {
		c, err := images.NewContainer(path)
		must(t, err)
		h.registry.Put(t, "vms/disk", "v1", c)
	}
	return append(all, s3, gcs, reg)
}

// answer is what cdictl says of an import.
type answer struct {
	Route, Format, Codec                    string
	Passes                                  int
	StoredSize, BytesFetched, BytesSpooled  int64
	BytesHeldMax, BytesWritten, VirtualSize int64
	BytesCloned                             int64
	Seconds                                 float64
}

// a stage is a folder for one target, with the folders beside it that a program may leave something in.
type stage struct {
	t      *testing.T
	bin    string
	dir    string
	target string
}

func newStage(t *testing.T, bin string) *stage {
	t.Helper()
	s := &stage{t: t, bin: bin, dir: t.TempDir()}
	for _, d := range []string{"out", "tmp"} {
		must(t, os.Mkdir(filepath.Join(s.dir, d), 0o700))
	}
	s.target = filepath.Join(s.dir, "out", "disk.img")
	return s
}

// command is an import in surroundings without anybody's settings or credentials.
func (s *stage) command(source string, env []string, args ...string) proc.Command {
	tmp := filepath.Join(s.dir, "tmp")
	return proc.Command{
		Args: append([]string{s.bin, "import", source, s.target, "--progress", "none", "-o", "json"}, args...),
		Env: append([]string{"TMPDIR=" + tmp, "HOME=" + tmp, "XDG_CONFIG_HOME=" + tmp, "XDG_CACHE_HOME=" + tmp, "XDG_RUNTIME_DIR=" + tmp,
			"AWS_EC2_METADATA_DISABLED=true", "GCE_METADATA_HOST=127.0.0.1:1", "NO_PROXY=", "no_proxy="}, env...),
	}
}

// run is command to its end.
func (s *stage) run(c proc.Command) proc.Result {
	s.t.Helper()
	r, err := proc.Run(s.t.Context(), c)
	must(s.t, err)
	return r
}

// whole says what is wrong with an import that has to be right.
func (s *stage) whole(r proc.Result, want string) (a answer, err error) {
	if r.Exit != 0 {
		return a, fmt.Errorf("exit %d: %s", r.Exit, strings.TrimSpace(r.Stderr))
	}
	if err := json.Unmarshal([]byte(r.Stdout), &a); err != nil {
		return a, err
	}
	got, err := images.SHA256(s.target)
	if err == nil && got != want {
		err = fmt.Errorf("digest %s, want %s", got, want)
	}
	return a, err
}

// left are the files below the stage.
func (s *stage) left() []string {
	s.t.Helper()
	var names []string
	must(s.t, filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, strings.TrimPrefix(path, s.dir))
		}
		return err
	}))
	return names
}

// noise writes a file of n bytes that nothing compresses, the same for a seed, and returns its digest.
func noise(t *testing.T, path string, n int, seed byte) string {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	b[510], b[511] = 0x55, 0xaa // no format's magic, and a boot sector's
	must(t, os.WriteFile(path, b, 0o600))
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func tool(t testing.TB, args ...string) string {
	t.Helper()
	out, err := proc.Tool(t.Context(), args...)
	must(t, err)
	return out
}
