package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// maxParkedShown bounds how many messages of a folder are listed for people; --json lists all.
const maxParkedShown = 20

func newStatus(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "status [ACCOUNT]...",
		Short: "Show what is known, without asking the server",
		Long: `Shows for each folder how many messages both sides have, when it was last
synchronised, what waits for the next sync, and what is held back or not
transferred and why. It reads the Maildir and its state only, never the network;
the server's side is as the last sync saw it.` +
			exitHelp("the status could be read, whatever it says", "the status of an account could not be read",
				exitUsage, exitInterrupted),
		ValidArgsFunction: a.completeAccounts,
		RunE:              a.runs(a.status),
	}
}

// statusOf is one account's status, or why there is none.
type statusOf struct {
	*mailsync.AccountStatus
	watch *jsonWatch // nil: nobody watches it
	err   error
}

func (a *app) status(ctx context.Context, args []string) error {
	jobs, err := a.jobs(args, false)
	if err != nil {
		return err
	}
	code := exitOK
	sideBySide(ctx, jobs, func(ctx context.Context, j job) statusOf {
		s, err := mailsync.Status(ctx, settings(j.Account), a.world(j.Account, nil))
		return statusOf{s, a.watchOn(ctx, j), err}
	}, func(j job, s statusOf) {
		if s.err != nil {
			a.showErrors(j.Name, nil, s.err, "")
			a.ui.object(jsonStatus{Type: "status", Account: j.Name, Exit: exitOf(s.err), Error: clean(s.err.Error()), Watch: s.watch})
		} else {
			a.showStatus(j, s, time.Now())
		}
		code = first(code, exitOf(s.err))
	})
	return outcome(code)
}

func (a *app) showStatus(j job, of statusOf, now time.Time) {
	s := of.AccountStatus
	for _, f := range s.Folders {
		a.ui.object(folderLine(s.Account, f))
	}
	line := statusLine(s)
	line.Watch = of.watch
	a.ui.object(line)

	a.ui.result("%s", cleanLine(statusHead(j, s, now)))
	if of.watch != nil {
		for _, remark := range watchRemarks(of.watch, now) {
			a.ui.result("  %s", remark)
		}
	}
	if len(s.Folders) > 0 {
		a.ui.result("%s", statusTable(s, now))
	}
	for _, f := range s.Folders {
		for _, line := range remarks(f) {
			a.ui.result("  %s", cleanLine(line))
		}
	}
	if line := heldRemark(s, a.itself()); line != "" {
		a.ui.result("  %s", line)
	}
}

// statusHead is the line above an account's table.
func statusHead(j job, s *mailsync.AccountStatus, now time.Time) string {
	where := fmt.Sprintf("%s: %s and %s", s.Account, owner(j), j.Maildir)
	switch {
	case s.Never:
		return where + maildirState(j.Maildir) + ", never synchronised"
	case s.LastRun.Error != "":
		return fmt.Sprintf("%s, last run %s failed: %s", where, ago(s.LastRun.End, now), s.LastRun.Error)
	}
	return fmt.Sprintf("%s, last run %s", where, ago(s.LastRun.End, now))
}

// owner names the server's end of an account.
func owner(j job) string {
	s := j.Server()
	if s.User == "" {
		return s.Host
	}
	return s.User + " at " + s.Host
}

// statusTable has a line for each folder.
func statusTable(s *mailsync.AccountStatus, now time.Time) string {
	t := table.NewWriter()
	t.SetStyle(plainTable())
	t.AppendHeader(table.Row{"FOLDER", "SERVER", "MAILDIR", "WAITING", "HELD", "NOT SENT", "LAST SYNC"})
	var columns []table.ColumnConfig
	for n := 2; n <= 6; n++ {
		columns = append(columns, table.ColumnConfig{Number: n, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(columns)
	for _, f := range s.Folders {
		oneSided := 0
		for why, n := range f.ByWhy {
			if !f.Maildrop || why != plan.OneWay { // nothing is ever to be sent there
				oneSided += n
			}
		}
		t.AppendRow(table.Row{
			cleanLine(string(f.Name)), number(int64(f.OnServer)), number(int64(f.InMaildir)),
			blank(f.Waiting), blank(f.Held), blank(oneSided), ago(lastSync(s, f), now),
		})
	}
	lines := strings.Split(t.Render(), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return strings.Join(lines, "\n")
}

// lastSync is when a folder was last known to be the same on both sides. The state keeps when there was last something to
// do in it; a later run of the account that went well has looked at it too.
func lastSync(s *mailsync.AccountStatus, f mailsync.FolderStatus) time.Time {
	at := f.LastSync
	if f.LastError == "" && s.LastRun.Error == "" && !at.IsZero() && s.LastRun.End.After(at) {
		at = s.LastRun.End
	}
	return at
}

// plainTable has columns and no lines, so that it can be read, copied and searched.
func plainTable() table.Style {
	s := table.StyleDefault
	s.Options = table.OptionsNoBordersAndSeparators
	s.Box.PaddingLeft, s.Box.PaddingRight = "  ", ""
	s.Format.Header = text.FormatDefault
	return s
}

// blank leaves out the zeros, so that what matters shows.
func blank(n int) string {
	if n == 0 {
		return "-"
	}
	return number(int64(n))
}

// remarks are what there is to say of a folder besides figures.
func remarks(f mailsync.FolderStatus) []string {
	var lines []string
	add := func(format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%s: "+format, append([]any{f.Name}, args...)...))
	}
	if f.LastError != "" {
		add("the last sync failed here: %s", f.LastError)
	}
	if f.ReadOnly {
		add("read-only on the server; local changes wait until it takes changes")
	}
	if f.KeptBack > 0 {
		add("%s a flag or keyword that the other side can't keep, or does not get in this mode", count(f.KeptBack, "message has", "messages have"))
	}
	for _, why := range slices.Sorted(maps.Keys(f.ByWhy)) {
		if n := f.ByWhy[why]; n > 0 {
			add("%s", fmt.Sprintf(reason(f, why), count(n, "message", "messages")))
		}
	}
	for _, p := range f.Parked[:min(len(f.Parked), maxParkedShown)] {
		add("  %s %s", message(p), strings.TrimSpace(string(p.Why)+" "+p.Text))
	}
	if more := len(f.Parked) - maxParkedShown; more > 0 {
		add("  and %s more; satchel status --json lists them", number(int64(more)))
	}
	return lines
}

// heldRemark says what the guard holds back in an account and what can be done, empty if nothing.
func heldRemark(s *mailsync.AccountStatus, program string) string {
	n, folders := 0, 0
	for _, f := range s.Folders {
		if f.Held > 0 {
			n, folders = n+f.Held, folders+1
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s held back in %s; %s sync --allow-deletes %s carries them out, --restore-held brings the messages back",
		count(n, "deletion is", "deletions are"), count(folders, "folder", "folders"), program, s.Account)
}

func message(p mailsync.ParkedMessage) string {
	if p.UIDL != "" {
		return "UIDL " + cleanLine(p.UIDL)
	}
	if p.UID != 0 {
		return fmt.Sprintf("UID %d", p.UID)
	}
	return "file " + p.Name
}

// reason says why messages of a folder are on one side only; %s is how many.
func reason(f mailsync.FolderStatus, why plan.Why) string {
	switch {
	case f.Maildrop && why == plan.OneWay:
		return "%s in the Maildir only, and no longer on the server or never there"
	case f.Maildrop && why == plan.Dismissed:
		return "%s deleted locally, still on the server until keep_on_server lets go of them"
	case f.Maildrop && why == plan.Pending:
		return "%s deleted locally, to be deleted on the server should it list them again"
	}
	switch why {
	case plan.TooLarge:
		return "%s above max_message_size"
	case plan.OverDownload:
		return "%s waiting for tomorrow's budget (daily_download)"
	case plan.OverUpload:
		return "%s waiting for tomorrow's budget (daily_upload)"
	case plan.TooOld:
		return "%s from before since"
	case plan.ReadOnly:
		return "%s changed locally in a folder that is read-only on the server"
	case plan.OneWay:
		return "%s that the mode does not transfer"
	case plan.Refused:
		return "%s refused by the server; tried again by every sync"
	case plan.Unreadable:
		return "%s whose file can't be read; tried again by every sync"
	case plan.Dismissed:
		return "%s deleted locally, kept on the server by the mode"
	case plan.Pending:
		return "%s deleted, marked so on the server, which can't remove single messages"
	case plan.NoFolder:
		return "%s in a folder that may not be created on the other side"
	}
	return "%s: " + strings.ReplaceAll(string(why), "%", "%%")
}

// ago says how long ago something was.
func ago(t, now time.Time) string {
	d := now.Sub(t)
	switch {
	case t.IsZero():
		return "never"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%d min ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h ago", int(d.Hours()))
	}
	return t.Local().Format(time.DateOnly)
}

func folderLine(account string, f mailsync.FolderStatus) jsonFolder {
	out := jsonFolder{
		Type: "folder", Account: account, Folder: string(f.Name), Server: f.OnServer, Maildir: f.InMaildir, Waiting: f.Waiting,
		HeldBack: f.Held, KeptBack: f.KeptBack, ReadOnly: f.ReadOnly, LastSync: when(f.LastSync), LastError: clean(f.LastError),
		OneSided: map[string]int{}, Parked: []jsonParked{},
	}
	for why, n := range f.ByWhy {
		out.OneSided[string(why)] = n
	}
	for _, p := range f.Parked {
		out.Parked = append(out.Parked, jsonParked{UID: uint32(p.UID), UIDL: p.UIDL, Name: p.Name, Why: string(p.Why), Text: clean(p.Text)})
	}
	return out
}

func statusLine(s *mailsync.AccountStatus) jsonStatus {
	out := jsonStatus{Type: "status", Account: s.Account, OK: true, Folders: len(s.Folders), LastError: clean(s.LastRun.Error)}
	if !s.Never {
		out.LastRun = when(s.LastRun.End)
	}
	return out
}
