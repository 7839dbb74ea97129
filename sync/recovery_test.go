package sync_test

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestUploadOfAMovedMessageIsCutOff: the message left INBOX on both sides, and its upload into its new folder is
// cut off. What INBOX showed must not be forgotten before the upload is known.
func TestUploadOfAMovedMessageIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	r6 := w.message("r6")
	uid := w.arrive("INBOX", r6, `\Seen`)
	w.sync()
	w.put("Lists", w.message("l7"), "R")
	w.move(w.file("INBOX", r6), "Lists")
	w.server.Expunge("INBOX", uid)
	done := false
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "append" && !s.After && !done {
			done = true
			return model.Action{Kind: model.Ghost}
		}
		return model.Action{}
	})
	w.try()
	if !done {
		t.Fatal("nothing was uploaded")
	}
	w.server.SetFault(nil)
	w.sync()
	w.server.ReleaseGhosts()
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Lists": {`l7 \Answered`, `r6 \Seen`}})
	w.quiet()
}

// TestHalfMadeFolder: a run that made a local folder was stopped before it was whole, or the disk was full. The next one
// completes it, whether there are messages to be delivered or not: without cur mail clients don't see it.
func TestHalfMadeFolder(t *testing.T) {
	t.Parallel()
	for _, subs := range [][]string{{"tmp"}, {"tmp", "new"}} {
		w := newWorld(t, model.Full())
		w.sync()
		for _, name := range []string{"A", "B"} {
			w.server.CreateMailbox(name)
			for _, sub := range subs {
				w.must(os.MkdirAll(filepath.Join(w.dir(name), sub), 0o700))
			}
		}
		w.arrive("A", w.message("m"))
		w.sync()
		w.want(map[string][]string{"INBOX": {}, "A": {"m"}, "B": {}})
		for _, name := range []string{"A", "B"} {
			for _, sub := range []string{"cur", "new", "tmp"} {
				if _, err := os.Stat(filepath.Join(w.dir(name), sub)); err != nil {
					t.Errorf("made with %v: %v", subs, err)
				}
			}
		}
		w.quiet()
	}
}

// TestFolderThatCantBeLookedInto: it is reported, and nothing is deleted because of it.
func TestFolderThatCantBeLookedInto(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	w.arrive("A", w.message("m"))
	w.sync()
	away := w.dir("A") + "-elsewhere"
	w.must(os.Rename(w.dir("A"), filepath.Join(t.TempDir(), "A")))
	w.must(os.Symlink(away, w.dir("A")))
	for range 2 {
		res := w.try()
		if res.Fatal != nil || len(res.Errors) == 0 {
			t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
		}
		if n := len(w.serverTree()["A"]); n != 1 {
			t.Fatalf("the server has %d messages in A", n)
		}
	}
}

// TestRecoveryReadsEachFolderOnce: what a run costs that finds many deliveries of a killed one grows with the folders, or with the deliveries, not
// with both.
func TestRecoveryReadsEachFolderOnce(t *testing.T) {
	t.Parallel()
	const folders, messages = 24, 100
	w := newWorld(t, model.Full())
	for i := range folders {
		f := fmt.Sprintf("F%02d", i)
		w.server.CreateMailbox(f)
		w.arrive(f, w.message(f))
	}
	w.sync()
	for i := range messages {
		w.arrive("INBOX", w.message(fmt.Sprint("m", i)))
	}
	w.on(func(real maildir.FS, s *steps) maildir.FS { return deliveryFS{linkFS{real, w.root, s}, false} }, 0)
	if n := len(w.intents()); n != messages {
		t.Fatalf("%d intents", n)
	}
	var read atomic.Int64
	w.on(func(real maildir.FS, _ *steps) maildir.FS { return countingFS{real, &read} }, 0)
	if n := read.Load(); n > 3*2*(folders+1) {
		t.Errorf("%d directories read", n)
	}
	if n := len(w.files("INBOX")); n != messages {
		t.Errorf("%d messages", n)
	}
}

// countingFS counts the readings of directories.
type countingFS struct {
	maildir.FS
	read *atomic.Int64
}

func (c countingFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	c.read.Add(1)
	return c.FS.Names(dir, each)
}

// TestMovedAwayAndBackIsNoGhost: an upload was sent twice, its one copy is moved away and back by a person, and has
// another UID now. It is the message, not a ghost of it.
func TestMovedAwayAndBackIsNoGhost(t *testing.T) {
	t.Parallel()
	for _, back := range []string{"before the next run", "after one"} {
		t.Run(back, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("Lists")
			w.sync()
			w.put("INBOX", w.message("m"), "S")
			dropped := false
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "append" && !s.After && !dropped {
					dropped = true
					return model.Action{Kind: model.Drop}
				}
				return model.Action{}
			})
			w.try()
			w.server.SetFault(nil)
			w.sync()
			box, _ := w.server.Snapshot().Mailbox("INBOX")
			to := w.server.Move("INBOX", "Lists", box.Messages[0].UID)
			if back == "after one" {
				w.sync()
			}
			w.server.Move("Lists", "INBOX", to[0])
			w.sync()
			w.want(map[string][]string{"INBOX": {`m \Seen`}, "Lists": {}})
			w.quiet()
		})
	}
}

// TestEchoOfAMovedMessage: what a dead connection had sent arrives when it has been sent again and the message was moved on. It goes
// all the same, but nothing that people moved there does.
func TestEchoOfAMovedMessage(t *testing.T) {
	t.Parallel()
	moved := func(w *world, from, to string) {
		box, _ := w.server.Snapshot().Mailbox(from)
		w.server.Move(from, to, box.Messages[0].UID)
	}
	once := map[string][]string{"INBOX": {}, "Lists": {`m \Seen`}, "Work": {}}
	for _, c := range []struct {
		name string
		do   func(w *world, text string)
		want map[string][]string
	}{
		{"here", func(w *world, text string) {
			w.move(w.file("INBOX", text), "Lists")
			w.server.ReleaseGhosts()
		}, once},
		{"here, and synchronised", func(w *world, text string) {
			w.move(w.file("INBOX", text), "Lists")
			w.sync()
			w.server.ReleaseGhosts()
		}, once},
		{"there, and synchronised", func(w *world, text string) {
			moved(w, "INBOX", "Lists")
			w.sync()
			w.server.ReleaseGhosts()
		}, once},
		{"no echo: an equal one that came under another date and was stored there anew", func(w *world, text string) {
			uid := w.server.Append("Work", wire(text), mail.NewFlags(`\Seen`), time.Date(2025, 6, 3, 10, 0, 0, 0, time.UTC))
			w.sync()
			box, _ := w.server.Snapshot().Mailbox("INBOX")
			w.server.Append("INBOX", wire(text), mail.NewFlags(`\Seen`), box.Messages[0].Date)
			w.server.Expunge("Work", uid)
		}, map[string][]string{"INBOX": {`m \Seen`, `m \Seen`}, "Lists": {}, "Work": {}}},
		{"no echo: it went away and back, and was copied", func(w *world, text string) {
			moved(w, "INBOX", "Lists")
			moved(w, "Lists", "INBOX")
			box, _ := w.server.Snapshot().Mailbox("INBOX")
			w.server.Copy("INBOX", "Work", box.Messages[0].UID)
		}, map[string][]string{"INBOX": {`m \Seen`}, "Lists": {}, "Work": {`m \Seen`}}},
		{"no echo: a twin that takes its place", func(w *world, text string) {
			w.put("Work", text, "S")
			w.sync()
			moved(w, "INBOX", "Lists")
			moved(w, "Work", "INBOX")
		}, map[string][]string{"INBOX": {`m \Seen`}, "Lists": {`m \Seen`}, "Work": {}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := model.Full()
			o.EmailIDs = false
			w := newWorld(t, o)
			w.server.CreateMailbox("Lists")
			w.server.CreateMailbox("Work")
			w.sync()
			text := w.message("m")
			w.put("INBOX", text, "S")
			broke := false
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "append" && !s.After && !broke {
					broke = true
					return model.Action{Kind: model.Ghost}
				}
				return model.Action{}
			})
			w.sync() // it is sent again in the next pass
			w.server.SetFault(nil)
			if w.server.Ghosts() != 1 {
				t.Fatal("nothing is under way")
			}
			c.do(w, text)
			w.sync()
			w.want(c.want)
			w.quiet()
		})
	}
}

// TestEchoWithTheLastUID: what can't be told from a message that was moved away and back is let be, also if there is no UID behind its own.
func TestEchoWithTheLastUID(t *testing.T) {
	t.Parallel()
	o := model.Full()
	o.EmailIDs = false
	w := newWorld(t, o)
	w.server.CreateMailbox("Lists")
	w.sync()
	w.put("INBOX", w.message("m"), "S")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && !s.After }, func() model.Action { return model.Action{Kind: model.Ghost} }))
	w.sync() // it is sent again in the next pass
	box, _ := w.server.Snapshot().Mailbox("INBOX")
	w.server.Move("INBOX", "Lists", box.Messages[0].UID)
	w.server.SetUIDNext("INBOX", ^mail.UID(0))
	w.server.ReleaseGhosts()
	fetches := 0
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "fetch" && !s.After {
			fetches++
		}
		if fetches > 100 {
			return model.Action{Kind: model.Drop}
		}
		return model.Action{}
	})
	res := w.try()
	if res.Fatal != nil || len(res.Errors) > 0 || fetches > 100 {
		t.Fatalf("%d fetches, %v, %v", fetches, res.Fatal, res.Errors)
	}
	w.want(map[string][]string{"INBOX": {`m \Seen`}, "Lists": {`m \Seen`}})
}

// TestRootReplaced: with the state elsewhere, a Maildir that is missing or empty is taken for a disk that is not
// mounted, and one that was copied is compared.
func TestRootReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.set.StatePath = filepath.Join(t.TempDir(), "state.db")
	text := w.message("m")
	w.arrive("INBOX", text)
	w.sync()
	away := filepath.Join(t.TempDir(), "away")
	refused := func() {
		t.Helper()
		var setup *mailsync.SetupError
		if res := w.try(); !asSetup(res.Fatal, &setup) {
			t.Errorf("fatal = %v", res.Fatal)
		}
		if n := len(w.serverTree()["INBOX"]); n != 1 {
			t.Fatalf("the server has %d messages", n)
		}
	}
	w.must(os.Rename(w.root, away))
	refused()
	if _, err := os.Stat(w.root); err == nil {
		t.Error("the root was made anew")
	}
	w.must(os.Mkdir(w.root, 0o700))
	refused()
	w.must(os.RemoveAll(w.root))
	w.must(os.CopyFS(w.root, os.DirFS(away)))
	w.must(os.Remove(w.file("INBOX", text)))
	if res := w.sync(); len(res.Notes) == 0 {
		t.Error("it does not say that the Maildir was replaced")
	}
	w.want(map[string][]string{"INBOX": {"m"}})
	w.quiet()
}

// TestDryRunOfARename shows the rename alone, and changes nothing.
func TestDryRunOfARename(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *world {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("A/B")
		w.server.CreateMailbox("A")
		w.arrive("A", w.message("a"))
		w.arrive("A/B", w.message("b"))
		w.sync()
		return w
	}
	dry := func(t *testing.T, w *world) {
		t.Helper()
		before := w.String()
		w.opt.DryRun = true
		res := w.sync()
		w.opt.DryRun = false
		for _, op := range res.Plan {
			if op.Kind != plan.SetFlags {
				t.Errorf("planned: %+v", op)
			}
		}
		if len(res.FolderPlan) == 0 {
			t.Error("the rename is not planned")
		}
		if after := w.String(); after != before {
			t.Errorf("it changed something:\n%s\n%s", before, after)
		}
		w.sync()
		w.same()
	}
	t.Run("in the Maildir", func(t *testing.T) {
		w := start(t)
		w.must(os.Rename(w.dir("A"), w.dir("Z")))
		w.reflag(w.files("Z")[0], "S")
		dry(t, w)
	})
	t.Run("on the server", func(t *testing.T) {
		w := start(t)
		w.server.RenameMailbox("A", "Z")
		w.reflag(w.files("A")[0], "S")
		dry(t, w)
	})
}

// TestTrashIsExcluded: the trash folder was synchronised once, and is left out since. Deletions still go there.
func TestTrashIsExcluded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Trash")
	a, b := w.message("a"), w.message("b")
	w.arrive("INBOX", a)
	w.arrive("INBOX", b)
	w.arrive("Trash", w.message("old"))
	w.set.Policy.Trash = "Trash"
	w.sync()
	w.set.Exclude = []string{"Trash"}
	w.must(os.Remove(w.file("INBOX", a)))
	w.sync()
	if got := w.serverTree().subjects(); got != "INBOX: b\nTrash: a, old\n" {
		t.Errorf("server: %s", got)
	}
	w.set.Exclude = nil
	w.sync()
	w.want(map[string][]string{"INBOX": {"b"}, "Trash": {"a", "old"}})
	w.quiet()
}

// TestCopyToAnExcludedTrashIsCutOff: the answer to a copy into a folder that the configuration leaves out is lost. It is looked for there all
// the same, as soon as the server lets us, and not made twice.
func TestCopyToAnExcludedTrashIsCutOff(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"never synchronised": false, "synchronised before": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
			refused := false
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return unsaid{s, "Trash", &refused} }}
			w.server.CreateMailbox("Trash")
			w.set.Policy.Trash = "Trash"
			text := w.message("m")
			w.arrive("INBOX", text)
			w.arrive("INBOX", w.message("other"))
			w.arrive("Trash", w.message("old"))
			if known {
				w.sync()
			}
			w.set.Exclude = []string{"Trash"}
			w.sync()
			w.must(os.Remove(w.file("INBOX", text)))
			w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && s.After }, func() model.Action {
				refused = true // from the next look on
				return model.Action{Kind: model.Drop}
			}))
			w.try()
			w.server.SetFault(nil)
			if res := w.try(); len(res.Errors) == 0 {
				t.Error("nothing is said of the refusal")
			}
			refused = false
			w.sync()
			if got := w.serverTree().subjects(); got != "INBOX: other\nTrash: m, old\n" {
				t.Errorf("server: %s", got)
			}
			if left := w.intents(); len(left) > 0 {
				t.Errorf("left: %+v", left)
			}
			w.quiet()
		})
	}
}

// TestTakenAndMovedOn: without UIDPLUS, another client moves or deletes a message before anybody can look at which one it is. The mailbox
// gave a UID away that nothing has any more, so the message is followed.
func TestTakenAndMovedOn(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(s *model.Server, uid mail.UID)
		want map[string][]string
	}{
		{"moved", func(s *model.Server, uid mail.UID) { s.Move("INBOX", "Lists", uid) }, map[string][]string{"INBOX": {"old"}, "Lists": {"m \\Seen"}}},
		{"deleted", func(s *model.Server, uid mail.UID) { s.Expunge("INBOX", uid) }, map[string][]string{"INBOX": {"old"}, "Lists": nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, model.Options{CondStore: true, Move: true})
			w.server.CreateMailbox("Lists")
			w.arrive("INBOX", w.message("old"))
			w.sync()
			w.put("INBOX", w.message("m"), "S")
			w.server.SetFault(func(s model.Step) model.Action {
				if box, _ := w.server.Snapshot().Mailbox("INBOX"); s.Op == "append" && s.After && len(box.Messages) > 1 {
					c.do(w.server, box.Messages[1].UID)
				}
				return model.Action{}
			})
			w.sync()
			w.want(c.want)
			w.quiet()
		})
	}
}

// TestTakenIsNotSentAgain: a server without UIDPLUS says that it took a message, and has nothing that could be it. It is never sent
// again.
func TestTakenIsNotSentAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, Move: true})
	w.sync()
	w.put("INBOX", w.message("m"), "S")
	sent := 0
	w.dialer = between{w.dialer, func(s remote.Session) remote.Session { return swallowing{s, &sent} }}
	for range 3 {
		if res := w.try(); res.Fatal != nil || len(res.Errors) != 1 {
			t.Fatal(res.Fatal, res.Errors)
		}
		w.server.Expunge("INBOX", w.arrive("INBOX", w.message("read and deleted there"))) // that a UID is free now says nothing of it
		w.now = w.now.Add(time.Minute)
	}
	w.now = w.now.Add(25 * time.Hour)
	w.try()
	w.sync()
	if got := w.localTree().subjects(); got != "INBOX: m \\Seen\n" || sent != 1 {
		t.Errorf("sent %d times; Maildir: %s", sent, got)
	}
}

// swallowing takes messages and stores none.
type swallowing struct {
	remote.Session
	sent *int
}

func (s swallowing) Append(_ context.Context, _ remote.Box, _ mail.UID, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) ([]remote.Message, error) {
	for i := range uploads {
		sent(i)
		done(i, remote.Appended{})
		*s.sent++
	}
	return nil, nil
}

// TestCopiesThatKeepComingLate: on a line that breaks at every COPY the attempts are one thing to remember, not one each; and all that arrive
// late in the end are known for what they are.
func TestCopiesThatKeepComingLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	w.server.CreateMailbox("Lists")
	text := w.message("a")
	w.arrive("INBOX", text)
	w.sync()
	w.move(w.file("INBOX", text), "Lists")
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "copy" && !s.After {
			return model.Action{Kind: model.Ghost}
		}
		return model.Action{}
	})
	for range 4 {
		w.try()
	}
	w.server.SetFault(nil)
	attempts := w.server.Ghosts()
	if got := w.intents(); attempts < 4 || len(got) > 2 {
		t.Errorf("after %d attempts %d are remembered", attempts, len(got))
	}
	w.server.ReleaseGhosts()
	if n := len(w.serverTree()["Lists"]); n != attempts {
		t.Errorf("%d copies arrived of %d", n, attempts)
	}
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "Lists": {"a"}})
	w.quiet()
}

// intents are those that the state has.
func (w *world) intents() (all []state.Intent) {
	w.t.Helper()
	db, err := state.OpenReader(context.Background(), filepath.Join(w.root, ".satchel.db"))
	w.must(err)
	defer db.Close()
	w.must(db.View(context.Background(), func(tx *state.Tx) (err error) { all, err = tx.Intents(); return err }))
	return all
}

// TestMovedWithItsKeywords: a message that somebody moves in the Maildir keeps its keywords on both sides, whatever letters the two folders have for them.
func TestMovedWithItsKeywords(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, letters string
		renamed       bool // the folder that it comes from, with what is left in it, before the next sync
	}{{"no letter", "", false}, {"another letter", "0 urgent\n1 todo\n", false}, {"its old folder renamed", "", true}} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			for _, f := range []string{"A", "B"} {
				w.mkfolder(f)
			}
			text := w.message("m")
			path := w.put("A", text, "S")
			w.put("A", w.message("left"), "S")
			w.must(os.WriteFile(filepath.Join(w.dir("A"), "dovecot-keywords"), []byte("0 todo\n"), 0o600))
			if tc.letters != "" {
				w.must(os.WriteFile(filepath.Join(w.dir("B"), "dovecot-keywords"), []byte(tc.letters), 0o600))
			}
			path = w.reflag(path, "Sa")
			w.sync()
			w.same()
			w.must(os.Rename(path, filepath.Join(w.dir("B"), "cur", filepath.Base(path))))
			a := "A"
			if tc.renamed {
				a = "A2"
				w.must(os.Rename(w.dir("A"), w.dir(a)))
			}
			w.opt.DryRun = true
			res := w.sync()
			w.opt.DryRun = false
			if slices.ContainsFunc(res.Plan, func(op plan.Op) bool {
				return op.Kind == plan.SetFlags && op.Side == plan.Server && !op.Add.Equal(op.Remove)
			}) {
				t.Errorf("a dry run plans %+v", res.Plan)
			}
			w.sync()
			w.want(map[string][]string{"INBOX": {}, a: {`left \Seen`}, "B": {`m \Seen todo`}})
			w.quiet()
			w.verify(true)
		})
	}
}

// movingFS has somebody move what is in one folder to another one, before the first is read.
type movingFS struct {
	maildir.FS
	dir  string
	once *sync.Once
	move func()
}

func (m movingFS) List(dir string, each func(string, fs.FileMode) bool) error {
	if dir == m.dir {
		m.once.Do(m.move)
	}
	return m.FS.List(dir, each)
}

func (m movingFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	if dir == m.dir {
		m.once.Do(m.move)
	}
	return m.FS.Names(dir, each)
}

// TestMovedWhileItIsLookedFor: a sync ends at each of its commits, and while the next one looks for what it had delivered somebody moves that to a
// folder which was looked through already.
func TestMovedWhileItIsLookedFor(t *testing.T) {
	t.Parallel()
	for cut := 0; ; cut++ {
		w := newPairWorld(t)
		w.server.Expunge("A", w.uid)
		w.sync()
		w.arrive("C", w.message("new"))
		commits := w.dieAfter(cut)
		real, err := maildir.OSFS(w.root)
		w.must(err)
		w.fs = movingFS{real, "C/new", new(sync.Once), func() {
			if files := w.files("C"); len(files) == 1 {
				w.move(files[0], "A")
			}
		}}
		w.try()
		w.fs = nil
		w.sync()
		w.sync()
		if a, b := w.serverTree().subjects(), w.localTree().subjects(); a != b || strings.Count(a, ": new") != 1 {
			t.Errorf("cut %d of %d: the server has\n%s\nthe Maildir\n%s", cut, commits, a, b)
		}
		if commits <= cut {
			if cut < 2 {
				t.Error("it commits nothing: the test proves nothing")
			}
			return
		}
	}
}
