package gcssource_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/gcssource"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

func quick() gcssource.Options {
	return gcssource.Options{HTTP: httpsource.Options{Backoff: time.Millisecond, Retries: 30}}
}

// bucket is one of a server.
type bucket struct{ url string }

func start(t *testing.T) bucket {
	t.Helper()
	b := bucket{testserver.FakeGCS{Require: os.Getenv("CDICTL_REQUIRE_SERVERS") == "1"}.Start(t)}
	b.post(t, "/storage/v1/b?project=p", "application/json", []byte(`{"name":"images"}`))
	return b
}

func (b bucket) post(t *testing.T, rest, kind string, body []byte) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, b.url+rest, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(resp.Body)
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s %s", rest, resp.Status, said)
	}
	return said
}

// put stores an object and tells its generation. more is added to the query.
func (b bucket) put(t *testing.T, name string, content []byte, more string) string {
	t.Helper()
	said := b.post(t, "/upload/storage/v1/b/images/o?uploadType=media&name="+url.QueryEscape(name)+more, "application/octet-stream", content)
	var o struct{ Generation string }
	if err := json.Unmarshal(said, &o); err != nil {
		t.Fatal(err)
	}
	return o.Generation
}

func newSource(t testing.TB, name string, o gcssource.Options) *gcssource.Source {
	t.Helper()
	s, err := gcssource.New(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func fetch(ctx context.Context, s source.Source) ([]byte, error) {
	b, err := s.Open(ctx, source.Env{})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return io.ReadAll(b)
}

func random(n int, seed byte) []byte {
	b := make([]byte, n)
	_, _ = mathrand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// bare takes everything away that application default credentials could find on this machine. Where there is no file they
// ask the machine's metadata address, so a test without one names a server of its own.
func bare(t *testing.T) (home string) {
	t.Helper()
	home = t.TempDir()
	for name, v := range map[string]string{"HOME": home, "APPDATA": home, "USERPROFILE": home, "GOOGLE_APPLICATION_CREDENTIALS": "", "GCE_METADATA_HOST": "127.0.0.1:1"} {
		t.Setenv(name, v)
	}
	return home
}

// A tokenServer issues tokens for what it is asked with.
type tokenServer struct {
	mu     sync.Mutex
	issued int
	forms  []url.Values
	status int // not 0: what it answers
	lasts  int // seconds
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = r.ParseForm()
	s.forms = append(s.forms, r.Form)
	w.Header().Set("Content-Type", "application/json")
	if s.status != 0 {
		w.WriteHeader(s.status)
		_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"no: t0ken-in-an-error"}`)
		return
	}
	s.issued++
	_, _ = fmt.Fprintf(w, `{"access_token":"t0ken-%d","token_type":"Bearer","expires_in":%d}`, s.issued, max(s.lasts, 3600))
}

func (s *tokenServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.issued
}

// serviceAccount is a key file whose tokens come from tokenURL; it returns the private key as it stands in there, too.
func serviceAccount(t *testing.T, tokenURL string) (path, secret string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	b, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "images@p.iam.gserviceaccount.com",
		"private_key_id": "1", "private_key": text, "token_uri": tokenURL})
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(t.TempDir(), "key.json"), string(b)), strings.Split(text, "\n")[2]
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
