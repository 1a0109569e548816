package containerdisk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// TestCut breaks the connection while the layer is sent.
func TestCut(t *testing.T) {
	unit := int64(1 << 20)
	if testing.Short() {
		unit = 128 << 10
	}
	path := rawDisk(t, 12*unit, 3)
	plain := func(f *front) Request {
		r := request(t, path, f.name("some/disk:v1"), registrysource.Options{})
		r.Format, r.LayerCompression = "raw", "none"
		return r
	}
	goesOn := func(t *testing.T) bool {
		f := (&front{cut: []int64{7 * unit, 0, 3 * unit}}).startReal(t)
		r := plain(f)
		o := quick
		o.Backoff, o.Retries = 100*time.Millisecond, 9 // what came before a break is still on its way for a moment
		var err error
		if r.Target, err = registrysource.NewDestination(f.name("some/disk:v1"), registrysource.Options{HTTP: o, RegistriesConf: noMirrors(t)}); err != nil {
			t.Fatal(err)
		}
		res := mustPush(t, r)
		_, b := pulled(t, f.name("some/disk:v1"), "")
		same(t, b, path)
		// One upload is the layer's, one the configuration's.
		if f.count("POST", "") != 2 || f.count("PATCH", "") < 5 {
			t.Errorf("%d bytes in %d parts of %d uploads; sent %d", f.bodies(), f.count("PATCH", ""), f.count("POST", ""), res.Sent)
		}
		t.Logf("of %d bytes %d came", 12*unit, f.bodies())
		return f.bodies() <= 18*unit+2<<20
	}
	t.Run("goes on", func(t *testing.T) {
		// What had come to the front and not to the registry is sent again: all of it if the registry stood still just then.
		for try := 1; !goesOn(t); try++ {
			if try == 5 {
				t.Fatal("it never goes on")
			}
		}
	})
	t.Run("begins again", func(t *testing.T) { // this one does not say how much it has
		f := (&front{cut: []int64{7 * unit}}).start(t)
		mustPush(t, plain(f))
		_, b := pulled(t, f.name("some/disk:v1"), "")
		same(t, b, path)
		if f.count("POST", "") < 2 {
			t.Errorf("%q", f.asked)
		}
	})
	t.Run("answer lost", func(t *testing.T) {
		f := (&front{deaf: true}).start(t)
		if res := mustPush(t, plain(f)); res.Sent > 13*unit {
			t.Errorf("sent %d bytes, although all was there", res.Sent)
		}
		_, b := pulled(t, f.name("some/disk:v1"), "")
		same(t, b, path)
	})
	t.Run("upload forgotten", func(t *testing.T) {
		f := &front{}
		first := true
		f.before = func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPatch && first {
				first = false
				http.Error(w, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`, http.StatusNotFound)
				return true
			}
			return false
		}
		mustPush(t, plain(f.start(t)))
	})
	t.Run("cannot count", func(t *testing.T) { // and so what it makes of two parts is wrong
		f := (&front{cut: []int64{7 * unit}}).startReal(t)
		next := f.next
		f.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/uploads/") {
				next.ServeHTTP(&lost{h: http.Header{}}, r)
				w.Header().Set("Range", "0-99")
				w.Header().Set("Location", f.base+r.URL.RequestURI())
				w.WriteHeader(http.StatusNoContent)
				return
			}
			next.ServeHTTP(w, r)
		})
		mustPush(t, plain(f))
		_, b := pulled(t, f.name("some/disk:v1"), "")
		same(t, b, path)
	})
	t.Run("a part for the whole", func(t *testing.T) {
		f := (&front{cut: []int64{7 * unit}}).start(t)
		f.here = false
		mustPush(t, plain(f))
		_, b := pulled(t, f.name("some/disk:v1"), "")
		same(t, b, path)
	})
	t.Run("again and again", func(t *testing.T) {
		f := (&front{cut: make([]int64, 100)}).start(t)
		_, err := push(t, plain(f))
		if !errors.Is(err, errdef.ErrUnavailable) || errdef.ExitCode(err) != 21 {
			t.Errorf("%v", err)
		}
		if n := f.count("PUT", "/manifests/"); n != 0 {
			t.Error("a manifest was sent")
		}
	})
}

// TestRefused: registries that do not want, or lie.
func TestRefused(t *testing.T) {
	path := rawDisk(t, 1<<20, 4)
	answer := func(method, part string, status int, text string, header ...string) func(f *front) {
		return func(f *front) {
			f.before = func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != method || !strings.Contains(r.URL.Path, part) {
					return false
				}
				for i := 0; i < len(header); i += 2 {
					w.Header().Set(header[i], header[i+1])
				}
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(status)
				_, _ = io.WriteString(w, text)
				return true
			}
		}
	}
	huge := strings.Repeat(" ", maxDocument+1)
	for name, tc := range map[string]struct {
		spoil func(f *front)
		index bool
		exit  int
		says  string
	}{
		"read only":         {answer("POST", "/uploads/", 405, `{"errors":[{"code":"UNSUPPORTED"}]}`), false, 20, "405"},
		"denied":            {answer("POST", "/uploads/", 403, `{"errors":[{"code":"DENIED"}]}`), false, 11, "403"},
		"no such name":      {answer("POST", "/uploads/", 404, `{"errors":[{"code":"NAME_UNKNOWN"}]}`), false, 10, "404"},
		"no location":       {answer("POST", "/uploads/", 202, ""), false, 21, "does not say where"},
		"too large":         {answer("PATCH", "", 413, ""), false, 14, "413"},
		"other digest":      {answer("PUT", "/uploads/", 201, "", "Docker-Content-Digest", "sha256:"+strings.Repeat("0", 64)), false, 13, "another layer"},
		"damaged":           {answer("PUT", "/uploads/", 400, `{"errors":[{"code":"DIGEST_INVALID"}]}`), false, 13, "DIGEST_INVALID"},
		"tag is not moved":  {answer("PUT", "/manifests/", 405, ""), false, 20, "405"},
		"link-local":        {answer("POST", "/uploads/", 202, "", "Location", "http://169.254.169.254/latest"), false, 20, "169.254.169.254"},
		"no http":           {answer("POST", "/uploads/", 202, "", "Location", "file:///etc/passwd"), false, 21, "no http URL"},
		"sent elsewhere":    {answer("PATCH", "", 307, "", "Location", "http://127.0.0.1:1/"), false, 20, "not believed"},
		"huge manifest":     {answer("GET", "/manifests/", 200, huge), false, 15, "more than"},
		"tag is no JSON":    {answer("GET", "/manifests/", 200, "{"), true, 12, "no JSON"},
		"tag is no image":   {answer("GET", "/manifests/", 200, "{}"), true, 12, "no image"},
		"index and image":   {answer("GET", "/manifests/", 200, `{"manifests":[],"config":{}}`), true, 12, "cannot be read"},
		"no list":           {answer("GET", "/manifests/", 200, `{"manifests":7}`), true, 12, "cannot be read"},
		"no descriptors":    {answer("GET", "/manifests/", 200, `{"manifests":[7]}`), true, 12, "no descriptor"},
		"bad configuration": {answer("GET", "/manifests/", 200, `{"config":{"digest":"sha256:../../x","size":1}}`), true, 12, "no configuration"},
		"vast configuration": {answer("GET", "/manifests/", 200, `{"config":{"digest":"sha256:`+strings.Repeat("0", 64)+`","size":99999999999}}`), true, 12,
			"no configuration"},
		"absent configuration": {answer("GET", "/manifests/", 200, `{"config":{"digest":"sha256:`+strings.Repeat("0", 64)+`","size":9}}`), true, 12,
			"what platform"},
		"crowded index": {answer("GET", "/manifests/", 200, `{"manifests":[`+strings.Repeat(`{},`, maxImages)+`{}]}`), true, 15, "more than 1000"},
	} {
		t.Run(name, func(t *testing.T) {
			f := &front{}
			tc.spoil(f)
			r := request(t, path, f.start(t).name("some/disk:v1"), registrysource.Options{})
			r.AppendIndex = tc.index
			_, err := push(t, r)
			if errdef.ExitCode(err) != tc.exit || !strings.Contains(fmt.Sprint(err), tc.says) || len(fmt.Sprint(err)) > 1000 {
				t.Fatalf("exit status %d: %v", errdef.ExitCode(err), err)
			}
			if !strings.HasPrefix(err.Error(), "push to target docker://") {
				t.Errorf("it does not say where: %v", err)
			}
			f.before = nil
			if resp, err := http.Get(f.base + "/v2/some/disk/manifests/v1"); err != nil || resp.Body.Close() != nil || resp.StatusCode != http.StatusNotFound {
				t.Errorf("the tag: %v, %v", resp, err)
			}
		})
	}
}

// TestWho pushes to a registry that wants to know who it is.
func TestWho(t *testing.T) {
	path := rawDisk(t, 1<<20, 5)
	tokens := &testserver.Tokens{Anonymous: true}
	for name, base := range map[string]string{
		"basic": testserver.Registry{Basic: true, Require: requireServers}.Start(t),
		"token": testserver.Registry{Tokens: tokens, Require: requireServers}.Start(t),
	} {
		t.Run(name, func(t *testing.T) {
			to := "docker://" + strings.TrimPrefix(base, "http://") + "/some/disk:v1"
			try := func(password string) error {
				o := registrysource.Options{}
				o.HTTP.Username, o.HTTP.Password = testserver.RegistryUser, password
				_, err := push(t, request(t, path, to, o))
				for _, secret := range append(tokens.Given(), password) {
					if secret != "" && err != nil && strings.Contains(err.Error()+errdef.Hint(err), secret) {
						t.Errorf("it tells a secret: %v", err)
					}
				}
				return err
			}
			if err := try("hunter3-mistake"); errdef.ExitCode(err) != 11 {
				t.Errorf("a wrong password: %v", err)
			}
			if _, err := push(t, request(t, path, to, registrysource.Options{})); errdef.ExitCode(err) != 11 {
				t.Errorf("nobody: %v", err)
			}
			if err := try(testserver.RegistryPassword); err != nil {
				t.Error(err)
			}
		})
	}
	if asked := strings.Join(tokens.Asked(), "\n"); !strings.Contains(asked, "repository:some/disk:pull,push") {
		t.Errorf("asked for %s", asked)
	}
}

// TestElsewhere: a registry that has blobs sent to another server does not get us to show that our credentials.
func TestElsewhere(t *testing.T) {
	store := (&front{}).start(t)
	seen := ""
	store.before = func(_ http.ResponseWriter, r *http.Request) bool {
		seen += r.Header.Get("Authorization") + r.Header.Get("Cookie")
		return false
	}
	f := &front{}
	f.before = func(w http.ResponseWriter, r *http.Request) bool {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("Www-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
		return false
	}
	f.start(t)
	next := f.next
	f.next = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost { // uploads go elsewhere; the blob is then not here, but the manifest does not mind
			w.Header().Set("Location", store.base+"/v2/some/disk/blobs/uploads/1")
			w.WriteHeader(http.StatusAccepted)
			return
		}
		next.ServeHTTP(w, r)
	})
	o := registrysource.Options{}
	o.HTTP.Username, o.HTTP.Password = "someone", "hunter2-secret"
	if _, err := push(t, request(t, rawDisk(t, 1<<20, 6), f.name("some/disk:v1"), o)); err != nil {
		t.Fatal(err)
	}
	if store.count("PATCH", "") == 0 || seen != "" {
		t.Errorf("asked %q, shown %q", store.asked, seen)
	}
}

// TestCancel ends a push in the middle of the layer.
func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &front{}
	f.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPatch {
			_, _ = io.CopyN(io.Discard, r.Body, 1000)
			cancel()
			_, _ = io.Copy(io.Discard, r.Body) // until the connection ends
			panic(http.ErrAbortHandler)
		}
		return false
	}
	r := request(t, rawDisk(t, 2<<20, 7), f.start(t).name("some/disk:v1"), registrysource.Options{})
	r.Format, r.LayerCompression = "raw", "none"
	_, err := pushIn(ctx, t, r)
	if errdef.ExitCode(err) != 130 {
		t.Errorf("%v", err)
	}
	if f.count("DELETE", "/uploads/") != 1 || f.count("PUT", "") != 0 {
		t.Errorf("%q", f.asked)
	}
}

// TestUsage: what makes no image is refused before anything is asked or read.
func TestUsage(t *testing.T) {
	f := (&front{}).start(t)
	for name, change := range map[string]func(r *Request){
		"format":       func(r *Request) { r.Format = "vmdk" },
		"clusters":     func(r *Request) { r.Format, r.Compression = "raw", "zlib" },
		"layer":        func(r *Request) { r.LayerCompression = "xz" },
		"name":         func(r *Request) { r.Name = "a/b" },
		"name up":      func(r *Request) { r.Name = ".." },
		"hidden name":  func(r *Request) { r.Name = ".wh.x" }, // a whiteout
		"long name":    func(r *Request) { r.Name = strings.Repeat("x", 201) },
		"platform":     func(r *Request) { r.Platform = "linux" },
		"label":        func(r *Request) { r.Labels = map[string]string{"": "x"} },
		"variable":     func(r *Request) { r.Env = map[string]string{"A=B": "x"} },
		"zero byte":    func(r *Request) { r.Env = map[string]string{"A": "x\x00"} },
		"long label":   func(r *Request) { r.Labels = map[string]string{"a": strings.Repeat("x", maxEntry)} },
		"ancient time": func(r *Request) { r.Created = r.Created.AddDate(1900, 0, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			r := request(t, "absent", f.name("some/disk:v1"), registrysource.Options{})
			change(&r)
			if _, err := push(t, r); !errors.Is(err, errdef.ErrUsage) {
				t.Errorf("%v", err)
			}
		})
	}
	r := request(t, "absent", f.name("some/disk:v1"), registrysource.Options{})
	dir := r.Scratch
	r.Scratch = ""
	if _, err := Push(t.Context(), r); !errors.Is(err, errdef.ErrScratchNeeded) {
		t.Errorf("no scratch: %v", err)
	}
	if n := f.count("", ""); n != 0 {
		t.Errorf("%d requests", n)
	}
	r.Scratch = filepath.Join(dir, "absent")
	r.Source = request(t, rawDisk(t, 1<<20, 1), f.name("some/disk:v1"), registrysource.Options{}).Source
	if _, err := Push(t.Context(), r); err == nil || !strings.Contains(err.Error(), r.Scratch) {
		t.Errorf("no folder for scratch: %v", err)
	}
	for _, name := range []string{"oci-archive:x:v1", "docker-archive:x:v1", "oci:x", "docker://h/x@sha256:" + strings.Repeat("0", 64), "x.img", "docker://UPPER/x", "s3://b/k"} {
		if _, err := registrysource.NewDestination(name, registrysource.Options{}); !errors.Is(err, errdef.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLayout pushes into folders.
func TestLayout(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "layout")
	amd, arm := rawDisk(t, 5<<20, 1), rawDisk(t, 2<<20, 2)
	do := func(path, name, platform string, index bool) Result {
		r := request(t, path, "oci:"+dir+":"+name, registrysource.Options{})
		r.Platform, r.AppendIndex = platform, index
		return mustPush(t, r)
	}
	one := do(amd, "v1", "linux/amd64", false)
	if one.BlobsSent != 2 || !one.TagMoved {
		t.Errorf("%+v", one)
	}
	if again := do(amd, "v1", "linux/amd64", false); again.Digest != one.Digest || again.BlobsSent != 0 || again.TagMoved {
		t.Errorf("%+v", again)
	}
	if two := do(arm, "v2", "linux/arm64", false); two.Digest == one.Digest {
		t.Error("two disks of one digest")
	}
	both := do(arm, "v1", "linux/arm64", true)
	if both.Platforms != 2 || both.BlobsSkipped != 2 {
		t.Errorf("%+v", both)
	}
	for _, tc := range []struct{ name, platform, path string }{
		{":v1", "linux/amd64", amd}, {":v1", "linux/arm64", arm}, {":v2", "", arm}, {":@" + both.Digest, "linux/amd64", amd},
	} {
		_, b := pulled(t, "oci:"+dir+tc.name, tc.platform)
		same(t, b, tc.path)
	}

	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := push(t, request(t, amd, "oci:"+full+":v1", registrysource.Options{})); errdef.ExitCode(err) != 19 {
		t.Errorf("into a folder of something else: %v", err)
	}
	fresh := filepath.Join(t.TempDir(), "fresh")
	if _, err := push(t, request(t, filepath.Join(full, "absent"), "oci:"+fresh+":v1", registrysource.Options{})); errdef.ExitCode(err) != 10 {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := os.Stat(fresh); err == nil {
		t.Error("a folder was left")
	}
	if _, err := push(t, request(t, amd, "oci:"+filepath.Join(full, "no", "where")+":v1", registrysource.Options{})); errdef.ExitCode(err) != 10 {
		t.Errorf("below nothing: %v", err)
	}
}
