package sync_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
)

// disk is a file system that remembers what of it would be there after the power failed: data only if it was made durable, names only if
// their directory was. A rename is seen as a whole or not at all. Directories are durable at once.
type disk struct {
	root   string
	shadow string // holds every file under its inode's number, so that none is ever lost

	mu    sync.Mutex
	files map[uint64]*onDisk
	left  int // so many changes are made before the power fails
	dead  bool
}

// onDisk is one file.
type onDisk struct {
	at      string // its name now, empty if it was removed
	durable string // the name that it has after the power failed, empty if it has none
	synced  bool   // its data is there then
}

var errPower = errors.New("the power failed")

// newDisk makes what is below root durable.
func newDisk(t testing.TB, root string, changes int) *disk {
	t.Helper()
	d := &disk{root: root, shadow: t.TempDir(), files: map[uint64]*onDisk{}, left: changes}
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Dir(p) == root {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		f, err := d.follow(filepath.ToSlash(name))
		if err == nil {
			f.durable, f.synced = f.at, true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *disk) path(name string) string { return filepath.Join(d.root, filepath.FromSlash(name)) }

func (d *disk) kept(ino uint64) string {
	return filepath.Join(d.shadow, strconv.FormatUint(ino, 10))
}

// follow begins to follow a file.
func (d *disk) follow(name string) (*onDisk, error) {
	info, err := os.Lstat(d.path(name))
	if err != nil {
		return nil, err
	}
	ino := info.Sys().(*syscall.Stat_t).Ino
	f := &onDisk{at: name}
	d.files[ino] = f
	return f, os.Link(d.path(name), d.kept(ino))
}

// named finds a followed file by its name.
func (d *disk) named(name string) *onDisk {
	for _, f := range d.files {
		if f.at == name {
			return f
		}
	}
	return nil
}

// change does something that changes the disk, if there is power.
func (d *disk) change(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.left == 0 {
		d.dead = true
	}
	if d.dead {
		return errPower
	}
	d.left--
	return do()
}

// revive: it was not the power that failed, and everything that was done is there.
func (d *disk) revive() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dead, d.left = false, -1
}

// look does something that only looks.
func (d *disk) look(do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errPower
	}
	return do()
}

func (d *disk) failed() bool { return d.look(func() error { return nil }) != nil }

func (d *disk) Create(name string, perm fs.FileMode) (maildir.File, error) {
	var f *os.File
	err := d.change(func() (err error) {
		if f, err = os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_EXCL, perm); err == nil {
			_, err = d.follow(name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d}, nil
}

func (d *disk) Open(name string) (maildir.File, error) {
	var f *os.File
	err := d.look(func() (err error) {
		info, err := os.Lstat(d.path(name))
		if err == nil && !info.Mode().IsRegular() {
			err = &fs.PathError{Op: "open", Path: name, Err: maildir.ErrNotRegular}
		}
		if err == nil {
			f, err = os.Open(d.path(name))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &diskFile{f, d}, nil
}

func diskInfo(info fs.FileInfo, err error) (maildir.FileInfo, error) {
	if err != nil {
		return maildir.FileInfo{}, err
	}
	st := info.Sys().(*syscall.Stat_t)
	return maildir.FileInfo{Mode: info.Mode(), Size: info.Size(), ModTime: info.ModTime(), CTime: time.Unix(st.Ctim.Unix()), Dev: st.Dev, Inode: st.Ino}, nil
}

func (d *disk) Stat(name string) (info maildir.FileInfo, err error) {
	err = d.look(func() (err error) { info, err = diskInfo(os.Lstat(d.path(name))); return err })
	return info, err
}

func (d *disk) List(dir string, each func(string, fs.FileMode) bool) error {
	var entries []fs.DirEntry
	if err := d.look(func() (err error) { entries, err = os.ReadDir(d.path(dir)); return err }); err != nil {
		return err
	}
	for _, e := range entries {
		if !each(e.Name(), e.Type()) {
			break
		}
	}
	return nil
}

func (d *disk) Names(dir string, each func(string, fs.FileMode) bool) error { return d.List(dir, each) }

func (d *disk) Mkdir(name string, perm fs.FileMode) error {
	return d.change(func() error { return os.Mkdir(d.path(name), perm) })
}

func (d *disk) Rename(from, to string) error {
	return d.change(func() error {
		moved, replaced := d.named(from), d.named(to)
		if moved == nil {
			return fmt.Errorf("renaming %s, which is no file that is followed", from)
		}
		err := os.Rename(d.path(from), d.path(to))
		if err == nil {
			moved.at = to
			if replaced != nil {
				replaced.at = ""
			}
		}
		return err
	})
}

func (d *disk) RenameNew(from, to string) error {
	if _, err := d.Stat(to); err == nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: fs.ErrExist}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := d.Stat(from); err != nil {
		return err
	}
	return d.Rename(from, to)
}

func (d *disk) Remove(name string) error {
	return d.change(func() error {
		err := os.Remove(d.path(name))
		if f := d.named(name); f != nil && err == nil {
			f.at = ""
		}
		return err
	})
}

func (d *disk) Touch(name string) (now time.Time, err error) {
	err = d.look(func() error {
		f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := os.Chtimes(d.path(name), time.Now(), time.Now()); err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			now = info.ModTime()
		}
		return err
	})
	return now, err
}

// SyncDir makes the names in a directory durable, and with them the renames that they came by.
func (d *disk) SyncDir(dir string) error {
	return d.change(func() error {
		if _, err := os.Lstat(d.path(dir)); err != nil {
			return err
		}
		for _, f := range d.files {
			switch {
			case f.at != "" && path.Dir(f.at) == dir, f.durable != "" && path.Dir(f.durable) == dir:
				f.durable = f.at
			}
		}
		return nil
	})
}

type diskPoint struct{ d *disk }

func (p diskPoint) Sync() error {
	return p.d.change(func() error {
		for _, f := range p.d.files {
			f.synced = true
		}
		return nil
	})
}

func (p diskPoint) Close() error { return nil }

func (d *disk) SyncPoint(string) (maildir.SyncPoint, error) { return diskPoint{d}, nil }

func (d *disk) Watch() (maildir.Watch, error) { return nil, errors.ErrUnsupported }

func (d *disk) Lock(string) (io.Closer, error) { return io.NopCloser(nil), nil }

func (d *disk) Kind() maildir.Kind { return maildir.Kind{Name: "test", Local: true} }

func (d *disk) Close() error { return nil }

// diskFile is an open file.
type diskFile struct {
	*os.File
	d *disk
}

func (f *diskFile) inode() uint64 {
	info, err := f.File.Stat()
	if err != nil {
		return 0
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func (f *diskFile) mark(synced bool) {
	if file := f.d.files[f.inode()]; file != nil {
		file.synced = synced
	}
}

func (f *diskFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.d.change(func() (err error) { n, err = f.File.WriteAt(p, off); f.mark(false); return err })
	return n, err
}

func (f *diskFile) Sync() error {
	return f.d.change(func() error { f.mark(true); return nil })
}

func (f *diskFile) SetModTime(t time.Time) error {
	return f.d.change(func() error { return os.Chtimes(f.d.kept(f.inode()), t, t) })
}

func (f *diskFile) Stat() (maildir.FileInfo, error) { return diskInfo(f.File.Stat()) }

// A loss is what the power took along.
type loss string

const (
	noLoss   loss = "nothing"                  // as when the program is killed
	dataLoss loss = "data that was not synced" // and all names are there
	allLoss  loss = "all that was not synced"
	lateLoss loss = "all that was not synced, after another run" // which believes what a killed one left behind
)

// crash makes of the disk what the power leaves.
func (d *disk) crash(what loss) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for ino, f := range d.files {
		if what != noLoss && !f.synced {
			errs = append(errs, os.Truncate(d.kept(ino), 0))
		}
		if what == allLoss && f.at != "" && f.at != f.durable {
			errs = append(errs, os.Remove(d.path(f.at)))
		}
	}
	for ino, f := range d.files {
		if what == allLoss && f.durable != "" && f.at != f.durable {
			errs = append(errs, os.Link(d.kept(ino), d.path(f.durable)))
		}
	}
	return errors.Join(errs...)
}

// TestPowerLoss lets the power fail before each change that a run makes in the Maildir. What is lost then must not pass for something that a
// person did. With the race detector it is one change in four.
func TestPowerLoss(t *testing.T) {
	t.Parallel()
	step := 1
	if raced {
		step = 4
	}
	for _, what := range []loss{noLoss, dataLoss, allLoss, lateLoss} {
		t.Run(string(what), func(t *testing.T) {
			t.Parallel()
			failures := 0
			for n := 0; ; n += step {
				w := newWorld(t, model.Full())
				w.server.CreateMailbox("Keep")
				texts, uids := map[string]string{}, map[string]mail.UID{}
				for _, s := range []string{"seen", "gone", "moved", "flagged", "deleted", "still", "unread"} {
					texts[s] = w.message(s)
					var flags []string
					if s == "unread" {
						flags = []string{`\Seen`}
					}
					uids[s] = w.arrive("INBOX", texts[s], flags...)
				}
				w.sync()
				w.arrive("INBOX", w.message("new"))
				w.arrive("INBOX", w.message("new and flagged"), `\Flagged`, "Todo")
				w.arrive("Keep", w.message("new elsewhere"))
				w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), uids["seen"])
				w.server.Store("INBOX", false, mail.NewFlags(`\Seen`), uids["unread"])
				w.server.Expunge("INBOX", uids["gone"])
				w.server.Move("INBOX", "Keep", uids["moved"])
				w.reflag(w.file("INBOX", texts["flagged"]), "F")
				w.must(os.Remove(w.file("INBOX", texts["deleted"])))
				w.put("INBOX", w.message("mine"), "S")
				want := map[string][]string{
					"INBOX": {`seen \Seen`, `flagged \Flagged`, "still", "unread", "new", `new and flagged \Flagged Todo`, `mine \Seen`},
					"Keep":  {"moved", "new elsewhere"},
				}

				d := newDisk(t, w.root, n)
				w.fs = d
				w.server.SetFault(func(model.Step) model.Action {
					if d.failed() {
						return model.Action{Kind: model.Drop}
					}
					return model.Action{}
				})
				w.try()
				w.server.SetFault(nil)
				failed := d.failed()
				unlock := func() {
					// The lock of a list of keywords outlives its program, and is broken when it is old.
					lock := filepath.Join(w.dir("INBOX"), "dovecot-keywords.lock")
					old := time.Now().Add(-time.Hour)
					if err := os.Chtimes(lock, old, old); err != nil && !errors.Is(err, fs.ErrNotExist) {
						t.Fatal(err)
					}
				}
				loses := what
				if what == lateLoss {
					unlock()
					d.revive()
					w.sync()
					loses = allLoss
				}
				w.fs = nil
				w.must(d.crash(loses))
				unlock()
				for range 2 {
					w.sync()
				}
				w.want(want)
				w.quiet()
				if !failed {
					break
				}
				failures++
			}
			t.Logf("the power failed at %d changes", failures)
			if failures*step < 20 {
				t.Errorf("the power failed at %d changes only", failures)
			}
		})
	}
}
