package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/satchel-mail/satchel/internal/newmail"
	mailsync "github.com/satchel-mail/satchel/sync"
)

func newSync(a *app) *cobra.Command {
	var opt mailsync.Options
	cmd := &cobra.Command{
		Use:   "sync [ACCOUNT | ACCOUNT/FOLDER]...",
		Short: "Synchronise once, then exit",
		Long: `Makes the server and the Maildir the same, once. Without arguments every account
is synchronised; FOLDER is a local folder name, as in personal/INBOX. Several
accounts are worked on side by side, and one's failure does not stop the others.
While "satchel watch" runs on an account, it does the work when asked by this.` +
			exitHelp("everything named was synchronised",
				"something failed; what could be done was done, the rest is reported, and\n       running again is safe",
				exitUsage, exitHeld, exitLocked, exitUnreachable, exitInterrupted),
		Example: `  satchel sync
  satchel sync personal/INBOX personal/Sent
  satchel sync --dry-run`,
		ValidArgsFunction: a.completeAccounts,
	}
	f := cmd.Flags()
	f.BoolVarP(&opt.DryRun, "dry-run", "n", false, "print what would be done, and change nothing")
	f.BoolVar(&opt.AllowDeletes, "allow-deletes", false, "carry out the deletions that the guard holds back")
	f.BoolVar(&opt.RestoreHeld, "restore-held", false, "bring back the messages that it holds back")
	f.BoolVar(&opt.Rebind, "rebind", false, "same mailbox, new host or user: keep what still fits")
	cmd.RunE = a.runs(func(ctx context.Context, args []string) error {
		if opt.AllowDeletes && opt.RestoreHeld {
			return &usageError{errors.New("--allow-deletes and --restore-held exclude each other; choose one")}
		}
		return a.sync(ctx, args, opt)
	})
	return cmd
}

// sync is the command's work.
func (a *app) sync(ctx context.Context, args []string, opt mailsync.Options) error {
	return onEach(ctx, a, args, func(ctx context.Context, j job, w mailsync.World) answered {
		w.Progress(mailsync.Progress{Account: j.Name, Phase: "the watch is doing it"})
		if by, ok := a.askWatch(ctx, j, opt); ok {
			return by
		}
		mine := opt
		mine.Targets = j.targets
		res := mailsync.Sync(ctx, settings(j.Account), w, mine)
		announce(ctx, j, res)
		return answered{result: res, exit: exitOfResult(res)}
	}, func(r answered) int {
		if r.result == nil {
			a.showReplies(r.replies)
		} else {
			a.showSync(r.result, opt.DryRun)
		}
		return r.exit
	})
}

// announce runs the account's command for new mail if a run brought any. That it fails is a warning: the mail is there.
func announce(ctx context.Context, j job, r *mailsync.Result) {
	if err := newmail.New(j.Name, j.Maildir, j.OnNewMail).Run(ctx, r.ToMaildir.New); err != nil {
		r.Warnings = append(r.Warnings, err.Error())
	}
}

// outcome is the error of a command that has reported everything itself.
func outcome(code int) error {
	if code == exitOK {
		return nil
	}
	return &reported{code}
}

// showSync prints what came of one account.
func (a *app) showSync(r *mailsync.Result, dryRun bool) {
	if dryRun {
		a.showPlan(r)
	}
	for _, note := range r.Notes {
		a.ui.say("%s: %s", r.Account, note)
	}
	for _, warning := range r.Warnings {
		a.ui.fail("%s: %s", r.Account, warning)
	}
	a.showErrors(r.Account, r.Errors, r.Fatal, unfinished)
	if r.Fatal == nil {
		a.ui.result("%s: %s", r.Account, summary(r, dryRun))
		if r.HeldBack > 0 {
			a.ui.warn("%s", held(r, a.itself()))
		}
	}
	a.ui.object(accountLine(r))
}

// unfinished is what there is to say of an interrupted run that changes something.
const unfinished = "; what was begun is finished by the next sync"

// showErrors prints what failed in an account. What was only cut short by a signal is not worth a line for each folder; begun says what becomes
// of it, empty if nothing was to be changed.
func (a *app) showErrors(account string, errs []mailsync.FolderError, fatal error, begun string) {
	for _, e := range errs {
		if exitOf(e) == exitInterrupted {
			continue
		}
		where := account
		if e.Folder != "" {
			where += "/" + cleanLine(string(e.Folder))
		}
		a.ui.fail("%s: %v", where, e.Err)
	}
	switch code := exitOf(fatal); {
	case code == exitOK:
	case code == exitInterrupted:
		a.ui.fail("%s: interrupted%s", account, begun)
	case strings.HasPrefix(fatal.Error(), "account "+account):
		a.ui.fail("%v", fatal)
	default:
		a.ui.fail("%s: %s", account, spell(fatal))
	}
}

// summary says in one line what a run did.
func summary(r *mailsync.Result, dryRun bool) string {
	var parts []string
	if c := (tally{r.ToMaildir, r.MaildirFolders}).String(); c != "" {
		parts = append(parts, "to the Maildir: "+c)
	}
	if c := (tally{r.ToServer, r.ServerFolders}).String(); c != "" {
		parts = append(parts, "to the server: "+c)
	}
	if n := r.Deferred - r.OverBudget; n > 0 {
		parts = append(parts, number(int64(n))+" left out by max_message_size")
	}
	if r.OverBudget > 0 {
		parts = append(parts, fmt.Sprintf("%s for tomorrow's budget", count(r.OverBudget, "message waits", "messages wait")))
	}
	what := strings.Join(parts, "; ")
	switch {
	case what != "":
	case dryRun && len(r.Plan)+len(r.FolderPlan) > 0:
		what = "would do the above: " + planned(r)
	case dryRun:
		what = "there is nothing to do"
	case len(r.Errors) > 0:
		what = "nothing else changed"
	default:
		what = "nothing changed"
	}
	return fmt.Sprintf("%s (%s, %s in %s)", what, count(r.Folders, "folder", "folders"),
		size(r.Traffic.BytesIn+r.Traffic.BytesOut), took(r.Duration))
}

// changes spells what was done to one side, empty if nothing was.
func changes(c mailsync.Count) string {
	var words []string
	for _, w := range []struct {
		n    int
		what string
	}{{c.New, "new"}, {c.Flags, "flagged"}, {c.Moved, "moved"}, {c.Deleted, "deleted"}} {
		if w.n > 0 {
			words = append(words, number(int64(w.n))+" "+w.what)
		}
	}
	return strings.Join(words, ", ")
}

// held says what the guard holds back and what can be done.
func held(r *mailsync.Result, program string) string {
	why := r.HeldWhy
	if why != "" {
		why = " because " + why
	}
	targets := r.Account
	if len(r.Targets) > 0 {
		var words []string
		for _, f := range r.Targets {
			words = append(words, shellWord(r.Account+"/"+string(f)))
		}
		targets = strings.Join(words, " ")
	}
	return fmt.Sprintf(`%[1]s: %[2]s held back%[3]s
  if they are meant:   %[4]s sync --allow-deletes %[5]s
  if they are not:     %[4]s sync --restore-held %[5]s`, r.Account, count(r.HeldBack, "deletion is", "deletions are"), why, program, targets)
}
