package sim

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// Scenario is a fixed history: both sides agree on what Before makes, then people act, and then a run is interrupted.
type Scenario struct {
	Name   string
	Server string               // a key of Servers, "full" if empty
	Serve  func(*model.Options) // what is other with that server, nil for nothing
	Set    func(*mailsync.Settings)
	Before func(*World)
	Acts   func(*World)
	// Ask is what the run that is cut off is asked for, and the one after it.
	Ask mailsync.Options
	// Undo: it is `satchel undo` that is cut off.
	Undo bool
	// OwnFile: the state is in a file.
	OwnFile bool
	// Uneasy: something in it can't be done, of which every run complains.
	Uneasy bool
}

// deed is one thing that somebody does to message m on one side.
type deed struct {
	name string
	do   func(*World)
}

// Scenarios are all of them: everything that can happen to one message on both sides at once, and what has more to it.
func Scenarios() (all []Scenario) {
	onServer := []deed{
		{"nothing on the server", func(*World) {}},
		{"a flag on the server", func(w *World) { w.flag("m", true, `\Flagged`) }},
		{"a flag less and a keyword on the server", func(w *World) { w.flag("m", false, `\Seen`); w.flag("m", true, "Todo") }},
		{"moved on the server", func(w *World) { w.serverMove("m", "B") }},
		{"moved and flagged on the server", func(w *World) { w.serverMove("m", "B"); w.flag("m", true, `\Answered`) }},
		{"copied on the server", func(w *World) { box, uid, _ := w.onServer("m"); w.Server.Copy(box, "B", uid) }},
		{"deleted on the server", func(w *World) { w.serverDelete("m") }},
	}
	inMaildir := []deed{
		{"nothing in the Maildir", func(*World) {}},
		{"letters in the Maildir", func(w *World) { f, _ := w.inMaildir("m"); w.reflag(f, "RS") }},
		{"no letters in the Maildir", func(w *World) { f, _ := w.inMaildir("m"); w.reflag(f, "") }},
		{"moved in the Maildir", func(w *World) { f, _ := w.inMaildir("m"); w.moveFile(f, "C") }},
		{"moved and flagged in the Maildir", func(w *World) {
			f, _ := w.inMaildir("m")
			w.reflag(f, "FS")
			f, _ = w.inMaildir("m")
			w.moveFile(f, "C")
		}},
		{"copied in the Maildir", func(w *World) { f, _ := w.inMaildir("m"); w.Put("C", f.text, "S") }},
		{"deleted in the Maildir", func(w *World) { f, _ := w.inMaildir("m"); w.remove(f) }},
	}
	for i, r := range onServer {
		for j, l := range inMaildir {
			if i+j > 0 {
				all = append(all, Scenario{Name: r.name + ", " + l.name, Before: oneInA, Acts: func(w *World) { r.do(w); l.do(w) }})
			}
		}
	}
	return slices.Concat(all, Rich(), hazards(), oneFolder())
}

// oneInA is a message in A, and another one.
func oneInA(w *World) {
	for _, f := range []string{"A", "B", "C"} {
		w.Server.CreateMailbox(f)
	}
	w.Arrive("A", Message("m"), `\Seen`)
	w.Arrive("A", Message("other"))
}

// Core are the scenarios that are cut off twice, at each pair of steps.
func Core() []Scenario {
	names := []string{
		"first sync of a server", "first sync of two sides that have the same", "a little of everything",
		"a little of everything, on a server that is bare", "push: the server follows", "a mailbox gets another UIDVALIDITY",
		"two folders are swapped on the server", "a folder is deleted in the Maildir, with a new message on the server",
		"the Maildir is restored from a copy", "undo",
	}
	return slices.DeleteFunc(Scenarios(), func(s Scenario) bool { return !slices.Contains(names, s.Name) })
}

// Rich are the scenarios that have most to do.
func Rich() []Scenario {
	everything := func(w *World) {
		w.Arrive("INBOX", Message("n1"))
		w.Arrive("INBOX", Message("n2"), `\Flagged`, "Todo")
		w.Put("INBOX", Message("l1"), "S")
		w.Put("B", Message("l2"), "")
		w.flag("a0", true, `\Answered`)
		w.serverMove("a1", "B")
		w.serverDelete("a2")
		f, _ := w.inMaildir("b0")
		w.reflag(f, "FS")
		f, _ = w.inMaildir("b1")
		w.moveFile(f, "A")
		f, _ = w.inMaildir("b2")
		w.remove(f)
	}
	all := []Scenario{
		{Name: "first sync of a server", Before: func(*World) {}, Acts: func(w *World) {
			some(w)
			w.Arrive("INBOX", "Subject: noid\n\nx\n")
			w.Arrive("INBOX", "Subject: big\n\n"+strings.Repeat("0123456789abcdef\n", 9000))
		}},
		{Name: "first sync of a Maildir", Before: func(*World) {}, Acts: func(w *World) {
			for i := range 3 {
				w.Put("INBOX", Message(fmt.Sprintf("p%d", i)), "S")
				w.Put("New/Below", Message(fmt.Sprintf("q%d", i)), "")
			}
			w.Put("INBOX", "Subject: big\n\n"+strings.Repeat("0123456789abcdef\n", 9000), "F")
		}},
		{Name: "first sync of two sides that have the same", Before: func(*World) {}, Acts: func(w *World) {
			some(w)
			for i := range 4 {
				w.Put("A", Message(fmt.Sprintf("a%d", i)), "FS")
			}
			w.Put("A", Message("only here"), "")
			w.Put("A", "Subject: twin\n\nalike\n", "")
			w.Put("A", "Subject: twin\n\nalike\n", "S")
			w.Arrive("A", "Subject: twin\n\nalike\n")
		}},
		{Name: "a little of everything", Before: some, Acts: everything},
		{Name: "twins on both sides", Before: func(w *World) {
			w.Server.CreateMailbox("A")
			for range 3 {
				w.Arrive("A", "Subject: twin\n\nalike\n")
			}
		}, Acts: func(w *World) {
			f, _ := w.inMaildir("twin")
			w.remove(f)
			w.serverMove("twin", "INBOX")
			w.Put("A", "Subject: twin\n\nalike\n", "S")
		}},
		{Name: "folders are made on both sides", Before: some, Acts: func(w *World) {
			w.Server.CreateMailbox("FromServer/Deep")
			w.Arrive("FromServer/Deep", Message("s"))
			w.Put("FromMaildir/Deep", Message("l"), "S")
		}},
		{Name: "a folder is renamed on the server", Before: some, Acts: func(w *World) {
			w.Server.RenameMailbox("A", "Renamed")
			w.Arrive("Renamed", Message("n"))
			f, _ := w.inMaildir("a0")
			w.reflag(f, "FS")
		}},
		{Name: "a folder is renamed in the Maildir", Before: some, Acts: func(w *World) {
			check(w.Disk.Person().Rename("B", "Renamed"))
			w.Put("Renamed", Message("l"), "S")
			w.flag("b0", true, `\Flagged`)
		}},
		{Name: "a folder is deleted on the server", Before: some, Acts: func(w *World) { w.Server.DeleteMailbox("B"); w.flag("a0", true, `\Flagged`) }},
		{Name: "a folder is deleted in the Maildir", Before: some, Acts: func(w *World) { w.removeFolder("B"); w.flag("a0", true, `\Flagged`) }},
		{Name: "a folder is deleted and made again on the server", Before: some, Acts: func(w *World) {
			w.Server.DeleteMailbox("B")
			w.Server.CreateMailbox("B")
			w.Arrive("B", Message("n"))
		}},
		{Name: "a mailbox gets another UIDVALIDITY", Before: some, Acts: func(w *World) {
			w.Server.Renumber("A")
			w.Arrive("A", Message("n"))
			f, _ := w.inMaildir("a1")
			w.reflag(f, "F")
		}},
		{Name: "UIDs leave a gap", Before: some, Acts: func(w *World) {
			w.Server.SetUIDNext("A", 100)
			w.Arrive("A", Message("n"))
		}},
		{Name: "marked deleted, and expunged by the sync", Set: func(s *mailsync.Settings) { s.Policy.Expunge = true }, Before: some, Acts: func(w *World) {
			w.flag("a0", true, `\Deleted`)
			f, _ := w.inMaildir("b0")
			w.reflag(f, "ST")
		}},
		{Name: "marked deleted on a server that is bare, where somebody else's mark is in the way", Server: "bare",
			Set: func(s *mailsync.Settings) { s.Policy.Expunge = true }, Before: some, Acts: func(w *World) {
				f, _ := w.inMaildir("a0")
				w.remove(f)
				w.flag("a1", true, `\Deleted`)
				f, _ = w.inMaildir("b0")
				w.remove(f)
			}},
		{Name: "somebody else's mark is in the way of a removal", Server: "bare", Before: some, Acts: func(w *World) {
			w.flag("a1", true, `\Deleted`)
			f, _ := w.inMaildir("a0")
			w.remove(f)
			f, _ = w.inMaildir("a2")
			w.moveFile(f, "B")
		}},
		{Name: "with a trash, on a server that is no-move", Server: "no-move", Set: func(s *mailsync.Settings) { s.Policy.Trash = "Trash" }, Before: some,
			Acts: func(w *World) {
				for _, name := range []string{"a0", "a1", "b0"} {
					f, _ := w.inMaildir(name)
					w.remove(f)
				}
			}},
		{Name: "with a trash", Set: func(s *mailsync.Settings) { s.Policy.Trash = "Trash" }, Before: some, Acts: func(w *World) {
			f, _ := w.inMaildir("a0")
			w.remove(f)
			w.serverDelete("b0")
		}},
		{Name: "pull: everything is taken back", Set: func(s *mailsync.Settings) { s.Policy.Mode = plan.Pull }, Before: some, Acts: func(w *World) {
			w.Arrive("A", Message("n"))
			f, _ := w.inMaildir("a0")
			w.remove(f)
			f, _ = w.inMaildir("a1")
			w.moveFile(f, "B")
			f, _ = w.inMaildir("b0")
			w.reflag(f, "F")
			w.serverDelete("b1")
		}},
		{Name: "push: the server follows", Set: func(s *mailsync.Settings) { s.Policy.Mode = plan.Push }, Before: func(w *World) {
			for i := range 4 {
				w.Put("A", Message(fmt.Sprintf("a%d", i)), "S")
			}
			w.Put("B", Message("b0"), "")
		}, Acts: func(w *World) {
			w.serverDelete("a0")
			w.serverMove("a1", "B")
			w.flag("a2", true, `\Flagged`)
			f, _ := w.inMaildir("a3")
			w.remove(f)
			f, _ = w.inMaildir("b0")
			w.moveFile(f, "A")
			w.Put("A", Message("l"), "")
		}},
		{Name: "archive: the Maildir keeps everything", Set: func(s *mailsync.Settings) { s.Policy.Mode = plan.Archive }, Before: some, Acts: func(w *World) {
			w.serverDelete("a0")
			w.serverMove("a1", "B")
			w.Arrive("A", Message("n"))
			f, _ := w.inMaildir("b0")
			w.remove(f)
		}},
		{Name: "what was removed is kept for a day", Set: func(s *mailsync.Settings) { s.Undo = 24 * time.Hour }, Before: some, Acts: func(w *World) {
			w.serverDelete("a0")
			w.now = w.now.Add(48 * time.Hour)
			w.serverDelete("b0")
		}},
	}
	for i, name := range []string{"a little of everything", "a folder is renamed on the server", "a folder is renamed in the Maildir", "a folder is deleted in the Maildir"} {
		s := all[slices.IndexFunc(all, func(s Scenario) bool { return s.Name == name })]
		s.Name += ", in a Maildir++"
		if s.Set = func(s *mailsync.Settings) { s.Layout = maildir.PlusPlus }; i == 0 {
			s.Set = func(s *mailsync.Settings) { s.Layout, s.Policy.Trash = maildir.PlusPlus, "Trash" }
		}
		all = append(all, s)
	}
	for _, server := range []string{"no-uidplus", "no-move", "no-condstore", "bare"} {
		all = append(all, Scenario{Name: "a little of everything, on a server that is " + server, Server: server, Before: some, Acts: everything})
	}
	return all
}

// some messages in some folders.
func some(w *World) {
	for _, f := range []string{"A", "B", "A/Below"} {
		w.Server.CreateMailbox(f)
	}
	for i := range 4 {
		w.Arrive("A", Message(fmt.Sprintf("a%d", i)), `\Seen`)
		w.Arrive("B", Message(fmt.Sprintf("b%d", i)))
	}
	w.Arrive("A/Below", Message("below"))
}

func (w *World) flag(subject string, add bool, flag string) {
	box, uid, _ := w.onServer(subject)
	w.Server.Store(box, add, mail.NewFlags(flag), uid)
}

func (w *World) serverMove(subject, to string) {
	box, uid, _ := w.onServer(subject)
	w.Server.Move(box, to, uid)
}

func (w *World) serverDelete(subject string) {
	box, uid, _ := w.onServer(subject)
	w.Server.Expunge(box, uid)
}
