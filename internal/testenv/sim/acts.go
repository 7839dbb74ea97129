package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// Act is something that somebody does on one of the sides. What it is about is worked out when it is done, from
// what there is then, so that a history stays playable when acts before it are left out.
type Act struct {
	Server  bool // else in the Maildir
	Verb    Verb
	A, B, C int // which message, which folder, and what else
}

// Verb is what is done.
type Verb int

const (
	Makes Verb = iota
	Flags
	Deletes
	Moves
	Copies
	CreatesFolder
	RenamesFolder
	DeletesFolder
	verbs
)

// weights say how often people do what.
var weights = [verbs]int{8, 8, 5, 8, 3, 1, 1, 1}

// someAct makes one up.
func someAct(r *rand.Rand) Act {
	a := Act{Server: r.IntN(2) == 0, A: r.IntN(1 << 20), B: r.IntN(1 << 20), C: r.IntN(1 << 20)}
	total := 0
	for _, w := range weights {
		total += w
	}
	n := r.IntN(total)
	for n >= weights[a.Verb] {
		n -= weights[a.Verb]
		a.Verb++
	}
	return a
}

var someLetters = []string{"", "S", "F", "FS", "R", "RS", "P", "DS"}
var someFlags = []string{`\Seen`, `\Flagged`, `\Answered`, "$Forwarded", "Todo", "Later"}

// text makes up a message: most are unlike every other, some have no Message-ID, some are twins of another. The twins of each side
// are its own, because what is new on both sides at once is one message.
func (a Act) text(n int) string {
	side := "l"
	if a.Server {
		side = "r"
	}
	switch a.C % 6 {
	case 0:
		return fmt.Sprintf("Subject: %stwin%d\n\nalike\n", side, a.A%3)
	case 1:
		return fmt.Sprintf("Subject: %snoid%d\n\nbody %03d\n", side, n, n)
	}
	return Message(fmt.Sprintf("%s%d", side, n))
}

// do carries the act out and says in words what it was; empty if there was nothing to do it to.
func (a Act) do(w *World) string {
	if a.Server {
		return a.onServer(w)
	}
	return a.inMaildir(w)
}

func (a Act) onServer(w *World) string {
	snap := w.Server.Snapshot()
	box := snap.Mailboxes[a.B%len(snap.Mailboxes)]
	to := snap.Mailboxes[a.C%len(snap.Mailboxes)].Name
	type found struct {
		box string
		model.Message
	}
	var all []found
	for _, b := range snap.Mailboxes {
		for _, m := range b.Messages {
			all = append(all, found{b.Name, m})
		}
	}
	name := fmt.Sprintf("R%d", a.C%4)
	exists := slices.Contains(snap.Names(), name)
	switch a.Verb {
	case Makes:
		text := a.text(w.count())
		if !w.promise.makes(text, a.Server) {
			return ""
		}
		var flags []string
		if a.A%2 == 0 {
			flags = []string{someFlags[a.A/2%len(someFlags)]}
		}
		w.Arrive(box.Name, text, flags...)
		return fmt.Sprintf("server: %s arrives in %s %s", subjectOf(text), box.Name, strings.Join(flags, " "))
	case CreatesFolder:
		if exists {
			return ""
		}
		w.Server.CreateMailbox(name)
		w.promise.folder()
		return "server: creates folder " + name
	case RenamesFolder:
		if box.Name == "INBOX" || exists {
			return ""
		}
		w.Server.RenameMailbox(box.Name, name)
		w.promise.folder()
		return fmt.Sprintf("server: renames folder %s to %s", box.Name, name)
	case DeletesFolder:
		if box.Name == "INBOX" {
			return ""
		}
		for _, m := range box.Messages {
			w.promise.deletes(unix(m.Raw), a.Server, false)
		}
		w.Server.DeleteMailbox(box.Name)
		w.promise.folder()
		return "server: deletes folder " + box.Name
	}
	if len(all) == 0 {
		return ""
	}
	m := all[a.A%len(all)]
	text := unix(m.Raw)
	there := slices.DeleteFunc(slices.Clone(all), func(o found) bool { return o.Raw != m.Raw })
	if len(there) > w.promise.made[text] && a.Verb != Deletes {
		return "" // the copy of a cut-off move, or the echo of an upload, is no longer known as one when somebody has changed it
	}
	switch a.Verb {
	case Flags:
		flag, add := someFlags[a.C%len(someFlags)], a.B%2 == 0
		w.Server.Store(m.box, add, mail.NewFlags(flag), m.UID)
		w.promise.touches(text, a.Server)
		return fmt.Sprintf("server: %s of %s in %s", sign(add)+flag, subjectOf(text), m.box)
	case Deletes:
		w.Server.Expunge(m.box, m.UID)
		w.promise.deletes(text, a.Server, true)
		return fmt.Sprintf("server: deletes %s in %s", subjectOf(text), m.box)
	case Copies:
		if to == m.box || w.Server.WasSent(to, m.Raw) || !w.promise.makes(text, a.Server) {
			// A copy where an upload was sent can't be told from one that arrived twice.
			return ""
		}
		w.Server.Copy(m.box, to, m.UID)
		w.promise.touches(text, a.Server)
		return fmt.Sprintf("server: copies %s from %s to %s", subjectOf(text), m.box, to)
	default:
		if to == m.box || w.Server.WasSent(to, m.Raw) && len(there) > 1 || w.Server.UnderWay(m.Raw) {
			return "" // nor can a copy that is moved there, nor what arrives twice while it is moved
		}
		w.Server.Move(m.box, to, m.UID)
		w.promise.touches(text, a.Server)
		return fmt.Sprintf("server: moves %s from %s to %s", subjectOf(text), m.box, to)
	}
}

func (a Act) inMaildir(w *World) string {
	folders := w.Folders()
	if len(folders) == 0 {
		return ""
	}
	folder, to := folders[a.B%len(folders)], folders[a.C%len(folders)]
	name := fmt.Sprintf("L%d", a.C%4)
	exists := slices.Contains(folders, name)
	switch a.Verb {
	case Makes:
		text := a.text(w.count())
		if !w.promise.makes(text, a.Server) {
			return ""
		}
		l := someLetters[a.A%len(someLetters)]
		w.Put(folder, text, l)
		return fmt.Sprintf("Maildir: %s is new in %s %s", subjectOf(text), folder, l)
	case CreatesFolder:
		if exists {
			return ""
		}
		w.MakeFolder(name)
		w.promise.folder()
		return "Maildir: creates folder " + name
	case RenamesFolder:
		if _, err := w.Disk.Person().Stat(name); folder == "INBOX" || err == nil {
			return ""
		}
		check(w.Disk.Person().Rename(folder, name))
		w.promise.folder()
		return fmt.Sprintf("Maildir: renames folder %s to %s", folder, name)
	case DeletesFolder:
		if folder == "INBOX" {
			return ""
		}
		for _, f := range w.messageFiles() {
			if f.folder == folder {
				w.promise.deletes(f.text, a.Server, false)
			}
		}
		w.removeFolder(folder)
		w.promise.folder()
		return "Maildir: deletes folder " + folder
	}
	all := w.messageFiles()
	if len(all) == 0 {
		return ""
	}
	f := all[a.A%len(all)]
	switch a.Verb {
	case Flags:
		l := someLetters[a.C%len(someLetters)]
		w.reflag(f, l)
		w.promise.touches(f.text, a.Server)
		return fmt.Sprintf("Maildir: %s in %s gets the letters %q", subjectOf(f.text), f.folder, l)
	case Deletes:
		w.remove(f)
		w.promise.deletes(f.text, a.Server, true)
		return fmt.Sprintf("Maildir: deletes %s in %s", subjectOf(f.text), f.folder)
	case Copies:
		if !w.promise.makes(f.text, a.Server) {
			return ""
		}
		w.Put(to, f.text, "S")
		w.promise.touches(f.text, a.Server)
		return fmt.Sprintf("Maildir: copies %s from %s to %s", subjectOf(f.text), f.folder, to)
	default:
		if to == f.folder {
			return ""
		}
		w.moveFile(f, to)
		w.promise.touches(f.text, a.Server)
		return fmt.Sprintf("Maildir: moves %s from %s to %s", subjectOf(f.text), f.folder, to)
	}
}

func sign(add bool) string {
	if add {
		return "+"
	}
	return "-"
}

// unix is a message with the line ends of the Maildir.
func unix(raw string) string { return strings.ReplaceAll(raw, "\r\n", "\n") }
