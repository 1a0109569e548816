package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

// A page is one file of generated documentation.
type page struct{ path, text string }

// docsCommand writes Markdown and manual pages. They come from the same sections as --help; cobra's own generator
// would add three modules for what takes a page of code here.
func (a *app) docsCommand() *cobra.Command {
	var format choice
	c := &cobra.Command{
		Use:     "docs DIR [flags]",
		Short:   "Write the reference as Markdown and manual pages",
		Long:    "Writes a Markdown file and a manual page (in DIR/man1) for every command.",
		Example: "%[1]s docs --format man /usr/local/share/man",
		Hidden:  true,
		Args:    arguments("DIR"),
	}
	choose(c.Flags(), &format, "format", "", "what to write", "all", "markdown", "man")
	return a.command(c, func(c *cobra.Command, args []string) error {
		var pages []page
		for _, cmd := range visible(c.Root()) {
			if format.value != "man" {
				pages = append(pages, page{pageName(cmd, "_") + ".md", markdown(cmd)})
			}
			if format.value != "markdown" {
				pages = append(pages, page{filepath.Join("man1", pageName(cmd, "-")+".1"), manual(cmd)})
			}
		}
		return writePages(args[0], pages)
	})
}

func writePages(dir string, pages []page) error {
	for _, p := range pages {
		path := filepath.Join(dir, p.path)
		err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(p.text), 0o644))
		if err != nil {
			return err
		}
	}
	return nil
}

// visible are c and all commands below it that help shows.
func visible(c *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{c}
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			all = append(all, visible(sub)...)
		}
	}
	return all
}

func pageName(c *cobra.Command, sep string) string {
	return strings.ReplaceAll(strings.ReplaceAll(c.CommandPath(), "-", sep), " ", sep)
}

// markdown is c's page for docs/cli.
func markdown(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n", c.CommandPath(), c.Short)
	for _, s := range sections(c, 0) {
		if s.title == "DESCRIPTION" && s.text == c.Short+"." {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n", heading(s.title))
		if s.code {
			fmt.Fprintf(&b, "```\n%s\n```\n", dedent(s.text))
		} else {
			fmt.Fprintf(&b, "%s\n", s.text)
		}
	}
	if c.HasParent() {
		fmt.Fprintf(&b, "\nSee also: [%s](%s.md)\n", c.Parent().CommandPath(), pageName(c.Parent(), "_"))
	} else {
		b.WriteString("\nSee also:")
		for _, sub := range visible(c)[1:] {
			fmt.Fprintf(&b, " [%s](%s.md)", sub.CommandPath(), pageName(sub, "_"))
		}
		b.WriteString("\n")
	}
	return b.String()
}

func heading(title string) string {
	title = strings.NewReplacer("http", "HTTP", "datavolume", "DataVolume").Replace(strings.ToLower(title))
	return strings.ToUpper(title[:1]) + title[1:]
}

// dedent takes the indentation of help away.
func dedent(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(strings.TrimPrefix(l, "  "), " ")
	}
	return strings.Join(lines, "\n")
}

// manual is c's page for man, in the man macros that every troff has.
func manual(c *cobra.Command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH %q 1 \"\" cdictl \"cdictl manual\"\n", strings.ToUpper(pageName(c, "-")))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", troff(pageName(c, "-")), troff(c.Short))
	for _, s := range sections(c, 0) {
		title := s.title
		if title == "USAGE" {
			title = "SYNOPSIS"
		}
		fmt.Fprintf(&b, ".SH %s\n", title)
		if s.code {
			fmt.Fprintf(&b, ".nf\n%s\n.fi\n", troff(dedent(s.text)))
		} else {
			fmt.Fprintf(&b, "%s\n", strings.ReplaceAll(troff(s.text), "\n\n", "\n.PP\n"))
		}
	}
	b.WriteString(".SH SEE ALSO\n")
	if c.HasParent() {
		fmt.Fprintf(&b, ".BR %s (1)\n", troff(pageName(c.Parent(), "-")))
	}
	for _, sub := range visible(c)[1:] {
		fmt.Fprintf(&b, ".BR %s (1)\n", troff(pageName(sub, "-")))
	}
	return b.String()
}

// troff escapes what troff would take for its own: backslashes, dashes, and a dot or quote at the start of a line.
func troff(s string) string {
	lines := strings.Split(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
