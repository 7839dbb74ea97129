package sync_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// TestMaildropShort: of a message that came much shorter than it is listed nothing is deleted on the server; should it come whole later, that
// is delivered too.
func TestMaildropShort(t *testing.T) {
	long := pop("long", 1)
	long.Body += strings.Repeat("this is a line of the message\r\n", 200)
	w := newPopWorld(t, 0, long, pop("b", 2))
	w.server.Set(popserver.Quirks{Shorten: 1000, ShortenID: "long"})
	r := w.run(mailsync.Options{})
	if len(r.Errors) != 1 || !strings.Contains(r.Errors[0].Error(), `UIDL "long"`) || r.ToMaildir.New != 2 || r.ToServer.Deleted != 1 {
		t.Fatalf("%+v", r)
	}
	var retrieved int
	for i := range 3 {
		before := w.server.Retrieved()
		if r := w.run(mailsync.Options{}); len(r.Errors) != 1 || r.ToMaildir.New != 0 || r.ToServer.Deleted != 0 {
			t.Fatalf("%+v", r)
		}
		if retrieved += w.server.Retrieved() - before; i > 0 && retrieved != 1 {
			t.Errorf("it was read %d times more", retrieved)
		}
	}
	if left := w.server.Mail(); len(left) != 1 || left[0].ID != "long" {
		t.Fatalf("left are %v", left)
	}

	w = newPopWorld(t, 0, long)
	w.server.Set(popserver.Quirks{Shorten: 1000})
	w.run(mailsync.Options{})
	w.server.Set(popserver.Quirks{})
	fresh, deleted := 0, 0
	for range 3 {
		r := w.run(mailsync.Options{})
		fresh, deleted = fresh+r.ToMaildir.New, deleted+r.ToServer.Deleted
	}
	if fresh != 1 || deleted != 1 {
		t.Errorf("%d are new, %d deleted", fresh, deleted)
	}
	if n := len(w.paths()); n != 2 {
		t.Errorf("there are %d files", n)
	}
	w.remove(long)
}

// TestMaildropEndless: a message without an end holds up no other, and is not asked for again.
func TestMaildropEndless(t *testing.T) {
	w := newPopWorld(t, 0, pops(3)...)
	w.set.MaxMessageSize = 1 << 20
	w.server.Set(popserver.Quirks{Endless: "id1"})
	if r := w.run(mailsync.Options{}); r.Fatal != nil || len(r.Errors) != 1 || r.ToMaildir.New != 2 || r.ToServer.Deleted != 2 {
		t.Fatalf("%+v", r)
	}
	w.brought(0, 0)
	if left := w.server.Mail(); len(left) != 1 {
		t.Errorf("left are %v", left)
	}
}

// TestMaildropNamesFail: that UIDL fails for once, or for some hours, is no reason to compare all by content or to take any for new.
func TestMaildropNamesFail(t *testing.T) {
	w := newPopWorld(t, forever, pops(5)...)
	w.brought(5, 0)
	for _, q := range []popserver.Quirks{{NoUIDL: true}, {NoUIDL: true, NoCapa: true}, {Deny: func(c string) string {
		if c == "UIDL" {
			return "-ERR it is being repaired"
		}
		return ""
	}}} {
		w.server.Set(q)
		if r := w.run(mailsync.Options{}); remote.ClassOf(r.Fatal) != remote.Unavailable || r.ToMaildir.New != 0 {
			t.Errorf("%v, %+v", r.Fatal, r.ToMaildir)
		}
		w.now = w.now.Add(5 * time.Hour)
	}
	w.server.Set(popserver.Quirks{})
	w.brought(0, 0)
	if n := w.server.Retrieved(); n != 5 {
		t.Errorf("%d were read", n)
	}
	// For good.
	w.server.Set(popserver.Quirks{NoUIDL: true})
	w.run(mailsync.Options{})
	w.now = w.now.Add(25 * time.Hour)
	w.brought(0, 0)
	w.server.Put(append(pops(5), pop("x", 9))...)
	w.brought(1, 0)
	w.set.LeaveFor = 0
	w.brought(0, 6)
}

// TestMaildropUntilDeletedIsToldAgain: the person deletes a message, and the server does not, or does not list it just then. Once it is listed, the
// server is told again, by every other sync if need be.
func TestMaildropUntilDeletedIsToldAgain(t *testing.T) {
	for _, q := range []popserver.Quirks{{}, {NoUIDL: true}} {
		for _, tt := range []struct {
			name    string
			between func(w *popWorld, mail []popserver.Message)
		}{
			{"DELE does nothing", func(w *popWorld, _ []popserver.Message) {
				w.server.Set(popserver.Quirks{NoUIDL: q.NoUIDL, IgnoreDele: true})
				w.brought(0, 1)
			}},
			{"DELE does nothing, several times", func(w *popWorld, _ []popserver.Message) {
				w.server.Set(popserver.Quirks{NoUIDL: q.NoUIDL, IgnoreDele: true})
				for range 7 {
					w.sync()
				}
			}},
			{"DELE does nothing, and then the numbers contradict each other", func(w *popWorld, _ []popserver.Message) {
				w.server.Set(popserver.Quirks{NoUIDL: q.NoUIDL, IgnoreDele: true})
				w.brought(0, 1)
				w.server.Set(popserver.Quirks{NoUIDL: q.NoUIDL, Stat: 1})
				w.sync()
			}},
			{"DELE does nothing, and then nothing is listed", func(w *popWorld, mail []popserver.Message) {
				w.server.Set(popserver.Quirks{NoUIDL: q.NoUIDL, IgnoreDele: true})
				w.brought(0, 1)
				w.server.Put()
				w.brought(0, 0)
				w.server.Put(mail...)
			}},
			{"nothing is listed", func(w *popWorld, mail []popserver.Message) {
				w.server.Put()
				w.brought(0, 0)
				w.server.Put(mail...)
			}},
		} {
			t.Run(fmt.Sprintf("%s, no UIDL %v", tt.name, q.NoUIDL), func(t *testing.T) {
				mail := pops(3)
				w := newPopWorld(t, forever, mail...)
				w.set.Policy.UntilDeleted = true
				w.server.Set(q)
				w.brought(3, 0)
				w.remove(mail[2])
				tt.between(w, mail)
				w.server.Set(q)
				for range 4 {
					if r := w.sync(); r.ToMaildir.New != 0 {
						t.Fatalf("%+v", r.ToMaildir)
					}
				}
				w.has(mail[:2]...)
				if n := len(w.server.Mail()); n != 2 {
					t.Errorf("the server has %d messages", n)
				}
				before := w.server.Retrieved()
				w.brought(0, 0)
				if n := w.server.Retrieved() - before; n > 0 && !q.NoUIDL {
					t.Errorf("%d messages were read again", n)
				}
			})
		}
	}
}

// TestMaildropUntilDeletedAfterItLeft: the file of a message that was not listed any more is deleted, and the server follows when it lists it again. So
// it does not with one like a file that it never had.
func TestMaildropUntilDeletedAfterItLeft(t *testing.T) {
	mail := append(pops(3), pop("x", 9))
	w := newPopWorld(t, forever, mail[:3]...)
	w.set.Policy.UntilDeleted = true
	w.brought(3, 0)
	w.server.Put()
	w.own("Work", strings.ReplaceAll(mail[3].Body, "\r\n", "\n"))
	w.brought(0, 0)
	w.remove(mail[2])
	w.remove(mail[3])
	w.brought(0, 0)
	w.server.Put(mail...)
	w.brought(1, 0)
	w.brought(0, 1)
	w.brought(0, 0)
	w.has(mail[0], mail[1], mail[3])
}

// TestMaildropUntilDeletedLater: what was deleted here while the server was to keep everything stays there when it is to follow from then on.
func TestMaildropUntilDeletedLater(t *testing.T) {
	mail := pops(3)
	w := newPopWorld(t, forever, mail...)
	w.brought(3, 0)
	w.remove(mail[2])
	w.brought(0, 0)
	w.server.Put()
	w.brought(0, 0)
	w.set.Policy.UntilDeleted = true
	w.server.Put(mail...)
	for range 3 {
		w.brought(0, 0)
	}
	w.remove(mail[1])
	w.brought(0, 1)
	w.has(mail[0])
}

// TestMaildropLostWhileComparing: what a session noted that was then lost is not believed.
func TestMaildropLostWhileComparing(t *testing.T) {
	w := newPopWorld(t, 24*time.Hour, pops(3)...)
	w.brought(3, 0)
	w.remove(pop("", 2))
	w.brought(0, 0)
	// The first session's listing is empty but for one that may be another one, and is lost when that is looked at.
	lost := false
	all := w.server.Mail()
	w.server.Put(popserver.Message{ID: "id0", Body: pop("", 0).Body + "more\r\n"})
	w.server.Set(popserver.Quirks{NoPipelining: true, Lose: func(c string) bool {
		if lost || !strings.HasPrefix(c, "TOP") && !strings.HasPrefix(c, "RETR") {
			return false
		}
		lost = true
		w.server.Put(all...)
		return true
	}})
	w.brought(0, 0)
	if !lost {
		t.Fatal("the session was not lost")
	}
	w.server.Set(popserver.Quirks{})
	w.now = w.now.Add(48 * time.Hour)
	w.brought(0, 3)
}

// TestMaildropLoginDelay: deleting ends the session. That the server does not let us in again for what is left is no failure.
func TestMaildropLoginDelay(t *testing.T) {
	for _, code := range []string{"LOGIN-DELAY", "IN-USE"} {
		w := newPopWorld(t, 24*time.Hour, pop("1", 1), pop("2", 2), pop("3", 3))
		w.brought(3, 0)
		other := pop("1", 7)
		w.server.Put(other, pop("2", 2), pop("3", 3))
		w.now = w.now.Add(48 * time.Hour)
		w.server.Set(popserver.Quirks{Deny: func(c string) string {
			if c == "QUIT" {
				w.server.Set(popserver.Quirks{SignIn: "-ERR [" + code + "] not so soon"})
			}
			return ""
		}})
		if r := w.sync(); r.ToServer.Deleted != 2 || r.ToMaildir.New != 0 || len(r.Notes) != 1 {
			t.Fatalf("%s: %+v", code, r)
		}
		w.server.Set(popserver.Quirks{})
		w.brought(1, 0)
		w.has(pop("", 1), pop("", 2), pop("", 3), other)
	}
}

// TestMaildropNotDurable: as long as messages can't be made durable, or the state can't record them, no DELE is sent.
func TestMaildropNotDurable(t *testing.T) {
	dele := func(w *popWorld) (n int) {
		for _, c := range w.server.Commands() {
			if strings.HasPrefix(c, "DELE") {
				n++
			}
		}
		return n
	}
	for _, tt := range []struct {
		messages int
		what     string
	}{
		{3, "file"}, {40, "file system"}, {3, "directory"}, {3, "commit"}, {3, "commit of the rows"},
	} {
		mail := pops(tt.messages)
		w := newPopWorld(t, 0, mail...)
		if err := os.Mkdir(w.set.Root, 0o700); err != nil {
			t.Fatal(err)
		}
		fsys, err := maildir.OSFS(w.set.Root)
		if err != nil {
			t.Fatal(err)
		}
		w.world.Maildir.FS = brokenDisk{fsys, tt.what}
		w.world.Commit = func(commit func() error) error {
			here := len(w.paths()) > 0
			if tt.what == "commit" && !here || tt.what == "commit of the rows" && here {
				return errBroken
			}
			return commit()
		}
		r := w.run(mailsync.Options{})
		if n := dele(w); n > 0 || r.ToServer.Deleted > 0 || r.Fatal == nil && len(r.Errors) == 0 {
			t.Errorf("the %s fails: %d DELE were sent, %v, %v", tt.what, n, r.Fatal, r.Errors)
		}
		w.world = mailsync.World{}
		w.sync()
		w.sync()
		w.has(mail...)
		if left := w.server.Mail(); len(left) > 0 || dele(w) != len(mail) {
			t.Errorf("the %s failed: left are %v, after %d DELE", tt.what, left, dele(w))
		}
	}
}

var errBroken = errors.New("the disk is broken")

// brokenDisk is a file system that can't make something durable.
type brokenDisk struct {
	maildir.FS
	what string
}

func (b brokenDisk) Create(name string, perm fs.FileMode) (maildir.File, error) {
	f, err := b.FS.Create(name, perm)
	if err == nil && b.what == "file" && path.Base(path.Dir(name)) == "tmp" {
		f = brokenFile{f}
	}
	return f, err
}

func (b brokenDisk) SyncPoint(dir string) (maildir.SyncPoint, error) {
	p, err := b.FS.SyncPoint(dir)
	if err == nil && b.what == "file system" {
		p = brokenPoint{p}
	}
	return p, err
}

func (b brokenDisk) SyncDir(dir string) error {
	if b.what == "directory" && path.Base(dir) == "new" {
		arrived := false
		if err := b.List(dir, func(string, fs.FileMode) bool { arrived = true; return false }); err != nil || arrived {
			return errors.Join(errBroken, err)
		}
	}
	return b.FS.SyncDir(dir)
}

type brokenFile struct{ maildir.File }

func (brokenFile) Sync() error { return errBroken }

type brokenPoint struct{ maildir.SyncPoint }

func (brokenPoint) Sync() error { return errBroken }

// TestMaildropFolderUnread: a folder of the Maildir can't be read for some syncs, in which the server's names don't tell which messages it has. What may be
// in that folder is not downloaded once more; other new messages are.
func TestMaildropFolderUnread(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(*popWorld){
		"no names": func(w *popWorld) { w.server.Put(append(pops(3), pop("x", 9))...) },
		"other names": func(w *popWorld) {
			mail := append(pops(3), pop("x", 9))
			for i := range mail {
				mail[i].ID += " renamed"
			}
			w.server.Put(mail...)
		},
		"listed again": func(w *popWorld) {
			w.server.Put()
			w.brought(0, 0)
			w.server.Put(append(pops(3), pop("x", 9))...)
		},
	} {
		for _, locked := range []string{"X", "X/cur"} {
			t.Run(name+", without "+locked, func(t *testing.T) {
				t.Parallel()
				w := newPopWorld(t, forever, pops(3)...)
				w.server.Set(popserver.Quirks{NoUIDL: name == "no names"})
				w.brought(3, 0)
				must := func(err error) {
					if t.Helper(); err != nil {
						t.Fatal(err)
					}
				}
				for _, sub := range []string{"cur", "new", "tmp"} {
					must(os.MkdirAll(filepath.Join(w.set.Root, "X", sub), 0o700))
				}
				for _, p := range w.paths() {
					must(os.Rename(p, filepath.Join(w.set.Root, "X/cur", filepath.Base(p)+":2,S")))
				}
				w.brought(0, 0)
				act(w)
				must(os.WriteFile(filepath.Join(w.set.Root, "X/cur/own:2,S"), []byte("Subject: own\n\nown\n"), 0o600)) // so that it is read
				for i := range 2 {
					real, err := maildir.OSFS(w.set.Root)
					must(err)
					w.world.Maildir.FS = lockedFS{real, locked}
					if r := w.run(mailsync.Options{}); len(r.Errors) == 0 || r.ToMaildir.New != 1-i {
						t.Errorf("%+v, %v, %v", r.ToMaildir, r.Fatal, r.Errors)
					}
				}
				w.world.Maildir.FS = nil
				w.brought(0, 0)
				w.has(append(pops(3), pop("x", 9), popserver.Message{Body: "Subject: own\r\n\r\nown\r\n"})...)
				w.brought(0, 0)
			})
		}
	}
}
