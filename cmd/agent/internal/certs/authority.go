package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// skew is how far certificates are dated back, for machines whose clocks are behind.
const skew = time.Hour

// Keys of the Secrets.
const (
	caCert  = "ca.crt" // all CAs that are valid, newest first
	caKey   = "ca.key" // their keys
	tlsCert = "tls.crt"
	tlsKey  = "tls.key"
)

// ca is a certificate authority with its key.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func (c ca) made() time.Time { return c.cert.NotBefore.Add(skew) }

// aging is the moment from which a certificate is due for renewal: half of its life.
func aging(cert *x509.Certificate) time.Time {
	made := cert.NotBefore.Add(skew)
	return made.Add(cert.NotAfter.Sub(made) / 2)
}

// authority is a row of CAs, newest first.
type authority []ca

// renew drops what has expired and adds a CA if the newest one is due. It returns a new authority, and says whether it is
// another one.
func (a authority) renew(name string, life time.Duration, now time.Time) (authority, bool, error) {
	b := slices.DeleteFunc(slices.Clone(a), func(c ca) bool { return !now.Before(c.cert.NotAfter) })
	changed := len(b) != len(a)
	if len(b) == 0 || !now.Before(aging(b[0].cert)) {
		c, err := newCA(name, life, now)
		if err != nil {
			return nil, false, err
		}
		return slices.Insert(b, 0, c), true, nil
	}
	return b, changed, nil
}

// signer is the CA to sign with: the newest that everybody has had the time to hear of, and if there is none, the oldest.
func (a authority) signer(overlap time.Duration, now time.Time) ca {
	for _, c := range a {
		if now.Sub(c.made()) >= overlap {
			return c
		}
	}
	return a[len(a)-1]
}

// due is when renew has something to do next.
func (a authority) due() time.Time {
	t := aging(a[0].cert)
	for _, c := range a {
		if c.cert.NotAfter.Before(t) {
			t = c.cert.NotAfter
		}
	}
	return t
}

// bundle is the certificates of all CAs, as PEM.
func (a authority) bundle() []byte {
	var b bytes.Buffer
	for _, c := range a {
		b.Write(encode("CERTIFICATE", c.cert.Raw))
	}
	return b.Bytes()
}

func (a authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range a {
		p.AddCert(c.cert)
	}
	return p
}

// write puts the authority into the data of a Secret.
func (a authority) write(data map[string][]byte) error {
	var keys bytes.Buffer
	for _, c := range a {
		der, err := x509.MarshalPKCS8PrivateKey(c.key)
		if err != nil {
			return err
		}
		keys.Write(encode("PRIVATE KEY", der))
	}
	data[caCert], data[caKey] = a.bundle(), keys.Bytes()
	return nil
}

// readAuthority reads what write wrote. A certificate without its key, or the other way round, is left out: nothing can be
// done with it. What cannot be parsed at all is an error.
func readAuthority(data map[string][]byte) (authority, error) {
	var keys []*ecdsa.PrivateKey
	for rest := data[caKey]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: not a private key", caKey) // the reason might have some of it
		}
		key, ok := k.(*ecdsa.PrivateKey)
		if !ok {
			return nil, fmt.Errorf("%s: a key of type %T", caKey, k)
		}
		keys = append(keys, key)
	}
	var a authority
	for rest := data[caCert]; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", caCert, err)
		}
		for _, key := range keys {
			if cert.IsCA && key.PublicKey.Equal(cert.PublicKey) {
				a = append(a, ca{cert, key})
			}
		}
	}
	if len(a) == 0 && len(data[caCert])+len(data[caKey]) > 0 {
		return nil, errors.New("no CA with its key in it")
	}
	slices.SortStableFunc(a, func(x, y ca) int { return y.cert.NotBefore.Compare(x.cert.NotBefore) })
	return a, nil
}

func newCA(name string, life time.Duration, now time.Time) (ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ca{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return ca{}, err
	}
	// The serial number makes the subject the only one of its kind: TLS servers tell by subject which CAs they accept.
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: fmt.Sprintf("%s %x", name, serial)},
		NotBefore: now.Add(-skew), NotAfter: now.Add(life),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return ca{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return ca{cert, key}, err
}

// A leaf is what a certificate is asked for.
type leaf struct {
	name  string   // common name
	dns   []string // what it may be called by others
	usage x509.ExtKeyUsage
	life  time.Duration // it never outlives the CA
}

// sign makes a key and a certificate for it.
func (c ca) sign(l leaf, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, nil, err
	}
	end := now.Add(l.life)
	if end.After(c.cert.NotAfter) {
		end = c.cert.NotAfter
	}
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: l.name}, DNSNames: l.dns,
		NotBefore: now.Add(-skew), NotAfter: end, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{l.usage},
	}
	der, err := x509.CreateCertificate(rand.Reader, t, c.cert, key.Public(), c.key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return encode("CERTIFICATE", der), encode("PRIVATE KEY", keyDER), nil
}

// readLeaf returns the pair if it is what was asked for, signed by one of the CAs and not due for renewal; else the reason.
func (a authority) readLeaf(certPEM, keyPEM []byte, l leaf, now time.Time) (*tls.Certificate, error) {
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	for _, name := range l.dns {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{
			Roots: a.pool(), DNSName: name, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{l.usage},
		}); err != nil {
			return nil, err
		}
	}
	if !now.Before(aging(pair.Leaf)) {
		return nil, errors.New("half of its life is over")
	}
	return &pair, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
