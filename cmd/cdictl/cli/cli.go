// Package cli is the command line of cdictl: one file per command, flags and their other sources in flags.go and
// config.go, and here what every command shares. Commands parse and call; the work is in lib.
package cli

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Build says which build this is. Empty fields are filled from what the Go toolchain recorded.
type Build struct{ Version, Commit, Date string }

// app is what the commands share.
type app struct {
	build            Build
	in, out, talk    *os.File // talk is stderr
	name             string   // how the user calls us: "cdictl" or "kubectl cdi"
	config           string   // --config
	logFlags         logFlags
	log              atomic.Pointer[slog.Logger] // nil: stderr is for people
	memory           *governor
	defaultConfigDir func() (string, error)
}

// plugin is the name under which kubectl finds us.
const plugin = "kubectl-cdi"

// program is the name that the process was started by, without folder and extension.
func program(argv0 string) string {
	return strings.TrimSuffix(strings.ToLower(filepath.Base(argv0)), ".exe")
}

// root is the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "cdictl COMMAND",
		Short: "Read disk images from anywhere, write raw, sparse, verified disks",
		Long: `Reads a virtual machine disk image from a URL, a file or stdin, and writes a raw disk: sparse, exactly the virtual
size, and visible under its name only when it is complete and its checksum was found right.`,
		Example: `%[1]s import https://cloud.example/images/server.qcow2 disk.img --checksum-file https://cloud.example/images/SHA256SUMS
%[1]s info https://cloud.example/images/server.qcow2
xz -dc old.raw.xz | %[1]s import - disk.img --size 40Gi`,
		// Cobra prints neither errors nor usage: Main does, in one way for all.
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE:              unknownCommand,

		DisableFlagsInUseLine:      true,
		SuggestionsMinimumDistance: 2,
	}
	a.name = root.Name()
	if program(os.Args[0]) == plugin {
		root.Use, a.name = plugin+" COMMAND", "kubectl cdi"
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: a.name}
	}
	root.SetOut(a.out)
	root.SetErr(a.talk)
	root.SetIn(a.in)
	root.PersistentFlags().StringVar(&a.config, "config", "", "configuration `file` (default: cdictl/config.yaml in the user's configuration folder)")
	a.logFlags.register(root.PersistentFlags())
	root.SetHelpCommand(a.helpCommand())
	root.AddCommand(a.importCommand(), a.convertCommand(), a.pushCommand(), a.infoCommand(), a.mapCommand(), a.compareCommand(), a.resizeCommand(), a.sourcesCommand(), a.runJobCommand(), a.getCommand(), a.explainCommand(), a.installCommand(), a.uninstallCommand(), a.versionCommand(), a.completionCommand(), a.docsCommand())
	root.InitDefaultHelpCmd()
	a.dress(root)
	return root
}

// dress gives every command of the tree our help, our usage errors and the name that the user calls us by.
func (a *app) dress(c *cobra.Command) {
	c.Example = indent(strings.ReplaceAll(c.Example, "%[1]s", a.name))
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return usage(c, err) })
	c.SetHelpFunc(func(c *cobra.Command, _ []string) { a.help(c) })
	completeChoices(c)
	for _, sub := range c.Commands() {
		a.dress(sub)
	}
}

// terminal says whether f is one.
func terminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// columns is the width of the terminal f; 80 if it does not tell.
func columns(f *os.File) int {
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}
