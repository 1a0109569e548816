package registrysource

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/cdictl/cdictl/lib/errdef"
)

// config is what is of interest of an image's configuration.
type config struct {
	platform
	Config struct {
		Env    []string          `json:"Env"`
		Labels map[string]string `json:"Labels"`
	} `json:"config"`
	RootFS struct {
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
}

func parseConfig(b []byte) (config, error) {
	var c config
	if err := json.Unmarshal(b, &c); err != nil {
		return c, corrupt("the configuration is no JSON of one: %v", shortly(err))
	}
	return c, nil
}

// bootable are labels of images that hold an operating system's files, from which a machine is installed: there is no disk.
var bootable = []string{"containers.bootc", "ostree.bootable"}

// check refuses images that cannot be read, by what the manifest and the configuration say.
func (m *image) check(s *Source) error {
	for _, name := range bootable {
		switch v := m.config.Config.Labels[name]; strings.ToLower(v) {
		case "", "0", "false":
		default:
			return errdef.WithHint(fmt.Errorf("it is a bootable container image (label %s=%.20s), which holds an operating system's files and no disk: %w",
				name, printable(v), errdef.ErrUnsupported), "make a disk of it with bootc-image-builder and import that")
		}
	}
	// Which architecture a disk is for is not seen in the image that carries it, so what nobody asked for is not refused.
	is := m.config.platform
	if is.Variant == "" {
		is.Variant = s.platform.Variant // many leave it out
	}
	if s.o.Platform != "" && is.OS != "" && is.Architecture != "" && s.platform.suits(is) == 0 {
		return errdef.WithHint(fmt.Errorf("no image for %s; the only one is for %.60s: %w", s.platform, printable(is.String()), errdef.ErrNotFound),
			"leave out --platform to take it as it is")
	}
	if len(m.layers) == 0 {
		return fmt.Errorf("the image has no layers: %w", errdef.ErrNotFound)
	}
	return nil
}

const (
	maxLabels = 64
	kubevirt  = "KUBEVIRT_IO_"
)

var (
	labelName  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	labelHost  = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$`)
	labelValue = regexp.MustCompile(`^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$`)
)

// labels are the image's environment as far as it means KubeVirt: INSTANCETYPE_KUBEVIRT_IO_DEFAULT_PREFERENCE=x is label
// instancetype.kubevirt.io/default-preference. What Kubernetes would not take as a label is left out.
func (c config) labels() map[string]string {
	var l map[string]string
	for _, e := range c.Config.Env {
		k, v, ok := strings.Cut(e, "=")
		host, name, found := strings.Cut(k, kubevirt)
		if !ok || !found || len(l) == maxLabels {
			continue
		}
		host = strings.ReplaceAll(strings.ToLower(host), "_", ".") + "kubevirt.io"
		name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
		if !labelHost.MatchString(host) || !labelName.MatchString(name) || !labelValue.MatchString(v) {
			continue
		}
		if l == nil {
			l = map[string]string{}
		}
		l[host+"/"+name] = v
	}
	return l
}
