// Command fileserver serves a folder on loopback, with ranges and ETags, at the pace of a network: for trying cdictl
// without one. It prints its URL and serves until it is ended.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/cdictl/cdictl/lib/limits"
)

func main() {
	dir := flag.String("dir", ".", "folder to serve")
	rate := flag.Int64("rate", 0, "bytes per second of all answers together; 0: as fast as it goes")
	flag.Parse()
	if err := run(*dir, *rate); err != nil {
		log.Fatal(err)
	}
}

func run(dir string, rate int64) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	s := &http.Server{Handler: server{dir, limits.NewRate(rate)}, ReadHeaderTimeout: 10 * time.Second}
	return s.Serve(l)
}

type server struct {
	dir  string
	pace *limits.Rate
}

func (s server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, err := os.OpenInRoot(s.dir, filepath.FromSlash("."+filepath.Clean("/"+r.URL.Path)))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() {
		http.NotFound(w, r)
		return
	}
	// A strong validator, which continuing a broken download and fetching by several ranges both need.
	id := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", fi.Name(), fi.Size(), fi.ModTime().UnixNano()))
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, id[:8]))
	http.ServeContent(paced{w, r, s.pace}, r, fi.Name(), fi.ModTime(), f)
}

// paced holds an answer back to the pace.
type paced struct {
	http.ResponseWriter
	r    *http.Request
	pace *limits.Rate
}

func (p paced) Write(b []byte) (int, error) {
	if err := p.pace.Wait(p.r.Context(), len(b)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}
