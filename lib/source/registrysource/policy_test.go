package registrysource

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/internal/testserver"
)

// signer signs as cosign does.
type signer struct {
	key crypto.Signer
	pem []byte
}

func newSigner(t testing.TB, key crypto.Signer, err error) signer {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return signer{key, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})}
}

func elliptical(t testing.TB) signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return newSigner(t, k, err)
}

func (s signer) sign(t testing.TB, body []byte) string {
	t.Helper()
	sum, o := sha256.Sum256(body), crypto.SHA256
	in := sum[:]
	if _, ok := s.key.(ed25519.PrivateKey); ok {
		in, o = body, 0
	}
	sig, err := s.key.Sign(rand.Reader, in, o)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(sig)
}

func payloadOf(digest, ref string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":%q},"optional":null}`, ref, digest, typeOfSignature)
}

// attach pushes a signature of digest by each signer, in their order.
func attach(t *testing.T, base, repo, digest string, bodies [][]byte, by ...signer) {
	t.Helper()
	m := &made{blobs: map[string][]byte{}}
	var list []descriptor
	for i, s := range by {
		d := m.add(typeSignature, bodies[i])
		d.Annotations = map[string]string{signatureIs: s.sign(t, bodies[i])}
		list = append(list, d)
	}
	m.root = m.json(typeManifest, map[string]any{"schemaVersion": 2, "mediaType": typeManifest, "config": m.json(typeConfig, map[string]any{}), "layers": list})
	push(t, base, repo, strings.Replace(digest, ":", "-", 1)+".sig", m)
}

func TestPolicy(t *testing.T) {
	base := testserver.Start(t, &front{next: behind(t)})
	_, host, _ := strings.Cut(base, "://")
	rsaKey, rsaErr := rsa.GenerateKey(rand.Reader, 2048)
	_, edKey, edErr := ed25519.GenerateKey(rand.Reader)
	ours, theirs := elliptical(t), elliptical(t)
	rsas, eds := newSigner(t, rsaKey, rsaErr), newSigner(t, edKey, edErr)

	layer := makeTar(t, d("disk.img", disk))
	one := makeImage(here, nil, layer)
	tagged, named := host+"/p/signed:v1", host+"/p/signed"
	for repo, s := range map[string]signer{"signed": ours, "theirs": theirs, "rsa": rsas, "ed25519": eds} {
		push(t, base, "p/"+repo, "v1", one)
		attach(t, base, "p/"+repo, one.root.Digest, [][]byte{payloadOf(one.root.Digest, host+"/p/"+repo+":v1")}, s)
	}
	push(t, base, "p/unsigned", "v1", one)
	// Two signatures: the second is good, and says what cosign says by itself.
	push(t, base, "p/both", "v1", one)
	attach(t, base, "p/both", one.root.Digest, [][]byte{payloadOf(one.root.Digest, host+"/p/both"), payloadOf(one.root.Digest, host+"/p/both")}, theirs, ours)
	// Signatures that were moved: of another image, for another repository, and of something else.
	other := makeImage(here, nil, makeTar(t, d("disk.img", "other")))
	push(t, base, "p/moved", "v1", one)
	attach(t, base, "p/moved", one.root.Digest, [][]byte{payloadOf(other.root.Digest, host+"/p/moved:v1"), payloadOf(one.root.Digest, tagged),
		[]byte(`{"critical":{},"optional":null}`), bytes.Replace(payloadOf(one.root.Digest, host+"/p/moved:v1"), []byte(`"image"`), []byte(`"unknown":1,"image"`), 1)}, ours, ours, ours, ours)
	// An index is signed, or one of its images.
	index := makeImage(here, nil, layer)
	instance := index.root
	index.index(instance, index.image(platform{OS: "linux", Architecture: "s390x"}, nil, makeTar(t, d("a", other.root.Digest))))
	for repo, digest := range map[string]string{"index": index.root.Digest, "instance": instance.Digest} {
		push(t, base, "p/"+repo, "v1", index)
		attach(t, base, "p/"+repo, digest, [][]byte{payloadOf(digest, host+"/p/"+repo)}, ours)
	}

	dir := t.TempDir()
	key := filepath.Join(dir, "cosign.pub")
	write(t, key, ours.pem)
	type m = map[string]any
	signed := func(more m) m {
		q := m{"type": "sigstoreSigned", "keyPath": key}
		for k, v := range more {
			if q[k] = v; v == nil {
				delete(q, k)
			}
		}
		return m{"default": []m{q}}
	}
	with := func(kind string, more m) m {
		id := m{"type": kind}
		for k, v := range more {
			id[k] = v
		}
		return signed(m{"signedIdentity": id})
	}
	accept, reject := []m{{"type": "insecureAcceptAnything"}}, []m{{"type": "reject"}}
	for _, tt := range []struct {
		name   string
		policy any
		image  string // "": p/signed:v1
		err    error
		says   string
	}{
		{name: "anything", policy: m{"default": accept}},
		{name: "nothing", policy: m{"default": reject}, err: errdef.ErrRefused, says: "rejects the image"},
		{name: "nothing but the repository", policy: m{"default": reject, "transports": m{"docker": m{named: accept}}}},
		{name: "nothing but the image", policy: m{"default": reject, "transports": m{"docker": m{tagged: accept, named: reject}}}},
		{name: "nothing but the host", policy: m{"default": reject, "transports": m{"docker": m{host: accept}}}},
		{name: "nothing but the transport", policy: m{"default": reject, "transports": m{"docker": m{"": accept}}}},
		{name: "anything but the repository", policy: m{"default": accept, "transports": m{"docker": m{host: accept, named: reject}}}, err: errdef.ErrRefused, says: "rejects"},
		{name: "another transport", policy: m{"default": reject, "transports": m{"oci": m{"": accept}}}, err: errdef.ErrRefused, says: "rejects"},
		{name: "all of several", policy: m{"default": []m{accept[0], reject[0]}}, err: errdef.ErrRefused, says: "rejects"},

		{name: "signed", policy: signed(nil)},
		{name: "signed, key in the policy", policy: signed(m{"keyPath": nil, "keyData": ours.pem})},
		{name: "signed, several keys", policy: signed(m{"keyPath": nil, "keyDatas": [][]byte{theirs.pem, ours.pem}})},
		{name: "signed, several files", policy: signed(m{"keyPath": nil, "keyPaths": []string{key}})},
		{name: "signed by RSA", policy: signed(m{"keyPath": nil, "keyData": rsas.pem}), image: "p/rsa:v1"},
		{name: "signed by Ed25519", policy: signed(m{"keyPath": nil, "keyData": eds.pem}), image: "p/ed25519:v1"},
		{name: "signed, pinned", policy: signed(nil), image: "p/signed@" + one.root.Digest},
		{name: "signed, pinned with a tag", policy: signed(nil), image: "p/signed:v1@" + one.root.Digest},
		{name: "not signed", policy: signed(nil), image: "p/unsigned:v1", err: errdef.ErrRefused, says: "the image has none"},
		{name: "signed by another", policy: signed(nil), image: "p/theirs:v1", err: errdef.ErrRefused, says: "no key of the policy"},
		{name: "signatures that were moved", policy: signed(nil), image: "p/moved:v1", err: errdef.ErrRefused, says: "none of 4 signatures"},
		{name: "a repository is signed, and its tag is asked for", policy: signed(nil), image: "p/both:v1", err: errdef.ErrRefused, says: "does not accept"},
		{name: "a repository is signed", policy: with("matchRepository", nil), image: "p/both:v1"},
		{name: "exactly", policy: with("matchExact", nil)},
		{name: "exactly, pinned", policy: with("matchExact", nil), image: "p/signed@" + one.root.Digest, err: errdef.ErrRefused, says: "does not accept"},
		{name: "this reference", policy: with("exactReference", m{"dockerReference": tagged})},
		{name: "another reference", policy: with("exactReference", m{"dockerReference": named + ":v2"}), err: errdef.ErrRefused, says: "does not accept"},
		{name: "this repository", policy: with("exactRepository", m{"dockerRepository": named})},
		{name: "another repository", policy: with("exactRepository", m{"dockerRepository": named + "x"}), err: errdef.ErrRefused, says: "does not accept"},
		{name: "mirrored", policy: with("remapIdentity", m{"prefix": host + "/p/moved", "signedPrefix": named}), image: "p/moved:v1"},
		{name: "mirrored elsewhere", policy: with("remapIdentity", m{"prefix": host + "/p/mov", "signedPrefix": named}), image: "p/moved:v1", err: errdef.ErrRefused, says: "signatures"},
		{name: "index", policy: with("matchRepository", nil), image: "p/index:v1"},
		{name: "image of an index", policy: with("matchRepository", nil), image: "p/instance:v1"},

		{name: "GPG", policy: m{"default": []m{{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}}}, err: errdef.ErrUnsupported, says: "requires signedBy, which cdictl cannot check"},
		{name: "base layer", policy: m{"default": []m{{"type": "signedBaseLayer", "baseLayerIdentity": m{}}}}, err: errdef.ErrUnsupported, says: "signedBaseLayer"},
		{name: "fulcio", policy: signed(m{"keyPath": nil, "fulcio": m{"caPath": "/x"}}), err: errdef.ErrUnsupported, says: "fulcio"},
		{name: "pki", policy: signed(m{"keyPath": nil, "pki": m{"caRootsPath": "/x"}}), err: errdef.ErrUnsupported, says: "pki"},
		{name: "rekor", policy: signed(m{"rekorPublicKeyPath": "/x"}), err: errdef.ErrUnsupported, says: "Rekor"},
		{name: "GPG elsewhere", policy: m{"default": accept, "transports": m{"docker": m{"registry.example": []m{{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}}}}}},
		{name: "key that is absent", policy: signed(m{"keyPath": "/absent"}), err: errdef.ErrUsage, says: "/absent"},
		{name: "key that is none", policy: signed(m{"keyPath": nil, "keyDatas": [][]byte{ours.pem, []byte("x")}}), err: errdef.ErrUsage, says: "key 2"},
		{name: "no keys", policy: signed(m{"keyPath": nil, "keyDatas": [][]byte{}}), err: errdef.ErrUsage, says: "is empty"},
		{name: "two kinds of keys", policy: signed(m{"keyData": ours.pem}), err: errdef.ErrUsage, says: "one of"},
		{name: "unknown requirement", policy: m{"default": []m{{"type": "sigstoresigned"}}}, err: errdef.ErrUsage, says: "not known"},
		{name: "unknown word", policy: signed(m{"signedidentities": m{}}), err: errdef.ErrUsage, says: "unknown field"},
		{name: "unknown identity", policy: with("matchSome", nil), err: errdef.ErrUsage, says: "not known"},
		{name: "no requirement", policy: m{"default": []m{}}, err: errdef.ErrUsage, says: "has no requirement"},
		{name: "no default", policy: m{"transports": m{}}, err: errdef.ErrUsage, says: "has no requirement"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := json.Marshal(tt.policy)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "policy.json")
			write(t, file, b)
			image := tt.image
			if image == "" {
				image = "p/signed:v1"
			}
			got, _, _, err := fetch(t, newSource(t, nameOf(base, image), Options{HTTP: quick, Policy: file}))
			if tt.err != nil {
				wantError(t, err, tt.err, tt.says)
				if errdef.Hint(err) == "" {
					t.Errorf("%v has no hint", err)
				}
			} else if err != nil || string(got) != disk {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	t.Run("no such file", func(t *testing.T) {
		_, _, _, err := fetch(t, newSource(t, nameOf(base, "p/signed:v1"), Options{HTTP: quick, Policy: "/absent"}))
		wantError(t, err, errdef.ErrUsage, "/absent")
	})
	t.Run("local", func(t *testing.T) {
		at, err := filepath.EvalSymlinks(one.layout(t, "v1"))
		if err != nil {
			t.Fatal(err)
		}
		for scope, allowed := range map[string]bool{"": true, at: true, at + ":v1": true, filepath.Dir(at): true, at + ":v2": false, at + "x": false} {
			b, _ := json.Marshal(m{"default": reject, "transports": m{"oci": m{scope: accept}}})
			file := filepath.Join(t.TempDir(), "policy.json")
			write(t, file, b)
			if _, _, _, err := fetch(t, newSource(t, "oci:"+at+":v1", Options{Policy: file})); (err == nil) != allowed || err != nil && !errors.Is(err, errdef.ErrRefused) {
				t.Errorf("scope %q: %v", scope, err)
			}
		}
		file := filepath.Join(t.TempDir(), "policy.json")
		b, _ := json.Marshal(signed(nil))
		write(t, file, b)
		_, _, _, err = fetch(t, newSource(t, "oci:"+at, Options{Policy: file}))
		wantError(t, err, errdef.ErrRefused, "oci: has none")
	})
}
