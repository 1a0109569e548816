//go:build linux

package main

import (
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/cdictl/cdictl/test/internal/images"
)

// contest is one image by one way; its first contestant is ours.
type contest struct {
	name        string
	input       string
	out         string
	gated       bool // the ratio to qemu-img at its best counts for -max-wall
	contestants []contestant
}

type contestant struct {
	name string
	args []string
}

// best names qemu-img with the options that make it fastest here.
const best = "qemu-img -m 16 -W -t none"

// shell is a pipeline whose parts have to succeed, all of them. IN, URL and OUT are put in, quoted.
func shell(name, script string) contestant {
	return contestant{name, []string{"bash", "-c", "set -e -o pipefail; " + script}}
}

const sparse = "dd of=OUT bs=1M iflag=fullblock conv=sparse status=none && truncate -s SIZE OUT"

// contests lists the cases for the peers that are installed.
func contests(bin string, im *corpus, url, out string) []contest {
	ours := contestant{"cdictl", []string{bin, "import", "IN", "OUT", "--progress", "none"}}
	oursSum := contestant{"cdictl --checksum", append(append([]string{}, ours.args...), "--checksum", "sha256:SUM")}
	oursHTTP := contestant{"cdictl", []string{bin, "import", "URL", "OUT", "--progress", "none"}}
	oursHTTPSum := contestant{"cdictl --checksum", append(append([]string{}, oursHTTP.args...), "--checksum", "sha256:SUM")}
	qemuBest := shell(best, "qemu-img convert -m 16 -W -t none -f qcow2 -O raw IN OUT")
	var list []contest
	for _, kind := range []string{"plain", "zlib", "zstd"} {
		list = append(list, contest{name: "file, qcow2 " + kind, input: kind + ".qcow2", gated: true, contestants: []contestant{
			ours, qemuBest, shell("qemu-img default", "qemu-img convert -f qcow2 -O raw IN OUT"),
			shell("nbdcopy + qemu-nbd", "nbdcopy -- [ qemu-nbd -r -f qcow2 IN ] OUT"),
		}}, contest{name: "file, qcow2 " + kind + ", checksum", input: kind + ".qcow2", contestants: []contestant{
			oursSum, shell("sha256sum, "+best, "sha256sum IN >/dev/null; "+strings.TrimPrefix(qemuBest.args[2], "set -e -o pipefail; ")),
		}})
	}
	list = append(list,
		contest{name: "file, raw", input: "disk.raw", contestants: []contestant{
			ours, shell("cp --sparse=always", "cp --reflink=never --sparse=always IN OUT"),
			shell(best, "qemu-img convert -m 16 -W -t none -f raw -O raw IN OUT"),
		}},
		contest{name: "file, raw.gz", input: "disk.raw.gz", contestants: []contestant{
			ours, shell("gzip | dd sparse", "gzip -dc IN | "+sparse), shell("pigz | dd sparse", "pigz -dc IN | "+sparse),
		}},
		contest{name: "file, raw.zst", input: "disk.raw.zst", contestants: []contestant{
			ours, shell("zstd -d --sparse", "zstd -q -d -f --sparse IN -o OUT"),
		}},
		contest{name: "file, raw.xz", input: "disk.raw.xz", contestants: []contestant{
			ours, shell("xz -T0 | dd sparse", "xz -T0 -dc IN | "+sparse),
		}},
	)
	if url != "" {
		for _, kind := range []string{"plain", "zlib", "zstd"} {
			list = append(list, contest{name: "http, qcow2 " + kind, input: kind + ".qcow2", contestants: []contestant{
				oursHTTP, shell("curl, "+best, "curl -sSf -o OUT.tmp URL; qemu-img convert -m 16 -W -t none -f qcow2 -O raw OUT.tmp OUT; rm OUT.tmp"),
			}}, contest{name: "http, qcow2 " + kind + ", checksum", input: kind + ".qcow2", contestants: []contestant{
				oursHTTPSum, shell("curl, sha256sum, "+best,
					"curl -sSf -o OUT.tmp URL; sha256sum OUT.tmp >/dev/null; qemu-img convert -m 16 -W -t none -f qcow2 -O raw OUT.tmp OUT; rm OUT.tmp"),
			}})
		}
		list = append(list,
			contest{name: "http, raw", input: "disk.raw", contestants: []contestant{oursHTTP, shell("curl | dd sparse", "curl -sSf URL | "+sparse)}},
			contest{name: "http, raw.gz", input: "disk.raw.gz", contestants: []contestant{
				oursHTTP, shell("curl | gzip | dd sparse", "curl -sSf URL | gzip -dc | "+sparse),
				shell("curl | pigz | dd sparse", "curl -sSf URL | pigz -dc | "+sparse),
			}},
			contest{name: "http, raw.gz, checksum", input: "disk.raw.gz", contestants: []contestant{
				oursHTTPSum, shell("curl | tee (sha256sum) | gzip | dd sparse",
					"mkfifo OUT.fifo; sha256sum OUT.fifo >/dev/null & curl -sSf URL | tee OUT.fifo | gzip -dc | "+sparse+"; wait $!; rm OUT.fifo"),
			}},
			contest{name: "http, raw.zst", input: "disk.raw.zst", contestants: []contestant{
				oursHTTP, shell("curl | zstd -d --sparse", "curl -sSf URL | zstd -q -d -f --sparse -o OUT"),
			}},
			contest{name: "http, raw.xz", input: "disk.raw.xz", contestants: []contestant{
				oursHTTP, shell("curl | xz -T0 | dd sparse", "curl -sSf URL | xz -T0 -dc | "+sparse),
			}},
		)
	}
	for i := range list {
		list[i].fill(im, url, out)
	}
	return list
}

// fill puts names into the commands and leaves out the peers that are not installed.
func (c *contest) fill(im *corpus, url, out string) {
	c.out, c.input = out, im.path(c.input)
	plain := strings.NewReplacer("IN", c.input, "URL", url+"/"+filepath.Base(c.input), "OUT", out)
	quoted := strings.NewReplacer("IN", quote(c.input), "URL", quote(url+"/"+filepath.Base(c.input)),
		"OUT.tmp", quote(out+".tmp"), "OUT.fifo", quote(out+".fifo"), "OUT", quote(out), "SIZE", "$(stat -c %s "+quote(im.path("disk.raw"))+")")
	var present []contestant
	for _, p := range c.contestants {
		if len(missing(p)) > 0 {
			continue
		}
		args := make([]string, len(p.args))
		for i, a := range p.args {
			if p.args[0] == "bash" {
				args[i] = quoted.Replace(a)
			} else {
				args[i] = plain.Replace(a)
			}
		}
		present = append(present, contestant{p.name, args})
	}
	c.contestants = present
}

// missing are the peers' programs that a contestant calls and the machine lacks.
func missing(p contestant) (absent []string) {
	if p.args[0] != "bash" {
		return nil
	}
	for _, tool := range []string{"qemu-img", "qemu-nbd", "nbdcopy", "curl", "gzip", "pigz", "zstd", "xz", "tee", "sha256sum"} {
		if !strings.Contains(p.args[2], tool+" ") {
			continue
		}
		if _, err := exec.LookPath(tool); err != nil {
			absent = append(absent, tool)
		}
	}
	return absent
}

// withSum puts the input's digest where an argument asks for it.
func (c *contest) withSum() error {
	for _, p := range c.contestants {
		for i, a := range p.args {
			if !strings.HasSuffix(a, ":SUM") {
				continue
			}
			sum, err := images.SHA256(c.input)
			if err != nil {
				return err
			}
			p.args[i] = strings.TrimSuffix(a, "SUM") + sum
		}
	}
	return nil
}
