package httpsource

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

const (
	// clientTimeout bounds one request for credentials, with its answer of a few KiB.
	clientTimeout = 30 * time.Second
	// metadataDial is how long a machine's own metadata address has to accept. It is near, or it is not there.
	metadataDial = time.Second
)

// Client is for what an Authorizer asks elsewhere, such as a service for tokens. It trusts the same authorities and takes
// the same proxy, but it shows no credentials of these options, follows no redirect, keeps no connection, and checks
// certificates even if the options say Insecure: who can listen there gets more than one image.
func (o Options) Client() (*http.Client, error) {
	o.Insecure = false
	cfg, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	s := &Source{o: o.withDefaults()}
	if s.proxy, err = o.proxyURL(); err != nil {
		return nil, err
	}
	return &http.Client{
		Timeout:       clientTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy: func(r *http.Request) (*url.URL, error) {
				if near(r.URL.Hostname()) {
					return nil, nil
				}
				return s.proxyFor(r)
			},
			DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
				d := net.Dialer{Timeout: 10 * time.Second}
				if host, _, err := net.SplitHostPort(addr); err == nil && near(host) {
					d.Timeout = metadataDial
				}
				return d.DialContext(ctx, network, addr)
			},
			TLSClientConfig: cfg, ForceAttemptHTTP2: true, DisableKeepAlives: true,
			TLSHandshakeTimeout: 10 * time.Second, MaxResponseHeaderBytes: 128 << 10,
		},
	}, nil
}

// near: an address that no proxy can reach for us.
func near(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && linkLocal(a)
}
