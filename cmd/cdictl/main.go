// Command cdictl reads virtual machine disk images from anywhere and writes raw, sparse, verified disks.
// Under the name kubectl-cdi the same commands are a kubectl plugin.
package main

import (
	"os"

	"github.com/cdictl/cdictl/cmd/cdictl/cli"
)

// Set by the linker for releases (-X main.version=…); what the Go toolchain recorded is used otherwise.
var version, commit, date string

func main() {
	os.Exit(cli.Main(cli.Build{Version: version, Commit: commit, Date: date}))
}
