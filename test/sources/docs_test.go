//go:build linux

package sources

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/servers"
	"github.com/cdictl/cdictl/test/internal/web"
)

// TestDocs runs every example of docs/sources, as it stands there. The convention: each line of a block that begins with
// ```sh is a command, run by bash in a folder of its own that has the files which the pages name. A block without a language
// is for people only. The hosts of the examples (images.example, registry.example, minio.example:9000, …) are taken to local
// servers by a proxy, and the rest by the environment: the commands themselves are not touched.
func TestDocs(t *testing.T) {
	proc.Need(t, "bash", "tar", "xz", "gzip")
	root, err := proc.Root()
	must(t, err)
	pages, err := filepath.Glob(filepath.Join(root, "docs", "sources", "*.md"))
	must(t, err)
	if len(pages) < 7 {
		t.Fatalf("only %d pages", len(pages))
	}
	v := newVillage(t)
	var ran []example
	for _, page := range pages {
		commands := examples(t, page)
		if len(commands) < 2 {
			t.Errorf("%s has %d examples", page, len(commands))
		}
		for i, c := range commands {
			ran = append(ran, example{fmt.Sprintf("%s/%d", filepath.Base(page), i+1), c, filepath.Base(page)})
		}
	}
	var kinds []struct{ Example, Page string }
	must(t, json.Unmarshal([]byte(tool(t, v.bin, "sources", "-o", "json")), &kinds))
	for _, k := range kinds {
		if _, err := os.Stat(filepath.Join(root, "docs", "sources", k.Page)); err != nil {
			t.Error(err)
		}
		ran = append(ran, example{"cdictl sources/" + k.Page, k.Example, k.Page})
	}
	for _, e := range ran {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			v.run(t, e.command, e.page)
		})
	}
}

// An example is a command of a page.
type example struct{ name, command, page string }

// examples are the commands of a page.
func examples(t *testing.T, page string) (commands []string) {
	t.Helper()
	b, err := os.ReadFile(page)
	must(t, err)
	run := false
	for line := range strings.Lines(string(b)) {
		switch line = strings.TrimSpace(line); {
		case strings.HasPrefix(line, "```"):
			run = line == "```sh"
		case run && line != "":
			commands = append(commands, line)
		}
	}
	return commands
}

// A village is all that the examples speak of.
type village struct {
	bin  string
	dir  string // with the files of the examples
	disk []byte // what is in all images
	env  []string
}

func newVillage(t *testing.T) *village {
	t.Helper()
	v := &village{bin: proc.TestBinary(t), dir: t.TempDir()}
	at := func(name string) string { return filepath.Join(v.dir, name) }
	write := func(name string, b []byte) {
		must(t, os.MkdirAll(filepath.Dir(at(name)), 0o700))
		must(t, os.WriteFile(at(name), b, 0o600))
	}
	_, _ = disk(t, v.dir, 4<<20, 1<<20)
	must(t, os.Rename(at("disk.qcow2"), at("debian-13.qcow2")))
	must(t, os.Remove(at("disk.raw.gz"))) // an example makes it
	var err error
	v.disk, err = os.ReadFile(at("disk.raw"))
	must(t, err)
	sum, err := images.SHA256(at("debian-13.qcow2"))
	must(t, err)
	write("SHA256SUMS", []byte(sum+"  debian-13.qcow2\n"))
	write("volume/disk.img", v.disk)
	write("tree/etc/hostname", []byte("debian\n"))
	tool(t, "tar", "-cJf", at("rootfs.tar.xz"), "-C", at("tree"), ".")
	c, err := images.NewContainer(at("debian-13.qcow2"))
	must(t, err)
	must(t, c.WriteLayout(at("layout")))
	must(t, c.WriteArchive(at("image.tar")))
	must(t, c.WriteDockerArchive(at("saved.tar")))
	const password = "p4ssword-of-someone"
	basic := base64.StdEncoding.EncodeToString([]byte("someone:" + password))
	write("password", []byte(password+"\n"))
	write("token", []byte("t0ken\n"))
	write("headers", []byte("Authorization: Bearer t0ken\n"))
	write("auth.json", []byte(`{"auths":{"registry.example":{"auth":"`+basic+`"}}}`))
	for name, text := range map[string]string{"accessKeyId": servers.S3AccessKey, "secretKey": servers.S3SecretKey} {
		write("keys/"+name, []byte(text))
	}
	private, _ := rsaKey(t)
	key, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "i@p.iam.gserviceaccount.com", "private_key_id": "1", "private_key": private, "token_uri": "https://tokens.example/token"})
	must(t, err)
	write("key.json", key)
	credentials := "aws_access_key_id = " + servers.S3AccessKey + "\naws_secret_access_key = " + servers.S3SecretKey + "\n"
	write(".aws/credentials", []byte("[default]\n"+credentials+"[images]\n"+credentials))

	s3, gcs, registry := servers.StartS3(t), servers.StartGCS(t), servers.StartRegistry(t)
	for _, name := range []string{"debian-13.qcow2", "rootfs.tar.xz"} {
		s3.Put(t, name, at(name))
		gcs.Put(t, name, at(name))
	}
	registry.Put(t, "vms/debian", "13", c)
	registry.Put(t, "private/debian", "13", c)
	closed := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			a := r.Header.Get("Authorization")
			if (strings.Contains(r.URL.Path, "/private/") || r.URL.Path == "/v2/") && a != "Basic "+basic && a != "Bearer t0ken" {
				w.Header().Set("Www-Authenticate", `Basic realm="example"`)
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			r.Header.Del("Authorization")
			next.ServeHTTP(w, r)
		})
	}
	hosts := map[string]http.Handler{
		"images.example":         closed(web.Ranges(v.dir)),
		"registry.example":       closed(behind(t, registry.URL, false)),
		"minio.example:9000":     behind(t, s3.URL, true),
		"127.0.0.1:9000":         behind(t, s3.URL, true),
		"127.0.0.1:4443":         behind(t, gcs.URL, false),
		"storage.googleapis.com": behind(t, gcs.URL, false),
		"tokens.example": http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"t0ken","token_type":"Bearer","expires_in":3600}`)
		}),
	}
	proxy, ca := startNames(t, hosts)
	write("ca.pem", ca)
	v.env = []string{"CDICTL_PROXY=" + proxy, "CDICTL_CA_FILE=" + at("ca.pem"), "AWS_ENDPOINT_URL_S3=https://minio.example:9000",
		"GOOGLE_APPLICATION_CREDENTIALS=" + at("key.json"), "AWS_EC2_METADATA_DISABLED=true", "GCE_METADATA_HOST=127.0.0.1:1",
		"PATH=" + filepath.Dir(v.bin) + ":" + os.Getenv("PATH"), "CDICTL_PROGRESS=none"}
	return v
}

// behind is a way to a real server. Who signs the host wants it kept; who has one name only does not.
func behind(t *testing.T, target string, keep bool) http.Handler {
	t.Helper()
	u, err := url.Parse(target)
	must(t, err)
	return &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		if keep {
			r.Out.Host = r.In.Host
		}
	}}
}

// startNames runs a proxy that knows hosts and no other, for http and, with certificates of its own authority, for https.
func startNames(t *testing.T, hosts map[string]http.Handler) (proxy string, ca []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	for name := range hosts {
		host, _, _ := strings.Cut(name, ":")
		about.DNSNames = append(about.DNSNames, host)
	}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	must(t, err)
	byHost := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := hosts[r.Host]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		http.Error(w, "no such host: "+r.Host, http.StatusBadGateway)
	})
	quiet := log.New(io.Discard, "", 0)
	inner := httptest.NewUnstartedServer(byHost)
	inner.Config.ErrorLog = quiet
	inner.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	inner.StartTLS()
	t.Cleanup(inner.Close)
	outer := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			byHost.ServeHTTP(w, r)
			return
		}
		up, err := net.Dial("tcp", inner.Listener.Addr().String())
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer func() { _ = up.Close() }()
		w.WriteHeader(http.StatusOK)
		down, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer func() { _ = down.Close() }()
		go func() {
			_, _ = io.Copy(up, buf)
			_ = up.Close()
		}()
		_, _ = io.Copy(down, up)
	}))
	outer.Config.ErrorLog = quiet
	outer.Start()
	t.Cleanup(outer.Close)
	return outer.URL, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// run runs one example in a folder with all files, and looks at what came out.
func (v *village) run(t *testing.T, command, page string) {
	t.Helper()
	dir := t.TempDir()
	files, err := os.ReadDir(v.dir)
	must(t, err)
	for _, f := range files { // an example reads these, and writes under other names
		must(t, os.Symlink(filepath.Join(v.dir, f.Name()), filepath.Join(dir, f.Name())))
	}
	r, err := proc.Run(t.Context(), proc.Command{Args: []string{"bash", "-euo", "pipefail", "-c", command}, Dir: dir,
		Env: append([]string{"HOME=" + dir, "XDG_CONFIG_HOME=" + dir, "XDG_CACHE_HOME=" + dir, "XDG_RUNTIME_DIR=" + dir}, v.env...)})
	must(t, err)
	if r.Exit != 0 {
		t.Fatalf("%s\nexit %d: %s", command, r.Exit, r.Stderr)
	}
	made := 0
	for name, check := range map[string]func(string) error{
		"disk.img": func(path string) error { return startsWith(path, v.disk, page == "blank.md") },
		"empty.qcow2": func(path string) error {
			_, err := proc.Tool(t.Context(), "qemu-img", "check", path)
			return err
		},
		"disk.raw.gz": func(path string) error {
			_, err := proc.Tool(t.Context(), "gzip", "-t", path)
			return err
		},
		"rootfs/etc/hostname": func(path string) error { return startsWith(path, []byte("debian\n"), false) },
		"copy/disk.img":       func(path string) error { return startsWith(path, v.disk, false) },
	} {
		switch err := check(filepath.Join(dir, name)); {
		case err == nil:
			made++
		case !os.IsNotExist(err) && !strings.Contains(strings.ToLower(err.Error()), "no such file") && !strings.Contains(err.Error(), "Could not open"):
			t.Errorf("%s\n%s: %v", command, name, err)
		}
	}
	if moves := strings.Contains(command, " import ") && !strings.Contains(command, "--explain") || strings.Contains(command, " convert "); moves != (made == 1) {
		t.Errorf("%s\nmade %d things: %s", command, made, r.Stdout)
	}
	if made == 0 && r.Stdout == "" {
		t.Errorf("%s\nsays nothing", command)
	}
}

// startsWith says whether a file begins with want, or has nothing but zeros.
func startsWith(path string, want []byte, blank bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if blank {
		want = make([]byte, 1<<20)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(bufio.NewReader(f), got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("another content than expected")
	}
	return nil
}
