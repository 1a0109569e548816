package servers

import (
	"bytes"
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"
)

// GCS is a fake-gcs-server with one bucket, images. It asks for no token, and takes any.
type GCS struct{ URL string }

// StartGCS runs one until the test ends. What it stores is in its memory.
func StartGCS(t testing.TB) *GCS {
	t.Helper()
	bin := tool(t, "fakegcs", "github.com/fsouza/fake-gcs-server")
	g := &GCS{"http://" + run(t, bin, nil, func(host, port string) []string {
		return []string{"-scheme", "http", "-host", host, "-port", port, "-public-host", host, "-backend", "memory", "-log-level", "error"}
	})}
	send(t, http.MethodPost, g.URL+"/storage/v1/b?project=p", "application/json", []byte(`{"name":"images"}`))
	return g
}

// Put stores the file at path as an object.
func (g *GCS) Put(t testing.TB, name, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	send(t, http.MethodPost, g.URL+"/upload/storage/v1/b/images/o?uploadType=media&name="+url.QueryEscape(name), "application/octet-stream", b)
}

// send makes a request that has to succeed, and returns where its answer points.
func send(t testing.TB, method, u, kind string, body []byte) *url.URL {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, u, bytes.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", kind)
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s %s", method, u, resp.Status, said)
	}
	at, err := resp.Location()
	if err != nil {
		return nil // most have none
	}
	return at
}
