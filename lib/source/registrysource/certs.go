package registrysource

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cdictl/cdictl/lib/source/httpsource"
)

// certificates adds what the first of dirs that has a registry says about it. A client certificate that the user has named
// himself stays.
func certificates(dirs []string, host string, o *httpsource.Options) error {
	for _, dir := range dirs {
		dir = filepath.Join(dir, host)
		files, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // it is for somebody else
		}
		if err != nil {
			return usage("certificates: %w", err)
		}
		for _, f := range files {
			path := filepath.Join(dir, f.Name())
			switch filepath.Ext(path) {
			case ".crt":
				b, err := readLocal(path)
				if err != nil {
					return usage("certificates: %w", err)
				}
				o.CAs = slices.Concat(o.CAs, []byte("\n"), b)
			case ".cert":
				if o.CertFile == "" {
					o.CertFile, o.KeyFile = path, strings.TrimSuffix(path, ".cert")+".key"
				}
			}
		}
		return nil
	}
	return nil
}
