package manager

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
)

func TestLimitsOf(t *testing.T) {
	custom := func(min cdiv1.TLSProtocolVersion, ciphers ...string) *cdiv1.TLSSecurityProfile {
		return &cdiv1.TLSSecurityProfile{Type: cdiv1.TLSProfileCustomType, Custom: &cdiv1.CustomTLSProfile{
			TLSProfileSpec: cdiv1.TLSProfileSpec{Ciphers: ciphers, MinTLSVersion: min}}}
	}
	for _, c := range []struct {
		name    string
		profile *cdiv1.TLSSecurityProfile
		min     uint16
		ciphers int
	}{
		{"old", &cdiv1.TLSSecurityProfile{Type: cdiv1.TLSProfileOldType}, tls.VersionTLS10, len(ciphers)},
		{"intermediate", &cdiv1.TLSSecurityProfile{Type: cdiv1.TLSProfileIntermediateType}, tls.VersionTLS12, 6},
		{"modern", &cdiv1.TLSSecurityProfile{Type: cdiv1.TLSProfileModernType}, tls.VersionTLS13, 0},
		{"nothing said", &cdiv1.TLSSecurityProfile{}, tls.VersionTLS12, 6},
		{"custom without any", &cdiv1.TLSSecurityProfile{Type: cdiv1.TLSProfileCustomType}, tls.VersionTLS12, 6},
		{"custom", custom(cdiv1.VersionTLS11, "ECDHE-RSA-AES128-GCM-SHA256", "DHE-RSA-AES256-SHA256"), tls.VersionTLS11, 1},
		{"custom, none known", custom("", "NULL-MD5"), tls.VersionTLS12, 0},
	} {
		l := limitsOf(c.profile)
		if l.min != c.min || len(l.ciphers) != c.ciphers {
			t.Errorf("%s: %+v; want version %x and %d ciphers", c.name, l, c.min, c.ciphers)
		}
	}
	if limitsOf(nil) != nil {
		t.Error("no profile is not a limit")
	}
	known := tls.CipherSuites()
	for name, id := range ciphers {
		if !slices.ContainsFunc(append(known, tls.InsecureCipherSuites()...), func(s *tls.CipherSuite) bool { return s.ID == id }) {
			t.Errorf("%s: Go has no such cipher", name)
		}
	}
}

// TestProfileFollows: connections after a change of the profile are held to it, without a restart.
func TestProfileFollows(t *testing.T) {
	var p tlsProfile
	other := httptest.NewTLSServer(http.NotFoundHandler())
	defer other.Close()
	config := &tls.Config{}
	for _, o := range p.options() {
		o(config)
	}
	// As the servers of controller-runtime do: the certificate comes after the options, into the same configuration.
	config.Certificates = other.TLS.Certificates
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: log.New(io.Discard, "", 0)}
	go func() { _ = s.Serve(listener) }()
	defer func() { _ = s.Close() }()
	speaks := func(version uint16, cipher ...uint16) bool {
		c, err := tls.Dial("tcp", listener.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version, CipherSuites: cipher})
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	}
	for _, c := range []struct {
		kind                cdiv1.TLSProfileType
		tls11, tls12, tls13 bool
	}{
		{"", false, true, true},
		{cdiv1.TLSProfileModernType, false, false, true},
		{cdiv1.TLSProfileIntermediateType, false, true, true},
		{cdiv1.TLSProfileOldType, true, true, true},
	} {
		if c.kind == "" {
			p.current.Store(nil)
		} else {
			p.current.Store(limitsOf(&cdiv1.TLSSecurityProfile{Type: c.kind}))
		}
		got := [3]bool{speaks(tls.VersionTLS11), speaks(tls.VersionTLS12), speaks(tls.VersionTLS13)}
		if want := [3]bool{c.tls11, c.tls12, c.tls13}; got != want {
			t.Errorf("profile %q: TLS 1.1, 1.2, 1.3: %v, want %v", c.kind, got, want)
		}
	}
	p.current.Store(&tlsLimits{min: tls.VersionTLS12, ciphers: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}})
	if speaks(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256) {
		t.Error("a cipher that is not in the profile")
	}
}
