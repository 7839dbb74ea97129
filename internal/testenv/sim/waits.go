package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// Waits are mailboxes that are read-only during a round, and what people do until they open again.
type Waits struct {
	Shut []int // which ones
	Then []Act // once all is done that can be done
}

// makeWait has mailboxes be read-only for a while in one half of the histories, and a guard whose decisions take time in the other.
func (h *History) makeWait(r *rand.Rand, often [verbs]int) {
	if h.Wide {
		h.Account.Mode, h.Account.Waits, h.Account.Guard = plan.TwoWay, true, 1+r.IntN(3)
		return
	}
	for i := range h.Rounds {
		waits := &Waits{Shut: []int{r.IntN(1 << 20)}}
		if r.IntN(2) == 0 {
			waits.Shut = append(waits.Shut, r.IntN(1<<20))
		}
		for range r.IntN(4) {
			waits.Then = append(waits.Then, someAct(r, often))
		}
		h.Rounds[i].Waits = waits
	}
}

// shut makes mailboxes read-only.
func (w *World) shut(which []int) (names []string) {
	boxes := w.Server.Snapshot().Mailboxes
	for _, n := range which {
		name := boxes[n%len(boxes)].Name
		w.Server.SetReadOnly(name, true)
		names = append(names, name)
	}
	w.Uneasy, w.promise.readOnly = true, true
	return names
}

// open has all be done that can be done, then people act, and then one mailbox after the other takes changes again.
func (w *World) open(waits *Waits) (story []string, err error) {
	if err := w.Settle(); err != nil {
		return nil, fmt.Errorf("with mailboxes that are read-only: %w", err)
	}
	for _, a := range waits.Then {
		if what := a.do(w); what != "" {
			story = append(story, "  then "+what)
		}
	}
	w.Disk.Settle()
	for _, b := range w.Server.Snapshot().Mailboxes {
		if snap := w.Server.Snapshot(); !b.ReadOnly || !slices.Contains(snap.Names(), b.Name) {
			continue
		}
		w.Server.SetReadOnly(b.Name, false)
		w.Sync(nil) // which may find more to do, or give another one another name
		story = append(story, "  takes changes again: "+b.Name+"; sync")
	}
	for _, b := range w.Server.Snapshot().Mailboxes {
		w.Server.SetReadOnly(b.Name, false)
	}
	w.Uneasy = false
	return story, nil
}

// goesOn is what comes while the guard holds deletions back and nobody has decided: new mail, syncs of one folder, syncs that are
// interrupted. It says what went although it was held.
func (w *World) goesOn(r *rand.Rand) (story []string, wrong string) {
	server, local := w.ServerTree().texts(), w.LocalTree().texts()
	_, pending := w.ServerTree().withoutPending(w.LocalTree(), w.promise.account)
	for range 1 + r.IntN(3) {
		for range r.IntN(4) {
			a := Act{Verb: Makes, Server: r.IntN(2) == 0, A: r.IntN(1 << 20), B: r.IntN(1 << 20), C: 12*r.IntN(1<<10) + 2}
			if a.Server {
				a.A = a.A/16*16 + 2 // with a flag that does not have it removed
			}
			if what := a.do(w); what != "" {
				story = append(story, "  held, and "+what)
			}
		}
		w.Disk.Settle()
		if folders := w.Folders(); r.IntN(3) > 0 {
			w.Ask = mailsync.Options{Targets: []mail.FolderName{mail.FolderName(folders[r.IntN(len(folders))])}}
		}
		var fault *Fault
		if r.IntN(2) == 0 {
			fault = someFault(r, wideWeights)
			if fault.Kind == Meddles {
				fault.Kind = Dies
			}
		}
		w.Sync(fault)
		story = append(story, fmt.Sprintf("  held, and a sync of %v, %s", w.Ask.Targets, w.gate.hit))
		w.promise.cutOff = w.promise.cutOff || w.gate.hit != ""
		w.Ask = mailsync.Options{}
		w.release()
	}
	if _, err := w.settle(); err != nil {
		return story, "while deletions are held back: " + err.Error()
	}
	for i, was := range [2]map[string]int{server, local} {
		now := [2]Tree{w.ServerTree(), w.LocalTree()}[i].texts()
		for text, n := range was {
			if now[text] < n && pending[text] == 0 {
				return story, fmt.Sprintf("its deletion was held, and %s went from the %s: it was there %d times, and now is %d times\nserver holds\n%sMaildir holds\n%s",
					subjectOf(text), [2]string{"server", "Maildir"}[i], n, now[text], w.ServerTree(), w.LocalTree())
			}
		}
	}
	return story, ""
}
