package httpsource

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// maxCAFile bounds a bundle of authorities; that of a whole operating system has about 250 KiB.
const maxCAFile = 16 << 20

func (s *Source) tlsConfig() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: s.o.Insecure} //nolint:gosec // the user's own choice
	if s.o.CAFile == "" {
		return cfg, nil
	}
	files, err := caFiles(s.o.CAFile)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w: %w", err, errdef.ErrUsage)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a machine without authorities of its own
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
		return nil, errdef.WithHint(fmt.Errorf("CA file %s holds no certificate: %w", s.o.CAFile, errdef.ErrUsage),
			"give a PEM bundle, or a folder of *.pem, *.crt and *.cer files")
	}
	cfg.RootCAs = pool
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
	n := 0
	for rest := b; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
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
	if n == 0 && !bytes.Contains(b, []byte("-----BEGIN")) {
		if c, err := x509.ParseCertificate(b); err == nil {
			pool.AddCert(c)
			n++
		}
	}
	return n, nil
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
