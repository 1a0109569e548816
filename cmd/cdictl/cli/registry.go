package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/lib/source/registrysource"
)

// registryFlags say which container disk to read, and who asks for it.
type registryFlags struct {
	authFile      string
	passwordStdin bool
	platform      string
	path          string
	policy        string
}

func (r *registryFlags) register(to *pflag.FlagSet) {
	grouped(to, groupRegistry, func(fs *pflag.FlagSet) {
		fs.StringVar(&r.path, "path", "", "the disk's `path` in the image (default: the one file below /disk/)")
		fs.StringVar(&r.platform, "platform", "", "the image of `os/arch[/variant]` (default: linux on this machine's architecture)")
		fs.StringVar(&r.authFile, "authfile", "", "`file` of credentials, as podman login and docker login write it (default: theirs)")
		fs.StringVar(&r.policy, "policy", "", "`file` of a signature policy (containers-policy.json) that the image must meet (default: none is asked)")
		fs.BoolVar(&r.passwordStdin, "password-stdin", false, "read the password of --username from stdin")
	})
	notFromConfig(to, "password-stdin")
}

// options are those of a container disk by the flags.
func (r *registryFlags) options() registrysource.Options {
	return registrysource.Options{AuthFile: r.authFile, Platform: r.platform, Path: r.path, Policy: r.policy,
		RegistriesConf: os.Getenv("CONTAINERS_REGISTRIES_CONF"), CertsDirs: certsDirs()}
}

// certsDirs are where podman and docker look for a registry's certificates.
func certsDirs() []string {
	dirs := []string{"/etc/containers/certs.d", "/etc/docker/certs.d"}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append([]string{filepath.Join(home, ".config", "containers", "certs.d")}, dirs...)
	}
	return dirs
}

// password is all of stdin but the line break at its end.
func password(stdin io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(stdin, maxSecret+1))
	switch {
	case err != nil:
		return "", usagef("--password-stdin: %w", err)
	case len(b) > maxSecret:
		return "", usagef("--password-stdin: the password is longer than %d bytes", maxSecret)
	}
	text := strings.TrimRight(string(b), "\r\n")
	if text == "" {
		return "", usagef("--password-stdin: stdin is empty")
	}
	return text, nil
}
