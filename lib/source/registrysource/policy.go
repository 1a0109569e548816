package registrysource

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/docker/policyconfiguration"
	"github.com/containers/image/v5/docker/reference"

	"github.com/cdictl/cdictl/lib/errdef"
)

// maxLocal bounds a small file of the user: a policy, a key, a certificate.
const maxLocal = 1 << 20

// A policy says what must be true of an image before it is read (containers-policy.json(5)). The library that defines it needs
// cgo, or a build tag that every user of this package would have to know; so what is understood of it is written here, and what
// is not is an error for the images that it applies to, never a permission.
type policy struct {
	Default    []*requirement                       `json:"default"`
	Transports map[string]map[string][]*requirement `json:"transports"`
}

// readPolicy reads the user's file. Keys are read when they are needed: a file for a whole machine names many.
func readPolicy(file string) (*policy, error) {
	b, err := readLocal(file)
	if err != nil {
		return nil, usage("the policy: %w", err)
	}
	p, err := parsePolicy(b)
	if err != nil {
		return nil, usage("the policy %s: %w", file, err)
	}
	return p, nil
}

// readLocal reads a small file of the user.
func readLocal(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readSmall(f, file, maxLocal)
}

// parsePolicy takes nothing that it does not know: a word that is spelled wrong would leave out a condition.
func parsePolicy(b []byte) (*policy, error) {
	p := &policy{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("%s", shortly(err))
	}
	if d.More() {
		return nil, errors.New("it has something behind its end")
	}
	if err := known("default", p.Default); err != nil {
		return nil, err
	}
	for transport, scopes := range p.Transports {
		for scope, list := range scopes {
			if err := known(fmt.Sprintf("transports %q scope %q", transport, scope), list); err != nil {
				return nil, err
			}
		}
	}
	return p, nil
}

func known(where string, list []*requirement) error {
	if len(list) == 0 {
		return fmt.Errorf("%s has no requirement; one that allows all is insecureAcceptAnything", where)
	}
	for _, q := range list {
		if q == nil {
			return fmt.Errorf("%s has a requirement that is null", where)
		}
		if err := q.known(); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
	}
	return nil
}

// applies are the requirements for an image with these scopes, from the narrowest, and where they stand.
func (p *policy) applies(transport string, scopes []string) ([]*requirement, string) {
	if of, ok := p.Transports[transport]; ok {
		for _, s := range append(scopes, "") {
			if list, ok := of[s]; ok {
				return list, fmt.Sprintf("%s %q", transport, s)
			}
		}
	}
	return p.Default, "default"
}

// scopes are the names that a policy may have for an image, the narrowest first.
func (n name) scopes() ([]string, error) {
	switch n.transport {
	case "docker":
		ref, err := n.identity()
		if err != nil {
			return nil, err
		}
		one, err := policyconfiguration.DockerReferenceIdentity(ref)
		if err != nil {
			return nil, usage("%s", shortly(err))
		}
		return append([]string{one}, policyconfiguration.DockerReferenceNamespaces(ref)...), nil
	case "docker-archive":
		return nil, nil
	}
	dir, err := filepath.Abs(n.file)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list := []string{dir + ":" + n.image}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		list = append(list, dir)
	}
	return list, nil
}

// identity is the image as signatures name it: of a tag and a digest the digest is what is read.
func (n name) identity() (reference.Named, error) {
	d, ok := n.ref.(reference.Digested)
	if !ok {
		return n.ref, nil
	}
	return reference.WithDigest(reference.TrimNamed(n.ref), d.Digest())
}

// A finder tells the signatures of a manifest.
type finder func(ctx context.Context, manifest []byte) ([]signature, error)

// allowed asks the user's policy about an image: by its manifest, which comes last, and the indexes that led there. find is nil
// where an image has no signatures beside it.
func (s *Source) allowed(ctx context.Context, manifests [][]byte, find finder) error {
	if s.o.Policy == "" {
		return nil
	}
	p, err := readPolicy(s.o.Policy)
	if err != nil {
		return err
	}
	scopes, err := s.name.scopes()
	if err != nil {
		return err
	}
	list, where := p.applies(s.name.transport, scopes)
	for _, q := range list {
		if err := q.allows(ctx, s.name, manifests, find); err != nil {
			if errors.Is(err, errdef.ErrRefused) && errdef.Hint(err) == "" {
				err = errdef.WithHint(err, strings.TrimSpace(fmt.Sprintf("%s says so under %s", s.o.Policy, where)))
			}
			return err
		}
	}
	return nil
}
