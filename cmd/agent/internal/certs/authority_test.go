package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func testKeeper() *keeper {
	return &keeper{
		leaf: &leaf{name: "h", dns: []string{"h.ns.svc"}, usage: x509.ExtKeyUsageServerAuth, life: 14 * 24 * time.Hour},
		opts: Options{Namespace: "ns"}.defaults(),
	}
}

// Two years pass, in steps that divide nothing evenly. Whoever looked at the bundle at any time within the overlap verifies
// what is served now, and the Secret holds what was served.
func TestYears(t *testing.T) {
	k := testKeeper()
	var data map[string][]byte
	var writes, most int
	heard := x509.NewCertPool() // the bundle as somebody slow knows it
	for now := start; now.Before(start.AddDate(2, 0, 0)); now = now.Add(7*time.Hour + 13*time.Second) {
		next, a, pair, err := k.plan(t.Context(), data, now)
		if err != nil {
			t.Fatal(err)
		}
		if next != nil {
			if data == nil {
				heard = a.pool()
			}
			data, writes = next, writes+1
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: heard, DNSName: "h.ns.svc", CurrentTime: now}); err != nil {
			t.Fatalf("%v: who knows the bundle of a moment ago does not trust the webhook: %v", now, err)
		}
		if _, err := tls.X509KeyPair(data[tlsCert], data[tlsKey]); err != nil {
			t.Fatalf("%v: %v", now, err)
		}
		if now.After(a[0].cert.NotAfter) || now.After(pair.Leaf.NotAfter) {
			t.Fatalf("%v: something has expired", now)
		}
		if due := a.due(); due.Before(now) {
			t.Fatalf("%v: due at %v, and not done", now, due)
		}
		most = max(most, len(a))
		heard = a.pool()
	}
	// A CA lives 90 days and is followed after 45, a certificate 14 and 7.
	if most > 3 || writes < 100 || writes > 160 {
		t.Errorf("up to %d CAs, %d writes", most, writes)
	}
}

// A CA does not sign before everybody knows it.
func TestOverlap(t *testing.T) {
	k := testKeeper()
	data, a, _, err := k.plan(t.Context(), nil, start)
	if err != nil {
		t.Fatal(err)
	}
	first := a[0]
	later := aging(first.cert)
	data, a, _, err = k.plan(t.Context(), data, later)
	if err != nil || len(a) != 2 {
		t.Fatalf("%d CAs, %v", len(a), err)
	}
	if s := a.signer(k.opts.Overlap, later.Add(k.opts.Overlap-2*time.Second)); s.cert != a[1].cert {
		t.Error("the new CA signs before the overlap is over")
	}
	if s := a.signer(k.opts.Overlap, later.Add(k.opts.Overlap+2*time.Second)); s.cert != a[0].cert {
		t.Error("the new CA does not sign after the overlap")
	}
	if again, b, _, err := k.plan(t.Context(), data, later.Add(time.Minute)); err != nil || again != nil || len(b) != 2 {
		t.Errorf("a second look writes: %d CAs, %v", len(b), err)
	}
}

// What is wrong with a Secret is made good.
func TestBroken(t *testing.T) {
	k := testKeeper()
	good, _, _, err := k.plan(t.Context(), nil, start)
	if err != nil {
		t.Fatal(err)
	}
	other, _, _, err := k.plan(t.Context(), nil, start)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change map[string][]byte
		keeps  bool // the CA
	}{
		"no certificate":       {map[string][]byte{tlsCert: nil}, true},
		"another's key":        {map[string][]byte{tlsKey: other[tlsKey]}, true},
		"another's CA":         {map[string][]byte{caCert: other[caCert], caKey: other[caKey]}, false},
		"no key of the CA":     {map[string][]byte{caKey: nil}, false},
		"another key of a CA":  {map[string][]byte{caKey: other[caKey]}, false},
		"garbage":              {map[string][]byte{caCert: []byte("garbage")}, false},
		"garbage in PEM":       {map[string][]byte{caCert: encode("CERTIFICATE", []byte("garbage"))}, false},
		"garbage in the key":   {map[string][]byte{caKey: encode("PRIVATE KEY", []byte("garbage"))}, false},
		"a leaf for a CA":      {map[string][]byte{caCert: good[tlsCert], caKey: good[tlsKey]}, false},
		"certificate as a key": {map[string][]byte{caKey: good[caCert]}, false},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[string][]byte{}
			for _, from := range []map[string][]byte{good, c.change} {
				for key, v := range from {
					data[key] = v
				}
			}
			fixed, a, pair, err := k.plan(t.Context(), data, start.Add(time.Minute))
			if err != nil || fixed == nil {
				t.Fatalf("not fixed: %v", err)
			}
			if _, err := a.readLeaf(fixed[tlsCert], fixed[tlsKey], *k.leaf, start.Add(time.Minute)); err != nil {
				t.Error(err)
			}
			if pair == nil || (string(fixed[caCert]) == string(good[caCert])) != c.keeps {
				t.Errorf("the CA was kept: %v, want %v", !c.keeps, c.keeps)
			}
		})
	}
}

// A worker and a manager know each other, and nobody else does, also when the CA has changed since the worker started.
func TestWorkers(t *testing.T) {
	now := start
	clock := func() time.Time { return now }
	k := testKeeper()
	k.leaf, k.opts.now = nil, clock
	i := &Issuer{overlap: k.opts.Overlap, now: clock}
	if _, _, _, err := i.IssueWorker("u1", time.Hour); !errors.Is(err, ErrNotReady) {
		t.Errorf("before there is a CA: %v", err)
	}
	if _, err := i.ClientTLS("u1"); !errors.Is(err, ErrNotReady) {
		t.Errorf("before there is a CA: %v", err)
	}
	var data map[string][]byte
	turn := func() {
		t.Helper()
		next, a, _, err := k.plan(t.Context(), data, now)
		if err != nil {
			t.Fatal(err)
		}
		if next != nil {
			data = next
		}
		if err := i.accept(t.Context(), a, nil); err != nil {
			t.Fatal(err)
		}
	}
	turn()
	server := worker(t, i, "u1", 60*24*time.Hour, clock)
	if err := ask(t, i, "u1", server, clock); err != nil {
		t.Errorf("its manager: %v", err)
	}
	if err := ask(t, i, "u2", server, clock); err == nil {
		t.Error("the worker passes for another one")
	}
	// Another worker, with what it was given, is no manager.
	cert, key, caPEM, err := i.IssueWorker("u2", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(caPEM)
	if err := handshake(t, server, &tls.Config{
		RootCAs: roots, ServerName: "u1" + workerDomain, Certificates: []tls.Certificate{pair}, Time: clock,
	}); err == nil {
		t.Error("a worker may ask another worker")
	}
	if err := handshake(t, server, &tls.Config{RootCAs: roots, ServerName: "u1" + workerDomain, Time: clock}); err == nil {
		t.Error("anybody may ask a worker")
	}

	now = now.Add(50 * 24 * time.Hour)
	turn()
	now = now.Add(time.Hour)
	turn()
	if len(i.current.Load().authority) != 2 {
		t.Fatal("there should be two CAs now")
	}
	if err := ask(t, i, "u1", server, clock); err != nil {
		t.Errorf("after a new CA, a worker from before: %v", err)
	}
	if err := ask(t, i, "u3", worker(t, i, "u3", time.Hour, clock), clock); err != nil {
		t.Errorf("after a new CA, a new worker: %v", err)
	}
	if _, _, _, err := i.IssueWorker("not/a uid", time.Hour); err == nil {
		t.Error("a name that is none")
	}
}

// worker is the TLS of a worker as it starts now.
func worker(t *testing.T, i *Issuer, uid string, life time.Duration, clock func() time.Time) *tls.Config {
	t.Helper()
	cert, key, caPEM, err := i.IssueWorker(uid, life)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(caPEM)
	return &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert, Time: clock,
	}
}

func ask(t *testing.T, i *Issuer, uid string, server *tls.Config, clock func() time.Time) error {
	t.Helper()
	config, err := i.ClientTLS(uid)
	if err != nil {
		t.Fatal(err)
	}
	config.Time = clock
	return handshake(t, server, config)
}

// handshake returns what either side has against the other.
func handshake(t *testing.T, server, client *tls.Config) error {
	t.Helper()
	a, b := net.Pipe()
	deadline := time.Now().Add(10 * time.Second)
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	served := make(chan error, 1)
	go func() {
		s := tls.Server(a, server)
		err := s.HandshakeContext(t.Context())
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		_ = a.Close()
		served <- err
	}()
	c := tls.Client(b, client)
	err := c.HandshakeContext(t.Context())
	if err == nil {
		_, err = c.Read(make([]byte, 1)) // in TLS 1.3 a server's refusal comes after the client is content
	}
	_ = b.Close()
	return errors.Join(err, <-served)
}
