package registrysource

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

const (
	maxSignatures = 50       // of one manifest
	maxPayload    = 64 << 10 // of a signature; cosign writes some 250 bytes

	typeSignature   = "application/vnd.dev.cosign.simplesigning.v1+json"
	signatureIs     = "dev.cosignproject.cosign/signature"
	typeOfSignature = "cosign container image signature"
)

// A signature as it lies beside an image: nothing of it is to be believed before a key has proven it.
type signature struct {
	text string // base64
	body []byte
}

// A payload is what was signed.
type payload struct{ digest, reference string }

// signatures are those that cosign and containers/image attach to a manifest: an image whose tag has the digest of what was
// signed (cosign, Signature Specification).
func (r *registry) signatures(ctx context.Context, manifest []byte) ([]signature, error) {
	var b []byte
	tag := strings.Replace(sum256(manifest).String(), ":", "-", 1) + ".sig"
	err := r.each(ctx, func(e *endpoint) (err error) {
		b, err = e.small(ctx, "manifests/"+tag, maxManifest)
		return err
	})
	if errors.Is(err, errdef.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	doc, err := parseDocument(b)
	if err != nil {
		return nil, err
	}
	if len(doc.Layers) > maxSignatures {
		return nil, fmt.Errorf("the image has %d signatures, more than %d: %w", len(doc.Layers), maxSignatures, errdef.ErrLimit)
	}
	var list []signature
	for _, d := range doc.Layers {
		text := d.Annotations[signatureIs]
		if d.MediaType != typeSignature || text == "" || d.Size > maxPayload {
			continue
		}
		body, _, err := verified(ctx, d, "signature", r.fetch)
		if err != nil {
			return nil, err
		}
		list = append(list, signature{text, body})
	}
	return list, nil
}

// parseKey reads a public key in PEM.
func parseKey(b []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(b)
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is no public key in PEM (BEGIN PUBLIC KEY)")
	}
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	switch k.(type) {
	case *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey:
		return k, nil
	}
	return nil, fmt.Errorf("keys of type %T are not known", k)
}

// proves reports whether key has signed body.
func proves(key crypto.PublicKey, body, sig []byte) bool {
	sum := sha256.Sum256(body)
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, sum[:], sig)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(k, crypto.SHA256, sum[:], sig) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, body, sig)
	}
	return false
}

// payload is what was signed, if one of keys has.
func (s signature) payload(keys []crypto.PublicKey) (payload, error) {
	sig, err := base64.StdEncoding.DecodeString(s.text)
	ok := false
	for _, k := range keys {
		ok = ok || err == nil && proves(k, s.body, sig)
	}
	if !ok {
		return payload{}, fmt.Errorf("no key of the policy has made the signature: %w", errdef.ErrRefused)
	}
	return parsePayload(s.body)
}

// parsePayload takes nothing critical that it does not know.
func parsePayload(b []byte) (payload, error) {
	var p struct {
		Critical struct {
			Type  string `json:"type"`
			Image struct {
				Digest string `json:"docker-manifest-digest"`
			} `json:"image"`
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
		} `json:"critical"`
		Optional json.RawMessage `json:"optional"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil || d.More() || p.Critical.Type != typeOfSignature {
		return payload{}, fmt.Errorf("what is signed is no image: %w", errdef.ErrRefused)
	}
	return payload{p.Critical.Image.Digest, p.Critical.Identity.Reference}, nil
}

// of checks that it is this manifest that was signed.
func (p payload) of(manifest []byte) error {
	d, err := parseDigest(p.digest)
	if err == nil {
		err = check("manifest", d, manifest)
	}
	if err != nil {
		return fmt.Errorf("a signature is of another image, %.100q: %w", printable(p.digest), errdef.ErrRefused)
	}
	return nil
}
