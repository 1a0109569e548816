package httpsource

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
)

// transports are made per open blob, so that closing it ends every connection. home shows the client certificate, away
// (behind a redirect to another host) does not.
type transports struct {
	home, away *http.Transport
	asked      atomic.Bool // a server wanted a client certificate
}

func (t *transports) close() {
	t.home.CloseIdleConnections()
	t.away.CloseIdleConnections()
}

func (s *Source) transports() (*transports, error) {
	cfg, err := s.o.tlsConfig()
	if err != nil {
		return nil, err
	}
	t := &transports{}
	show := func(c *tls.Certificate) *tls.Config {
		cfg := cfg.Clone()
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			t.asked.Store(true)
			return c, nil
		}
		return cfg
	}
	t.away = s.transport(show(&tls.Certificate{}))
	t.home = t.away
	if s.o.CertFile != "" {
		cert, err := s.clientCert()
		if err != nil {
			return nil, err
		}
		t.home = s.transport(show(&cert))
	}
	return t, nil
}

func (s *Source) transport(cfg *tls.Config) *http.Transport {
	d := &dialer{origin: s.url.Hostname(), allowAll: s.o.AllowLinkLocal}
	if s.o.Foreign {
		d.origin = ""
	}
	pings := min(s.o.StallTimeout/2, 15*time.Second)
	return &http.Transport{
		Proxy:           d.noting(s.proxyFor),
		DialContext:     d.dial,
		TLSClientConfig: cfg,
		OnProxyConnectResponse: func(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
			if resp.StatusCode == http.StatusProxyAuthRequired {
				return errProxyAuth
			}
			return nil
		},
		ForceAttemptHTTP2:   true, // a transport with its own dialer would not
		DisableCompression:  true, // the stored bytes, as they are
		MaxIdleConnsPerHost: maxConnections,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: s.o.StallTimeout,
		// Headers are hostile too. Real ones have a few KiB.
		MaxResponseHeaderBytes: 128 << 10,
		ReadBufferSize:         16 << 10,
		// What the far side may send ahead of our reads, which is memory. A dead connection is found by pings: HTTP/2
		// would go on using it.
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: 1 << 20, MaxReceiveBufferPerConnection: 4 << 20,
			SendPingTimeout: pings, PingTimeout: pings,
		},
	}
}

var (
	errProxyAuth = errdef.WithHint(fmt.Errorf("the proxy wants other credentials: %w", errdef.ErrUnauthorized),
		"give them in the proxy's URL: http://user:password@proxy:port")
	errProxyEnv = errdef.WithHint(fmt.Errorf("a proxy variable of the environment is not a valid URL: %w", errdef.ErrUsage),
		"look at HTTP_PROXY and HTTPS_PROXY")
)

func (s *Source) proxyFor(r *http.Request) (*url.URL, error) {
	if s.proxy != nil {
		return s.proxy, nil
	}
	u, err := http.ProxyFromEnvironment(r)
	if err != nil {
		return nil, errProxyEnv // err itself repeats the variable, password and all
	}
	return u, nil
}

// dialer refuses link-local addresses, unless the user named the host: in the URL or as a proxy. It looks at the address
// and not at the name, which anyone can point there.
type dialer struct {
	origin   string
	proxies  sync.Map // host → nil
	allowAll bool
}

func (d *dialer) noting(f func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		u, err := f(r)
		if u != nil {
			d.proxies.Store(u.Hostname(), nil)
		}
		return u, err
	}
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nd := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if _, proxy := d.proxies.Load(host); !d.allowAll && !proxy && host != d.origin {
		nd.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err == nil && linkLocal(ap.Addr()) {
				return errLinkLocal(ap.Addr().String())
			}
			return nil
		}
	}
	return nd.DialContext(ctx, network, addr)
}

// checkHost refuses a link-local address that a redirect names. It is needed beside the dialer, which with a proxy sees
// the proxy only.
func (s *Source) checkHost(u *url.URL) error {
	if s.o.AllowLinkLocal || !s.o.Foreign && u.Hostname() == s.url.Hostname() {
		return nil
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && linkLocal(a) {
		return errLinkLocal(a.String())
	}
	return nil
}

func errLinkLocal(addr string) error {
	return fmt.Errorf("a server leads to the link-local address %s: %w", addr, errdef.ErrRefused)
}

// metadata are addresses outside link-local where clouds answer like on 169.254.169.254 (AWS, GCP, Alibaba).
var metadata = map[netip.Addr]bool{
	netip.MustParseAddr("fd00:ec2::254"):   true,
	netip.MustParseAddr("fd20:ce::254"):    true,
	netip.MustParseAddr("100.100.100.200"): true,
}

var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func linkLocal(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	if nat64.Contains(a) {
		b := a.As16()
		a = netip.AddrFrom4([4]byte(b[12:]))
	}
	return a.IsLinkLocalUnicast() || metadata[a]
}

// certificateError is nil unless err is the refusal of the server's certificate.
func certificateError(err error) error {
	var v *tls.CertificateVerificationError
	if !errors.As(err, &v) {
		return nil
	}
	who := ""
	if len(v.UnverifiedCertificates) > 0 {
		c := v.UnverifiedCertificates[0]
		who = fmt.Sprintf(" (subject %q, issuer %q)", clip(c.Subject.String(), 120), clip(c.Issuer.String(), 120))
	}
	return errdef.WithHint(fmt.Errorf("the server's certificate is not trusted: %s%s: %w",
		clip(printable(v.Err.Error()), maxErrorText), who, errdef.ErrUnavailable),
		"name the authority with --ca-file, or, if the network is trusted, use --insecure")
}
