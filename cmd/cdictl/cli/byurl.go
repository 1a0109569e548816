package cli

import (
	"os"

	"github.com/cdictl/cdictl/lib/errdef"
	"github.com/cdictl/cdictl/lib/source/byurl"
)

// byURL are the options of every kind of source by the flags. stdin is a password, or an image.
func (h *httpFlags) byURL(stdin *os.File) (byurl.Options, error) {
	o := byurl.Options{Stdin: stdin, Registry: h.registry.options()}
	var err error
	if o.HTTP, err = h.options(); err != nil {
		return o, err
	}
	if o.S3, o.GCS, err = h.objects.options(); err != nil || !h.registry.passwordStdin {
		return o, err
	}
	switch {
	case h.username == "":
		return o, usagef("--password-stdin needs --username")
	case h.passwordFile != "":
		return o, usagef("--password-stdin and --password-file exclude each other")
	case terminal(stdin):
		return o, errdef.WithHint(usagef("stdin is a terminal, where the password would be seen"), "give it in a file: --password-file FILE")
	}
	o.Stdin = nil
	o.HTTP.Password, err = password(stdin)
	return o, err
}
