package gcssource

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Credentials is where tokens come from: File or Default. Its value never shows a secret.
type Credentials interface {
	// source makes tokens while ctx lasts, with its oauth2.HTTPClient.
	source(ctx context.Context) (oauth2.TokenSource, error)
}

// scope is the least that reads objects.
const scope = "https://www.googleapis.com/auth/devstorage.read_only"

// File is a JSON file of credentials: the key of a service account, or the configuration of a workload identity
// federation, an impersonation or a user. It is read when a source is opened.
func File(path string) Credentials { return file(path) }

// maxFile bounds a file of credentials. A key has 3 KiB.
const maxFile = 256 << 10

type file string

func (f file) source(ctx context.Context) (oauth2.TokenSource, error) {
	r, err := os.Open(string(f))
	if err != nil {
		return nil, fmt.Errorf("credentials: %w: %w", err, errdef.ErrUsage)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("credentials: %w: %w", err, errdef.ErrUsage)
	case len(b) > maxFile:
		return nil, fmt.Errorf("credentials: %s is longer than %d bytes: %w", string(f), maxFile, errdef.ErrUsage)
	}
	c, err := google.CredentialsFromJSON(ctx, b, scope)
	if err != nil {
		// The parser's own words may repeat a part of the file.
		return nil, errdef.WithHint(fmt.Errorf("credentials: %s is not one of Google's credential files: %w", string(f), errdef.ErrUsage),
			`it is JSON with a "type", such as service_account or external_account`)
	}
	return c.TokenSource, nil
}

// Default are the application default credentials: the file that GOOGLE_APPLICATION_CREDENTIALS names, that of gcloud, or
// the account of the machine or of the pod (workload identity), which a metadata address is asked for.
func Default() Credentials { return defaults{} }

type defaults struct{}

func (defaults) source(ctx context.Context) (oauth2.TokenSource, error) {
	c, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, errdef.WithHint(fmt.Errorf("no credentials: Google's default ones are not set up here, or cannot be read: %w", errdef.ErrUnauthorized),
			"run gcloud auth application-default login, or name a file of credentials; a public object is read without any (--anonymous)")
	}
	return c.TokenSource, nil
}

// within gives ctx the client that tokens are fetched with.
func within(ctx context.Context, client *http.Client) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, client)
}

// said is what may be shown of the failure to get a token: not the answer's body, which may have one.
func said(err error) string {
	if e, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		text := "the service for tokens refused"
		if e.Response != nil {
			text = fmt.Sprintf("the service for tokens answered %d", e.Response.StatusCode)
		}
		if e.ErrorCode != "" {
			text += " (" + clean(e.ErrorCode) + ")"
		}
		return text
	}
	return "no token could be had"
}
