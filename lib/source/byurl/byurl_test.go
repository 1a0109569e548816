package byurl

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestParse(t *testing.T) {
	o := Options{Stdin: strings.NewReader(""), Size: 1 << 20}
	for name, want := range map[string]string{
		"disk.img":                   "disk.img",
		"./a:b":                      "./a:b",
		"/abs/disk.qcow2":            "/abs/disk.qcow2",
		`C:\disks\a.vhd`:             `C:\disks\a.vhd`,
		"odd:name":                   "odd:name",
		"-":                          "standard input",
		"file:///a/b%20c":            "/a/b c",
		"file://localhost/a":         "/a",
		"file:/a":                    "/a",
		"http://h/x":                 "http://h/x",
		"HTTPS://user:secret@h/x":    "",
		"s3://bucket/k":              "s3://bucket/k",
		"S3+HTTP://h:1/bucket/k":     "s3+http://h:1/bucket/k",
		"gs://bucket/k#12":           "gs://bucket/k#12",
		"s3:bucket/k":                "usage",
		"s3://bucket":                "usage",
		"gs://bucket/":               "usage",
		"s3+https://u:secret@h/b/k":  "usage",
		"docker://h.example/y:v1":    "docker://h.example/y:v1",
		"docker://u:secret@h/y":      "usage",
		"docker:x":                   "usage",
		"oci-archive:a.tar:v1":       "oci-archive:a.tar:v1",
		"docker-archive:a.tar":       "docker-archive:a.tar",
		"oci:dir":                    "oci:dir",
		"blank:":                     "an empty disk of 1048576 bytes",
		"blank:10Gi":                 "usage",
		"oci:":                       "usage",
		"file://other/a":             "usage",
		"file:relative":              "usage",
		"file:///a?b":                "usage",
		"":                           "usage",
		"http://":                    "usage",
		"https://u:secret@[bad/x":    "usage",
		"http://u:sec\x7fret@host/x": "usage",
	} {
		if runtime.GOOS == "windows" && strings.HasPrefix(name, "file:") {
			continue
		}
		s, err := Parse(name, o)
		if want == "usage" {
			if !errors.Is(err, errdef.ErrUsage) || errdef.Hint(err) == "" {
				t.Errorf("Parse(%q) = %v, %v; want ErrUsage with a hint", name, s, err)
			} else if strings.Contains(err.Error(), "secret") {
				t.Errorf("Parse(%q) shows the password: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("Parse(%q): %v", name, err)
			continue
		}
		if want != "" && s.String() != want || strings.Contains(s.String(), "secret") {
			t.Errorf("Parse(%q) is %q, want %q", name, s, want)
		}
	}
	if _, err := Parse("-", Options{}); !errors.Is(err, errdef.ErrUsage) {
		t.Errorf("no stdin: %v", err)
	}
}
