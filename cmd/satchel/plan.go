package main

import (
	"fmt"
	"strings"

	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// showPlan prints the operations of a dry run.
func (a *app) showPlan(r *mailsync.Result) {
	for _, op := range r.FolderPlan {
		a.ui.object(folderOpLine(op))
		a.ui.result("%s: %s", r.Account, folderSentence(op))
	}
	for _, op := range r.Plan {
		a.ui.object(opLine(op))
		a.ui.result("%s: %s", r.Account, sentence(op))
	}
}

func folderSentence(op plan.FolderOp) string {
	var what string
	switch op.Kind {
	case plan.RenameFolder, plan.FollowFolder:
		what = fmt.Sprintf("%s %s: %s becomes %s", op.Kind, on(op.Side), op.From, op.Folder)
	default:
		what = fmt.Sprintf("%s %s: %s", op.Kind, on(op.Side), op.Folder)
	}
	return cleanLine(what + because(op.Reason))
}

// sentence says what one operation would do.
func sentence(op plan.Op) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", op.Kind, on(op.Side))
	switch {
	case op.From != "" && op.From != op.Folder:
		fmt.Fprintf(&b, "%s to %s", op.From, op.Folder)
	default:
		b.WriteString(string(op.Folder))
	}
	switch {
	case op.UID != 0:
		fmt.Fprintf(&b, ", UID %d", op.UID)
	case op.Name != "":
		fmt.Fprintf(&b, ", file %s", op.Name)
	}
	if op.Kind == plan.SetFlags {
		for _, f := range []struct{ sign, flags string }{{"+", op.Add.String()}, {"-", op.Remove.String()}} {
			if f.flags != "" {
				fmt.Fprintf(&b, " %s(%s)", f.sign, f.flags)
			}
		}
	}
	if op.Why != "" {
		fmt.Fprintf(&b, " [%s]", op.Why)
	}
	return cleanLine(b.String() + because(op.Reason))
}

func on(s plan.Side) string {
	switch s {
	case plan.Server:
		return "on the server"
	case plan.Maildir:
		return "in the Maildir"
	}
	return "in the state"
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}
