package sync_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestFolderThatTheServerRefuses: it waits, and nothing else does.
func TestFolderThatTheServerRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.put("Bad", w.message("b"), "S")
	w.put("Good", w.message("g"), "S")
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "create" && s.Mailbox == "Bad" {
			return model.Action{Kind: model.Refuse, Code: "CANNOT", Text: "no such names here"}
		}
		return model.Action{}
	})
	for range 2 {
		res := w.try()
		if res.Fatal != nil || len(res.Errors) == 0 || !strings.Contains(res.Errors[0].Error(), "no such names here") {
			t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
		}
		if got, want := w.serverTree().subjects(), expectedString(map[string][]string{"INBOX": {}, "Good": {`g \Seen`}}); got != want {
			t.Fatalf("the server holds\n%s", got)
		}
		if n := len(w.localTree()["Bad"]); n != 1 {
			t.Fatalf("Bad holds %d messages", n)
		}
	}
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Good": {`g \Seen`}, "Bad": {`b \Seen`}})
	w.quiet()
}

// TestTwoMailboxesOfOneName: two mailboxes would be one folder here. Their messages are never mixed.
func TestTwoMailboxesOfOneName(t *testing.T) {
	t.Parallel()
	for from, to := range map[string]string{"X": "A", "A": "X"} {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("A")
		w.server.CreateMailbox("X")
		w.arrive("A", w.message("a"))
		w.arrive("X", w.message("x"))
		want := map[string][]string{"INBOX": {}, "A": {"a"}, "X": {"x"}}
		w.set.Map = map[string]string{from: to}
		for range 3 {
			res := w.try()
			if res.Fatal != nil || len(res.Errors) != 1 || res.Errors[0].Folder != mail.FolderName(to) {
				t.Errorf("%s as %s: fatal %v, errors %v", from, to, res.Fatal, res.Errors)
			}
			if got := w.serverTree().subjects(); got != expectedString(want) {
				t.Fatalf("%s as %s: the server holds\n%s", from, to, got)
			}
			if tree := w.localTree(); len(tree[to]) != 1 || len(tree[from]) != 0 {
				t.Fatalf("%s as %s:\n%s", from, to, w)
			}
		}
		w.set.Map = nil
		w.sync()
		w.want(want)
		w.quiet()
	}
}

// TestSwappedNames: two mailboxes exchange their names.
func TestSwappedNames(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"with identities": model.Full(), "without": nameless(), "bare": {}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			w.server.CreateMailbox("A")
			w.server.CreateMailbox("B")
			a := w.message("a1")
			w.arrive("A", a)
			w.arrive("A", w.message("a2"), `\Seen`)
			w.arrive("B", w.message("b1"), `\Answered`)
			w.sync()
			w.server.RenameMailbox("A", "aside")
			w.server.RenameMailbox("B", "A")
			w.server.RenameMailbox("aside", "B")
			w.reflag(w.file("A", a), "F")
			res := w.sync()
			w.want(map[string][]string{"INBOX": {}, "A": {`b1 \Answered`}, "B": {`a1 \Flagged`, `a2 \Seen`}})
			if res.ToMaildir.New+res.ToServer.New != 0 {
				t.Errorf("messages were transferred: %+v %+v", res.ToMaildir, res.ToServer)
			}
			w.quiet()
		})
	}
}

// shortList leaves mailboxes out when it lists them.
type shortList struct {
	remote.Session
	show func(name string) bool
}

func (l shortList) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	list, err := l.Session.Mailboxes(ctx)
	return slices.DeleteFunc(list, func(m remote.Mailbox) bool { return !l.show(m.Name) }), err
}

// TestListCutShort: mailboxes that the server does not list, and has, are not deleted here.
func TestListCutShort(t *testing.T) {
	t.Parallel()
	for name, show := range map[string]func(string) bool{
		"empty":      func(string) bool { return false },
		"only INBOX": func(name string) bool { return name == "INBOX" },
		"half":       func(name string) bool { return name < "B" },
	} {
		for _, busy := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", busy ", busy), func(t *testing.T) {
				w := newWorld(t, model.Full())
				want := map[string][]string{"INBOX": {"i"}, "A": {"a"}, "B": {"b"}, "B/C": {"c"}}
				for f, subjects := range want {
					if f != "INBOX" {
						w.server.CreateMailbox(f)
					}
					w.arrive(f, w.message(subjects[0]))
				}
				w.sync()
				w.dialer = between{w.server, func(s remote.Session) remote.Session { return shortList{s, show} }}
				w.server.SetFault(func(s model.Step) model.Action {
					if busy && s.Op == "status" {
						return model.Action{Kind: model.Refuse, Code: "UNAVAILABLE", Text: "the disk is away"}
					}
					return model.Action{}
				})
				for range 3 {
					if res := w.try(); res.Fatal == nil && len(res.Errors) == 0 {
						t.Error("nothing was reported")
					}
					w.want(want)
				}
				w.server.SetFault(nil)
				w.dialer = w.server
				w.sync()
				w.want(want)
				w.quiet()
			})
		}
	}
}

// TestDeletedFolderAboveOneLeftOut: a folder is deleted in the Maildir, and on the server there is a mailbox below it that the configuration leaves out. It keeps its name.
func TestDeletedFolderAboveOneLeftOut(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"excluded", "mapped"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("Work")
			w.server.CreateMailbox("Work/Archive")
			w.arrive("Work/Archive", w.message("kept"))
			w.arrive("Work", w.message("m"))
			if how == "excluded" {
				w.set.Exclude = []string{"Work/Archive"}
			} else {
				w.set.Map = map[string]string{"Work/Archive": "Old"}
			}
			w.sync()
			w.must(os.RemoveAll(w.dir("Work")))
			w.sync()
			w.sync()
			if _, ok := w.server.Snapshot().Mailbox("Work/Archive"); !ok {
				t.Errorf("Work/Archive is gone\n%s", w)
			}
		})
	}
}

// TestAnotherMailboxIsNoRename: a server gives all mailboxes one UIDVALIDITY. One is deleted, and another made whose UIDs begin alike: it is not the first under another name.
func TestAnotherMailboxIsNoRename(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nameless())
	w.server.CreateMailbox("A")
	w.server.SetUIDValidity("A", 1)
	for _, s := range []string{"a1", "a2", "a3"} {
		w.arrive("A", w.message(s))
	}
	w.sync()
	w.server.DeleteMailbox("A")
	w.server.CreateMailbox("B")
	w.server.SetUIDValidity("B", 1)
	for _, s := range []string{"b1", "b2", "b3", "b4"} {
		w.arrive("B", w.message(s), `\Flagged`)
	}
	w.sync()
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "B": {`b1 \Flagged`, `b2 \Flagged`, `b3 \Flagged`, `b4 \Flagged`}})
}

// TestAnotherMailboxOfTheSameMessages: a mailbox is deleted or loses its name, and another one with the same UIDVALIDITY has a copy of its messages. It is
// taken for the first, and what the mod-sequence of that would leave out is read.
func TestAnotherMailboxOfTheSameMessages(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		happens func(*model.Server)
		want    map[string][]string
	}{
		"beside it": {func(s *model.Server) { s.RenameMailbox("Work", "New") },
			map[string][]string{"INBOX": {}, "New": {`m \Flagged`}, "New/Old": {`m \Flagged`}}},
		"in its stead": {func(s *model.Server) { s.DeleteMailbox("Work/Old"); s.RenameMailbox("Work", "New") },
			map[string][]string{"INBOX": {}, "New": {`m \Flagged`}}},
	} {
		t.Run(name, func(t *testing.T) {
			o := nameless()
			o.SharedUIDValidity = true
			w := newWorld(t, o)
			w.server.CreateMailbox("Work")
			w.server.CreateMailbox("Work/Old")
			w.arrive("Work/Old", w.message("m"))
			w.sync()
			w.server.Store("Work/Old", true, mail.NewFlags(`\Flagged`), 1)
			w.server.Copy("Work/Old", "Work", 1)
			tc.happens(w.server)
			w.sync()
			w.want(tc.want)
			w.quiet()
		})
	}
}

// TestMailboxTakenInIsNoRename: a mailbox was deleted on the server, and another one of the same second, with the same UIDs and sizes, comes into scope.
func TestMailboxTakenInIsNoRename(t *testing.T) {
	o := model.Full()
	o.MailboxIDs, o.EmailIDs = false, false
	w := newWorld(t, o)
	w.server.CreateMailbox("A")
	w.server.CreateMailbox("B")
	for _, s := range []string{"a1", "a2", "a3"} {
		w.arrive("A", w.message(s))
	}
	for _, s := range []string{"b1", "b2", "b3", "b4"} {
		w.arrive("B", w.message(s))
	}
	w.server.SetUIDValidity("A", 1234567890)
	w.server.SetUIDValidity("B", 1234567890)
	w.set.Exclude = []string{"B"}
	w.sync()
	w.sync()
	w.server.DeleteMailbox("A")
	w.set.Exclude = nil
	for range 3 {
		w.sync()
	}
	w.want(map[string][]string{"INBOX": {}, "B": {"b1", "b2", "b3", "b4"}})
}

// TestMapChanges: a folder that the configuration gives another name is renamed here, and that is all.
func TestMapChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Work")
	w.server.CreateMailbox("Work/Old")
	w.arrive("Work", w.message("a"))
	w.sync()
	w.set.Map = map[string]string{"Work": "Arbeit"}
	if res := w.sync(); res.MaildirFolders.Renamed == 0 || len(res.Errors) != 0 {
		t.Errorf("%d folders are renamed, errors %v", res.MaildirFolders.Renamed, res.Errors)
	}
	if tree := w.localTree(); len(tree["Arbeit"]) != 1 || len(tree["Work"]) != 0 {
		t.Errorf("%s", w)
	}
	w.quiet()
}

// TestRenameThatTheServerRefuses: its messages arrive under the new name all the same, one by one.
func TestRenameThatTheServerRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Work")
	w.arrive("Work", w.message("a"))
	w.sync()
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "rename" {
			return model.Action{Kind: model.Refuse}
		}
		return model.Action{}
	})
	w.must(os.Rename(w.dir("Work"), w.dir("Job")))
	for range 3 {
		if res := w.try(); res.Fatal != nil {
			t.Fatal(res.Fatal)
		}
	}
	if tree := w.serverTree(); len(tree["Job"]) != 1 || len(tree["Work"]) != 0 {
		t.Errorf("%s", w)
	}
}

// TestInboxIsRenamed: RENAME INBOX moves its messages to a new mailbox, and INBOX stays (RFC 9051, section 6.3.6). Some servers rename the
// mailbox itself and make a new INBOX; what comes to either is downloaded, and what was changed here meanwhile goes along.
func TestInboxIsRenamed(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"with identities": model.Full(), "without": nameless(), "bare": {}} {
		for _, moves := range []bool{false, true} {
			for _, mode := range []plan.Mode{plan.TwoWay, plan.Pull, plan.Push, plan.Archive} {
				for _, layout := range []maildir.Layout{maildir.Nested, maildir.PlusPlus} {
					if layout == maildir.PlusPlus && mode != plan.TwoWay {
						continue
					}
					t.Run(fmt.Sprint(name, " ", moves, " ", mode, " ", layout), func(t *testing.T) {
						t.Parallel()
						o := o
						o.MovesInbox = moves
						w := newWorld(t, o)
						w.set.Policy.Mode, w.set.Layout = mode, layout
						w.server.CreateMailbox("INBOX/Below")
						flagged := w.message("flagged")
						w.arrive("INBOX", flagged)
						for _, s := range []string{"a", "b", "c"} {
							w.arrive("INBOX", w.message(s), `\Seen`)
						}
						w.arrive("INBOX/Below", w.message("below"))
						w.sync()
						w.server.RenameMailbox("INBOX", "Old")
						w.arrive("INBOX", w.message("new"))
						w.arrive("Old", w.message("late"))
						old := []string{"flagged", `a \Seen`, `b \Seen`, `c \Seen`, "late"}
						if mode == plan.TwoWay {
							w.reflag(w.file("INBOX", flagged), "F")
							old[0] += ` \Flagged`
						}
						for range 3 {
							w.sync()
						}
						if mode == plan.Push {
							return // it does not take part in what happens on the server; that it goes well is enough
						}
						w.want(map[string][]string{"INBOX": {"new"}, "INBOX/Below": {"below"}, "Old": old})
						w.quiet()
					})
				}
			}
		}
	}
}

// TestInboxIsRenamedHere: a directory that INBOX was renamed to is a new folder, into which its messages have moved.
func TestInboxIsRenamedHere(t *testing.T) {
	t.Parallel()
	for mode, where := range map[plan.Mode]string{plan.TwoWay: "Old", plan.Pull: "INBOX", plan.Push: "Old"} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.set.Policy.Mode = mode
			if mode == plan.Push {
				w.put("INBOX", w.message("a"), "S")
			} else {
				w.arrive("INBOX", w.message("a"), `\Seen`)
			}
			w.sync()
			w.must(os.Rename(w.dir("INBOX"), w.dir("Old")))
			for range 2 {
				w.sync()
			}
			if local, server := w.localTree(), w.serverTree(); len(local[where]) != 1 || len(server[where]) != 1 || len(local["INBOX"])+len(local["Old"]) != 1 ||
				len(server["INBOX"])+len(server["Old"]) != 1 {
				t.Errorf("%s", w)
			}
			w.quiet()
		})
	}
}
