package sim

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// hazards are scenarios of what docs/safety.md says of folders, servers, messages, disks, the state and the guard.
func hazards() []Scenario {
	return slices.Concat(folders(), identities(), limits(), texts(), files(), memories(), guarded(), undone())
}

// both does something on both sides.
func both(w *World) {
	w.Arrive("A", Message("n"))
	w.Put("A", Message("l"), "F")
	w.flag("a0", true, `\Flagged`)
	f, _ := w.inMaildir("b0")
	w.reflag(f, "RS")
}

// folders are deleted, renamed and swapped.
func folders() []Scenario {
	rename := func(w *World, names ...string) {
		for i := range len(names) - 1 {
			check(w.Disk.Person().Rename(names[i+1], names[i]))
		}
	}
	return []Scenario{
		{Name: "a folder is deleted on the server, with a new message in the Maildir", Before: some, Acts: func(w *World) {
			w.Server.DeleteMailbox("B")
			w.Put("B", Message("l"), "S")
		}},
		{Name: "a folder is deleted in the Maildir, with a new message on the server", Before: some, Acts: func(w *World) {
			w.removeFolder("B")
			w.Arrive("B", Message("n"), `\Flagged`)
		}},
		{Name: "a folder is deleted on both sides", Before: some, Acts: func(w *World) {
			w.removeFolder("B")
			w.Server.DeleteMailbox("B")
		}},
		{Name: "a folder is deleted and made again in the Maildir", Before: some, Acts: func(w *World) {
			w.removeFolder("B")
			w.Put("B", Message("l"), "S")
		}},
		{Name: "both sides rename a folder", Before: some, Acts: func(w *World) {
			w.Server.RenameMailbox("A", "FromServer")
			w.Arrive("FromServer", Message("n"))
			check(w.Disk.Person().Rename("A", "FromMaildir"))
			w.Put("FromMaildir", Message("l"), "S")
		}},
		{Name: "a folder is renamed on the server and deleted in the Maildir", Before: some, Acts: func(w *World) {
			w.Server.RenameMailbox("B", "Renamed")
			w.removeFolder("B")
		}},
		{Name: "a folder is renamed in the Maildir and deleted on the server", Before: some, Acts: func(w *World) {
			check(w.Disk.Person().Rename("B", "Renamed"))
			w.Server.DeleteMailbox("B")
		}},
		{Name: "two folders are swapped on the server", Before: some, Acts: func(w *World) {
			w.Server.RenameMailbox("A", "Tmp")
			w.Server.RenameMailbox("B", "A")
			w.Server.RenameMailbox("Tmp", "B")
			w.flag("a0", true, `\Flagged`)
		}},
		{Name: "two folders are swapped on a server without identities", Server: "no-condstore", Before: some, Acts: func(w *World) {
			w.Server.RenameMailbox("A", "Tmp")
			w.Server.RenameMailbox("B", "A")
			w.Server.RenameMailbox("Tmp", "B")
		}},
		{Name: "folders change names in a circle in the Maildir", Before: func(w *World) {
			some(w)
			w.Server.CreateMailbox("C")
			w.Arrive("C", Message("c"))
		}, Acts: func(w *World) {
			rename(w, "Tmp", "A", "B", "C", "Tmp")
		}},
		{Name: "names that are no names in a Maildir, or on a server", Uneasy: true, Before: func(w *World) {
			for _, name := range []string{"cur", "tmp/new", ".hidden", "dot.dot", "Übung 50%", "trailing ", "a:2,S"} {
				w.Server.CreateMailbox(name)
				w.Arrive(name, Message("in "+name))
			}
		}, Acts: func(w *World) {
			w.Server.RenameMailbox("cur", "new")
			w.Server.CreateMailbox("~")
			w.Arrive("dot.dot", Message("n"))
			w.Server.DeleteMailbox("trailing ")
			f, _ := w.inMaildir("in a:2,S")
			w.reflag(f, "S")
			w.Put("Tab%09", Message("l"), "")
		}},
	}
}

// identities are lost, reused and changed.
func identities() []Scenario {
	return []Scenario{
		{Name: "the server is restored from a backup", Before: some, Acts: func(w *World) {
			was, _ := w.Server.Snapshot().Mailbox("A")
			w.Arrive("A", Message("later1"))
			w.Arrive("A", Message("later2"), `\Seen`)
			w.serverDelete("a3")
			check(w.Settle())
			w.Server.Restore(was)
			w.Arrive("A", Message("n"))
			f, _ := w.inMaildir("later1")
			w.reflag(f, "F")
		}},
		{Name: "a mailbox is made again under the same UIDVALIDITY", Before: some, Acts: func(w *World) {
			w.Server.Recreate("A", true)
			w.Arrive("A", Message("n"))
			w.Arrive("A", Message("another"))
		}},
		{Name: "a mailbox is made again, empty, and something is new in the Maildir", Before: some, Acts: func(w *World) {
			w.Server.Recreate("A", false)
			w.Put("A", Message("l"), "S")
		}},
		{Name: "UIDVALIDITY is 0", Before: func(w *World) { some(w); w.Server.SetUIDValidity("A", 0) }, Acts: both},
		{Name: "UIDVALIDITY becomes 0", Before: some, Acts: func(w *World) { w.Server.SetUIDValidity("A", 0); both(w) }},
		{Name: "UIDs mean other messages", Server: "bare", Before: func(w *World) {
			some(w)
			for i := range 4 {
				w.Arrive("A", Message(strings.Repeat("long ", i+1)+"."))
			}
		}, Acts: func(w *World) {
			w.Server.Permute("A")
			f, _ := w.inMaildir("long .")
			w.remove(f)
		}},
	}
}

// limits of servers, mailboxes and the person's own.
func limits() []Scenario {
	big := "Subject: big\n\n" + strings.Repeat("0123456789abcdef\n", 60)
	tooLarge := func(w *World) {
		w.Put("A", big, "S")
		w.Put("A", Message("l"), "")
		w.Arrive("A", Message("n"))
		w.serverMove("b0", "A")
	}
	tooFull := func(w *World) {
		both(w)
		w.Put("B", big, "")
		f, _ := w.inMaildir("a1")
		w.moveFile(f, "B")
	}
	readOnly := func(w *World) {
		w.Server.SetReadOnly("A", true)
		both(w)
		f, _ := w.inMaildir("a1")
		w.remove(f)
		f, _ = w.inMaildir("a2")
		w.moveFile(f, "B")
		f, _ = w.inMaildir("b1")
		w.moveFile(f, "A")
		w.serverMove("a3", "B")
	}
	unkept := func(w *World) {
		f, _ := w.inMaildir("a0")
		w.reflag(f, "FRSa")
		f, _ = w.inMaildir("b0")
		w.reflag(f, "FS")
		w.serverMove("a1", "B")
	}
	keyword := func(w *World) { some(w); w.flag("a0", true, "Todo"); w.flag("b1", true, "Todo") }
	return []Scenario{
		{Name: "a quota is reached", Uneasy: true, Serve: func(o *model.Options) { o.Quota = 2000 }, Before: some, Acts: tooFull},
		{Name: "a quota is reached, on a server that is no-move", Uneasy: true, Server: "no-move", Serve: func(o *model.Options) { o.Quota = 2000 }, Before: some, Acts: tooFull},
		{Name: "a message is too large for the server", Uneasy: true, Serve: func(o *model.Options) { o.AppendLimit = 1000 }, Before: some, Acts: tooLarge},
		{Name: "a message is too large for the server, which did not say so", Uneasy: true,
			Serve: func(o *model.Options) { o.AppendLimit, o.HideAppendLimit = 1000, true }, Before: some, Acts: tooLarge},
		{Name: "a mailbox becomes read-only", Uneasy: true, Before: some, Acts: readOnly},
		{Name: "a mailbox takes changes again", Uneasy: true, Before: func(w *World) {
			some(w)
			check(w.Settle())
			readOnly(w)
		}, Acts: func(w *World) {
			w.Server.SetReadOnly("A", false)
			w.flag("b1", true, `\Answered`)
			f, _ := w.inMaildir("l")
			w.moveFile(f, "B")
		}},
		{Name: "a mailbox takes changes again, on a server that is no-move", Uneasy: true, Server: "no-move", Before: func(w *World) {
			some(w)
			check(w.Settle())
			readOnly(w)
		}, Acts: func(w *World) {
			w.Server.SetReadOnly("A", false)
			w.serverMove("a1", "B")
			f, _ := w.inMaildir("b1")
			w.moveFile(f, "A/Below")
		}},
		{Name: "a mailbox keeps some flags only", Uneasy: true, Before: func(w *World) {
			keyword(w)
			w.Server.SetPermanent("A", mail.NewFlags(`\Seen`, `\Deleted`), false)
			w.Server.SetPermanent("B", mail.NewFlags(`\Seen`, `\Flagged`, `\Deleted`), false)
		}, Acts: unkept},
		{Name: "a mailbox has too many keywords", Uneasy: true, Serve: func(o *model.Options) { o.KeywordLimit = 1 }, Before: keyword, Acts: func(w *World) {
			w.flag("b1", false, "Todo")
			w.flag("b1", true, "Later")
			f, _ := w.inMaildir("a0")
			w.moveFile(f, "B")
			w.Put("B", Message("l"), "a")
		}},
		{Name: "larger and older than what is wanted", Set: func(s *mailsync.Settings) {
			s.MaxMessageSize = 500
			s.Since = func(now time.Time) time.Time { return time.Date(2025, 6, 1, 18, 0, 0, 0, time.UTC) }
		}, Before: func(w *World) {
			some(w) // before that time
			w.now = w.now.Add(24 * time.Hour)
			w.Arrive("B", Message("young"))
			w.Arrive("B", big)
		}, Acts: func(w *World) {
			w.Arrive("A", big)
			w.Arrive("A", Message("n"))
			w.Put("A", big, "S")
			w.serverMove("a0", "B")
			w.serverMove("young", "A")
			w.flag("a1", true, `\Flagged`)
			w.serverDelete("a2")
		}},
	}
}

// texts that are not what texts of mail are.
func texts() []Scenario {
	raw := func(w *World, mailbox, text string) { w.Server.Append(mailbox, text, mail.NewFlags(), w.now) }
	odd := func(w *World) {
		raw(w, "INBOX", "Subject: bare LF\n\nfrom the server\n")
		raw(w, "INBOX", "Subject: mixed\r\n\r\none\ntwo\r\n")
		raw(w, "INBOX", "Subject: bare CR\r\n\r\none\rtwo")
		raw(w, "INBOX", "")
		raw(w, "INBOX", "Subject: no end")
		w.Put("INBOX", "Subject: crlf\r\n\r\nfrom the Maildir\r\n", "S")
		w.Put("INBOX", "Subject: crlf and lf\r\n\r\none\ntwo\r\n", "S")
		w.Put("INBOX", "Subject: no body", "")
	}
	return []Scenario{
		{Name: "odd line ends", Before: func(*World) {}, Acts: odd},
		{Name: "odd line ends that both sides know", Before: odd, Acts: func(w *World) {
			w.Server.CreateMailbox("A")
			w.serverMove("bare LF", "A")
			f, _ := w.inMaildir("crlf")
			w.moveFile(f, "A")
			f, _ = w.inMaildir("mixed")
			w.reflag(f, "S")
			w.serverDelete("no body")
			w.Server.Renumber("INBOX")
		}},
	}
}

// files of the Maildir that nobody expects.
func files() []Scenario {
	return []Scenario{
		{Name: "base names are there twice", Before: some, Acts: func(w *World) {
			w.write("A/cur/1.one.host:2,S", Message("one"))
			w.write("A/cur/1.one.host:2,F", Message("two"))
			w.write("A/new/1.one.host", Message("three"))
			f, _ := w.inMaildir("a0")
			w.write(path.Join("B", "cur", path.Base(f.path)), f.text) // as cp does
			f, _ = w.inMaildir("a1")
			w.write(f.path+"F", f.text)
			f, _ = w.inMaildir("b1")
			w.write(path.Join("A", "cur", path.Base(f.path)), Message("other content under its name"))
		}},
		{Name: "entries that are no files, and a file that nobody may read", Uneasy: true, Before: func(w *World) {
			some(w)
			w.Put("A", Message("mine"), "S")
		}, Acts: func(w *World) {
			both(w)
			w.Disk.Link("A/cur/2.link.host:2,S")
			check(w.Disk.Person().Mkdir("A/cur/3.directory.host:2,", 0o700))
			f, err := w.Disk.Person().Create("A/cur/4.secret.host:2,S", 0)
			check(err)
			_, err = f.WriteAt([]byte(Message("secret")), 0)
			check(err)
			g, _ := w.inMaildir("a1")
			w.remove(g)
			w.Disk.Link(g.path) // in a message's place
			w.Disk.Link("Linked")
		}},
		{Name: "a folder in the Maildir lacks cur", Before: some, Acts: func(w *World) {
			both(w)
			check(w.Disk.Person().Mkdir("Half", 0o700))
			check(w.Disk.Person().Mkdir("Half/new", 0o700))
			w.write("Half/new/5.half.host", Message("half"))
		}},
	}
}

// memories that are lost or not of today.
func memories() []Scenario {
	unlike := func(w *World) {
		both(w)
		w.serverDelete("a1")
		f, _ := w.inMaildir("b1")
		w.remove(f)
		w.serverMove("a2", "B")
	}
	return []Scenario{
		{Name: "the state is lost", Before: some, Acts: func(w *World) { unlike(w); w.memory.clear() }},
		{Name: "the state is damaged", OwnFile: true, Before: some, Acts: func(w *World) { unlike(w); w.memory.damage() }},
		{Name: "the state is an older one", Before: some, Acts: func(w *World) {
			was := w.memory.save()
			unlike(w)
			check(w.Settle())
			w.memory.restore(was)
			w.Arrive("B", Message("n2"))
		}},
		{Name: "the Maildir is restored from a copy", Before: some, Acts: func(w *World) {
			was := w.Disk.Clone()
			unlike(w)
			check(w.Settle())
			w.Disk.Replace(was)
			w.Arrive("B", Message("n2"))
		}},
		{Name: "the account gets another host", Ask: mailsync.Options{Rebind: true}, Before: some, Acts: func(w *World) {
			unlike(w)
			w.Set.Owner.Host = "elsewhere"
			for _, name := range []string{"INBOX", "A", "A/Below", "B"} {
				w.Server.Renumber(name)
			}
		}},
	}
}

// guarded are deletions that the guard holds back, and what becomes of them.
func guarded() []Scenario {
	guard := func(s *mailsync.Settings) { s.Policy.Guard = plan.Guard{Share: 0.5, ByShare: true} }
	many := func(w *World) {
		some(w)
		w.Server.CreateMailbox("Many")
		for i := range 12 {
			w.Arrive("Many", Message(fmt.Sprintf("m%d", i)))
		}
	}
	held := func(w *World) {
		for i := range 12 {
			if f, ok := w.inMaildir(fmt.Sprintf("m%d", i)); i < 11 && ok {
				w.remove(f)
			}
		}
	}
	gone := func(w *World) {
		for i := range 11 {
			w.serverDelete(fmt.Sprintf("m%d", i))
		}
	}
	then := func(acts func(*World)) func(*World) {
		return func(w *World) {
			acts(w)
			check(w.Settle())
			w.Arrive("Many", Message("n"))
			w.flag("m11", true, `\Flagged`)
		}
	}
	allow, back := mailsync.Options{AllowDeletes: true}, mailsync.Options{RestoreHeld: true}
	return []Scenario{
		{Name: "the guard holds deletions back", Set: guard, Before: many, Acts: func(w *World) { held(w); w.Arrive("Many", Message("n")) }},
		{Name: "what the guard held is deleted on the server", Ask: allow, Set: guard, Before: many, Acts: then(held)},
		{Name: "what the guard held is deleted in the Maildir", Ask: allow, Set: guard, Before: many, Acts: then(gone)},
		{Name: "what the guard held comes back to the Maildir", Ask: back, Set: guard, Before: many, Acts: then(held)},
		{Name: "what the guard held comes back to the server", Ask: back, Set: guard, Before: many, Acts: then(gone)},
	}
}

// undone are runs of `satchel undo`.
func undone() []Scenario {
	removed := func(w *World) {
		for _, s := range []string{"a0", "a1", "b0"} {
			w.serverDelete(s)
		}
		check(w.Settle())
	}
	keyword := func(w *World) {
		some(w)
		w.flag("a0", true, "Todo")
		w.flag("b0", true, `\Flagged`)
	}
	return []Scenario{
		{Name: "undo", Undo: true, Before: keyword, Acts: removed},
		{Name: "undo of a folder that is gone", Undo: true, Before: keyword, Acts: func(w *World) {
			w.Server.DeleteMailbox("B")
			check(w.Settle())
		}},
		{Name: "undo, with a message that somebody brought back and new ones", Undo: true, Server: "bare", Before: keyword, Acts: func(w *World) {
			removed(w)
			w.Arrive("A", Message("a1"))
			check(w.Settle())
			w.Arrive("A", Message("n1"))
			w.Put("B", Message("n2"), "S")
		}},
	}
}
