package sync_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
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

// TestTargetLooksWhereItMust: new mail in one folder has only those other mailboxes read from which a message may have come.
func TestTargetLooksWhereItMust(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what string
		act  func(w *pairWorld)
		full string // what is read, and on a server without any extension
		bare string
	}{
		{"nothing", func(*pairWorld) {}, "B", "B"},
		{"another one has new flags", func(w *pairWorld) { w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid) }, "B A", "B"},
		{"another one has more", func(w *pairWorld) { w.arrive("A", w.message("x")) }, "B A", "B A"},
		{"another one has less", func(w *pairWorld) { w.server.Expunge("A", w.uid) }, "B A", "B A"},
		{"another one has new letters", func(w *pairWorld) { w.reflag(w.file(), "F") }, "B", "B"},
		{"a deletion waits", func(w *pairWorld) {
			w.server.SetReadOnly("A", true)
			w.must(os.Remove(w.file()))
			w.sync()
			w.sync()
		}, "B", "B"},
	} {
		for name, o := range map[string]model.Options{"full": model.Full(), "bare": {}} {
			t.Run(name+", "+tc.what, func(t *testing.T) {
				t.Parallel()
				w := newPairWorldOn(t, o)
				w.arrive("C", w.message("c"))
				w.sync()
				w.sync()
				tc.act(w)
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
				want := map[string]string{"full": tc.full, "bare": tc.bare}[name]
				if got := strings.Join(read, " "); got != want {
					t.Errorf("it read %q, want %q", got, want)
				}
			})
		}
	}
}

// TestTargetThatCantBeReadAtFirst: the server refuses to show what was moved there when the folder is synchronised alone, and shows it to the next such sync.
func TestTargetThatCantBeReadAtFirst(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"full": model.Full(), "bare": {}} {
		for _, refused := range [][]string{{"fetch"}, {"body"}, {"fetch", "body"}} {
			for _, flagged := range []bool{false, true} {
				t.Run(fmt.Sprint(name, refused, flagged), func(t *testing.T) {
					t.Parallel()
					w := newPairWorldOn(t, o)
					w.server.Move("A", "B", w.uid)
					want := "m"
					if flagged {
						w.reflag(w.file(), "F")
						want = `m \Flagged`
					} else {
						w.move(w.file(), "C")
					}
					w.server.SetFault(func(s model.Step) model.Action {
						if slices.Contains(refused, s.Op) && s.Mailbox == "B" && !s.After {
							return model.Action{Kind: model.Refuse}
						}
						return model.Action{}
					})
					w.opt = targets("B")
					w.try()
					w.try()
					w.server.SetFault(nil)
					w.sync()
					w.opt = targets()
					w.sync()
					w.want(boxes(map[string][]string{"B": {want}}))
					w.quiet()
				})
			}
		}
	}
}

// TestFileInATargetThatCantBeReadAtFirst: the same of a file that was moved there, whose message was moved to yet another folder on the server.
func TestFileInATargetThatCantBeReadAtFirst(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.move(w.file(), "B")
	w.server.Move("A", "C", w.uid)
	w.opt = targets("B")
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = blindFS{real, "B"}
	if res := w.try(); len(res.Errors) == 0 {
		t.Error("it could be read: the test proves nothing")
	}
	w.try()
	w.fs = nil
	w.try()
	w.opt = targets()
	w.sync()
	w.want(boxes(map[string][]string{"C": {"m"}}))
	w.quiet()
}

// TestMovedToATargetWhileItIsRead: it is moved there when the mailboxes were listed already, in the first look at them or, because other mail came during
// that, in the second one.
func TestMovedToATargetWhileItIsRead(t *testing.T) {
	t.Parallel()
	for _, flagged := range []bool{false, true} {
		for _, at := range []int{1, 2} {
			w := newPairWorld(t)
			want := "m"
			if flagged {
				w.reflag(w.file(), "F")
				want = `m \Flagged`
			} else {
				w.move(w.file(), "C")
			}
			all := []string{"x0"}
			w.arrive("B", w.message("x0"))
			n := 0
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op != "changes" || s.Mailbox != "B" || s.After {
					return model.Action{}
				}
				if n++; n == at {
					w.server.Move("A", "B", w.uid)
				} else if n < at {
					all = append(all, fmt.Sprint("x", n))
					w.arrive("B", w.message(fmt.Sprint("x", n)))
				}
				return model.Action{}
			})
			w.opt = targets("B")
			w.sync()
			w.server.SetFault(nil)
			w.opt = targets()
			w.sync()
			w.want(boxes(map[string][]string{"B": append([]string{want}, all...)}))
			w.quiet()
			if n < at {
				t.Error("it was not looked at so often: the test proves nothing")
			}
		}
	}
}

// oldStatus lists A as it was before something happened, and the other mailboxes as they are then.
type oldStatus struct {
	remote.Session
	happens func()
}

func (o oldStatus) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	was, err := o.Session.Mailboxes(ctx)
	if err != nil {
		return nil, err
	}
	o.happens()
	now, err := o.Session.Mailboxes(ctx)
	for i := range now {
		if k := slices.IndexFunc(was, func(b remote.Mailbox) bool { return b.Name == now[i].Name }); k >= 0 && now[i].Name == "A" {
			now[i].Status = was[k].Status
		}
	}
	return now, err
}

// TestTargetListedAfterTheOthers: it is moved there between what the server tells of one mailbox and of the other.
func TestTargetListedAfterTheOthers(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"full": model.Full(), "bare": {}, "CONDSTORE": {CondStore: true, UIDPlus: true, Move: true}} {
		for _, flagged := range []bool{false, true} {
			t.Run(fmt.Sprint(name, flagged), func(t *testing.T) {
				t.Parallel()
				w := newPairWorldOn(t, o)
				want := "m"
				if flagged {
					w.reflag(w.file(), "F")
					want = `m \Flagged`
				} else {
					w.move(w.file(), "C")
				}
				var once sync.Once
				w.dialer = between{w.server, func(s remote.Session) remote.Session {
					return oldStatus{s, func() { once.Do(func() { w.server.Move("A", "B", w.uid) }) }}
				}}
				w.opt = targets("B")
				w.sync()
				w.dialer, w.opt = w.server, targets()
				w.sync()
				w.want(boxes(map[string][]string{"B": {want}}))
				w.quiet()
			})
		}
	}
}

// TestBackToTheOnlyTarget: but one folder none was ever synchronised. Messages are filed on the server from there to another one, and come back later.
func TestBackToTheOnlyTarget(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"full": model.Full(), "bare": {}} {
		for what, here := range map[string]func(w *world, path string) string{
			"nothing": func(*world, string) string { return "m" },
			"flagged": func(w *world, path string) string { w.reflag(path, "F"); return `m \Flagged` },
			"moved": func(w *world, path string) string {
				w.mkfolder("D")
				w.move(path, "D")
				return "m"
			},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, o)
				for _, f := range []string{"A", "B", "C", "D"} {
					w.server.CreateMailbox(f)
				}
				w.arrive("C", w.message("c"))
				text := w.message("m")
				uids := []mail.UID{w.arrive("B", text)}
				all := []string{}
				for i := range 12 {
					all = append(all, fmt.Sprint("x", i))
					uids = append(uids, w.arrive("B", w.message(all[i])))
				}
				w.opt = targets("B")
				w.sync()
				w.server.Move("B", "C", uids...)
				w.sync()
				w.sync()
				want := here(w, w.file("C", text))
				box, _ := w.server.Snapshot().Mailbox("C")
				for _, m := range box.Messages[1:] {
					w.server.Move("C", "B", m.UID)
				}
				w.sync()
				w.opt = targets()
				w.sync()
				w.want(boxes(map[string][]string{"B": append(all, want), "C": {"c"}, "D": {}}))
				w.quiet()
			})
		}
	}
}

// TestFileThatCouldNotBeReadAndATarget: a file that was moved could not be read at its new place, when all was synchronised. Then its message is moved on the server.
func TestFileThatCouldNotBeReadAndATarget(t *testing.T) {
	t.Parallel()
	w := newPairWorld(t)
	w.move(w.file(), "C")
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = blindFS{real, "C"}
	if res := w.try(); len(res.Errors) == 0 {
		t.Error("it could be read: the test proves nothing")
	}
	w.try()
	w.fs = nil
	w.server.Move("A", "B", w.uid)
	w.opt = targets("B")
	w.try()
	w.opt = targets()
	w.sync()
	w.want(boxes(map[string][]string{"B": {"m"}}))
	w.quiet()
}

// TestHeldAndPutIntoATarget: of what went on the server, and is held, one comes to a folder that is synchronised alone. It is that message, whatever the
// person decides.
func TestHeldAndPutIntoATarget(t *testing.T) {
	t.Parallel()
	for _, opt := range []mailsync.Options{{RestoreHeld: true}, {AllowDeletes: true}} {
		w := newPairWorld(t)
		uids := []mail.UID{w.uid}
		for i := range 11 {
			uids = append(uids, w.arrive("A", w.message(fmt.Sprint("x", i))))
		}
		w.sync()
		w.server.Expunge("A", uids...)
		w.holds(12)
		w.arrive("B", w.text)
		w.opt = targets("B")
		w.try()
		w.opt = targets()
		w.try()
		w.ask(opt)
		w.sync()
		if wrong := w.oneIn("B"); wrong != "" {
			t.Error(wrong)
		}
	}
}

// TestLookAlikeInATarget: a message was moved on the server to a folder that was empty, and another one with the same header and size came to one that is
// synchronised alone. It is not taken for the moved one.
func TestLookAlikeInATarget(t *testing.T) {
	t.Parallel()
	w := newPairWorldOn(t, model.Options{CondStore: true, UIDPlus: true, Move: true})
	w.sync()
	w.server.Move("A", "C", w.uid)
	w.arrive("B", strings.Replace(w.text, "This is m.", "This is n.", 1))
	w.opt = targets("B")
	w.sync()
	w.opt = targets()
	w.sync()
	w.same()
	w.quiet()
}

// TestArchiveOfAReplacedMailboxThatIsRenamed: a sync of another folder sees that a mailbox was replaced, and then it has another name, or is gone. An
// archive has its message once.
func TestArchiveOfAReplacedMailboxThatIsRenamed(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		w := newWorld(t, model.Options{UIDPlus: true, Move: true})
		w.server.CreateMailbox("A")
		w.server.CreateMailbox("N")
		w.set.Policy.Mode = plan.Archive
		w.arrive("A", w.message("m"))
		w.sync()
		w.server.Renumber("A")
		w.put("N", w.message("n"), "S")
		if res := w.ask(targets("N")); len(res.Errors) > 0 {
			t.Error(res.Errors)
		}
		want := map[string][]string{"INBOX": {}, "A": {"m"}, "N": {`n \Seen`}}
		if gone {
			w.server.DeleteMailbox("A")
		} else {
			w.server.RenameMailbox("A", "B")
			want["A"], want["B"] = []string{}, []string{"m"}
		}
		w.sync()
		w.sync()
		if got := w.localTree().subjects(); got != expectedString(want) {
			t.Errorf("the Maildir has\n%s\nwanted\n%s", got, expectedString(want))
		}
		w.quiet()
	}
}
