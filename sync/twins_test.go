package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestTwinWhereACommandWasCutOff: a move or an upload is cut off, and somebody moves an equal message to where it was to go. Whether ours
// arrived or not, they are two messages.
func TestTwinWhereACommandWasCutOff(t *testing.T) {
	t.Parallel()
	for server, o := range map[string]model.Options{"move": model.Full(), "copy": {CondStore: true, UIDPlus: true}} {
		for _, command := range []string{"move", "upload"} {
			for _, arrived := range []bool{false, true} {
				for _, twin := range []string{"moved there", "left alone", "moved elsewhere"} {
					t.Run(fmt.Sprintf("%s %s, arrived %v, twin %s", server, command, arrived, twin), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, o)
						for _, f := range []string{"A", "B", "C", "D"} {
							w.server.CreateMailbox(f)
						}
						text := w.message("m")
						uid := w.server.Append("C", wire(text), mail.NewFlags(), time.Date(2025, 6, 3, 10, 0, 0, 0, time.UTC))
						if command == "move" {
							w.arrive("A", text)
							w.sync()
							w.move(w.file("A", text), "B")
						} else {
							w.sync()
							w.put("B", text, "")
						}
						w.server.SetFault(once(func(s model.Step) bool {
							return slices.Contains([]string{"move", "copy", "append"}, s.Op) && s.After == arrived
						}, func() model.Action {
							switch twin {
							case "moved there":
								w.server.Move("C", "B", uid)
							case "moved elsewhere":
								w.server.Move("C", "D", uid)
							}
							return model.Action{Kind: model.Drop}
						}))
						w.try()
						w.server.SetFault(nil)
						w.sync()
						want := map[string][]string{"INBOX": {}, "A": {}, "B": {"m"}, "C": {}, "D": {}}
						to := map[string]string{"moved there": "B", "left alone": "C", "moved elsewhere": "D"}[twin]
						want[to] = append(want[to], "m")
						w.want(want)
						w.quiet()
						if left := w.intents(); slices.ContainsFunc(left, func(in state.Intent) bool { return !in.Settled }) {
							t.Errorf("left: %+v", left)
						}
					})
				}
			}
		}
	}
}

// TestTwinThatIsNotShown: an upload had arrived, and the server does not let anybody look whether an equal message is where it was. It is waited
// for that, for a day at most.
func TestTwinThatIsNotShown(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{true, false} {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("C")
		text := w.message("m")
		w.arrive("C", text)
		w.sync()
		w.put("INBOX", text, "")
		drop := once(func(s model.Step) bool { return s.Op == "append" && s.After }, func() model.Action { return model.Action{Kind: model.Drop} })
		w.server.SetFault(func(s model.Step) model.Action {
			if s.Op == "fetch" && s.Mailbox == "C" && !s.After {
				return model.Action{Kind: model.Refuse}
			}
			return drop(s)
		})
		if res := w.try(); len(res.Errors) == 0 || len(w.intents()) != 1 {
			t.Errorf("errors %v, intents %+v", res.Errors, w.intents())
		}
		if ends {
			w.server.SetFault(nil)
		} else {
			w.now = w.now.Add(25 * time.Hour)
		}
		w.sync()
		w.want(map[string][]string{"INBOX": {"m"}, "C": {"m"}})
		w.quiet()
		if left := w.intents(); len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
	}
}

// TestTwinOfATakenUpload: of two equal messages that are stored the server has taken one and, without UIDPLUS, not said where, and of the other there is no
// answer. What is there is the one that was taken, whatever flags it has by now, because that one is never sent again.
func TestTwinOfATakenUpload(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"in one batch", "flagged meanwhile", "a keyword is lost", "an older one"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := model.Options{Window: 4}
			if name == "a keyword is lost" {
				o.KeywordLimit = 1
			}
			w := newWorld(t, o)
			letters := map[string]string{"in one batch": "F", "flagged meanwhile": "", "a keyword is lost": "Sb", "an older one": "S"}[name]
			if name == "a keyword is lost" {
				w.arrive("INBOX", w.message("old"), "Other")
				w.sync()
				w.must(os.WriteFile(filepath.Join(w.dir("INBOX"), "dovecot-keywords"), []byte("0 Other\n1 Mine\n"), 0o600))
			} else {
				w.sync()
			}
			text := w.message("m")
			first := w.put("INBOX", text, letters)
			info, err := os.Stat(first)
			w.must(err)
			second := func() { w.must(os.Chtimes(w.put("INBOX", text, "S"), info.ModTime(), info.ModTime())) }
			stored, down := 0, false
			w.server.SetFault(func(s model.Step) model.Action {
				switch {
				case down:
					return model.Action{Kind: model.Drop}
				case s.Op != "append" || s.After:
					return model.Action{}
				}
				if stored++; name != "an older one" && stored == 1 {
					return model.Action{}
				}
				if name == "flagged meanwhile" {
					box, _ := w.server.Snapshot().Mailbox("INBOX")
					w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), box.Messages[len(box.Messages)-1].UID)
				}
				down = true
				return model.Action{Kind: model.Drop}
			})
			if name != "an older one" {
				second()
			}
			w.try()
			if name == "an older one" {
				second()
				taken := false
				w.server.SetFault(func(s model.Step) model.Action {
					taken = taken || s.Op == "append" && s.After
					if taken && (s.Op == "fetch" || s.Op == "append") {
						return model.Action{Kind: model.Refuse}
					}
					return model.Action{}
				})
				w.try()
			}
			w.server.SetFault(nil)
			w.try() // the server refuses that keyword again
			w.try()
			if n := strings.Count(w.serverTree().String(), `Subject: m\n`); n != 2 {
				t.Errorf("the server has %d of 2\n%s", n, w)
			}
			if name != "a keyword is lost" {
				w.same()
				w.quiet()
			}
		})
	}
}

// TestTwinWithAnotherDateSince: a message has another INTERNALDATE than when it came, because its mailbox was replaced or somebody stored it anew. When
// it is moved to where a move of an equal one has no answer, it is not taken for that one.
func TestTwinWithAnotherDateSince(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"replaced", "stored anew", "as it came"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model.Options{CondStore: true, UIDPlus: true, Move: true})
			for _, f := range []string{"A", "B", "C", "D"} {
				w.server.CreateMailbox(f)
			}
			w.arrive("C", w.message("other"))
			w.arrive("D", w.message("another"))
			text, date := w.message("m"), time.Date(2025, 6, 3, 10, 0, 0, 0, time.UTC)
			from, uid := "C", w.server.Append("C", wire(text), mail.NewFlags(), date)
			w.arrive("A", text)
			w.sync()
			switch how {
			case "replaced":
				w.server.Recreate("C", false)
				uid = w.server.Append("C", wire(text), mail.NewFlags(), date.Add(time.Hour))
			case "stored anew":
				w.server.Expunge("C", uid)
				from, uid = "D", w.server.Append("D", wire(text), mail.NewFlags(), date.Add(time.Hour))
			}
			w.sync()
			w.sync()
			w.move(w.file("A", text), "B")
			w.server.SetFault(once(func(s model.Step) bool { return s.Op == "move" && !s.After }, func() model.Action {
				w.server.Move(from, "B", uid)
				return model.Action{Kind: model.Drop}
			}))
			w.try()
			w.server.SetFault(nil)
			w.sync()
			if n := strings.Count(w.serverTree().String(), `Subject: m\n`); n != 2 {
				t.Errorf("%d of 2 are left:\n%s", n, w)
			}
			w.same()
		})
	}
}

// TestMoveUnderWayAndATwin: a message is moved here, and the server, which copies it, does not let us look at the copy. An equal one that is put in the
// old place is taken for the message meanwhile. Once the copy is found it is new.
func TestMoveUnderWayAndATwin(t *testing.T) {
	t.Parallel()
	w := newPairWorldOn(t, model.Options{}, `\Seen`)
	text := w.must2(os.ReadFile(w.file()))
	w.move(w.file(), "B")
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "fetch" && s.Mailbox == "B" {
			return model.Action{Kind: model.Refuse}
		}
		return model.Action{}
	})
	w.try()
	w.must(os.WriteFile(filepath.Join(w.dir("A"), "cur", "1.twin.host:2,S"), text, 0o600))
	if res := w.try(); len(res.Errors) == 0 {
		t.Errorf("it is not said that B could not be looked at")
	}
	w.server.SetFault(nil)
	w.sync()
	w.sync()
	w.want(boxes(map[string][]string{"A": {`m \Seen`}, "B": {`m \Seen`}}))
	w.quiet()
}

// TestMovedBackIntoAReplacedMailbox: a message is moved back to its folder, whose mailbox is replaced by another one between the copy and the look
// at it. The message itself, which that folder had before, is no twin that could be taken for the copy.
func TestMovedBackIntoAReplacedMailbox(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("A")
	w.server.CreateMailbox("B")
	text := w.message("m")
	w.arrive("A", w.message("other"))
	uid := w.arrive("A", text)
	w.sync()
	w.set.Policy.Mode = plan.Push
	w.sync()
	w.server.Move("A", "B", uid)
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && s.After }, func() model.Action {
		box, _ := w.server.Snapshot().Mailbox("A")
		w.server.Recreate("A", false)
		for _, m := range box.Messages {
			w.server.Append("A", m.Raw, m.Flags, m.Date)
		}
		return model.Action{Kind: model.Drop}
	}))
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "A": {"m", "other"}, "B": {}})
	w.quiet()
}

// TestTwinsUnderWay: two equal messages that somebody moved on the server are moved back, and the server, which copies them, does not let us look at
// the copies. Neither is taken for one that went astray.
func TestTwinsUnderWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	for _, f := range []string{"A", "B", "C"} {
		w.server.CreateMailbox(f)
	}
	w.arrive("A", w.message("m"))
	w.arrive("A", w.message("m"), `\Seen`)
	w.sync()
	w.set.Policy.Mode = plan.Push
	w.sync()
	w.server.Move("A", "B", 1)
	w.server.Move("A", "C", 2)
	copies := func() int {
		box, _ := w.server.Snapshot().Mailbox("A")
		return len(box.Messages)
	}
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "fetch" && s.Mailbox == "A" && copies() > 0 {
			return model.Action{Kind: model.Refuse}
		}
		return model.Action{}
	})
	w.try()
	if n := copies(); n != 2 {
		t.Fatalf("%d copies are in A", n)
	}
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "A": {"m", `m \Seen`}, "B": {}, "C": {}})
	w.quiet()
}
