package registrysource

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
)

// FuzzDocument takes a document for whatever a registry may send as: an index, a manifest, a configuration, a signature. None
// may be believed beyond its bounds.
func FuzzDocument(f *testing.F) {
	m := makeImage(here, map[string]any{"Labels": map[string]string{"a": "b"}, "Env": []string{"X_KUBEVIRT_IO_A=b"}}, []byte("layer"))
	m.index(m.root)
	for _, b := range m.blobs {
		f.Add(b)
	}
	for _, s := range []string{`{"schemaVersion":1,"fsLayers":[]}`, `{"schemaVersion":2,"manifests":[{"platform":{"os":"linux"},"digest":"sha256:x","size":-1}]}`, `{"config":null}`, `[]`,
		`{"schemaVersion":2,"config":{},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha512:00","size":9223372036854775807,"urls":["x"]}]}`,
		string(payloadOf("sha256:00", "h/r:t"))} {
		f.Add([]byte(s))
	}
	s := newSource(f, "docker://h/r:t", Options{})
	f.Fuzz(func(t *testing.T, b []byte) {
		asked := 0
		fetch := func(_ context.Context, d descriptor, _ string) ([]byte, error) {
			asked++
			if d.Size < 0 || d.Size > maxManifest {
				t.Fatalf("%d bytes are asked for", d.Size)
			}
			if _, err := parseDigest(d.Digest); err != nil {
				t.Fatalf("%q is asked for", d.Digest)
			}
			return b, nil
		}
		img, err := s.resolve(t.Context(), b, sum256(b), fetch, nil)
		if asked > maxNested+1 {
			t.Fatalf("%d documents were asked for", asked)
		}
		if err == nil {
			if len(img.layers) > maxLayers {
				t.Fatalf("%d layers", len(img.layers))
			}
			_ = img.check(s)
		} else if c := errdef.ExitCode(err); c == 1 {
			t.Fatalf("of no class: %v", err)
		}
		if doc, err := parseDocument(b); err == nil {
			for _, d := range doc.Layers {
				if l, err := parseLayer(d); err == nil && (l.size < 0 || l.stored.IsZero() || strings.ContainsAny(blobPath(l.stored), "\\:") || strings.Contains(blobPath(l.stored), "..")) {
					t.Fatalf("layer %+v", l)
				}
			}
		}
		if c, err := parseConfig(b); err == nil && len(c.labels()) > maxLabels {
			t.Fatalf("%d labels", len(c.labels()))
		}
		if p, err := parsePayload(b); err == nil {
			if p.of([]byte("manifest")) == nil && p.digest != sum256([]byte("manifest")).String() {
				t.Fatalf("payload %+v", p)
			}
		}
		if p, err := parsePolicy(b); err == nil && len(p.Default) == 0 {
			t.Fatal("a policy without a default")
		}
	})
}

// FuzzChallenge: what a registry says of how it wants to be asked leads to a URL or nowhere.
func FuzzChallenge(f *testing.F) {
	for _, s := range []string{`Bearer realm="https://h/t?a=b",service="s, \"t\"",scope="x"`, `bearer service=s, realm=https://h/`, `Basic realm="x"`, `Bearer realm="`, `Bearer realm=\`, `Bearer ==,="`} {
		f.Add(s, "")
	}
	f.Add(`Basic realm="x"`, `Bearer realm="r"`)
	f.Fuzz(func(t *testing.T, one, two string) {
		c, ok := parseChallenges([]string{one, two})
		if c.bearer && (!ok || c.realm == "") {
			t.Fatalf("%+v", c)
		}
		// What was understood is understood again as we would write it.
		if quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`); c.bearer {
			again, _ := parseChallenges([]string{`Bearer realm="` + quote.Replace(c.realm) + `",service="` + quote.Replace(c.service) + `"`})
			if again != c {
				t.Fatalf("%+v, then %+v", c, again)
			}
		}
	})
}

// FuzzName: a name is refused, or stands for itself, and leads to no URL but the host's it names.
func FuzzName(f *testing.F) {
	for _, s := range []string{"docker://h:5000/r/s:t", "docker://busybox", "docker://h/x@sha256:" + strings.Repeat("0", 64), "docker://user:secret@h/x", "oci:a:b", "oci:a:@sha256:" + strings.Repeat("a", 64),
		"oci-archive:a@sha256:b", "docker-archive:f:@1", "docker://[::1]:5000/a", "docker://a/../b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		n, err := parseName(raw)
		if err != nil {
			if !errors.Is(err, errdef.ErrUsage) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		if again, err := parseName(n.String()); err != nil || again.String() != n.String() || again.file != n.file || again.image != n.image {
			t.Fatalf("%q is %+v, then %+v, %v", raw, n, again, err)
		}
		if n.transport != "docker" {
			return
		}
		e := &endpoint{ref: n.ref}
		e.base = "https://" + e.host()
		u, err := url.Parse(e.url("manifests/x"))
		if err != nil || u.Host != e.host() || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Contains(u.Path, "..") {
			t.Fatalf("%q leads to %v, %v", raw, u, err)
		}
		scopes, err := n.scopes()
		if err != nil || len(scopes) == 0 {
			t.Fatalf("%q: %v", raw, err)
		}
	})
}
