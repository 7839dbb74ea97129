package state

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestKept: what one DB committed the next one finds, what was put back is there, and Clear leaves a new database.
func TestKept(t *testing.T) {
	k, err := Keep(filepath.Join(t.TempDir(), "held"))
	must(t, err)
	t.Cleanup(func() { must(t, k.Close()) })
	ctx := context.Background()
	opened := func(fresh bool) (db *DB) {
		t.Helper()
		db, err := Open(ctx, "elsewhere", Options{Owner: Owner{Kind: "imap", Host: "h", User: "u"}, Kept: k})
		must(t, err)
		if db.Fresh() != fresh || db.Copied() {
			t.Fatalf("fresh %v, copied %v", db.Fresh(), db.Copied())
		}
		t.Cleanup(func() { must(t, db.Close()) })
		return db
	}
	folders := func(db *DB) (n int) {
		must(t, db.View(ctx, func(tx *Tx) error {
			all, err := tx.Folders()
			n = len(all)
			return err
		}))
		return n
	}
	db := opened(true)
	must(t, db.Update(ctx, func(tx *Tx) error { return tx.PutFolder(&Folder{Name: mail.Inbox}) }))
	must(t, db.Close())
	if n := folders(opened(false)); n != 1 {
		t.Errorf("%d folders after opening it again", n)
	}
	rows, err := k.Rows()
	must(t, err)
	must(t, k.Clear())
	if n := folders(opened(true)); n != 0 {
		t.Errorf("%d folders in a cleared one", n)
	}
	must(t, k.SetRows(rows))
	if n := folders(opened(false)); n != 1 {
		t.Errorf("%d folders after they were put back", n)
	}
}
