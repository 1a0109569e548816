//go:build linux

package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/web"
)

// A server is one that lies, or leads astray.
type server struct {
	name string
	h    http.HandlerFunc
	args []string
	want want
	// bound is what may come out before it is refused; 0: nothing is said of it.
	bound int64
}

// Where a server breaks off, or says what cannot be, it may as well be the network: 21 is as good there.
var (
	refused = []int{20}
	limited = []int{15}
	broken  = []int{12, 15, 20, 21}
)

func servers() []server {
	const room = 64 << 20
	small := []string{"--max-virtual-size", "64Mi"}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", to)
			w.WriteHeader(http.StatusFound)
		}
	}
	all := []server{
		{"an endless body", forever(nil, 'A'), small, want{limited, "above the limit of 67108864"}, room},
		{"an endless body of zeros", forever(nil, 0), small, want{limited, "above the limit of 67108864"}, room},
		{"endless zstd of A", forever(zstdHead, zstdBlock('A')...), nil, want{limited, "above the limit of 2000 for one"}, 0},
		{"endless zstd of zeros", forever(zstdHead, zstdBlock(0)...), small, want{limited, "above the limit of 67108864"}, room},
		{"endless xz of nothing", forever(xzEmpty, xzEmpty...), nil, want{limited, "have become nothing"}, 0},
		{"endless zstd of nothing", forever(nil, zstdSkippable...), nil, want{limited, "have become nothing"}, 0},
		{"an endless tar of folders", forever(tarFolder(), tarFolder()...), nil, want{limited, "more than 10000 members"}, 0},
		{"a length of 2^62", length(1 << 62), nil, want{limited, "virtual size 4611686018427387392"}, 0},
		{"a range of 2^62", total(1 << 62), nil, want{limited, "virtual size 4611686018427387904"}, 0},
		{"a range of 2^63", raw("206 Partial Content", "Content-Range: bytes 0-3/9223372036854775808\r\nContent-Length: 4\r\n\r\nQFI\xfb"), nil, want{broken, ""}, 0},
		{"a length of 2^64", raw("200 OK", "Content-Length: 18446744073709551616\r\n\r\nbody"), nil, want{broken, ""}, 0},
		{"a length of -1", raw("200 OK", "Content-Length: -1\r\n\r\nbody"), nil, want{broken, ""}, 0},
		{"two lengths", raw("200 OK", "Content-Length: 4\r\nContent-Length: 5\r\n\r\nbody"), nil, want{broken, ""}, 0},
		{"a length and chunks", raw("200 OK", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nbody"), nil, want{broken, ""}, 0},
		{"a chunk of 2^64", raw("200 OK", "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nbody"), nil, want{broken, ""}, 0},
		{"less than its length", raw("200 OK", "Content-Length: 1000000\r\n\r\nbody"), nil, want{broken, ""}, 0},
		{"a range that was not asked for", raw("206 Partial Content", "ETag: \"x\"\r\nContent-Range: bytes 4096-8191/1000000\r\nContent-Length: 4096\r\n\r\n"), nil, want{broken, ""}, 0},
		{"a range that ends before it begins", raw("206 Partial Content", "Content-Range: bytes 9-1/1000000\r\nContent-Length: 4\r\n\r\nbody"), nil, want{broken, ""}, 0},
		{"a header of 100 MiB", endlessHeader, nil, want{broken, ""}, 0},
		{"endless redirects", func(w http.ResponseWriter, r *http.Request) { redirect(r.URL.Path+"x")(w, r) }, nil, want{broken, "more than 10 redirects"}, 0},
	}
	for _, to := range []string{
		"file:///etc/passwd", "FILE:/etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "data:,disk", "unix:///run/x.sock",
		"http://169.254.169.254/latest/meta-data/", "http://169.254.0.1/", "http://[::ffff:169.254.169.254]/", "http://[64:ff9b::a9fe:a9fe]/",
		"http://[fe80::1]/", "http://[fe80::1%25lo]/", "http://[fd00:ec2::254]/latest/", "http://[fd20:ce::254]/", "http://100.100.100.200/",
		"//169.254.169.254/", "https://169.254.169.254/",
	} {
		all = append(all, server{"a redirect to " + to, redirect(to), nil, want{refused, ""}, 0})
	}
	return all
}

// TestServers imports from servers that lie.
func TestServers(t *testing.T) {
	b := newBed(t, "Servers that lie: exit 12, 15 or 20, or 21 where it may as well be the network; within 2 s and 128 MiB")
	for _, s := range servers() {
		srv := web.Start(t, s.h)
		args := append([]string{"--retries", "0"}, s.args...)
		if s.bound == 0 {
			b.try(t.Context(), s.name, "http", srv.URL+"/disk", s.want, args...)
			continue
		}
		b.tryPiped(t.Context(), s.name, "http", srv.URL+"/disk", s.want, args...)
		n, _, err := b.passed(t.Context(), srv.URL+"/disk", args...)
		if err == nil && n > s.bound+s.bound/100 {
			err = fmt.Errorf("%d bytes came out, the bound is %d", n, s.bound)
		}
		b.table.Row(s.name, "bytes out", "", "", "", fmt.Sprintf("%d bytes came out, the bound is %d", n, s.bound))
		b.table.Count(s.name+", bytes", err)
	}
	b.end(t)
}

// TestLinkLocal leads to where clouds keep credentials. A proxy of ours answers for all the world, so that no machine is
// asked for any.
func TestLinkLocal(t *testing.T) {
	b := newBed(t, "Link-local addresses: refused behind a redirect, unless allowed")
	proxy := web.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Host {
		case "169.254.169.254":
			_, _ = w.Write(make([]byte, 4096)) // the client tells if it is not there
		case "far.test":
			http.Redirect(w, r, "http://169.254.169.254/disk", http.StatusFound)
		default:
			http.Redirect(w, r, "http://far.test/disk", http.StatusFound)
		}
	}))
	args := []string{"--retries", "0", "--proxy", proxy.URL}
	b.try(t.Context(), "by two redirects", "http", "http://near.test/disk", want{refused, "169.254.169.254"}, args...)
	for name, source := range map[string]string{"by two redirects, allowed": "http://near.test/disk", "by the user": "http://169.254.169.254/disk"} {
		all := args
		if name != "by the user" {
			all = append(slices.Clone(args), "--allow-link-local")
		}
		n, message, err := b.passed(t.Context(), source, all...)
		if err == nil && n != 4096 {
			err = fmt.Errorf("%d bytes came out: %.300s", n, message)
		}
		b.table.Row(name, "http", "", "", "", fmt.Sprintf("%d bytes came out", n))
		b.table.Count(name, err)
	}
	b.end(t)
}

// TestDescriptors has files that name others, which lie where nobody may lead.
func TestDescriptors(t *testing.T) {
	b := newBed(t, "VMDK descriptors that name other files")
	in := filepath.Join(b.dir, "in")
	if err := errors.Join(os.Mkdir(in, 0o700), os.WriteFile(filepath.Join(b.dir, "secret"), make([]byte, 4096), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../secret", filepath.Join(in, "link")); err != nil {
		t.Fatal(err)
	}
	path, srv := filepath.Join(in, "disk.vmdk"), web.Start(t, web.Ranges(in))
	for _, name := range []string{"../secret", "/etc/passwd", "..", ".", "", "link", "a/../../secret", "file:///etc/passwd", "http://169.254.169.254/x", "disk.vmdk", "caf\xe9", "\xff\xfe", "no such file"} {
		text := fmt.Sprintf("# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\nRW 8 FLAT \"%s\" 0\n", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		w := want{exits: []int{12, 15, 20}}
		if name == "no such file" || name == "caf\xe9" || name == "\xff\xfe" {
			w.exits = append(w.exits, 10) // a name like any other, and nothing has it
		}
		for by, source := range map[string]string{"file": path, "http": srv.URL + "/disk.vmdk"} {
			if name == "link" && by == "http" {
				continue // to this server it is a file
			}
			b.try(t.Context(), fmt.Sprintf("extent %q", name), by, source, w, "--retries", "0")
		}
	}
	b.end(t)
}

// forever sends head, then part over and over.
func forever(head []byte, part ...byte) http.HandlerFunc {
	part = bytes.Repeat(part, 1+64<<10/len(part))
	return func(w http.ResponseWriter, r *http.Request) {
		_, err := w.Write(head)
		for err == nil {
			_, err = w.Write(part)
		}
	}
}

// A zstd frame with a window of 2 MiB, and a block of 128 KiB that is one byte over and over.
var zstdHead = []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58}

func zstdBlock(of byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, 1<<1|128<<10<<3)[:3], of)
}

// zstdSkippable is a frame of no content.
var zstdSkippable = []byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}

// xzEmpty is an xz stream without a block, as xz makes of nothing.
var xzEmpty = []byte("\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4\x46\x00\x00\x00\x00\x1c\xdf\x44\x21\x1f\xb6\xf3\x7d\x01\x00\x00\x00\x00\x04YZ")

// tarFolder is the header of a folder.
func tarFolder() []byte {
	b := make([]byte, 512)
	copy(b, "d/")
	copy(b[100:], "0000755\x000000000\x000000000\x0000000000000\x0000000000000\x00        5")
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

// length promises a length, by which a file without any format is a disk.
func length(n int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		for _, err := w.Write(bytes.Repeat([]byte("A"), 64<<10)); err == nil; {
			_, err = w.Write(bytes.Repeat([]byte("A"), 64<<10))
		}
	}
}

// total honours ranges of a content of n bytes.
func total(n int64) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(letters{}, 0, n))
	}
}

// letters is A wherever it is read.
type letters struct{}

func (letters) ReadAt(p []byte, _ int64) (int, error) {
	for i := range p {
		p[i] = 'A'
	}
	return len(p), nil
}

// raw answers with bytes that net/http would not write.
func raw(status, rest string) http.HandlerFunc {
	return hijack(func(_ context.Context, w io.Writer) error {
		_, err := io.WriteString(w, "HTTP/1.1 "+status+"\r\n"+rest)
		return err
	})
}

// endlessHeader never comes to the body.
var endlessHeader = hijack(func(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\n")
	line := slices.Concat([]byte("X-Long: "), bytes.Repeat([]byte("x"), 64<<10), []byte("\r\n"))
	for range 1600 {
		if err != nil {
			break
		}
		_, err = w.Write(line)
	}
	return err
})

func hijack(f func(context.Context, io.Writer) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err)
		}
		defer func() { _ = conn.Close() }()
		_ = f(r.Context(), conn) // it ends when the client has had enough
	}
}
