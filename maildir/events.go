package maildir

import (
	"fmt"
	"maps"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Events tells in which folders of a Maildir something may have changed, whoever did it. The system tells it where it can
// (inotify); elsewhere, and on network file systems, directories are looked at every two seconds.
//
// What it tells is where to look, not what happened: a Store says that. Whoever waits begins with a look at everything,
// after WatchEvents: from then on nothing is missed.
type Events struct {
	root   string // absolute
	layout Layout
	means  means

	c       chan Notice
	poke    chan struct{} // there is something new in what follows
	closing chan struct{}
	ended   chan struct{} // run is over
	once    sync.Once

	mu        sync.Mutex // guards what follows
	gathered  Notice
	look      bool // directories may have come or gone: survey
	stale     bool // and watches may hang on what is elsewhere by now: set up all of them anew
	complaint bool // a Problem was told

	// What only run works with.
	session *session          // nil: there is no root
	parent  *fsnotify.Watcher // of the directory above the root while there is none
	lookAt  time.Time         // not before then is surveyed again
	tickAt  time.Time         // when the root, and what is polled, is looked at again
	readyAt time.Time         // not before then is the next Notice offered
}

// Notice is what happened since the last one was taken.
type Notice struct {
	// Folders are those in whose new, cur or dovecot-keywords something happened. Empty if All.
	Folders map[mail.FolderName]bool
	// All: folders came or went, or nobody can say what happened: look at everything.
	All bool
	// Problem says that watching is slower from now on, and what to do about it. It is told once, and nothing is missed.
	Problem error
}

func (n *Notice) empty() bool { return len(n.Folders) == 0 && !n.All && n.Problem == nil }

// add puts what happened later into n.
func (n *Notice) add(later Notice) {
	if n.All = n.All || later.All; n.All {
		n.Folders = nil // however many names of folders come and go, no more than a few are kept
	} else if n.Folders == nil {
		n.Folders = later.Folders
	} else {
		maps.Copy(n.Folders, later.Folders)
	}
	if n.Problem == nil {
		n.Problem = later.Problem
	}
}

const (
	// gather is how far Notices are apart at least, so that a burst is a few of them. The first is told at once.
	gather = 10 * time.Millisecond
	// pollEvery is how often directories are looked at where the system does not tell.
	pollEvery = 2 * time.Second
	// pollShare bounds what looking takes of the time: a slow server is asked less often.
	pollShare = 20
	// rootEvery is how often it is made sure that the root is still the directory that is watched. A mount on it, or another
	// name for a directory above it, is not told.
	rootEvery = 30 * time.Second
)

// means are the doors to the world.
type means struct {
	// watcher makes a watcher; nil where the system has none that is fit for it.
	watcher func() (*fsnotify.Watcher, error)
	add     func(w *fsnotify.Watcher, dir string) error
	open    func(root string) (FS, error)
	every   time.Duration // between two looks at what is polled
}

// WatchEvents begins to watch the Maildir at root: new, cur and dovecot-keywords of each folder, and the directories in which
// folders can come and go. A root that does not exist is no error: it is told when it appears.
func WatchEvents(root string, layout Layout) (*Events, error) {
	return watchEvents(root, layout, means{
		watcher: systemWatcher(),
		add:     func(w *fsnotify.Watcher, dir string) error { return w.Add(dir) },
		open:    OSFS,
		every:   pollEvery,
	})
}

func watchEvents(root string, layout Layout, m means) (*Events, error) {
	if layout != Nested && layout != PlusPlus {
		return nil, fmt.Errorf("layout %q: must be %q or %q", layout, Nested, PlusPlus)
	}
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("watching the Maildir: %w", err)
	}
	e := &Events{root: root, layout: layout, means: m, c: make(chan Notice), poke: make(chan struct{}, 1),
		closing: make(chan struct{}), ended: make(chan struct{})}
	e.begin()
	go e.run()
	return e, nil
}

// C gives what happened, gathered: one value holds all that came since the last was taken, and is the taker's. It is closed
// after Close.
func (e *Events) C() <-chan Notice { return e.c }

// Close ends the watching.
func (e *Events) Close() error {
	e.once.Do(func() { close(e.closing) })
	<-e.ended
	return nil
}

// run hands out Notices and keeps the watches up to date.
func (e *Events) run() {
	defer close(e.ended)
	defer close(e.c)
	defer e.release()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var n Notice
	for {
		look := e.take(&n)
		now := time.Now()
		switch {
		case look && !now.Before(e.lookAt):
			e.survey()
			continue
		case !now.Before(e.tickAt):
			e.tick()
			continue
		}
		// While directories are about to be looked at, what is told of the rest waits for it: who takes it finds all watched.
		wake, out := e.tickAt, chan<- Notice(nil)
		switch {
		case look:
			wake = earlier(wake, e.lookAt)
		case !n.empty() && now.Before(e.readyAt):
			wake = earlier(wake, e.readyAt)
		case !n.empty():
			out = e.c
		}
		timer.Reset(time.Until(wake))
		select {
		case <-e.closing:
			return
		case <-e.poke:
		case <-timer.C:
		case out <- n:
			n = Notice{}
			e.readyAt = time.Now().Add(gather)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// begin begins to watch the root, or the directory above it if there is no root.
func (e *Events) begin() {
	e.open()
	if e.session == nil && e.parent == nil {
		e.awaitRoot()
		e.open() // it may have appeared meanwhile
	}
	e.setTick(0)
}

func (e *Events) open() {
	s, err := newSession(e)
	if err != nil {
		return // tried again by and by
	}
	e.session = s
	if e.parent != nil {
		e.parent.Close() // nothing to be done about it
		e.parent = nil
	}
}

// survey looks at directories that may have come or gone.
func (e *Events) survey() {
	e.mu.Lock()
	stale := e.stale
	e.look, e.stale = false, false
	e.mu.Unlock()
	start := time.Now()
	if e.session == nil {
		e.reopen()
	} else if !e.session.same() || e.session.survey(stale) != nil {
		e.lose()
	}
	now := time.Now()
	if e.session != nil && e.session.polls() {
		e.tickAt = earlier(e.tickAt, now.Add(e.means.every)) // it may not have been so before
	}
	// While directories come and go all the time, half of it is left to others.
	e.lookAt = now.Add(now.Sub(start))
}

// tick looks at what the system does not tell of.
func (e *Events) tick() {
	start := time.Now()
	switch {
	case e.session == nil:
		e.reopen()
	case !e.session.same():
		e.lose()
	default:
		e.session.poll()
	}
	e.setTick(time.Since(start))
}

func (e *Events) setTick(took time.Duration) {
	every := e.means.every
	if e.session != nil && !e.session.polls() {
		every = rootEvery
	}
	e.tickAt = time.Now().Add(max(every, pollShare*took))
}

func (e *Events) reopen() {
	if e.begin(); e.session != nil {
		e.tellAll()
	}
}

// lose gives up a root that is gone, and takes another one if that lies there.
func (e *Events) lose() {
	e.session.close()
	e.session = nil
	e.tellAll()
	e.begin()
}

func (e *Events) release() {
	if e.session != nil {
		e.session.close()
	}
	if e.parent != nil {
		e.parent.Close() // nothing was written
	}
}

// awaitRoot watches the directory above the root. Where that can't be done, the root is looked for by and by.
func (e *Events) awaitRoot() {
	if e.means.watcher == nil {
		return
	}
	w, err := e.means.watcher()
	if err != nil {
		return
	}
	if e.means.add(w, filepath.Dir(e.root)) != nil {
		w.Close() // nothing was watched
		return
	}
	e.parent = w
	go readEvents(w, func(ev fsnotify.Event) {
		if ev.Name == e.root && ev.Has(fsnotify.Create) {
			e.lookAgain(false)
		}
	}, func(error) { e.lookAgain(false) })
}

// readEvents takes what a watcher tells until it is closed. Nothing else may be done by the one who calls it: fsnotify holds a lock
// while it waits for an error to be taken, which Add and Remove wait for.
func readEvents(w *fsnotify.Watcher, event func(fsnotify.Event), lost func(error)) {
	for {
		select {
		case ev, ok := <-w.Events:
			if !ok {
				return
			}
			event(ev)
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			lost(err)
		}
	}
}

// take moves what was gathered to n, and reports whether directories are to be looked at.
func (e *Events) take(n *Notice) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	n.add(e.gathered)
	e.gathered = Notice{}
	return e.look
}

func (e *Events) tell(f mail.FolderName) {
	e.mu.Lock()
	known := e.gathered.All || e.gathered.Folders[f]
	if !known {
		if e.gathered.Folders == nil {
			e.gathered.Folders = map[mail.FolderName]bool{}
		}
		e.gathered.Folders[f] = true
	}
	e.mu.Unlock()
	if !known {
		e.wake()
	}
}

func (e *Events) tellAll() {
	e.mu.Lock()
	e.gathered.add(Notice{All: true})
	e.mu.Unlock()
	e.wake()
}

// complain tells of a limit; nil is none.
func (e *Events) complain(err error) {
	e.mu.Lock()
	if err != nil && !e.complaint {
		e.complaint, e.gathered.Problem = true, err
	}
	e.mu.Unlock()
	e.wake()
}

// lookAgain has the directories looked at. stale says that known ones are not where they were.
func (e *Events) lookAgain(stale bool) {
	e.mu.Lock()
	e.look, e.stale = true, e.stale || stale
	e.mu.Unlock()
	e.wake()
}

func (e *Events) wake() {
	select {
	case e.poke <- struct{}{}:
	default:
	}
}
