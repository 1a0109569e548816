package worker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// serve answers /progress and /metrics until stop is called, to whoever shows a certificate of the CA.
func (w *worker) serve(ctx context.Context) (stop func(), err error) {
	// Read once now, so that what is wrong is told now, and then for each connection: certificates are replaced while a
	// long job runs.
	if _, err := serverTLS(w.o.tls); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", w.o.listen)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /progress", w.progress)
	mux.HandleFunc("GET /metrics", w.metrics)
	s := &http.Server{
		Handler: mux,
		TLSConfig: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return serverTLS(w.o.tls) },
		},
		// Nobody but the manager and a scraper of metrics comes, seldom, for an answer from memory.
		ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // no HTTP/2: it takes memory
		ErrorLog:     log.New(io.Discard, "", 0),                               // refused handshakes: anybody can make a thousand
	}
	go func() { _ = s.ServeTLS(l, "", "") }()
	w.log.Info("serving", "address", l.Addr().String())
	return func() { _ = s.Close() }, nil
}

// serverTLS is made of the files in dir.
func serverTLS(dir string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("certificate of the worker: %w", err)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("authority of the worker's clients: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("authority of the worker's clients: ca.crt holds no certificate")
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, NextProtos: []string{"http/1.1"}}, nil
}

func (w *worker) progress(out http.ResponseWriter, _ *http.Request) {
	b, err := json.Marshal(w.meter.Progress(time.Now()))
	if err != nil {
		http.Error(out, err.Error(), http.StatusInternalServerError)
		return
	}
	out.Header().Set("Content-Type", "application/json")
	_, _ = out.Write(b) // an error is a client that has left
}
