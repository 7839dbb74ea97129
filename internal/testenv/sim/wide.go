package sim

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// Account is how an account is set up, as far as histories differ in it.
type Account struct {
	Mode    plan.Mode
	Expunge bool
	Trash   bool
	// PlusPlus: the layout is maildir++.
	PlusPlus bool
	Guard    int // this many deletions pass, 0: all
	// Limited: messages above largeSize are not transferred.
	Limited bool
	// Waits: the person takes time to decide what becomes of what the guard holds back.
	Waits bool
}

const largeSize = 500

// isLimited reports whether a message is left on the side that it is on.
func (a Account) isLimited(text string) bool { return a.Limited && len(text) > largeSize }

// trash is the name of the folder where there is one.
const trash = "Trash"

// someAccount makes one up.
func someAccount(seed uint64) Account {
	r := rand.New(rand.NewPCG(seed, 5))
	a := Account{Mode: plan.TwoWay}
	a.Expunge = r.IntN(4) == 0
	a.Trash = r.IntN(4) == 0
	if n := r.IntN(20); n < 6 {
		a.Mode = []plan.Mode{plan.Pull, plan.Push, plan.Archive}[n/2]
		a.Trash = a.Trash && a.Mode == plan.Push // the others don't go with it
	}
	if a.Mode == plan.TwoWay {
		if r.IntN(5) == 0 {
			a.Guard = 1 + r.IntN(2)
		}
		a.Limited = r.IntN(5) == 0
	}
	a.PlusPlus = r.IntN(5) == 0
	return a
}

func (a Account) apply(w *World) {
	p := &w.Set.Policy
	p.Mode, p.Expunge = a.Mode, a.Expunge
	if a.Trash {
		p.Trash = trash
	}
	p.Guard = plan.Guard{ByCount: a.Guard > 0, Count: a.Guard}
	if a.PlusPlus {
		w.usePlusPlus()
	}
	if a.Limited {
		w.Set.MaxMessageSize = largeSize
	}
}

// wideWeights say how often people do what in wide histories. There both sides draw the names of folders from one pool, so that the same
// name is made on both, deleted, and made again; both make the same messages; and messages are marked as deleted.
var wideWeights = [verbs]int{9, 9, 5, 8, 3, 2, 1, 1, 1, 1, 1, 1, 1, 2, 1}

var poolOfNames = []string{"Work", "Work/Old", "Lists", "N0", "N1"}

// folderName is the name that an act makes a folder by, or gives to one.
func (a Act) folderName(w *World) string {
	switch {
	case w.wide:
		return poolOfNames[a.C%len(poolOfNames)]
	case a.Server:
		return "R" + string(rune('0'+a.C%4))
	}
	return "L" + string(rune('0'+a.C%4))
}

const deletedFlag = `\Deleted`

// jump sets the clock of the machine by a day or ten years, forth or back, and never to the very instant of something that was before.
func (a Act) jump(w *World) string {
	const day = 24 * time.Hour
	by := [...]time.Duration{day, -day, 3652 * day, -3652 * day}[a.A%4]
	w.now = w.now.Add(by + time.Duration(a.B)*time.Microsecond)
	w.Disk.SetClock(w.now)
	w.promise.jumped = true
	for text := range w.promise.arrived {
		w.promise.losesEchoes(text)
	}
	return fmt.Sprintf("the clock jumps by %s", by)
}

// undo is a run of it by the person. It is not interrupted.
func (w *World) undo() string {
	if w.running {
		return ""
	}
	w.now = w.now.Add(time.Minute)
	w.Disk.Advance(w.now)
	w.rng++
	before := w.aside()
	u := mailsync.Undo(context.Background(), w.Set, w.engine(nil), mailsync.UndoOptions{})
	check(u.Fatal)
	w.Disk.Die()
	back := u.Count(mailsync.BecameBack)
	if back == 0 {
		return ""
	}
	after, gone := w.aside(), []string(nil)
	for name, text := range before {
		if _, ok := after[name]; !ok {
			gone = append(gone, text)
		}
	}
	for _, text := range gone {
		raw := text
		text = unix(raw)
		w.promise.form(wire(raw), text)
		if len(gone) == back {
			w.promise.makes(text, false)
		}
		if len(gone) != back || w.promise.account.isLimited(text) { // some were too old, or it is transferred although it is too large
			w.promise.touches(text, false)
			w.promise.mayStay(text, w.promise.stays[text]+1)
		}
	}
	return fmt.Sprintf("undo brings back %d", back)
}

// loseState removes the state database, in two-way mode.
func (w *World) loseState() string {
	if w.running || w.promise.account.Mode != plan.TwoWay {
		return ""
	}
	w.memory.clear()
	w.promise.losesState()
	for _, f := range w.messageFiles() {
		w.promise.form(wire(f.raw), f.text) // what lone line feeds are on the server is forgotten
	}
	return "the state database is lost"
}

// aside are the texts of the files that were put aside for undo, by their paths.
func (w *World) aside() map[string]string {
	all := map[string]string{}
	var walk func(dir string)
	walk = func(dir string) {
		_ = w.Disk.Person().List(dir, func(name string, mode fs.FileMode) bool {
			if p := path.Join(dir, name); mode.IsDir() {
				walk(p)
			} else if text := w.read(p); strings.HasPrefix(text, "From: ") || strings.HasPrefix(text, "Subject: ") {
				all[p] = text
			}
			return true
		})
	}
	walk(".satchel/undo")
	walk("satchel-undo")
	return all
}

// release lets what dead connections had sent arrive.
func (w *World) release() {
	for text := range w.promise.did {
		switch n := w.Server.UnderWay(strings.ReplaceAll(text, "\n", "\r\n")); {
		case n == 0:
		case w.promise.jumped:
			w.promise.mayStay(text, w.promise.stays[text]+1) // it is known for a day
		case w.promise.strayed(text):
			w.promise.mayStay(text, w.promise.stays[text]+n)
		default:
			w.promise.arrived[text]++
		}
	}
	w.Server.ReleaseGhosts()
}

// --- Bytes ---

// serverForm is a text as a server may hold it: some have lone line feeds, among others or alone.
func (a Act) serverForm(w *World, text string) string {
	raw := strings.ReplaceAll(text, "\n", "\r\n")
	switch {
	case w.wide && a.C%12 == 10:
		return strings.TrimSuffix(raw, "\r\n") + "\n"
	case w.wide && a.C%12 == 11:
		return text
	}
	return raw
}

// fileForm is a text as a mail client may write it: some write CRLFs.
func (a Act) fileForm(w *World, text string) string {
	if w.wide && a.C%12 == 10 {
		return strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

// wire is what a file is on the server.
func wire(raw string) string {
	if strings.Contains(raw, "\r\n") {
		return raw
	}
	return strings.ReplaceAll(raw, "\n", "\r\n")
}

// form notes that a text may be these bytes on the server.
func (p *promise) form(raw, text string) string {
	if p.forms[text] == nil {
		p.forms[text] = map[string]bool{}
	}
	p.forms[text][raw] = true
	return raw
}

// altered says which message is other bytes than somebody made, empty if none is.
func (w *World) altered() string {
	for _, b := range w.Server.Snapshot().Mailboxes {
		for _, m := range b.Messages {
			if !w.promise.forms[unix(m.Raw)][m.Raw] {
				return fmt.Sprintf("altered: the server has %q", m.Raw)
			}
		}
	}
	for _, f := range w.messageFiles() {
		if forms := w.promise.forms[f.text]; !forms[f.raw] && !forms[wire(f.raw)] {
			return fmt.Sprintf("altered: the Maildir has %q", f.raw)
		}
	}
	return ""
}
