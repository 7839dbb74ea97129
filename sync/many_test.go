package sync_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// lateFS fails to make a directory durable from some time on.
type lateFS struct {
	maildir.FS
	left atomic.Int64 // how many times it works
}

var errDisk = errors.New("the disk is gone")

// SyncDir implements maildir.FS.
func (f *lateFS) SyncDir(dir string) error {
	if f.left.Add(-1) < 0 {
		return errDisk
	}
	return f.FS.SyncDir(dir)
}

// TestFlagsOfVeryMany goes beyond one portion of the plan: while the files of one get their flags, those of the one before are made
// durable and recorded. What could not be is done again.
func TestFlagsOfVeryMany(t *testing.T) {
	t.Parallel()
	const n = 10_100
	w := newWorld(t, model.Full())
	var uids []mail.UID
	for i := range n {
		uids = append(uids, w.arrive("INBOX", fmt.Sprintf("Subject: %d\n\n", i)))
	}
	w.sync()
	count := func(letters string) (got int) {
		for _, f := range w.files("INBOX") {
			if _, have, _ := strings.Cut(filepath.Base(f), ":2,"); have == letters {
				got++
			}
		}
		return got
	}
	w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), uids...)
	if res := w.sync(); res.ToMaildir.Flags != n || count("S") != n {
		t.Errorf("%d changes are reported, %d files have the flag", res.ToMaildir.Flags, count("S"))
	}
	w.quiet()

	w.server.Store("INBOX", true, mail.NewFlags(`\Flagged`), uids...)
	real, err := maildir.OSFS(w.root)
	w.must(err)
	w.fs = &lateFS{FS: real}
	res := w.try()
	ofInbox := func(e mailsync.FolderError) bool { return e.Folder == "INBOX" && errors.Is(e.Err, errDisk) }
	if res.Fatal != nil || !slices.ContainsFunc(res.Errors, ofInbox) || res.ToMaildir.Flags != 0 {
		t.Errorf("a sync that can't make flags durable: %v, %v, %d changes are reported", res.Fatal, res.Errors, res.ToMaildir.Flags)
	}
	w.fs = nil
	w.sync()
	if count("FS") != n {
		t.Errorf("%d files have both flags", count("FS"))
	}
	w.quiet()
}
