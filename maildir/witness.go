package maildir

import (
	"context"
	"hash/maphash"
	"io/fs"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// A folder that this Store changes has other times afterwards, and a reading of all its names would have to show that nobody
// else changed it at the same time. The system's own account of which names came and went shows it without a reading.

// Witness begins to watch a folder that is still as mark says, so that Vouch can say later that it holds nothing but that
// and what this Store did. It reports whether it does.
func (s *Store) Witness(f mail.FolderName, mark Mark) bool {
	d, err := s.locate(f)
	if err != nil {
		return false
	}
	s.witness.forget(d)
	return !mark.Racy && !mark.IsZero() && !s.readOnly && s.witness.begin(d, mark)
}

// Vouch returns the folder's present mark if since Witness nobody but this Store changed the folder. patient says that it may
// wait until the folder's times are old enough to tell.
func (s *Store) Vouch(ctx context.Context, f mail.FolderName, patient bool) (Mark, bool) {
	d, err := s.locate(f)
	if err != nil {
		return Mark{}, false
	}
	st, ok := s.witness.stamp(ctx, d, patient)
	if !ok {
		return Mark{}, false
	}
	m, err := s.mark(st)
	return m, err == nil && !m.Racy && s.witness.vouch(d)
}

// EndWitness ends what Witness began. The system takes some ten milliseconds for that, during which the caller does something else; Close
// waits for it.
func (s *Store) EndWitness() { s.witness.end() }

// witness compares what the system tells of names that came and went with what this Store did. It is not interested in
// which ones: every name counts for its hash, as often as it came or went, and what is told is taken off what was done.
type witness struct {
	s    *Store
	seed maphash.Seed

	mu      sync.Mutex
	watch   Watch // nil: not yet, or there is none
	broken  bool  // nothing can be told any more
	folders map[mail.FolderName]*watched
	dirs    map[string]*watched // their new and cur
	unheard int                 // changes since the last hearing

	ending sync.WaitGroup
	endErr error // valid after ending
}

// watched is one folder.
type watched struct {
	around string // of its stamp
	balance
}

// balance is zero when what was done and what was told are the same.
type balance [2]uint64

func (b *balance) add(hash, sign uint64) {
	b[0] += sign * hash
	b[1] += sign * (hash ^ hash>>31) * 0x9e3779b97f4a7c15
}

const (
	done uint64 = 1
	told        = ^uint64(0) // minus one
)

const (
	// maxWait bounds how long Vouch waits for a folder's times to be old enough.
	maxWait = 2 * fineWindow
	// maxUnheard bounds how many changes of this Store the system has to keep. Linux keeps 16,384 names.
	maxUnheard = 4000
)

func (w *witness) begin(d folderDir, mark Mark) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.watch == nil && !w.broken {
		var err error
		w.watch, err = w.s.fs.Watch()
		w.broken = err != nil
		w.folders, w.dirs = map[mail.FolderName]*watched{}, map[string]*watched{}
	}
	if w.broken {
		return false
	}
	for _, dir := range [...]string{d.sub(newDir), d.sub(curDir)} {
		if w.watch.Add(dir) != nil {
			return false
		}
	}
	if !w.hear() {
		return false
	}
	// From here on everything is told; before, nothing happened if the folder is as it was. Of another file system nobody
	// knows whether it tells.
	st, err := w.s.stamp(d)
	if err != nil || st.data != mark.data || st.foreign {
		return false
	}
	f := &watched{around: st.around}
	w.folders[d.name], w.dirs[d.sub(newDir)], w.dirs[d.sub(curDir)] = f, f, f
	return true
}

func (w *witness) forget(d folderDir) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.drop(d)
}

func (w *witness) drop(d folderDir) {
	delete(w.folders, d.name)
	delete(w.dirs, d.sub(newDir))
	delete(w.dirs, d.sub(curDir))
}

// hear takes off what was told since the last time. w.mu is held.
func (w *witness) hear() bool {
	w.unheard = 0
	err := w.watch.Told(func(dir, name string, came bool) {
		if f := w.dirs[dir]; f != nil {
			f.add(w.hash(dir, name, came), told)
		}
	})
	if err != nil {
		w.broken = true
		clear(w.folders)
		clear(w.dirs)
	}
	return err == nil
}

// stamp looks at a watched folder, once its times tell of every later change.
func (w *witness) stamp(ctx context.Context, d folderDir, patient bool) (stamp, bool) {
	w.mu.Lock()
	f := w.folders[d.name]
	w.mu.Unlock()
	if f == nil {
		return stamp{}, false
	}
	for waited := time.Duration(0); ; {
		st, err := w.s.stamp(d)
		if err != nil || st.around != f.around {
			return stamp{}, false
		}
		settled, wait, err := w.s.settled(st)
		if waited += wait; err == nil && settled {
			return st, true
		}
		if err != nil || !patient || waited > maxWait || sleep(ctx, wait) != nil {
			return stamp{}, false
		}
	}
}

// vouch reports whether what was told until now is what was done. A change that a stamp shows may not have been told
// yet: who makes it holds the directory until it was, and so does whoever reads it wait for that.
func (w *witness) vouch(d folderDir) bool {
	for _, dir := range [...]string{d.sub(newDir), d.sub(curDir)} {
		if err := w.s.fs.Names(dir, func(string, fs.FileMode) bool { return false }); err != nil {
			return false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.folders[d.name]
	return f != nil && w.hear() && f.balance == balance{}
}

func (w *witness) hash(dir, name string, came bool) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.WriteString(dir)
	_ = h.WriteByte('/')
	_, _ = h.WriteString(name)
	if came {
		_ = h.WriteByte('/')
	}
	return h.Sum64()
}

// did notes that this Store made a name come or go.
func (w *witness) did(name string, came bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dirs) == 0 {
		return
	}
	dir, base := path.Split(name)
	dir = strings.TrimSuffix(dir, "/")
	f := w.dirs[dir]
	if f == nil {
		return
	}
	f.add(w.hash(dir, base, came), done)
	if w.unheard++; w.unheard > maxUnheard {
		w.hear()
	}
}

// end begins to close the watch: nothing is told any more.
func (w *witness) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if watch := w.watch; watch != nil {
		w.ending.Go(func() { w.endErr = watch.Close() })
	}
	w.watch, w.broken = nil, true
	clear(w.folders)
	clear(w.dirs)
}

func (w *witness) close() error {
	w.end()
	w.ending.Wait()
	return w.endErr
}

// seenFS tells the witness of every name that this Store makes come or go.
type seenFS struct {
	FS
	w *witness
}

func (f *seenFS) Create(name string, perm fs.FileMode) (File, error) {
	file, err := f.FS.Create(name, perm)
	if err == nil {
		f.w.did(name, true)
	}
	return file, err
}

func (f *seenFS) Mkdir(name string, perm fs.FileMode) error {
	err := f.FS.Mkdir(name, perm)
	if err == nil {
		f.w.did(name, true)
	}
	return err
}

func (f *seenFS) Rename(from, to string) error { return f.renamed(f.FS.Rename(from, to), from, to) }

func (f *seenFS) RenameNew(from, to string) error {
	return f.renamed(f.FS.RenameNew(from, to), from, to)
}

func (f *seenFS) renamed(err error, from, to string) error {
	if err == nil {
		f.w.did(from, false)
		f.w.did(to, true)
	}
	return err
}

func (f *seenFS) Remove(name string) error {
	err := f.FS.Remove(name)
	if err == nil {
		f.w.did(name, false)
	}
	return err
}
