// Package faults makes calls of a gRPC server slow, or makes them fail, as rules in a folder say. A test adds a rule at
// run time by moving a file NAME.json into the folder, and takes it back by removing the file.
package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// A Rule is one file.
type Rule struct {
	Call    string `json:"call"`              // such as CreateVolume or NodePublishVolume
	Claim   string `json:"claim,omitempty"`   // only for these, NAMESPACE/NAME, a pattern as of path.Match
	Times   int    `json:"times,omitempty"`   // so many calls, counted down in the file, which goes with the last; 0: all
	Delay   string `json:"delay,omitempty"`   // wait before the call, such as 2s
	Code    string `json:"code,omitempty"`    // fail with this code, such as UNAVAILABLE; empty: do not fail
	Message string `json:"message,omitempty"` // of the failure
	After   bool   `json:"after,omitempty"`   // do the work, then fail: the answer was lost
}

// Rules applies the rules of a folder.
type Rules struct {
	Dir   string               // empty: no rules
	Claim func(req any) string // NAMESPACE/NAME of the claim that a request is about, or empty

	mu sync.Mutex
}

// Intercept is a grpc.UnaryServerInterceptor. A rule that cannot be read fails every call, so that its author notices.
func (r *Rules) Intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	rule, err := r.take(path.Base(info.FullMethod), req)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	if rule == nil {
		return next(ctx, req)
	}
	delay, failure := rule.parse()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	if failure == nil {
		return next(ctx, req)
	}
	if rule.After {
		if resp, err := next(ctx, req); err != nil {
			return resp, err
		}
	}
	return nil, failure
}

// take finds the first rule, in the order of names, that fits a call, and counts it down.
func (r *Rules) take(call string, req any) (*Rule, error) {
	if r.Dir == "" {
		return nil, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	files, err := filepath.Glob(filepath.Join(r.Dir, "*.json"))
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if os.IsNotExist(err) {
			continue // taken back
		}
		if err != nil {
			return nil, err
		}
		rule, err := decode(b)
		if err != nil {
			return nil, fmt.Errorf("fault %s: %w", file, err)
		}
		if rule.Call != call {
			continue
		}
		if rule.Claim != "" {
			if ok, _ := path.Match(rule.Claim, r.Claim(req)); !ok { // decode has checked the pattern
				continue
			}
		}
		return rule, count(file, *rule)
	}
	return nil, nil
}

func decode(b []byte) (*Rule, error) {
	rule := &Rule{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(rule); err != nil {
		return nil, err
	}
	if rule.Call == "" {
		return nil, fmt.Errorf("call is empty")
	}
	if _, err := path.Match(rule.Claim, ""); err != nil {
		return nil, fmt.Errorf("claim %q: %w", rule.Claim, err)
	}
	if rule.Delay != "" {
		if _, err := time.ParseDuration(rule.Delay); err != nil {
			return nil, err
		}
	}
	if rule.Code != "" {
		var c codes.Code
		if err := c.UnmarshalJSON([]byte(strconv.Quote(rule.Code))); err != nil {
			return nil, fmt.Errorf("code %q is none of gRPC's, such as UNAVAILABLE", rule.Code)
		}
	}
	return rule, nil
}

// parse reads what decode has checked.
func (r *Rule) parse() (delay time.Duration, failure error) {
	delay, _ = time.ParseDuration(r.Delay)
	if r.Code != "" {
		var c codes.Code
		_ = c.UnmarshalJSON([]byte(strconv.Quote(r.Code)))
		message := r.Message
		if message == "" {
			message = "a fault that a test asked for"
		}
		failure = status.Error(c, message)
	}
	return delay, failure
}

func count(file string, rule Rule) error {
	switch rule.Times {
	case 0:
		return nil
	case 1:
		return os.Remove(file)
	}
	rule.Times--
	b, err := json.Marshal(rule)
	if err != nil {
		return err
	}
	part := file + ".part"
	if err := os.WriteFile(part, b, 0o644); err != nil {
		return err
	}
	return os.Rename(part, file)
}
