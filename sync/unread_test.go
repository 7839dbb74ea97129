package sync_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// onceFS fails one operation on one path, once.
type onceFS struct {
	maildir.FS
	op, path string
	once     *sync.Once
}

func (o onceFS) fail(op, path string) (err error) {
	if op == o.op && path == o.path {
		o.once.Do(func() { err = &fs.PathError{Op: op, Path: path, Err: syscall.EIO} })
	}
	return err
}

func (o onceFS) List(dir string, each func(string, fs.FileMode) bool) error {
	return errors.Join(o.fail("list", dir), o.FS.List(dir, each))
}

func (o onceFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	return errors.Join(o.fail("list", dir), o.FS.Names(dir, each))
}

func (o onceFS) Mkdir(name string, perm fs.FileMode) error {
	if err := o.fail("mkdir", name); err != nil {
		return err
	}
	return o.FS.Mkdir(name, perm)
}

// failOnce has one operation on one path of the Maildir fail in the next run.
func (w *world) failOnce(op, path string) {
	w.t.Helper()
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = onceFS{real, op, path, new(sync.Once)}
	res := w.try()
	if w.fs = nil; len(res.Errors) == 0 {
		w.t.Error("nothing failed")
	}
}

// dropOnce has the server drop the connection at one command.
func (w *world) dropOnce(op, mailbox string) {
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == op && s.Mailbox == mailbox && !s.After },
		func() model.Action { return model.Action{Kind: model.Drop} }))
	w.try()
	w.server.SetFault(nil)
}

// TestFolderMadeAgainForANewMessage: a folder was deleted on one side, and a new message came to it on the other. The run that makes it again
// is stopped right then: the messages that were deleted with it are still deleted.
func TestFolderMadeAgainForANewMessage(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *world {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("B")
		w.arrive("B", w.message("old"))
		w.sync()
		return w
	}
	want := map[string][]string{"INBOX": {}, "B": {"new"}}
	t.Run("in the Maildir", func(t *testing.T) {
		w := start(t)
		w.must(os.RemoveAll(w.dir("B")))
		w.arrive("B", w.message("new"))
		w.failOnce("mkdir", "B/cur")
		w.sync()
		w.want(want)
	})
	t.Run("on the server", func(t *testing.T) {
		w := start(t)
		w.server.DeleteMailbox("B")
		w.put("B", w.message("new"), "")
		w.dropOnce("select", "B")
		w.sync()
		w.want(want)
	})
}

// TestUnreadAndReplaced: while a folder can't be read, nobody takes a message of another folder, whose UIDs mean nothing any more, for
// one that is missing: it may have moved there.
func TestUnreadAndReplaced(t *testing.T) {
	t.Parallel()
	for name, acts := range map[string]func(*world){
		"renumbered, and moved on the server": func(w *world) {
			w.server.Move("A", "B", 1)
			w.server.Renumber("A")
		},
		"swapped on the server": func(w *world) {
			w.server.RenameMailbox("A", "aside")
			w.server.RenameMailbox("B", "A")
			w.server.RenameMailbox("aside", "B")
		},
		"swapped in the Maildir": func(w *world) {
			w.must(os.Rename(w.dir("A"), w.dir("aside")))
			w.must(os.Rename(w.dir("B"), w.dir("A")))
			w.must(os.Rename(w.dir("aside"), w.dir("B")))
		},
	} {
		for _, unread := range []string{"A", "B"} {
			t.Run(name+", without "+unread, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, nameless())
				w.server.CreateMailbox("A")
				w.server.CreateMailbox("B")
				w.arrive("A", w.message("a1"))
				w.arrive("A", w.message("a2"))
				w.arrive("B", w.message("b"))
				w.sync()
				acts(w)
				w.failOnce("list", unread)
				w.sync()
				w.same()
				texts := map[string]int{}
				for _, messages := range w.serverTree() {
					for _, m := range messages {
						texts[firstLines(m)]++
					}
				}
				for text, n := range texts {
					if n != 1 {
						t.Errorf("%d times %s", n, text)
					}
				}
				w.quiet()
			})
		}
	}
}

// TestComparedAnewWithoutOneFolder: the Maildir was restored from a copy, and one folder can't be read for good. What waits for it is said, with the way
// out, and comes once it can be read or is left out.
func TestComparedAnewWithoutOneFolder(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, says string
		spoil      func(*world)
		heal       func(*world)
	}{
		{"a mailbox that refuses", "and deletions wait until it can; if it never will, leave it out with `exclude`",
			func(w *world) {
				w.server.SetFault(func(s model.Step) model.Action {
					if s.Mailbox == "Work" {
						return model.Action{Kind: model.Refuse, Code: "NOPERM", Text: "not yours"}
					}
					return model.Action{}
				})
			},
			func(w *world) { w.set.Exclude = []string{"Work"} }},
		{"a directory that is a link", "all is compared anew, for which all must be readable",
			func(w *world) {
				w.must(os.Rename(w.dir("Work"), w.dir("Work")+".away"))
				w.must(os.Symlink("nowhere", w.dir("Work")))
			},
			func(w *world) {
				w.must(os.Remove(w.dir("Work")))
				w.must(os.Rename(w.dir("Work")+".away", w.dir("Work")))
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("Work")
			w.arrive("Work", w.message("w"))
			w.arrive("INBOX", w.message("a"))
			w.sync()
			backup := filepath.Join(t.TempDir(), "copy")
			w.must(os.CopyFS(backup, os.DirFS(w.root)))
			w.arrive("INBOX", w.message("new"))
			w.must(os.RemoveAll(w.root))
			w.must(os.Rename(backup, w.root))
			tc.spoil(w)
			for range 2 {
				res := w.try()
				if len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Error(), "Work") {
					t.Errorf("errors %v", res.Errors)
				}
				if !strings.Contains(strings.Join(res.Notes, "\n"), tc.says) {
					t.Errorf("notes %q", res.Notes)
				}
				if n := len(w.files("INBOX")); n != 1 {
					t.Errorf("%d files", n)
				}
			}
			tc.heal(w)
			w.sync()
			if n := len(w.files("INBOX")); n != 2 {
				t.Errorf("%d files in the end", n)
			}
		})
	}
}

// TestMovedOutOfAMailboxThatRefuses: a message left, on one side, a folder that can't be read in a whole run. At its new place it waits, and
// what is really new there does not.
func TestMovedOutOfAMailboxThatRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mode     plan.Mode
		trash    mail.FolderName
		onServer bool
		want     map[string][]string
	}{
		"in the Maildir":             {plan.TwoWay, "", false, map[string][]string{"INBOX": {}, "A": {"m", "new"}}},
		"in the Maildir, with trash": {plan.TwoWay, "Trash", false, map[string][]string{"INBOX": {}, "A": {"m", "new"}, "Trash": {}}},
		"on the server":              {plan.TwoWay, "", true, map[string][]string{"INBOX": {}, "A": {"m", "new"}}},
		"in the Maildir, pull":       {plan.Pull, "", false, map[string][]string{"INBOX": {"m"}, "A": {"new"}}},
		"on the server, archive":     {plan.Archive, "", true, map[string][]string{"INBOX": {}, "A": {"m", "new"}}},
		"on the server, push":        {plan.Push, "", true, map[string][]string{"INBOX": {"m"}, "A": {}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nameless())
			w.server.CreateMailbox("A")
			if tc.trash != "" {
				w.server.CreateMailbox("Trash")
			}
			uid := w.arrive("INBOX", w.message("m"))
			w.sync()
			w.set.Policy.Mode, w.set.Policy.Trash = tc.mode, tc.trash
			w.sync()
			if tc.onServer {
				w.server.Move("INBOX", "A", uid)
			} else {
				w.move(w.files("INBOX")[0], "A")
			}
			if tc.mode != plan.Push {
				w.arrive("A", w.message("new"))
			}
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "changes" && s.Mailbox == "INBOX" {
					return model.Action{Kind: model.Refuse}
				}
				return model.Action{}
			})
			w.try()
			if n := len(w.localTree()["A"]); tc.mode != plan.Push && n == 0 {
				t.Error("what is new waited too")
			}
			w.server.SetFault(nil)
			w.sync()
			if tc.mode == plan.Push {
				if got := w.serverTree().subjects(); got != expectedString(map[string][]string{"INBOX": {"m"}, "A": {}}) {
					t.Errorf("the server holds\n%s", got)
				}
				return
			}
			w.want(tc.want)
			w.quiet()
		})
	}
}

// TestUnreadableFolderAndAStoppedDelivery: a folder can't be read, and a run was killed that delivered to another one. Unless the message is
// found, it may be in the folder that can't be read: only the one that it was delivered to waits for that, and it comes once.
func TestUnreadableFolderAndAStoppedDelivery(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name             string
		locked           string
		delivered, moved bool // before the run was killed; by the person, to the folder that can't be read
		waits            bool
	}{
		{"not delivered", "B/cur", false, false, true}, {"delivered", "B/cur", true, false, false}, {"delivered and moved on", "B/cur", true, true, true},
		{"not delivered, nothing is seen of the folder", "B", false, false, true}, {"delivered and moved on to where nothing is seen", "B", true, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("B")
			w.server.CreateMailbox("C")
			w.arrive("B", w.message("b"), `\Seen`)
			w.sync()
			w.arrive("INBOX", w.message("m"))
			w.on(func(real maildir.FS, s *steps) maildir.FS {
				return deliveryFS{linkFS{real, w.root, s}, tc.delivered}
			}, 0)
			if tc.moved {
				w.move(w.files("INBOX")[0], "B")
			}
			w.arrive("C", w.message("c"))
			w.arrive("INBOX", w.message("n"))
			for range 2 {
				now := time.Now()
				w.must(os.Chtimes(filepath.Join(w.dir("B"), "cur"), now, now)) // it has to be read
				res, _ := w.on(func(real maildir.FS, _ *steps) maildir.FS { return lockedFS{real, tc.locked} }, 0)
				inbox := 0
				for _, e := range res.Errors {
					if e.Folder == "INBOX" {
						inbox++
					}
				}
				if res.Fatal != nil || len(res.Errors) != 1+inbox || (inbox > 0) != tc.waits {
					t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
				}
				if got := len(w.files("C")); got != 1 {
					t.Errorf("C has %d messages", got)
				}
			}
			w.sync()
			want := map[string][]string{"INBOX": {"m", "n"}, "B": {`b \Seen`}, "C": {"c"}}
			if tc.moved {
				want["INBOX"], want["B"] = []string{"n"}, []string{`b \Seen`, "m"}
			}
			w.want(want)
			w.quiet()
		})
	}
}

// TestUploadUnderWayWhereStatusIsRefused: a connection breaks during an upload, the UIDs of the mailbox turn out to mean other messages, and the
// server does not say which mailbox that is by now. It is not forgotten that the upload may arrive yet.
func TestUploadUnderWayWhereStatusIsRefused(t *testing.T) {
	t.Parallel()
	o := model.Full()
	o.EmailIDs = false
	w := newWorld(t, o)
	var more int64
	refused := false
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return unsaid{resized{s, &more, new(int)}, "INBOX", &refused} }}
	gone := w.message("gone")
	w.arrive("INBOX", gone)
	w.sync()
	w.put("INBOX", w.message("mine"), "S")
	w.must(os.Remove(w.file("INBOX", gone)))
	more = 7 // that is another message
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && !s.After }, func() model.Action {
		refused = true
		return model.Action{Kind: model.Ghost}
	}))
	if res := w.try(); len(res.Errors) == 0 {
		t.Error("nothing is said of the refusal")
	}
	more, refused = 0, false
	w.sync()
	w.server.ReleaseGhosts()
	w.sync()
	w.want(map[string][]string{"INBOX": {`mine \Seen`}})
	w.quiet()
}

// TestMoveWithoutAnswerWaits: a message was copied on the server, and the server does not let Satchel look for the copy. Until it does, the message is
// moved nowhere else, whatever happened to it meanwhile.
func TestMoveWithoutAnswerWaits(t *testing.T) {
	t.Parallel()
	unread := func(mailbox string) func(model.Step) model.Action {
		return func(s model.Step) model.Action {
			if (s.Op == "fetch" || s.Op == "body") && s.Mailbox == mailbox {
				return model.Action{Kind: model.Refuse}
			}
			return model.Action{}
		}
	}
	t.Run("it is moved on here", func(t *testing.T) {
		w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
		for _, f := range []string{"A", "B", "C"} {
			w.server.CreateMailbox(f)
		}
		text := w.message("m")
		w.arrive("A", text)
		w.sync()
		w.move(w.file("A", text), "B")
		w.server.SetFault(unread("B"))
		w.try()
		w.move(w.file("B", text), "C")
		w.try()
		w.server.SetFault(nil)
		w.sync()
		w.want(map[string][]string{"INBOX": {}, "A": {}, "B": {}, "C": {"m"}})
		w.quiet()
	})
	t.Run("an equal one was moved there on the server, and both are being moved back", func(t *testing.T) {
		w := newWorld(t, model.Options{})
		w.server.CreateMailbox("Work")
		w.server.CreateMailbox("Lists")
		w.set.Policy.Mode = plan.Push
		text := w.message("m")
		w.put("INBOX", text, "S")
		w.sync()
		w.put("Work", text, "S")
		w.sync()
		w.server.Move("Work", "INBOX", 1)
		w.server.Move("INBOX", "Lists", 1)
		w.server.SetFault(unread("INBOX"))
		w.try()
		w.server.SetFault(nil)
		w.sync()
		w.sync()
		if got := w.serverTree().subjects(); got != "INBOX: m \\Seen\nLists: \nWork: m \\Seen\n" {
			t.Errorf("server: %s", got)
		}
		w.quiet()
	})
	t.Run("it was deleted here, and moved on the server, and there was no trash", func(t *testing.T) {
		w := newWorld(t, model.Options{})
		w.server.CreateMailbox("Work")
		w.set.Policy.Mode, w.set.Policy.Trash = plan.Push, "Trash"
		file := w.put("INBOX", w.message("m"), "S")
		w.sync()
		w.server.Move("INBOX", "Work", 1)
		w.must(os.Remove(file))
		w.server.SetFault(unread("Trash"))
		w.try()
		w.server.SetFault(nil)
		w.sync()
		if got := w.serverTree().subjects(); got != "INBOX: \nTrash: m \\Seen\nWork: \n" {
			t.Errorf("server: %s", got)
		}
		w.quiet()
	})
}

// unsaid refuses to say anything of one mailbox when it lists all.
type unsaid struct {
	remote.Session
	mailbox string
	refused *bool
}

func (u unsaid) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	list, err := u.Session.Mailboxes(ctx)
	for i := range list {
		if *u.refused && list[i].Name == u.mailbox {
			list[i].Status, list[i].StatusErr = nil, &remote.Error{Class: remote.Refused, Op: "looking at " + u.mailbox, Err: errors.New("not now")}
		}
	}
	return list, err
}

// deliveryFS is there until a message is named in INBOX/new: before that is done, or right after it, the process dies.
type deliveryFS struct {
	linkFS
	done bool
}

func (d deliveryFS) RenameNew(from, to string) error {
	if !strings.HasPrefix(to, "INBOX/new/") {
		return d.linkFS.RenameNew(from, to)
	}
	if d.done {
		if err := d.FS.RenameNew(from, to); err != nil {
			return err
		}
	}
	return d.steps.die()
}

// lockedFS has a directory that may not be looked into.
type lockedFS struct {
	maildir.FS
	locked string
}

func (l lockedFS) denied(name string) error {
	if name == l.locked || strings.HasPrefix(name, l.locked+"/") {
		return &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return nil
}

func (l lockedFS) Stat(name string) (maildir.FileInfo, error) {
	if err := l.denied(name); err != nil && name != l.locked {
		return maildir.FileInfo{}, err
	}
	return l.FS.Stat(name)
}

func (l lockedFS) List(name string, each func(string, fs.FileMode) bool) error {
	if err := l.denied(name); err != nil {
		return err
	}
	return l.FS.List(name, each)
}

func (l lockedFS) Names(name string, each func(string, fs.FileMode) bool) error {
	return l.List(name, each)
}

// blindFS has a folder whose files can't be opened.
type blindFS struct {
	maildir.FS
	folder string
}

func (b blindFS) Open(name string) (maildir.File, error) {
	if strings.HasPrefix(name, b.folder+"/cur/") || strings.HasPrefix(name, b.folder+"/new/") {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return b.FS.Open(name)
}

// TestUnreadableFilesAndNoDatabase: the state knows nothing, and the files of a folder can't be read for some runs, as when a backup was put back by root. What
// the server has may be they, and is not delivered beside them; what comes later is.
func TestUnreadableFilesAndNoDatabase(t *testing.T) {
	t.Parallel()
	for _, mode := range []plan.Mode{plan.TwoWay, plan.Pull, plan.Push, plan.Archive} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nameless())
			w.server.CreateMailbox("A")
			a, b := w.message("a"), w.message("b")
			w.arrive("A", a, `\Seen`)
			w.arrive("A", b)
			w.sync()
			w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
			w.set.Policy.Mode = mode
			for i := range 2 {
				real, err := maildir.OSFS(w.root)
				w.must(err)
				w.fs = blindFS{real, "A"}
				if res := w.try(); res.Fatal != nil || len(res.Errors) == 0 {
					t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
				}
				want := 2 + i
				if mode == plan.Push {
					want = 2
				}
				if n := len(w.files("A")); n != want {
					t.Errorf("%d files, wanted %d", n, want)
				}
				if i == 0 {
					w.arrive("A", w.message("later"))
				}
			}
			if w.fs = nil; mode == plan.TwoWay {
				w.must(os.Remove(w.file("A", b))) // as a file that nobody could read may be
			}
			w.sync()
			w.quiet()
			if n := len(w.serverTree()["A"]); n != 3 {
				t.Errorf("%d on the server\n%s", n, w)
			}
			if n := len(w.files("A")); mode != plan.Push && n != 3 || mode == plan.Push && n != 2 {
				t.Errorf("%d files\n%s", n, w)
			}
		})
	}
	t.Run("pop3", func(t *testing.T) {
		t.Parallel()
		w := newPopWorld(t, 0, pops(3)...)
		w.set.LeaveFor = forever
		w.brought(3, 0)
		if err := os.Remove(filepath.Join(w.set.Root, ".satchel.db")); err != nil {
			t.Fatal(err)
		}
		w.set.LeaveFor = 0
		for range 2 {
			real, err := maildir.OSFS(w.set.Root)
			if err != nil {
				t.Fatal(err)
			}
			w.world.Maildir.FS = blindFS{real, "INBOX"}
			if r := w.run(mailsync.Options{}); r.Fatal != nil || len(r.Errors) == 0 || r.ToMaildir.New != 0 || r.ToServer.Deleted != 0 {
				t.Errorf("%+v", r)
			}
		}
		w.world.Maildir.FS = nil
		w.brought(0, 0)
		w.brought(0, 3)
		w.has(pops(3)...)
	})
}

// TestMovedOutOfAFolderThatIsHidden: a message was moved out of a folder that nobody may look into any more. At its new place it waits: it is neither stored
// there as a new one, nor in the trash as well.
func TestMovedOutOfAFolderThatIsHidden(t *testing.T) {
	t.Parallel()
	for _, trash := range []mail.FolderName{"", "Trash"} {
		for _, both := range []bool{false, true} {
			w := newPairWorld(t)
			if w.set.Policy.Trash = trash; trash != "" {
				w.server.CreateMailbox(string(trash))
				w.sync()
			}
			w.arrive("A", w.message("other"))
			w.sync()
			w.move(w.file(), "B")
			want := map[string][]string{"A": {"other"}, "B": {"m"}}
			if both {
				w.server.Move("A", "C", w.uid)
				want = map[string][]string{"A": {"other"}, "C": {"m"}}
			}
			if trash != "" {
				want["Trash"] = nil
			}
			for range 2 {
				real, err := maildir.OSFS(w.root)
				w.must(err)
				w.fs = lockedFS{real, "A"}
				w.try()
			}
			w.fs = nil
			w.sync()
			w.want(boxes(want))
			w.quiet()
		}
	}
}
