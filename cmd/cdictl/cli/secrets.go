package cli

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// maxSecret bounds a file with a secret. A token with all its claims has a few KiB.
const maxSecret = 256 << 10

// options are the flags as httpsource takes them. Secrets come from files: an argument is seen by every user of the
// machine, and the environment is inherited and logged.
func (h *httpFlags) options() (httpsource.Options, error) {
	o := httpsource.Options{Username: h.username, CAFile: h.caFile, CertFile: h.cert, KeyFile: h.key, Insecure: h.insecure,
		Proxy: h.proxy, Retries: h.retries, StallTimeout: h.stallTimeout, Connections: h.connections,
		AllowLinkLocal: h.linkLocal}
	switch {
	case h.retries < 0:
		return o, usagef("--retries %d is negative", h.retries)
	case h.retries == 0:
		o.Retries = -1 // httpsource's word for none
	case h.connections < 1:
		return o, usagef("--connections %d is less than 1", h.connections)
	case h.stallTimeout <= 0:
		return o, usagef("--stall-timeout %s is not above 0", h.stallTimeout)
	case h.passwordFile != "" && h.username == "":
		return o, usagef("--password-file needs --username")
	}
	var err error
	if o.Password, err = secret("--password-file", h.passwordFile); err != nil {
		return o, err
	}
	if o.BearerToken, err = secret("--token-file", h.tokenFile); err != nil {
		return o, err
	}
	if o.Header, err = headers("--header", h.headers); err != nil {
		return o, err
	}
	text, err := secret("--header-file", h.headerFile)
	if err != nil {
		return o, err
	}
	o.SecretHeader, err = headers("--header-file", strings.Split(text, "\n"))
	return o, err
}

// secret is what the file of a flag holds, without the line break that editors put at the end; "" for no file.
func secret(flag, path string) (string, error) {
	if path == "" {
		return "", nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", usagef("%s: %w", flag, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return "", usagef("%s: %w", flag, err)
	}
	if len(b) > maxSecret {
		return "", usagef("%s: %s is longer than %d bytes", flag, path, maxSecret)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", usagef("%s: %s is empty", flag, path)
	}
	return text, nil
}

// headers parses lines of the form "K: V"; empty ones do not count. Its errors never repeat a line: it may be secret.
func headers(flag string, lines []string) (http.Header, error) {
	h := http.Header{}
	for i, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			return nil, errdef.WithHint(fmt.Errorf("%s: header %d has no colon: %w", flag, i+1, errdef.ErrUsage),
				"a header is written 'Name: value'")
		}
		h.Add(strings.TrimSpace(k), strings.TrimSpace(v))
	}
	return h, nil
}
