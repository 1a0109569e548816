package s3source_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source"
	"github.com/cdictl/cdictl/lib/source/s3source"
	"github.com/cdictl/cdictl/lib/source/sourcetest"
)

// hiding are forms of the secret that must not be seen anywhere.
var hiding = []string{secretKey, "Signature=", "AWS4-HMAC"}

func TestConformance(t *testing.T) {
	b := start(t)
	n := 0
	sourcetest.Run(t, sourcetest.Case{
		New: func(t *testing.T, content []byte) source.Source {
			n++
			key := fmt.Sprintf("dir/disk %d+&.img", n)
			b.put(t, strings.NewReplacer(" ", "%20", "+", "%2B", "&", "%26").Replace(key), content)
			o := quick()
			o.Endpoint = strings.TrimSuffix(b.url, "/images")
			return newSource(t, "s3://images/"+key, o)
		},
		Stalled: func(t *testing.T) source.Source {
			b.put(t, "stalled", sourcetest.Content(1<<20))
			front := &testserver.Front{Before: func(n int, _ http.ResponseWriter, r *http.Request) bool {
				if n > 1 {
					<-r.Context().Done()
				}
				return n > 1
			}}
			return newSource(t, front.Start(t, strings.TrimSuffix(b.url, "/images"))+"/images/stalled", quick())
		},
		Broken: func(t *testing.T) source.Source {
			o := quick()
			o.Credentials = s3source.Static(accessKey, secretKey+"-not", "t0ken-of-a-session")
			return newSource(t, b.url+"/absent", o)
		},
		ReaderAt: true,
		Secrets:  append(hiding, "t0ken-of-a-session"),
		Sizes:    []int{0, 1, 4096, 65537, 1_000_000, 3<<20 + 7},
	})
}

// The connection breaks at ten random places: the content is right, and little is fetched twice.
func TestDrops(t *testing.T) {
	b := start(t)
	content := random(24<<20, 1)
	b.put(t, "disk", content)
	for seed := range uint64(3) {
		front := &testserver.Front{}
		r := rand.New(rand.NewPCG(seed, 1))
		for range 10 {
			front.Drops = append(front.Drops, r.Int64N(int64(len(content))))
		}
		slices.Sort(front.Drops)
		s := newSource(t, front.Start(t, strings.TrimSuffix(b.url, "/images"))+"/images/disk", quick())
		got, err := fetch(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, content) {
			t.Error("the content is another")
		}
		over := front.Sent() - int64(len(content))
		t.Logf("%d bytes in %d requests, %.1f%% twice", front.Sent(), len(front.Requests()), 100*float64(over)/float64(len(content)))
		if len(front.Drops) > 0 || over > int64(len(content))*15/100 {
			t.Errorf("%d drops are left, %d bytes were sent for %d", len(front.Drops), front.Sent(), len(content))
		}
	}
}

// The object is replaced under way, by one of the same size and by a smaller one; the server says 412, or a proxy loses the
// condition.
func TestReplaced(t *testing.T) {
	b := start(t)
	content := random(12<<20, 2)
	for _, size := range []int{len(content), 1 << 20} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("size=%d lost=%v", size, lost), func(t *testing.T) {
				b.put(t, "disk", content)
				front := &testserver.Front{Before: func(n int, _ http.ResponseWriter, r *http.Request) bool {
					if n == 3 {
						b.put(t, "disk", random(size, 3))
					}
					if lost {
						r.Header.Del("If-Match")
					}
					return false
				}}
				s := newSource(t, front.Start(t, strings.TrimSuffix(b.url, "/images"))+"/images/disk", quick())
				if _, err := fetch(t.Context(), s); !errors.Is(err, errdef.ErrChanged) {
					t.Errorf("%v", err)
				}
				if r := front.Requests(); r[len(r)-1].Header.Get("If-Match") == "" && !lost {
					t.Error("a range was asked for without a condition")
				}
			})
		}
	}
}

// A server that lies about a range is asked again, and what it lied about is not taken.
func TestLies(t *testing.T) {
	b := start(t)
	content := random(6<<20, 4)
	b.put(t, "disk", content)
	for name, lie := range map[string]func(*http.Response){
		"another range": func(r *http.Response) { r.Header.Set("Content-Range", fmt.Sprintf("bytes 0-99/%d", len(content))) },
		"no range":      func(r *http.Response) { r.Header.Del("Content-Range") },
		"huge": func(r *http.Response) {
			r.Header.Set("Content-Range", "bytes 0-9223372036854775806/9223372036854775807")
		},
		"no ETag": func(r *http.Response) { r.Header.Del("ETag") },
	} {
		t.Run(name, func(t *testing.T) {
			front := &testserver.Front{After: func(n int, r *http.Response) {
				if n == 3 {
					lie(r)
				}
			}}
			s := newSource(t, front.Start(t, strings.TrimSuffix(b.url, "/images"))+"/images/disk", quick())
			got, err := fetch(t.Context(), s)
			if err == nil && !bytes.Equal(got, content) {
				t.Error("the content is another")
			}
			if err != nil && !errors.Is(err, errdef.ErrChanged) {
				t.Error(err)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	b := start(t)
	b.do(t, http.MethodPut, "?versioning", []byte(
		`<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`))
	first, second := random(300_000, 5), random(200_000, 6)
	v1 := b.put(t, "disk", first).Get("X-Amz-Version-Id")
	b.put(t, "disk", second)
	if v1 == "" {
		t.Fatal("the server has no versions")
	}
	byOption := quick()
	byOption.VersionID = v1
	for name, tt := range map[string]struct {
		s    *s3source.Source
		want []byte
	}{
		"newest":     {newSource(t, b.url+"/disk", quick()), second},
		"in the URL": {newSource(t, b.url+"/disk?versionId="+v1, quick()), first},
		"an option":  {newSource(t, b.url+"/disk", byOption), first},
	} {
		if got, err := fetch(t.Context(), tt.s); err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	b := start(t)
	b.put(t, "disk", []byte("x"))
	anonymous, wrong := quick(), quick()
	anonymous.Credentials = nil
	wrong.Credentials = s3source.Static(accessKey, "another-secret", "")
	for _, tt := range []struct {
		name, key string
		o         s3source.Options
		class     error
		text      string
	}{
		{"absent", "absent", quick(), errdef.ErrNotFound, "NoSuchKey"},
		{"no keys", "disk", anonymous, errdef.ErrUnauthorized, "AccessDenied"},
		{"wrong keys", "disk", wrong, errdef.ErrUnauthorized, "SignatureDoesNotMatch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := fetch(t.Context(), newSource(t, b.url+"/"+tt.key, tt.o))
			if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.text) || errdef.Hint(err) == "" {
				t.Errorf("%v (hint: %s)", err, errdef.Hint(err))
			}
			for _, h := range append(hiding, accessKey) {
				if strings.Contains(err.Error(), h) {
					t.Errorf("the error shows %q: %v", h, err)
				}
			}
			t.Log(err)
		})
	}
}

// Keys in a folder are replaced while an object is read, under the same ID: a refused request is signed anew if that makes
// a difference, and else never.
func TestFolder(t *testing.T) {
	b := start(t)
	content := random(4<<20, 7)
	b.put(t, "disk", content)
	dir := t.TempDir()
	keys := func(secret string) {
		for name, v := range map[string]string{"accessKeyId": accessKey, "secretKey": secret + "\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(v), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, replaced := range []bool{true, false} {
		keys(secretKey)
		front := &testserver.Front{Before: func(n int, _ http.ResponseWriter, _ *http.Request) bool {
			switch {
			case n == 2:
				keys("a-secret-that-has-ended")
			case n == 3 && replaced: // this request was signed with the old one
				keys(secretKey)
			}
			return false
		}}
		o := quick()
		o.Credentials = s3source.Folder(dir)
		o.HTTP.Connections = 1
		got, err := fetch(t.Context(), newSource(t, front.Start(t, strings.TrimSuffix(b.url, "/images"))+"/images/disk", o))
		switch {
		case replaced && (err != nil || !bytes.Equal(got, content)):
			t.Errorf("%d bytes, %v", len(got), err)
		case !replaced && (!errors.Is(err, errdef.ErrUnauthorized) || len(front.Requests()) != 3):
			t.Errorf("%v after %d requests", err, len(front.Requests()))
		}
	}
}

func TestFolderRefuses(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"empty":       {},
		"no secret":   {"accessKeyId": "AKID"},
		"blank":       {"accessKeyId": "AKID", "secretKey": "\n"},
		"two lines":   {"accessKeyId": "AKID", "secretKey": "s3cr3t\ns3cr3t"},
		"long":        {"accessKeyId": "AKID", "secretKey": strings.Repeat("s3cr3t", 20_000)},
		"odd session": {"accessKeyId": "AKID", "secretKey": "s3cr3t", "sessionToken": "s3cr3t\x01"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for f, v := range files {
				write(t, filepath.Join(dir, f), v)
			}
			file := testserver.NewFile([]byte("x"), testserver.Options{})
			o := quick()
			o.Credentials = s3source.Folder(dir)
			_, err := fetch(t.Context(), newSource(t, testserver.Start(t, file)+"/images/disk", o))
			if !errors.Is(err, errdef.ErrUsage) || strings.Contains(err.Error(), "s3cr3t") || len(file.Requests()) > 0 {
				t.Errorf("%v, %d requests", err, len(file.Requests()))
			}
		})
	}
}
