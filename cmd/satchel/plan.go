package main

import (
	"cmp"
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

// planned counts what a dry run would do to each side.
func planned(r *mailsync.Result) string {
	var maildir, server tally
	of := map[plan.Side]*tally{plan.Maildir: &maildir, plan.Server: &server}
	for _, op := range r.FolderPlan {
		t, ok := of[op.Side]
		switch {
		case !ok:
		case op.Kind == plan.CreateFolder:
			t.Created++
		case op.Kind == plan.RenameFolder:
			t.Renamed++
		}
	}
	for _, op := range r.Plan {
		t, ok := of[op.Side]
		switch {
		case !ok:
		case op.Kind == plan.Download, op.Kind == plan.Upload:
			t.New++
		case op.Kind == plan.SetFlags && op.Add.String()+op.Remove.String() != "":
			t.Flags++
		case op.Kind == plan.Move:
			t.Moved++
		case op.Kind == plan.Delete:
			t.Count.Deleted++
		case op.Kind == plan.DeleteFolder:
			t.FolderCount.Deleted++
		}
	}
	return "to the Maildir " + cmp.Or(maildir.String(), "nothing") + "; to the server " + cmp.Or(server.String(), "nothing")
}

// tally counts changes on one side, folders included.
type tally struct {
	mailsync.Count
	mailsync.FolderCount
}

// String is empty if there are none.
func (t tally) String() string {
	var parts []string
	if c := changes(t.Count); c != "" {
		parts = append(parts, c)
	}
	for _, f := range []struct {
		n    int
		what string
	}{{t.Created, "created"}, {t.Renamed, "renamed"}, {t.FolderCount.Deleted, "deleted"}} {
		if f.n > 0 {
			parts = append(parts, count(f.n, "folder", "folders")+" "+f.what)
		}
	}
	return strings.Join(parts, ", ")
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
