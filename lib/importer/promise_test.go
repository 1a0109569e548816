package importer_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/importer"
	"github.com/cdictl/cdictl/lib/sink/filesink"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// TestPromisedLength refuses a body that is said to be longer than any disk may be, before any of it is stored.
func TestPromisedLength(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "4611686018427387904")
		for block := make([]byte, 64<<10); r.Method == http.MethodGet; block[0]++ {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	defer srv.Close()
	src, err := httpsource.New(srv.URL+"/disk.raw", httpsource.Options{})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	_, err = importer.Import(t.Context(), importer.Request{Source: src, Target: filesink.New(filepath.Join(dir, "disk"), filesink.Options{})})
	if !errors.Is(err, errdef.ErrLimit) {
		t.Errorf("got %v, want a limit", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
