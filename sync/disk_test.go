package sync_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// TestDiskErrorsAnywhere: a network file system's handles are stale, or there are no more files to be opened, from some call on and for a while. The
// run says so, takes nothing that it could not read for gone, and the next one makes both sides what they would have been.
func TestDiskErrorsAnywhere(t *testing.T) {
	t.Parallel()
	stride := int64(97)
	if raced {
		stride = 211
	}
	for _, tc := range []struct {
		err  syscall.Errno
		last int64 // so many calls fail
	}{{syscall.ESTALE, 1}, {syscall.ESTALE, 8}, {syscall.EMFILE, 3}, {syscall.EMFILE, 1 << 40}} {
		for n := int64(5) + tc.last%3; ; n += stride {
			w := newWorld(t, model.Full())
			want := w.changeThree(true)
			real, err := maildir.OSFS(w.root)
			w.must(err)
			var calls atomic.Int64
			w.fs = failingFS{real, func() error {
				if c := calls.Add(1); c >= n && c < n+tc.last {
					return tc.err
				}
				return nil
			}}
			res := w.try()
			w.fs = nil
			if res.Fatal == nil && len(res.Errors) == 0 { // then it did not matter
				w.want(want)
			}
			w.sync()
			w.want(want)
			w.quiet()
			if calls.Load() < n {
				break
			}
		}
	}
}

// failingFS fails as at says, before anything is done.
type failingFS struct {
	maildir.FS
	at func() error
}

func (f failingFS) Create(name string, perm fs.FileMode) (maildir.File, error) {
	if err := f.at(); err != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: err}
	}
	return f.FS.Create(name, perm)
}

func (f failingFS) Open(name string) (maildir.File, error) {
	if err := f.at(); err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f.FS.Open(name)
}

func (f failingFS) Stat(name string) (maildir.FileInfo, error) {
	if err := f.at(); err != nil {
		return maildir.FileInfo{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	return f.FS.Stat(name)
}

func (f failingFS) List(dir string, each func(string, fs.FileMode) bool) error {
	if err := f.at(); err != nil {
		return &fs.PathError{Op: "readdir", Path: dir, Err: err}
	}
	return f.FS.List(dir, each)
}

func (f failingFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	if err := f.at(); err != nil {
		return &fs.PathError{Op: "readdir", Path: dir, Err: err}
	}
	return f.FS.Names(dir, each)
}

func (f failingFS) RenameNew(from, to string) error {
	if err := f.at(); err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return f.FS.RenameNew(from, to)
}

// TestReadOnlyMount: a Maildir on a disk that came back read-only is found out before the server is asked anything.
func TestReadOnlyMount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.arrive("INBOX", w.message("m"))
	w.sync()
	w.arrive("INBOX", w.message("n"))
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = readOnlyFS{real}
	dialed := false
	w.dialer = dialing{w.server, func() { dialed = true }}
	res := w.try()
	if setup := (*mailsync.SetupError)(nil); !errors.As(res.Fatal, &setup) || !errors.Is(res.Fatal, maildir.ErrReadOnly) {
		t.Errorf("got %v", res.Fatal)
	}
	if dialed {
		t.Error("the server was called")
	}
	w.fs = nil
	w.sync()
	w.want(map[string][]string{"INBOX": {"m", "n"}})
}

type readOnlyFS struct{ maildir.FS }

func (readOnlyFS) Touch(name string) (time.Time, error) {
	return time.Time{}, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
}

// dialing tells when the server is called.
type dialing struct {
	remote.Dialer
	called func()
}

func (d dialing) Dial(ctx context.Context) (remote.Session, error) {
	d.called()
	return d.Dialer.Dial(ctx)
}

// TestBitRot: the disk gives back another byte than was written, and the file's size and time say nothing of it. verify finds it, a sync leaves it
// alone, and if the server must be given the message again it gets what there is.
func TestBitRot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nameless())
	text, other := w.message("m"), w.message("n")
	w.arrive("INBOX", text)
	w.arrive("INBOX", other)
	w.sync()
	file := w.file("INBOX", text)
	info, err := os.Stat(file)
	w.must(err)
	rotten := []byte(text)
	rotten[bytes.Index(rotten, []byte("This"))] ^= 0x20
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	w.must(err)
	_, err = f.Write(rotten)
	w.must(errors.Join(err, f.Close(), os.Chtimes(file, info.ModTime(), info.ModTime())))
	w.quiet()
	for _, deep := range []bool{false, true} {
		v := mailsync.Verify(t.Context(), w.set, mailsync.World{Dialer: w.dialer}, mailsync.VerifyOptions{Deep: deep})
		if v.Fatal != nil || len(v.Differences) != 1 || !strings.Contains(file, v.Differences[0].Name) {
			t.Errorf("deep %v: %v %v", deep, v.Fatal, v.Differences)
		}
	}
	w.server.Recreate("INBOX", false)
	w.arrive("INBOX", other)
	w.sync()
	if got := w.serverTree()["INBOX"]; len(got) != 2 || !slices.Contains(got, "[] "+string(rotten)) {
		t.Errorf("the server has %q", got)
	}
	w.same()
	w.quiet()
}

// TestJournalOfTheStatesFileSystem: the state database has a write-ahead log where it lies on a local file system itself, wherever the Maildir lies.
func TestJournalOfTheStatesFileSystem(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		elsewhere bool
		version   byte // https://sqlite.org/fileformat.html, section 1.3, byte 18
	}{"in the Maildir": {false, 1}, "elsewhere": {true, 2}} {
		w := newWorld(t, model.Full())
		w.must(os.MkdirAll(w.root, 0o700))
		real, err := maildir.OSFS(w.root)
		w.must(err)
		w.fs = networkFS{real}
		db := filepath.Join(w.root, ".satchel.db")
		if want.elsewhere {
			db = filepath.Join(t.TempDir(), "state.db")
			w.set.StatePath = db
		}
		w.arrive("INBOX", w.message("m"))
		w.sync()
		header, err := os.ReadFile(db)
		w.must(err)
		if header[18] != want.version {
			t.Errorf("%s: the format for writing is %d, want %d", name, header[18], want.version)
		}
	}
}

type networkFS struct{ maildir.FS }

func (networkFS) Kind() maildir.Kind { return maildir.Kind{Name: "NFS"} }
