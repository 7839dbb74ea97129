package sync_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
)

// settled reports whether the state knows the folder to be as it is now, so that the next run need not read it.
func (w *world) settled(name mail.FolderName) (settled bool) {
	w.t.Helper()
	md, err := maildir.Open(w.root, w.set.Layout, maildir.Options{ReadOnly: true})
	w.must(err)
	defer md.Close()
	now, err := md.Mark(name)
	w.must(err)
	db, err := state.OpenReader(context.Background(), filepath.Join(w.root, ".satchel.db"))
	w.must(err)
	defer db.Close()
	w.must(db.View(context.Background(), func(tx *state.Tx) error {
		f, _, err := tx.FolderByName(name)
		var known maildir.Mark
		if err == nil {
			err = known.UnmarshalBinary(f.LocalMark)
		}
		settled = known.Equal(now)
		return err
	}))
	return settled
}

// canVouch reports whether the file system of the tests tells of every change at once. Elsewhere so small a folder is read again.
func (w *world) canVouch() bool {
	fsys, err := maildir.OSFS(w.root)
	w.must(err)
	defer fsys.Close()
	watch, err := fsys.Watch()
	if err != nil {
		return false
	}
	w.must(watch.Close())
	return fsys.Kind().Exact
}

// TestOwnChangesNeedNoReading: after a run that changed a folder the next one need not look at it, if nobody else did.
func TestOwnChangesNeedNoReading(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	one, two := w.message("one"), w.message("two")
	uids := []mail.UID{w.arrive("INBOX", one), w.arrive("INBOX", two, `\Seen`)}
	w.server.CreateMailbox("Archive")
	w.sync()
	check := func(what string, changed ...mail.FolderName) {
		t.Helper()
		for _, f := range changed {
			if w.canVouch() && !w.settled(f) {
				t.Errorf("after %s the state does not know %s as it is", what, f)
			}
		}
	}
	check("a first sync", "INBOX", "Archive")
	w.server.Store("INBOX", true, mail.SystemFlags(mail.Flagged), uids[0])
	w.sync()
	check("a flag", "INBOX")
	w.server.Move("INBOX", "Archive", uids[0])
	w.sync()
	check("a move", "INBOX", "Archive")
	w.server.Expunge("INBOX", uids[1])
	w.sync()
	check("a deletion", "INBOX")
	w.arrive("INBOX", w.message("three"))
	w.put("INBOX", w.message("four"), "S")
	w.sync()
	check("a message on either side", "INBOX")
	w.same()
	w.quiet()
}

// TestChangesBesideOwnOnes: what somebody does to a folder while a run works on it is seen, by that run or the next one.
func TestChangesBesideOwnOnes(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		change func(w *world, text string)
		want   []string
	}{
		"a new message": {func(w *world, _ string) { w.put("INBOX", w.message("more"), "S") }, []string{"before", `more \Seen`}},
		"a flag":        {func(w *world, text string) { w.reflag(w.file("INBOX", text), "F") }, []string{`before \Flagged`}},
		"a removal":     {func(w *world, text string) { w.must(os.Remove(w.file("INBOX", text))) }, nil},
	} {
		for _, at := range []string{"list", "changes", "body"} {
			t.Run(what+" at "+at, func(t *testing.T) {
				w := newWorld(t, model.Full())
				text := w.message("before")
				w.arrive("INBOX", text)
				w.sync()
				for range 3 {
					w.arrive("INBOX", w.message("new"))
				}
				changed := false
				w.server.SetFault(once(func(s model.Step) bool { return s.Op == at && s.After }, func() model.Action {
					changed = true
					c.change(w, text)
					return model.Action{}
				}))
				w.sync()
				w.server.SetFault(nil)
				if !changed {
					t.Fatalf("there was no step %q", at)
				}
				w.sync()
				w.want(map[string][]string{"INBOX": append([]string{"new", "new", "new"}, c.want...)})
				w.quiet()
			})
		}
	}
}
