package maildir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"github.com/satchel-mail/satchel/internal/mail"
)

// inotifyMeans are those of Linux.
func inotifyMeans() means {
	return means{watcher: systemWatcher(), add: func(w *fsnotify.Watcher, dir string) error { return w.Add(dir) }, open: OSFS, every: pollEvery}
}

// next takes the next Notice; a second without one is a failure.
func next(t testing.TB, e *Events) Notice {
	t.Helper()
	select {
	case n, ok := <-e.C():
		if !ok {
			t.Fatal("the channel is closed")
		}
		return n
	case <-time.After(30 * time.Second):
		t.Fatal("nothing is told")
	}
	return Notice{}
}

// flush delivers to the sentinel, and returns what was told until that was told, without it.
func flush(t testing.TB, w *world, e *Events) Notice {
	t.Helper()
	var got Notice
	w.deliver(sentinel)
	for {
		n := next(t, e)
		last := n.Folders[sentinel]
		delete(n.Folders, sentinel)
		if len(n.Folders) == 0 {
			n.Folders = nil
		}
		if got.add(n); last {
			return got
		}
		if n.All {
			w.deliver(sentinel) // the last one may be one of all
		}
	}
}

func TestEvents(t *testing.T) {
	eachAct(t, func(t *testing.T, w *world, a act) {
		e := mustWatch(t, w, inotifyMeans())
		defer e.Close()
		a.do(w)
		if !a.all {
			compare(t, flush(t, w, e), a.want())
			return
		}
		for !next(t, e).All {
		}
		// What was told before all of it was done is told again.
		w.mkdirs(sentinel)
		flush(t, w, e)
		if a.then != "" {
			w.mkdirs(a.then)
			flush(t, w, e)
			w.deliver(a.then)
			compare(t, flush(t, w, e), Notice{Folders: map[mail.FolderName]bool{a.then: true}})
		}
	})
}

func TestEventsRootAppears(t *testing.T) {
	w := &world{t: t, layout: PlusPlus, root: filepath.Join(t.TempDir(), "Mail")}
	m := inotifyMeans()
	m.every = time.Hour // it is told, not found
	e := mustWatch(t, w, m)
	defer e.Close()
	for range 3 {
		w.make()
		for !next(t, e).All {
		}
		flush(t, w, e)
		w.deliver("Archive/2024")
		compare(t, flush(t, w, e), Notice{Folders: map[mail.FolderName]bool{"Archive/2024": true}})
		w.rename(w.root, filepath.Join(t.TempDir(), "gone"))
		for !next(t, e).All {
		}
	}
}

// TestEventsBurst: many changes are told in few Notices, and none is lost.
func TestEventsBurst(t *testing.T) {
	w := newWorld(t, Nested)
	const messages, folders = 5000, 50
	name := func(i int, flags string) string {
		return w.dir(mail.FolderName(fmt.Sprintf("F%02d", i%folders)), curDir, fmt.Sprintf("m%d:2,%s", i, flags))
	}
	for i := range folders {
		w.mkdirs(mail.FolderName(fmt.Sprintf("F%02d", i)))
	}
	for i := range messages {
		w.write(name(i, ""))
	}
	e := mustWatch(t, w, inotifyMeans())
	defer e.Close()
	start := time.Now()
	var act sync.WaitGroup
	act.Go(func() {
		for i := range messages {
			if err := os.Rename(name(i, ""), name(i, "S")); err != nil {
				t.Error(err)
			}
		}
		w.deliver(sentinel)
	})
	defer act.Wait()
	var got Notice
	notices := 0
	for !got.Folders[sentinel] {
		got.add(next(t, e))
		notices++
	}
	if got.All || len(got.Folders) != folders+1 {
		t.Errorf("told %d folders (All: %v), want %d", len(got.Folders), got.All, folders+1)
	}
	if most := int(time.Since(start)/gather) + 2; notices > most {
		t.Errorf("%d notices, want %d at most", notices, most)
	}
}

// TestEventsManyFolders: folders that come, go and are renamed while it is surveyed are watched in the end.
func TestEventsManyFolders(t *testing.T) {
	for _, layout := range []Layout{Nested, PlusPlus} {
		t.Run(string(layout), func(t *testing.T) {
			w := newWorld(t, layout)
			e := mustWatch(t, w, inotifyMeans())
			defer e.Close()
			var act sync.WaitGroup
			var names []mail.FolderName
			act.Go(func() {
				for i := range 60 {
					f := mail.FolderName(fmt.Sprintf("Box%d", i))
					w.mkdirs(f)
					switch i % 4 {
					case 1:
						w.rename(w.dir(f), w.dir(f+"x"))
						f += "x"
					case 2:
						w.rename(w.dir(f), w.dir(f+"y"))
						w.rename(w.dir(f+"y"), w.dir(f))
					case 3:
						w.remove(w.dir(f))
						continue
					}
					names = append(names, f)
				}
			})
			act.Wait()
			flush(t, w, e)
			want := Notice{Folders: map[mail.FolderName]bool{}}
			for _, f := range names {
				w.deliver(f)
				want.Folders[f] = true
			}
			compare(t, flush(t, w, e), want)
		})
	}
}

func TestEventsOverflow(t *testing.T) {
	w := newWorld(t, Nested)
	m := inotifyMeans()
	var made []*fsnotify.Watcher
	m.watcher = func() (*fsnotify.Watcher, error) {
		watcher, err := fsnotify.NewWatcher()
		made = append(made, watcher)
		return watcher, err
	}
	e := mustWatch(t, w, m)
	defer e.Close()
	made[0].Errors <- fsnotify.ErrEventOverflow
	for !next(t, e).All {
	}
	flush(t, w, e)
	w.deliver("Other")
	compare(t, flush(t, w, e), Notice{Folders: map[mail.FolderName]bool{"Other": true}})
	if e.Close(); len(made) != 2 {
		t.Errorf("%d watchers, want a second one: nobody knows what the first one's watches hang on", len(made))
	}
}

// TestEventsLimits: without watches it polls, and says what would help.
func TestEventsLimits(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit func(m *means)
		want  string
	}{
		{"instances", func(m *means) {
			m.watcher = func() (*fsnotify.Watcher, error) { return nil, fmt.Errorf("no: %w", unix.EMFILE) }
		}, "sysctl fs.inotify.max_user_instances="},
		{"watches", func(m *means) {
			// None at all: a watcher that stayed open would stop the clock. TestEventsLimitLater runs out half-way.
			m.add = func(*fsnotify.Watcher, string) error { return unix.ENOSPC }
		}, "sysctl fs.inotify.max_user_watches="},
		{"no inotify", func(m *means) {
			m.watcher = func() (*fsnotify.Watcher, error) { return nil, unix.ENOSYS }
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Nested)
				m := inotifyMeans()
				c.limit(&m)
				e := mustWatch(t, w, m)
				defer e.Close()
				got := collect(e)
				if (got.Problem != nil) != (c.want != "") || got.All || c.want != "" && !strings.Contains(got.Problem.Error(), c.want) {
					t.Errorf("told %+v, want a problem with %q", got, c.want)
				}
				w.deliver("Archive")
				compare(t, collect(e), Notice{Folders: map[mail.FolderName]bool{"Archive": true}})
				w.remove(w.root)
				w.make()
				compare(t, collect(e), Notice{All: true})
			})
		})
	}
}

// TestEventsLimitLater: the watches run out when a folder is made.
func TestEventsLimitLater(t *testing.T) {
	w := newWorld(t, Nested)
	m := inotifyMeans()
	m.every = 5 * time.Millisecond
	m.add = func(w *fsnotify.Watcher, dir string) error {
		if strings.Contains(dir, "Fresh") {
			return unix.ENOSPC
		}
		return w.Add(dir)
	}
	e := mustWatch(t, w, m)
	defer e.Close()
	w.mkdirs("Fresh")
	var got Notice
	for got.Problem == nil || !got.All {
		got.add(next(t, e))
	}
	flush(t, w, e)
	w.deliver("Fresh")
	for n := next(t, e); !n.Folders["Fresh"]; n = next(t, e) {
	}
}

// oddFS is the real file system, but for what tests want to be otherwise.
type oddFS struct {
	FS
	local   bool
	foreign string // what is below it is on another device
}

func (o oddFS) Kind() Kind { return Kind{Name: "odd", Local: o.local} }

func (o oddFS) Stat(name string) (FileInfo, error) {
	info, err := o.FS.Stat(name)
	if o.foreign != "" && strings.HasPrefix(name, o.foreign) {
		info.Dev++
	}
	return info, err
}

// TestEventsNetwork: what happens on a network file system is not told, so that it is polled, also if only some of the Maildir lies there.
func TestEventsNetwork(t *testing.T) {
	for _, local := range []bool{false, true} {
		t.Run(fmt.Sprintf("local %v", local), func(t *testing.T) {
			w := newWorld(t, Nested)
			var watched []string
			m := inotifyMeans()
			m.every = 5 * time.Millisecond
			m.add = func(w *fsnotify.Watcher, dir string) error {
				watched = append(watched, dir)
				return w.Add(dir)
			}
			m.open = func(root string) (FS, error) {
				fsys, err := OSFS(root)
				return oddFS{fsys, local && root == w.root, "Archive"}, err
			}
			e := mustWatch(t, w, m)
			defer e.Close()
			if (len(watched) > 0) != local || slices.ContainsFunc(watched, func(dir string) bool { return strings.Contains(dir, "Archive") }) {
				t.Errorf("watches %q", watched)
			}
			for _, f := range []mail.FolderName{"Archive/2024", "Other"} {
				w.deliver(f)
				compare(t, next(t, e), Notice{Folders: map[mail.FolderName]bool{f: true}})
			}
		})
	}
}

// TestEventsRefused: a directory that may not be watched is polled, until its permissions change.
func TestEventsRefused(t *testing.T) {
	w := newWorld(t, Nested)
	var mu sync.Mutex
	refuse := true
	m := inotifyMeans()
	m.every = 5 * time.Millisecond
	m.add = func(w *fsnotify.Watcher, dir string) error {
		mu.Lock()
		defer mu.Unlock()
		if refuse && strings.HasSuffix(dir, "Other/new") {
			return fs.ErrPermission
		}
		return w.Add(dir)
	}
	e := mustWatch(t, w, m)
	defer e.Close()
	w.deliver("Other")
	compare(t, next(t, e), Notice{Folders: map[mail.FolderName]bool{"Other": true}})
	mu.Lock()
	refuse = false
	mu.Unlock()
	w.chmod(w.dir("Other", newDir))
	for !next(t, e).All {
	}
	flush(t, w, e)
	if e.Close(); e.session.polls() {
		t.Error("still polls")
	}
}

// TestEventsRealLimit: the system's own refusals are understood.
func TestEventsRealLimit(t *testing.T) {
	var made []*fsnotify.Watcher
	defer func() {
		for _, w := range made {
			w.Close()
		}
	}()
	for range 1000 {
		w, err := fsnotify.NewWatcher()
		if err != nil {
			if watchLimit("x", err) == nil {
				t.Errorf("%v is no limit", err)
			}
			return
		}
		made = append(made, w)
	}
	t.Skip("this user may have more instances than it is worth to make")
}

func TestEventsMessage(t *testing.T) {
	err := watchLimit("/home/me/Mail", unix.ENOSPC)
	if err == nil || !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "/home/me/Mail is looked at every 2s instead of being watched") {
		t.Errorf("%v", err)
	}
}
