package sync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// undo runs one undo and returns its outcome.
func (w *world) undo(opt mailsync.UndoOptions) *mailsync.Undone {
	w.t.Helper()
	return mailsync.Undo(w.t.Context(), w.set, mailsync.World{Dialer: w.server, Now: func() time.Time { return w.now }}, opt)
}

// undone runs one undo that must go well and bring back n messages.
func (w *world) undone(n int, opt mailsync.UndoOptions) *mailsync.Undone {
	w.t.Helper()
	u := w.undo(opt)
	if u.Fatal != nil || len(u.Errors) > 0 {
		w.t.Fatalf("undo: %v %v", u.Fatal, u.Errors)
	}
	if u.Sync != nil && (u.Sync.Fatal != nil || len(u.Sync.Errors) > 0) {
		w.t.Fatalf("the sync of undo: %v %v", u.Sync.Fatal, u.Sync.Errors)
	}
	if got := u.Count(mailsync.BecameBack); got != n {
		w.t.Fatalf("%d messages came back, want %d: %+v\n%s", got, n, u.Messages, w)
	}
	return u
}

// expunge deletes a message on the server and lets a sync remove it here.
func (w *world) expunge(mailbox string, uids ...mail.UID) {
	w.t.Helper()
	w.server.Expunge(mailbox, uids...)
	if res := w.sync(); res.ToMaildir.Deleted == 0 {
		w.t.Fatalf("nothing was removed here\n%s", w)
	}
	w.now = w.now.Add(time.Minute)
}

// aside are the files that are kept, below the root.
func (w *world) aside() []string {
	w.t.Helper()
	root := ".satchel"
	if w.set.Layout == maildir.PlusPlus {
		root = "satchel-undo"
	}
	var out []string
	err := filepath.WalkDir(filepath.Join(w.root, root), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.t.Fatal(err)
	}
	return out
}

// TestUndo: what the server lost comes back on both sides, once, as it was.
func TestUndo(t *testing.T) {
	t.Parallel()
	for _, layout := range []maildir.Layout{maildir.Nested, maildir.PlusPlus} {
		t.Run(string(layout), func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.set.Layout = layout
			w.server.CreateMailbox("Archive/2024")
			text := w.message("gone")
			uid := w.arrive("Archive/2024", text, `\Seen`, `\Flagged`, "Work")
			w.arrive("INBOX", w.message("stays"))
			w.sync()
			before := w.file("Archive/2024", text)
			w.expunge("Archive/2024", uid)
			w.want(map[string][]string{"INBOX": {"stays"}, "Archive/2024": {}})

			u := w.undone(1, mailsync.UndoOptions{})
			m := u.Messages[0]
			if m.Folder != "Archive/2024" || m.Flags.String() != `\Flagged \Seen Work` || m.Became != mailsync.BecameBack {
				t.Errorf("%+v", m)
			}
			if u.OneWay || u.Sync == nil || u.Sync.ToServer.New != 1 || u.Sync.ToMaildir != (mailsync.Count{}) {
				t.Errorf("%+v", u.Sync)
			}
			w.want(map[string][]string{"INBOX": {"stays"}, "Archive/2024": {`gone \Flagged \Seen Work`}})
			if after := w.file("Archive/2024", text); after != before {
				t.Errorf("it came back as %s, was %s", after, before)
			}
			box, _ := w.server.Snapshot().Mailbox("Archive/2024")
			if got, want := box.Messages[0].Date, time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC); !got.Equal(want) {
				t.Errorf("it came back with the date %v, was %v", got, want)
			}
			if left := w.aside(); len(left) != 0 {
				t.Errorf("left aside: %q", left)
			}
			w.quiet()

			if again := w.undone(0, mailsync.UndoOptions{}); again.Sync != nil || len(again.Messages) != 0 {
				t.Errorf("a second undo: %+v", again)
			}
			w.want(map[string][]string{"INBOX": {"stays"}, "Archive/2024": {`gone \Flagged \Seen Work`}})

			// And it can go and come again.
			w.expunge("Archive/2024", box.Messages[0].UID)
			w.undone(1, mailsync.UndoOptions{})
			w.want(map[string][]string{"INBOX": {"stays"}, "Archive/2024": {`gone \Flagged \Seen Work`}})
			w.quiet()
		})
	}
}

func TestUndoFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	for _, f := range []string{"A", "A/B"} {
		w.server.CreateMailbox(f)
		w.arrive(f, w.message("in "+f), `\Seen`, "Todo")
	}
	w.sync()
	w.server.DeleteMailbox("A/B")
	w.server.DeleteMailbox("A")
	w.sync()
	w.want(map[string][]string{"INBOX": {}})
	w.undone(2, mailsync.UndoOptions{})
	w.want(map[string][]string{"INBOX": {}, "A": {`in A \Seen Todo`}, "A/B": {`in A/B \Seen Todo`}})
	w.quiet()
}

// TestUndoEqual: what the folder has again is not doubled, and messages that are alike are as many as they were.
func TestUndoEqual(t *testing.T) {
	t.Parallel()
	t.Run("somebody stored it on the server again", func(t *testing.T) {
		w := newWorld(t, model.Full())
		text := w.message("m")
		w.expunge2(w.arrive("INBOX", text))
		w.arrive("INBOX", text)
		w.sync()
		u := w.undone(0, mailsync.UndoOptions{})
		if u.Count(mailsync.BecamePresent) != 1 || u.Sync != nil {
			t.Errorf("%+v", u)
		}
		w.want(map[string][]string{"INBOX": {"m"}})
		if left := w.aside(); len(left) != 1 {
			t.Errorf("aside: %q", left)
		}
	})
	t.Run("somebody stored it on the server again, and no sync knows it yet", func(t *testing.T) {
		w := newWorld(t, model.Full())
		text := w.message("m")
		w.expunge2(w.arrive("INBOX", text))
		w.arrive("INBOX", text, `\Flagged`)
		w.undone(1, mailsync.UndoOptions{})
		w.want(map[string][]string{"INBOX": {`m \Flagged`}})
		w.quiet()
	})
	t.Run("it was removed twice", func(t *testing.T) {
		w := newWorld(t, model.Full())
		text := w.message("m")
		w.expunge2(w.arrive("INBOX", text))
		w.expunge2(w.arrive("INBOX", text, `\Seen`))
		dry := w.undone(1, mailsync.UndoOptions{DryRun: true})
		u := w.undone(1, mailsync.UndoOptions{})
		for _, u := range []*mailsync.Undone{dry, u} {
			if u.Count(mailsync.BecamePresent) != 1 || u.Messages[0].Became != mailsync.BecameBack {
				t.Errorf("%+v", u.Messages)
			}
		}
		w.want(map[string][]string{"INBOX": {`m \Seen`}})
	})
	t.Run("twins", func(t *testing.T) {
		w := newWorld(t, model.Full())
		text := w.message("m")
		w.expunge2(w.arrive("INBOX", text), w.arrive("INBOX", text))
		w.undone(2, mailsync.UndoOptions{})
		w.want(map[string][]string{"INBOX": {"m", "m"}})
		w.quiet()
	})
	t.Run("another message of the same size, and one under the same name", func(t *testing.T) {
		w := newWorld(t, model.Full())
		text := w.message("one")
		uid := w.arrive("INBOX", text)
		w.sync()
		path := w.file("INBOX", text)
		w.expunge("INBOX", uid)
		other := strings.ReplaceAll(text, "one", "two")
		w.must(os.WriteFile(path, []byte(other), 0o600))
		w.undone(1, mailsync.UndoOptions{})
		w.want(map[string][]string{"INBOX": {"one", "two"}})
		w.quiet()
	})
}

// expunge2 is expunge of messages of INBOX that no sync has seen yet.
func (w *world) expunge2(uids ...mail.UID) {
	w.t.Helper()
	w.sync()
	w.expunge("INBOX", uids...)
}

func TestUndoWhat(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	early, late, other := w.arrive("INBOX", w.message("early")), w.arrive("INBOX", w.message("late")), w.arrive("A", w.message("other"))
	w.arrive("INBOX", w.message("deleted here"))
	w.sync()
	w.must(os.Remove(w.fileOf("INBOX", "deleted here")))
	w.sync()
	w.expunge("INBOX", early)
	w.now = w.now.Add(time.Hour)
	w.server.Expunge("A", other)
	w.expunge("INBOX", late)

	before := w.listing()
	list := w.undo(mailsync.UndoOptions{List: true})
	if len(list.Messages) != 3 || list.Fatal != nil || list.Sync != nil || list.Count(mailsync.BecameKept) != 3 {
		t.Fatalf("%+v", list)
	}
	if m := list.Messages[0]; m.Subject != "late" || m.From != "a@example.org" || m.Size == 0 || m.Arrived.Year() != 2025 || w.now.Sub(m.Removed) > 2*time.Minute {
		t.Errorf("%+v", m)
	}
	if got := w.undo(mailsync.UndoOptions{List: true, Targets: []mail.FolderName{"A"}}); len(got.Messages) != 1 || got.Messages[0].Subject != "other" {
		t.Errorf("%+v", got.Messages)
	}
	w.undone(3, mailsync.UndoOptions{DryRun: true})
	if after := w.listing(); after != before {
		t.Errorf("looking changed something:\n%s\nwas\n%s", after, before)
	}

	w.undone(1, mailsync.UndoOptions{Targets: []mail.FolderName{"INBOX"}, Since: w.now.Add(-30 * time.Minute)})
	w.want(map[string][]string{"INBOX": {"late"}, "A": {}})
	w.undone(1, mailsync.UndoOptions{Targets: []mail.FolderName{"A"}})
	w.want(map[string][]string{"INBOX": {"late"}, "A": {"other"}})
	w.undone(1, mailsync.UndoOptions{})
	w.want(map[string][]string{"INBOX": {"early", "late"}, "A": {"other"}})
	w.quiet()
}

// fileOf finds a message's file by its subject.
func (w *world) fileOf(folder, subject string) string {
	w.t.Helper()
	for _, f := range w.files(folder) {
		if b, err := os.ReadFile(f); err == nil && strings.Contains(string(b), "\nSubject: "+subject+"\n") {
			return f
		}
	}
	w.t.Fatalf("no file in %s has the subject %s\n%s", folder, subject, w)
	return ""
}

// listing spells out all names below the root with their times, but for the database's and the lock's.
func (w *world) listing() string {
	w.t.Helper()
	var b strings.Builder
	w.must(filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == w.root || strings.HasPrefix(d.Name(), ".satchel.") {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime())
		}
		return err
	}))
	return b.String()
}

// away is a server that can't be reached.
type away struct{}

func (away) Dial(context.Context) (remote.Session, error) {
	return nil, &remote.Error{Class: remote.Unreachable, Op: "connecting", Err: errors.New("nobody there")}
}

func TestUndoWithoutTheServer(t *testing.T) {
	t.Parallel()
	for _, since := range []bool{false, true} {
		w := newWorld(t, model.Full())
		w.expunge2(w.arrive("INBOX", w.message("m"), `\Seen`))
		if since { // it was synchronised before, so that a limit that it is outside of now does not hold it up
			w.set.Since = func(time.Time) time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }
		}
		u := mailsync.Undo(t.Context(), w.set, mailsync.World{Dialer: away{}}, mailsync.UndoOptions{})
		if u.Fatal != nil || u.Count(mailsync.BecameBack) != 1 || u.Sync == nil || remote.ClassOf(u.Sync.Fatal) != remote.Unreachable {
			t.Fatalf("%+v", u)
		}
		if got := w.localTree().subjects(); got != "INBOX: m \\Seen\n" {
			t.Errorf("Maildir: %s", got)
		}
		if res := w.sync(); res.ToServer.New != 1 {
			t.Errorf("%+v", res)
		}
		w.want(map[string][]string{"INBOX": {`m \Seen`}})
		w.quiet()
	}
}

// TestUndoLimits: since and max_message_size are for messages that were never synchronised.
func TestUndoLimits(t *testing.T) {
	t.Parallel()
	for what, limit := range map[string]func(*mailsync.Settings){
		"since":            func(s *mailsync.Settings) { s.Since = func(now time.Time) time.Time { return now } },
		"max_message_size": func(s *mailsync.Settings) { s.MaxMessageSize = 10 },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, model.Full())
			uid := w.arrive("INBOX", w.message("m"))
			w.sync()
			limit(&w.set)
			w.expunge("INBOX", uid)
			w.put("INBOX", w.message("never synchronised"), "S")
			w.must(os.Chtimes(w.fileOf("INBOX", "never synchronised"), time.Unix(1e9, 0), time.Unix(1e9, 0)))
			w.undone(1, mailsync.UndoOptions{})
			if got := w.serverTree().subjects(); got != "INBOX: m\n" {
				t.Errorf("server: %s", got)
			}
			if got := w.localTree().subjects(); got != "INBOX: m, never synchronised \\Seen\n" {
				t.Errorf("Maildir: %s", got)
			}
			w.quiet()
			box, _ := w.server.Snapshot().Mailbox("INBOX")
			w.expunge("INBOX", box.Messages[0].UID)
			w.undone(1, mailsync.UndoOptions{})
			if got := w.serverTree().subjects(); got != "INBOX: m\n" {
				t.Errorf("server, the second time: %s", got)
			}
		})
	}
}

func TestUndoModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []plan.Mode{plan.Pull, plan.Archive} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, model.Full())
			uid := w.arrive("INBOX", w.message("m"), `\Flagged`)
			w.sync()
			w.expunge("INBOX", uid)
			w.set.Policy.Mode = mode // which in archive mode removes nothing by itself
			u := w.undone(1, mailsync.UndoOptions{})
			if !u.OneWay || u.Sync == nil || u.Sync.ToServer != (mailsync.Count{}) || u.Sync.ToMaildir != (mailsync.Count{}) {
				t.Errorf("%+v", u)
			}
			for range 2 {
				if got := w.localTree().subjects(); got != "INBOX: m \\Flagged\n" {
					t.Errorf("Maildir: %s", got)
				}
				if got := w.serverTree().subjects(); got != "INBOX: \n" {
					t.Errorf("server: %s", got)
				}
				w.quiet()
			}
		})
	}
	t.Run("expunge", func(t *testing.T) {
		w := newWorld(t, model.Full())
		w.set.Policy.Expunge = true
		text := w.message("m")
		w.arrive("INBOX", text, `\Seen`)
		w.sync()
		w.reflag(w.file("INBOX", text), "ST")
		w.sync()
		w.want(map[string][]string{"INBOX": {}})
		w.undone(1, mailsync.UndoOptions{})
		w.want(map[string][]string{"INBOX": {`m \Seen`}})
		w.quiet()
	})
}

// TestUndoAfterACrash: the run that put a message aside was stopped before it recorded that.
func TestUndoAfterACrash(t *testing.T) {
	t.Parallel()
	for _, deleted := range []bool{true, false} {
		t.Run(fmt.Sprintf("deleted on the server: %v", deleted), func(t *testing.T) {
			w := newWorld(t, model.Full())
			text := w.message("m")
			uid := w.arrive("INBOX", text, `\Seen`)
			w.sync()
			path := w.file("INBOX", text)
			dir := filepath.Join(w.root, ".satchel", "undo", maildir.RunName(w.now), "INBOX")
			w.must(os.MkdirAll(dir, 0o700))
			w.must(os.Rename(path, filepath.Join(dir, filepath.Base(path))))
			if deleted {
				w.server.Expunge("INBOX", uid)
			}
			w.undone(1, mailsync.UndoOptions{})
			w.want(map[string][]string{"INBOX": {`m \Seen`}})
			w.quiet()
		})
	}
	t.Run("a run of undo was stopped before its sync", func(t *testing.T) {
		w := newWorld(t, model.Full())
		w.expunge2(w.arrive("INBOX", w.message("m"), `\Seen`))
		md, err := maildir.Open(w.root, w.set.Layout, maildir.Options{})
		w.must(err)
		kept, _, err := md.Kept()
		w.must(err)
		for _, o := range md.Restore("INBOX", kept, 0) {
			w.must(o.Err)
		}
		w.must(md.Close())
		w.undone(0, mailsync.UndoOptions{})
		w.sync()
		w.want(map[string][]string{"INBOX": {`m \Seen`}})
		w.quiet()
	})
}

// TestUndoInterrupted: whenever the line breaks, the message is on both sides once in the end.
func TestUndoInterrupted(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("A")
		one, two := w.arrive("INBOX", w.message("one"), `\Seen`), w.arrive("A", w.message("two"), "Work")
		w.sync()
		w.server.Expunge("INBOX", one)
		w.server.Expunge("A", two)
		w.server.DeleteMailbox("A")
		w.sync()
		steps := 0
		w.server.SetFault(func(model.Step) model.Action {
			if steps++; steps != n {
				return model.Action{}
			}
			return model.Action{Kind: model.Ghost}
		})
		u := w.undo(mailsync.UndoOptions{})
		w.server.SetFault(nil)
		if u.Fatal != nil || u.Count(mailsync.BecameBack) != 2 || len(u.Errors) > 0 {
			t.Fatalf("step %d: %+v", n, u)
		}
		w.sync()
		w.server.ReleaseGhosts()
		w.sync()
		w.want(map[string][]string{"INBOX": {`one \Seen`}, "A": {"two Work"}})
		w.quiet()
		if steps < n {
			break
		}
	}
}

// TestUndoFails: what can't be brought back is named and stays, and the rest comes.
func TestUndoFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	one, two := w.arrive("INBOX", w.message("one")), w.arrive("A", w.message("two"))
	w.sync()
	w.server.Expunge("INBOX", one)
	w.expunge("A", two)
	run := filepath.Dir(filepath.Dir(w.aside()[0]))
	w.must(os.Symlink("/etc/passwd", filepath.Join(run, "INBOX", "link:2,S")))
	w.must(os.RemoveAll(w.dir("A")))
	w.must(os.WriteFile(w.dir("A"), nil, 0o600))
	u := w.undo(mailsync.UndoOptions{})
	if u.Fatal != nil || u.Count(mailsync.BecameBack) != 1 || u.Count(mailsync.BecameFailed) != 1 || len(u.Errors) != 2 {
		t.Fatalf("%+v", u)
	}
	for _, m := range u.Messages {
		if (m.Folder == "A") != (m.Err != nil) {
			t.Errorf("%+v", m)
		}
	}
	if left := w.aside(); len(left) != 2 {
		t.Errorf("aside: %q", left)
	}
	if text := string(w.must2(os.ReadFile("/etc/passwd"))); text == "" {
		t.Error("the link's target was emptied")
	}
	w.must(os.Remove(w.dir("A")))
	if u := w.undo(mailsync.UndoOptions{Targets: []mail.FolderName{"A"}}); u.Count(mailsync.BecameBack) != 1 || len(u.Errors) != 0 {
		t.Errorf("%+v", u)
	}
	w.want(map[string][]string{"INBOX": {"one"}, "A": {"two"}})
}

func (w *world) must2(b []byte, err error) []byte {
	w.t.Helper()
	w.must(err)
	return b
}

func TestUndoRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	if u := w.undone(0, mailsync.UndoOptions{}); u.Sync != nil {
		t.Errorf("before the first sync: %+v", u)
	}
	if _, err := os.Stat(w.root); !errors.Is(err, fs.ErrNotExist) {
		t.Error("it made the Maildir")
	}
	w.expunge2(w.arrive("INBOX", w.message("m")))
	md, err := maildir.Open(w.root, w.set.Layout, maildir.Options{})
	w.must(err)
	w.must(md.Lock())
	if u := w.undo(mailsync.UndoOptions{}); !errors.Is(u.Fatal, mailsync.ErrLocked) || u.Count(mailsync.BecameKept) != 1 {
		t.Errorf("locked: %+v", u)
	}
	if u := w.undo(mailsync.UndoOptions{List: true}); u.Fatal != nil || len(u.Messages) != 1 {
		t.Errorf("listing needs no lock: %+v", u)
	}
	w.must(md.Close())
	stop := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(stop)
	if u := mailsync.Undo(ctx, w.set, mailsync.World{Dialer: w.server}, mailsync.UndoOptions{}); !errors.Is(u.Fatal, stop) {
		t.Errorf("stopped: %+v", u)
	}
	w.set.Root = filepath.Join(w.root, "not", "mounted")
	var setup *mailsync.SetupError
	if u := w.undo(mailsync.UndoOptions{List: true}); !errors.As(u.Fatal, &setup) || !strings.Contains(u.Fatal.Error(), "account test: ") {
		t.Errorf("not mounted: %v", u.Fatal)
	}
	w.set.Root = w.root
	w.undone(1, mailsync.UndoOptions{})
	w.want(map[string][]string{"INBOX": {"m"}})
}

// TestUndoKeptHowLong: by the age of the removal, in every mode, and not at all once it is turned off.
func TestUndoKeptHowLong(t *testing.T) {
	t.Parallel()
	for _, mode := range []plan.Mode{plan.TwoWay, plan.Pull, plan.Push, plan.Archive} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, model.Full())
			old := w.message("old") // which is no reason to keep it shorter
			w.expunge2(w.arrive("INBOX", old))
			w.now = w.now.Add(23 * time.Hour)
			w.expunge2(w.arrive("INBOX", w.message("young")))
			w.set.Policy.Mode = mode
			w.sync()
			if left := w.aside(); len(left) != 2 {
				t.Fatalf("after 23 hours: %q", left)
			}
			w.now = w.now.Add(2 * time.Hour)
			w.sync()
			if left := w.aside(); len(left) != 1 {
				t.Errorf("after 25 hours: %q", left)
			}
			w.set.Undo = 0
			w.now = w.now.Add(-5 * time.Hour) // the clock was wrong, which leaves nothing for ever
			w.sync()
			if left := w.aside(); len(left) != 0 {
				t.Errorf("turned off: %q", left)
			}
		})
	}
}
