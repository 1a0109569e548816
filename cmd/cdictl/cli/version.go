package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// version is what the version command tells. Its JSON names are stable.
type version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Date     string `json:"date,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (v version) String() string {
	s := "cdictl " + v.Version
	if v.Commit != "" {
		s += " (" + v.Commit + ")"
	}
	return fmt.Sprintf("%s %s %s", s, v.Go, v.Platform)
}

// describe fills what the linker did not set from what the toolchain recorded.
func (b Build) describe() version {
	v := version{b.Version, b.Commit, b.Date, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	first := func(p *string, value string) {
		if *p == "" {
			*p = value
		}
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			first(&v.Commit, s.Value)
		case "vcs.time":
			first(&v.Date, s.Value)
		}
	}
	first(&v.Version, info.Main.Version)
	if v.Version == "" || v.Version == "(devel)" {
		v.Version = "devel"
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	var out choice
	c := &cobra.Command{
		Use:     "version [flags]",
		Short:   "Tell the version",
		Long:    "Tells the version, the commit and the Go toolchain of this program.",
		Example: "%[1]s version\n%[1]s version -o json",
		Args:    arguments(),
	}
	choose(c.Flags(), &out, "output", "o", "how to tell the version", "text", "json")
	return a.command(c, func(*cobra.Command, []string) error {
		return answer(a.out, out.value == "json", a.build.describe())
	})
}
