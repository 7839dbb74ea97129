package sim

import (
	"fmt"
	"math/rand/v2"
	"path"
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
	// In wide histories only:

	// Purges removes all messages of a folder that are marked as deleted.
	Purges
	// RemakesFolder deletes a folder and makes it again.
	RemakesFolder
	// Renumbers: a mailbox gets another UIDVALIDITY. Restores: and is another one, into which the messages were stored again.
	Renumbers
	Restores
	// JumpsInTime: the clock goes wrong, or right again. Undoes: what syncs removed from the Maildir is brought back.
	JumpsInTime
	Undoes
	// LosesState: the state database is gone.
	LosesState
	verbs
)

// weights say how often people do what.
var weights = [verbs]int{8, 8, 5, 8, 3, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0}

// someAct makes one up, with verbs that are used so often.
func someAct(r *rand.Rand, often [verbs]int) Act {
	a := Act{Server: r.IntN(2) == 0, A: r.IntN(1 << 20), B: r.IntN(1 << 20), C: r.IntN(1 << 20)}
	total := 0
	for _, w := range often {
		total += w
	}
	n := r.IntN(total)
	for n >= often[a.Verb] {
		n -= often[a.Verb]
		a.Verb++
	}
	return a
}

// letters and flags that an act may give a message.
func (a Act) letters(w *World) string {
	if w.wide {
		all := append(slices.Clone(someLetters), "T", "ST")
		return all[a.C%len(all)]
	}
	return someLetters[a.C%len(someLetters)]
}

func (a Act) flag(w *World) string {
	if w.wide {
		all := append(slices.Clone(someFlags), deletedFlag)
		return all[a.C%len(all)]
	}
	return someFlags[a.C%len(someFlags)]
}

var someLetters = []string{"", "S", "F", "FS", "R", "RS", "P", "DS"}
var someFlags = []string{`\Seen`, `\Flagged`, `\Answered`, "$Forwarded", "Todo", "Later"}

// text makes up a message: most are unlike every other, some have no Message-ID, some are twins of another. The twins of each side
// are its own, because what is new on both sides at once is one message; in wide histories both sides make some of the same.
func (a Act) text(w *World) string {
	n, side := w.count(), "l"
	if a.Server {
		side = "r"
	}
	if w.wide {
		switch a.C % 12 {
		case 6:
			side = ""
		case 8:
			return Message(fmt.Sprintf("both%d", a.A%8))
		case 9:
			return Message(fmt.Sprintf("large%s%d", side, n)) + strings.Repeat("0123456789\n", 60)
		case 10:
			return Message(fmt.Sprintf("eight%s%d", side, n)) + "caf\xe9 \xff\n"
		case 11:
			return Message(fmt.Sprintf("lone%s%d", side, n)) + "a\rb\n"
		}
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
	switch {
	case a.Verb == JumpsInTime:
		return a.jump(w)
	case a.Verb == Undoes:
		return w.undo()
	case a.Verb == LosesState:
		if w.promise.lost { // before all has come to rest: each may make one message of what is moved into two
			return ""
		}
		return w.loseState()
	case a.Server:
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
	name := a.folderName(w)
	exists := slices.Contains(snap.Names(), name)
	switch a.Verb {
	case Makes:
		text := a.text(w)
		if w.running && w.gate.deletes(box.Name) || !w.promise.makes(text, a.Server) {
			return ""
		}
		var flags []string
		if a.A%2 == 0 {
			flags = []string{Act{C: a.A / 2}.flag(w)}
		}
		w.Server.Append(box.Name, w.promise.form(a.serverForm(w, text), text), mail.NewFlags(flags...), w.now)
		w.promise.marks(text, slices.Contains(flags, deletedFlag))
		return fmt.Sprintf("server: %s arrives in %s %s", subjectOf(text), box.Name, strings.Join(flags, " "))
	case CreatesFolder:
		if exists {
			return ""
		}
		w.Server.CreateMailbox(name)
		w.promise.folder()
		return "server: creates folder " + name
	case RenamesFolder:
		if box.Name == "INBOX" || exists || w.wide && (below(name, box.Name) || below(box.Name, name) || slices.ContainsFunc(snap.Names(), func(n string) bool { return below(n, name) })) {
			return ""
		}
		for _, b := range snap.Mailboxes {
			if b.Name != box.Name && !below(b.Name, box.Name) {
				continue
			}
			for _, m := range b.Messages {
				w.promise.unsettles(unix(m.Raw))
			}
		}
		w.Server.RenameMailbox(box.Name, name)
		w.promise.folder()
		return fmt.Sprintf("server: renames folder %s to %s", box.Name, name)
	case DeletesFolder, RemakesFolder:
		if box.Name == "INBOX" {
			return ""
		}
		for _, m := range box.Messages {
			w.promise.deletes(unix(m.Raw), box.Name, a.Server, false)
		}
		w.Server.DeleteMailbox(box.Name)
		w.promise.folder()
		if a.Verb == RemakesFolder {
			w.Server.CreateMailbox(box.Name)
			return "server: deletes folder and makes it again: " + box.Name
		}
		return "server: deletes folder " + box.Name
	case Purges:
		n := 0
		for _, m := range box.Messages {
			if m.Flags.Has(mail.Deleted) {
				text := unix(m.Raw)
				more := w.ServerTree().texts()[text] > w.promise.made[text] // an echo, or what is pending
				w.promise.deletes(text, box.Name, a.Server, !more)
				w.Server.Expunge(box.Name, m.UID)
				n++
			}
		}
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("server: removes the %d messages of %s that are marked", n, box.Name)
	case Renumbers:
		for _, m := range box.Messages {
			w.promise.renumbers(unix(m.Raw), w.Server.UnderWay(m.Raw) > 0)
		}
		w.Server.Renumber(box.Name)
		w.promise.folder()
		return "server: renumbers " + box.Name
	case Restores:
		w.Server.Recreate(box.Name, false)
		for _, m := range box.Messages {
			text := unix(m.Raw)
			w.promise.renumbers(text, w.Server.UnderWay(m.Raw) > 0)
			if w.running && w.promise.shifted[text] > 0 { // the copy of a half-done move may be one of those that are not found again
				w.promise.mayStay(text, w.promise.stays[text]+1)
			}
			w.Server.Append(box.Name, m.Raw, m.Flags, m.Date)
		}
		w.promise.folder()
		return fmt.Sprintf("server: %s is another mailbox with the same %d messages", box.Name, len(box.Messages))
	}
	if len(all) == 0 {
		return ""
	}
	m := all[a.A%len(all)]
	text := unix(m.Raw)
	there := slices.DeleteFunc(slices.Clone(all), func(o found) bool { return o.Raw != m.Raw })
	if extra := len(there) - w.promise.made[text]; extra > 0 && a.Verb != Deletes {
		// The copy of a cut-off move, or the echo of an upload, is no longer known as one when somebody has changed it.
		if !w.wide {
			return ""
		}
		w.promise.mayStay(text, extra)
	}
	if (w.wide || w.running) && w.promise.cutOff && w.Server.WasSent(m.box, m.Raw) {
		w.promise.mayStay(text, max(1, w.promise.stays[text])) // nor is what was sent before a run was cut off
	}
	switch a.Verb {
	case Flags:
		flag, add := a.flag(w), a.B%2 == 0
		w.Server.Store(m.box, add, mail.NewFlags(flag), m.UID)
		w.promise.touches(text, a.Server)
		w.promise.marks(text, add && flag == deletedFlag)
		if !add && flag == deletedFlag && m.Flags.Has(mail.Deleted) && !w.Server.Options().UIDPlus {
			w.promise.mayStay(text, w.promise.stays[text]+1) // it may have been a sync's mark
		}
		return fmt.Sprintf("server: %s of %s in %s", sign(add)+flag, subjectOf(text), m.box)
	case Deletes:
		if w.Server.UnderWay(m.Raw) > 0 || w.promise.arrived[text] > 0 {
			w.promise.mayStay(text, max(1, w.promise.stays[text])) // its echo is not known as one while it is deleted itself
		}
		w.Server.Expunge(m.box, m.UID)
		w.promise.deletes(text, m.box, a.Server, len(there) <= w.promise.made[text])
		return fmt.Sprintf("server: deletes %s in %s", subjectOf(text), m.box)
	case Copies:
		echo := w.Server.WasSent(to, m.Raw) // a copy where an upload was sent can't be told from one that arrived twice
		if to == m.box || w.running && w.gate.deletes(to) || echo && !w.wide || !w.promise.makes(text, a.Server) {
			return ""
		}
		if echo {
			w.promise.mayGo(text)
		}
		w.Server.Copy(m.box, to, m.UID)
		w.promise.touches(text, a.Server)
		w.promise.marks(text, m.Flags.Has(mail.Deleted))
		return fmt.Sprintf("server: copies %s from %s to %s", subjectOf(text), m.box, to)
	default:
		// Nor can a copy that is moved there, nor what arrives twice while it is moved.
		echo, late := w.Server.WasSent(to, m.Raw) && len(there) > 1, w.Server.UnderWay(m.Raw) > 0
		if to == m.box || w.running && w.gate.deletes(to) || (echo || late) && !w.wide {
			return ""
		}
		if echo {
			w.promise.mayGo(text)
		}
		if late {
			w.promise.mayStay(text, 1)
		}
		w.Server.Move(m.box, to, m.UID)
		w.promise.movedThere[text]++
		w.promise.touches(text, a.Server)
		if w.running {
			w.promise.passes(text)
		}
		return fmt.Sprintf("server: moves %s from %s to %s", subjectOf(text), m.box, to)
	}
}

func (a Act) inMaildir(w *World) string {
	folders := w.Folders()
	if len(folders) == 0 {
		return ""
	}
	folder, to := folders[a.B%len(folders)], folders[a.C%len(folders)]
	name := a.folderName(w)
	exists := slices.Contains(folders, name)
	switch a.Verb {
	case Makes:
		text := a.text(w)
		if !w.promise.makes(text, a.Server) {
			return ""
		}
		l := Act{C: a.A}.letters(w)
		w.Put(folder, a.fileForm(w, text), l)
		w.promise.form(wire(a.fileForm(w, text)), text)
		w.promise.marks(text, strings.Contains(l, "T"))
		return fmt.Sprintf("Maildir: %s is new in %s %s", subjectOf(text), folder, l)
	case CreatesFolder:
		if exists {
			return ""
		}
		w.MakeFolder(name)
		w.promise.folder()
		return "Maildir: creates folder " + name
	case RenamesFolder:
		if _, err := w.Disk.Person().Stat(name); folder == "INBOX" || err == nil || w.wide && !w.canBecome(folder, name) {
			return ""
		}
		for _, f := range w.messageFiles() {
			if f.folder == folder || below(f.folder, folder) {
				w.promise.carried[f.text]++
			}
		}
		check(w.Disk.Person().Rename(folder, name))
		w.promise.renames(folder, name)
		return fmt.Sprintf("Maildir: renames folder %s to %s", folder, name)
	case Renumbers, Restores:
		return ""
	case DeletesFolder, RemakesFolder:
		if folder == "INBOX" {
			return ""
		}
		for _, f := range w.messageFiles() {
			if f.folder == folder {
				w.promise.deletes(f.text, folder, a.Server, false)
			}
		}
		w.removeFolder(folder)
		w.promise.folder()
		if a.Verb == RemakesFolder {
			w.MakeFolder(folder)
			return "Maildir: deletes folder and makes it again: " + folder
		}
		return "Maildir: deletes folder " + folder
	}
	all := w.messageFiles()
	if a.Verb == Purges {
		n := 0
		for _, f := range all {
			if f.folder == folder && strings.Contains(letters(f.path), "T") {
				w.promise.deletes(f.text, folder, a.Server, true)
				w.remove(f)
				n++
			}
		}
		if n == 0 {
			return ""
		}
		return fmt.Sprintf("Maildir: removes the %d messages of %s that are marked", n, folder)
	}
	if len(all) == 0 {
		return ""
	}
	f := all[a.A%len(all)]
	switch a.Verb {
	case Flags:
		l := a.letters(w)
		w.reflag(f, l)
		w.promise.touches(f.text, a.Server)
		w.promise.marks(f.text, strings.Contains(l, "T"))
		return fmt.Sprintf("Maildir: %s in %s gets the letters %q", subjectOf(f.text), f.folder, l)
	case Deletes:
		w.remove(f)
		w.promise.deletes(f.text, f.folder, a.Server, true)
		if w.running && w.Server.UnderWay(wire(f.raw)) > 0 {
			w.promise.mayStay(f.text, w.promise.stays[f.text]+1)
		}
		return fmt.Sprintf("Maildir: deletes %s in %s", subjectOf(f.text), f.folder)
	case Copies:
		if !w.promise.makes(f.text, a.Server) {
			return ""
		}
		w.Put(to, f.raw, "S")
		w.promise.form(wire(f.raw), f.text)
		w.promise.touches(f.text, a.Server)
		return fmt.Sprintf("Maildir: copies %s from %s to %s", subjectOf(f.text), f.folder, to)
	default:
		if to == f.folder {
			return ""
		}
		if f.folder == trash {
			w.promise.loose[f.text]++
		}
		w.promise.shifted[f.text]++
		w.moveFile(f, to)
		w.promise.touches(f.text, a.Server)
		return fmt.Sprintf("Maildir: moves %s from %s to %s", subjectOf(f.text), f.folder, to)
	}
}

// canBecome reports whether a folder can be renamed so.
func (w *World) canBecome(folder, name string) bool {
	_, err := w.Disk.Person().Stat(path.Dir(name))
	return err == nil && !below(name, folder) && !slices.ContainsFunc(w.Folders(), func(f string) bool { return below(f, name) })
}

// below reports whether a name is that of a folder below another.
func below(name, above string) bool { return strings.HasPrefix(name, above+"/") }

func sign(add bool) string {
	if add {
		return "+"
	}
	return "-"
}

// unix is a message with the line ends of the Maildir.
func unix(raw string) string { return strings.ReplaceAll(raw, "\r\n", "\n") }
