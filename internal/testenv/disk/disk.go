// Package disk is a file system in memory that forgets what was not made durable. It is a Maildir's maildir.FS: tests run
// the engine on it, stop it at any step, let single steps fail, and let the power fail.
//
// What it promises is what POSIX systems promise and no more. Data is durable once the file was synced, a name once its
// directory was. Of what was not, any part may be there after a power failure: a file with its old content, a part of the new
// one or zeros; of the changes to directories any selection in which each makes sense. Only a rename is whole or not at all.
// A sync that failed has lost what it was to write: a second one says that all is well (as Linux does).
//
// Times are exact: every change gets a later one.
package disk

import (
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/maildir"
)

// Step is one moment of the program's work with the disk: right before something is done, or right after.
type Step struct {
	// Op is "create", "open", "read", "write", "sync", "times", "stat", "list", "mkdir", "rename", "link", "remove", "touch",
	// "syncdir", "syncall" or "lock".
	Op, Name string
	After    bool
}

// Changes reports whether the step changes what is on the disk, or makes it durable.
func (s Step) Changes() bool {
	switch s.Op {
	case "open", "read", "stat", "list", "lock":
		return false
	}
	return true
}

// Disk is a file system.
type Disk struct {
	mu      sync.Mutex // never held while the hook runs
	hook    func(Step) error
	root    uint64                      // an inode
	people  func(maildir.FS) maildir.FS // what Person returns, nil for the disk as it is
	clock   int64                       // the time of the last change, in nanoseconds
	last    uint64
	nodes   map[uint64]*node
	durable map[uint64]map[string]uint64 // what directories hold after a power failure, whatever becomes of later changes
	journal []change
	locked  map[string]bool
	watches []*watch
	byLink  bool
}

// rootInode is that of the root, to begin with.
const rootInode = 2

// node is a file or directory.
type node struct {
	dir          bool
	entries      map[string]uint64 // of a directory
	data         []byte            // of a file
	synced       []byte            // what of it is durable
	dirty        bool              // data is not
	lost         bool              // a sync failed: data never will be
	mode         fs.FileMode
	mtime, ctime int64
}

// change is one change to directories that is not durable yet. A file that is made comes from nowhere, one that is removed goes
// nowhere.
type change struct {
	inode    uint64
	from, to place
}

type place struct {
	dir  uint64 // 0: nowhere
	name string
}

// New makes a disk with an empty root.
func New() *Disk {
	d := &Disk{clock: time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano(), last: rootInode, root: rootInode, locked: map[string]bool{}}
	root := &node{dir: true, entries: map[string]uint64{}, mode: 0o700, mtime: d.clock, ctime: d.clock}
	d.nodes = map[uint64]*node{rootInode: root}
	d.durable = map[uint64]map[string]uint64{rootInode: {}}
	return d
}

// Clone returns a disk with the same content. Neither is in use.
func (d *Disk) Clone() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &Disk{clock: d.clock, root: d.root, people: d.people, byLink: d.byLink, last: d.last, nodes: map[uint64]*node{}, durable: map[uint64]map[string]uint64{}, journal: slices.Clone(d.journal), locked: map[string]bool{}}
	for inode, n := range d.nodes {
		m := *n
		m.entries = cloneEntries(n.entries)
		m.data = slices.Clone(n.data)
		c.nodes[inode] = &m // what is durable of a file is never changed in place
	}
	for inode, entries := range d.durable {
		c.durable[inode] = cloneEntries(entries)
	}
	return c
}

func cloneEntries(m map[string]uint64) map[string]uint64 {
	if m == nil {
		return nil
	}
	out := make(map[string]uint64, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// SetHook sets what is asked at every step of the program; nil asks nobody. An error before something is done prevents it, and
// one after it hides that it was done.
func (d *Disk) SetHook(hook func(Step) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.hook = hook
}

// ErrSync is what a hook returns to have a sync fail as disks do: what was to be written is lost. Other errors at a sync
// only keep it from happening.
var ErrSync = errors.New("input/output error (test)")

// ErrShort is what a hook returns before a read to have it give only half of what was asked for, and no error. That is another
// step.
var ErrShort = errors.New("a short read (test)")

// FS is the disk as the program sees it.
func (d *Disk) FS() maildir.FS { return &view{d: d, program: true} }

// Person is the disk as somebody else on the machine sees it: without steps, and durable once Settle was called.
func (d *Disk) Person() maildir.FS {
	v := &view{d: d}
	if d.people != nil {
		return d.people(v)
	}
	return v
}

// SetPeople has people see the disk otherwise than it is.
func (d *Disk) SetPeople(see func(maildir.FS) maildir.FS) { d.people = see }

// RenameByLink has the program rename files without replacing others by giving them a second name and taking away the first, as some file systems want it.
func (d *Disk) RenameByLink() { d.byLink = true }

// ask calls the hook.
func (d *Disk) ask(s Step) error {
	d.mu.Lock()
	hook := d.hook
	d.mu.Unlock()
	if hook == nil {
		return nil
	}
	return hook(s)
}

// Link makes a symbolic link that leads to nothing.
func (d *Disk) Link(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dir, base, err := d.parent("symlink", name); err == nil {
		d.add(place{dir, base}, false, fs.ModeSymlink|0o777)
	}
}

// Replace makes the disk what another one is, as one that was restored from a copy: everything has its times, and is another inode.
func (d *Disk) Replace(from *Disk) {
	c := from.Clone()
	d.mu.Lock()
	defer d.mu.Unlock()
	shift := d.last
	moved := func(m map[string]uint64) map[string]uint64 {
		for name := range m {
			m[name] += shift
		}
		return m
	}
	d.root, d.last, d.journal = c.root+shift, c.last+shift, nil
	d.nodes, d.durable = map[uint64]*node{}, map[uint64]map[string]uint64{}
	for inode, n := range c.nodes {
		n.entries, n.ctime = moved(n.entries), d.tick()
		d.nodes[inode+shift] = n
	}
	for inode, n := range d.nodes {
		if n.dir {
			d.durable[inode] = cloneEntries(n.entries)
		}
	}
}

// Settle makes everything durable.
func (d *Disk) Settle() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for inode, n := range d.nodes {
		if n.dir {
			d.durable[inode] = cloneEntries(n.entries)
		} else {
			n.synced, n.dirty, n.lost = slices.Clone(n.data), false, false
		}
	}
	d.journal = nil
}

// Die ends the program: its locks and watches are gone.
func (d *Disk) Die() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.locked)
	d.watches = nil
}

// find returns what a path leads to. d.mu is held.
func (d *Disk) find(name string) (uint64, *node) {
	inode := d.root
	if name == "." {
		return inode, d.nodes[inode]
	}
	for part := range strings.SplitSeq(name, "/") {
		n := d.nodes[inode]
		if !n.dir {
			return 0, nil
		}
		if inode = n.entries[part]; inode == 0 {
			return 0, nil
		}
	}
	return inode, d.nodes[inode]
}

// parent returns the directory that a name is in.
func (d *Disk) parent(op, name string) (uint64, string, error) {
	dir, base := path.Split(name)
	inode, n := d.find(path.Clean("./" + dir))
	if n == nil || !n.dir {
		return 0, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return inode, base, nil
}

func (d *Disk) tick() int64 {
	d.clock += 1000
	return d.clock
}

// apply makes a change, and keeps it in mind until it is durable.
func (d *Disk) apply(c change) {
	now := d.tick()
	for _, p := range [...]place{c.from, c.to} {
		if p.dir != 0 {
			d.nodes[p.dir].mtime, d.nodes[p.dir].ctime = now, now
		}
	}
	if n := d.nodes[c.inode]; n != nil {
		n.ctime = now
	}
	if c.from.dir != 0 {
		delete(d.nodes[c.from.dir].entries, c.from.name)
		d.tell(c.from, false)
	}
	if c.to.dir != 0 {
		d.nodes[c.to.dir].entries[c.to.name] = c.inode
		d.tell(c.to, true)
	}
	d.journal = append(d.journal, c)
}

// add makes a file or directory.
func (d *Disk) add(at place, dir bool, mode fs.FileMode) (uint64, *node) {
	d.last++
	n := &node{dir: dir, mode: mode, mtime: d.clock}
	if dir {
		n.entries = map[string]uint64{}
		d.durable[d.last] = map[string]uint64{}
	}
	d.nodes[d.last] = n
	d.apply(change{inode: d.last, to: at})
	n.mtime = d.clock
	return d.last, n
}

// tell notes a name that came or went for those who watch its directory.
func (d *Disk) tell(p place, came bool) {
	for _, w := range d.watches {
		if dir, ok := w.dirs[p.dir]; ok {
			w.told = append(w.told, telling{dir, p.name, came})
		}
	}
}

type telling struct {
	dir, name string
	came      bool
}

// watch implements maildir.Watch.
type watch struct {
	d    *Disk
	dirs map[uint64]string
	told []telling
}

func (w *watch) Add(dir string) error {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	inode, n := w.d.find(dir)
	if n == nil || !n.dir {
		return &fs.PathError{Op: "watch", Path: dir, Err: fs.ErrNotExist}
	}
	w.dirs[inode] = dir
	return nil
}

func (w *watch) Told(each func(dir, name string, came bool)) error {
	w.d.mu.Lock()
	told := w.told
	w.told = nil
	w.d.mu.Unlock()
	for _, t := range told {
		each(t.dir, t.name, t.came)
	}
	return nil
}

func (w *watch) Close() error {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	w.d.watches = slices.DeleteFunc(w.d.watches, func(o *watch) bool { return o == w })
	return nil
}

// Advance moves the disk's clock forward to a time, if it is not there yet.
func (d *Disk) Advance(to time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = max(d.clock, to.UnixNano())
}

// SetClock sets the disk's clock, as a machine's is that was wrong.
func (d *Disk) SetClock(to time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = to.UnixNano()
}
