package httpsource

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// maxCAFile bounds a bundle of authorities; that of a whole operating system has about 250 KiB.
const maxCAFile = 16 << 20

func (o Options) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure} //nolint:gosec // the user's own choice
	if o.CAFile == "" && len(o.CAs) == 0 {
		return cfg, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without authorities of its own
	}
	cfg.RootCAs = pool
	if len(o.CAs) > 0 {
		n, err := addPEM(pool, o.CAs)
		if err == nil && n == 0 {
			err = errors.New("there is none")
		}
		if err != nil {
			return nil, fmt.Errorf("CA certificates: %w: %w", err, errdef.ErrUsage)
		}
	}
	if o.CAFile == "" {
		return cfg, nil
	}
	files, err := caFiles(o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w: %w", err, errdef.ErrUsage)
	}
	found := 0
	for _, f := range files {
		n, err := addCerts(pool, f)
		if err != nil {
			return nil, fmt.Errorf("CA file %s: %w: %w", f, err, errdef.ErrUsage)
		}
		found += n
	}
	if found == 0 {
		return nil, errdef.WithHint(fmt.Errorf("CA file %s holds no certificate: %w", o.CAFile, errdef.ErrUsage),
			"give a PEM bundle, or a folder of *.pem, *.crt and *.cer files")
	}
	return cfg, nil
}

// caFiles is path itself or, if it is a folder, the certificates in it.
func caFiles(path string) ([]string, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		switch strings.ToLower(filepath.Ext(e.Name())) {
		case ".pem", ".crt", ".cer":
			// A mounted ConfigMap has symlinks here, so the entry's own type does not tell.
			if st, err := os.Stat(filepath.Join(path, e.Name())); err == nil && st.Mode().IsRegular() {
				files = append(files, filepath.Join(path, e.Name()))
			}
		}
	}
	return files, nil
}

// addCerts adds every certificate of a PEM file, or the one of a DER file. Other PEM blocks are passed over.
func addCerts(pool *x509.CertPool, path string) (int, error) {
	b, err := readSmall(path, maxCAFile)
	if err != nil {
		return 0, err
	}
	n, err := addPEM(pool, b)
	if err != nil {
		return n, err
	}
	if n == 0 && !bytes.Contains(b, []byte("-----BEGIN")) {
		if c, err := x509.ParseCertificate(b); err == nil {
			pool.AddCert(c)
			n++
		}
	}
	return n, nil
}

// addPEM adds every certificate of a bundle.
func addPEM(pool *x509.CertPool, b []byte) (n int, err error) {
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			return n, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return n, err
		}
		pool.AddCert(c)
		n++
	}
}

func (s *Source) clientCert() (tls.Certificate, error) {
	key := s.o.KeyFile
	if key == "" {
		key = s.o.CertFile
	}
	var c tls.Certificate
	certPEM, err := readSmall(s.o.CertFile, maxCAFile)
	if err == nil {
		var keyPEM []byte
		if keyPEM, err = readSmall(key, maxCAFile); err == nil {
			c, err = tls.X509KeyPair(certPEM, keyPEM)
		}
	}
	if err != nil {
		return c, fmt.Errorf("client certificate %s: %w: %w", s.o.CertFile, err, errdef.ErrUsage)
	}
	return c, nil
}

func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("larger than %d bytes", limit)
	}
	return b, err
}
