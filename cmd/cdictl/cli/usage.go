package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cdictl/cdictl/lib/errdef"
)

// usage marks err as a mistake in how c was called, and says where to look it up unless err knows better.
func usage(c *cobra.Command, err error) error {
	if h := errdef.Hint(err); h != "" && h != errdef.Classify(err).Hint {
		return usageError{err}
	}
	return errdef.WithHint(usageError{err}, "see: "+c.CommandPath()+" --help")
}

// usagef is a mistake in what a flag or an argument says.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// usageError is an error that errors.Is errdef.ErrUsage without a word more in its text.
type usageError struct{ error }

func (e usageError) Unwrap() []error { return []error{e.error, errdef.ErrUsage} }

// arguments demands exactly the named arguments.
func arguments(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usage(c, fmt.Errorf("%s needs %s: %s is missing", c.Name(), strings.Join(names, " and "), names[len(args)]))
		case len(args) > len(names):
			return usage(c, fmt.Errorf("%s takes %d arguments, %q is one too many", c.Name(), len(names), args[len(names)]))
		}
		for i, arg := range args {
			if arg == "" {
				return usage(c, fmt.Errorf("%s is empty", names[i]))
			}
		}
		return nil
	}
}

// unknownCommand is what the root runs: help if nothing was asked, else an error.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return c.Help()
	}
	err := usage(c, fmt.Errorf("unknown command %q", args[0]))
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		err = errdef.WithHint(err, "did you mean: "+c.CommandPath()+" "+near[0])
	}
	return err
}
