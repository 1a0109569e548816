// Package workerclient asks a running worker how far it is, over TLS with certificates on both sides. A worker that does not
// answer is no failure of its work: a NetworkPolicy may be in the way.
package workerclient

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/cdictl/cdictl/lib/job"
)

// defaultTimeout is Client.Timeout where nobody says. A worker answers from memory.
const defaultTimeout = 2 * time.Second

// Client asks workers. It is safe for concurrent use.
type Client struct {
	// TLS is what to show to, and to expect of, the worker of the order with this UID.
	TLS func(uid string) (*tls.Config, error)
	// Port that workers listen on; 0 means job.MetricsPort.
	Port int
	// Timeout of one question, connecting included; 0 means 2 s.
	Timeout time.Duration
}

// ErrTrust is an answer from somebody whose certificate does not fit, or who does not like ours: the certificates that the
// worker was given may have been replaced since.
var ErrTrust = errors.New("the worker's certificate and the manager's do not fit together")

// ErrOther is an answer of a worker with another order.
var ErrOther = errors.New("the answer is about another order")

// Progress asks the worker at ip, which has the order with this UID.
func (c *Client) Progress(ctx context.Context, ip, uid string) (job.Progress, error) {
	p, err := c.progress(ctx, ip, uid)
	if err != nil {
		return job.Progress{}, fmt.Errorf("progress of worker %s: %w", ip, err)
	}
	return p, nil
}

func (c *Client) progress(ctx context.Context, ip, uid string) (job.Progress, error) {
	config, err := c.TLS(uid)
	if err != nil {
		return job.Progress{}, err
	}
	if mine := config.GetClientCertificate; mine != nil {
		config = config.Clone()
		config.GetClientCertificate = func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c, err := mine(asked)
			if err != nil {
				return nil, fmt.Errorf("%w: %w", ErrTrust, err)
			}
			return c, nil
		}
	}
	timeout := cmp.Or(c.Timeout, defaultTimeout)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	port := c.Port
	if port == 0 {
		port = job.MetricsPort
	}
	url := "https://" + net.JoinHostPort(ip, strconv.Itoa(port)) + "/progress"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return job.Progress{}, err
	}
	// A connection for each question: workers come and go, and each would leave an idle one behind. No proxy: pods are near.
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true, DisableCompression: true, TLSHandshakeTimeout: timeout}
	defer transport.CloseIdleConnections()
	hc := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := hc.Do(req)
	if err != nil {
		return job.Progress{}, classify(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return job.Progress{}, fmt.Errorf("status %s", res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, job.MaxProgressSize+1))
	if err != nil {
		return job.Progress{}, classify(err)
	}
	p, err := job.ParseProgress(b)
	if err != nil {
		return job.Progress{}, err
	}
	if p.UID != uid {
		return job.Progress{}, fmt.Errorf("%q: %w", p.UID, ErrOther)
	}
	return p, nil
}

func classify(err error) error {
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	if errors.As(err, &verify) || errors.As(err, &alert) || remoteAlert(err) {
		return fmt.Errorf("%w: %w", ErrTrust, err)
	}
	return err
}

// remoteAlert is what the other side's refusal of our certificate looks like.
func remoteAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}
