package registrysource

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

const (
	user, password = "someone", "hunter2-secret"
	wrongPassword  = "hunter3-mistake"
	tokenSecret    = "tok-0123456789abcdef"
)

// requireServers makes real servers a must.
var requireServers = os.Getenv("CDICTL_REQUIRE_SERVERS") == "1"

// A front stands before a real registry and misbehaves.
type front struct {
	next  http.Handler
	base  string
	basic bool
	token bool
	realm string // "": its own
	open  bool   // the token service gives tokens to anybody

	mu     sync.Mutex
	rng    *rand.Rand
	drops  int // bodies of blobs that break off, at random places
	busy   int // answers of 429
	rotten bool
	sent   int64 // bytes of blobs
	paths  []string
	scopes []string
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.paths = append(f.paths, r.Method+" "+r.URL.Path)
	drop, busy := false, false
	blob := strings.Contains(r.URL.Path, "/blobs/sha256:") && r.Method == http.MethodGet
	if blob && f.busy > 0 {
		f.busy--
		busy = true
	} else if blob && f.drops > 0 {
		f.drops--
		drop = true
	}
	f.mu.Unlock()
	user, pass, isBasic := r.BasicAuth()
	known := isBasic && user == "someone" && pass == password
	switch {
	case r.URL.Path == "/token":
		f.mu.Lock()
		f.scopes = append(f.scopes, r.URL.Query().Get("scope")+" "+r.URL.Query().Get("service"))
		f.mu.Unlock()
		if !known && !f.open {
			http.Error(w, "who is that? "+pass, http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"token": tokenSecret, "expires_in": 300})
		return
	case f.basic && !known:
		w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
		http.Error(w, "no "+pass, http.StatusUnauthorized)
		return
	case f.token && r.Header.Get("Authorization") != "Bearer "+tokenSecret:
		realm := f.realm
		if realm == "" {
			realm = f.base + "/token"
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+realm+`",service="test service",scope="repository:x:pull,push"`)
		http.Error(w, "no", http.StatusUnauthorized)
		return
	case busy:
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
		return
	}
	c := &counted{ResponseWriter: w, f: f, blob: blob, left: -1}
	if drop {
		f.mu.Lock()
		c.left = f.rng.Int64N(300_000)
		f.mu.Unlock()
	}
	f.next.ServeHTTP(c, r)
}

type counted struct {
	http.ResponseWriter
	f    *front
	blob bool
	left int64
}

func (c *counted) Write(p []byte) (int, error) {
	if c.left >= 0 && int64(len(p)) > c.left {
		n, _ := c.ResponseWriter.Write(p[:c.left])
		c.count(n)
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	if c.left >= 0 {
		c.left -= int64(len(p))
	}
	if c.f.rotten && c.blob && len(p) > 600 {
		p = bytes.Clone(p)
		p[len(p)/2] ^= 1
	}
	n, err := c.ResponseWriter.Write(p)
	c.count(n)
	return n, err
}

func (c *counted) count(n int) {
	if c.blob {
		c.f.mu.Lock()
		defer c.f.mu.Unlock()
		c.f.sent += int64(n)
	}
}

// behind is the registry that fronts stand before: distribution/distribution where it is built, else one in this process.
func behind(t *testing.T) http.Handler {
	t.Helper()
	r := testserver.Registry{Require: requireServers}
	if !requireServers && !r.Built(t) {
		return ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	}
	u, err := url.Parse(r.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{ErrorLog: log.New(io.Discard, "", 0), FlushInterval: -1, Transport: &http.Transport{DisableCompression: true},
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Authorization")
		}}
}

// push puts an image into a registry, by its API alone.
func push(t *testing.T, base, repo, tag string, m *made) {
	t.Helper()
	do := func(method, u, kind string, body []byte) *url.URL {
		req, err := http.NewRequestWithContext(t.Context(), method, u, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode >= 300 {
			t.Fatalf("%s %s: %s %s", method, u, resp.Status, text)
		}
		at, _ := resp.Location() // where there is one
		return at
	}
	var manifests []string
	for digest, b := range m.blobs {
		if b[0] == '{' && bytes.Contains(b, []byte(`"schemaVersion"`)) {
			manifests = append(manifests, digest)
			continue
		}
		at := do(http.MethodPost, base+"/v2/"+repo+"/blobs/uploads/", "", nil)
		if at == nil {
			t.Fatal("an upload has no place to go")
		}
		q := at.Query()
		q.Set("digest", digest)
		at.RawQuery = q.Encode()
		do(http.MethodPut, at.String(), "application/octet-stream", b)
	}
	for _, kind := range []string{typeManifest, typeIndex} { // what an index names must be there before it
		for _, digest := range manifests {
			b := m.blobs[digest]
			var is descriptor
			if err := json.Unmarshal(b, &is); err != nil {
				t.Fatal(err)
			}
			if is.MediaType == kind {
				do(http.MethodPut, base+"/v2/"+repo+"/manifests/"+digest, kind, b)
			}
		}
	}
	do(http.MethodPut, base+"/v2/"+repo+"/manifests/"+tag, m.root.MediaType, m.blobs[m.root.Digest])
}

// quick does not wait long.
var quick = httpsource.Options{Backoff: time.Millisecond, Retries: 12, Insecure: true}

func nameOf(base, rest string) string {
	_, host, _ := strings.Cut(base, "://")
	return "docker://" + host + "/" + rest
}

func TestRegistry(t *testing.T) {
	next := behind(t)
	base := testserver.Start(t, &front{next: next})
	n := 0
	repo := func(t *testing.T, content []byte) string {
		n++
		r := fmt.Sprintf("some/disk%d", n)
		push(t, base, r, "v1", makeImage(here, nil, makeTar(t, file{name: "x"}), makeTar(t, d("disk.img", string(content)))))
		return nameOf(base, r)
	}
	sourcetest.Run(t, sourcetest.Case{Sizes: []int{0, 513, 1_000_000},
		New: func(t *testing.T, content []byte) source.Source {
			return newSource(t, repo(t, content)+":v1", Options{HTTP: quick})
		},
		Broken: func(t *testing.T) source.Source {
			return newSource(t, nameOf(base, "some/absent:v1"), Options{HTTP: quick})
		}})
	t.Run("drops and 429", func(t *testing.T) { testDrops(t, next) })
	t.Run("who may", func(t *testing.T) { testAuth(t, next) })
	t.Run("pins", func(t *testing.T) { testPins(t, next) })
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}

// testDrops: a body that breaks off goes on with a range.
func testDrops(t *testing.T, next http.Handler) {
	content := randomBytes(6 << 20)
	layer := makeTar(t, d("disk.img", string(content)))
	good := &front{next: next}
	m := makeImage(here, nil, layer)
	push(t, testserver.Start(t, good), "drops/disk", "v1", m)
	for seed := range uint64(3) {
		f := &front{next: next, rng: rand.New(rand.NewPCG(seed, 0)), drops: 11, busy: 2} // one of them is the configuration's
		got, _, _, err := fetch(t, newSource(t, nameOf(testserver.Start(t, f), "drops/disk:v1"), Options{HTTP: quick}))
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("seed %d: %d bytes, %v", seed, len(got), err)
		}
		f.mu.Lock() // what was cut off may still be counted
		drops, busy, sent := f.drops, f.busy, f.sent
		f.mu.Unlock()
		if drops > 0 || busy > 0 {
			t.Errorf("%d drops and %d refusals did not happen", drops, busy)
		}
		t.Logf("%d bytes sent for a layer of %d with 10 drops: %.1f%% more", sent, len(layer), 100*float64(sent-int64(len(layer)))/float64(len(layer)))
		if sent > int64(len(layer))*115/100 {
			t.Errorf("%d bytes were sent for a layer of %d", sent, len(layer))
		}
	}
	f := &front{next: next, rotten: true}
	_, _, _, err := fetch(t, newSource(t, nameOf(testserver.Start(t, f), "drops/disk:v1"), Options{HTTP: quick}))
	wantError(t, err, errdef.ErrDigestMismatch, "layer "+sum256(layer).String())
}

func noSecret(t *testing.T, err error) {
	t.Helper()
	for _, s := range []string{password, wrongPassword, tokenSecret, identityToken, url.QueryEscape(identityToken), base64.StdEncoding.EncodeToString([]byte(user + ":" + password))} {
		if text := fmt.Sprintf("%v %+v %#v", err, err, err) + errdef.Hint(err); err != nil && strings.Contains(text, s) {
			t.Errorf("an error shows %q: %s", s, text)
		}
	}
}

func testAuth(t *testing.T, next http.Handler) {
	push(t, testserver.Start(t, &front{next: next}), "auth/disk", "v1", makeImage(here, nil, gzipped(t, makeTar(t, d("disk.img", disk)))))
	with := quick
	with.Username, with.Password = user, password
	wrong := quick
	wrong.Username, wrong.Password = user, wrongPassword
	ca := testserver.NewCA(t, "registry")
	trusted := with
	trusted.Insecure, trusted.CAs = false, ca.PEM
	for _, tt := range []struct {
		name string
		f    *front
		o    Options
		tls  bool
		err  error
		says string
	}{
		{name: "anybody", f: &front{}, o: Options{HTTP: quick}},
		{name: "anybody, TLS, credentials that nobody asks for", f: &front{}, o: Options{HTTP: trusted}, tls: true},
		{name: "basic", f: &front{basic: true}, o: Options{HTTP: with}},
		{name: "basic, TLS", f: &front{basic: true}, o: Options{HTTP: trusted}, tls: true},
		{name: "basic, nobody", f: &front{basic: true}, o: Options{HTTP: quick, AuthFile: "EMPTY"}, err: errdef.ErrUnauthorized, says: "401"},
		{name: "basic, wrong", f: &front{basic: true}, o: Options{HTTP: wrong}, err: errdef.ErrUnauthorized, says: "401"},
		{name: "basic, auth.json", f: &front{basic: true}, o: Options{HTTP: quick, AuthFile: "HOST"}},
		{name: "basic, auth.json of a repository", f: &front{basic: true}, o: Options{HTTP: quick, AuthFile: "HOST/auth"}},
		{name: "basic, .dockerconfigjson", f: &front{basic: true}, o: Options{HTTP: quick, AuthFile: "https://HOST/v1/"}},
		{name: "basic, no such file", f: &front{basic: true}, o: Options{HTTP: quick, AuthFile: "/absent"}, err: errdef.ErrUsage, says: "absent"},
		{name: "token", f: &front{token: true}, o: Options{HTTP: with}},
		{name: "token, TLS", f: &front{token: true}, o: Options{HTTP: trusted}, tls: true},
		{name: "token for anybody", f: &front{token: true, open: true}, o: Options{HTTP: quick, AuthFile: "EMPTY"}},
		{name: "token, auth.json", f: &front{token: true}, o: Options{HTTP: quick, AuthFile: "HOST"}},
		{name: "token, wrong", f: &front{token: true}, o: Options{HTTP: wrong}, err: errdef.ErrUnauthorized, says: "401"},
		{name: "token from where clouds keep theirs", f: &front{token: true, realm: "http://169.254.169.254/latest/api/token"}, o: Options{HTTP: with}, err: errdef.ErrRefused, says: "link-local"},
		{name: "token from a URL without TLS", f: &front{token: true, realm: "http://127.0.0.1:1/"}, o: Options{HTTP: trusted}, tls: true, err: errdef.ErrRefused, says: "no https URL"},
		{name: "TLS that is not trusted", f: &front{}, o: Options{HTTP: httpsource.Options{Retries: -1}}, tls: true, err: errdef.ErrUnavailable, says: "not trusted"},
		{name: "no TLS, and that is not allowed", f: &front{}, o: Options{HTTP: httpsource.Options{Retries: -1}}, err: errdef.ErrUnavailable, says: "does not speak TLS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.f.next = next
			if tt.tls {
				tt.f.base = testserver.StartTLS(t, tt.f, ca, nil)
			} else {
				tt.f.base = testserver.Start(t, tt.f)
			}
			_, host, _ := strings.Cut(tt.f.base, "://")
			if key := strings.ReplaceAll(tt.o.AuthFile, "HOST", host); key != "" && key != "/absent" {
				tt.o.AuthFile = filepath.Join(t.TempDir(), "auth.json")
				b, _ := json.Marshal(map[string]any{"auths": map[string]any{key: map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}}})
				write(t, tt.o.AuthFile, b)
			}
			got, _, _, err := fetch(t, newSource(t, nameOf(tt.f.base, "auth/disk:v1"), tt.o))
			noSecret(t, err)
			if tt.err != nil {
				wantError(t, err, tt.err, tt.says)
				return
			}
			if err != nil || string(got) != disk {
				t.Fatalf("%q, %v", got, err)
			}
			tt.f.mu.Lock()
			defer tt.f.mu.Unlock()
			for _, s := range tt.f.scopes {
				if s != "repository:auth/disk:pull test service" {
					t.Errorf("scope %q", s)
				}
			}
			if len(tt.f.scopes) > 1 {
				t.Errorf("%d tokens were asked for", len(tt.f.scopes))
			}
		})
	}
}

func testPins(t *testing.T, next http.Handler) {
	base := testserver.Start(t, &front{next: next})
	m := makeImage(here, nil, makeTar(t, d("disk.img", "one")))
	push(t, base, "pins/disk", "v1", m)
	one := m.root.Digest
	m2 := makeImage(here, nil, makeTar(t, d("disk.img", "two")))
	m2.index(m2.root)
	push(t, base, "pins/disk", "v1", m2)
	for rest, want := range map[string]string{":v1": "two", "@" + one: "one", ":v1@" + one: "one", "@" + m2.root.Digest: "two"} {
		got, info, _, err := fetch(t, newSource(t, nameOf(base, "pins/disk"+rest), Options{HTTP: quick}))
		if err != nil || string(got) != want || !strings.HasPrefix(info.Identity, "sha256:") {
			t.Errorf("%s: %q, %+v, %v", rest, got, info, err)
		}
	}
	_, _, _, err := fetch(t, newSource(t, nameOf(base, "pins/disk@"+sum256(nil).String()), Options{HTTP: quick}))
	wantError(t, err, errdef.ErrNotFound, "404")
}

func TestMirrors(t *testing.T) {
	next := ggcr.New(ggcr.Logger(log.New(io.Discard, "", 0)))
	mirror, home := &front{next: next}, &front{next: http.NotFoundHandler()}
	push(t, testserver.Start(t, &front{next: next}), "m/disk", "v1", makeImage(here, nil, makeTar(t, d("disk.img", disk))))
	_, at, _ := strings.Cut(testserver.Start(t, mirror), "://")
	_, host, _ := strings.Cut(testserver.Start(t, home), "://")
	conf := filepath.Join(t.TempDir(), "registries.conf")
	o := quick
	o.Insecure = false
	write(t, conf, fmt.Appendf(nil, "[[registry]]\nlocation = %q\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", host, at))
	got, _, _, err := fetch(t, newSource(t, "docker://"+host+"/m/disk:v1", Options{HTTP: o, RegistriesConf: conf}))
	if err != nil || string(got) != disk || len(home.paths) > 0 || len(mirror.paths) == 0 {
		t.Errorf("%q, %v, %q %q", got, err, home.paths, mirror.paths)
	}
	_, host, _ = strings.Cut(testserver.Start(t, &front{next: next}), "://")
	conf += "2" // what was read is remembered
	write(t, conf, fmt.Appendf(nil, "[[registry]]\nlocation = %q\nblocked = true\n", host))
	_, _, _, err = fetch(t, newSource(t, "docker://"+host+"/m/disk:v1", Options{HTTP: o, RegistriesConf: conf}))
	wantError(t, err, errdef.ErrRefused, "is blocked")
}

func TestChallenges(t *testing.T) {
	for in, want := range map[string]challenge{
		`Bearer realm="https://h/t?a=b",service="s, \"t\"",scope="x"`: {true, "https://h/t?a=b", `s, "t"`},
		`bearer service=s, realm=https://h/`:                          {true, "https://h/", "s"},
		`Basic realm="x"`:                                             {},
	} {
		if got, ok := parseChallenges([]string{in}); !ok || got != want {
			t.Errorf("%s: %+v, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "Bearer", "Negotiate x", `Bearer realm="`, `Bearer realm`} {
		if got, ok := parseChallenges([]string{in}); ok {
			t.Errorf("%s: %+v", in, got)
		}
	}
	if got, _ := parseChallenges([]string{`Basic realm="x"`, `Bearer realm="r"`}); !got.bearer {
		t.Error("bearer does not come before basic")
	}
}

// TestRefused: a token that was good for a while is asked for again, one that is refused at once is not.
func TestRefused(t *testing.T) {
	a := &authorizer{challenge: challenge{bearer: true}, token: "t", since: time.Now()}
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x/", nil)
	r.Header.Set("Authorization", "Bearer t")
	if a.Refused(r, http.StatusUnauthorized) {
		t.Error("a new token was asked for again")
	}
	a.since = time.Now().Add(-time.Minute)
	if !a.Refused(r, http.StatusUnauthorized) || a.token != "" {
		t.Error("an old token was not asked for again")
	}
}
