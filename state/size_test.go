package state

import (
	"os"
	"runtime"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestBulkTakesLittle holds what reading and writing many rows takes: memory, space on the disk, and no look at what a quiet
// sync has no need of.
func TestBulkTakesLittle(t *testing.T) {
	const rows, batch = 20_000, 2000
	path, folder := large(t, rows)
	info, err := os.Stat(path)
	must(t, err)
	if perRow := info.Size() / rows; perRow > 250 {
		t.Errorf("%d bytes a row", perRow)
	}
	db := openAt(t, path)

	// A quiet sync loads no index, nor does a change of flags.
	view(t, db, func(tx *Tx) error {
		for range 3 {
			_, err := tx.Held()
			must(t, err)
			_, err = tx.Parked(folder)
			must(t, err)
			_, err = tx.WithDeleted(folder)
			must(t, err)
		}
		return nil
	})
	m := read(t, db, func(tx *Tx) (Message, error) { return tx.Message(rows / 2) })
	m.LocalFlags = mail.NewFlags("Work")
	addMessage(t, db, m)
	if len(db.c.indexes) != 0 {
		t.Error("an index was loaded")
	}

	// Rows that are written are packed into memory that they share: what is allocated is pages and parts.
	ms := benchMessages(folder, rows, batch)
	perPut := mallocs(func() { update(t, db, func(tx *Tx) error { return tx.PutMessages(ms) }) }) / batch
	if perPut > 2 {
		t.Errorf("%d allocations for a new row", perPut)
	}
	for _, m := range ms {
		m.RemoteFlags, m.LocalFlags = mail.Flags{}, mail.Flags{}
	}
	perPut = mallocs(func() { update(t, db, func(tx *Tx) error { return tx.PutMessages(ms) }) }) / batch
	if perPut > 1 {
		t.Errorf("%d allocations for a change of flags", perPut)
	}
	work := mail.NewFlags("Work")
	perPut = mallocs(func() {
		update(t, db, func(tx *Tx) error {
			for _, m := range ms {
				must(t, tx.SetFlags(m.ID, mail.SystemFlags(mail.Seen), work))
			}
			return nil
		})
	}) / batch
	if perPut > 0 {
		t.Errorf("%d allocations for a change of nothing but flags", perPut)
	}
	perRead := mallocs(func() { read(t, db, func(tx *Tx) ([]Message, error) { return tx.InFolder(folder) }) }) / rows
	if perRead > 2 {
		t.Errorf("%d allocations for a row that is read", perRead)
	}

	files := read(t, db, func(tx *Tx) (*Files, error) { return tx.Files(folder) })
	name, flags := benchMessage(folder, 77).Name, mail.SystemFlags(mail.Seen)
	if !files.Take(name, flags.Hash()) || files.Take(name, flags.Hash()) {
		t.Error("Take")
	}
	if n := testing.AllocsPerRun(100, func() {
		files.Reset()
		files.Take(name, flags.Hash())
		files.Taken(name)
		files.Take("no such name", 0)
	}); n != 0 {
		t.Errorf("Take allocates %v times", n)
	}
}

func mallocs(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// TestFilesStayWhatTheyWere: later changes don't reach them.
func TestFilesStayWhatTheyWere(t *testing.T) {
	db := openAt(t, statePath(t))
	f := addFolder(t, db, "INBOX")
	a, b := addMessage(t, db, Message{Folder: f.ID, UID: 1, Name: "a"}), addMessage(t, db, Message{Folder: f.ID, UID: 2, Name: "b"})
	files := read(t, db, func(tx *Tx) (*Files, error) { return tx.Files(f.ID) })
	update(t, db, func(tx *Tx) error {
		must(t, tx.DeleteMessage(a.ID))
		b.LocalFlags = mail.NewFlags(`\Seen`)
		must(t, tx.PutMessage(&b))
		return tx.PutMessage(&Message{Folder: f.ID, Name: "c"})
	})
	none := mail.Flags{}.Hash()
	if !files.Take("a", none) || !files.Take("b", none) || files.Take("c", none) || len(files.Missing()) != 0 {
		t.Error("changed")
	}
	files.Reset()
	same(t, "missing", files.Missing(), []int64{a.ID, b.ID})
}
