package s3source

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"unicode"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"

	"github.com/cdictl/cdictl/lib/errdef"
)

// Chain looks where AWS's own programs do, in their order: the environment, the shared config and credentials files
// (with SSO, assumed roles and credential processes), web identity (IRSA), the container's and at last the machine's
// role, for which it asks a metadata address unless AWS_EC2_METADATA_DISABLED is true. profile is that of the shared
// config; empty: AWS_PROFILE or the default one. Region and endpoint come from there too.
func Chain(profile string) Credentials { return chain(profile) }

type chain string

func (c chain) settings(ctx context.Context, client *http.Client) (settings, error) {
	load := []func(*config.LoadOptions) error{config.WithHTTPClient(buildable(client))}
	if c != "" {
		load = append(load, config.WithSharedConfigProfile(string(c)))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return settings{}, fmt.Errorf("AWS's configuration: %s: %w", said(err), errdef.ErrUsage)
	}
	set := settings{provider: cfg.Credentials, region: cfg.Region}
	if set.region != "" && !validRegion(set.region) {
		return settings{}, usage("AWS's configuration has a region that is none")
	}
	if cfg.BaseEndpoint != nil {
		set.endpoint = *cfg.BaseEndpoint
	}
	// AWS_ENDPOINT_URL_S3 and a profile's services section go before the general one.
	for _, from := range cfg.ConfigSources {
		p, ok := from.(interface {
			GetServiceBaseEndpoint(ctx context.Context, sdkID string) (string, bool, error)
		})
		if !ok {
			continue
		}
		if e, found, err := p.GetServiceBaseEndpoint(ctx, "S3"); err == nil && found {
			set.endpoint = e
			break
		}
	}
	return set, nil
}

// buildable is client in the one form that the SDK takes where AWS_CA_BUNDLE or the profile's ca_bundle names authorities,
// which it adds to a copy. With any other client it fails then.
func buildable(client *http.Client) config.HTTPClient {
	ours, ok := client.Transport.(*http.Transport)
	if !ok {
		return client
	}
	return awshttp.NewBuildableClient().WithTimeout(client.Timeout).WithTransportOptions(func(tr *http.Transport) {
		c := ours.Clone()
		tr.DialContext, tr.TLSHandshakeTimeout, tr.MaxResponseHeaderBytes = c.DialContext, c.TLSHandshakeTimeout, c.MaxResponseHeaderBytes
		tr.DisableKeepAlives, tr.ForceAttemptHTTP2 = c.DisableKeepAlives, c.ForceAttemptHTTP2
		tr.TLSClientConfig = c.TLSClientConfig
		if tr.TLSClientConfig != nil && tr.TLSClientConfig.RootCAs != nil {
			tr.TLSClientConfig.RootCAs = tr.TLSClientConfig.RootCAs.Clone()
		}
		// The SDK's client follows redirects that keep the method, and what a request for credentials carries with it. Ours
		// follows none, and this is where each request passes.
		tr.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.Response != nil {
				return nil, fmt.Errorf("a redirect of a request for credentials: %w", errdef.ErrRefused)
			}
			if c.Proxy == nil {
				return nil, nil
			}
			return c.Proxy(r)
		}
	})
}

// said is what may be shown of an error of the chain. A service's answer is told by its code and message; what a
// credential process printed, which the SDK repeats, is not shown at all.
func said(err error) string {
	if _, ok := errors.AsType[*processcreds.ProviderError](err); ok {
		return "the credential process failed, or its output could not be read"
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return clean(api.ErrorCode() + ": " + api.ErrorMessage())
	}
	return clean(err.Error())
}

// clean makes one bounded line.
func clean(s string) string {
	const most = 300
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
