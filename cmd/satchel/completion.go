package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/satchel-mail/satchel/internal/config"
)

func newCompletion(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "completion {bash | zsh | fish | powershell}",
		Short: "Print a script that completes satchel's commands in a shell",
		Long:  "Prints a script that lets a shell complete commands, flags and account names.",
		Example: `  source <(satchel completion bash)                     in ~/.bashrc
  satchel completion zsh > "${fpath[1]}/_satchel"       once
  satchel completion fish | source                      in config.fish
  satchel completion powershell | Out-String | Invoke-Expression`,
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	}
	cmd.Args = func(_ *cobra.Command, args []string) error {
		if len(args) != 1 || !slices.Contains(cmd.ValidArgs, args[0]) {
			return fmt.Errorf("completion takes the name of one shell: %s", list(cmd.ValidArgs, "or"))
		}
		return nil
	}
	cmd.RunE = a.runs(func(_ context.Context, args []string) error {
		var script bytes.Buffer
		if err := generate(cmd.Root(), args[0], &script); err != nil {
			return err
		}
		a.ui.raw(script.String())
		return nil
	})
	return cmd
}

func generate(root *cobra.Command, shell string, script *bytes.Buffer) error {
	const descriptions = true
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(script, descriptions)
	case "zsh":
		return root.GenZshCompletion(script)
	case "fish":
		return root.GenFishCompletion(script, descriptions)
	default:
		return root.GenPowerShellCompletionWithDesc(script)
	}
}

// completeAccounts offers the accounts that the configuration has.
func (a *app) completeAccounts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	path := a.configPath
	if path == "" {
		path = config.DefaultPath(a.env)
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, acc := range cfg.Accounts {
		if !slices.Contains(args, acc.Name) {
			names = append(names, acc.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
