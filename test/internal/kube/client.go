// Package kube talks to a cluster the way a person with a kubeconfig does: through kubectl. One `kubectl proxy` carries
// all requests, so any way to log in that kubectl knows will do, and the tests link no client library.
package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A Client sends requests to one cluster. It may be used by many goroutines at once.
type Client struct {
	http  http.Client
	proxy *exec.Cmd
	done  chan error
}

// Start starts the proxy for the kubeconfig that kubectl finds, with its socket in dir, and waits until the cluster answers.
func Start(ctx context.Context, dir string) (*Client, error) {
	socket := filepath.Join(dir, "kube.sock")
	c := &Client{done: make(chan error, 1)}
	c.proxy = exec.CommandContext(ctx, "kubectl", "proxy", "--unix-socket="+socket, "--reject-paths=", "--disable-filter")
	var said bytes.Buffer
	c.proxy.Stdout, c.proxy.Stderr = &said, &said
	if err := c.proxy.Start(); err != nil {
		return nil, err
	}
	go func() { c.done <- c.proxy.Wait() }()
	var d net.Dialer
	c.http.Transport = &http.Transport{
		DialContext:         func(ctx context.Context, _, _ string) (net.Conn, error) { return d.DialContext(ctx, "unix", socket) },
		MaxIdleConnsPerHost: 64,
	}
	for end := time.Now().Add(2 * time.Minute); ; {
		_, err := c.Raw(ctx, http.MethodGet, "/version", "", nil)
		if err == nil {
			return c, nil
		}
		select {
		case perr := <-c.done:
			return nil, fmt.Errorf("kubectl proxy: %w: %s", perr, strings.TrimSpace(said.String()))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("the cluster does not answer: %w", err), c.Close())
		}
	}
}

// Close ends the proxy.
func (c *Client) Close() error {
	if err := c.proxy.Process.Kill(); err != nil {
		return err
	}
	var killed *exec.ExitError
	if err := <-c.done; !errors.As(err, &killed) {
		return err
	}
	return nil
}

// A Status is an answer of the API server that is not what was asked for.
type Status struct {
	Code    int
	Reason  string
	Message string
}

func (s *Status) Error() string { return fmt.Sprintf("%d %s: %s", s.Code, s.Reason, s.Message) }

// IsNotFound tells whether the object, or the resource, is not there.
func IsNotFound(err error) bool { return hasCode(err, http.StatusNotFound) }

// IsConflict tells whether the object exists already or was changed by another.
func IsConflict(err error) bool { return hasCode(err, http.StatusConflict) }

func hasCode(err error, code int) bool {
	var s *Status
	return errors.As(err, &s) && s.Code == code
}

// Raw sends a body to a path and returns the answer's.
func (c *Client) Raw(ctx context.Context, method, path, kind string, body []byte) ([]byte, error) {
	resp, err := c.send(ctx, method, path, kind, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// lull is how long a cluster on a busy machine may have no answer to give.
const lull = 2 * time.Minute

// send sends a request, and again while the cluster says that it cannot answer now. What makes an object is only sent again
// where it was not looked at.
func (c *Client) send(ctx context.Context, method, path, kind string, body []byte) (*http.Response, error) {
	for end := time.Now().Add(lull); ; {
		resp, err := c.sendOnce(ctx, method, path, kind, body)
		var s *Status
		if err == nil || !errors.As(err, &s) || !s.passes(method) || time.Now().After(end) {
			return resp, err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// passes tells whether the answer to a request may be another one soon, and whether asking again changes nothing else.
func (s *Status) passes(method string) bool {
	switch s.Code {
	case http.StatusTooManyRequests:
		return true
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return method != http.MethodPost
	}
	return s.Code >= 500 && method != http.MethodPost && strings.Contains(s.Message, "etcdserver:")
}

func (c *Client) sendOnce(ctx context.Context, method, path, kind string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://cluster"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	s := &Status{Code: resp.StatusCode, Message: strings.TrimSpace(string(b))}
	var o Object
	if json.Unmarshal(b, &o) == nil && o.Text("kind") == "Status" {
		s.Reason, s.Message = o.Text("reason"), o.Text("message")
	}
	return nil, fmt.Errorf("%s %s: %w", method, path, s)
}

func (c *Client) object(ctx context.Context, method, path, kind string, body any) (Object, error) {
	var b []byte
	if body != nil {
		var err error
		if b, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	b, err := c.Raw(ctx, method, path, kind, b)
	if err != nil {
		return nil, err
	}
	var o Object
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return o, nil
}

// Get reads what is at a path.
func (c *Client) Get(ctx context.Context, path string) (Object, error) {
	return c.object(ctx, http.MethodGet, path, "", nil)
}

// List reads the objects at a path.
func (c *Client) List(ctx context.Context, path string) ([]Object, error) {
	list, err := c.Get(ctx, path)
	return list.Objects("items"), err
}

// Create makes an object.
func (c *Client) Create(ctx context.Context, o Object) (Object, error) {
	path, err := collection(o)
	if err != nil {
		return nil, err
	}
	return c.object(ctx, http.MethodPost, path, "application/json", o)
}

// Apply makes or changes objects, as server-side apply does.
func (c *Client) Apply(ctx context.Context, objects ...Object) error {
	for _, o := range objects {
		path, err := Path(o)
		if err != nil {
			return err
		}
		_, err = c.object(ctx, http.MethodPatch, path+"?fieldManager=e2e&force=true", "application/apply-patch+yaml", o)
		if err != nil {
			return err
		}
	}
	return nil
}

// Patch merges a patch into the object at a path.
func (c *Client) Patch(ctx context.Context, path string, patch Object) error {
	_, err := c.object(ctx, http.MethodPatch, path, "application/merge-patch+json", patch)
	return err
}

// Delete deletes what is at a path; what is not there is no error. At once means without the time to end well.
func (c *Client) Delete(ctx context.Context, path string, atOnce bool) error {
	options := Object{"propagationPolicy": "Background"}
	if atOnce {
		options["gracePeriodSeconds"] = 0
	}
	_, err := c.object(ctx, http.MethodDelete, path, "application/json", options)
	if IsNotFound(err) {
		return nil
	}
	return err
}

// Watch calls f with every object at a path, those that are there first, then with every change, until f returns true
// or ctx ends. f is told of a deletion by gone. A watch that breaks off begins again.
func (c *Client) Watch(ctx context.Context, path string, f func(o Object, gone bool) (stop bool)) error {
	for {
		stop, err := c.watch(ctx, path, f)
		if stop || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var status *Status
		if errors.As(err, &status) && status.Code < 500 && status.Code != http.StatusGone && status.Code != http.StatusTooManyRequests {
			return err
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *Client) watch(ctx context.Context, path string, f func(Object, bool) bool) (bool, error) {
	list, err := c.Get(ctx, path)
	if err != nil {
		return false, err
	}
	for _, o := range list.Objects("items") {
		if f(o, false) {
			return true, nil
		}
	}
	more := "?"
	if strings.Contains(path, "?") {
		more = "&"
	}
	path += more + "watch=true&resourceVersion=" + url.QueryEscape(list.Text("metadata", "resourceVersion"))
	resp, err := c.send(ctx, http.MethodGet, path, "", nil)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	for d := json.NewDecoder(resp.Body); ; {
		var event struct {
			Type   string
			Object Object
		}
		if err := d.Decode(&event); err != nil {
			return false, err
		}
		if event.Type == "ERROR" {
			return false, nil // too old: list again
		}
		if f(event.Object, event.Type == "DELETED") {
			return true, nil
		}
	}
}

// Wait waits until ok is true of the object at a path, and returns it. ok is asked again at every change, with nil while
// there is no such object.
func (c *Client) Wait(ctx context.Context, path string, ok func(Object) bool) (Object, error) {
	slash := strings.LastIndex(path, "/")
	var last Object
	found := false
	if _, err := c.Get(ctx, path); IsNotFound(err) && ok(nil) {
		return nil, nil
	}
	err := c.Watch(ctx, path[:slash]+"?fieldSelector=metadata.name%3D"+path[slash+1:], func(o Object, gone bool) bool {
		if last = o; gone {
			last = nil
		}
		found = ok(last)
		return found
	})
	if found {
		err = nil
	}
	return last, err
}

// Send sends a stream to a path.
func (c *Client) Send(ctx context.Context, method, path string, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://cluster"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
		return fmt.Errorf("%s %s: %w", method, path, &Status{Code: resp.StatusCode, Message: strings.TrimSpace(string(b))})
	}
	return nil
}
