package gcssource_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/gcssource"
)

// Every kind of credentials ends in a token on each request.
func TestCredentials(t *testing.T) {
	for name, setup := range map[string]func(t *testing.T, home, tokenURL string) gcssource.Credentials{
		"service account": func(t *testing.T, _, url string) gcssource.Credentials {
			path, _ := serviceAccount(t, url)
			return gcssource.File(path)
		},
		"named by the environment": func(t *testing.T, _, url string) gcssource.Credentials {
			path, _ := serviceAccount(t, url)
			t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", path)
			return gcssource.Default()
		},
		"gcloud's": func(t *testing.T, home, url string) gcssource.Credentials {
			path, _ := serviceAccount(t, url)
			text := read(t, path)
			place := filepath.Join(home, ".config", "gcloud", "application_default_credentials.json")
			if runtime.GOOS == "windows" {
				place = filepath.Join(home, "gcloud", "application_default_credentials.json")
			}
			write(t, place, text)
			return gcssource.Default()
		},
		"workload identity federation": func(t *testing.T, home, url string) gcssource.Credentials {
			subject := write(t, filepath.Join(home, "subject"), "t0ken-of-the-pod")
			return gcssource.File(write(t, filepath.Join(home, "wif.json"), `{"type":"external_account","audience":"//iam.googleapis.com/p",`+
				`"subject_token_type":"urn:ietf:params:oauth:token-type:jwt","token_url":"`+url+`","credential_source":{"file":"`+filepath.ToSlash(subject)+`"}}`))
		},
		"the machine's": func(t *testing.T, _, url string) gcssource.Credentials {
			m := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Metadata-Flavor") != "Google" || !strings.HasSuffix(r.URL.Path, "/token") {
					w.WriteHeader(http.StatusNotFound)
					return
				}
				w.Header().Set("Metadata-Flavor", "Google")
				_, _ = io.WriteString(w, `{"access_token":"t0ken-1","token_type":"Bearer","expires_in":3600}`)
			})
			t.Setenv("GCE_METADATA_HOST", strings.TrimPrefix(testserver.Start(t, m), "http://"))
			return gcssource.Default()
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := bare(t)
			content := random(2<<20, 1)
			f := testserver.NewFile(content, testserver.Options{BearerToken: "t0ken-1"})
			o := quick()
			o.Credentials = setup(t, home, testserver.Start(t, &tokenServer{}))
			o.Endpoint, o.Project = testserver.Start(t, f), "payer"
			got, err := fetch(t.Context(), newSource(t, "gs://images/disk", o))
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			for _, r := range f.Requests() {
				if r.Header.Get("X-Goog-User-Project") != "payer" || r.Header.Get("Accept-Encoding") != "gzip" || r.URL != "/images/disk" {
					t.Errorf("%s %v", r.URL, r.Header)
				}
			}
		})
	}
}

// A token is withdrawn while the object is read: another is fetched. 403 is no reason to.
func TestTokenEnds(t *testing.T) {
	bare(t)
	tokens := &tokenServer{}
	path, _ := serviceAccount(t, testserver.Start(t, tokens))
	content := random(4<<20, 2)
	before := testserver.NewFile(content, testserver.Options{BearerToken: "t0ken-1"})
	after := testserver.NewFile(content, testserver.Options{BearerToken: "t0ken-2"})
	front := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(before.Requests()) < 2 {
			before.ServeHTTP(w, r)
			return
		}
		after.ServeHTTP(w, r)
	})
	o := quick()
	o.Credentials, o.Endpoint = gcssource.File(path), testserver.Start(t, front)
	got, err := fetch(t.Context(), newSource(t, "gs://images/disk", o))
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if n := tokens.count(); n != 2 {
		t.Errorf("%d tokens were issued", n)
	}
	refused := testserver.NewFile(nil, testserver.Options{FailStatus: http.StatusForbidden, FailBody: "not for t0ken-3"})
	o.Endpoint = testserver.Start(t, refused)
	_, err = fetch(t.Context(), newSource(t, "gs://images/disk", o))
	if !errors.Is(err, errdef.ErrUnauthorized) || strings.Contains(err.Error(), "t0ken") || len(refused.Requests()) != 1 {
		t.Errorf("%v, %d requests", err, len(refused.Requests()))
	}
}

func TestCredentialsFail(t *testing.T) {
	home := bare(t)
	refusing := &tokenServer{status: http.StatusBadRequest}
	path, secret := serviceAccount(t, testserver.Start(t, refusing))
	for name, tt := range map[string]struct {
		c     gcssource.Credentials
		class error
	}{
		"refused":        {gcssource.File(path), errdef.ErrUnauthorized},
		"absent":         {gcssource.File(filepath.Join(home, "absent.json")), errdef.ErrUsage},
		"nonsense":       {gcssource.File(write(t, filepath.Join(home, "a.json"), "s3cr3t of no kind")), errdef.ErrUsage},
		"odd type":       {gcssource.File(write(t, filepath.Join(home, "b.json"), `{"type":"s3cr3t"}`)), errdef.ErrUsage},
		"no private key": {gcssource.File(write(t, filepath.Join(home, "c.json"), `{"type":"service_account","private_key":"s3cr3t"}`)), errdef.ErrUnauthorized},
		"too long":       {gcssource.File(write(t, filepath.Join(home, "d.json"), strings.Repeat("s3cr3t", 100_000))), errdef.ErrUsage},
	} {
		t.Run(name, func(t *testing.T) {
			f := testserver.NewFile([]byte("x"), testserver.Options{})
			o := quick()
			o.Credentials, o.Endpoint = tt.c, testserver.Start(t, f)
			_, err := newSource(t, "gs://images/disk", o).Open(t.Context(), source.Env{})
			if !errors.Is(err, tt.class) || len(f.Requests()) > 0 {
				t.Errorf("%v, %d requests", err, len(f.Requests()))
			}
			for _, s := range []string{"s3cr3t", secret, "t0ken"} {
				if err != nil && strings.Contains(err.Error(), s) {
					t.Errorf("the error shows %q: %v", s, err)
				}
			}
			t.Log(err)
		})
	}
}
