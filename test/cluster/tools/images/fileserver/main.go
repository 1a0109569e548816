// Command fileserver serves a folder over HTTP and HTTPS, misbehaves as it is told, and counts what was asked of it.
//
// Files are on -http and -https. The other side is on -admin:
//
//	GET, PUT     /rules    the list of rules, see Rule; a PUT replaces all of them
//	GET, DELETE  /counts   requests and bytes by path, see Count; a DELETE starts again at zero
//	GET          /ca.pem   the certificate to trust for HTTPS, made when the server started
//	PUT          /files/NAME   a file for the folder
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
)

func main() {
	dir := flag.String("dir", "/srv", "folder to serve")
	plain := flag.String("http", ":8080", "address for HTTP")
	secure := flag.String("https", ":8443", "address for HTTPS")
	admin := flag.String("admin", ":9090", "address for rules and counts")
	names := flag.String("names", "localhost", "names in the certificate, with commas between them")
	flag.Parse()

	root, err := os.OpenRoot(*dir)
	if err != nil {
		log.Fatal(err)
	}
	config, ca, err := certificate(strings.Split(*names, ","))
	if err != nil {
		log.Fatal(err)
	}
	s := &server{root: root, counts: map[string]*Count{}}
	failed := make(chan error)
	go func() { failed <- http.ListenAndServe(*plain, s) }()
	go func() {
		h := http.Server{Addr: *secure, Handler: s, TLSConfig: config}
		failed <- h.ListenAndServeTLS("", "")
	}()
	go func() { failed <- http.ListenAndServe(*admin, s.admin(ca)) }()
	log.Fatal(<-failed)
}

func (s *server) admin(ca []byte) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /rules", func(w http.ResponseWriter, _ *http.Request) { s.show(w, &s.rules) })
	mux.HandleFunc("GET /counts", func(w http.ResponseWriter, _ *http.Request) { s.show(w, &s.counts) })
	mux.HandleFunc("GET /ca.pem", func(w http.ResponseWriter, _ *http.Request) { w.Write(ca) })
	mux.HandleFunc("DELETE /counts", func(http.ResponseWriter, *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.counts = map[string]*Count{}
	})
	mux.HandleFunc("PUT /files/{name}", func(w http.ResponseWriter, r *http.Request) {
		if err := s.store(r.PathValue("name"), r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("PUT /rules", func(w http.ResponseWriter, r *http.Request) {
		var rules []*Rule
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		d.DisallowUnknownFields()
		err := d.Decode(&rules)
		for i := 0; err == nil && i < len(rules); i++ {
			err = rules[i].check()
		}
		if err != nil {
			http.Error(w, "rules: "+err.Error(), http.StatusBadRequest)
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.rules = rules
	})
	return mux
}

// store makes a file appear in the folder, whole.
func (s *server) store(name string, content io.Reader) error {
	part := "." + name + ".part"
	f, err := s.root.Create(part)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return s.root.Rename(part, name)
}

func (s *server) show(w http.ResponseWriter, v any) {
	s.mu.Lock()
	b, err := json.MarshalIndent(v, "", "  ")
	s.mu.Unlock()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(b, '\n'))
}
