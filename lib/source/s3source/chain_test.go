package s3source_test

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // names of files
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/s3source"
)

// bare takes everything away that the chain could find on this machine, the metadata address above all.
func bare(t *testing.T) (home string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			if err := os.Unsetenv(name); err != nil {
				t.Fatal(err)
			}
		}
	}
	home = t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("USERPROFILE", home)
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(home, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(home, "credentials"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	return home
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func answer(v any) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	})
}

var later = time.Now().Add(time.Hour).UTC().Format(time.RFC3339)

// stsAnswer is what assuming a role gives.
func stsAnswer(id, token string) string {
	return `<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>` +
		`<Credentials><AccessKeyId>` + id + `</AccessKeyId><SecretAccessKey>s3cr3t</SecretAccessKey><SessionToken>` + token +
		`</SessionToken><Expiration>` + later + `</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`
}

func TestChain(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the credential process is a shell's")
	}
	for name, setup := range map[string]func(t *testing.T, home string){
		"environment": func(t *testing.T, _ string) {
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIDOFCHAIN")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "s3cr3t")
			t.Setenv("AWS_SESSION_TOKEN", "t0ken")
		},
		"authorities for AWS": func(t *testing.T, home string) { // AWS_CA_BUNDLE, which the SDK adds to a client of its own kind
			ca := testserver.NewCA(t, "AWS")
			t.Setenv("AWS_CA_BUNDLE", ca.WriteFile(t, home, "bundle.pem"))
			sts := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				_, _ = io.WriteString(w, stsAnswer("AKIDOFCHAIN", "t0ken"))
			})
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, filepath.Join(home, "token"), "t0ken-of-the-pod"))
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/images")
			t.Setenv("AWS_ENDPOINT_URL_STS", testserver.StartTLS(t, sts, ca, nil))
		},
		"credentials file": func(t *testing.T, home string) {
			write(t, filepath.Join(home, "credentials"), "[default]\naws_access_key_id=AKIDOFCHAIN\naws_secret_access_key=s3cr3t\naws_session_token=t0ken\n")
		},
		"credential process": func(t *testing.T, home string) {
			write(t, filepath.Join(home, "config"), `[default]
credential_process = echo '{"Version":1,"AccessKeyId":"AKIDOFCHAIN","SecretAccessKey":"s3cr3t","SessionToken":"t0ken"}'
`)
		},
		"web identity": func(t *testing.T, home string) {
			sts := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b, _ := io.ReadAll(r.Body)
				if !bytes.Contains(b, []byte("WebIdentityToken=t0ken-of-the-pod")) {
					w.WriteHeader(http.StatusForbidden)
				}
				_, _ = io.WriteString(w, stsAnswer("AKIDOFCHAIN", "t0ken"))
			})
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, filepath.Join(home, "token"), "t0ken-of-the-pod"))
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/images")
			t.Setenv("AWS_ENDPOINT_URL_STS", testserver.Start(t, sts))
		},
		"container": func(t *testing.T, home string) {
			t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", testserver.Start(t, answer(map[string]string{
				"AccessKeyId": "AKIDOFCHAIN", "SecretAccessKey": "s3cr3t", "Token": "t0ken", "Expiration": later})))
		},
		"instance role": func(t *testing.T, _ string) {
			m := http.NewServeMux()
			m.HandleFunc("PUT /latest/api/token", func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
				_, _ = io.WriteString(w, "t0ken-of-imds")
			})
			m.HandleFunc("GET /latest/meta-data/iam/security-credentials/{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "images") })
			m.Handle("GET /latest/meta-data/iam/security-credentials/images", answer(map[string]string{
				"Code": "Success", "AccessKeyId": "AKIDOFCHAIN", "SecretAccessKey": "s3cr3t", "Token": "t0ken", "Expiration": later}))
			t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
			t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", testserver.Start(t, m))
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := bare(t)
			setup(t, home)
			t.Setenv("AWS_REGION", "eu-test-9")
			content := random(300_000, 1)
			f := testserver.NewFile(content, testserver.Options{})
			t.Setenv("AWS_ENDPOINT_URL_S3", testserver.Start(t, f))
			o := quick()
			o.Credentials, o.Region = s3source.Chain(""), ""
			got, err := fetch(t.Context(), newSource(t, "s3://images/disk", o))
			if err != nil || !bytes.Equal(got, content) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			for _, r := range f.Requests() {
				if a := r.Header.Get("Authorization"); !strings.Contains(a, "Credential=AKIDOFCHAIN/") || !strings.Contains(a, "/eu-test-9/s3/") ||
					!strings.Contains(a, "SignedHeaders=host;x-amz-content-sha256;x-amz-date;x-amz-security-token,") ||
					r.Header.Get("X-Amz-Security-Token") != "t0ken" || r.URL != "/images/disk" {
					t.Errorf("%s %v", r.URL, r.Header)
				}
			}
		})
	}
}

func TestProfile(t *testing.T) {
	home := bare(t)
	f := testserver.NewFile([]byte("x"), testserver.Options{})
	write(t, filepath.Join(home, "config"), "[profile images]\nregion=eu-test-8\nservices=here\naws_access_key_id=AKIDOFPROFILE\naws_secret_access_key=s3cr3t\n"+
		"[services here]\ns3 =\n  endpoint_url = "+testserver.Start(t, f)+"\n")
	o := quick()
	o.Credentials, o.Region = s3source.Chain("images"), ""
	if _, err := fetch(t.Context(), newSource(t, "s3://images/disk", o)); err != nil {
		t.Fatal(err)
	}
	if a := f.Requests()[0].Header.Get("Authorization"); !strings.Contains(a, "Credential=AKIDOFPROFILE/") || !strings.Contains(a, "/eu-test-8/s3/") {
		t.Error(a)
	}
	o.Credentials = s3source.Chain("absent")
	if _, err := fetch(t.Context(), newSource(t, "s3://images/disk", o)); !errors.Is(err, errdef.ErrUsage) {
		t.Error(err)
	}
}

// Whatever goes wrong on the way to credentials, the error shows none.
func TestChainFails(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the credential process is a shell's")
	}
	for name, setup := range map[string]func(t *testing.T, home string){
		"nothing": func(*testing.T, string) {},
		"process prints nonsense": func(t *testing.T, home string) {
			write(t, filepath.Join(home, "config"), "[default]\ncredential_process = echo s3cr3t-half-of-a-key\n")
		},
		"process fails": func(t *testing.T, home string) {
			write(t, filepath.Join(home, "config"), "[default]\ncredential_process = echo s3cr3t >&2; exit 3\n")
		},
		"STS refuses": func(t *testing.T, home string) {
			sts := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, `<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>`)
			})
			t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, filepath.Join(home, "token"), "s3cr3t-of-the-pod"))
			t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/images")
			t.Setenv("AWS_ENDPOINT_URL_STS", testserver.Start(t, sts))
		},
	} {
		t.Run(name, func(t *testing.T) {
			setup(t, bare(t))
			f := testserver.NewFile([]byte("x"), testserver.Options{})
			o := quick()
			o.Credentials, o.Endpoint = s3source.Chain(""), testserver.Start(t, f)
			var retries []source.Retry
			_, err := newSource(t, "s3://images/disk", o).Open(t.Context(), source.Env{OnRetry: func(r source.Retry) { retries = append(retries, r) }})
			if !errors.Is(err, errdef.ErrUnauthorized) || strings.Contains(err.Error(), "s3cr3t") || errdef.Hint(err) == "" {
				t.Errorf("%v (hint: %s)", err, errdef.Hint(err))
			}
			if len(retries)+len(f.Requests()) > 0 {
				t.Errorf("%d retries, %d requests", len(retries), len(f.Requests()))
			}
			t.Log(err)
		})
	}
}

// Temporary keys end while the object is read, in S3's way: 400 ExpiredToken. The chain is asked again.
// A service for credentials that sends elsewhere is not followed: the request has a token in it.
func TestChainRedirect(t *testing.T) {
	home := bare(t)
	other := testserver.NewFile(nil, testserver.Options{})
	at := testserver.Start(t, other)
	write(t, filepath.Join(home, "config"), "[default]\nsso_start_url=https://sso.example/start\nsso_region=eu-test-1\nsso_account_id=123456789012\nsso_role_name=images\n")
	cache := filepath.Join(home, ".aws", "sso", "cache")
	if err := os.MkdirAll(cache, 0o700); err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("%x.json", sha1.Sum([]byte("https://sso.example/start"))) //nolint:gosec // it is what AWS calls the file
	write(t, filepath.Join(cache, name), `{"accessToken":"t0ken-of-somebody","expiresAt":"`+later+`","region":"eu-test-1","startUrl":"https://sso.example/start"}`)
	sent := &testserver.Redirector{Targets: []string{at}, Status: http.StatusTemporaryRedirect}
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	t.Setenv("AWS_ENDPOINT_URL_SSO", testserver.Start(t, sent))
	o := quick()
	o.Credentials = s3source.Chain("")
	o.Endpoint = at + "/s3"
	_, err := newSource(t, "s3://images/disk", o).Open(t.Context(), source.Env{})
	if err == nil || sent.Count() == 0 || len(other.Requests()) > 0 {
		t.Errorf("%v, %d requests were sent on, %d arrived", err, sent.Count(), len(other.Requests()))
	}
}

func TestKeysEnd(t *testing.T) {
	home := bare(t)
	var mu sync.Mutex
	issued := 0
	sts := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		issued++
		_, _ = io.WriteString(w, stsAnswer("AKIDOFCHAIN", fmt.Sprintf("t0ken-%d", issued)))
	})
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", write(t, filepath.Join(home, "token"), "t0ken-of-the-pod"))
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/images")
	t.Setenv("AWS_ENDPOINT_URL_STS", testserver.Start(t, sts))
	content := random(4<<20, 1)
	f := testserver.NewFile(content, testserver.Options{})
	n := 0
	url := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		ended := n > 2 && r.Header.Get("X-Amz-Security-Token") == "t0ken-1"
		mu.Unlock()
		if ended {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message><Token-0>t0ken-1</Token-0></Error>")
			return
		}
		f.ServeHTTP(w, r)
	}))
	o := quick()
	o.Credentials, o.Endpoint = s3source.Chain(""), url
	got, err := fetch(t.Context(), newSource(t, "s3://images/disk", o))
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if issued != 2 {
		t.Errorf("%d tokens were issued", issued)
	}
}

// A bucket in another region is told by S3, once, and only as a region.
func TestRegion(t *testing.T) {
	content := random(300_000, 2)
	f := testserver.NewFile(content, testserver.Options{})
	for told, want := range map[string]bool{"eu-test-2": true, "evil.example/": false, "": false, "us-west-2": false} {
		asked := 0
		var mu sync.Mutex
		url := testserver.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			asked++
			mu.Unlock()
			if !strings.Contains(r.Header.Get("Authorization"), "/eu-test-2/s3/") {
				w.Header().Set("X-Amz-Bucket-Region", told)
				w.WriteHeader(http.StatusMovedPermanently)
				return
			}
			f.ServeHTTP(w, r)
		}))
		o := quick()
		o.Region = ""
		got, err := fetch(t.Context(), newSource(t, url+"/images/disk", o))
		if want != (err == nil && bytes.Equal(got, content)) || !want && asked > 2 {
			t.Errorf("%q: %d bytes, %v, %d requests", told, len(got), err, asked)
		}
	}
}

func TestRequesterPays(t *testing.T) {
	f := testserver.NewFile([]byte("x"), testserver.Options{})
	o := quick()
	o.RequesterPays, o.Endpoint = true, testserver.Start(t, f)
	if _, err := fetch(t.Context(), newSource(t, "s3://images/disk", o)); err != nil {
		t.Fatal(err)
	}
	if r := f.Requests()[0]; r.Header.Get("X-Amz-Request-Payer") != "requester" || !strings.Contains(r.Header.Get("Authorization"), ";x-amz-request-payer,") {
		t.Error(r.Header)
	}
}
