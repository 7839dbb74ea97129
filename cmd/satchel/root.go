package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/satchel-mail/satchel/internal/config"
)

// app is what all commands share.
type app struct {
	ui  *ui
	env func(string) string

	// The flags on every command.
	configPath string
	verbose    int
}

func newApp(s streams) *app {
	return &app{ui: newUI(s.out, s.err, s.env), env: s.env}
}

// on returns an app with the same secrets that prints elsewhere.
func (a *app) on(out, err io.Writer) *app {
	b := newApp(streams{out, err, a.env})
	b.ui.secrets = a.ui.secrets
	b.ui.msg.filter = a.ui.secrets.text
	return b
}

func newRoot(a *app) *cobra.Command {
	var version bool
	root := &cobra.Command{
		Use:   "satchel",
		Short: "Keep a mail account and a Maildir the same, in both directions",
		Long: `Satchel keeps a mail account and a Maildir the same, in both directions: new
messages, flags, keywords, moves, deletions and folders.

See it at work, without any configuration:   satchel demo
Then write a configuration (see README.md):  ~/.config/satchel/config.toml
Look whether it works:                       satchel check
Synchronise:                                 satchel sync
Stay, and synchronise whatever changes:      satchel watch

The configuration is looked for at $SATCHEL_CONFIG, else at
$XDG_CONFIG_HOME/satchel/config.toml, else at ~/.config/satchel/config.toml.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			if version {
				return a.runs(a.version)(cmd, args)
			}
			return errors.New("name a command; these are the usual ones: check, sync, status; \"satchel help\" lists all")
		},
	}
	root.SuggestionsMinimumDistance = 2
	root.SetOut(a.ui.out)
	root.SetErr(a.ui.msg)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; \"%s --help\" shows what there is", err, cmd.CommandPath())
	})
	f := root.PersistentFlags()
	f.StringVarP(&a.configPath, "config", "c", "", "read the configuration from `FILE`")
	f.BoolVar(&a.ui.json, "json", false, "print one JSON object per line, and messages to stderr")
	f.BoolVarP(&a.ui.quiet, "quiet", "q", false, "print nothing but errors and held-back deletions,\nand JSON if asked for")
	f.CountVarP(&a.verbose, "verbose", "v", "say what is done; -vv shows the protocol, redacted")
	root.Flags().BoolVar(&version, "version", false, "print the version, as \"satchel version\" does")
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(newHelp())
	root.AddCommand(newSync(a), newWatch(a), newStatus(a), newCheck(a), newVerify(a), newUndo(a), newDemo(a), newVersion(a), newCompletion(a))
	return root
}

// newHelp is cobra's own help command, but that an unknown topic is an error.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			if len(args) == 0 {
				return root.Help()
			}
			topic, rest, err := root.Find(args)
			if err != nil || topic == root || len(rest) > 0 {
				return unknownCommand(root, args[0])
			}
			topic.InitDefaultHelpFlag() // cobra adds it to commands that run
			return topic.Help()
		},
	}
}

func unknownCommand(root *cobra.Command, name string) error {
	hint := "\"satchel help\" lists the commands"
	if like := root.SuggestionsFor(name); len(like) > 0 {
		hint = fmt.Sprintf("did you mean %q?", strings.Join(like, `" or "`))
	}
	return fmt.Errorf("there is no command %q; %s", name, hint)
}

// runs makes of a command's work what cobra calls.
func (a *app) runs(work func(ctx context.Context, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := work(cmd.Context(), args); err != nil {
			return &ranError{err}
		}
		return nil
	}
}

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q takes no arguments, but got %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// finish says what went wrong, if nobody said it yet, and gives the exit code.
func (a *app) finish(err error) int {
	code := exitUsage
	var ran *ranError
	if err == nil || errors.As(err, &ran) {
		code = exitOf(err)
	}
	if said := (*reported)(nil); err != nil && !errors.As(err, &said) {
		a.ui.fail("%v", err)
	}
	if err := a.ui.writeErr(); err != nil {
		a.ui.fail("writing the output: %v", err)
		code = first(code, exitFailed)
	}
	return code
}

// itself is how the person calls the program, for commands that they are told to give.
func (a *app) itself() string {
	if a.configPath == "" {
		return "satchel"
	}
	return "satchel -c " + shellWord(a.configPath)
}

// shellWord spells s as one word for a shell.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+:@", r)
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}

// loadConfig reads the configuration.
func (a *app) loadConfig() (*config.Config, error) {
	path := a.configPath
	if path == "" {
		path = config.DefaultPath(a.env)
	}
	cfg, err := config.Load(path)
	if err != nil {
		return nil, &usageError{err}
	}
	return cfg, nil
}
