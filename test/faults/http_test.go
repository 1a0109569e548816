//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/cdictl/cdictl/test/internal/proc"
	"github.com/cdictl/cdictl/test/internal/web"
)

// httpFaults are servers that refuse, lie or break off.
var httpFaults = []fault{
	{"404", []int{10}, false, func(s *stage) proc.Result { return s.status(http.StatusNotFound, "") }},
	{"401", []int{11}, true, func(s *stage) proc.Result { return s.status(http.StatusUnauthorized, "") }},
	{"403", []int{11}, false, func(s *stage) proc.Result { return s.status(http.StatusForbidden, "") }},
	{"503 for ever, --retries 2", []int{21}, false, func(s *stage) proc.Result {
		return s.status(http.StatusServiceUnavailable, "", "--retries", "2")
	}},
	{"redirect to file://", []int{20}, false, func(s *stage) proc.Result {
		return s.status(http.StatusFound, "file://"+s.in.raw)
	}},
	{"redirect loop", []int{21}, false, func(s *stage) proc.Result {
		return s.status(http.StatusFound, "/disk.raw", "--retries", "1")
	}},
	{"ETag changed between ranges", []int{17}, true, func(s *stage) proc.Result {
		return s.changed(false, s.in.qcow2)
	}},
	{"ETag changed between ranges, hashed", []int{17}, true, func(s *stage) proc.Result {
		return s.changed(false, s.in.qcow2, "--checksum", "sha256:"+digest(s.t, s.in.qcow2))
	}},
	{"ETag changed after a drop", []int{17}, true, func(s *stage) proc.Result {
		return s.changed(true, s.in.rawGz)
	}},
	{"body shorter than Content-Length", []int{21}, false, func(s *stage) proc.Result {
		return s.short(s.in.raw, false)
	}},
	{"body always cut at the same byte, ranges", []int{21}, false, func(s *stage) proc.Result {
		return s.short(s.in.qcow2, true)
	}},
}

// status imports from a server with one answer for everything.
func (s *stage) status(code int, location string, args ...string) proc.Result {
	srv := web.Start(s.t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		switch code {
		case http.StatusFound:
			w.Header().Set("Location", location)
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", `Basic realm="images"`)
		}
		w.WriteHeader(code)
	}))
	r := s.importing(srv.URL+"/disk.raw", args...)
	if code == http.StatusNotFound && srv.Requests.Load() > 2 {
		s.t.Errorf("%d requests for a file that is not there", srv.Requests.Load())
	}
	if n := srv.Requests.Load(); code == http.StatusServiceUnavailable && (n < 3 || n > 9) {
		s.t.Errorf("%d requests with --retries 2", n)
	}
	return r
}

// changed imports a file that becomes another one of the same size when its server has sent 2 MiB: at the next request,
// or, with drop, in the middle of an answer that then breaks off.
func (s *stage) changed(drop bool, path string, args ...string) proc.Result {
	dirs := [2]string{filepath.Dir(path), s.t.TempDir()}
	b, err := os.ReadFile(path)
	must(s.t, err)
	for i := 4 << 20; i < len(b); i += 4096 {
		b[i] ^= 1
	}
	must(s.t, os.WriteFile(filepath.Join(dirs[1], filepath.Base(path)), b, 0o600))
	var sent atomic.Int64
	srv := web.Start(s.t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const limit = 2 << 20
		if sent.Load() >= limit {
			web.Ranges(dirs[1]).ServeHTTP(w, r)
			return
		}
		web.Ranges(dirs[0]).ServeHTTP(&fuse{ResponseWriter: w, sent: &sent, limit: limit, blow: drop}, r)
	}))
	r := s.importing(srv.URL+"/"+filepath.Base(path), args...)
	if sent.Load() < 2<<20 {
		s.t.Errorf("only %d bytes fetched: nothing changed under way", sent.Load())
	}
	return r
}

// fuse counts what passes; when blow is set it breaks the connection at the limit.
type fuse struct {
	http.ResponseWriter
	sent  *atomic.Int64
	limit int64
	blow  bool
}

func (f *fuse) Write(p []byte) (int, error) {
	if f.blow && f.sent.Load() >= f.limit {
		panic(http.ErrAbortHandler)
	}
	n, err := f.ResponseWriter.Write(p)
	f.sent.Add(int64(n))
	return n, err
}

// short imports from a server that promises the whole file and never gets past the middle of it.
func (s *stage) short(path string, ranges bool) proc.Result {
	st, err := os.Stat(path)
	must(s.t, err)
	srv := web.Start(s.t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		defer f.Close()
		first, last := int64(0), st.Size()-1
		if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n > 0 && ranges {
			last = min(last, st.Size()-1)
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, st.Size()))
		} else {
			first, last = 0, st.Size()-1
		}
		w.Header().Set("Content-Length", fmt.Sprint(last-first+1))
		if ranges {
			w.Header().Set("Accept-Ranges", "bytes")
			w.Header().Set("ETag", web.ETag(st))
		}
		if w.Header().Get("Content-Range") != "" {
			w.WriteHeader(http.StatusPartialContent)
		}
		if r.Method == http.MethodHead {
			return
		}
		b := make([]byte, 64<<10)
		for off := first; off <= last && off < st.Size()/2; off += int64(len(b)) {
			n, err := f.ReadAt(b[:min(int64(len(b)), last-off+1)], off)
			if n == 0 && err != nil {
				break
			}
			if _, err := w.Write(b[:n]); err != nil {
				break
			}
		}
		if last >= st.Size()/2 {
			panic(http.ErrAbortHandler)
		}
	}))
	return s.importing(srv.URL+"/"+filepath.Base(path), "--retries", "1")
}
