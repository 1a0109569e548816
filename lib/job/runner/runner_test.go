package runner_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cdictl/cdictl/lib/internal/testimage"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/job"
	"github.com/cdictl/cdictl/lib/job/runner"
	"github.com/cdictl/cdictl/lib/progress"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/httpsource"
)

const mib = 1 << 20

// content is a raw disk: data, a hole, data.
func content(size int) []byte {
	b := make([]byte, size)
	r := rand.NewChaCha8([32]byte{7})
	_, _ = r.Read(b[:size/3])
	_, _ = r.Read(b[size/3*2:])
	return b
}

// qcow2 is the disk as a compressed-cluster-free qcow2.
func qcow2(t *testing.T, disk []byte, args ...string) []byte {
	t.Helper()
	testimage.Require(t, "qemu-img")
	dir := t.TempDir()
	raw, out := filepath.Join(dir, "raw"), filepath.Join(dir, "qcow2")
	if err := os.WriteFile(raw, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := testimage.Run(t.Context(), "qemu-img", append(append([]string{"convert", "-f", "raw", "-O", "qcow2"}, args...), raw, out)...); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// quick gives up soon.
var quick = httpsource.Options{Retries: 1, Backoff: time.Millisecond}

func run(t *testing.T, s job.Spec) job.Result {
	t.Helper()
	s.Version = job.Version
	return runner.Run(t.Context(), s, runner.Options{HTTP: quick})
}

func http(url string) job.Source { return job.Source{HTTP: &job.HTTP{URL: url}} }

// want checks a Result but for the numbers that differ from run to run.
func want(t *testing.T, got, want job.Result) {
	t.Helper()
	want.Version = job.Version
	ignore := cmpopts.IgnoreFields(job.Result{}, "Seconds", "Message", "Hint", "Fetched", "Written", "Spooled", "HeldMax")
	if diff := cmp.Diff(want, got, ignore); diff != "" {
		t.Errorf("result (-want +got):\n%s\nmessage: %s\nhint: %s", diff, got.Message, got.Hint)
	}
	if (got.Outcome == job.Succeeded) != (got.Hint == "") {
		t.Errorf("%s with the hint %q", got.Outcome, got.Hint)
	}
	if len(got.Encode()) > job.MaxResultSize {
		t.Errorf("%d bytes", len(got.Encode()))
	}
}

// holds checks that dir has exactly these names.
func holds(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(names, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s holds (-want +got):\n%s", dir, diff)
	}
}

// isDisk checks that path is disk, with zeros up to size.
func isDisk(t *testing.T, path string, disk []byte, size int64) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(got)) != size {
		t.Fatalf("%s has %d bytes, want %d", path, len(got), size)
	}
	if !bytes.Equal(got[:len(disk)], disk) {
		t.Errorf("%s holds something else", path)
	}
	if len(bytes.Trim(got[len(disk):], "\x00")) != 0 {
		t.Errorf("%s has something behind the image", path)
	}
}

func TestFile(t *testing.T) {
	disk := content(3 * mib)
	image := qcow2(t, disk)
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256(image))
	for _, c := range []struct {
		name   string
		server testserver.Options
		stored []byte
		change func(*job.Spec)
		size   int64
		want   job.Result
	}{
		{"qcow2", testserver.Options{}, image, nil, 3 * mib,
			job.Result{Format: "qcow2", Route: "direct", VirtualSize: 3 * mib, StoredSize: int64(len(image))}},
		{"qcow2 with a checksum", testserver.Options{}, image, func(s *job.Spec) { s.Checksum = sum }, 3 * mib,
			job.Result{Format: "qcow2", Route: "hashed", VirtualSize: 3 * mib, StoredSize: int64(len(image)), Digest: sum}},
		{"qcow2 as a stream", testserver.Options{NoRanges: true}, image, nil, 3 * mib,
			job.Result{Format: "qcow2", Route: "stream-convert", VirtualSize: 3 * mib, StoredSize: int64(len(image))}},
		{"raw", testserver.Options{}, disk, nil, 3 * mib,
			job.Result{Format: "raw", Route: "stream", VirtualSize: 3 * mib, StoredSize: 3 * mib}},
		{"raw of unknown length", testserver.Options{NoRanges: true, NoContentLength: true}, disk, func(s *job.Spec) { s.Target.Size = 8 * mib }, 8 * mib,
			job.Result{Format: "raw", Route: "stream", VirtualSize: 8 * mib, StoredSize: 3 * mib}},
		{"grown", testserver.Options{}, image, func(s *job.Spec) { s.Target.Size = 9 * mib }, 9 * mib,
			job.Result{Format: "qcow2", Route: "direct", VirtualSize: 9 * mib, StoredSize: int64(len(image))}},
		// floor(ceil(10 MiB/1.055)) in whole MiB
		{"grown to what is usable", testserver.Options{}, image, func(s *job.Spec) { s.Target.Size, s.Target.Overhead = 10*mib, "0.055" }, 9 * mib,
			job.Result{Format: "qcow2", Route: "direct", VirtualSize: 9 * mib, StoredSize: int64(len(image))}},
		// The overhead is not taken off what an image may have.
		{"between usable and available", testserver.Options{}, image, func(s *job.Spec) { s.Target.Size, s.Target.Overhead = 3*mib, "0.5" }, 3 * mib,
			job.Result{Format: "qcow2", Route: "direct", VirtualSize: 3 * mib, StoredSize: int64(len(image))}},
		{"preallocated", testserver.Options{}, image, func(s *job.Spec) { s.Preallocate, s.Target.Size = true, 4*mib }, 4 * mib,
			job.Result{Format: "qcow2", Route: "direct", VirtualSize: 4 * mib, StoredSize: int64(len(image)), Preallocated: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := testserver.Start(t, testserver.NewFile(c.stored, c.server))
			dir := t.TempDir()
			path := filepath.Join(dir, "disk.img")
			s := job.Spec{Source: http(url + "/x"), Target: job.Target{File: path}}
			if c.change != nil {
				c.change(&s)
			}
			c.want.Outcome, c.want.Reason = job.Succeeded, job.Completed
			want(t, run(t, s), c.want)
			isDisk(t, path, disk, c.size)
			holds(t, dir, "disk.img")
		})
	}
}

func TestBlankFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.img")
	track := new(progress.Tracker)
	got := runner.Run(t.Context(), job.Spec{Version: job.Version, Source: job.Source{Blank: &job.Blank{}},
		Target: job.Target{File: path, Size: 64 * mib, Overhead: "0.06", Mode: "0660"}}, runner.Options{Tracker: track})
	want(t, got, job.Result{Outcome: job.Succeeded, Reason: job.Completed, Format: "blank", Route: "direct", VirtualSize: 60 * mib})
	isDisk(t, path, nil, 60*mib)
	if s := track.Snapshot(); s.Virtual != 60*mib || s.Total != 60*mib {
		t.Errorf("progress: %+v", s)
	}
	if fi, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && fi.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
}

// An image that does not fit is found by its header: nothing but that is fetched, and nothing is left.
func TestTooSmallFromHeader(t *testing.T) {
	image := qcow2(t, content(32*mib))
	for _, ranges := range []bool{true, false} {
		t.Run(fmt.Sprintf("ranges=%v", ranges), func(t *testing.T) {
			f := testserver.NewFile(image, testserver.Options{NoRanges: !ranges, Pause: time.Millisecond})
			dir := t.TempDir()
			got := run(t, job.Spec{Source: http(testserver.Start(t, f)), Target: job.Target{File: filepath.Join(dir, "disk.img"), Size: 16 * mib, Overhead: "0.06"}})
			w := job.Result{Outcome: job.Failed, Reason: "TargetTooSmall", ExitCode: 14, Format: "qcow2", Route: "direct", VirtualSize: 32 * mib,
				StoredSize: int64(len(image)), RequiredSize: 34 * mib}
			if !ranges {
				w.Route = "stream-convert"
			}
			want(t, got, w)
			if !strings.Contains(got.Hint, "34Mi") || !strings.Contains(got.Message, "size target "+dir) || !strings.Contains(got.Message, "33554432") {
				t.Errorf("message %q, hint %q", got.Message, got.Hint)
			}
			if n := f.BytesSent(); n > 4*mib {
				t.Errorf("%d bytes were sent", n)
			}
			holds(t, dir)
		})
	}
}

// A plain stream whose size nobody told fails when it has become too large, and leaves nothing.
func TestTooSmallAtTheEnd(t *testing.T) {
	dir := t.TempDir()
	url := testserver.Start(t, testserver.NewFile(content(6*mib), testserver.Options{NoRanges: true, NoContentLength: true}))
	got := run(t, job.Spec{Source: http(url), Target: job.Target{File: filepath.Join(dir, "disk.img"), Size: 4 * mib}})
	want(t, got, job.Result{Outcome: job.Failed, Reason: "TargetTooSmall", ExitCode: 14, Format: "raw", Route: "stream"})
	holds(t, dir)
}

func TestReplace(t *testing.T) {
	disk := content(2 * mib)
	url := testserver.Start(t, testserver.NewFile(disk, testserver.Options{}))
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.img")
	for _, name := range []string{"disk.img", ".disk.img.cdictl.part", ".cdictl-spool-123"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	s := job.Spec{Source: http(url), Target: job.Target{File: path}}
	want(t, run(t, s), job.Result{Outcome: job.Failed, Reason: "TargetExists", ExitCode: 19, Format: "raw", Route: "stream", VirtualSize: 2 * mib, StoredSize: 2 * mib})
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the old disk has changed: %q", b)
	}
	holds(t, dir, "disk.img", "lost+found")

	s.Target.Replace = true
	want(t, run(t, s), job.Result{Outcome: job.Succeeded, Reason: job.Completed, Format: "raw", Route: "stream", VirtualSize: 2 * mib, StoredSize: 2 * mib})
	isDisk(t, path, disk, 2*mib)
	holds(t, dir, "disk.img", "lost+found")
	want(t, run(t, s), job.Result{Outcome: job.Succeeded, Reason: job.Completed, Format: "raw", Route: "stream", VirtualSize: 2 * mib, StoredSize: 2 * mib})
}

func TestSourceErrors(t *testing.T) {
	disk := content(2 * mib)
	damaged := qcow2(t, disk)
	copy(damaged[20:], "\xff\xff\xff\xff\xff\xff\xff\xff") // cluster bits
	for _, c := range []struct {
		name    string
		server  testserver.Options
		stored  []byte
		change  func(*job.Spec)
		outcome job.Outcome
		reason  string
		exit    int
	}{
		{"not found", testserver.Options{FailStatus: 404}, disk, nil, job.Retry, "SourceNotFound", 10},
		{"unauthorized", testserver.Options{Username: "u", Password: "p"}, disk, nil, job.Retry, "SourceUnauthorized", 11},
		{"unavailable", testserver.Options{FailStatus: 503}, disk, nil, job.Retry, "SourceUnavailable", 21},
		{"damaged", testserver.Options{}, damaged, nil, job.Failed, "InvalidImage", 12},
		{"another digest", testserver.Options{}, disk, func(s *job.Spec) { s.Checksum = "sha256:" + strings.Repeat("0", 64) }, job.Failed, "DigestMismatch", 13},
		{"cut", testserver.Options{ShortBody: 1000, NoRanges: true}, disk, nil, job.Retry, "SourceUnavailable", 21},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			s := job.Spec{Source: http(testserver.Start(t, testserver.NewFile(c.stored, c.server))), Target: job.Target{File: filepath.Join(dir, "disk.img")}}
			if c.change != nil {
				c.change(&s)
			}
			got := run(t, s)
			if got.Outcome != c.outcome || got.Reason != c.reason || got.ExitCode != c.exit || got.Hint == "" || !strings.Contains(got.Message, " source http://127.0.0.1") {
				t.Errorf("%+v", got)
			}
			holds(t, dir)
		})
	}
}

func TestCancel(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	f := testserver.NewFile(content(8*mib), testserver.Options{StallAfter: 2 * mib})
	go func() {
		for f.BytesSent() < 2*mib {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	got := runner.Run(ctx, job.Spec{Version: job.Version, Source: http(testserver.Start(t, f)), Target: job.Target{File: filepath.Join(dir, "disk.img")}}, runner.Options{})
	want(t, got, job.Result{Outcome: job.Retry, Reason: "Canceled", ExitCode: 130, Format: "raw", Route: "stream", VirtualSize: 8 * mib, StoredSize: 8 * mib})
	disk := filepath.Join(dir, "disk.img")
	if _, err := os.Lstat(disk); err == nil {
		t.Error("half a disk is there")
	}
	// What it had may have been worth keeping, and goes with the next run.
	got = runner.Run(t.Context(), job.Spec{Version: job.Version, Source: http(testserver.Start(t, testserver.NewFile(content(8*mib), testserver.Options{}))), Target: job.Target{File: disk}}, runner.Options{})
	if got.Outcome != job.Succeeded {
		t.Errorf("again: %+v", got)
	}
	holds(t, dir, "disk.img")
}

// What is secret comes from files, gets to the server, and is told nowhere.
func TestSecrets(t *testing.T) {
	disk := content(1 * mib)
	const user, pass, key = "annabelle", "s3cr3t-pass", "k3y-of-the-house"
	f := testserver.NewFile(disk, testserver.Options{Username: user, Password: pass})
	ca := testserver.NewCA(t, "house")
	url := testserver.StartTLS(t, f, ca, nil)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	h := &job.HTTP{URL: url + "/disk?sig=" + key,
		UsernamePath: write("secret/accessKeyId", user+"\n"), PasswordPath: write("secret/secretKey", pass),
		Headers:           []string{"X-Plain: yes"},
		SecretHeaderPaths: []string{write("one", "X-Key: "+key), filepath.Dir(write("headers/0/any", "X-Other: "+key+"2\n"))},
		CAPath:            filepath.Dir(write("ca/a name of its own", string(ca.PEM))),
	}
	write("headers/0/..data", "no header")
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	spec := job.Spec{Source: job.Source{HTTP: h}, Target: job.Target{File: filepath.Join(out, "disk.img"), Replace: true}}
	want(t, run(t, spec), job.Result{Outcome: job.Succeeded, Reason: job.Completed, Format: "raw", Route: "stream", VirtualSize: 1 * mib, StoredSize: 1 * mib})
	seen := f.Requests()[0].Header
	if seen.Get("X-Plain") != "yes" || seen.Get("X-Key") != key || seen.Get("X-Other") != key+"2" {
		t.Errorf("headers: %v", seen)
	}

	silent := func(t *testing.T, what string) {
		t.Helper()
		for _, s := range []string{user, pass, key, "dXNlc"} {
			if strings.Contains(what, s) {
				t.Errorf("%q is told: %s", s, what)
			}
		}
	}
	fails := func(name string, change func(*job.HTTP), reason string, server testserver.Options) {
		t.Run(name, func(t *testing.T) {
			o := server
			if o.FailStatus != 0 {
				o.FailBody = "you sent " + pass + " and " + key
			}
			h := *h
			h.URL = testserver.StartTLS(t, testserver.NewFile(disk, o), ca, nil) + "/disk?sig=" + key
			change(&h)
			s := spec
			s.Source.HTTP = &h
			s.Version = job.Version
			var told strings.Builder
			got := runner.Run(t.Context(), s, runner.Options{HTTP: quick, OnRetry: func(r source.Retry) { fmt.Fprintln(&told, r.Source, r.Err) }})
			if got.Reason != reason {
				t.Errorf("%+v", got)
			}
			silent(t, string(got.Encode())+told.String())
		})
	}
	none := func(*job.HTTP) {}
	fails("refused", none, "SourceUnauthorized", testserver.Options{FailStatus: 403})
	fails("broken", none, "SourceUnavailable", testserver.Options{FailStatus: 500})
	fails("gone", none, "SourceNotFound", testserver.Options{FailStatus: 404})
	fails("in the URL", func(h *job.HTTP) { h.URL = strings.Replace(h.URL, "://", "://"+user+":"+pass+"@", 1) }, "SourceNotFound", testserver.Options{FailStatus: 404})
	fails("in a broken URL", func(h *job.HTTP) { h.URL = "https://" + user + ":" + pass + "@[::1" }, "InvalidSpec", testserver.Options{})
	fails("no colon", func(h *job.HTTP) { h.SecretHeaderPaths = []string{write("bad", key)} }, "InvalidSpec", testserver.Options{})
	fails("control character", func(h *job.HTTP) { h.SecretHeaderPaths = []string{write("bad2", "X-Key: "+key+"\x01")} }, "InvalidSpec", testserver.Options{})
	fails("no such key", func(h *job.HTTP) { h.PasswordPath = filepath.Join(dir, "secret", "other") }, "SourceUnauthorized", testserver.Options{})
	fails("untrusted", func(h *job.HTTP) { h.CAPath = "" }, "SourceUnavailable", testserver.Options{})
	fails("no CA", func(h *job.HTTP) { h.CAPath = filepath.Dir(write("ca2/x", "-")) }, "InvalidSpec", testserver.Options{})
}

func TestSpecIsChecked(t *testing.T) {
	got := run(t, job.Spec{})
	want(t, got, job.Result{Outcome: job.Failed, Reason: "InvalidSpec", ExitCode: 2})
	for _, part := range []string{"source: 0 of http and blank", "target: 0 of file and device"} {
		if !strings.Contains(got.Message, part) {
			t.Errorf("%q lacks %q", got.Message, part)
		}
	}
}

// A plain stream whose length is told is refused by that.
func TestTooSmallByLength(t *testing.T) {
	f := testserver.NewFile(content(24*mib), testserver.Options{NoRanges: true, Pause: time.Millisecond})
	dir := t.TempDir()
	got := run(t, job.Spec{Source: http(testserver.Start(t, f)), Target: job.Target{File: filepath.Join(dir, "disk.img"), Size: 8 * mib}})
	want(t, got, job.Result{Outcome: job.Failed, Reason: "TargetTooSmall", ExitCode: 14, Format: "raw", Route: "stream", StoredSize: 24 * mib, RequiredSize: 24 * mib})
	if n := f.BytesSent(); n > 4*mib {
		t.Errorf("%d bytes were sent", n)
	}
	holds(t, dir)
}

// Tries are counted as long as the state folder lives, whatever ends them.
func TestTries(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	f := testserver.NewFile(content(mib), testserver.Options{FailStatus: 404, FailTimes: 2})
	s := job.Spec{UID: "a", Source: http(testserver.Start(t, f)), Target: job.Target{File: filepath.Join(dir, "disk.img"), Replace: true}, StateDir: state}
	for n := 1; n <= 4; n++ {
		if r := run(t, s); r.Tries != n || (r.Outcome == job.Succeeded) != (n > 2) {
			t.Errorf("%d: %+v", n, r)
		}
	}
	s.UID = "b"
	if r := run(t, s); r.Tries != 1 {
		t.Errorf("%+v", r)
	}
	if err := os.WriteFile(filepath.Join(state, "tries.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := run(t, s); r.Tries != 1 {
		t.Errorf("%+v", r)
	}
	s.StateDir = filepath.Join(state, "none")
	want(t, run(t, s), job.Result{Outcome: job.Failed, Reason: "InvalidSpec", ExitCode: 2})
}
