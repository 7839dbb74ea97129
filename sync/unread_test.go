package sync_test

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
)

// onceFS fails one operation on one path, once.
type onceFS struct {
	maildir.FS
	op, path string
	once     *sync.Once
}

func (o onceFS) fail(op, path string) (err error) {
	if op == o.op && path == o.path {
		o.once.Do(func() { err = &fs.PathError{Op: op, Path: path, Err: syscall.EIO} })
	}
	return err
}

func (o onceFS) List(dir string, each func(string, fs.FileMode) bool) error {
	return errors.Join(o.fail("list", dir), o.FS.List(dir, each))
}

func (o onceFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	return errors.Join(o.fail("list", dir), o.FS.Names(dir, each))
}

func (o onceFS) Mkdir(name string, perm fs.FileMode) error {
	if err := o.fail("mkdir", name); err != nil {
		return err
	}
	return o.FS.Mkdir(name, perm)
}

// failOnce has one operation on one path of the Maildir fail in the next run.
func (w *world) failOnce(op, path string) {
	w.t.Helper()
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = onceFS{real, op, path, new(sync.Once)}
	res := w.try()
	if w.fs = nil; len(res.Errors) == 0 {
		w.t.Error("nothing failed")
	}
}

// dropOnce has the server drop the connection at one command.
func (w *world) dropOnce(op, mailbox string) {
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == op && s.Mailbox == mailbox && !s.After },
		func() model.Action { return model.Action{Kind: model.Drop} }))
	w.try()
	w.server.SetFault(nil)
}

// TestFolderMadeAgainForANewMessage: a folder was deleted on one side, and a new message came to it on the other. The run that makes it again
// is stopped right then: the messages that were deleted with it are still deleted.
func TestFolderMadeAgainForANewMessage(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T) *world {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("B")
		w.arrive("B", w.message("old"))
		w.sync()
		return w
	}
	want := map[string][]string{"INBOX": {}, "B": {"new"}}
	t.Run("in the Maildir", func(t *testing.T) {
		w := start(t)
		w.must(os.RemoveAll(w.dir("B")))
		w.arrive("B", w.message("new"))
		w.failOnce("mkdir", "B/cur")
		w.sync()
		w.want(want)
	})
	t.Run("on the server", func(t *testing.T) {
		w := start(t)
		w.server.DeleteMailbox("B")
		w.put("B", w.message("new"), "")
		w.dropOnce("select", "B")
		w.sync()
		w.want(want)
	})
}
