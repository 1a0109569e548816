package registrysource

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containers/image/v5/docker/reference"
	logins "github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// A challenge is how a registry wants to be asked (RFC 9110, section 11.6.1; Distribution's token authentication).
type challenge struct {
	bearer         bool
	realm, service string
}

// parseChallenges takes the first challenge that is understood, bearer before basic.
func parseChallenges(headers []string) (challenge, bool) {
	basic := false
	for _, h := range headers {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
		switch strings.ToLower(scheme) {
		case "basic":
			basic = true
		case "bearer":
			p := parameters(rest)
			if p["realm"] != "" {
				return challenge{bearer: true, realm: p["realm"], service: p["service"]}, true
			}
		}
	}
	return challenge{}, basic
}

// parameters of a challenge: name=value or name="value", with commas between.
func parameters(s string) map[string]string {
	p := map[string]string{}
	for len(p) < 20 {
		s = strings.TrimLeft(s, " \t,")
		k, rest, ok := strings.Cut(s, "=")
		if !ok {
			return p
		}
		var v strings.Builder
		if strings.HasPrefix(rest, `"`) {
			i := 1
			for ; i < len(rest) && rest[i] != '"'; i++ {
				if rest[i] == '\\' && i+1 < len(rest) {
					i++
				}
				v.WriteByte(rest[i])
			}
			s = rest[min(i+1, len(rest)):]
		} else {
			i := strings.IndexAny(rest, ", \t")
			if i < 0 {
				i = len(rest)
			}
			v.WriteString(rest[:i])
			s = rest[i:]
		}
		p[strings.ToLower(strings.TrimSpace(k))] = v.String()
	}
	return p
}

const (
	maxToken = 256 << 10
	clientID = "cdictl" // whom a token service sees
	// A token is good for a minute where nothing else is said, and a shorter life means that too (Distribution's token
	// specification, Token Response Fields).
	tokenLife = time.Minute
	// margin is what a request may be under way before the registry looks at its token.
	margin = 10 * time.Second
)

// An authorizer answers an endpoint's challenge. It asks for credentials when the first request is made.
type authorizer struct {
	e         *endpoint
	challenge challenge
	user      types.DockerAuthConfig // the user's; else they are looked for

	mu    sync.Mutex
	known bool
	token string
	since time.Time
	until time.Time
}

var (
	_ httpsource.Authorizer = (*authorizer)(nil)
	_ httpsource.Refresher  = (*authorizer)(nil)
)

// Authorize adds credentials or a token, which it gets anew before it ends.
func (a *authorizer) Authorize(r *http.Request) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.look(); err != nil {
		return err
	}
	if !a.challenge.bearer {
		if a.user.IdentityToken != "" {
			return errdef.WithHint(fmt.Errorf("the credentials for %s are an identity token, and the registry wants a password: %w", reference.Domain(a.e.ref), errdef.ErrUnauthorized),
				"log in with a user name and a password or an access token")
		}
		if a.user.Username != "" || a.user.Password != "" {
			r.SetBasicAuth(a.user.Username, a.user.Password)
		}
		return nil
	}
	if now := time.Now(); a.token == "" || now.After(a.until) {
		if err := a.fetch(r.Context()); err != nil {
			return err
		}
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	return nil
}

// Refused gets another token if the refused one was used for a while: one that is refused at once will be again.
func (a *authorizer) Refused(r *http.Request, _ int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.challenge.bearer:
		return false
	case r.Header.Get("Authorization") != "Bearer "+a.token:
		return true
	case time.Since(a.since) < margin:
		return false
	}
	a.token = ""
	return true
}

// look looks for credentials where the user has not given any.
func (a *authorizer) look() (err error) {
	if a.known || a.user.Username != "" {
		return nil
	}
	a.user, err = credentials(a.e.r.src.o.AuthFile, a.e.ref)
	a.known = err == nil
	return err
}

// credentials are those that a login has left for a registry, none if there are none.
func credentials(file string, ref reference.Named) (types.DockerAuthConfig, error) {
	systems := []*types.SystemContext{{}}
	if file != "" {
		if _, err := os.Stat(file); err != nil {
			return types.DockerAuthConfig{}, usage("the file of credentials: %w", err)
		}
		// Podman's form has repositories for keys, docker's has the URL of a registry too.
		systems = []*types.SystemContext{{AuthFilePath: file}, {DockerCompatAuthFilePath: file}}
	}
	var c types.DockerAuthConfig
	for _, sys := range systems {
		var err error
		if c, err = logins.GetCredentialsForRef(sys, ref); err != nil {
			// What a credential helper has said may be the secret itself.
			return c, errdef.WithHint(fmt.Errorf("the credentials for %s cannot be read: %w", reference.Domain(ref), errdef.ErrUnauthorized),
				"look at auth.json or config.json, and at the credential helper that it names")
		}
		if c != (types.DockerAuthConfig{}) {
			break
		}
	}
	return c, nil
}

// fetch gets a token from the realm. The registry has chosen it, so it is asked like what a redirect leads to.
func (a *authorizer) fetch(ctx context.Context) error {
	u, err := url.Parse(a.challenge.realm)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && (u.Scheme != "http" || !strings.HasPrefix(a.e.base, "http:")) {
		return fmt.Errorf("the registry sends us for a token to something that is no https URL: %w", errdef.ErrRefused)
	}
	o := a.e.http
	o.Authorizer, o.Header, o.SecretHeader = nil, nil, nil
	q := u.Query()
	if a.user.IdentityToken != "" {
		// It is exchanged as Distribution's OAuth2 specification says, and shown nowhere but in the body.
		q = url.Values{"grant_type": {"refresh_token"}, "refresh_token": {a.user.IdentityToken}, "client_id": {clientID}}
		o.Form = q
	} else {
		o.Username, o.Password = a.user.Username, a.user.Password
	}
	if a.challenge.service != "" {
		q.Set("service", a.challenge.service)
	}
	q.Set("scope", "repository:"+reference.Path(a.e.ref)+":pull")
	if o.Form == nil {
		u.RawQuery = q.Encode()
	}
	o.Name += fmt.Sprintf(" (token from %.100s)", printable(u.Host))
	if o.Foreign = !sameHost(u, a.e.base); o.Foreign {
		o.CertFile, o.KeyFile = "", ""
	}
	s, err := httpsource.New(u.String(), o)
	if err != nil {
		return err
	}
	env := a.e.r.env
	env.Tracker = nil
	b, err := s.Open(ctx, env)
	if err != nil {
		return err
	}
	defer b.Close()
	text, err := readSmall(b, "the answer with a token", maxToken)
	if err != nil {
		return err
	}
	var answer struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
	}
	if json.Unmarshal(text, &answer) != nil {
		return fmt.Errorf("the answer to a request for a token is no JSON: %w", errdef.ErrUnavailable)
	}
	if answer.Token == "" {
		answer.Token = answer.AccessToken
	}
	if answer.Token == "" || strings.ContainsFunc(answer.Token, func(c rune) bool { return c <= ' ' || c >= 0x7f }) {
		return fmt.Errorf("the answer to a request for a token has none: %w", errdef.ErrUnavailable)
	}
	life := time.Duration(min(max(answer.ExpiresIn, 0), 24*3600)) * time.Second
	a.token, a.since = answer.Token, time.Now()
	a.until = a.since.Add(max(life, tokenLife) - margin)
	return nil
}

func sameHost(u *url.URL, base string) bool {
	b, err := url.Parse(base)
	return err == nil && strings.EqualFold(b.Hostname(), u.Hostname())
}
