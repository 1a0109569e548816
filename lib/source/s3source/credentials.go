package s3source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Credentials is where keys come from: Static, Folder or Chain. Its value never shows them.
type Credentials interface {
	// settings finds what there is to know before the first request. client is for asking elsewhere.
	settings(ctx context.Context, client *http.Client) (settings, error)
}

// settings are what Credentials know. A nil provider signs nothing.
type settings struct {
	provider         aws.CredentialsProvider
	region, endpoint string // "" for unknown
}

// Static are keys that do not change; token is that of temporary ones, else empty.
func Static(accessKeyID, secretKey, token string) Credentials {
	return static{func() (string, string, string) { return accessKeyID, secretKey, token }}
}

// static holds its keys in a function, so that no kind of printing shows them.
type static struct {
	keys func() (id, secret, token string)
}

func (s static) settings(ctx context.Context, _ *http.Client) (settings, error) {
	if _, err := s.Retrieve(ctx); err != nil {
		return settings{}, err
	}
	return settings{provider: s}, nil
}

func (s static) Retrieve(context.Context) (aws.Credentials, error) {
	id, secret, token := s.keys()
	return checked(aws.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token})
}

// Folder is a folder with the files accessKeyId, secretKey and, for temporary keys, sessionToken: a mounted Secret of
// Kubernetes with the keys that CDI has. It is read for each request, so a Secret that is replaced is seen.
func Folder(path string) Credentials { return folder(path) }

type folder string

func (f folder) settings(ctx context.Context, _ *http.Client) (settings, error) {
	if _, err := f.Retrieve(ctx); err != nil {
		return settings{}, err
	}
	return settings{provider: f}, nil
}

func (f folder) Retrieve(context.Context) (c aws.Credentials, err error) {
	if c.AccessKeyID, err = f.read("accessKeyId"); err != nil {
		return c, err
	}
	if c.SecretAccessKey, err = f.read("secretKey"); err != nil {
		return c, err
	}
	if c.SessionToken, err = f.read("sessionToken"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, err
	}
	return checked(c)
}

// maxKeyFile bounds a key or token. Tokens have about 1 KiB.
const maxKeyFile = 64 << 10

func (f folder) read(name string) (string, error) {
	path := filepath.Join(string(f), name)
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("credentials: %w: %w", err, errdef.ErrUsage)
	}
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.LimitReader(file, maxKeyFile+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("credentials: %w: %w", err, errdef.ErrUsage)
	case len(b) > maxKeyFile:
		return "", fmt.Errorf("credentials: %s is longer than %d bytes: %w", path, maxKeyFile, errdef.ErrUsage)
	}
	return strings.TrimSpace(string(b)), nil
}

// checked refuses keys that no header can hold: a signature over them would only be wrong.
func checked(c aws.Credentials) (aws.Credentials, error) {
	if c.AccessKeyID == "" || c.SecretAccessKey == "" {
		return aws.Credentials{}, fmt.Errorf("credentials: an access key has an ID and a secret, and one of them is empty: %w", errdef.ErrUsage)
	}
	for _, s := range []string{c.AccessKeyID, c.SecretAccessKey, c.SessionToken} {
		if strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return aws.Credentials{}, fmt.Errorf("credentials: a key has blanks or control characters: %w", errdef.ErrUsage)
		}
	}
	return c, nil
}
