package registrysource

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// platform as indexes and configurations have it.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
}

func (p platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// other names of architectures, as kernels have them.
var architectures = map[string]string{"x86_64": "amd64", "aarch64": "arm64", "x86_32": "386", "i386": "386", "armhf": "arm"}

func parsePlatform(text string) (platform, error) {
	parts := strings.Split(strings.ToLower(text), "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return platform{}, errdef.WithHint(usage("platform %.60q is not os/arch or os/arch/variant", text), "linux/amd64 is one, linux/arm/v7 another")
	}
	p := platform{OS: parts[0], Architecture: parts[1]}
	if a, ok := architectures[p.Architecture]; ok {
		p.Architecture = a
	}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// plainVariants are what an architecture without a variant means.
var plainVariants = map[string]string{"arm64": "v8", "arm": "v7", "amd64": "v1"}

// suits tells how well have answers to p: 0 not at all.
func (p platform) suits(have platform) int {
	plain := plainVariants[p.Architecture]
	switch {
	case !strings.EqualFold(have.OS, p.OS) || !strings.EqualFold(have.Architecture, p.Architecture):
		return 0
	case have.Variant == p.Variant:
		return 3
	case p.Variant == "" && have.Variant == plain, have.Variant == "" && p.Variant == plain:
		return 2
	case p.Variant == "":
		return 1 // any is better than none
	}
	return 0
}

// choose takes the manifest for p out of an index: the first of those that suit best.
func (p platform) choose(list []descriptor) (descriptor, error) {
	best, found := 0, descriptor{}
	var have []string
	for _, d := range list {
		if !d.isManifest() {
			continue
		}
		is := platform{}
		if d.Platform != nil {
			is = *d.Platform
		}
		if is.OS == "unknown" {
			continue // attestations: documents about an image
		}
		if d.Platform == nil && len(list) == 1 {
			return d, nil
		}
		have = append(have, fmt.Sprintf("%.40s", printable(is.String())))
		if n := p.suits(is); n > best {
			best, found = n, d
		}
	}
	if best > 0 {
		return found, nil
	}
	if len(have) == 0 {
		return found, corrupt("the index has no image")
	}
	if more := len(have) - maxListed; more > 0 {
		have = append(have[:maxListed], fmt.Sprintf("%d more", more))
	}
	return found, errdef.WithHint(fmt.Errorf("no image for %s; there is %s: %w", p, strings.Join(have, ", "), errdef.ErrNotFound),
		"choose one of them: --platform "+have[0])
}

// printable makes a text of an image fit to be shown.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
