package httpsource_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

func TestTrust(t *testing.T) {
	content := random(3<<20, 50)
	ca, other := testserver.NewCA(t, "right authority"), testserver.NewCA(t, "other authority")
	f := testserver.NewFile(content, testserver.Options{})
	url := testserver.StartTLS(t, f, ca, nil)
	dir := t.TempDir()
	bundle := filepath.Join(dir, "bundle")
	if err := os.WriteFile(bundle, append(append([]byte("# comment\n"), other.PEM...), ca.PEM...), 0o600); err != nil {
		t.Fatal(err)
	}
	folder, der := t.TempDir(), t.TempDir()
	ca.WriteFile(t, folder, "real")
	if err := os.Symlink("real", filepath.Join(folder, "ca.crt")); err != nil { // as in a mounted ConfigMap
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "README"), []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(ca.PEM)
	if err := os.WriteFile(filepath.Join(der, "ca.cer"), block.Bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		o    httpsource.Options
		want error
		part string
	}{
		{"bundle", httpsource.Options{CAFile: bundle}, nil, ""},
		{"folder", httpsource.Options{CAFile: folder}, nil, ""},
		{"folder with DER", httpsource.Options{CAFile: der}, nil, ""},
		{"in memory", httpsource.Options{CAs: append(append([]byte(nil), other.PEM...), ca.PEM...)}, nil, ""},
		{"in memory and in a file", httpsource.Options{CAs: other.PEM, CAFile: bundle}, nil, ""},
		{"nothing in memory", httpsource.Options{CAs: []byte("text")}, errdef.ErrUsage, "there is none"},
		{"insecure", httpsource.Options{Insecure: true}, nil, ""},
		{"system only", httpsource.Options{}, errdef.ErrUnavailable, `issuer "CN=right authority"`},
		{"other", httpsource.Options{CAFile: other.WriteFile(t, dir, "other.pem")}, errdef.ErrUnavailable, `subject "CN=test server"`},
		{"empty folder", httpsource.Options{CAFile: t.TempDir()}, errdef.ErrUsage, "no certificate"},
		{"absent", httpsource.Options{CAFile: filepath.Join(dir, "absent")}, errdef.ErrUsage, "absent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := quick
			o.CAFile, o.CAs, o.Insecure = tt.o.CAFile, tt.o.CAs, tt.o.Insecure
			r := &retries{}
			got, err := fetch(t, newSource(t, url+"/disk.img", o), r.env())
			if tt.want != nil {
				wantError(t, err, tt.want, tt.part)
				if r.count() > 0 {
					t.Error("it was tried again")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
		})
	}
	for _, r := range f.Requests() {
		if r.Proto != "HTTP/2.0" {
			t.Errorf("%s was spoken", r.Proto)
		}
	}
	t.Run("wrong host", func(t *testing.T) {
		s := httptest.NewUnstartedServer(f)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Client(t, "elsewhere")}, MinVersion: tls.VersionTLS12}
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		o := quick
		o.CAFile = bundle
		_, err := fetch(t, newSource(t, s.URL+"/disk.img", o), source.Env{})
		wantError(t, err, errdef.ErrUnavailable, "not trusted", `subject "CN=elsewhere"`)
	})
	t.Run("https to an http port", func(t *testing.T) {
		_, plain := file(t, content, testserver.Options{})
		_, err := fetch(t, newSource(t, strings.Replace(plain, "http:", "https:", 1), quick), source.Env{})
		wantError(t, err, errdef.ErrUnavailable, "does not speak TLS")
	})
	noLeak(t)
}

func TestHTTP2Misbehaves(t *testing.T) {
	content := random(4<<20+9, 51)
	ca := testserver.NewCA(t, "h2")
	o := quick
	o.Retries = 50
	o.CAFile = ca.WriteFile(t, t.TempDir(), "ca.pem")
	for name, so := range map[string]testserver.Options{
		"drops":             {DropSeed: 5, DropMax: 500_000},
		"drops in a stream": {NoRanges: true, DropSeed: 6, DropMax: 9 << 20},
		"no length":         {NoContentLength: true, DropSeed: 7, DropMax: 2 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := fetch(t, newSource(t, testserver.StartTLS(t, testserver.NewFile(content, so), ca, nil)+"/d", o), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			wantContent(t, got, content)
		})
	}
	noLeak(t)
}

func TestClientCertificate(t *testing.T) {
	content := random(200_000, 52)
	ca, clients := testserver.NewCA(t, "servers"), testserver.NewCA(t, "clients")
	url := testserver.StartTLS(t, testserver.NewFile(content, testserver.Options{}), ca, clients)
	dir := t.TempDir()
	o := quick
	o.CAFile = ca.WriteFile(t, dir, "ca.pem")
	_, err := fetch(t, newSource(t, url+"/disk.img", o), source.Env{})
	wantError(t, err, errdef.ErrUnauthorized)

	o.CertFile, o.KeyFile = testserver.WritePair(t, dir, clients.Client(t, "me"))
	got, err := fetch(t, newSource(t, url+"/disk.img", o), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)

	// Both in one file; and nothing of it for another host.
	both := o
	cert, _ := os.ReadFile(o.CertFile)
	key, _ := os.ReadFile(o.KeyFile)
	both.CertFile, both.KeyFile = filepath.Join(dir, "both.pem"), ""
	if err := os.WriteFile(both.CertFile, append(cert, key...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := fetch(t, newSource(t, url+"/disk.img", both), source.Env{}); err != nil {
		t.Fatal(err)
	}
	home := testserver.Start(t, &testserver.Redirector{Targets: []string{url + "/disk.img"}})
	_, err = fetch(t, newSource(t, home+"/x", o), source.Env{})
	wantError(t, err, errdef.ErrUnauthorized)

	o.KeyFile = o.CAFile
	_, err = fetch(t, newSource(t, url+"/disk.img", o), source.Env{})
	wantError(t, err, errdef.ErrUsage, "client certificate")
	noLeak(t)
}

func TestNginxSpeaksHTTP2(t *testing.T) {
	content := random(20<<20+1, 53)
	ca := testserver.NewCA(t, "nginx h2")
	root, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(root, "d.img"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	n := testserver.Nginx{Root: root, Require: requireTools(), Location: "add_header X-Proto $server_protocol; if ($server_protocol != HTTP/2.0) { return 505; }"}
	n.CertKey[0], n.CertKey[1] = testserver.WritePair(t, dir, ca.Server(t))
	o := quick
	o.CAFile = ca.WriteFile(t, dir, "ca.pem")
	b := open(t, newSource(t, n.Start(t)+"/d.img", o), source.Env{})
	got, err := io.ReadAll(b)
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, got, content)
	if _, ok := b.(io.ReaderAt); !ok {
		t.Error("nginx gave no ranges")
	}
}
