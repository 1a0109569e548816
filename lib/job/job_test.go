package job_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/job"
)

func ptr(n int) *int { return &n }

// full has every field that goes together.
func full() job.Spec {
	return job.Spec{
		Version: job.Version, UID: "0b1c", Checksum: "sha256:" + strings.Repeat("ab", 32), Preallocate: true, StateDir: job.StateDir, Scratch: "/scratch",
		Source: job.Source{HTTP: &job.HTTP{URL: "https://h.example/a.qcow2", Headers: []string{"X-A: b"}, SecretHeaderPaths: []string{job.HeaderDir + "/0"},
			UsernamePath: job.SecretDir + "/accessKeyId", PasswordPath: job.SecretDir + "/secretKey", CAPath: job.CADir, Insecure: true, Disk: "disk-2.vmdk", Proxy: "proxy:3128"}},
		Target: job.Target{File: job.DiskPath, Size: 1 << 30, Overhead: "0.055", Replace: true, Mode: "0660", UID: ptr(107), GID: ptr(107)},
	}
}

func TestParseWhatWasEncoded(t *testing.T) {
	b, err := full().Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := job.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full(), got); diff != "" {
		t.Error(diff)
	}
}

func TestParseRefuses(t *testing.T) {
	const blank = `"version":"cdictl.dev/job/v1","source":{"blank":{}},"target":{"file":"/d","size":1}`
	for _, c := range []struct{ name, text, want string }{
		{"nothing", ``, "job spec: no valid JSON"},
		{"no object", `[]`, "is a array"},
		{"null", `null`, "version is missing"},
		{"no JSON", `{"version"`, "job spec: "},
		{"no version", `{}`, "version is missing"},
		{"another version", `{"version":"v2","new":1}`, `version "v2" is not known here`},
		{"unknown", `{` + blank + `,"sourc":{}}`, `field "sourc" is not known`},
		{"unknown, deep", `{"version":"cdictl.dev/job/v1","source":{"http":{"url":"http://h","ur1":""}},"target":{"file":"/d"}}`, `field "source.http.ur1" is not known`},
		{"in capitals", `{` + blank + `,"UID":"x"}`, `field "UID" is not known`},
		{"twice", `{` + blank + `,"uid":"x","uid":"x"}`, `"uid" is given twice`},
		{"twice, deep", `{"version":"cdictl.dev/job/v1","source":{"blank":{},"blank":{}},"target":{"file":"/d","size":1}}`, `"source.blank" is given twice`},
		{"version twice", `{` + blank + `,"version":"cdictl.dev/job/v1"}`, `"version" is given twice`},
		{"trailing", `{` + blank + `}{}`, "job spec: "},
		{"trailing text", `{` + blank + `} x`, "job spec: "},
		{"text for a number", `{"version":"cdictl.dev/job/v1","source":{"blank":{}},"target":{"file":"/d","size":"1"}}`, "target.size is a string"},
		{"object for text", `{` + blank + `,"uid":{}}`, "uid is an object"},
		{"list for text", `{` + blank + `,"uid":[]}`, "uid is a list"},
		{"fraction", `{"version":"cdictl.dev/job/v1","source":{"blank":{}},"target":{"file":"/d","size":1.5}}`, "target.size is a number"},
		{"too large a number", `{"version":"cdictl.dev/job/v1","source":{"blank":{}},"target":{"file":"/d","size":9223372036854775808}}`, "target.size is a number"},
		{"no UTF-8", "{" + blank + ",\"uid\":\"\xff\"}", "not UTF-8"},
		{"large", `{` + blank + `,"uid":"` + strings.Repeat("x", job.MaxSpecSize) + `"}`, "at most 1048576 are read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := job.Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, errdef.ErrUsage) {
				t.Errorf("%+v, %v; want %q", s, err, c.want)
			}
		})
	}
}

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*job.Spec)
		want   string // "" for none
	}{
		{"full", func(*job.Spec) {}, ""},
		{"device", func(s *job.Spec) {
			s.Target = job.Target{Device: job.DevicePath, Size: 5, Replace: true, Overhead: "0"}
		}, ""},
		{"blank", func(s *job.Spec) { s.Source, s.Checksum = job.Source{Blank: &job.Blank{}}, "" }, ""},
		{"blank device", func(s *job.Spec) {
			s.Source, s.Checksum, s.Target = job.Source{Blank: &job.Blank{}}, "", job.Target{Device: job.DevicePath}
		}, ""},
		{"relative", func(s *job.Spec) { s.Target.File = "out/disk.img" }, ""},
		{"user in the URL", func(s *job.Spec) { s.Source.HTTP.URL = "https://u:p@h/x" }, ""},
		{"overhead of all", func(s *job.Spec) { s.Target.Overhead = "1" }, ""},

		{"version", func(s *job.Spec) { s.Version = "" }, `version: ""`},
		{"uid", func(s *job.Spec) { s.UID = "a\nb" }, "uid: "},
		{"two sources", func(s *job.Spec) { s.Source.Blank = &job.Blank{} }, "source: 2 of http and blank are set"},
		{"no source", func(s *job.Spec) { s.Source = job.Source{} }, "source: 0 of"},
		{"blank with a digest", func(s *job.Spec) { s.Source = job.Source{Blank: &job.Blank{}} }, "checksum: an empty disk has none"},
		{"blank without a size", func(s *job.Spec) {
			s.Source, s.Checksum, s.Target.Size = job.Source{Blank: &job.Blank{}}, "", 0
		}, "target.size: 0"},
		{"no URL", func(s *job.Spec) { s.Source.HTTP.URL = "" }, "source.http.url: is empty"},
		{"scheme", func(s *job.Spec) { s.Source.HTTP.URL = "s3://b/x" }, "source.http.url: does not begin with one of http, https"},
		{"host", func(s *job.Spec) { s.Source.HTTP.URL = "https:///x" }, "source.http.url: has no host"},
		{"proxy", func(s *job.Spec) { s.Source.HTTP.Proxy = "ftp://p" }, "source.http.proxy: "},
		{"header", func(s *job.Spec) { s.Source.HTTP.Headers[0] = "nothing" }, "source.http.headers[0]: "},
		{"header in two lines", func(s *job.Spec) { s.Source.HTTP.Headers[0] = "a: b\r\nc: d" }, "source.http.headers[0]: "},
		{"many headers", func(s *job.Spec) { s.Source.HTTP.Headers = make([]string, 1000) }, "source.http.headers: 1001 of them"},
		{"secret header", func(s *job.Spec) { s.Source.HTTP.SecretHeaderPaths[0] = "" }, "source.http.secretHeaderPaths[0]: is empty"},
		{"password alone", func(s *job.Spec) { s.Source.HTTP.UsernamePath = "" }, "source.http.usernamePath: empty"},
		{"CA", func(s *job.Spec) { s.Source.HTTP.CAPath = "a\x00b" }, "source.http.caPath: "},
		{"disk of two lines", func(s *job.Spec) { s.Source.HTTP.Disk = "a\nb" }, `source.http.disk: "a\nb"`},
		{"long name of a disk", func(s *job.Spec) { s.Source.HTTP.Disk = strings.Repeat("a", 1025) }, "source.http.disk: "},
		{"no target", func(s *job.Spec) { s.Target = job.Target{} }, "target: 0 of file and device are set"},
		{"two targets", func(s *job.Spec) { s.Target.Device = "/dev/x" }, "target: 2 of file and device are set"},
		{"detour", func(s *job.Spec) { s.Target.File = "/data/../etc/passwd" }, `"/etc/passwd" is meant`},
		{"size", func(s *job.Spec) { s.Target.Size = -1 }, "target.size: -1 is negative"},
		{"overhead", func(s *job.Spec) { s.Target.Overhead = "0.0555" }, "target.overhead: "},
		{"overhead above 1", func(s *job.Spec) { s.Target.Overhead = "1.5" }, "target.overhead: "},
		{"mode", func(s *job.Spec) { s.Target.Mode = "rw" }, `target.mode: "rw"`},
		{"mode not ours", func(s *job.Spec) { s.Target.Mode = "0440" }, `target.mode: "0440"`},
		{"mode with more", func(s *job.Spec) { s.Target.Mode = "4660" }, `target.mode: "4660"`},
		{"owner", func(s *job.Spec) { s.Target.UID = ptr(-1) }, "target.uid: -1"},
		{"group", func(s *job.Spec) { s.Target.GID = ptr(math.MaxUint32) }, "target.gid: 4294967295"},
		{"device with a mode", func(s *job.Spec) { s.Target = job.Target{Device: "/dev/x", Mode: "0660"} }, "target.device: mode, uid and gid"},
		{"device with an overhead", func(s *job.Spec) { s.Target = job.Target{Device: "/dev/x", Overhead: "0.06"} }, "target.overhead: 0.06"},
		{"checksum", func(s *job.Spec) { s.Checksum = "sha256:12" }, "checksum: sha256 digest"},
		{"scratch", func(s *job.Spec) { s.Scratch = "a/" }, "scratch: "},
		{"state", func(s *job.Spec) { s.StateDir = "./x" }, "stateDir: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := full()
			c.change(&s)
			err := s.Validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, errdef.ErrUsage)) {
				t.Errorf("%v; want %q", err, c.want)
			}
			if _, eerr := s.Encode(); (eerr == nil) != (err == nil) && c.name != "version" {
				t.Errorf("Encode: %v", eerr)
			}
		})
	}
	// All at once, and never what is secret.
	s := full()
	s.Source.HTTP.URL, s.Target.Size, s.Source.HTTP.Headers[0] = "http://u:s3cret@[::1", -1, "Authorization s3cret"
	err := s.Validate()
	for _, part := range []string{"source.http.url: ", "target.size: ", "source.http.headers[0]: "} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v lacks %s", err, part)
		}
	}
	if strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
}

func TestResultFits(t *testing.T) {
	labels := map[string]string{}
	for i := range 100 {
		labels[fmt.Sprint("label", i)] = strings.Repeat("v", i)
	}
	long := job.Result{Outcome: job.Failed, Reason: "InvalidImage", ExitCode: 12, VirtualSize: math.MaxInt64, Seconds: 1.5}
	for name, c := range map[string]struct {
		change func(*job.Result)
		keeps  []string
	}{
		"short":     {func(r *job.Result) { r.Message, r.Hint = "a < b & c", "do" }, []string{"a < b & c", "do"}},
		"long":      {func(r *job.Result) { r.Message = "begin " + strings.Repeat("x", 10000) + " end"; r.Hint = "do this" }, []string{"begin", "end", "do this", "…"}},
		"quotes":    {func(r *job.Result) { r.Message = "begin " + strings.Repeat(`"`, 10000) + " end" }, []string{"begin", "end"}},
		"runes":     {func(r *job.Result) { r.Message = "begin " + strings.Repeat("日本", 5000) + " end" }, []string{"begin", "end"}},
		"separator": {func(r *job.Result) { r.Message = strings.Repeat("\u2028x", 5000) }, nil},
		"rubbish":   {func(r *job.Result) { r.Message = "a\n\tb\x00\xff\x1b[31mc" }, []string{"a b??", "c"}},
		"hint":      {func(r *job.Result) { r.Hint = strings.Repeat(`\`, 10000) }, nil},
		"labels":    {func(r *job.Result) { r.Labels = labels; r.Message = strings.Repeat("y", 100) }, []string{strings.Repeat("y", 100), "label1"}},
		"all": {func(r *job.Result) {
			r.Labels = labels
			r.Message = strings.Repeat("\u2028\"", 9999)
			r.Hint = r.Message
			r.Reason = r.Message
		}, nil},
		"no number": {func(r *job.Result) { r.Seconds = math.NaN() }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := long
			c.change(&r)
			before := len(r.Labels)
			b := r.Encode()
			if len(b) > job.MaxResultSize {
				t.Fatalf("%d bytes", len(b))
			}
			got, err := job.ParseResult(b)
			if err != nil {
				t.Fatalf("%v: %s", err, b)
			}
			if got.Outcome != r.Outcome || got.ExitCode != r.ExitCode || got.VirtualSize != r.VirtualSize {
				t.Errorf("%+v", got)
			}
			for _, k := range c.keeps {
				if !strings.Contains(string(b), k) {
					t.Errorf("%s lacks %q", b, k)
				}
			}
			if len(r.Labels) != before {
				t.Error("Encode took labels from its receiver")
			}
		})
	}
}

func TestParseResultRefuses(t *testing.T) {
	for _, text := range []string{``, `Import Complete`, `{}`, `{"version":"cdictl.dev/job/v1"}`, `{"version":"cdictl.dev/job/v1","outcome":"Perhaps"}`,
		`{"version":"cdictl.dev/job/v1","outcome":"Failed","more":1}`} {
		if r, err := job.ParseResult([]byte(text)); err == nil {
			t.Errorf("%s: %+v", text, r)
		}
	}
}

func TestResultErr(t *testing.T) {
	if err := (job.Result{Outcome: job.Succeeded, Message: "a note"}).Err(); err != nil {
		t.Error(err)
	}
	for _, e := range []error{errdef.ErrUsage, errdef.ErrTooSmall, errdef.ErrDigestMismatch, errdef.ErrUnavailable, errdef.ErrCorrupt, errdef.ErrExists, errors.New("another")} {
		r := job.Result{Outcome: job.Failed, Reason: errdef.Reason(e), Message: "what", Hint: "do"}
		if err := r.Err(); err.Error() != "what" || errdef.Hint(err) != "do" || errdef.ExitCode(err) != errdef.ExitCode(e) {
			t.Errorf("%v: %v, %q, exit %d", e, err, errdef.Hint(err), errdef.ExitCode(err))
		}
	}
}

func FuzzParse(f *testing.F) {
	b, err := full().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":"cdictl.dev/job/v1","source":{"blank":{}},"target":{"device":"/dev/x"}}`))
	f.Add([]byte(`{"version":"cdictl.dev/job/v1","outcome":"Retry","labels":{"a":"b"}}`))
	f.Add([]byte(`{"version":"cdictl.dev/job/v1","virtualTotal":5,"rate":1e300}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := job.Parse(b); err == nil {
			again, err := s.Encode()
			if err != nil {
				t.Fatalf("%s: parsed, not encoded: %v", b, err)
			}
			back, err := job.Parse(again)
			if err != nil {
				t.Fatalf("%s: encoded as %s: %v", b, again, err)
			}
			third, _ := back.Encode()
			if string(third) != string(again) {
				t.Fatalf("%s, then %s", again, third)
			}
		}
		if r, err := job.ParseResult(b); err == nil {
			out := r.Encode()
			if _, err := job.ParseResult(out); err != nil || len(out) > job.MaxResultSize {
				t.Fatalf("%d bytes: %s: %v", len(out), out, err)
			}
		}
		if p, err := job.ParseProgress(b); err == nil {
			if n := p.Percent(); n > 100 || math.IsNaN(n) {
				t.Fatalf("%v percent", n)
			}
			if _, err := json.Marshal(p); err != nil {
				t.Fatal(err)
			}
		}
	})
}
