package sync_test

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestMovedToATarget: a message was moved on the server, and the folder that it came to is synchronised alone, while here, or later, something happens
// to it at its old place. It is one message, with its flags.
func TestMovedToATarget(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"full": model.Full(), "bare": {}, "CONDSTORE": {CondStore: true, UIDPlus: true, Move: true}} {
		for _, tc := range []struct {
			what      string
			here      func(w *pairWorld)
			elsewhere func(w *pairWorld)
			want      string
		}{
			{"moved here too", func(w *pairWorld) { w.move(w.file(), "C") }, func(*pairWorld) {}, "m"},
			{"flagged here", func(w *pairWorld) { w.reflag(w.file(), "F") }, func(*pairWorld) {}, `m \Flagged`},
			{"renumbered later", func(*pairWorld) {}, func(w *pairWorld) { w.server.Renumber("A") }, "m"},
			{"deleted later", func(*pairWorld) {}, func(w *pairWorld) {
				box, _ := w.server.Snapshot().Mailbox("B")
				w.server.Expunge("B", box.Messages[0].UID)
			}, ""},
		} {
			t.Run(name+", "+tc.what, func(t *testing.T) {
				t.Parallel()
				w := newPairWorldOn(t, o)
				w.server.Move("A", "B", w.uid)
				tc.here(w)
				w.opt = targets("B")
				w.sync()
				tc.elsewhere(w)
				w.opt = targets()
				w.sync()
				want := map[string][]string{"B": {tc.want}}
				if tc.want == "" {
					want = nil
				}
				w.want(boxes(want))
				w.quiet()
			})
		}
	}
}

// TestWaitingMoveAndATarget: the same of a message of which a move in the Maildir waits for a mailbox to take changes, or flags do.
func TestWaitingMoveAndATarget(t *testing.T) {
	t.Parallel()
	for _, flagged := range []bool{false, true} {
		for _, synced := range []bool{false, true} {
			w := newPairWorldOn(t, model.Full())
			want := "m"
			if flagged {
				w.reflag(w.file(), "F")
				want = `m \Flagged`
			}
			w.server.SetReadOnly("C", true)
			w.move(w.file(), "C")
			if synced {
				w.sync()
			}
			w.server.Move("A", "B", w.uid)
			w.opt = targets("B")
			w.sync()
			w.opt = targets()
			w.sync()
			w.server.SetReadOnly("C", false)
			w.sync()
			w.want(boxes(map[string][]string{"B": {want}}))
			w.quiet()
		}
	}
}

// TestTargetLooksWhereItMust: new mail in one folder has only those others read in which something changed.
func TestTargetLooksWhereItMust(t *testing.T) {
	t.Parallel()
	w := newPairWorldOn(t, model.Full())
	other := w.arrive("C", w.message("c"))
	w.sync()
	w.server.Store("C", true, mail.NewFlags(`\Flagged`), other)
	w.arrive("B", w.message("new"))
	var read []string
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "changes" && s.After {
			read = append(read, s.Mailbox)
		}
		return model.Action{}
	})
	w.opt = targets("B")
	w.sync()
	if len(read) != 2 || read[0] != "B" || read[1] != "C" {
		t.Errorf("it read %v", read)
	}
}
