// Command image packs the agent's image, without docker and without root: one static program and the certificates of the
// web's authorities, on nothing. The same input gives the same bytes.
//
//	go run ./cmd/internal/image -name ghcr.io/cdictl/agent:v1 -out dist amd64=bin/amd64/agent arm64=bin/arm64/agent
//
// For each architecture it writes a docker-archive (for `docker load`, `ctr images import` and kind), and one OCI layout
// with all of them (for `crane push`, `skopeo copy` and ctr).
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// options of a build.
type options struct {
	name              name.Tag
	out               string
	created           time.Time
	version, revision string
	programs          map[string]string // by architecture
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil {
		err = build(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	fs := flag.NewFlagSet("image", flag.ContinueOnError)
	ref := fs.String("name", "", "repository:tag of the image")
	created := fs.String("created", "", "RFC 3339 time of the image; that of the commit")
	fs.StringVar(&o.out, "out", "dist", "folder for the archives")
	fs.StringVar(&o.version, "version", "", "version, for a label")
	fs.StringVar(&o.revision, "revision", "", "commit, for a label")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	var err error
	if o.name, err = name.NewTag(*ref, name.StrictValidation); err != nil {
		return o, fmt.Errorf("-name: %w", err)
	}
	if *created != "" {
		if o.created, err = time.Parse(time.RFC3339, *created); err != nil {
			return o, fmt.Errorf("-created: %w", err)
		}
	}
	o.programs = map[string]string{}
	for _, arg := range fs.Args() {
		arch, path, ok := strings.Cut(arg, "=")
		if !ok || o.programs[arch] != "" {
			return o, fmt.Errorf("%q is not ARCHITECTURE=PROGRAM, each once", arg)
		}
		o.programs[arch] = path
	}
	if len(o.programs) == 0 {
		return o, fmt.Errorf("no program is given: ARCHITECTURE=PROGRAM")
	}
	return o, nil
}

func build(o options) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	images := map[string]v1.Image{}
	for arch, path := range o.programs {
		program, err := readProgram(path, arch)
		if err != nil {
			return err
		}
		if images[arch], err = pack(o, arch, program); err != nil {
			return err
		}
		out := filepath.Join(o.out, "cdictl-agent_linux_"+arch+".tar")
		if err := tarball.WriteToFile(out, o.name, images[arch]); err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
		fmt.Println(out)
	}
	out := filepath.Join(o.out, "cdictl-agent_oci.tar")
	if err := writeLayout(out, o, images); err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	fmt.Println(out)
	return nil
}
