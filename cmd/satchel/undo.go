package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/satchel-mail/satchel/internal/config"
	"github.com/satchel-mail/satchel/internal/mail"
	mailsync "github.com/satchel-mail/satchel/sync"
)

func newUndo(a *app) *cobra.Command {
	var opt mailsync.UndoOptions
	var since string
	cmd := &cobra.Command{
		Use:   "undo [ACCOUNT | ACCOUNT/FOLDER]...",
		Short: "Bring back what syncs removed from the Maildir",
		Long: `Brings back, on both sides, the messages that syncs removed from the Maildir
because they were gone from the server, with their flags and dates: each is
moved from where it was kept back into its folder, and a sync of what was named
takes it to the server. They are kept for as long as the configuration's undo
says. A message is left aside if its folder holds an equal one again.

In the modes pull and archive nothing is stored on the server: there messages
come back to the Maildir only. What you delete in the Maildir yourself is not
kept; the configuration's trash is for that.` +
			exitHelp("what was named is back, or there was nothing to bring back",
				"something failed; what could be done was done, the rest is reported, and\n       running again is safe",
				exitUsage, exitHeld, exitLocked, exitUnreachable, exitInterrupted) + `

With 5 they are back in the Maildir, and the next sync stores them.`,
		Example: `  satchel undo --list
  satchel undo --since 2h personal/INBOX`,
		ValidArgsFunction: a.completeAccounts,
	}
	f := cmd.Flags()
	f.BoolVar(&opt.List, "list", false, "list the messages that are kept, without the network")
	f.StringVar(&since, "since", "", "only what was removed since `TIME`: 2h, 3d or 4w ago, or a\ndate such as 2024-01-31 or \"2024-01-31 15:04\"")
	f.BoolVarP(&opt.DryRun, "dry-run", "n", false, "print what would be brought back, and change nothing")
	cmd.RunE = a.runs(func(ctx context.Context, args []string) error {
		if cmd.Flags().Changed("since") {
			var err error
			if opt.Since, err = config.ParseMoment(since, time.Now()); err != nil {
				return &usageError{fmt.Errorf("--since: %w", err)}
			}
		}
		return a.undo(ctx, args, opt)
	})
	return cmd
}

// undo is the command's work.
func (a *app) undo(ctx context.Context, args []string, opt mailsync.UndoOptions) error {
	return onEach(ctx, a, args, func(ctx context.Context, j job, w mailsync.World) *mailsync.Undone {
		mine := opt
		mine.Targets = j.targets
		u := mailsync.Undo(ctx, settings(j.Account), w, mine)
		if u.Sync != nil {
			announce(ctx, j, u.Sync)
		}
		return u
	}, func(u *mailsync.Undone) int {
		a.showUndone(u, opt)
		return exitOfUndone(u)
	})
}

func exitOfUndone(u *mailsync.Undone) int {
	code := first(exitOf(u.Fatal), exitOfErrors(u.Errors))
	if u.Sync != nil {
		code = first(code, exitOfResult(u.Sync))
	}
	return code
}

// showUndone prints what came of one account.
func (a *app) showUndone(u *mailsync.Undone, opt mailsync.UndoOptions) {
	look := opt.List || opt.DryRun
	for i := range u.Messages {
		a.ui.object(removedLine(u.Account, &u.Messages[i]))
	}
	if look && len(u.Messages) > 0 {
		a.ui.result("%s", removedTable(u.Messages))
	}
	a.showErrors(u.Account, u.Errors, u.Fatal, unfinished)
	if u.Fatal == nil || u.Count(mailsync.BecameBack) > 0 {
		say := undone
		switch {
		case opt.List:
			say = listed
		case opt.DryRun:
			say = wouldUndo
		}
		a.ui.result("%s: %s", u.Account, say(u))
	}
	if u.Sync != nil {
		a.showSync(u.Sync, false)
	}
	a.ui.object(undoLine(u))
}

// removedTable has a line for each message.
func removedTable(messages []mailsync.RemovedMessage) string {
	const from, subject = 20, 40
	t := table.NewWriter()
	t.SetStyle(plainTable())
	t.AppendHeader(table.Row{"REMOVED", "FOLDER", "FROM", "SUBJECT", "ARRIVED", "SIZE"})
	t.SetColumnConfigs([]table.ColumnConfig{{Number: 6, Align: text.AlignRight, AlignHeader: text.AlignRight}})
	for i := range messages {
		m := &messages[i]
		t.AppendRow(table.Row{
			m.Removed.Local().Format("2006-01-02 15:04"), cleanLine(string(m.Folder)), fit(cleanLine(m.From), from), fit(cleanLine(m.Subject), subject),
			m.Arrived.Local().Format(time.DateOnly), size(m.Size),
		})
	}
	lines := strings.Split(t.Render(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

// listed says how much is kept.
func listed(u *mailsync.Undone) string {
	folders := map[mail.FolderName]bool{}
	for i := range u.Messages {
		folders[u.Messages[i].Folder] = true
	}
	if len(folders) == 0 {
		return "nothing to bring back"
	}
	return fmt.Sprintf("%s of %s can be brought back", count(len(u.Messages), "message", "messages"), count(len(folders), "folder", "folders"))
}

// wouldUndo says what would come of a dry run.
func wouldUndo(u *mailsync.Undone) string {
	what := "there is nothing to bring back"
	if n := u.Count(mailsync.BecameBack); n > 0 {
		what = "would bring back " + count(n, "message", "messages")
	}
	return what + leftAside(u)
}

// undone says what came of it.
func undone(u *mailsync.Undone) string {
	what := "nothing to bring back"
	if n := u.Count(mailsync.BecameBack); n > 0 {
		what = count(n, "message is", "messages are") + " back in the Maildir"
		switch {
		case u.OneWay:
			what += ", but not on the server, where nothing is stored in this mode"
		case u.Sync == nil || u.Sync.Fatal != nil:
			what += "; the next sync takes what is not yet on the server there"
		}
	}
	return what + leftAside(u)
}

func leftAside(u *mailsync.Undone) string {
	n := u.Count(mailsync.BecamePresent)
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; %s left aside, because the folder holds an equal one", count(n, "message is", "messages are"))
}

func removedLine(account string, m *mailsync.RemovedMessage) jsonRemoved {
	out := jsonRemoved{
		Type: "removed", Account: account, Folder: string(m.Folder), Name: m.Name, Removed: *when(m.Removed), Arrived: *when(m.Arrived),
		Size: m.Size, Flags: m.Flags.Names(), From: clean(m.From), Subject: clean(m.Subject), Became: string(m.Became),
	}
	if out.Flags == nil {
		out.Flags = []string{}
	}
	if m.Err != nil {
		out.Error = clean(m.Err.Error())
	}
	return out
}

func undoLine(u *mailsync.Undone) jsonUndo {
	code := exitOfUndone(u)
	return jsonUndo{
		Type: "undo", Account: u.Account, OK: code == exitOK, Exit: code, Kept: u.Count(mailsync.BecameKept), Back: u.Count(mailsync.BecameBack),
		Present: u.Count(mailsync.BecamePresent), Failed: u.Count(mailsync.BecameFailed), Errors: jsonErrors(u.Errors, u.Fatal),
	}
}
