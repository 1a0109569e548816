package s3source

import (
	"errors"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

func TestURL(t *testing.T) {
	for _, tt := range []struct {
		name, endpoint, region string
		style                  Style
		url, shown             string
	}{
		{"s3://images/a/b.img", "", "", Auto, "https://images.s3.us-east-1.amazonaws.com/a/b.img", "s3://images/a/b.img"},
		{"S3://images/a", "", "eu-west-1", Auto, "https://images.s3.eu-west-1.amazonaws.com/a", "s3://images/a"},
		{"s3://images/a", "", "cn-north-1", Auto, "https://images.s3.cn-north-1.amazonaws.com.cn/a", "s3://images/a"},
		{"s3://my.images/a", "", "", Auto, "https://s3.us-east-1.amazonaws.com/my.images/a", "s3://my.images/a"},
		{"s3://images/a", "", "", Path, "https://s3.us-east-1.amazonaws.com/images/a", "s3://images/a"},
		{"s3://images/a b+c%20?#é", "", "", Path, "https://s3.us-east-1.amazonaws.com/images/a%20b%2Bc%2520%3F%23%C3%A9", "s3://images/a b+c%20?#é"},
		{"s3://images/a?versionId=v/1", "", "", Path, "https://s3.us-east-1.amazonaws.com/images/a?versionId=v%2F1", "s3://images/a?versionId=v/1"},
		{"s3://images/a//b", "", "", Path, "https://s3.us-east-1.amazonaws.com/images/a//b", "s3://images/a//b"},
		{"s3://images/a", "http://h:9000", "", Auto, "http://h:9000/images/a", "s3+http://h:9000/images/a"},
		{"s3://images/a", "https://h:443/s3/", "", Auto, "https://h/s3/images/a", "s3+https://h/s3/images/a"},
		{"s3://images/a", "https://h", "", Host, "https://images.h/a", "s3+https://h/images/a"},
		{"s3+http://h:9000/images/a%20b", "", "", Auto, "http://h:9000/images/a%20b", "s3+http://h:9000/images/a%20b"},
		{"https://s3.eu-west-1.amazonaws.com/images/a", "", "", Auto, "https://images.s3.eu-west-1.amazonaws.com/a", "s3+https://s3.eu-west-1.amazonaws.com/images/a"},
		{"https://s3-eu-west-1.amazonaws.com/images/a", "", "", Path, "https://s3-eu-west-1.amazonaws.com/images/a", "s3+https://s3-eu-west-1.amazonaws.com/images/a"},
		{"https://images.s3.eu-west-1.amazonaws.com/a/b", "", "", Auto, "https://images.s3.eu-west-1.amazonaws.com/a/b", "s3+https://s3.eu-west-1.amazonaws.com/images/a/b"},
		{"https://s3.amazonaws.com/images/a", "", "", Auto, "https://images.s3.us-east-1.amazonaws.com/a", "s3+https://s3.amazonaws.com/images/a"},
	} {
		s, err := New(tt.name, Options{Endpoint: tt.endpoint, Region: tt.region, Style: tt.style})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := s.at.url(s.regionOf(&settings{}, ""), tt.style); got != tt.url {
			t.Errorf("%s is asked for at %s, want %s", tt.name, got, tt.url)
		}
		if s.String() != tt.shown {
			t.Errorf("%s is shown as %s, want %s", tt.name, s, tt.shown)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    Options
	}{
		{"", Options{}}, {"s3://", Options{}}, {"s3://b", Options{}}, {"s3://bucket", Options{}}, {"s3://bucket/", Options{}},
		{"s3://bucket/folder/", Options{}}, {"s3://buc@ket/k", Options{}}, {"s3://buc..ket/k", Options{}}, {"s3://../k/l", Options{}},
		{"s3://bucket/" + strings.Repeat("k", 1025), Options{}}, {"s3://bucket/\xff", Options{}},
		{"gs://bucket/k", Options{}}, {"s3+ftp://h/bucket/k", Options{}}, {"https://secret:secret@h/bucket/k", Options{}},
		{"https://h/bucket/k?X-Amz-Signature=secret", Options{}}, {"https://h/bucket/k#f", Options{}},
		{"https://h/bucket/k", Options{Endpoint: "https://h"}}, {"s3://bucket/k", Options{Endpoint: "h:9000"}},
		{"s3://bucket/k", Options{Region: "evil.example/"}}, {"s3://bucket/k", Options{Style: "odd"}},
		{"s3://bucket/k", Options{VersionID: "a\nb"}},
	} {
		s, err := New(tt.name, tt.o)
		if !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("New(%q, %+v) = %v, %v", tt.name, tt.o, s, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error repeats the name: %v", err)
		}
	}
	o := Options{}
	o.HTTP.BearerToken = "secret"
	if _, err := New("s3://bucket/k", o); !errors.Is(err, errdef.ErrUsage) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a bearer token: %v", err)
	}
}

func TestSibling(t *testing.T) {
	s, err := New("s3://images/vm/a.vmdk?versionId=1", Options{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Sibling("a-flat ?.vmdk")
	if err != nil || o.String() != "s3://images/vm/a-flat ?.vmdk" {
		t.Errorf("%v, %v", o, err)
	}
	for _, name := range []string{"", ".", "..", "../b", "b/c", `b\c`, strings.Repeat("k", 1024)} {
		if o, err := s.Sibling(name); !errors.Is(err, errdef.ErrRefused) {
			t.Errorf("%q: %v, %v", name, o, err)
		}
	}
}
