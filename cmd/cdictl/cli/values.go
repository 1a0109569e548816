package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cdictl/cdictl/lib/resize"
)

// size is a flag's value in bytes, written as 10Gi, 512M or plain bytes. At 0 the default of lib stands.
type size int64

func (s *size) Set(text string) error {
	n, err := resize.ParseSize(text)
	if err != nil {
		return err
	}
	*s = size(n)
	return nil
}

func (s *size) String() string {
	if *s == 0 {
		return ""
	}
	return resize.FormatSize(int64(*s))
}

func (*size) Type() string { return "size" }

// diskSize is a size that can be left to the image: auto, which is 0.
type diskSize int64

// Set implements pflag.Value.
func (s *diskSize) Set(text string) error {
	if text == "auto" {
		*s = 0
		return nil
	}
	return (*size)(s).Set(text)
}

func (s *diskSize) String() string { return (*size)(s).String() }

// Type is what help shows as the value.
func (*diskSize) Type() string { return "size" }

// choice is a flag's value out of a few.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) Set(text string) error {
	if !slices.Contains(c.allowed, text) {
		return fmt.Errorf("must be one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = text
	return nil
}

func (c *choice) String() string { return c.value }

// Type is what help shows as the value.
func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

// choose adds a choice flag; the first allowed value is the default.
func choose(fs *pflag.FlagSet, c *choice, name, short, usage string, allowed ...string) {
	*c = choice{allowed[0], allowed}
	fs.VarP(c, name, short, usage)
}

// completeChoices makes shells offer what a choice flag of c allows.
func completeChoices(c *cobra.Command) {
	offer := func(f *pflag.Flag) {
		if v, ok := f.Value.(*choice); ok {
			// Its errors are a flag that does not exist and one that is registered twice.
			_ = c.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(v.allowed, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	c.Flags().VisitAll(offer)
	c.PersistentFlags().VisitAll(offer)
}
