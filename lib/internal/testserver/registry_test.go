package testserver_test

import (
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/internal/testserver"
)

// TestRegistry asks each kind of registry who may use it.
func TestRegistry(t *testing.T) {
	ca := testserver.NewCA(t, "registry")
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}, DisableKeepAlives: true}}
	do := func(t *testing.T, method, u string, form url.Values, auth func(r *http.Request)) (int, http.Header, map[string]any) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, u, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if auth != nil {
			auth(r)
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var answer map[string]any
		_ = json.NewDecoder(resp.Body).Decode(&answer) // some have none
		return resp.StatusCode, resp.Header, answer
	}
	basic := func(password string) func(r *http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(testserver.RegistryUser, password) }
	}
	bearer := func(token any) func(r *http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token.(string)) }
	}
	expect := func(t *testing.T, got, want int, what string) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	require := os.Getenv("CDICTL_REQUIRE_SERVERS") == "1"
	for name, authority := range map[string]*testserver.CA{"plain": nil, "TLS": ca} {
		t.Run(name, func(t *testing.T) {
			base := testserver.Registry{TLS: authority, Require: require}.Start(t)
			got, _, _ := do(t, http.MethodGet, base+"/v2/", nil, nil)
			expect(t, got, 200, "anybody")

			base = testserver.Registry{TLS: authority, Basic: true, Require: require}.Start(t)
			got, _, _ = do(t, http.MethodGet, base+"/v2/", nil, nil)
			expect(t, got, 401, "anybody")
			got, _, _ = do(t, http.MethodGet, base+"/v2/", nil, basic("hunter3"))
			expect(t, got, 401, "a wrong password")
			got, _, _ = do(t, http.MethodGet, base+"/v2/", nil, basic(testserver.RegistryPassword))
			expect(t, got, 200, "the user")

			k := &testserver.Tokens{Anonymous: true, Identity: "identity"}
			base = testserver.Registry{TLS: authority, Tokens: k, Require: require}.Start(t)
			got, h, _ := do(t, http.MethodPost, base+"/v2/a/b/blobs/uploads/", nil, nil)
			expect(t, got, 401, "anybody")
			if c := h.Get("Www-Authenticate"); !strings.Contains(c, `Bearer realm="`+k.URL+`"`) || !strings.Contains(c, "repository:a/b:") {
				t.Errorf("challenge %q", c)
			}
			ask := url.Values{"service": {"test registry"}, "scope": {"repository:a/b:pull,push"}}
			got, _, _ = do(t, http.MethodGet, k.URL+"?"+ask.Encode(), nil, basic("hunter3"))
			expect(t, got, 401, "a token for a wrong password")
			_, _, a := do(t, http.MethodGet, k.URL+"?"+ask.Encode(), nil, nil)
			got, _, _ = do(t, http.MethodPost, base+"/v2/a/b/blobs/uploads/", nil, bearer(a["token"]))
			expect(t, got, 401, "anybody's token, to push")
			got, _, _ = do(t, http.MethodGet, base+"/v2/a/b/manifests/x", nil, bearer(a["token"]))
			expect(t, got, 404, "anybody's token, to pull")
			_, _, a = do(t, http.MethodGet, k.URL+"?"+ask.Encode(), nil, basic(testserver.RegistryPassword))
			got, _, _ = do(t, http.MethodPost, base+"/v2/a/b/blobs/uploads/", nil, bearer(a["token"]))
			expect(t, got, 202, "the user's token, to push")
			ask.Set("grant_type", "refresh_token")
			ask.Set("client_id", "test")
			ask.Set("refresh_token", "identity")
			_, _, a = do(t, http.MethodPost, k.URL, ask, nil)
			got, _, _ = do(t, http.MethodPost, base+"/v2/a/b/blobs/uploads/", nil, bearer(a["access_token"]))
			expect(t, got, 202, "an identity's token, to push")
			if n := len(k.Given()); n != 3 || len(k.Asked()) != 4 {
				t.Errorf("%d tokens were given, for %q", n, k.Asked())
			}
		})
	}
}
