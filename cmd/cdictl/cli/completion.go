package cli

import (
	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	c := &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print a completion script for bash, zsh, fish or powershell",
		Long: `Prints a script that makes a shell complete commands, flags and their values. SHELL is bash, zsh, fish or powershell.

bash needs the package bash-completion, zsh a line "autoload -U compinit; compinit" in ~/.zshrc. A new shell knows the
completion. For the plugin, kubectl asks a program named kubectl_complete-cdi: let it run kubectl-cdi __complete "$@".`,
		Example: `%[1]s completion bash > ~/.local/share/bash-completion/completions/cdictl
%[1]s completion zsh > "${fpath[1]}/_cdictl"
%[1]s completion fish > ~/.config/fish/completions/cdictl.fish
%[1]s completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: shells,
		Args:      arguments("SHELL"),
	}
	return a.command(c, func(c *cobra.Command, args []string) error {
		root := c.Root()
		switch args[0] {
		case "bash":
			return root.GenBashCompletionV2(a.out, true)
		case "zsh":
			return root.GenZshCompletion(a.out)
		case "fish":
			return root.GenFishCompletion(a.out, true)
		case "powershell":
			return root.GenPowerShellCompletionWithDesc(a.out)
		}
		return usage(c, usagef("no completion for %q: it must be one of bash, zsh, fish, powershell", args[0]))
	})
}
