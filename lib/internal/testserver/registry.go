package testserver

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// RegistryUser and RegistryPassword are who may pull and push where a Registry asks.
const (
	RegistryUser     = "someone"
	RegistryPassword = "hunter2-secret"

	// htpasswd is their line of a file of passwords, with the least cost that bcrypt has.
	htpasswd = RegistryUser + ":$2a$04$pHeScRQyc6jKiOssGw4GuOU6lP3eEL2fvR9XAfrykxWi8JyUdQ9Wi\n"
)

// Registry says how to run distribution/distribution, a registry of container images. The zero value is plain http that
// everybody may use.
type Registry struct {
	// Dir is where it stores. Several may store in one folder: what was pushed to one without a password is there in one
	// that wants it. Empty: a folder of its own.
	Dir string
	// TLS is the authority of its certificate, which is for 127.0.0.1 and localhost.
	TLS *CA
	// Basic makes it ask for RegistryUser.
	Basic bool
	// Tokens gives the tokens that it asks for. It is started too if it was not yet.
	Tokens *Tokens
	// Require makes a program that is not built yet built, instead of a skip.
	Require bool
}

const distribution = "github.com/distribution/distribution/v3/cmd/registry"

// Built reports whether somebody has built the program, for tests that have another way.
func (r Registry) Built(t testing.TB) bool {
	t.Helper()
	_, why := find(t, "registry", distribution, false)
	return why == ""
}

// Start runs it on a loopback port until the test ends, and returns its URL. A Front may stand before it if it is without TLS.
func (r Registry) Start(t testing.TB) string {
	t.Helper()
	bin := tool(t, "registry", distribution, r.Require)
	dir := t.TempDir()
	if r.Dir == "" {
		r.Dir = filepath.Join(dir, "store")
	}
	var c strings.Builder
	fmt.Fprintf(&c, "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\n")
	fmt.Fprintf(&c, "storage:\n  filesystem:\n    rootdirectory: %q\n  delete:\n    enabled: true\n  maintenance:\n    uploadpurging:\n      enabled: false\n", r.Dir)
	switch {
	case r.Basic:
		fmt.Fprintf(&c, "auth:\n  htpasswd:\n    realm: basic\n    path: %q\n", write(t, dir, "htpasswd", []byte(htpasswd)))
	case r.Tokens != nil:
		if r.Tokens.URL == "" {
			r.Tokens.Start(t, r.TLS)
		}
		fmt.Fprintf(&c, "auth:\n  token:\n    realm: %q\n    service: %q\n    issuer: %q\n    jwks: %q\n", r.Tokens.URL, tokenService, tokenIssuer, write(t, dir, "jwks.json", r.Tokens.keys(t)))
	}
	fmt.Fprintf(&c, "http:\n  secret: for tests\n")
	scheme := "http://"
	if r.TLS != nil {
		scheme = "https://"
		cert, key := WritePair(t, dir, r.TLS.Server(t))
		fmt.Fprintf(&c, "  tls:\n    certificate: %q\n    key: %q\n", cert, key)
	}
	env := []string{"OTEL_TRACES_EXPORTER=none"} // else it looks for who collects them
	return scheme + run(t, bin, env, func(host, port string) []string {
		fmt.Fprintf(&c, "  addr: %s:%s\n", host, port)
		return []string{"serve", write(t, dir, "config.yml", []byte(c.String()))}
	})
}
