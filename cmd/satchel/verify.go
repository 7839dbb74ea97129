package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	mailsync "github.com/satchel-mail/satchel/sync"
)

func newVerify(a *app) *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use:   "verify [ACCOUNT | ACCOUNT/FOLDER]...",
		Short: "Compare server and Maildir message by message, changing nothing",
		Long: `Compares the server and the Maildir message by message and changes nothing.
Every file is read; of the server's side the flags and headers are compared, and
with --deep the whole contents, byte for byte, which downloads everything.` +
			exitHelp("both sides are the same", "there are differences, or something could not be compared",
				exitUsage, exitUnreachable, exitInterrupted),
		ValidArgsFunction: a.completeAccounts,
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "compare contents byte for byte")
	cmd.RunE = a.runs(func(ctx context.Context, args []string) error { return a.verify(ctx, args, deep) })
	return cmd
}

// verify is the command's work.
func (a *app) verify(ctx context.Context, args []string, deep bool) error {
	return onEach(ctx, a, args, func(ctx context.Context, j job, w mailsync.World) *mailsync.Verification {
		return mailsync.Verify(ctx, settings(j.Account), w, mailsync.VerifyOptions{Targets: j.targets, Deep: deep})
	}, func(v *mailsync.Verification) int {
		a.showVerification(v, deep)
		return exitOfVerification(v)
	})
}

func exitOfVerification(v *mailsync.Verification) int {
	code := first(exitOf(v.Fatal), exitOfErrors(v.Errors))
	if len(v.Differences) > 0 {
		code = first(code, exitFailed)
	}
	return code
}

func (a *app) showVerification(v *mailsync.Verification, deep bool) {
	for _, d := range v.Differences {
		a.ui.object(jsonDifference{Type: "difference", Account: v.Account, Folder: string(d.Folder), UID: uint32(d.UID), Name: d.Name, What: clean(d.What)})
		a.ui.result("%s", cleanLine(difference(v.Account, d)))
	}
	a.showErrors(v.Account, v.Errors, v.Fatal, "")
	code := exitOfVerification(v)
	if v.Fatal == nil {
		show := a.ui.result
		if len(v.Differences) > 0 {
			show = a.ui.warn
		}
		show("%s: %s", v.Account, verdict(v, deep))
	}
	a.ui.object(jsonVerification{
		Type: "verification", Account: v.Account, OK: code == exitOK, Exit: code, Deep: deep, Folders: v.Folders, Messages: v.Messages,
		Differences: len(v.Differences), Explained: v.Explained, Rewritten: v.Rewritten, Errors: jsonErrors(v.Errors, v.Fatal),
	})
}

func difference(account string, d mailsync.Difference) string {
	where := account + "/" + string(d.Folder)
	if d.UID != 0 {
		where += fmt.Sprintf(", UID %d", d.UID)
	}
	if d.Name != "" {
		where += ", file " + d.Name
	}
	return where + ": " + d.What
}

// verdict says what the comparison found.
func verdict(v *mailsync.Verification, deep bool) string {
	how := "by header, flags and recorded digest"
	if deep {
		how = "byte for byte"
	}
	text := fmt.Sprintf("%s in %s compared %s: ", count(v.Messages, "message", "messages"), count(v.Folders, "folder", "folders"), how)
	switch n := len(v.Differences); {
	case n > 0:
		text += count(n, "difference", "differences")
	case len(v.Errors) > 0:
		text += "no difference where they could be compared"
	default:
		text += "both sides are the same"
	}
	if v.Explained > 0 {
		text += fmt.Sprintf("; %s on one side for a known reason (satchel status %s)", count(v.Explained, "message is", "messages are"), v.Account)
	}
	if v.Rewritten > 0 {
		text += fmt.Sprintf("; of %s the server keeps other bytes than it was sent", count(v.Rewritten, "message", "messages"))
	}
	return text
}
