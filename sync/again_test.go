package sync_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestLocalQuiet: what a run did itself is no change, whatever it was; everything else in the Maildir is one.
func TestLocalQuiet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.opt.Patient = true
	w.server.CreateMailbox("A")
	a, b := w.arrive("INBOX", w.message("a")), w.arrive("INBOX", w.message("b"), `\Seen`)
	w.arrive("A", w.message("c"))
	quiet := func(want bool, after string) {
		t.Helper()
		got, err := mailsync.LocalQuiet(t.Context(), w.set, mailsync.World{Dialer: w.dialer, Now: func() time.Time { return w.now }})
		if err != nil || got != want {
			t.Errorf("after %s the Maildir is quiet: %v, %v; want %v", after, got, err, want)
		}
	}
	w.sync()
	quiet(true, "a first run")
	quiet(true, "looking")

	w.arrive("INBOX", w.message("d"))
	w.server.Store("INBOX", true, mail.NewFlags(`\Flagged`), a)
	w.server.Expunge("INBOX", b)
	w.server.CreateMailbox("B")
	w.sync()
	quiet(true, "the server's changes were brought over")

	for _, change := range []struct {
		what string
		do   func()
	}{
		{"a new message", func() { w.put("A", w.message("e"), "") }},
		{"a new folder", func() { w.mkfolder("C") }},
		{"a mark", func() { w.reflag(w.files("A")[0], "F") }},
		{"a move", func() { w.move(w.files("A")[0], "C") }},
		{"a deletion", func() { w.must(os.Remove(w.files("C")[0])) }},
		{"a folder that was removed", func() { w.must(os.RemoveAll(filepath.Join(w.root, "B"))) }},
	} {
		change.do()
		quiet(false, change.what)
		w.sync()
		quiet(true, change.what+" was brought over")
	}
}

// TestKeptSession: a run leaves its connection to the next, and counts only what it exchanged itself.
func TestKeptSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.arrive("INBOX", w.message("a"))
	var kept []remote.Session
	d := &onceDialer{dialer: w.server, kept: &kept}
	run := func() *mailsync.Result {
		t.Helper()
		res := mailsync.Sync(context.Background(), w.set, mailsync.World{Dialer: d, Keep: func(s remote.Session) { kept = append(kept, s) }}, w.opt)
		if res.Fatal != nil || len(res.Errors) > 0 || len(kept) == 0 {
			t.Fatalf("%v, %v, %d sessions kept", res.Fatal, res.Errors, len(kept))
		}
		kept = kept[:1]
		return res
	}
	run()
	w.arrive("INBOX", w.message("b"))
	res := run()
	w.want(map[string][]string{"INBOX": {"a", "b"}})
	if d.dials != 1 {
		t.Errorf("%d connections, want 1", d.dials)
	}
	if res.Marks["INBOX"].Messages != 2 || res.Marks["INBOX"].UIDNext != 3 {
		t.Errorf("the marks are %+v", res.Marks)
	}
}

// onceDialer gives out what was kept.
type onceDialer struct {
	dialer remote.Dialer
	kept   *[]remote.Session
	dials  int
}

// Dial implements remote.Dialer.
func (d *onceDialer) Dial(ctx context.Context) (remote.Session, error) {
	if n := len(*d.kept); n > 0 {
		s := (*d.kept)[n-1]
		*d.kept = (*d.kept)[:n-1]
		return s, nil
	}
	d.dials++
	return d.dialer.Dial(ctx)
}

// TestGuardCountsWhatWent: removals are told, and those of earlier runs count with a run's own.
func TestGuardCountsWhatWent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	for range 14 {
		w.arrive("INBOX", w.message("x"))
	}
	w.sync()
	files := w.files("INBOX")
	for _, f := range files[:8] {
		w.must(os.Remove(f))
	}
	res := w.sync()
	if len(res.Removed) != 1 || res.Removed[0] != (plan.Removed{Side: plan.Server, Folder: "INBOX", Messages: 8}) {
		t.Fatalf("what the run removed is %+v", res.Removed)
	}
	w.opt.Removed = res.Removed
	for _, f := range files[8:11] {
		w.must(os.Remove(f))
	}
	if res := w.sync(); res.HeldBack != 3 || len(res.Removed) != 0 {
		t.Errorf("after 8 of 14, 3 more: %d held back, removed %+v", res.HeldBack, res.Removed)
	}
	w.opt.Removed = nil
	if res := w.sync(); res.HeldBack != 3 {
		t.Errorf("once they were held, by themselves: %d held back", res.HeldBack)
	}
	w.opt.AllowDeletes = true
	if res := w.sync(); res.HeldBack != 0 || len(w.serverTree()["INBOX"]) != 3 {
		t.Errorf("allowed: %d held back, the server has %d", res.HeldBack, len(w.serverTree()["INBOX"]))
	}
}

// TestRemovalsMayWait: messages that are gone from the Maildir are removed from the server when the caller says so; all else is done meanwhile.
func TestRemovalsMayWait(t *testing.T) {
	t.Parallel()
	for _, trash := range []mail.FolderName{"", "Trash"} {
		w := newWorld(t, model.Full())
		w.set.Policy.Trash = trash
		w.server.CreateMailbox("Trash")
		for range 9 {
			w.arrive("INBOX", w.message("x"))
		}
		w.sync()
		files := w.files("INBOX")
		for _, f := range files[:3] {
			w.must(os.Remove(f))
		}
		w.move(files[3], "Trash")
		w.put("INBOX", w.message("new here"), "S")
		w.arrive("INBOX", w.message("new there"))
		var asked []int
		may := false
		w.opt.MayRemove = func(n int) bool { asked = append(asked, n); return may }
		w.sync()
		if got := w.serverTree()["INBOX"]; len(got) < 9+1 || len(w.files("INBOX")) != 9-4+2 {
			t.Errorf("while the removals wait, the server has %q\n%s", got, w)
		}
		may = true
		w.sync()
		w.same()
		w.opt.MayRemove = nil
		w.sync()
		w.same()
		if got := w.serverTree(); len(got["INBOX"]) != 7 || !slices.Equal(asked, []int{3, 3}) {
			t.Errorf("asked for %v, the server has %q", asked, got)
		}
	}
}

// TestPendingRemovalsDontWait: what a server without UIDPLUS has marked and not removed is no removal of this run.
func TestPendingRemovalsDontWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true})
	mine := w.message("mine")
	w.arrive("INBOX", mine)
	theirs := w.arrive("INBOX", w.message("theirs"))
	w.sync()
	w.server.Store("INBOX", true, mail.NewFlags(`\Deleted`), theirs) // so that no EXPUNGE is possible
	w.sync()
	w.must(os.Remove(w.file("INBOX", mine)))
	asked := 0
	w.opt.MayRemove = func(int) bool { asked++; return true }
	w.sync()
	if asked != 1 {
		t.Fatalf("asked %d times", asked)
	}
	for range 3 {
		w.arrive("INBOX", w.message("y"))
		w.sync()
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// syncedDirs notes which directories were made durable.
type syncedDirs struct {
	maildir.FS
	mu   sync.Mutex
	dirs []string
}

// SyncDir implements maildir.FS.
func (s *syncedDirs) SyncDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirs = append(s.dirs, dir)
	return s.FS.SyncDir(dir)
}

// TestAFolderIsDurablyGone: before the mailbox of a folder that somebody removed is removed, the directory that held it is made durable.
func TestAFolderIsDurablyGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Work")
	w.server.CreateMailbox("Work/Old")
	w.arrive("Work/Old", w.message("x"))
	w.sync()
	w.must(os.RemoveAll(w.dir("Work/Old")))
	real, err := maildir.OSFS(w.root)
	w.must(err)
	fs := &syncedDirs{FS: real}
	w.fs = fs
	removed := false
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "expunge" && !s.After {
			removed = true
			fs.mu.Lock()
			defer fs.mu.Unlock()
			if !slices.Contains(fs.dirs, "Work") {
				t.Errorf("before a message is removed from the server, only %q are durable", fs.dirs)
			}
		}
		return model.Action{}
	})
	w.sync()
	if !removed {
		t.Error("nothing was removed")
	}
	w.fs = nil
	w.same()
}

// TestFlagsOfAMarkTakenBack: what could only be marked as deleted, and is there again once somebody takes that mark back, has the flags that it had.
func TestFlagsOfAMarkTakenBack(t *testing.T) {
	w := newWorld(t, model.Options{CondStore: true, Move: true})
	theirs := w.arrive("INBOX", w.message("theirs"))
	text := w.message("m")
	uid := w.arrive("INBOX", text, `\Seen`, `\Flagged`)
	w.sync()
	w.server.Store("INBOX", true, mail.NewFlags(`\Deleted`), theirs) // so that no EXPUNGE is possible
	w.must(os.Remove(w.file("INBOX", text)))
	w.sync()
	w.server.Store("INBOX", false, mail.NewFlags(`\Deleted`), uid)
	w.sync()
	w.same()
	w.quiet()
}
