package sync_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/ci"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// TestStateLostOrRestored: no base, no delete.
func TestStateLostOrRestored(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *world {
		w := newWorld(t, model.Full())
		for _, s := range []string{"a", "b", "c"} {
			w.arrive("INBOX", w.message(s))
		}
		w.arrive("INBOX", "Subject: twin\n\nx\n")
		w.arrive("INBOX", "Subject: twin\n\nx\n")
		w.sync()
		return w
	}
	all := map[string][]string{"INBOX": {"a", "b", "c", "twin", "twin"}}
	t.Run("without the database a sync merges both sides, pairs what is the same, and deletes nothing", func(t *testing.T) {
		w := start(t)
		w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
		res := w.sync()
		if res.ToMaildir.New+res.ToServer.New != 0 {
			t.Errorf("transferred: %+v %+v", res.ToMaildir, res.ToServer)
		}
		w.want(all)
		w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
		box, _ := w.server.Snapshot().Mailbox("INBOX")
		w.server.Expunge("INBOX", box.Messages[0].UID)
		w.sync()
		w.want(all)
		w.quiet()
	})
	t.Run("without the database what is marked as deleted is found again, and with expunge the next sync removes it", func(t *testing.T) {
		w := start(t)
		box, _ := w.server.Snapshot().Mailbox("INBOX")
		w.reflag(w.file("INBOX", strings.ReplaceAll(box.Messages[0].Raw, "\r\n", "\n")), "T")
		w.sync()
		w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
		w.set.Policy.Expunge = true
		w.sync()
		w.want(map[string][]string{"INBOX": {`a \Deleted`, "b", "c", "twin", "twin"}})
		w.sync()
		w.want(map[string][]string{"INBOX": {"b", "c", "twin", "twin"}})
		w.quiet()
	})
	t.Run("after both were copied from a backup, everything is compared and nothing deleted on either side, and it says so", func(t *testing.T) {
		w := start(t)
		backup := filepath.Join(t.TempDir(), "copy")
		w.must(os.CopyFS(backup, os.DirFS(w.root)))
		box, _ := w.server.Snapshot().Mailbox("INBOX")
		w.server.Expunge("INBOX", box.Messages[0].UID)
		w.must(os.Remove(w.file("INBOX", strings.ReplaceAll(box.Messages[1].Raw, "\r\n", "\n"))))
		w.sync()
		w.must(os.RemoveAll(w.root))
		w.must(os.Rename(backup, w.root))
		res := w.sync()
		if len(res.Notes) == 0 {
			t.Error("it does not say so")
		}
		w.want(all)
		w.quiet()
		if res := w.sync(); len(res.Notes) != 0 {
			t.Errorf("it says so again: %v", res.Notes)
		}
	})
	t.Run("a Maildir whose database belongs to another host or user is refused", func(t *testing.T) {
		w := start(t)
		w.set.Owner.Host = "elsewhere"
		res := w.try()
		var setup *mailsync.SetupError
		if !asSetup(res.Fatal, &setup) || !strings.Contains(res.Fatal.Error(), "--rebind") {
			t.Errorf("fatal = %v", res.Fatal)
		}
		t.Run("unless --rebind: pairs are kept, nothing is deleted", func(t *testing.T) {
			w.must(os.Remove(w.files("INBOX")[0]))
			w.opt.Rebind = true
			w.sync()
			w.opt.Rebind = false
			w.want(all)
			w.quiet()
		})
	})
}

// TestRestoredAndNamedFolders: whoever synchronises named folders only can delete in them again after a restore. The first run compares all folders of
// which the state knows messages, and those alone.
func TestRestoredAndNamedFolders(t *testing.T) {
	t.Parallel()
	for _, rebind := range []bool{false, true} {
		w := newWorld(t, model.Full())
		for _, name := range []string{"Once", "Never"} {
			w.server.CreateMailbox(name)
			w.arrive(name, w.message(name))
		}
		a, uid := w.message("a"), w.arrive("Once", w.message("gone"))
		w.arrive("INBOX", a)
		w.arrive("INBOX", w.message("b"))
		w.opt.Targets = []mail.FolderName{"INBOX", "Once"}
		w.sync()
		w.opt.Targets = []mail.FolderName{"INBOX"}
		w.server.Expunge("Once", uid)
		if rebind {
			w.set.Owner.Host, w.opt.Rebind = "elsewhere", true
		} else {
			backup := filepath.Join(t.TempDir(), "copy")
			w.must(os.CopyFS(backup, os.DirFS(w.root)))
			w.must(os.RemoveAll(w.root))
			w.must(os.Rename(backup, w.root))
		}
		res := w.sync()
		w.opt.Rebind = false
		if n := res.ToMaildir.Deleted + res.ToServer.Deleted; n != 0 || len(res.Notes) == 0 || !strings.Contains(res.Notes[0], "not only those that were named") {
			t.Errorf("rebind %v: %d deleted, and it says %q", rebind, n, res.Notes)
		}
		w.must(os.Remove(w.file("INBOX", a)))
		if res := w.sync(); res.ToServer.Deleted != 1 || res.ToMaildir.New != 0 || len(res.Notes) != 0 {
			t.Errorf("rebind %v: %+v %+v, and it says %q", rebind, res.ToMaildir, res.ToServer, res.Notes)
		}
		if n := w.localTree()["Never"]; len(n) != 0 {
			t.Errorf("rebind %v: what never was synchronised came: %v", rebind, n)
		}
		w.opt.Targets = nil
		w.sync()
		w.want(map[string][]string{"INBOX": {"b"}, "Once": {"Once", "gone"}, "Never": {"Never"}})
		w.quiet()
	}
}

// TestRestoredOverWhatIsThere: a backup is put over a Maildir in which messages were marked since, with the state or without. Each message is there
// once, on both sides, with the mark that the server has; without the state one that was made after the last sync may be the backup's.
func TestRestoredOverWhatIsThere(t *testing.T) {
	t.Parallel()
	for _, state := range []bool{true, false} {
		w := newWorld(t, model.Full())
		a, b, twin := w.message("a"), w.message("b"), w.message("twin")
		w.arrive("INBOX", a)
		w.arrive("INBOX", b, `\Seen`)
		w.arrive("INBOX", twin)
		w.arrive("INBOX", twin)
		w.sync()
		backup := filepath.Join(t.TempDir(), "backup")
		w.must(os.CopyFS(backup, os.DirFS(w.root)))
		w.reflag(w.file("INBOX", a), "S")
		w.reflag(w.file("INBOX", b), "")
		w.sync()
		want := map[string][]string{"INBOX": {`a \Seen`, "b", "twin", "twin"}}
		w.want(want)
		w.putOver(backup, state)
		if !state {
			want["INBOX"][1] = `b \Seen`
		}
		res := w.sync()
		w.want(want)
		if n := res.ToMaildir.New + res.ToServer.New + res.ToMaildir.Deleted + res.ToServer.Deleted; n != 0 {
			t.Errorf("with state %v: %+v %+v", state, res.ToMaildir, res.ToServer)
		}
		if !strings.Contains(strings.Join(res.Notes, " "), "held 2 messages twice") {
			t.Errorf("with state %v, it says %q", state, res.Notes)
		}
		w.quiet()
		if u := w.undo(mailsync.UndoOptions{}); u.Fatal != nil || len(u.Messages) != 2 || u.Count(mailsync.BecameBack) != 0 {
			t.Errorf("with state %v: undo: %+v", state, u)
		}
		w.want(want)
	}
}

// TestRenamedByCopy: what copies a Maildir from elsewhere (rsync, Syncthing) makes the file of a message that was marked there anew, and removes the one
// of the old name later. A sync in between loses nothing by that, whether files are kept for undo or not.
func TestRenamedByCopy(t *testing.T) {
	t.Parallel()
	for _, undo := range []time.Duration{24 * time.Hour, 0} {
		for _, flags := range [][2]string{{"S", "FS"}, {"FS", "S"}, {"S", ""}} {
			w := newWorld(t, model.Full())
			w.set.Undo = undo
			a := w.message("a")
			w.arrive("INBOX", a)
			w.sync()
			old := w.reflag(w.file("INBOX", a), flags[0])
			w.sync()
			renamed := strings.TrimSuffix(old, flags[0]) + flags[1]
			w.must(os.WriteFile(renamed, []byte(a), 0o600))
			w.sync()
			if err := os.Remove(old); !errors.Is(err, fs.ErrNotExist) {
				w.must(err)
			}
			w.sync()
			w.sync()
			want := "a"
			for _, letter := range flags[1] {
				want += map[rune]string{'F': ` \Flagged`, 'S': ` \Seen`}[letter]
			}
			w.want(map[string][]string{"INBOX": {want}})
		}
	}
}

// putOver writes a backup over the Maildir, as tar does: each file is made anew.
func (w *world) putOver(backup string, state bool) {
	w.t.Helper()
	w.must(filepath.WalkDir(backup, func(file string, d fs.DirEntry, err error) error {
		to := filepath.Join(w.root, strings.TrimPrefix(file, backup))
		if err != nil || d.IsDir() || !state && strings.HasPrefix(d.Name(), ".satchel.db") {
			return err
		}
		text, err := os.ReadFile(file)
		w.must(err)
		if err := os.Remove(to); !errors.Is(err, fs.ErrNotExist) {
			w.must(err)
		}
		return os.WriteFile(to, text, 0o600)
	}))
}

// TestBothRestoredInPlace: Maildir and state database were restored from a backup, over what was there: nothing is deleted on either side.
func TestBothRestoredInPlace(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]model.Options{"full": model.Full(), "bare": {}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, o)
			for _, s := range []string{"a", "b", "c"} {
				w.arrive("INBOX", w.message(s))
			}
			w.sync()
			w.skipWithoutTag()
			all := map[string][]string{"INBOX": {"a", "b", "c"}}
			w.want(all)
			backup := filepath.Join(t.TempDir(), "backup")
			w.must(os.CopyFS(backup, os.DirFS(w.root)))
			time.Sleep(20 * time.Millisecond) // births differ by the system's tick
			box, _ := w.server.Snapshot().Mailbox("INBOX")
			w.server.Expunge("INBOX", box.Messages[0].UID)
			w.must(os.Remove(w.file("INBOX", strings.ReplaceAll(box.Messages[1].Raw, "\r\n", "\n"))))
			w.sync()
			w.want(map[string][]string{"INBOX": {"c"}})
			w.putBack(backup)
			w.opt.DryRun = true
			if res := w.sync(); len(res.Notes) == 0 {
				t.Error("the dry run does not say so")
			}
			w.opt.DryRun = false
			res := w.sync()
			if n := res.ToMaildir.Deleted + res.ToServer.Deleted; n != 0 || len(res.Notes) == 0 {
				t.Errorf("%d messages that were restored are deleted again, and it says %q", n, res.Notes)
			}
			w.want(all)
			w.quiet()
			w.must(os.Remove(w.files("INBOX")[0]))
			if res := w.sync(); len(res.Notes) != 0 || res.ToServer.Deleted != 1 {
				t.Errorf("after that, %d are deleted, and it says %q", res.ToServer.Deleted, res.Notes)
			}
		})
	}
}

// putBack writes a backup over the Maildir, file by file, as cp -a and rsync --inplace do: a file that is there keeps its inode.
func (w *world) putBack(backup string) {
	w.t.Helper()
	w.must(filepath.WalkDir(backup, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(w.root, strings.TrimPrefix(path, backup))
		if d.IsDir() {
			return os.MkdirAll(to, 0o700)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, 0o600)
	}))
}

func (w *world) skipWithoutTag() {
	w.t.Helper()
	if tags, err := filepath.Glob(filepath.Join(w.root, ".satchel.db-tag-*")); err != nil || len(tags) == 0 {
		ci.Skip(w.t, "there is no tag: this file system is not known to keep births")
	}
}

// TestOlderStateInPlace: an older state database was written over the present one, so that it looks as if it were that.
func TestOlderStateInPlace(t *testing.T) {
	t.Parallel()
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

// TestRestoredStateAndARefusedTransfer: what one side lacks after a backup was restored is brought back, and the server refuses that, for good
// perhaps. The account does not stay restored for it: what the person deletes from then on stays deleted, and the message is still tried.
func TestRestoredStateAndARefusedTransfer(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		refused string
		lose    func(w *world, text string) // takes the message from one side
	}{
		{"append", func(w *world, _ string) {
			box, _ := w.server.Snapshot().Mailbox("INBOX")
			w.server.Expunge("INBOX", box.Messages[0].UID)
		}},
		{"body", func(w *world, text string) { w.must(os.Remove(w.file("INBOX", text))) }},
	} {
		for _, how := range []string{"a backup", "--rebind"} {
			t.Run(c.refused+" after "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, model.Full())
				w.server.CreateMailbox("B")
				a, b := w.message("a"), w.message("b")
				w.arrive("INBOX", a, `\Seen`)
				w.arrive("B", b)
				w.sync()
				c.lose(w, a)
				if how == "a backup" {
					w.must(os.CopyFS(w.root+".backup", os.DirFS(w.root)))
					w.must(os.RemoveAll(w.root))
					w.must(os.Rename(w.root+".backup", w.root))
				} else {
					w.set.Owner.Host, w.opt.Rebind = "elsewhere", true
				}
				w.server.SetRefuse(func(s model.Step) model.Action {
					if s.Op == c.refused {
						return model.Action{Kind: model.Refuse}
					}
					return model.Action{}
				})
				if res := w.try(); len(res.Notes) == 0 || len(res.Errors) != 1 {
					t.Fatalf("notes %q, errors %v", res.Notes, res.Errors)
				}
				w.opt.Rebind = false
				w.must(os.Remove(w.file("B", b)))
				if res := w.try(); len(res.Notes) != 0 || len(res.Errors) != 1 {
					t.Errorf("notes %q, errors %v", res.Notes, res.Errors)
				}
				w.server.SetRefuse(nil)
				w.sync()
				w.want(map[string][]string{"INBOX": {`a \Seen`}, "B": {}})
				w.quiet()
			})
		}
	}
}

// TestReplacedDirectoryAndARefusedDownload: likewise for a folder whose directory was replaced.
func TestReplacedDirectoryAndARefusedDownload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	a, b := w.message("a"), w.message("b")
	w.arrive("A", a)
	w.arrive("A", b)
	w.sync()
	w.must(os.CopyFS(w.dir("A")+".copy", os.DirFS(w.dir("A"))))
	w.must(os.RemoveAll(w.dir("A")))
	w.must(os.Rename(w.dir("A")+".copy", w.dir("A")))
	w.must(os.Remove(w.file("A", a)))
	w.server.SetRefuse(func(s model.Step) model.Action {
		if s.Op == "body" {
			return model.Action{Kind: model.Refuse}
		}
		return model.Action{}
	})
	w.try()
	w.must(os.Remove(w.file("A", b)))
	w.try()
	w.server.SetRefuse(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "A": {"a"}})
	w.quiet()
}

// TestInodesOfAMount: on a file system whose inode numbers are others after each mount, what was deleted before a sync stays deleted. That the Maildir
// lies on such a one, or no longer does, is noticed.
func TestInodesOfAMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	a, b := w.message("a"), w.message("b")
	w.arrive("INBOX", a)
	w.arrive("A", b)
	w.arrive("A", w.message("c"))
	w.sync()
	mount := func(n uint64) {
		disk, err := maildir.OSFS(w.root)
		w.must(err)
		w.fs = mounted{disk, n}
	}
	mount(1)
	if res := w.sync(); len(res.Notes) == 0 {
		t.Error("it is not noticed that it was copied there")
	}
	w.must(os.Remove(w.file("INBOX", a)))
	mount(2)
	if res := w.sync(); len(res.Notes) != 0 {
		t.Errorf("%q", res.Notes)
	}
	w.must(os.Remove(w.file("A", b)))
	w.must(os.Rename(w.dir("A"), w.dir("B")))
	mount(3)
	if res := w.sync(); len(res.Notes) != 0 {
		t.Errorf("%q", res.Notes)
	}
	mount(4)
	w.quiet()
	w.want(map[string][]string{"INBOX": {}, "B": {"c"}})
	w.fs = nil
	if res := w.sync(); len(res.Notes) == 0 {
		t.Error("it is not noticed that it was copied from there")
	}
	w.quiet()
}

// mounted is a disk without inodes, of which the system numbers the files.
type mounted struct {
	maildir.FS
	times uint64
}

func (m mounted) Kind() maildir.Kind {
	k := m.FS.Kind()
	k.Passing = true
	return k
}

func (m mounted) Stat(name string) (maildir.FileInfo, error) {
	info, err := m.FS.Stat(name)
	info.Inode += m.times * 1_000_000
	return info, err
}

// TestRestoredWithoutEmptyFolders: a copy of a Maildir that leaves out empty directories deletes none on the server, and neither does one that lacks
// a mailbox's folder because the mailbox was made since.
func TestRestoredWithoutEmptyFolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Empty")
	w.server.CreateMailbox("Gone")
	w.arrive("INBOX", w.message("a"))
	w.sync()
	backup := filepath.Join(t.TempDir(), "backup")
	w.must(os.CopyFS(backup, os.DirFS(w.root)))
	w.must(os.RemoveAll(filepath.Join(backup, "Empty")))
	w.server.DeleteMailbox("Gone")
	w.sync()
	w.must(os.RemoveAll(w.root))
	w.must(os.CopyFS(w.root, os.DirFS(backup)))
	res := w.sync()
	if n := res.ServerFolders.Deleted + res.MaildirFolders.Deleted; n != 0 || len(res.Notes) == 0 {
		t.Errorf("%d folders are deleted, and it says %q", n, res.Notes)
	}
	w.want(map[string][]string{"INBOX": {"a"}, "Empty": {}, "Gone": {}})
	w.quiet()
	w.must(os.RemoveAll(w.dir("Empty")))
	w.sync()
	w.want(map[string][]string{"INBOX": {"a"}, "Gone": {}})
}

// TestEmptyFoldersAndTheGuard: while the guard holds deletions back no folder is deleted either, and what brings messages back brings folders back.
func TestEmptyFoldersAndTheGuard(t *testing.T) {
	t.Parallel()
	for _, allow := range []bool{false, true} {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("Empty")
		w.server.CreateMailbox("A")
		all := map[string][]string{"INBOX": {}, "Empty": {}, "A": nil}
		for i := range 18 {
			w.arrive("A", w.message(fmt.Sprintf("m%02d", i)))
			all["A"] = append(all["A"], fmt.Sprintf("m%02d", i))
		}
		w.sync()
		for _, f := range []string{"A", "Empty"} {
			w.must(os.RemoveAll(w.dir(f)))
		}
		for range 2 {
			if res := w.sync(); res.HeldBack != 18 || res.ServerFolders.Deleted != 0 {
				t.Errorf("%d messages are held back and %d folders deleted", res.HeldBack, res.ServerFolders.Deleted)
			}
		}
		w.opt.AllowDeletes, w.opt.RestoreHeld = allow, !allow
		w.sync()
		w.opt.AllowDeletes, w.opt.RestoreHeld = false, false
		if allow {
			all = map[string][]string{"INBOX": {}}
		}
		w.want(all)
		w.quiet()
	}
}
