package worker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/cdictl/cdictl/lib/job"
)

const (
	mib = 1 << 20
	// asWorker makes the test binary the worker, for what only a process can show.
	asWorker = "CDICTL_TEST_WORKER"
)

func TestMain(m *testing.M) {
	if os.Getenv(asWorker) != "" {
		os.Exit(Run(context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

func content(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{9}).Read(b)
	return b
}

// A gate serves content and stops each body after so many bytes until it is opened.
type gate struct {
	content []byte
	after   int64
	open    chan struct{}
	sent    atomic.Int64
	plain   bool         // no ranges
	status  atomic.Int64 // answered instead, if not 0
	fails   atomic.Int64 // so many times; then the content
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if st := g.status.Load(); st != 0 && g.fails.Add(-1) >= 0 {
		http.Error(w, "told to", int(st))
		return
	}
	if g.plain {
		w.Header().Set("Content-Length", strconv.Itoa(len(g.content)))
		_, _ = io.Copy(&gated{w, g, r.Context()}, struct{ io.Reader }{bytes.NewReader(g.content)})
		return
	}
	w.Header().Set("ETag", `"one"`)
	http.ServeContent(&gated{w, g, r.Context()}, r, "", time.Time{}, bytes.NewReader(g.content))
}

type gated struct {
	http.ResponseWriter
	g   *gate
	ctx context.Context
}

func (w *gated) Write(p []byte) (int, error) {
	if w.g.after > 0 && w.g.sent.Load() >= w.g.after {
		if f, ok := w.ResponseWriter.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-w.g.open:
		case <-w.ctx.Done():
			return 0, w.ctx.Err()
		}
	}
	n, err := w.ResponseWriter.Write(p)
	w.g.sent.Add(int64(n))
	return n, err
}

func serve(t *testing.T, g *gate) string {
	t.Helper()
	if g.open == nil {
		g.open = make(chan struct{})
	}
	s := httptest.NewServer(g)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

// A pod is what a worker has around it.
type pod struct {
	dir, disk, result string
	args              []string
}

func newPod(t *testing.T, s job.Spec) *pod {
	t.Helper()
	p := &pod{dir: t.TempDir()}
	p.disk, p.result = filepath.Join(p.dir, "data", "disk.img"), filepath.Join(p.dir, "termination-log")
	if err := os.Mkdir(filepath.Dir(p.disk), 0o700); err != nil {
		t.Fatal(err)
	}
	s.Version, s.UID = job.Version, "11-22"
	if s.Target.Device == "" {
		s.Target.File = p.disk
	}
	s.Target.Replace = true
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	p.args = []string{"import", "--spec", p.write(t, "spec.json", b), "--result", p.result, "--tls", ""}
	return p
}

func (p *pod) write(t *testing.T, name string, b []byte) string {
	t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (p *pod) told(t *testing.T) job.Result {
	t.Helper()
	b, err := os.ReadFile(p.result)
	if err != nil {
		t.Fatal(err)
	}
	r, err := job.ParseResult(b)
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	return r
}

func (p *pod) leaves(t *testing.T, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(p.disk))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("left: %q, want %q", got, want)
	}
}

func (p *pod) holds(t *testing.T, want []byte) {
	t.Helper()
	got, err := os.ReadFile(p.disk)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("the disk of %d bytes is not the image of %d", len(got), len(want))
	}
}

// logged are the messages of JSON lines, in order.
func logged(t *testing.T, b []byte) (msgs []string) {
	t.Helper()
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var line struct {
			Msg   string `json:"msg"`
			Level string `json:"level"`
		}
		if err := json.Unmarshal(s.Bytes(), &line); err != nil || line.Level == "" {
			t.Errorf("no line of a log: %s", s.Bytes())
		}
		msgs = append(msgs, line.Msg)
	}
	return msgs
}

func http1(url string) job.Source { return job.Source{HTTP: &job.HTTP{URL: url}} }

func TestOutcomes(t *testing.T) {
	disk := content(2 * mib)
	url := func(t *testing.T, status, fails int64) string {
		g := &gate{content: disk}
		g.status.Store(status)
		g.fails.Store(fails)
		return serve(t, g) + "/disk"
	}
	for _, c := range []struct {
		name    string
		spec    func(*testing.T) job.Spec
		exit    int
		outcome job.Outcome
		reason  string
		log     string
		left    []string
	}{
		{"succeeded", func(t *testing.T) job.Spec { return job.Spec{Source: http1(url(t, 0, 0))} }, 0, job.Succeeded, "Completed", "start plan end", []string{"disk.img"}},
		{"blank", func(*testing.T) job.Spec {
			return job.Spec{Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{Size: 4 * mib}}
		}, 0, job.Succeeded, "Completed", "start plan end", []string{"disk.img"}},
		{"after a retry", func(t *testing.T) job.Spec { return job.Spec{Source: http1(url(t, 503, 1))} }, 0, job.Succeeded, "Completed", "start retry plan end", []string{"disk.img"}},
		{"failed", func(t *testing.T) job.Spec {
			return job.Spec{Source: http1(url(t, 0, 0)), Checksum: "md5:" + strings.Repeat("0", 32)}
		}, 0, job.Failed, "DigestMismatch", "start plan end", nil},
		{"too small", func(t *testing.T) job.Spec {
			return job.Spec{Source: http1(url(t, 0, 0)), Target: job.Target{Size: mib}}
		}, 0, job.Failed, "TargetTooSmall", "start plan end", nil},
		{"not found", func(t *testing.T) job.Spec { return job.Spec{Source: http1(url(t, 404, 99))} }, 1, job.Retry, "SourceNotFound", "start end", nil},
		{"bad spec", func(*testing.T) job.Spec { return job.Spec{} }, 0, job.Failed, "InvalidSpec", "end", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPod(t, c.spec(t))
			var log bytes.Buffer
			if got := run(t.Context(), p.args, &log); got != c.exit {
				t.Errorf("exit %d, want %d; %s", got, c.exit, &log)
			}
			if r := p.told(t); r.Outcome != c.outcome || r.Reason != c.reason {
				t.Errorf("%+v", r)
			}
			if got := strings.Join(logged(t, log.Bytes()), " "); got != c.log {
				t.Errorf("logged %q, want %q", got, c.log)
			}
			p.leaves(t, c.left...)
		})
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{nil, {"export"}, {"import", "--wrong"}, {"import", "one"}} {
		if got := run(t.Context(), args, io.Discard); got != 1 {
			t.Errorf("%q: exit %d", args, got)
		}
	}
	// A result that cannot be written must not pass for one.
	p := newPod(t, job.Spec{Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{Size: mib}})
	p.args[4] = filepath.Join(p.dir, "no", "folder")
	if got := run(t.Context(), p.args, io.Discard); got != 1 {
		t.Errorf("exit %d", got)
	}
}

// freePort is one that nobody has at this moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return addr
}

func TestServe(t *testing.T) {
	disk := content(24 * mib)
	g := &gate{content: disk, after: 16 * mib, plain: true, open: make(chan struct{})}
	p := newPod(t, job.Spec{Source: http1(serve(t, g))})
	ours, theirs := newAuthority(t), newAuthority(t)
	p.write(t, "ca.crt", ours.pem)
	cert, key := ours.pair(t, x509.ExtKeyUsageServerAuth)
	p.write(t, "tls.crt", cert)
	p.write(t, "tls.key", key)
	addr := freePort(t)
	p.args = append(p.args[:5], "--tls", p.dir, "--listen", addr)

	var log locked
	done := make(chan int)
	go func() { done <- run(t.Context(), p.args, &log) }()
	for !strings.Contains(log.String(), "serving") || g.sent.Load() < g.after {
		time.Sleep(5 * time.Millisecond)
	}

	get := func(a *authority, path string, change func(*tls.Config)) ([]byte, error) {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(ours.pem)
		cfg := &tls.Config{RootCAs: pool, ServerName: "worker"}
		if a != nil {
			c, k := a.pair(t, x509.ExtKeyUsageClientAuth)
			pair, err := tls.X509KeyPair(c, k)
			if err != nil {
				t.Fatal(err)
			}
			cfg.Certificates = []tls.Certificate{pair}
		}
		if change != nil {
			change(cfg)
		}
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 2 * time.Minute}
		resp, err := client.Get("https://" + addr + path)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %s", resp.Status)
		}
		return io.ReadAll(resp.Body)
	}
	for name, try := range map[string]func() ([]byte, error){
		"no certificate": func() ([]byte, error) { return get(nil, "/progress", nil) },
		"another's":      func() ([]byte, error) { return get(theirs, "/progress", nil) },
		"TLS 1.1": func() ([]byte, error) {
			return get(ours, "/progress", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })
		},
		"no such page":  func() ([]byte, error) { return get(ours, "/", nil) },
		"in plain text": func() ([]byte, error) { return plain("http://" + addr + "/progress") },
		"profiles":      func() ([]byte, error) { return get(ours, "/debug/pprof/", nil) },
	} {
		if b, err := try(); err == nil {
			t.Errorf("%s: got %s", name, b)
		}
	}

	// The content is stuck at half.
	var at job.Progress
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		b, err := get(ours, "/progress", nil)
		if err != nil {
			t.Fatal(err)
		}
		if at, err = job.ParseProgress(b); err != nil {
			t.Fatalf("%v: %s", err, b)
		}
		if at.Virtual > 0 || time.Now().After(deadline) {
			break
		}
	}
	if at.UID != "11-22" || at.Total != 24*mib || at.Virtual == 0 || at.Virtual > 17*mib || at.Percent() <= 0 || at.Percent() >= 100 {
		t.Errorf("%+v", at)
	}
	b, err := get(ours, "/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	m := families["kubevirt_cdi_import_progress_total"].GetMetric()
	if len(m) != 1 || m[0].GetLabel()[0].GetName() != "ownerUID" || m[0].GetLabel()[0].GetValue() != "11-22" || m[0].GetCounter().GetValue() <= 0 || m[0].GetCounter().GetValue() >= 100 {
		t.Errorf("%s", b)
	}
	if v := families["cdictl_worker_virtual_bytes"].GetMetric()[0].GetGauge().GetValue(); v != 24*mib {
		t.Errorf("virtual bytes: %v", v)
	}

	// New certificates are taken up while the job runs.
	renewed := newAuthority(t)
	p.write(t, "ca.crt", renewed.pem)
	if _, err := get(ours, "/progress", nil); err == nil {
		t.Error("the old authority's client is still let in")
	}
	if _, err := get(renewed, "/progress", nil); err != nil {
		t.Errorf("the new authority's client: %v", err)
	}

	close(g.open)
	if code := <-done; code != 0 {
		t.Errorf("exit %d: %s", code, log.String())
	}
	p.holds(t, disk)
	if _, err := get(renewed, "/progress", nil); err == nil {
		t.Error("it still serves")
	}
}

func plain(url string) ([]byte, error) {
	resp, err := http.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// Without certificates the job is done all the same.
func TestServeNothing(t *testing.T) {
	p := newPod(t, job.Spec{Source: job.Source{Blank: &job.Blank{}}, Target: job.Target{Size: mib}})
	p.args = append(p.args[:5], "--tls", filepath.Join(p.dir, "none"))
	var log bytes.Buffer
	if code := run(t.Context(), p.args, &log); code != 0 || !strings.Contains(log.String(), "progress is not served") {
		t.Errorf("exit %d: %s", code, &log)
	}
}

// start runs the worker as a process until the gate holds it up.
func (p *pod) start(t *testing.T, g *gate) (*exec.Cmd, *locked) {
	t.Helper()
	c := exec.Command(os.Args[0], p.args...)
	c.Env = append(os.Environ(), asWorker+"=1", "NO_PROXY=*")
	log := new(locked)
	c.Stderr = log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	for deadline := time.Now().Add(3 * time.Minute); g.sent.Load() < g.after; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was fetched: %s", log.String())
		}
	}
	return c, log
}

// A worker that is killed again and again goes on each time with what the one before made durable.
func TestKilledGoesOn(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for records")
	}
	disk := content(24 * mib)
	g := &gate{content: disk, after: 6 * mib}
	p := newPod(t, job.Spec{Source: http1(serve(t, g)), Target: job.Target{Size: 48 * mib, Overhead: "0.06", Mode: "0660"}, Checksum: fmt.Sprintf("sha256:%x", sha256.Sum256(disk))})
	record := filepath.Join(filepath.Dir(p.disk), ".disk.img.cdictl.journal")
	fetched, last := int64(0), time.Time{}
	for range 2 {
		g.sent.Store(0)
		c, log := p.start(t, g)
		// What came is noted though no more comes: when no other record follows for a while, all of it is.
		quiet := time.Now()
		for deadline := time.Now().Add(3 * time.Minute); time.Since(quiet) < 4*time.Second; time.Sleep(20 * time.Millisecond) {
			if fi, err := os.Stat(record); err != nil || !fi.ModTime().Equal(last) {
				quiet = time.Now()
				if err == nil {
					last = fi.ModTime()
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("nothing was noted: %s", log.String())
			}
		}
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		p.leaves(t, ".disk.img.cdictl.journal", ".disk.img.cdictl.part")
		fetched += g.sent.Load()
	}
	g.sent.Store(0)
	close(g.open)
	var log bytes.Buffer
	if code := run(t.Context(), p.args, &log); code != 0 {
		t.Errorf("exit %d: %s", code, &log)
	}
	fetched += g.sent.Load()
	p.leaves(t, "disk.img")
	r := p.told(t)
	if r.Outcome != job.Succeeded || r.VirtualSize != 45*mib || r.Kept == 0 || r.Fetched > 25*mib-r.Kept {
		t.Errorf("%+v", r)
	}
	p.holds(t, append(disk, make([]byte, 21*mib)...))
	t.Logf("of an image of %d bytes the server sent %d over two kills; the last worker took %d, and kept %d", len(disk), fetched, r.Fetched, r.Kept)
}

// A worker that is killed at once leaves a part of no use; the next one puts it away and makes the disk.
func TestKilled(t *testing.T) {
	disk := content(8 * mib)
	g := &gate{content: disk, after: 3 * mib}
	p := newPod(t, job.Spec{Source: http1(serve(t, g)), Target: job.Target{Size: 16 * mib, Overhead: "0.06", Mode: "0660"}})
	for range 3 {
		g.sent.Store(0)
		c, _ := p.start(t, g)
		if err := c.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = c.Wait()
		p.leaves(t, ".disk.img.cdictl.part")
	}
	close(g.open)
	var log bytes.Buffer
	if code := run(t.Context(), p.args, &log); code != 0 {
		t.Errorf("exit %d: %s", code, &log)
	}
	p.leaves(t, "disk.img")
	p.holds(t, append(disk, make([]byte, 7*mib)...))
	if fi, err := os.Stat(p.disk); err != nil || fi.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", fi, err)
	}
	if r := p.told(t); r.Outcome != job.Succeeded || r.VirtualSize != 15*mib {
		t.Errorf("%+v", r)
	}
}

// locked is a buffer that is read while it is written.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
