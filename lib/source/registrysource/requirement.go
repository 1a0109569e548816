package registrysource

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/containers/image/v5/docker/reference"

	"github.com/cdictl/cdictl/lib/errdef"
)

// A requirement of a policy.
type requirement struct {
	Type string `json:"type"`

	KeyPath  string   `json:"keyPath"`
	KeyPaths []string `json:"keyPaths"`
	KeyData  []byte   `json:"keyData"`
	KeyDatas [][]byte `json:"keyDatas"`

	SignedIdentity *identity `json:"signedIdentity"`

	// What follows is known, so that a policy which has it elsewhere can be used, but not understood.
	KeyType             string          `json:"keyType"`
	BaseLayerIdentity   json.RawMessage `json:"baseLayerIdentity"`
	Fulcio              json.RawMessage `json:"fulcio"`
	PKI                 json.RawMessage `json:"pki"`
	RekorPublicKeyPath  json.RawMessage `json:"rekorPublicKeyPath"`
	RekorPublicKeyPaths json.RawMessage `json:"rekorPublicKeyPaths"`
	RekorPublicKeyData  json.RawMessage `json:"rekorPublicKeyData"`
	RekorPublicKeyDatas json.RawMessage `json:"rekorPublicKeyDatas"`
}

// known checks what can be said without the image.
func (q *requirement) known() error {
	switch q.Type {
	case "insecureAcceptAnything", "reject", "signedBaseLayer", "signedBy":
		return nil
	case "sigstoreSigned":
		n := 0
		for _, is := range []bool{q.KeyPath != "", q.KeyPaths != nil, q.KeyData != nil, q.KeyDatas != nil, q.Fulcio != nil, q.PKI != nil} {
			if is {
				n++
			}
		}
		if n != 1 {
			return errors.New("sigstoreSigned wants one of keyPath, keyPaths, keyData, keyDatas, fulcio and pki")
		}
		return q.SignedIdentity.known()
	}
	return fmt.Errorf("requirement type %.60q is not known", printable(q.Type))
}

// allows is nil if the requirement is met.
func (q *requirement) allows(ctx context.Context, n name, manifests [][]byte, find finder) error {
	switch q.Type {
	case "insecureAcceptAnything":
		return nil
	case "reject":
		return fmt.Errorf("the policy rejects the image: %w", errdef.ErrRefused)
	case "sigstoreSigned":
		switch {
		case q.Fulcio != nil:
			return unsupported("sigstoreSigned with fulcio")
		case q.PKI != nil:
			return unsupported("sigstoreSigned with pki")
		case q.RekorPublicKeyPath != nil || q.RekorPublicKeyPaths != nil || q.RekorPublicKeyData != nil || q.RekorPublicKeyDatas != nil:
			return unsupported("sigstoreSigned with a key of Rekor")
		}
		return q.signed(ctx, n, manifests, find)
	}
	return unsupported(q.Type)
}

func unsupported(what string) error {
	return errdef.WithHint(fmt.Errorf("the policy requires %s, which cdictl cannot check: %w", what, errdef.ErrUnsupported),
		"it checks sigstoreSigned with a public key; or copy the image with skopeo, which checks the others, to an oci: layout and import that")
}

// keys reads the public keys. One that cannot be read is an error, even if another would do: else nobody would see it.
func (q *requirement) keys() ([]crypto.PublicKey, error) {
	texts := q.KeyDatas
	if q.KeyData != nil {
		texts = [][]byte{q.KeyData}
	}
	files := q.KeyPaths
	if q.KeyPath != "" {
		files = []string{q.KeyPath}
	}
	for _, f := range files {
		b, err := readLocal(f)
		if err != nil {
			return nil, usage("a key of the policy: %w", err)
		}
		texts = append(texts, b)
	}
	var keys []crypto.PublicKey
	for i, b := range texts {
		k, err := parseKey(b)
		if err != nil {
			return nil, usage("key %d of the policy: %w", i+1, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, usage("a list of keys of the policy is empty")
	}
	return keys, nil
}

// signed looks for a signature of the manifest, or of an index that names it: each proves the same image.
func (q *requirement) signed(ctx context.Context, n name, manifests [][]byte, find finder) error {
	keys, err := q.keys()
	if err != nil {
		return err
	}
	if find == nil {
		return errdef.WithHint(fmt.Errorf("the policy requires a signature, and %s: has none: %w", n.transport, errdef.ErrRefused), "signatures lie in registries; give layouts and archives a requirement of their own in the policy")
	}
	is, err := n.identity()
	if err != nil {
		return err
	}
	var why error
	seen := 0
	for _, m := range manifests {
		list, err := find(ctx, m)
		if err != nil {
			return fmt.Errorf("signatures: %w", err)
		}
		for _, sig := range list {
			seen++
			p, err := sig.payload(keys)
			if err == nil {
				err = p.of(m)
			}
			if err == nil {
				err = q.SignedIdentity.match(is, p.reference)
			}
			if err == nil {
				return nil
			}
			why = err
		}
	}
	if seen == 0 {
		return fmt.Errorf("the policy requires a signature, and the image has none: %w", errdef.ErrRefused)
	}
	if seen > 1 {
		why = fmt.Errorf("none of %d signatures is accepted; the last: %w", seen, why)
	}
	return fmt.Errorf("the policy requires another signature: %w", why)
}

// identity says what a signature must name.
type identity struct {
	Type             string `json:"type"`
	DockerReference  string `json:"dockerReference"`
	DockerRepository string `json:"dockerRepository"`
	Prefix           string `json:"prefix"`
	SignedPrefix     string `json:"signedPrefix"`
}

func (i *identity) known() error {
	if i == nil {
		return nil
	}
	var err error
	switch i.Type {
	case "matchExact", "matchRepoDigestOrExact", "matchRepository":
	case "exactReference":
		_, err = exactly(i.DockerReference)
	case "exactRepository":
		_, err = reference.ParseNormalizedNamed(i.DockerRepository)
	case "remapIdentity":
		if i.Prefix == "" || i.SignedPrefix == "" {
			err = errors.New("remapIdentity wants prefix and signedPrefix")
		}
	default:
		err = fmt.Errorf("signedIdentity type %.60q is not known", printable(i.Type))
	}
	return err
}

// exactly parses a reference with a tag or a digest.
func exactly(text string) (reference.Named, error) {
	r, err := reference.ParseNormalizedNamed(text)
	if err == nil && reference.IsNameOnly(r) {
		err = fmt.Errorf("%.200q has neither a tag nor a digest", printable(text))
	}
	return r, err
}

// match compares the image with what a signature names.
func (i *identity) match(is reference.Named, text string) error {
	kind := "matchRepoDigestOrExact"
	if i != nil {
		kind = i.Type
	}
	no := fmt.Errorf("a signature is of %.200q, which %s does not accept for %s: %w", printable(text), kind, is, errdef.ErrRefused)
	signed, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return no
	}
	switch kind {
	case "matchRepository":
		if signed.Name() == is.Name() {
			return nil
		}
		return no
	case "exactRepository":
		if want, err := reference.ParseNormalizedNamed(i.DockerRepository); err == nil && signed.Name() == want.Name() {
			return nil
		}
		return no
	case "exactReference":
		if is, err = exactly(i.DockerReference); err != nil {
			return no
		}
	case "remapIdentity":
		if is, err = remap(is, i.Prefix, i.SignedPrefix); err != nil {
			return no
		}
	}
	_, digest := is.(reference.Canonical)
	switch {
	case reference.IsNameOnly(signed):
		return errdef.WithHint(no, "cosign signs a repository and no tag: \"signedIdentity\": {\"type\": \"matchRepository\"}")
	case signed.String() == is.String(), digest && kind != "matchExact" && kind != "exactReference" && signed.Name() == is.Name():
		return nil // a digest was compared by who fetched the manifest, and the signature's with that
	}
	return no
}

// remap writes to for from at the beginning of a name.
func remap(is reference.Named, from, to string) (reference.Named, error) {
	rest, ok := cutScope(is.Name(), from)
	if !ok {
		return is, nil
	}
	return reference.ParseNamed(to + rest + is.String()[len(is.Name()):])
}

func cutScope(name, prefix string) (string, bool) {
	if len(name) < len(prefix) || name[:len(prefix)] != prefix || len(name) > len(prefix) && name[len(prefix)] != '/' {
		return "", false
	}
	return name[len(prefix):], true
}
