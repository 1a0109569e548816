package faults

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

type harness struct {
	dir   string
	rules *Rules
	done  int // calls that reached the driver
}

func start(t *testing.T) *harness {
	h := &harness{dir: t.TempDir()}
	h.rules = &Rules{Dir: h.dir, Claim: func(req any) string { return req.(string) }}
	return h
}

func (h *harness) put(t *testing.T, name, rule string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name+".json"), []byte(rule), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (h *harness) call(ctx context.Context, method, claim string) codes.Code {
	info := &grpc.UnaryServerInfo{FullMethod: "/csi.v1.Controller/" + method}
	_, err := h.rules.Intercept(ctx, claim, info, func(context.Context, any) (any, error) {
		h.done++
		return nil, nil
	})
	return status.Code(err)
}

func TestFailsSoManyTimes(t *testing.T) {
	h := start(t)
	h.put(t, "a", `{"call": "CreateVolume", "claim": "ns/*", "times": 3, "code": "RESOURCE_EXHAUSTED"}`)
	if c := h.call(t.Context(), "CreateVolume", "other/x"); c != codes.OK {
		t.Errorf("another namespace: %v", c)
	}
	if c := h.call(t.Context(), "DeleteVolume", "ns/x"); c != codes.OK {
		t.Errorf("another call: %v", c)
	}
	for i := range 3 {
		if c := h.call(t.Context(), "CreateVolume", "ns/x"); c != codes.ResourceExhausted {
			t.Errorf("call %d: %v", i, c)
		}
	}
	if c := h.call(t.Context(), "CreateVolume", "ns/x"); c != codes.OK {
		t.Errorf("the fourth: %v", c)
	}
	if left, _ := os.ReadDir(h.dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
	if h.done != 3 {
		t.Errorf("%d calls reached the driver, want 3", h.done)
	}
}

func TestFailsAfterTheWork(t *testing.T) {
	h := start(t)
	h.put(t, "a", `{"call": "CreateVolume", "code": "DEADLINE_EXCEEDED", "after": true}`)
	if c := h.call(t.Context(), "CreateVolume", ""); c != codes.DeadlineExceeded || h.done != 1 {
		t.Errorf("%v, %d calls reached the driver", c, h.done)
	}
}

func TestDelay(t *testing.T) {
	h := start(t)
	h.put(t, "a", `{"call": "NodeStageVolume", "delay": "1h"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if c := h.call(ctx, "NodeStageVolume", ""); c != codes.DeadlineExceeded || h.done != 0 {
		t.Errorf("%v, %d calls reached the driver", c, h.done)
	}
}

func TestBadRuleIsNoticed(t *testing.T) {
	for _, rule := range []string{``, `{}`, `{"call": "X", "code": "BROKEN"}`, `{"call": "X", "delay": "soon"}`, `{"cal": "X"}`, `{"call": "X", "claim": "["}`} {
		h := start(t)
		h.put(t, "a", rule)
		if c := h.call(t.Context(), "CreateVolume", ""); c != codes.Internal {
			t.Errorf("%s: %v", rule, c)
		}
	}
}
