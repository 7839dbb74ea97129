package sync_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// Hazards of docs/hazards.md that concern the engine as a whole.

// between is a dialer with a test between the engine and the server.
type between struct {
	remote.Dialer
	wrap func(remote.Session) remote.Session
}

func (b between) Dial(ctx context.Context) (remote.Session, error) {
	s, err := b.Dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return b.wrap(s), nil
}

// nameless is a server that can do all but give mailboxes and messages identities.
func nameless() model.Options {
	o := model.Full()
	o.MailboxIDs, o.EmailIDs = false, false
	return o
}

// TestReplacedMailboxWithOtherMessages: another mailbox of the same name, with other messages under the same UIDs.
func TestReplacedMailboxWithOtherMessages(t *testing.T) {
	for name, o := range map[string]model.Options{"with identities": model.Full(), "without": nameless()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			w.server.CreateMailbox("A")
			flagged := w.message("old1")
			w.arrive("A", flagged)
			w.arrive("A", w.message("old2"), `\Seen`)
			w.arrive("A", w.message("old3"))
			w.sync()
			w.server.Recreate("A", false)
			w.arrive("A", w.message("new1"))
			w.arrive("A", w.message("new2"), `\Answered`)
			w.arrive("A", w.message("new3"))
			w.reflag(w.file("A", flagged), "F")
			w.sync()
			w.want(map[string][]string{"INBOX": {}, "A": {`old1 \Flagged`, `old2 \Seen`, "old3", "new1", `new2 \Answered`, "new3"}})
			w.quiet()
		})
	}
}

// TestUIDValidityZero: UIDs of such a mailbox mean nothing from one run to the next.
func TestUIDValidityZero(t *testing.T) {
	w := newWorld(t, nameless())
	w.server.SetUIDValidity("INBOX", 0)
	a, b := w.message("a"), w.message("b")
	w.arrive("INBOX", a)
	w.arrive("INBOX", b)
	w.put("INBOX", w.message("c"), "S")
	w.sync()
	w.want(map[string][]string{"INBOX": {"a", "b", `c \Seen`}})
	w.quiet()
	w.reflag(w.file("INBOX", a), "F")
	w.server.Store("INBOX", true, mail.NewFlags(`\Answered`), 2)
	w.sync()
	w.want(map[string][]string{"INBOX": {`a \Flagged`, `b \Answered`, `c \Seen`}})
	w.server.Expunge("INBOX", 1)
	w.sync()
	w.want(map[string][]string{"INBOX": {`a \Flagged`, `b \Answered`, `c \Seen`}})
	w.must(os.Remove(w.file("INBOX", b)))
	w.sync()
	w.want(map[string][]string{"INBOX": {`a \Flagged`, `c \Seen`}})
	w.quiet()
}

// TestUIDNextGoesBack: a server that was restored, or counts anew, under the same UIDVALIDITY.
func TestUIDNextGoesBack(t *testing.T) {
	w := newWorld(t, nameless())
	b := w.message("b")
	w.arrive("INBOX", w.message("a"))
	w.arrive("INBOX", b, `\Seen`)
	w.arrive("INBOX", w.message("c"))
	w.sync()
	w.server.Recreate("INBOX", true)
	w.arrive("INBOX", w.message("x"), `\Flagged`)
	w.arrive("INBOX", b, `\Seen`)
	w.sync()
	w.want(map[string][]string{"INBOX": {"a", `b \Seen`, "c", `x \Flagged`}})
	w.quiet()
}

// TestRecreatedWithTheSameUIDValidity: the mailbox is another one. With as many messages as before it looks like the old one: then
// nothing may be removed because of it, and verify must find it.
func TestRecreatedWithTheSameUIDValidity(t *testing.T) {
	for name, o := range map[string]model.Options{"with identities": model.Full(), "without": nameless(), "bare": {}} {
		for _, n := range []int{0, 2, 3, 4} {
			t.Run(fmt.Sprint(name, " ", n), func(t *testing.T) {
				w := newWorld(t, o)
				w.server.CreateMailbox("A")
				want := []string{"old1", "old2", "old3"}
				for _, s := range want {
					w.arrive("A", w.message(s))
				}
				w.sync()
				w.server.Recreate("A", true)
				for i := range n {
					w.arrive("A", w.message(fmt.Sprint("new", i)), `\Flagged`)
					want = append(want, fmt.Sprintf(`new%d \Flagged`, i))
				}
				w.sync()
				if n < 3 || o.MailboxIDs {
					w.want(map[string][]string{"INBOX": {}, "A": want})
					w.quiet()
					return
				}
				w.sync()
				if tree := w.serverTree(); len(tree["A"]) != n || len(w.localTree()["A"]) != n {
					t.Fatalf("something was removed\n%s", w)
				}
				v := mailsync.Verify(t.Context(), w.set, mailsync.World{Dialer: w.dialer}, mailsync.VerifyOptions{})
				if v.Fatal != nil || len(v.Differences) < 3 {
					t.Errorf("verify finds %v, %v", v.Differences, v.Fatal)
				}
			})
		}
	}
}

// TestUIDsThatMeanOtherMessages: the server numbers its messages anew and says nothing of it. What a person deletes must not
// take another message along.
func TestUIDsThatMeanOtherMessages(t *testing.T) {
	for _, trash := range []string{"", "Trash"} {
		w := newWorld(t, nameless())
		w.set.Policy.Trash = mail.FolderName(trash)
		a, b := w.message("a"), w.message("a longer one")
		w.arrive("INBOX", a)
		w.arrive("INBOX", b)
		w.sync()
		w.server.Recreate("INBOX", true)
		w.arrive("INBOX", b)
		w.arrive("INBOX", a)
		w.must(os.Remove(w.file("INBOX", a)))
		for range 3 {
			w.try()
			if n := len(w.serverTree()["INBOX"]); n != 2 {
				t.Fatalf("trash %q: a message is gone\n%s", trash, w)
			}
			w.file("INBOX", b)
		}
	}
}

// appendLiar tells the engine something else about uploads than the server did.
type appendLiar struct {
	remote.Session
	lie func(remote.Appended) remote.Appended
}

func (l appendLiar) Append(ctx context.Context, mailbox string, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) error {
	return l.Session.Append(ctx, mailbox, uploads, sent, func(i int, r remote.Appended) { done(i, l.lie(r)) })
}

// TestWrongAppendUID: what the server says about an upload is a hint.
func TestWrongAppendUID(t *testing.T) {
	for name, lie := range map[string]func(remote.Appended) remote.Appended{
		"exchanged": func(r remote.Appended) remote.Appended {
			return remote.Appended{UID: mail.UID(r.UIDValidity), UIDValidity: uint64(r.UID)}
		},
		"another mailbox's":         func(r remote.Appended) remote.Appended { r.UIDValidity++; return r },
		"an old message's":          func(r remote.Appended) remote.Appended { r.UID = 1; return r },
		"nothing, in spite of all":  func(remote.Appended) remote.Appended { return remote.Appended{} },
		"one that there is not yet": func(r remote.Appended) remote.Appended { r.UID += 1000; return r },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.arrive("INBOX", w.message("old"))
			w.sync()
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return appendLiar{s, lie} }}
			mine := w.message("mine")
			w.put("INBOX", mine, "S")
			w.sync()
			w.sync()
			w.want(map[string][]string{"INBOX": {"old", `mine \Seen`}})
			w.quiet()
			w.must(os.Remove(w.file("INBOX", mine)))
			w.sync()
			w.want(map[string][]string{"INBOX": {"old"}})
			w.quiet()
		})
	}
}

// lateFlags is a server that shows a flag that was set only when it no longer hides it.
type lateFlags struct {
	remote.Session
	hide *bool
	flag mail.Flags
}

func (l lateFlags) Store(ctx context.Context, box remote.Box, uids mail.UIDSet, add bool, flags mail.Flags) ([]remote.Message, map[mail.UID]error, error) {
	seen, refused, err := l.Session.Store(ctx, box, uids, add, flags)
	if *l.hide {
		seen = nil
	}
	return seen, refused, err
}

func (l lateFlags) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	out, err := l.Session.Fetch(ctx, box, uids, want)
	for i := range out {
		if *l.hide {
			out[i].Flags = out[i].Flags.Minus(l.flag)
		}
	}
	return out, err
}

func (l lateFlags) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	ch, err := l.Session.Changes(ctx, box, since)
	for i := range ch.Flags {
		if *l.hide {
			ch.Flags[i].Flags = ch.Flags[i].Flags.Minus(l.flag)
		}
	}
	return ch, err
}

// TestFlagThatShowsLate: a flag that was set and does not show yet is not read as one that somebody removed.
func TestFlagThatShowsLate(t *testing.T) {
	w := newWorld(t, model.Full())
	m := w.message("m")
	uid := w.arrive("INBOX", m)
	w.sync()
	hide := true
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return lateFlags{s, &hide, mail.NewFlags(`\Flagged`)} }}
	w.reflag(w.file("INBOX", m), "F")
	for range 2 {
		w.sync()
		w.want(map[string][]string{"INBOX": {`m \Flagged`}})
	}
	hide = false
	w.server.Store("INBOX", true, mail.NewFlags(`\Answered`), uid)
	w.sync()
	w.want(map[string][]string{"INBOX": {`m \Flagged \Answered`}})
	w.quiet()
	w.server.Store("INBOX", false, mail.NewFlags(`\Flagged`), uid)
	w.sync()
	w.want(map[string][]string{"INBOX": {`m \Answered`}})
	w.quiet()
}

// TestHalfAMessageIsStored: the connection breaks during an upload, and the server keeps what it had got.
func TestHalfAMessageIsStored(t *testing.T) {
	w := newWorld(t, model.Full())
	w.sync()
	text := w.message("m")
	w.put("INBOX", text, "S")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && !s.After }, func() model.Action {
		w.arrive("INBOX", text[:len(text)-10])
		return model.Action{Kind: model.Drop}
	}))
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {"m", `m \Seen`}})
	w.file("INBOX", text)
	w.same()
	w.quiet()
}

// TestMoveToTrashMarksNothing: where messages that are marked as deleted vanish at once, none is marked that can be moved.
func TestMoveToTrashMarksNothing(t *testing.T) {
	w := newPairWorld(t)
	w.set.Policy.Trash = "Trash"
	w.must(os.Remove(w.file()))
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "mark" || s.Op == "store" || s.Op == "expunge" {
			t.Errorf("%s", s)
		}
		return model.Action{}
	})
	w.sync()
	w.want(boxes(map[string][]string{"Trash": {"m"}}))
}

// TestFewerConnections: the server takes one connection and no more.
func TestFewerConnections(t *testing.T) {
	w := newWorld(t, model.Full())
	w.set.Connections = 4
	want := map[string][]string{"INBOX": {}}
	for _, f := range []string{"A", "B", "C", "D"} {
		w.server.CreateMailbox(f)
		w.arrive(f, w.message("m"+f))
		w.put(f, w.message("l"+f), "S")
		want[f] = []string{"m" + f, "l" + f + ` \Seen`}
	}
	refused := make(chan struct{})
	var tell, wait sync.Once
	w.server.SetFault(func(s model.Step) model.Action {
		switch {
		case s.Op == "dial" && !s.After && s.Session > 1:
			tell.Do(func() { close(refused) })
			return model.Action{Kind: model.Refuse, Code: "LIMIT", Text: "too many connections"}
		case s.Op == "changes" && !s.After:
			wait.Do(func() { // until another worker wants a connection as well
				select {
				case <-refused:
				case <-time.After(10 * time.Second):
					t.Error("no second connection was wanted: the test proves nothing")
				}
			})
		}
		return model.Action{}
	})
	w.sync()
	w.server.SetFault(nil)
	w.want(want)
	w.quiet()
}

// TestOneTryToSignIn: a password that is refused is not tried again, by no other connection either.
func TestOneTryToSignIn(t *testing.T) {
	w := newWorld(t, model.Full())
	w.set.Connections = 4
	for _, f := range []string{"A", "B", "C", "D"} {
		w.server.CreateMailbox(f)
		w.arrive(f, w.message("m"+f))
	}
	var mu sync.Mutex
	dials := 0
	w.server.SetFault(func(s model.Step) model.Action {
		mu.Lock()
		defer mu.Unlock()
		if s.Op == "dial" && !s.After {
			dials++
			return model.Action{Kind: model.Refuse, Code: "AUTHENTICATIONFAILED", Text: "wrong"}
		}
		return model.Action{}
	})
	if res := w.try(); remote.ClassOf(res.Fatal) != remote.Auth || dials != 1 {
		t.Errorf("%d tries, %v", dials, res.Fatal)
	}
}

// TestFolderThatTheServerRefuses: it waits, and nothing else does.
func TestFolderThatTheServerRefuses(t *testing.T) {
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

// TestSameMessageIDOtherContent: two messages of one size and with one Message-ID, or with one header that has none, are two.
func TestSameMessageIDOtherContent(t *testing.T) {
	text := func(id, subject, body string) string {
		return id + "Subject: " + subject + "\nDate: Mon, 02 Jun 2025 10:00:00 +0000\n\n" + body + "\n"
	}
	const id = "Message-ID: <same@example.org>\n"
	for name, texts := range map[string][2]string{
		"another header":                    {text(id, "a", "body 1"), text(id, "b", "body 1")},
		"the same header and no Message-ID": {text("", "a", "body 1"), text("", "a", "body 2")},
	} {
		t.Run(name, func(t *testing.T) {
			one, other := texts[0], texts[1]
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("B")
			uid := w.arrive("INBOX", one)
			w.put("INBOX", other, "S")
			check := func(folder string, texts ...string) {
				t.Helper()
				w.same()
				if len(w.files(folder)) != len(texts) {
					t.Fatalf("%s", w)
				}
				for _, text := range texts {
					w.file(folder, text)
				}
			}
			w.sync()
			check("INBOX", one, other)
			w.quiet()
			// One is moved, the other one deleted: neither is taken for the other.
			w.server.Move("INBOX", "B", uid)
			w.must(os.Remove(w.file("INBOX", other)))
			w.sync()
			check("INBOX")
			check("B", one)
			w.quiet()
		})
	}
}

// TestTwoMailboxesOfOneName: two mailboxes would be one folder here. Their messages are never mixed.
func TestTwoMailboxesOfOneName(t *testing.T) {
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

// TestFileCopiedUnderItsName: a mail reader copies a file into another folder and keeps its name.
func TestFileCopiedUnderItsName(t *testing.T) {
	w := newPairWorld(t, `\Seen`)
	file := w.file()
	w.mkfolder("B")
	copied := filepath.Join(w.dir("B"), "cur", filepath.Base(file))
	w.must(os.WriteFile(copied, []byte(w.text), 0o600))
	w.sync()
	w.want(boxes(map[string][]string{"A": {`m \Seen`}, "B": {`m \Seen`}}))
	w.quiet()
	w.reflag(w.world.file("B", w.text), "FS")
	w.sync()
	w.want(boxes(map[string][]string{"A": {`m \Seen`}, "B": {`m \Flagged \Seen`}}))
	w.must(os.Remove(w.file()))
	w.sync()
	w.want(boxes(map[string][]string{"B": {`m \Flagged \Seen`}}))
	w.quiet()
}

// TestFileReplacedByALink: what can't be read any more is reported and is not gone.
func TestFileReplacedByALink(t *testing.T) {
	for name, put := range map[string]func(path string) error{
		"a link to nowhere": func(path string) error { return os.Symlink("nowhere", path) },
		"a directory":       func(path string) error { return os.Mkdir(path, 0o700) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPairWorld(t, `\Seen`)
			file, away := w.file(), filepath.Join(t.TempDir(), "away")
			w.must(os.Rename(file, away))
			w.must(put(file))
			for range 2 {
				res := w.try()
				if res.Fatal != nil || len(res.Errors) == 0 {
					t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
				}
				if n := len(w.serverTree()["A"]); n != 1 {
					t.Fatalf("the server has %d messages", n)
				}
			}
			w.must(os.Remove(file))
			w.must(os.Rename(away, file))
			w.sync()
			w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
			w.quiet()
		})
	}
}

// TestOlderStateInPlace: an older state database was written over the present one, so that it looks as if it were that.
func TestOlderStateInPlace(t *testing.T) {
	for name, o := range map[string]model.Options{"full": model.Full(), "bare": {}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			w.server.CreateMailbox("B")
			a, b, moved := w.message("a"), w.message("b"), w.message("moved")
			uid := w.arrive("INBOX", a)
			w.arrive("INBOX", b)
			gone := w.arrive("INBOX", w.message("gone"))
			away := w.arrive("INBOX", w.message("away"))
			w.put("INBOX", moved, "S")
			w.sync()
			db := filepath.Join(w.root, ".satchel.db")
			old, err := os.ReadFile(db)
			w.must(err)

			w.arrive("INBOX", w.message("c"))
			w.put("INBOX", w.message("d"), "S")
			w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), uid)
			w.must(os.Remove(w.file("INBOX", b)))
			w.server.Expunge("INBOX", gone)
			w.server.Move("INBOX", "B", away)
			w.move(w.file("INBOX", moved), "B")
			w.sync()
			want := map[string][]string{"INBOX": {`a \Seen`, "c", `d \Seen`}, "B": {"away", `moved \Seen`}}
			w.want(want)

			w.must(os.WriteFile(db, old, 0o600))
			res := w.sync()
			w.want(want)
			if n := res.ToMaildir.New + res.ToServer.New + res.ToMaildir.Deleted + res.ToServer.Deleted; n != 0 {
				t.Errorf("something was copied or deleted: %+v %+v", res.ToMaildir, res.ToServer)
			}
			w.quiet()
		})
	}
}

// TestDamagedState: a state that can't be believed is set aside, and without one nothing is deleted.
func TestDamagedState(t *testing.T) {
	w := newWorld(t, model.Full())
	b := w.message("b")
	gone := w.arrive("INBOX", w.message("a"))
	w.arrive("INBOX", b)
	w.sync()
	db := filepath.Join(w.root, ".satchel.db")
	whole, err := os.ReadFile(db)
	w.must(err)
	w.server.Expunge("INBOX", gone)
	w.must(os.Remove(w.file("INBOX", b)))
	w.must(os.WriteFile(db, whole[:len(whole)/2], 0o600))
	if res := w.sync(); len(res.Warnings) == 0 {
		t.Error("it does not say so")
	}
	w.want(map[string][]string{"INBOX": {"a", "b"}})
	w.quiet()
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

// TestNothingInTheTemporaryDirectory: only a dry run needs a place there, which nobody else can foresee or look into.
func TestNothingInTheTemporaryDirectory(t *testing.T) {
	w := newWorld(t, model.Full())
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	w.arrive("INBOX", w.message("a"))
	dry := true
	w.server.SetFault(func(s model.Step) model.Action {
		entries, err := os.ReadDir(tmp)
		if err != nil {
			t.Error(err)
		}
		for _, e := range entries {
			if info, err := e.Info(); err != nil || info.Mode() != os.ModeDir|0o700 {
				t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
			}
		}
		if s.Op == "list" && (len(entries) == 1) != dry || len(entries) > 1 {
			t.Errorf("%s, dry run %v: the temporary directory holds %v", s, dry, entries)
		}
		return model.Action{}
	})
	w.opt = mailsync.Options{DryRun: true}
	w.sync()
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	w.opt, dry = mailsync.Options{}, false
	w.sync()
	w.want(map[string][]string{"INBOX": {"a"}})
}
