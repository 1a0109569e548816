package testserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// What a Registry's tokens have to say.
const (
	tokenService = "test registry"
	tokenIssuer  = "test tokens"
	tokenKey     = "test key"
)

// Tokens gives tokens for a Registry: to RegistryUser for all that he asks for, to others for what the fields say. It speaks
// Distribution's token authentication, by GET and (OAuth2) by POST. Its fields are set before Start.
type Tokens struct {
	// Anonymous lets everybody pull.
	Anonymous bool
	// Identity is an identity token, which is exchanged for what RegistryUser gets. Empty: none is.
	Identity string
	// OnlyGET refuses POST, as services without OAuth2 do.
	OnlyGET bool
	// Life of a token; 0 means five minutes. The registry takes one for a minute longer.
	Life time.Duration
	// URL is where it is; Start sets it.
	URL string

	key *ecdsa.PrivateKey

	mu    sync.Mutex
	asked []string
	given []string
}

// Start serves it until the test ends, with TLS if ca is not nil.
func (k *Tokens) Start(t testing.TB, ca *CA) {
	t.Helper()
	var err error
	if k.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if ca != nil {
		k.URL = StartTLS(t, k, ca, nil) + "/token"
	} else {
		k.URL = Start(t, k) + "/token"
	}
}

// Asked lists "METHOD scope" of all that was asked for, in order.
func (k *Tokens) Asked() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.asked...)
}

// Given lists the tokens that were given, in order.
func (k *Tokens) Given() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string(nil), k.given...)
}

func (k *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	known, tried := false, true
	switch name, password, basic := r.BasicAuth(); {
	case r.Method == http.MethodGet && basic:
		known = name == RegistryUser && password == RegistryPassword
	case r.Method == http.MethodGet:
		tried = false
	case r.Method != http.MethodPost || k.OnlyGET:
		http.Error(w, "GET", http.StatusMethodNotAllowed)
		return
	case r.PostForm.Get("grant_type") == "refresh_token":
		known = k.Identity != "" && r.PostForm.Get("refresh_token") == k.Identity
	case r.PostForm.Get("grant_type") == "password":
		known = r.PostForm.Get("username") == RegistryUser && r.PostForm.Get("password") == RegistryPassword
	}
	if r.Method == http.MethodPost {
		known = known && r.PostForm.Get("client_id") != "" // RFC 6749 and Distribution's specification demand it
	}
	scopes := strings.Fields(strings.Join(r.Form["scope"], " "))
	k.mu.Lock()
	k.asked = append(k.asked, r.Method+" "+strings.Join(scopes, " "))
	k.mu.Unlock()
	if r.Form.Get("service") != tokenService || tried && !known || !tried && !k.Anonymous {
		// A service that shows what it was told must not make us show it.
		http.Error(w, "who is that? "+r.Header.Get("Authorization")+r.PostForm.Encode(), http.StatusUnauthorized)
		return
	}
	life := k.Life
	if life == 0 {
		life = 5 * time.Minute
	}
	token := k.token(scopes, known, life)
	k.mu.Lock()
	k.given = append(k.given, token)
	k.mu.Unlock()
	name := "token"
	if r.Method == http.MethodPost {
		name = "access_token"
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{name: token, "expires_in": int(life.Seconds())}) // who asked may be gone
}

// token is a JSON Web Token (RFC 7519) for scopes; anybody gets what only reads.
func (k *Tokens) token(scopes []string, known bool, life time.Duration) string {
	type access struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	var all []access
	for _, s := range scopes {
		kind, rest, _ := strings.Cut(s, ":")
		at := strings.LastIndexByte(rest, ':')
		if at < 0 {
			continue
		}
		a := access{Type: kind, Name: rest[:at], Actions: []string{}}
		for _, action := range strings.Split(rest[at+1:], ",") {
			if known || action == "pull" {
				a.Actions = append(a.Actions, action)
			}
		}
		all = append(all, a)
	}
	now := time.Now()
	enc := func(v any) string {
		b, _ := json.Marshal(v) // of strings and numbers
		return base64.RawURLEncoding.EncodeToString(b)
	}
	text := enc(map[string]string{"typ": "JWT", "alg": "ES256", "kid": tokenKey}) + "." + enc(map[string]any{
		"iss": tokenIssuer, "aud": tokenService, "sub": RegistryUser, "jti": rand.Text(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(life).Unix(), "access": all,
	})
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.key, sum[:])
	if err != nil {
		panic(err) // of a random source that does not fail
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// keys is the public key as a set of JSON Web Keys (RFC 7517).
func (k *Tokens) keys(t testing.TB) []byte {
	t.Helper()
	p, err := k.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	enc := base64.RawURLEncoding.EncodeToString
	b, err := json.Marshal(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": tokenKey, "x": enc(p[1:33]), "y": enc(p[33:]),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
