package registrysource

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
)

// started is a real registry that everybody may use, and the folder where it stores.
func started(t *testing.T) (base, dir string) {
	t.Helper()
	dir = t.TempDir()
	return testserver.Registry{Dir: dir, Require: requireServers}.Start(t), dir
}

// loginFile is an auth.json with what it says about a host.
func loginFile(t *testing.T, base string, what map[string]string) string {
	t.Helper()
	_, host, _ := strings.Cut(base, "://")
	b, err := json.Marshal(map[string]any{"auths": map[string]any{host: what}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "auth.json")
	write(t, path, b)
	return path
}

const identityToken = "hunter2-identity/with+signs"

func identified(token string) map[string]string {
	return map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("<token>:")), "identitytoken": token}
}

var nobody = map[string]string{}

// TestRealAuth: who may read what a real registry has.
func TestRealAuth(t *testing.T) {
	base, dir := started(t)
	push(t, base, "auth/disk", "v1", makeImage(here, nil, gzipped(t, makeTar(t, d("disk.img", disk)))))
	ca := testserver.NewCA(t, "registry")
	login := map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
	wrong := map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + wrongPassword))}
	for _, tt := range []struct {
		name  string
		r     testserver.Registry
		login map[string]string
		err   error
		asked string
		says  string
	}{
		{name: "TLS", r: testserver.Registry{TLS: ca}, login: nobody},
		{name: "basic", r: testserver.Registry{Basic: true}, login: login},
		{name: "basic, TLS", r: testserver.Registry{TLS: ca, Basic: true}, login: login},
		{name: "basic, nobody", r: testserver.Registry{Basic: true}, login: nobody, err: errdef.ErrUnauthorized, says: "401"},
		{name: "basic, wrong", r: testserver.Registry{Basic: true}, login: wrong, err: errdef.ErrUnauthorized, says: "401"},
		{name: "token", r: testserver.Registry{TLS: ca, Tokens: &testserver.Tokens{}}, login: login, asked: "GET repository:auth/disk:pull"},
		{name: "token for anybody", r: testserver.Registry{Tokens: &testserver.Tokens{Anonymous: true}}, login: nobody, asked: "GET repository:auth/disk:pull"},
		{name: "token, nobody", r: testserver.Registry{Tokens: &testserver.Tokens{}}, login: nobody, err: errdef.ErrUnauthorized, asked: "GET repository:auth/disk:pull", says: "401"},
		{name: "token, wrong", r: testserver.Registry{Tokens: &testserver.Tokens{}}, login: wrong, err: errdef.ErrUnauthorized, asked: "GET repository:auth/disk:pull", says: "401"},
		{name: "identity token", r: testserver.Registry{TLS: ca, Tokens: &testserver.Tokens{Identity: identityToken}}, login: identified(identityToken), asked: "POST repository:auth/disk:pull"},
		{name: "identity token, wrong", r: testserver.Registry{Tokens: &testserver.Tokens{Identity: identityToken}}, login: identified(wrongPassword), err: errdef.ErrUnauthorized, asked: "POST repository:auth/disk:pull", says: "401"},
		{name: "identity token, basic", r: testserver.Registry{Basic: true}, login: identified(identityToken), err: errdef.ErrUnauthorized, says: "wants a password"},
		{name: "identity token, not exchanged there", r: testserver.Registry{Tokens: &testserver.Tokens{Identity: identityToken, OnlyGET: true}}, login: identified(identityToken), err: errdef.ErrUnavailable, says: "405"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.r.Dir, tt.r.Require = dir, requireServers
			base := tt.r.Start(t)
			o := Options{HTTP: quick, AuthFile: loginFile(t, base, tt.login)}
			if o.HTTP.Insecure = tt.r.TLS == nil; tt.r.TLS != nil {
				o.HTTP.CAs = tt.r.TLS.PEM
			}
			got, _, _, err := fetch(t, newSource(t, nameOf(base, "auth/disk:v1"), o))
			noSecret(t, err)
			if tt.r.Tokens != nil {
				if asked := strings.Join(tt.r.Tokens.Asked(), "\n"); asked != tt.asked {
					t.Errorf("it was asked for %q, want %q", asked, tt.asked)
				}
			}
			if tt.err != nil {
				wantError(t, err, tt.err, tt.says)
				return
			}
			if err != nil || string(got) != disk {
				t.Fatalf("%q, %v", got, err)
			}
		})
	}
}

// TestTokenEnds: a token that is no longer good is replaced while a layer is read.
func TestTokenEnds(t *testing.T) {
	base, dir := started(t)
	content := randomBytes(9 << 20)
	push(t, base, "auth/disk", "v1", makeImage(here, nil, makeTar(t, d("disk.img", string(content)))))
	k := &testserver.Tokens{Anonymous: true}
	f := &testserver.Front{Before: func(_ int, w http.ResponseWriter, r *http.Request) bool {
		given := k.Given()
		if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") || strings.HasPrefix(r.Header.Get("Range"), "bytes=0-") || len(given) != 1 {
			return false
		}
		w.Header().Set("Www-Authenticate", `Bearer realm="`+k.URL+`",service="test registry",error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}}
	at := f.Start(t, testserver.Registry{Dir: dir, Tokens: k, Require: requireServers}.Start(t))
	s := newSource(t, nameOf(at, "auth/disk:v1"), Options{HTTP: quick, AuthFile: loginFile(t, at, nobody)})
	b, err := s.Open(t.Context(), source.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	old(b.(*blob))
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, content) || len(k.Given()) != 2 {
		t.Errorf("%d bytes, %v, %d tokens", len(got), err, len(k.Given()))
	}
}

// old makes the token of a blob's registry one that was used for a while: one that is refused at once is not replaced.
func old(b *blob) {
	a := b.store.(*registry).order[0].http.Authorizer.(*authorizer)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.since = a.since.Add(-time.Minute)
}

// TestRealLayers: of five layers only those are fetched that are needed, and they are merged. A hard link is found when all layers
// were read, and its file is read then.
func TestRealLayers(t *testing.T) {
	base, _ := started(t)
	m := 1 << 20
	fill := func(seed uint64) string {
		b := make([]byte, m)
		_, _ = rand.NewChaCha8([32]byte{byte(seed)}).Read(b)
		return string(b)
	}
	want := fill(9)
	layers := [][]byte{
		makeTar(t, file{name: "usr/a", content: fill(1)}, d("old.img", other)),
		gzipped(t, makeTar(t, file{name: "usr/b", content: fill(2)}, d("disk.img", fill(3)))),
		zstded(t, makeTar(t, file{name: "blobs/x", content: want})),
		gzipped(t, makeTar(t, file{name: "disk/disk.img", link: "blobs/x"}, d(".wh.old.img", ""))),
		zstded(t, makeTar(t, file{name: "etc/motd", content: "hello"})),
	}
	img := &made{blobs: map[string][]byte{}}
	img.index(img.image(platform{OS: "linux", Architecture: "s390x"}, nil, layers...),
		img.image(platform{OS: "linux", Architecture: "riscv64"}, nil, makeTar(t, d("a", disk), d("b", other))))
	push(t, base, "layers/disk", "v1", img)
	all := 0
	for _, l := range layers {
		all += len(l)
	}
	for path, most := range map[string]int{"": all + len(layers[2]) + 64<<10, "/disk/disk.img": len(layers[2]) + 64<<10} {
		f := &testserver.Front{}
		s := newSource(t, nameOf(f.Start(t, base), "layers/disk:v1"), Options{HTTP: quick, Path: path, Platform: "linux/s390x"})
		got, _, _, err := fetch(t, s)
		if err != nil || string(got) != want || f.Sent() > int64(most) {
			t.Errorf("path %q: %d bytes, %v, %d fetched, want at most %d", path, len(got), err, f.Sent(), most)
		}
		t.Logf("path %q: %d bytes fetched of %d in five layers", path, f.Sent(), all)
	}
	_, _, _, err := fetch(t, newSource(t, nameOf(base, "layers/disk:v1"), Options{HTTP: quick, Platform: "linux/riscv64"}))
	wantError(t, err, errdef.ErrUsage, "/disk/a, /disk/b")
	_, _, _, err = fetch(t, newSource(t, nameOf(base, "layers/disk:v1"), Options{HTTP: quick, Platform: "linux/ppc64le"}))
	wantError(t, err, errdef.ErrNotFound, "there is linux/s390x, linux/riscv64")
}

// TestReplaced: what becomes of an image whose tag, or layer, is another or gone while it is read.
func TestReplaced(t *testing.T) {
	base, _ := started(t)
	content := string(randomBytes(8 << 20))
	layer := makeTar(t, d("disk.img", content))
	for _, tt := range []struct {
		name string
		f    *testserver.Front
		err  error
		says string
	}{
		{name: "the tag is another image's", f: &testserver.Front{}},
		{name: "the layer is gone", f: &testserver.Front{Before: late(func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) })}, err: errdef.ErrNotFound, says: "404"},
		{name: "the layer is shorter", f: &testserver.Front{After: func(_ int, r *http.Response) {
			if cr := r.Header.Get("Content-Range"); cr != "" && !strings.HasPrefix(cr, "bytes 0-") {
				r.Header.Set("Content-Range", cr[:strings.IndexByte(cr, '/')]+"/8000000")
			}
		}}, err: errdef.ErrChanged, says: "size was"},
		{name: "the layer has other bytes", f: &testserver.Front{After: func(_ int, r *http.Response) {
			if cr := r.Header.Get("Content-Range"); cr != "" && !strings.HasPrefix(cr, "bytes 0-") {
				r.Body = spoiled{r.Body}
			}
		}}, err: errdef.ErrDigestMismatch, says: "layer " + sum256(layer).String()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			push(t, base, "replaced/disk", "v1", makeImage(here, nil, layer))
			s := newSource(t, nameOf(tt.f.Start(t, base), "replaced/disk:v1"), Options{HTTP: quick})
			b, err := s.Open(t.Context(), source.Env{})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			push(t, base, "replaced/disk", "v1", makeImage(here, nil, makeTar(t, d("disk.img", other))))
			got, err := io.ReadAll(b)
			if tt.err != nil {
				wantError(t, err, tt.err, tt.says)
			} else if err != nil || string(got) != content {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

// late answers all ranges but those at the start.
func late(answer func(w http.ResponseWriter)) func(int, http.ResponseWriter, *http.Request) bool {
	return func(_ int, w http.ResponseWriter, r *http.Request) bool {
		at := r.Header.Get("Range")
		if at == "" || strings.HasPrefix(at, "bytes=0-") {
			return false
		}
		answer(w)
		return true
	}
}

// spoiled changes a bit of each piece of a body.
type spoiled struct{ io.ReadCloser }

func (s spoiled) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if n > 0 {
		p[n-1] ^= 1
	}
	return n, err
}

// TestHelper: a program on PATH keeps the credentials. What it says, or is told, is in no error.
func TestHelper(t *testing.T) {
	base, dir := started(t)
	push(t, base, "auth/disk", "v1", makeImage(here, nil, makeTar(t, d("disk.img", disk))))
	k := &testserver.Tokens{Identity: identityToken}
	basic, tokens := testserver.Registry{Dir: dir, Basic: true, Require: requireServers}.Start(t), testserver.Registry{Dir: dir, Tokens: k, Require: requireServers}.Start(t)
	bin := t.TempDir()
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	for _, tt := range []struct {
		name, at, script string
		err              error
		says             string
	}{
		{name: "password", at: basic, script: `read host; echo '{"ServerURL":"x","Username":"` + user + `","Secret":"` + password + `"}'`},
		{name: "identity token", at: tokens, script: `read host; echo '{"ServerURL":"x","Username":"<token>","Secret":"` + identityToken + `"}'`},
		{name: "wrong password", at: basic, script: `read host; echo '{"ServerURL":"x","Username":"` + user + `","Secret":"` + wrongPassword + `"}'`, err: errdef.ErrUnauthorized, says: "401"},
		{name: "it knows nothing", at: basic, script: `echo 'credentials not found in native keychain'; exit 1`, err: errdef.ErrUnauthorized, says: "401"},
		{name: "it fails", at: basic, script: `echo 'it is ` + password + `'; echo '` + password + `' >&2; exit 1`, err: errdef.ErrUnauthorized, says: "cannot be read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(filepath.Join(bin, "docker-credential-fortest"), []byte("#!/bin/sh\n"+tt.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
			_, host, _ := strings.Cut(tt.at, "://")
			b, _ := json.Marshal(map[string]any{"credHelpers": map[string]string{host: "fortest"}})
			file := filepath.Join(t.TempDir(), "auth.json")
			write(t, file, b)
			got, _, _, err := fetch(t, newSource(t, nameOf(tt.at, "auth/disk:v1"), Options{HTTP: quick, AuthFile: file}))
			noSecret(t, err)
			if tt.err != nil {
				wantError(t, err, tt.err, tt.says)
			} else if err != nil || string(got) != disk {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestCerts: certs.d has authorities and a client's certificate, for a registry and for its mirror alike.
func TestCerts(t *testing.T) {
	servers, clients := testserver.NewCA(t, "registries"), testserver.NewCA(t, "clients")
	f := &front{next: behind(t)}
	push(t, testserver.Start(t, f), "m/disk", "v1", makeImage(here, nil, makeTar(t, d("disk.img", disk))))
	_, host, _ := strings.Cut(testserver.StartTLS(t, f, servers, clients), "://")
	dir := t.TempDir()
	at := filepath.Join(dir, "full", host)
	write(t, filepath.Join(at, "README"), []byte("not a certificate"))
	servers.WriteFile(t, at, "ca.crt")
	cert, key := testserver.WritePair(t, at, clients.Client(t, "me"))
	if err := errors.Join(os.Rename(cert, filepath.Join(at, "me.cert")), os.Rename(key, filepath.Join(at, "me.key"))); err != nil {
		t.Fatal(err)
	}
	bare := filepath.Join(dir, "bare")
	write(t, filepath.Join(bare, host, "ca.crt"), servers.PEM)
	conf := filepath.Join(dir, "registries.conf")
	write(t, conf, fmt.Appendf(nil, "[[registry]]\nlocation = \"registry.invalid\"\n[[registry.mirror]]\nlocation = %q\n", host))
	o := quick
	o.Insecure, o.Retries = false, -1
	for _, tt := range []struct {
		name, image string
		dirs        []string
		err         error
	}{
		{name: "registry", image: host + "/m/disk:v1", dirs: []string{filepath.Join(dir, "absent"), filepath.Join(dir, "full"), bare}},
		{name: "mirror", image: "registry.invalid/m/disk:v1", dirs: []string{filepath.Join(dir, "full")}},
		{name: "the first counts", image: host + "/m/disk:v1", dirs: []string{bare, filepath.Join(dir, "full")}, err: errdef.ErrUnauthorized},
		{name: "nowhere", image: host + "/m/disk:v1", err: errdef.ErrUnavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, _, _, err := fetch(t, newSource(t, "docker://"+tt.image, Options{HTTP: o, RegistriesConf: conf, CertsDirs: tt.dirs}))
			if tt.err != nil {
				wantError(t, err, tt.err, "")
			} else if err != nil || string(got) != disk {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}
