package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// A sourceKind is one kind of thing that bytes come from. Its JSON names are stable.
type sourceKind struct {
	Name    string `json:"name"`    // how it is written
	What    string `json:"what"`    // what that is
	Example string `json:"example"` // a command that works
	Page    string `json:"page"`    // below docs/sources
}

// sourceKinds are all that byurl knows, in the order in which people want them. CI runs each example.
var sourceKinds = []sourceKind{
	{"https://HOST/PATH", "an image on a web server; also http://", "cdictl import https://images.example/debian-13.qcow2 disk.img", "http.md"},
	{"PATH", "a file or a pipe here; also file:///PATH", "cdictl import debian-13.qcow2 disk.img", "files.md"},
	{"FOLDER", "a mounted volume: a folder that holds disk.img; or a block device", "cdictl import ./volume/ disk.img", "files.md"},
	{"-", "standard input", "xz -dc disk.raw.xz | cdictl import - disk.img", "files.md"},
	{"docker://HOST/REPOSITORY:TAG", "the disk in a container image of a registry", "cdictl import docker://registry.example/vms/debian:13 disk.img", "registry.md"},
	{"oci:FOLDER:TAG", "the same in an OCI layout; also oci-archive:FILE, docker-archive:FILE", "cdictl import oci:./layout:v1 disk.img", "registry.md"},
	{"s3://BUCKET/KEY", "an object of S3; also s3+https://ENDPOINT/BUCKET/KEY", "cdictl import s3://images/debian-13.qcow2 disk.img", "s3.md"},
	{"gs://BUCKET/OBJECT", "an object of Google Cloud Storage", "cdictl import gs://images/debian-13.qcow2 disk.img", "gcs.md"},
	{"blank:", "an empty disk", "cdictl import blank: disk.img --size 10Gi", "blank.md"},
	{"any of them, a tar", "an archive, into a folder", "cdictl import --content archive rootfs.tar.xz rootfs --skip-devices", "archives.md"},
}

// sourceList is the answer of the sources command.
type sourceList []sourceKind

func (l sourceList) String() string {
	var b strings.Builder
	for i, k := range l {
		if i > 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "%s\n  %s: docs/sources/%s\n  %s\n", k.Name, k.What, k.Page, k.Example)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (a *app) sourcesCommand() *cobra.Command {
	var out choice
	c := &cobra.Command{
		Use:     "sources [flags]",
		Short:   "List the kinds of sources, with an example of each",
		Long:    "Lists what an image, or an archive, can come from: how each kind of source is written, what that means, and a command as an example.",
		Example: "%[1]s sources\n%[1]s sources -o json",
		Args:    arguments(),
	}
	choose(c.Flags(), &out, "output", "o", "how to tell them", "text", "json")
	return a.command(c, func(*cobra.Command, []string) error {
		l := make(sourceList, len(sourceKinds))
		for i, k := range sourceKinds {
			k.Example = strings.Replace(k.Example, "cdictl", a.name, 1)
			l[i] = k
		}
		return answer(a.out, out.value == "json", l)
	})
}
