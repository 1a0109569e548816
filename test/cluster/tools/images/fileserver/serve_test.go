package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func start(t *testing.T) (files, admin string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), bytes.Repeat([]byte("0123456789"), 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &server{root: root, counts: map[string]*Count{}}
	f, a := httptest.NewServer(s), httptest.NewServer(s.admin(nil))
	t.Cleanup(func() { f.Close(); a.Close(); root.Close() })
	return f.URL, a.URL
}

func send(t *testing.T, method, url, body string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, b, err
}

func TestRules(t *testing.T) {
	for _, test := range []struct {
		name, rules string
		header      []string
		status, n   int
		broken      bool
	}{
		{name: "whole", rules: `[]`, status: 200, n: 10000},
		{name: "range", rules: `[]`, header: []string{"Range", "bytes=10-19"}, status: 206, n: 10},
		{name: "no ranges", rules: `[{"noRanges": true}]`, header: []string{"Range", "bytes=10-19"}, status: 200, n: 10000},
		{name: "status", rules: `[{"path": "/a", "status": 503}]`, status: 503},
		{name: "of another path", rules: `[{"path": "/b*", "status": 503}]`, status: 200, n: 10000},
		{name: "drop", rules: `[{"dropAfter": 4000}]`, status: 200, n: 4000, broken: true},
		{name: "unauthorized", rules: `[{"user": "u", "password": "p"}]`, status: 401},
		{name: "authorized", rules: `[{"user": "u", "password": "p"}]`, header: []string{"Authorization", "Basic dTpw"}, status: 200, n: 10000},
		{name: "no header", rules: `[{"header": "X-Token: t"}]`, status: 403},
		{name: "header", rules: `[{"header": "X-Token: t"}]`, header: []string{"X-Token", "t"}, status: 200, n: 10000},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, admin := start(t)
			if resp, b, _ := send(t, "PUT", admin+"/rules", test.rules); resp.StatusCode != 200 {
				t.Fatalf("rules: %s: %s", resp.Status, b)
			}
			resp, b, err := send(t, "GET", files+"/a", "", test.header...)
			if resp.StatusCode != test.status || len(b) != test.n || (err != nil) != test.broken {
				t.Fatalf("%d, %d bytes, %v; want %d, %d, broken %v", resp.StatusCode, len(b), err, test.status, test.n, test.broken)
			}
			if _, ok := resp.Header["Accept-Ranges"]; test.name == "no ranges" && ok {
				t.Error("ranges are offered")
			}
			_, b, _ = send(t, "GET", admin+"/counts", "")
			var counts map[string]Count
			if err := json.Unmarshal(b, &counts); err != nil {
				t.Fatal(err)
			}
			if c := counts["/a"]; c.Requests != 1 || c.Bytes != int64(test.n) || c.Statuses[test.status] != 1 {
				t.Errorf("counts %+v", c)
			}
		})
	}
}

func TestSkipAndTimes(t *testing.T) {
	files, admin := start(t)
	send(t, "PUT", admin+"/rules", `[{"skip": 1, "times": 2, "status": 500}]`)
	var got []int
	for range 4 {
		resp, _, _ := send(t, "GET", files+"/a", "")
		got = append(got, resp.StatusCode)
	}
	if want := []int{200, 500, 500, 200}; !equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func equal(a, b []int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestFlipAndRate(t *testing.T) {
	files, admin := start(t)
	send(t, "PUT", admin+"/rules", `[{"flipAt": 5000, "rate": 50000}]`)
	began := time.Now()
	_, b, err := send(t, "GET", files+"/a", "")
	if err != nil || len(b) != 10000 || b[5000] != '0'^0xff || b[5001] != '1' {
		t.Fatalf("%d bytes, %v", len(b), err)
	}
	if took := time.Since(began); took < 100*time.Millisecond {
		t.Errorf("10,000 bytes at 50,000 per second took %v", took)
	}
}

func TestBadRules(t *testing.T) {
	_, admin := start(t)
	for _, rules := range []string{`{}`, `[{"pth": "/a"}]`, `[{"path": "["}]`, `[{"delay": "2"}]`} {
		if resp, _, _ := send(t, "PUT", admin+"/rules", rules); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %s", rules, resp.Status)
		}
	}
}

func TestCertificate(t *testing.T) {
	config, ca, err := certificate([]string{"fileserver.test"})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = config
	s.StartTLS()
	defer s.Close()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		t.Fatal("no certificate")
	}
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "fileserver.test"}}}
	resp, err := client.Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}
