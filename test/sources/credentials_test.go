//go:build linux

package sources

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/test/internal/images"
	"github.com/cdictl/cdictl/test/internal/servers"
	"github.com/cdictl/cdictl/test/internal/web"
)

// A credential is one way to be let in.
type credential struct {
	name    string
	secrets []secret
	// taken and refused say what to import and with which flags.
	taken, refused func(t *testing.T) (source string, args []string)
	env            []string
	stdin          string
	push           string // the image that goes there; "": it is imported from there
}

// echo refuses everything, and repeats all that it was told: a message of ours must not.
func echo(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	w.Header().Set("Content-Type", "text/plain")
	if r.Header.Get("Proxy-Authorization") != "" {
		w.WriteHeader(http.StatusProxyAuthRequired)
	} else {
		w.WriteHeader(http.StatusForbidden)
	}
	fmt.Fprintf(w, "refused: %s %s %v %s", r.Method, r.URL, r.Header, body)
}

// credentials are all kinds that there are, with real servers where they can ask for them.
func credentials(t *testing.T) []credential {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	files := t.TempDir()
	image := filepath.Join(files, "disk.raw")
	noise(t, image, 300<<10, 3)
	echoes := web.Start(t, http.HandlerFunc(echo)).URL
	// guarded serves the image to who passes.
	guarded := func(pass func(r *http.Request) bool) string {
		return web.Start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !pass(r) {
				echo(w, r)
				return
			}
			r.URL.Path = "/disk.raw"
			web.Ranges(files).ServeHTTP(w, r)
		})).URL
	}
	basic := func(user, password string) func(r *http.Request) bool {
		return func(r *http.Request) bool {
			u, p, _ := r.BasicAuth()
			return u == user && p == password
		}
	}
	has := func(name, value string) func(r *http.Request) bool {
		return func(r *http.Request) bool { return r.Header.Get(name) == value }
	}
	with := func(source string, args ...string) func(*testing.T) (string, []string) {
		return func(*testing.T) (string, []string) { return source, args }
	}

	const password, token, key = "p4ss/w0rd+of=someone", "t0ken-0f-a-bearer/+", "k3y-in-a-header/+"
	pw := write("password", password+"\n")
	tok := write("token", token+"\n")
	header := write("header", "X-Api-Key: "+key+"\n")
	all := []credential{
		{name: "password", secrets: []secret{{"someone", password}},
			taken:   with(guarded(basic("someone", password))+"/disk", "--username", "someone", "--password-file", pw),
			refused: with(echoes+"/disk", "--username", "someone", "--password-file", pw)},
		{name: "bearer token", secrets: []secret{{"", token}},
			taken:   with(guarded(has("Authorization", "Bearer "+token))+"/disk", "--token-file", tok),
			refused: with(echoes+"/disk", "--token-file", tok)},
		{name: "header file", secrets: []secret{{"", key}},
			taken:   with(guarded(has("X-Api-Key", key))+"/disk", "--header-file", header),
			refused: with(echoes+"/disk", "--header-file", header)},
	}

	s3 := servers.StartS3(t)
	s3.Put(t, "disk", image)
	all = append(all, credential{name: "S3 keys", secrets: []secret{{servers.S3AccessKey, servers.S3SecretKey}},
		taken:   with("s3://images/disk", "--s3-endpoint", s3.URL, "--s3-keys", s3.Keys),
		refused: with("s3://images/disk", "--s3-endpoint", echoes, "--s3-keys", s3.Keys)})
	const session = "s3ssion/t0ken+that=ends"
	write("session/accessKeyId", servers.S3AccessKey)
	write("session/secretKey", servers.S3SecretKey)
	keys := filepath.Dir(write("session/sessionToken", session))
	all = append(all, credential{name: "S3 session token", secrets: []secret{{"", session}, {servers.S3AccessKey, servers.S3SecretKey}},
		taken:   with("s3://images/disk", "--s3-endpoint", guarded(has("X-Amz-Security-Token", session)), "--s3-keys", keys),
		refused: with("s3://images/disk", "--s3-endpoint", echoes, "--s3-keys", keys)})

	const access = "ya29.acc3ss-t0ken-of-a-service-account"
	tokens := web.Start(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600}`, access)
	})).URL
	private, line := rsaKey(t)
	account := func(name, tokens string) string {
		b, err := json.Marshal(map[string]string{"type": "service_account", "client_email": "images@p.iam.gserviceaccount.com",
			"private_key_id": "1", "private_key": private, "token_uri": tokens})
		must(t, err)
		return write(name, string(b))
	}
	good, bad := account("account.json", tokens), account("refused.json", echoes)
	gcs := []secret{{"", access}, {"", line}}
	all = append(all,
		credential{name: "GCS key and token", secrets: gcs,
			taken:   with("gs://images/disk", "--gcs-endpoint", guarded(has("Authorization", "Bearer "+access)), "--gcs-credentials", good),
			refused: with("gs://images/disk", "--gcs-endpoint", echoes, "--gcs-credentials", good)},
		credential{name: "GCS key that is not taken", secrets: gcs,
			taken:   with("gs://images/disk", "--gcs-endpoint", guarded(has("Authorization", "Bearer "+access)), "--gcs-credentials", good),
			refused: with("gs://images/disk", "--gcs-endpoint", echoes, "--gcs-credentials", bad)})

	registry := servers.StartRegistry(t)
	c, err := images.NewContainer(image)
	must(t, err)
	registry.Put(t, "vms/disk", "v1", c)
	const identity, pull = "1dentity-t0ken/+of=somebody", "pull-t0ken-0f-a-registry"
	host := func(u string) string { return strings.TrimPrefix(u, "http://") }
	byPassword := gate(t, registry.URL, `Basic realm="registry"`, basic("someone", password), nil)
	byToken := gate(t, registry.URL, "", has("Authorization", "Bearer "+pull), func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("refresh_token") != identity {
			echo(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token":%q,"token":%q,"expires_in":300}`, pull, pull)
	})
	login := func(name string, entry map[string]string, hosts ...string) string {
		auths := map[string]any{}
		for _, h := range hosts {
			auths[host(h)] = entry
		}
		b, err := json.Marshal(map[string]any{"auths": auths})
		must(t, err)
		return write(name, string(b))
	}
	logged := login("auth.json", map[string]string{"auth": base64.StdEncoding.EncodeToString([]byte("someone:" + password))}, byPassword, echoes)
	identified := login("identity.json", map[string]string{"identitytoken": identity, "auth": base64.StdEncoding.EncodeToString([]byte("<token>:"))}, byToken, echoes)
	disk := func(u string) string { return "docker://" + host(u) + "/vms/disk:v1" }
	stdin := []string{"--insecure", "--username", "someone", "--password-stdin"}
	all = append(all,
		credential{name: "registry password", secrets: []secret{{"someone", password}}, stdin: password + "\n",
			taken: with(disk(byPassword), stdin...), refused: with(disk(echoes), stdin...)},
		credential{name: "registry login", secrets: []secret{{"someone", password}},
			taken:   with(disk(byPassword), "--insecure", "--authfile", logged),
			refused: with(disk(echoes), "--insecure", "--authfile", logged)},
		credential{name: "registry identity token", secrets: []secret{{"", identity}, {"", pull}},
			taken:   with(disk(byToken), "--insecure", "--authfile", identified),
			refused: with(disk(echoes), "--insecure", "--authfile", identified)})

	all = append(all, credential{name: "push with a password", secrets: []secret{{"someone", password}}, stdin: password + "\n", push: image,
		taken: with(disk(byPassword)+"-pushed", stdin...), refused: with(disk(echoes), stdin...)})

	proxy := servers.StartProxy(t, proxyUser, proxyPassword)
	config := func(name, addr string) string {
		return write(name, fmt.Sprintf("proxy: http://%s:%s@%s\n", proxyUser, proxyPassword, addr))
	}
	open := guarded(func(*http.Request) bool { return true }) + "/disk"
	all = append(all, credential{name: "proxy password", secrets: []secret{{proxyUser, proxyPassword}},
		taken:   with(open, "--config", config("good.yaml", proxy.Addr)),
		refused: with(open, "--config", config("bad.yaml", host(echoes)))})
	return append(all, clientKey(t, dir, files))
}

// gate stands before a registry and asks for credentials, or for a token that token gives out.
func gate(t *testing.T, target, challenge string, pass func(*http.Request) bool, token http.HandlerFunc) string {
	t.Helper()
	f := &web.Front{}
	f.Before = func(w http.ResponseWriter, r *http.Request, _ int64) bool {
		switch {
		case token != nil && r.URL.Path == "/token":
			token(w, r)
		case !pass(r):
			if token != nil {
				challenge = fmt.Sprintf(`Bearer realm="%s/token",service="registry"`, f.URL)
			}
			w.Header().Set("Www-Authenticate", challenge)
			w.WriteHeader(http.StatusUnauthorized)
		default:
			r.Header.Del("Authorization")
			return false
		}
		return true
	}
	f.Start(t, target, nil)
	return f.URL
}

// clientKey is a certificate with its key, which a server asks for.
func clientKey(t *testing.T, dir, files string) credential {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	about := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, about, about, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	certFile, keyFile := filepath.Join(dir, "client.pem"), filepath.Join(dir, "client.key")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	must(t, os.WriteFile(keyFile, []byte(keyPEM), 0o600))
	asks := func(t *testing.T, whom *x509.CertPool) (string, []string) {
		s := httptest.NewUnstartedServer(web.Ranges(files))
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: whom, MinVersion: tls.VersionTLS12}
		s.StartTLS()
		t.Cleanup(s.Close)
		ca := filepath.Join(t.TempDir(), "ca.pem")
		must(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
		return s.URL + "/disk.raw", []string{"--ca-file", ca, "--cert", certFile, "--key", keyFile}
	}
	return credential{name: "client key", secrets: []secret{{"", strings.Split(keyPEM, "\n")[1]}},
		taken: func(t *testing.T) (string, []string) {
			pool := x509.NewCertPool()
			pool.AddCert(cert)
			return asks(t, pool)
		},
		refused: func(t *testing.T) (string, []string) { return asks(t, x509.NewCertPool()) }}
}

// rsaKey is a private key as PEM, and a line of it.
func rsaKey(t *testing.T) (text, line string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	text = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	return text, strings.Split(text, "\n")[2]
}
