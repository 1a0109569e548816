package runner

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/job"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/blanksource"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

const (
	// maxSecret bounds a file of credentials: a token with all its claims has a few KiB.
	maxSecret = 256 << 10
	// maxCA bounds a bundle, as a ConfigMap does.
	maxCA = 1 << 20
	// maxFiles bounds a mounted Secret or ConfigMap.
	maxFiles = 1000
)

// source makes what is read. The target's size is known by now: an empty disk has it.
func (r *run) source() (source.Source, error) {
	if r.spec.Source.Blank != nil {
		return blanksource.New(r.size), nil
	}
	h := r.spec.Source.HTTP
	o, err := r.httpOptions(h)
	if err != nil {
		return nil, err
	}
	return httpsource.New(h.URL, o)
}

func (r *run) httpOptions(h *job.HTTP) (httpsource.Options, error) {
	o := r.o.HTTP
	o.Insecure, o.Proxy = h.Insecure, h.Proxy
	var err error
	if o.Username, err = secret(h.UsernamePath); err != nil {
		return o, err
	}
	if o.Password, err = secret(h.PasswordPath); err != nil {
		return o, err
	}
	o.Header = http.Header{}
	for i, line := range h.Headers {
		if err := addHeader(o.Header, line); err != nil {
			return o, fmt.Errorf("source.http.headers[%d]: %w", i, err)
		}
	}
	o.SecretHeader = http.Header{}
	for _, path := range h.SecretHeaderPaths {
		if err := secretHeaders(o.SecretHeader, path); err != nil {
			return o, err
		}
	}
	return o, authorities(&o, h.CAPath)
}

// secret is what a file holds, without the line break that editors put at its end; "" for no file. A file that is not
// there is a key that the Secret lacks: that may change.
func secret(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := readSmall(path, maxSecret)
	if err != nil {
		return "", fmt.Errorf("credentials: %w: %w", err, errdef.ErrUnauthorized)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", fmt.Errorf("credentials: %s is empty: %w", path, errdef.ErrUnauthorized)
	}
	return text, nil
}

// addHeader takes "Name: value". Its errors never repeat the line: it may be secret.
func addHeader(h http.Header, line string) error {
	name, value, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("not of the form \"Name: value\": %w", errdef.ErrUsage)
	}
	h.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	return nil
}

// secretHeaders takes every line of a file, or of every file in a folder.
func secretHeaders(h http.Header, path string) error {
	files, err := filesOf(path)
	if err != nil {
		return fmt.Errorf("secret headers: %w: %w", err, errdef.ErrUnauthorized)
	}
	for _, f := range files {
		b, err := readSmall(f, maxSecret)
		if err != nil {
			return fmt.Errorf("secret headers: %w: %w", err, errdef.ErrUnauthorized)
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line == "" {
				continue
			}
			if err := addHeader(h, line); err != nil {
				return fmt.Errorf("secret headers: %s: %w", f, err)
			}
		}
	}
	return nil
}

// authorities trusts what is at path. In a folder the names do not matter: the keys of a ConfigMap are its author's.
func authorities(o *httpsource.Options, path string) error {
	if path == "" {
		return nil
	}
	fi, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("certificate authorities: %w: %w", err, errdef.ErrUsage)
	}
	if !fi.IsDir() {
		o.CAFile = path
		return nil
	}
	files, err := filesOf(path)
	if err != nil {
		return fmt.Errorf("certificate authorities: %w: %w", err, errdef.ErrUsage)
	}
	var all bytes.Buffer
	for _, f := range files {
		b, err := readSmall(f, maxCA)
		if err != nil {
			return fmt.Errorf("certificate authorities: %w: %w", err, errdef.ErrUsage)
		}
		all.Write(b)
		all.WriteByte('\n')
	}
	if !bytes.Contains(all.Bytes(), []byte("-----BEGIN CERTIFICATE-----")) {
		return fmt.Errorf("certificate authorities: %s holds no PEM certificate: %w", path, errdef.ErrUsage)
	}
	o.CAs = all.Bytes()
	return nil
}

// filesOf is path itself, or the regular files in it, in order of their names. Those that begin with a dot are not the
// author's: a mounted volume keeps its versions in them.
func filesOf(path string) ([]string, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		f := filepath.Join(path, e.Name())
		// A mounted key is a symbolic link, so the entry's own type does not tell.
		switch fi, err := os.Stat(f); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case fi.Mode().IsRegular():
			files = append(files, f)
		}
	}
	switch n := len(files); {
	case n == 0:
		return nil, fmt.Errorf("%s holds no files", path)
	case n > maxFiles:
		return nil, fmt.Errorf("%s holds %d files, at most %d are read", path, n, maxFiles)
	}
	return files, nil
}

func readSmall(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return b, err
}
