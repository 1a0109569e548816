package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/cdictl/cdictl/cmd/internal/cdi"
)

// ErrNotReady is what an Issuer answers until it has read its Secret.
var ErrNotReady = errors.New("certs: the CA of the workers is not there yet")

// workerDomain ends the name in a worker's certificate. Nobody resolves it.
const workerDomain = ".worker." + cdi.Group

// Issuer gives workers their certificates, and the manager what it needs to ask them. It is safe for concurrent use.
type Issuer struct {
	overlap time.Duration
	now     func() time.Time
	current atomic.Pointer[trust]
}

// trust is an authority with a certificate of the manager from each of its CAs.
type trust struct {
	authority
	clients []tls.Certificate // newest first
}

// IssueWorker makes the certificate of the worker of the order with this UID: what it shows, and in ca the CAs of the
// managers that may ask it. It ends with the CA that signed it if that is before validFor is over: a worker that lives
// longer goes on, but can no longer be asked.
func (i *Issuer) IssueWorker(uid string, validFor time.Duration) (cert, key, ca []byte, err error) {
	t := i.current.Load()
	if t == nil {
		return nil, nil, nil, ErrNotReady
	}
	name := uid + workerDomain
	if msgs := validation.IsDNS1123Subdomain(name); len(msgs) > 0 {
		return nil, nil, nil, fmt.Errorf("certs: worker %q: %s", uid, msgs[0])
	}
	now := i.now()
	cert, key, err = t.signer(i.overlap, now).sign(leaf{
		name: name, dns: []string{name}, usage: x509.ExtKeyUsageServerAuth, life: validFor,
	}, now)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("certs: worker %s: %w", uid, err)
	}
	return cert, key, t.bundle(), nil
}

// ClientTLS is how a manager asks that worker and no other, at whatever address. It is good for one connection or for a few:
// certificates are renewed.
func (i *Issuer) ClientTLS(uid string) (*tls.Config, error) {
	t := i.current.Load()
	if t == nil {
		return nil, ErrNotReady
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    t.pool(),
		ServerName: uid + workerDomain,
		GetClientCertificate: func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			// A worker that was started before the newest CA was made knows the one before.
			for n := range t.clients {
				if asked.SupportsCertificate(&t.clients[n]) == nil {
					return &t.clients[n], nil
				}
			}
			return nil, errors.New("certs: the worker accepts none of our CAs: it was started before the oldest of them")
		},
	}, nil
}

// accept takes an authority that was read or renewed.
func (i *Issuer) accept(_ context.Context, a authority, _ *tls.Certificate) error {
	t := &trust{authority: a}
	for _, c := range a {
		cert, key, err := c.sign(leaf{
			name: cdi.Agent, usage: x509.ExtKeyUsageClientAuth, life: c.cert.NotAfter.Sub(i.now()),
		}, i.now())
		if err != nil {
			return fmt.Errorf("certs: the manager's own: %w", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return fmt.Errorf("certs: the manager's own: %w", err)
		}
		t.clients = append(t.clients, pair)
	}
	i.current.Store(t)
	return nil
}
