package maildir

import (
	"errors"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"

	"github.com/satchel-mail/satchel/internal/mail"
)

// session watches one root directory, from when it was found until it is gone or another one lies there.
type session struct {
	e     *Events
	fs    FS
	self  os.FileInfo       // of the root
	local map[uint64]bool   // devices, to whether what others do there is told
	w     *fsnotify.Watcher // nil: everything is polled
	ended chan struct{}     // w's reader has ended

	folders map[mail.FolderName]folderID
	begun   bool // the first survey is over: what is found from now on is new
	seed    maphash.Seed

	mu     sync.Mutex // guards places against w's reader; only the keeper writes to it
	places map[string]*place
}

// place is a directory that is watched or polled.
type place struct {
	folder   mail.FolderName // whose directory it is, or whose new or cur; empty if it is only on the way to folders
	messages bool            // it is new or cur
	dev      uint64          // of the directory that is watched, and so is the next
	inode    uint64
	polled   bool
	refused  bool // polled, because it may not be watched with these permissions
	dir      look // of what is polled, and so is the next
	keywords look
}

// maxRounds bounds how often a survey begins again at once because directories came meanwhile.
const maxRounds = 4

func newSession(e *Events) (*session, error) {
	before, err := os.Stat(e.root)
	if err != nil {
		return nil, err
	}
	fsys, err := e.means.open(e.root)
	if err != nil {
		return nil, err
	}
	s := &session{e: e, fs: fsys, self: before, seed: maphash.MakeSeed(), places: map[string]*place{}}
	info, err := fsys.Stat(".")
	if err == nil && !s.same() {
		err = fs.ErrNotExist // another one lies there by now
	}
	if err == nil {
		s.local = map[uint64]bool{info.Dev: fsys.Kind().Local}
		if e.means.watcher != nil && fsys.Kind().Local {
			s.watch()
		}
		err = s.survey(false)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.begun = true
	return s, nil
}

// same reports whether the root is still the directory that is watched.
func (s *session) same() bool {
	now, err := os.Stat(s.e.root)
	return err == nil && os.SameFile(s.self, now)
}

func (s *session) close() {
	s.unwatch()
	s.fs.Close() // it was only read
}

// watch makes a watcher, with nothing watched yet.
func (s *session) watch() {
	w, err := s.e.means.watcher()
	if err != nil {
		s.e.complain(watchLimit(s.e.root, err))
		return
	}
	s.w, s.ended = w, make(chan struct{})
	go func(ended chan struct{}) {
		defer close(ended)
		readEvents(w, s.event, s.lost)
	}(s.ended)
}

// unwatch gives up all watches, and whatever else was known of directories.
func (s *session) unwatch() {
	if s.w != nil {
		s.w.Close() // nothing was written
		<-s.ended
		s.w = nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.places)
}

// survey looks which directories there are, and watches those that it did not know. It ends when each was watched before it was
// listed, so that nothing came unseen. An error means that the root can't be read.
func (s *session) survey(stale bool) error {
	for range maxRounds {
		found, err := s.walk()
		if err != nil {
			return err
		}
		if s.begun && !maps.Equal(s.folders, found.folders) {
			s.e.tellAll()
		}
		s.folders = found.folders
		if s.w == nil {
			s.drop(found)
		} else if stale || s.lacks(found) {
			// A watch hangs on its directory, wherever that is by now, and fsnotify goes on calling it by its old name, also if it is
			// added under the new one. What was not read yet of the old watches is lost.
			s.unwatch()
			s.watch()
			s.e.tellAll()
		}
		stale = false
		if !s.add(found) {
			return nil
		}
	}
	s.e.lookAgain(false)
	return nil
}

// lacks reports whether a directory that is known is not there any more.
func (s *session) lacks(found tree) bool {
	for name := range s.places {
		if _, ok := found.places[name]; !ok {
			return true
		}
	}
	return false
}

func (s *session) drop(found tree) {
	maps.DeleteFunc(s.places, func(name string, _ *place) bool { _, ok := found.places[name]; return !ok })
}

// add takes in the directories that are new, those above first, and reports whether there were any.
func (s *session) add(found tree) bool {
	any := false
	for _, name := range slices.SortedFunc(maps.Keys(found.places), aboveFirst) {
		want := found.places[name]
		if p := s.places[name]; p == nil {
			err := s.begin(name, want)
			any = any || !errors.Is(err, errNoDirectory)
			if err != nil && !errors.Is(err, errNoDirectory) && !errors.Is(err, fs.ErrNotExist) {
				s.pollOnly(err)
				return true
			}
			if err == nil && s.begun && want.folder != "" {
				s.e.tell(want.folder) // something may lie in it already
			}
		} else if p.folder != want.folder || p.messages != want.messages {
			any = true
			s.mu.Lock()
			p.folder, p.messages = want.folder, want.messages
			s.mu.Unlock()
			if p.polled {
				s.baseline(name, p)
			}
		}
	}
	return any
}

// aboveFirst sorts a directory before those in it.
func aboveFirst(a, b string) int {
	return strings.Compare(strings.TrimPrefix(a, "."), strings.TrimPrefix(b, "."))
}

// pollOnly gives up all watches for want of some.
func (s *session) pollOnly(err error) {
	s.unwatch()
	s.e.complain(watchLimit(s.e.root, err))
	if s.begun {
		s.e.tellAll()
	}
}

// begin watches or polls one directory. fs.ErrNotExist or errNoDirectory if there is none; another error if the system has no
// watches left.
func (s *session) begin(name string, want place) error {
	// Known before it is looked at: who reads of what happens to it from now on finds it.
	p := &want
	s.mu.Lock()
	s.places[name] = p
	s.mu.Unlock()
	err := s.beginKnown(name, p)
	if err != nil {
		s.mu.Lock()
		delete(s.places, name)
		s.mu.Unlock()
	}
	return err
}

var errNoDirectory = errors.New("not a directory")

func (s *session) beginKnown(name string, p *place) error {
	info, err := s.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && !info.Mode.IsDir() {
		return errNoDirectory
	}
	if s.w != nil && err == nil && s.tells(name, info.Dev) {
		s.mu.Lock()
		p.dev, p.inode = info.Dev, info.Inode
		s.mu.Unlock()
		err := s.e.means.add(s.w, filepath.Join(s.e.root, filepath.FromSlash(name)))
		if !errors.Is(err, fs.ErrPermission) {
			return err
		}
		s.mu.Lock()
		p.refused = true
		s.mu.Unlock()
	}
	p.polled = true
	s.baseline(name, p)
	return nil
}

// tells reports whether what happens on the file system of a directory is told: others than the root's may be mounted below it.
func (s *session) tells(name string, dev uint64) bool {
	local, known := s.local[dev]
	if !known {
		if fsys, err := s.e.means.open(filepath.Join(s.e.root, filepath.FromSlash(name))); err == nil {
			local = fsys.Kind().Local
			fsys.Close() // nothing was read
		}
		s.local[dev] = local
	}
	return local
}

// event takes what the system tells. It belongs to the watcher's reader.
func (s *session) event(ev fsnotify.Event) {
	name, ok := s.below(ev.Name)
	if !ok {
		return
	}
	named := ev.Has(fsnotify.Create) || ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)
	if name == "." {
		if named {
			s.e.lookAgain(true)
		}
		return
	}
	dir, base := path.Split(name)
	if dir = strings.TrimSuffix(dir, "/"); dir == "" {
		dir = "."
	}
	within, _ := s.place(dir)
	self, known := s.place(name)
	switch {
	case known && self.refused, known && named && !ev.Has(fsnotify.Create):
		s.e.lookAgain(true)
	case known && named:
		// It may be told only now of a directory that a survey found already.
		if info, err := s.fs.Stat(name); err != nil || info.Dev != self.dev || info.Inode != self.inode {
			s.e.lookAgain(true)
		}
	case within.messages:
		if named {
			s.e.tell(within.folder)
		}
	case base == keywordsFile:
		if within.folder != "" && (named || ev.Has(fsnotify.Write)) {
			s.e.tell(within.folder)
		}
	case !named || !s.shapes(dir, base):
	case ev.Has(fsnotify.Create):
		// Dovecot, notmuch and Satchel itself make many files that are no folders.
		if info, err := s.fs.Stat(name); err == nil && (info.Mode.IsDir() || info.Mode&fs.ModeSymlink != 0) {
			s.e.lookAgain(false)
		}
	case isSubdir(base):
		s.e.lookAgain(false) // a folder that had only tmp has gone
	}
}

// below is a path of the watcher's as one below the root.
func (s *session) below(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, s.e.root)
	if !ok || rest == "" {
		return ".", ok
	}
	if rest[0] != filepath.Separator {
		if !strings.HasSuffix(s.e.root, string(filepath.Separator)) {
			return "", false
		}
	} else {
		rest = rest[1:]
	}
	return filepath.ToSlash(rest), true
}

// place returns a copy for the watcher's reader.
func (s *session) place(name string) (place, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.places[name]; p != nil {
		return place{folder: p.folder, messages: p.messages, dev: p.dev, inode: p.inode, refused: p.refused}, true
	}
	return place{}, false
}

// shapes reports whether a directory of that name can be a folder, on the way to one, or a part of one.
func (s *session) shapes(dir, name string) bool {
	switch {
	case isSubdir(name):
		return true
	case s.e.layout == PlusPlus:
		return dir == "." && strings.HasPrefix(name, ".")
	}
	return !strings.HasPrefix(name, ".")
}

// lost: some of what happened was not told, that directories came or went too.
func (s *session) lost(error) {
	s.e.tellAll()
	s.e.lookAgain(true)
}

// tree is what is to be watched.
type tree struct {
	places  map[string]place // by path below the root
	folders map[mail.FolderName]folderID
}

// folderID tells a folder from another one of its name.
type folderID struct {
	dir        string
	inode      uint64
	incomplete bool
}

// walk finds the folders as a Store does, and the directories that it has to list for it: those decide which folders there are.
func (s *session) walk() (tree, error) {
	listed := &listedFS{FS: s.fs}
	st := newStore(s.e.root, s.e.layout, Options{FS: listed, ReadOnly: true})
	root, err := s.fs.Stat(".")
	if err != nil {
		return tree{}, err
	}
	st.rootInfo = root
	w := &walker{s: st, seen: map[mail.FolderName]string{}}
	if err := w.all(); err != nil {
		return tree{}, err
	}
	t := tree{places: make(map[string]place, 3*len(w.folders)+1), folders: make(map[mail.FolderName]folderID, len(w.folders))}
	for _, dir := range listed.dirs {
		t.places[dir] = place{}
	}
	for _, f := range w.folders {
		d := folderDir{f.Name, w.seen[f.Name]}
		t.folders[f.Name] = folderID{d.path, f.Inode, f.Incomplete}
		t.places[d.path] = place{folder: f.Name}
		for _, sub := range [...]string{newDir, curDir} {
			if f.Incomplete && !s.exists(d.sub(sub)) {
				continue
			}
			t.places[d.sub(sub)] = place{folder: f.Name, messages: true}
		}
	}
	return t, nil
}

func (s *session) exists(name string) bool {
	_, err := s.fs.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// listedFS notes which directories are listed.
type listedFS struct {
	FS
	dirs []string
}

func (l *listedFS) List(dir string, each func(name string, mode fs.FileMode) bool) error {
	l.dirs = append(l.dirs, dir)
	return l.FS.List(dir, each)
}
