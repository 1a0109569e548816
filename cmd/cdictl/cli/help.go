package cli

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type exitMeaning struct {
	code    int
	meaning string
}

// exitStatuses are the codes of package errdef in words; a test holds the two together.
var exitStatuses = []exitMeaning{
	{0, "done"},
	{1, "any other error"},
	{2, "wrong usage: arguments, flags, environment or configuration file"},
	{10, "source not found"},
	{11, "source wants (other) credentials"},
	{12, "image is corrupt, or of a kind that is not supported"},
	{13, "digest mismatch: the stored bytes are not the expected ones"},
	{14, "target too small: --size below the virtual size, or no space left"},
	{15, "a limit was exceeded (--max-…)"},
	{16, "scratch space is needed (--scratch)"},
	{17, "source changed while it was read"},
	{18, "target is busy"},
	{19, "target exists (--force)"},
	{20, "refused by policy: a redirect, a backing file outside its folder"},
	{21, "source unavailable: network or server errors, after retries"},
	{22, "timed out"},
	{130, "canceled by a signal; the hint says what is left"},
}

// configuration is said in every help: whoever looks for a flag wants to know how not to repeat it.
const configuration = `Every flag has an environment variable (--max-window: CDICTL_MAX_WINDOW) and a key of the same name in the
configuration file. A flag beats the environment, that beats the file, that beats the default.`

// A flagGroup is what help shows under one heading.
type flagGroup struct {
	title string
	flags *pflag.FlagSet
}

// The headings, in order. A flag is put under one by annotation; the others are plain flags.
const (
	groupKey      = "group"
	groupPlain    = "FLAGS"
	groupDV       = "DATAVOLUME FLAGS"
	groupCluster  = "CLUSTER FLAGS"
	groupHTTP     = "HTTP FLAGS"
	groupObjects  = "OBJECT STORE FLAGS"
	groupRegistry = "CONTAINER DISK FLAGS"
	groupLimits   = "LIMIT FLAGS"
)

// grouped sets the heading of all flags that register adds to fs.
func grouped(fs *pflag.FlagSet, group string, register func(*pflag.FlagSet)) {
	part := pflag.NewFlagSet("", pflag.ContinueOnError)
	register(part)
	part.VisitAll(func(f *pflag.Flag) {
		if f.Annotations == nil {
			f.Annotations = map[string][]string{}
		}
		f.Annotations[groupKey] = []string{group}
	})
	fs.AddFlagSet(part)
}

// flagGroups sorts c's flags, inherited ones included, under their headings.
func flagGroups(c *cobra.Command) []flagGroup {
	c.InitDefaultHelpFlag()
	var groups []flagGroup
	for _, title := range []string{groupPlain, groupDV, groupCluster, groupHTTP, groupObjects, groupRegistry, groupLimits} {
		g := flagGroup{title, pflag.NewFlagSet("", pflag.ContinueOnError)}
		add := func(f *pflag.Flag) {
			of := groupPlain
			if a := f.Annotations[groupKey]; len(a) > 0 {
				of = a[0]
			}
			if of == title && !f.Hidden && g.flags.Lookup(f.Name) == nil {
				g.flags.AddFlag(f)
			}
		}
		c.LocalFlags().VisitAll(add)
		c.InheritedFlags().VisitAll(add)
		if g.flags.HasFlags() {
			groups = append(groups, g)
		}
	}
	return groups
}

// A section is one heading of a command's help, and of its pages.
type section struct {
	title string
	text  string
	code  bool // shown as it is: commands, not prose
}

// sections is a command's help, wrapped at cols columns where that is possible (0: not wrapped).
func sections(c *cobra.Command, cols int) []section {
	s := []section{{"DESCRIPTION", description(c), false}, {"USAGE", "  " + c.UseLine(), true}}
	if c.HasExample() {
		s = append(s, section{"EXAMPLES", c.Example, true})
	}
	if c.HasAvailableSubCommands() {
		var b strings.Builder
		for _, sub := range c.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-12s %s\n", sub.Name(), sub.Short)
			}
		}
		s = append(s, section{"COMMANDS", strings.TrimRight(b.String(), "\n"), true})
	}
	for _, g := range flagGroups(c) {
		s = append(s, section{g.title, strings.TrimRight(g.flags.FlagUsagesWrapped(cols), "\n"), true})
	}
	return append(s,
		section{"CONFIGURATION", configuration, false},
		section{"EXIT STATUS", exitStatusText(c), true})
}

func description(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

// exitNote annotates a command that has exit statuses of its own, with a line "code meaning" for each.
const exitNote = "exit"

func exitStatusText(c *cobra.Command) string {
	all := slices.Clone(exitStatuses)
	for own := range strings.Lines(c.Annotations[exitNote]) {
		n, meaning, _ := strings.Cut(strings.TrimSuffix(own, "\n"), " ")
		code, err := strconv.Atoi(n)
		if err != nil {
			panic(err) // every command's help is tested
		}
		e := exitMeaning{code, meaning}
		at, found := slices.BinarySearchFunc(all, code, func(e exitMeaning, code int) int { return e.code - code })
		if found {
			all[at] = e
		} else {
			all = slices.Insert(all, at, e)
		}
	}
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "  %-4d %s\n", e.code, e.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// help prints c's help: on stdout, because it was asked for.
func (a *app) help(c *cobra.Command) {
	cols := min(columns(a.out), 120)
	for i, s := range sections(c, cols) {
		text := s.text
		switch {
		case i == 0:
			a.print(wrap(text, cols) + "\n")
			continue
		case !s.code:
			text = indent(wrap(text, cols-2))
		}
		a.print("\n" + s.title + "\n" + text + "\n")
	}
}

// helpCommand is "help [COMMAND]".
func (a *app) helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Show the help of a command",
		Args:  cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			of, rest, err := c.Root().Find(args)
			if err == nil && len(rest) > 0 {
				return unknownCommand(c.Root(), rest)
			}
			if err != nil {
				return usage(c, err)
			}
			return of.Help()
		},
	}
}

// print writes an answer. Its error is looked at where the answer is data (see answer); help is not.
func (a *app) print(s string) { _, _ = io.WriteString(a.out, s) }

// indent moves every line of s two columns in.
func indent(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	for i, l := range lines {
		if l != "" {
			lines[i] = "  " + l
		}
	}
	return strings.Join(lines, "\n")
}

// wrap breaks the paragraphs of s anew, at cols columns.
func wrap(s string, cols int) string {
	paragraphs := strings.Split(s, "\n\n")
	for i, p := range paragraphs {
		var b strings.Builder
		at := 0
		for _, word := range strings.Fields(p) {
			n := utf8.RuneCountInString(word)
			switch {
			case at == 0:
			case at+1+n > cols:
				b.WriteByte('\n')
				at = 0
			default:
				b.WriteByte(' ')
				at++
			}
			b.WriteString(word)
			at += n
		}
		paragraphs[i] = b.String()
	}
	return strings.Join(paragraphs, "\n\n")
}
