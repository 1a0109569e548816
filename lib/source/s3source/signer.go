package s3source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/retry"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// noBody is the SHA-256 of nothing, which is what a GET sends.
const noBody = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// signer authorizes requests to one bucket.
type signer struct {
	provider aws.CredentialsProvider // nil: nothing is signed
	region   string
	pays     bool
	had      atomic.Bool // credentials, at least once
}

var (
	_ httpsource.Authorizer = (*signer)(nil)
	_ httpsource.Refresher  = (*signer)(nil)
)

func newSigner(p aws.CredentialsProvider, region string, pays bool) *signer {
	return &signer{provider: p, region: region, pays: pays}
}

// Authorize signs r with the keys of this moment. A proxy may change what S3 does not need signed.
func (g *signer) Authorize(r *http.Request) error {
	if g.pays {
		r.Header.Set("X-Amz-Request-Payer", "requester")
	}
	if g.provider == nil {
		return nil
	}
	c, err := g.provider.Retrieve(r.Context())
	if err != nil {
		return g.explain(r.Context(), err)
	}
	g.had.Store(true)
	return g.sign(r, c, time.Now())
}

// sign signs the host and what is S3's own of the header.
func (g *signer) sign(r *http.Request, c aws.Credentials, now time.Time) error {
	u := *r.URL
	signed := &http.Request{Method: r.Method, URL: &u, Host: r.Host, Header: http.Header{}}
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") {
			signed.Header[name] = slices.Clone(values)
		}
	}
	signed.Header.Set("X-Amz-Content-Sha256", noBody)
	// A signer keeps derived keys by the ID of their access key, and would not see another secret under the same one.
	err := v4.NewSigner().SignHTTP(r.Context(), c, signed, noBody, "s3", g.region, now, func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true // S3 signs the path as it is sent, unlike other services
	})
	if err != nil {
		return fmt.Errorf("sign the request: %w", err)
	}
	for name, values := range signed.Header {
		r.Header[name] = values
	}
	r.URL.RawQuery = u.RawQuery // in the order in which it was signed
	return nil
}

// Refused looks for other keys than those of r.
func (g *signer) Refused(r *http.Request, _ int) bool {
	if g.provider == nil {
		return false
	}
	if g.differs(r) { // they have been replaced, or another request has found them
		return true
	}
	cache, ok := g.provider.(*aws.CredentialsCache)
	if !ok {
		return false
	}
	cache.Invalidate()
	return g.differs(r)
}

// differs reports whether r, signed at the same moment with the keys of now, would be another request.
func (g *signer) differs(r *http.Request) bool {
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	c, err := g.provider.Retrieve(r.Context())
	if err != nil {
		return false
	}
	again := r.Clone(r.Context())
	again.Header.Del("Authorization")
	again.Header.Del("X-Amz-Security-Token")
	return g.sign(again, c, at) == nil && again.Header.Get("Authorization") != r.Header.Get("Authorization")
}

// explain sorts what a provider says. Once there were credentials, what hinders getting the next ones may pass.
func (g *signer) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errdef.ErrUsage):
		return err
	case g.had.Load():
		return fmt.Errorf("credentials: %s: %w", said(err), errdef.ErrUnavailable)
	}
	return retry.Permanent(errdef.WithHint(fmt.Errorf("no credentials: %s: %w", said(err), errdef.ErrUnauthorized),
		"set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a folder with keys; a public object is read without any (--anonymous)"))
}
