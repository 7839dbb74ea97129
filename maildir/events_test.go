package maildir

import (
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/mail"
)

// world is a Maildir on disk, in which others are at work.
type world struct {
	t      testing.TB
	layout Layout
	root   string
	n      int // messages that were made
}

const (
	sentinel = mail.FolderName("Sentinel") // tells that all that happened before was told
	oddName  = mail.FolderName("50%25 a%2Fb.c")
)

func newWorld(t testing.TB, layout Layout) *world {
	w := &world{t: t, layout: layout, root: filepath.Join(t.TempDir(), "Mail")}
	w.make()
	return w
}

func (w *world) make() {
	for _, f := range []mail.FolderName{mail.Inbox, "Archive", "Archive/2024", "Other", oddName, sentinel} {
		w.mkdirs(f)
	}
	for _, name := range []string{"new/a", "cur/b:2,S", "cur/c:2,F"} {
		w.write(w.dir(mail.Inbox, name))
	}
	w.write(w.dir(mail.Inbox, keywordsFile))
	w.mkdir(w.dir("Half", tmpDir))
}

// dir is a folder's directory, or what is in it.
func (w *world) dir(f mail.FolderName, rest ...string) string {
	d := string(f)
	if w.layout == PlusPlus {
		if d = plusPlusName(f.Path()); f == mail.Inbox {
			d = "."
		}
	}
	return filepath.Join(w.root, d, path.Join(rest...))
}

func (w *world) ok(err error) {
	if err != nil {
		w.t.Helper()
		w.t.Fatal(err)
	}
}

func (w *world) mkdir(name string)        { w.ok(os.MkdirAll(name, 0o700)) }
func (w *world) write(name string)        { w.ok(os.WriteFile(name, []byte(name), 0o600)) }
func (w *world) rename(from, to string)   { w.ok(os.Rename(from, to)) }
func (w *world) remove(name string)       { w.ok(os.RemoveAll(name)) }
func (w *world) link(to, name string)     { w.ok(os.Symlink(to, name)) }
func (w *world) chmod(name string)        { w.ok(os.Chmod(name, 0o755)) }
func (w *world) mkdirs(f mail.FolderName) { w.mkfolder(w.dir(f)) }

func (w *world) mkfolder(dir string) {
	for _, sub := range subdirs {
		w.mkdir(filepath.Join(dir, sub))
	}
}

// deliver delivers a message as everybody should.
func (w *world) deliver(f mail.FolderName) {
	w.n++
	name := fmt.Sprintf("m%d", w.n)
	w.write(w.dir(f, tmpDir, name))
	w.rename(w.dir(f, tmpDir, name), w.dir(f, newDir, name))
}

// act is what somebody does, and what is told of it.
type act struct {
	name    string
	do      func(w *world)
	folders []mail.FolderName
	all     bool
	then    mail.FolderName // a delivery to it is told afterwards
	only    Layout
}

var acts = []act{
	{name: "a delivery", do: func(w *world) { w.deliver("Archive/2024") }, folders: []mail.FolderName{"Archive/2024"}},
	{name: "a delivery to the inbox", do: func(w *world) { w.deliver(mail.Inbox) }, folders: []mail.FolderName{mail.Inbox}},
	{name: "a delivery to an odd name", do: func(w *world) { w.deliver(oddName) }, folders: []mail.FolderName{oddName}},
	{name: "a message is seen", do: func(w *world) { w.rename(w.dir(mail.Inbox, "new/a"), w.dir(mail.Inbox, "cur/a:2,S")) },
		folders: []mail.FolderName{mail.Inbox}},
	{name: "a flag", do: func(w *world) { w.rename(w.dir(mail.Inbox, "cur/b:2,S"), w.dir(mail.Inbox, "cur/b:2,FS")) },
		folders: []mail.FolderName{mail.Inbox}},
	{name: "a message is deleted", do: func(w *world) { w.remove(w.dir(mail.Inbox, "cur/b:2,S")) }, folders: []mail.FolderName{mail.Inbox}},
	{name: "a message is moved", do: func(w *world) { w.rename(w.dir(mail.Inbox, "cur/b:2,S"), w.dir("Archive", "cur/b:2,S")) },
		folders: []mail.FolderName{mail.Inbox, "Archive"}},
	{name: "several things", do: func(w *world) {
		w.deliver("Other")
		w.deliver("Archive")
		w.remove(w.dir(mail.Inbox, "new/a"))
	}, folders: []mail.FolderName{mail.Inbox, "Archive", "Other"}},
	{name: "keywords", do: func(w *world) { w.write(w.dir("Archive", keywordsFile)) }, folders: []mail.FolderName{"Archive"}},
	{name: "keywords of the inbox", do: func(w *world) { w.ok(os.WriteFile(w.dir(mail.Inbox, keywordsFile), []byte("0 Work\n"), 0o600)) },
		folders: []mail.FolderName{mail.Inbox}},
	{name: "keywords are replaced", do: func(w *world) {
		w.write(w.dir(mail.Inbox, keywordsLock))
		w.rename(w.dir(mail.Inbox, keywordsLock), w.dir(mail.Inbox, keywordsFile))
	}, folders: []mail.FolderName{mail.Inbox}},
	{name: "keywords are removed", do: func(w *world) { w.remove(w.dir(mail.Inbox, keywordsFile)) }, folders: []mail.FolderName{mail.Inbox}},

	{name: "tmp", do: func(w *world) {
		w.write(w.dir(mail.Inbox, "tmp/x"))
		w.remove(w.dir(mail.Inbox, "tmp/x"))
		w.write(w.dir("Archive", "tmp/y"))
		w.remove(w.dir("Archive", "tmp"))
		w.mkdir(w.dir("Archive", "tmp"))
	}},
	{name: "attributes", do: func(w *world) {
		w.chmod(w.dir(mail.Inbox, "cur/b:2,S"))
		w.chmod(w.dir(mail.Inbox, "cur"))
		w.chmod(w.dir(mail.Inbox, keywordsFile))
		w.chmod(w.dir("Archive"))
		w.chmod(w.root)
		w.ok(os.Chtimes(w.dir(mail.Inbox, "cur/b:2,S"), time.Unix(1, 0), time.Unix(2, 0)))
		_, err := os.ReadFile(w.dir(mail.Inbox, "cur/b:2,S"))
		w.ok(err)
		_, err = os.ReadDir(w.dir(mail.Inbox, "cur"))
		w.ok(err)
	}},
	{name: "a message is written to", do: func(w *world) { w.write(w.dir(mail.Inbox, "cur/b:2,S")) }},
	{name: "Satchel's files", do: func(w *world) {
		for _, name := range []string{".satchel.db", ".satchel.db-wal", ".satchel.db-journal", lockFile, keywordsLock} {
			w.write(filepath.Join(w.root, name))
			w.write(filepath.Join(w.root, name))
			w.remove(filepath.Join(w.root, name))
		}
		for _, dir := range []string{".satchel/undo/20010101T000000Z/INBOX", "satchel-undo/20010101T000000Z/INBOX"} {
			if w.layout == Nested == strings.HasPrefix(dir, ".") {
				w.mkdir(filepath.Join(w.root, dir))
				w.write(filepath.Join(w.root, dir, "m:2,S"))
			}
		}
	}},
	{name: "a socket", do: func(w *world) {
		name := filepath.Join(w.root, ".satchel.sock")
		if len(name) > 100 { // longer than the address of a socket can be
			w.ok(os.Chdir(w.root))
			name = ".satchel.sock"
		}
		l, err := net.Listen("unix", name)
		w.ok(err)
		w.ok(l.Close())
	}},
	{name: "files of others", do: func(w *world) {
		for _, dir := range []string{".notmuch/xapian", ".git/objects"} {
			w.mkdir(filepath.Join(w.root, dir))
			for _, name := range []string{"../lock", "flintlock", "postlist.glass", "postlist.tmp"} {
				w.write(filepath.Join(w.root, dir, name))
			}
			w.rename(filepath.Join(w.root, dir, "postlist.tmp"), filepath.Join(w.root, dir, "postlist.glass"))
			w.remove(filepath.Join(w.root, dir, "flintlock"))
		}
		for _, name := range []string{"dovecot.index.log", "dovecot-uidlist.lock", "dovecot-uidlist", subfolder, keywordsLock} {
			w.write(w.dir("Archive", name))
			w.write(w.dir(mail.Inbox, name))
		}
		w.remove(w.dir("Archive", keywordsLock))
	}},
	{name: "a directory that is no folder", do: func(w *world) {
		w.mkdir(filepath.Dir(w.dir("Plain/x")))
		w.mkdir(filepath.Join(w.root, "notes"))
		w.write(filepath.Join(w.root, "notes", "n"))
	}},
	{name: "a link to a folder elsewhere", do: func(w *world) {
		elsewhere := filepath.Join(w.root, "../elsewhere")
		w.mkfolder(elsewhere)
		w.link(elsewhere, w.dir("Linked"))
		w.write(filepath.Join(elsewhere, "new/m"))
		w.write(filepath.Join(elsewhere, "cur/m:2,"))
	}},

	{name: "a new folder", do: func(w *world) { w.mkdirs("Fresh") }, all: true, then: "Fresh"},
	{name: "a new folder, cur last", do: func(w *world) {
		w.mkdir(w.dir("Fresh"))
		w.mkdir(w.dir("Fresh", curDir))
		w.mkdir(w.dir("Fresh", newDir))
		w.mkdir(w.dir("Fresh", tmpDir))
	}, all: true, then: "Fresh"},
	{name: "a new folder below another", do: func(w *world) { w.mkdirs("Archive/2024/May/1") }, all: true, then: "Archive/2024/May/1"},
	{name: "a new folder with messages", do: func(w *world) {
		w.mkfolder(filepath.Join(w.root, "../made"))
		w.write(filepath.Join(w.root, "../made/new/m"))
		w.rename(filepath.Join(w.root, "../made"), w.dir("Made"))
	}, all: true, then: "Made"},
	{name: "a directory becomes a folder", do: func(w *world) {
		w.mkdir(w.dir("Late"))
		w.write(w.dir("Late", "x"))
		w.mkfolder(w.dir("Late"))
	}, all: true, then: "Late"},
	{name: "a folder of tmp alone gets new", do: func(w *world) {
		w.mkdir(w.dir("Half", newDir))
		w.write(w.dir("Half", newDir, "m"))
	}, folders: []mail.FolderName{"Half"}},
	{name: "a folder is renamed", do: func(w *world) { w.rename(w.dir("Other"), w.dir("Another")) }, all: true, then: "Another"},
	{name: "a folder is renamed with those below", do: func(w *world) { w.rename(w.dir("Archive"), w.dir("Other/Archive")) },
		all: true, then: "Other/Archive/2024", only: Nested},
	{name: "a folder is deleted", do: func(w *world) { w.remove(w.dir("Other")) }, all: true},
	{name: "a folder is deleted and made again", do: func(w *world) {
		w.remove(w.dir("Other"))
		w.mkdirs("Other")
	}, all: true, then: "Other"},
	{name: "folders are swapped", do: func(w *world) {
		w.rename(w.dir("Other"), w.dir("Between"))
		w.rename(w.dir("Archive/2024"), w.dir("Other"))
		w.rename(w.dir("Between"), w.dir("Archive/2024"))
	}, all: true, then: "Other"},
	{name: "a folder is replaced by a link", do: func(w *world) {
		w.rename(w.dir("Other"), filepath.Join(w.root, "../Other"))
		w.link("../Other", w.dir("Other"))
	}, all: true},
	{name: "cur goes", do: func(w *world) { w.remove(w.dir("Other", curDir)) }, all: true, then: "Other"},
	{name: "a folder of tmp alone", do: func(w *world) { w.mkdir(w.dir("Fresh", tmpDir)) }, all: true},
	{name: "the root is deleted", do: func(w *world) { w.remove(w.root) }, all: true},
	{name: "the root is deleted and made again", do: func(w *world) {
		w.remove(w.root)
		w.make()
	}, all: true, then: "Archive/2024"},
	{name: "another root", do: func(w *world) {
		other := newWorld(w.t, w.layout)
		w.rename(w.root, w.root+".old")
		w.rename(other.root, w.root)
	}, all: true, then: "Archive/2024"},
}

// want is what is told of an act.
func (a act) want() Notice {
	if a.all {
		return Notice{All: true}
	}
	n := Notice{}
	for _, f := range a.folders {
		n.add(Notice{Folders: map[mail.FolderName]bool{f: true}})
	}
	return n
}

// eachAct runs a test for every act in both layouts.
func eachAct(t *testing.T, test func(t *testing.T, w *world, a act)) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		for _, a := range acts {
			if a.only == "" || a.only == layout {
				t.Run(string(layout)+"/"+a.name, func(t *testing.T) {
					t.Chdir(t.TempDir())
					test(t, newWorld(t, layout), a)
				})
			}
		}
	}
}

// pollMeans are means without events.
func pollMeans() means { return means{open: OSFS, every: pollEvery} }

func mustWatch(t testing.TB, w *world, m means) *Events {
	t.Helper()
	e, err := watchEvents(w.root, w.layout, m)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// collect takes all that is told within a time, of a clock that runs only while all wait.
func collect(e *Events) Notice {
	var got Notice
	for end := time.After(4*pollEvery + pollEvery/7); ; { // not when directories are looked at, so that what follows is one act
		select {
		case n := <-e.C():
			got.add(n)
		case <-end:
			return got
		}
	}
}

func compare(t testing.TB, got, want Notice) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("told (-want +got):\n%s", d)
	}
}

func TestEventsPolled(t *testing.T) {
	eachAct(t, func(t *testing.T, w *world, a act) {
		synctest.Test(t, func(t *testing.T) {
			e := mustWatch(t, w, pollMeans())
			defer e.Close()
			a.do(w)
			compare(t, collect(e), a.want())
			if a.then != "" {
				w.mkdirs(a.then)
				collect(e)
				w.deliver(a.then)
				compare(t, collect(e), Notice{Folders: map[mail.FolderName]bool{a.then: true}})
			}
		})
	})
}

func TestEventsRoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, layout: Nested, root: filepath.Join(t.TempDir(), "not/yet/Mail")}
		e := mustWatch(t, w, pollMeans())
		defer e.Close()
		compare(t, collect(e), Notice{})
		w.mkdir(filepath.Dir(w.root))
		compare(t, collect(e), Notice{})
		w.make()
		compare(t, collect(e), Notice{All: true})
		w.remove(filepath.Dir(w.root))
		compare(t, collect(e), Notice{All: true})
		w.write(filepath.Join(w.root, "../..", "x"))
		w.make()
		compare(t, collect(e), Notice{All: true})
		w.deliver("Archive")
		compare(t, collect(e), Notice{Folders: map[mail.FolderName]bool{"Archive": true}})
	})
}

func TestEventsClose(t *testing.T) {
	w := newWorld(t, Nested)
	e, err := WatchEvents(w.root, w.layout)
	if err != nil {
		t.Fatal(err)
	}
	w.deliver(mail.Inbox) // nobody takes it
	for range 2 {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, ok := <-e.C(); ok {
		t.Error("C is not closed")
	}
	if _, err := WatchEvents(w.root, "mbox"); err == nil {
		t.Error("watches a layout that does not exist")
	}
}

// TestEventsWithinOneTick: a change that leaves a directory with the time of the one before is found, while it may be that.
func TestEventsWithinOneTick(t *testing.T) {
	w := newWorld(t, Nested)
	cur := w.dir(mail.Inbox, curDir)
	s, err := newSession(&Events{root: w.root, layout: w.layout, means: pollMeans()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	found := func() Notice {
		var n Notice
		s.poll()
		s.e.take(&n)
		return n
	}
	inbox := Notice{Folders: map[mail.FolderName]bool{mail.Inbox: true}}
	at := time.Now().Truncate(time.Second)
	w.ok(os.Chtimes(cur, at, at))
	compare(t, found(), inbox)
	compare(t, found(), Notice{})
	w.rename(filepath.Join(cur, "b:2,S"), filepath.Join(cur, "b:2,R"))
	w.ok(os.Chtimes(cur, at, at))
	compare(t, found(), inbox)
	compare(t, found(), Notice{})

	keywords := w.dir(mail.Inbox, keywordsFile)
	w.ok(os.WriteFile(keywords, []byte("0 A\n"), 0o600))
	w.ok(os.Chtimes(keywords, at, at))
	compare(t, found(), inbox)
	w.ok(os.WriteFile(keywords, []byte("0 B\n"), 0o600))
	w.ok(os.Chtimes(keywords, at, at))
	compare(t, found(), inbox)
	compare(t, found(), Notice{})
}
