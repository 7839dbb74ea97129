package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/config"
	"github.com/satchel-mail/satchel/internal/demo"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	mailsync "github.com/satchel-mail/satchel/sync"
)

func newDemo(a *app) *cobra.Command {
	var keep bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a two-way sync, with a mail server and a Maildir made for it",
		Long: `Starts a mail server inside this program, with sample mail, on a port of this
machine only, and synchronises it with a Maildir in a temporary directory. Then
on each side a flag changes, a message arrives, one is moved and one deleted,
with a sync after each. At the end every message is compared on both sides.

It needs no configuration, touches none of your mail, and takes a second.` +
			exitHelp("both sides are as they should be", "they are not, or the demonstration could not be run", exitUsage, exitInterrupted),
		Args: noArgs,
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the Maildir and say where it is")
	cmd.RunE = a.runs(func(ctx context.Context, _ []string) error { return a.demo(ctx, keep) })
	return cmd
}

// demo is the command's work.
func (a *app) demo(ctx context.Context, keep bool) (err error) {
	dir, err := os.MkdirTemp("", "satchel-demo-")
	if err != nil {
		return fmt.Errorf("the demonstration needs a temporary directory: %w", err)
	}
	if !keep {
		defer func() {
			if e := os.RemoveAll(dir); err == nil && e != nil {
				err = fmt.Errorf("removing the demonstration's Maildir: %w", e)
			}
		}()
	}
	server, err := demo.StartServer()
	if err != nil {
		return fmt.Errorf("starting the demonstration's server: %w", err)
	}
	defer func() { _ = server.Close() }() // it holds nothing that could be lost

	acc := demoAccount(server, filepath.Join(dir, "Mail"))
	a.ui.result("%s", demoHead(server.Port, acc.Maildir))
	set, world := settings(acc), a.world(acc, nil)
	sync := func(ctx context.Context) *mailsync.Result { return mailsync.Sync(ctx, set, world, mailsync.Options{}) }
	report, err := demo.Run(ctx, server, acc.Maildir, sync, func(s demo.Step) {
		a.ui.object(stepLine(s))
		a.ui.result("%s", demoStep(s))
	})
	if err != nil {
		return err
	}
	code := exitOK
	if len(report.Wrong) > 0 {
		code = exitFailed
	}
	a.ui.object(jsonDemo{Type: "demo", OK: code == exitOK, Exit: code, Folders: report.Folders, Messages: report.Messages,
		Wrong: append([]string{}, report.Wrong...), Maildir: kept(keep, acc.Maildir)})
	for _, w := range report.Wrong {
		a.ui.fail("%s", w)
	}
	if code == exitOK {
		a.ui.result("\n%s", demoEnd(report, kept(keep, acc.Maildir)))
	}
	return outcome(code)
}

func kept(keep bool, maildir string) string {
	if keep {
		return maildir
	}
	return ""
}

// demoAccount is the configuration that a person would write for the server.
func demoAccount(s *demo.Server, maildir string) config.Account {
	return config.Account{
		Name: "demo", Maildir: maildir, Layout: config.Nested, Mode: config.TwoWay, Include: []string{"*"}, Create: config.CreateBoth,
		MaxDelete: config.MaxDelete{IsShare: true, Percent: 50}, Connections: 4, StatePath: filepath.Join(maildir, config.StateName),
		IMAP: config.IMAP{Server: config.Server{
			Config: transport.Config{Host: demo.Host, Port: s.Port, TLS: transport.Off},
			User:   s.User, Auth: auth.Auto, Password: auth.Literal(s.Password),
		}},
	}
}

// The demonstration is shown in two columns with an arrow in between, 79 characters wide.
const (
	demoLeft  = 38
	demoArrow = 5
	demoRight = 36
)

func demoHead(port int, maildir string) string {
	return strings.Join([]string{
		fmt.Sprintf("A mail server inside this program (on port %d of this machine) and a Maildir", port),
		fmt.Sprintf("(%s), which is empty.", maildir),
		"After every change there is one sync.",
		"",
		columns("  ON THE SERVER", "", "IN THE MAILDIR"),
	}, "\n")
}

// demoStep shows one step: what was done, what the sync made of it on the other side, and how it looks now.
func demoStep(s demo.Step) string {
	did := fmt.Sprintf("sync: %s, %s", demoDid(s.Result), took(s.Result.Duration))
	change := fmt.Sprintf("%d %s", s.Number, s.Change)
	switch s.Side {
	case demo.OnServer:
		return blankBefore(s) + columns(change, "-->", s.Maildir[0]) + "\n" + columns("  "+s.Server[0], "", did)
	case demo.InMaildir:
		return blankBefore(s) + columns(fmt.Sprintf("%d %s", s.Number, s.Server[0]), "<--", s.Change) + "\n" +
			columns("  "+did, "", s.Maildir[0])
	}
	if s.Number > 0 {
		return "\n" + columns(change, "", did)
	}
	var lines []string
	for i := range max(len(s.Server), len(s.Maildir)) {
		lines = append(lines, columns("  "+at(s.Server, i), "-->", at(s.Maildir, i)))
	}
	return strings.Join(append(lines, columns("", "", "first "+did)), "\n")
}

// blankBefore sets off the changes on one side from those on the other.
func blankBefore(s demo.Step) string {
	if s.First {
		return "\n"
	}
	return ""
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}

// demoDid says what a sync did, in a few words.
func demoDid(r *mailsync.Result) string {
	var did []string
	for _, side := range []mailsync.Count{r.ToMaildir, r.ToServer} {
		if c := changes(side); c != "" {
			did = append(did, c)
		}
	}
	if len(did) == 0 {
		return "nothing to do"
	}
	return strings.Join(did, ", ")
}

// columns lays out one line.
func columns(left, arrow, right string) string {
	line := text.Pad(fit(cleanLine(left), demoLeft), demoLeft, ' ') + " " + text.Pad(arrow, demoArrow-1, ' ') + fit(cleanLine(right), demoRight)
	return strings.TrimRight(line, " ")
}

func demoEnd(r demo.Report, keptAt string) string {
	end := fmt.Sprintf(`Compared with other means, message by message: the %d messages in %d folders
are on both sides, once, in the same folder, with the same flags and bytes.`, r.Messages, r.Folders)
	if keptAt != "" {
		return end + "\nThe Maildir is yours to look at: " + keptAt
	}
	return end + "\nNext: satchel check, with a configuration as in README.md"
}

// jsonStep is one step of `demo`.
type jsonStep struct {
	Type      string    `json:"type"` // "step"
	Step      int       `json:"step"`
	Side      string    `json:"side"` // empty if nothing was changed before the sync
	Change    string    `json:"change"`
	Server    []string  `json:"server"`
	Maildir   []string  `json:"maildir"`
	ToMaildir jsonCount `json:"to_maildir"`
	ToServer  jsonCount `json:"to_server"`
}

func stepLine(s demo.Step) jsonStep {
	return jsonStep{Type: "step", Step: s.Number, Side: string(s.Side), Change: s.Change, Server: s.Server, Maildir: s.Maildir,
		ToMaildir: jsonCount(s.Result.ToMaildir), ToServer: jsonCount(s.Result.ToServer)}
}

// jsonDemo is the last line of `demo`.
type jsonDemo struct {
	Type     string   `json:"type"` // "demo"
	OK       bool     `json:"ok"`
	Exit     int      `json:"exit"`
	Folders  int      `json:"folders"`
	Messages int      `json:"messages"`
	Wrong    []string `json:"wrong"`
	Maildir  string   `json:"maildir"` // empty if it was removed
}
