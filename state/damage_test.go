package state

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// intact makes a database with a bit of everything and returns its bytes and its rows.
func intact(tb testing.TB) (content []byte, rows map[int64]Message) {
	tb.Helper()
	path := statePath(tb)
	db := openWith(tb, path, Options{Owner: testOwner})
	rows = make(map[int64]Message)
	update(tb, db, func(tx *Tx) error {
		for _, name := range []mail.FolderName{"INBOX", "Sent"} {
			f := fullFolder()
			f.Name = name
			must(tb, tx.PutFolder(&f))
			for n := range 40 {
				m := benchMessage(f.ID, n)
				if n%10 == 0 {
					m = fullMessage(f.ID, n+1)
				}
				if n%7 == 0 {
					m.Why, m.Text = "refused", "over quota"
				}
				must(tb, tx.PutMessage(&m))
				rows[m.ID] = m
			}
		}
		must(tb, tx.PutIntent(&Intent{Kind: Upload, Message: fullMessage(1, 3)}))
		must(tb, tx.PutRun(Run{Exit: 1}))
		return tx.Set("key", "value")
	})
	must(tb, db.Close())
	content, err := os.ReadFile(path)
	must(tb, err)
	return content, rows
}

// tryDamaged opens and uses a damaged database. Nothing may panic, and a row that comes back whole must be one that
// was written. Errors are what it may give. It reports whether anything was noticed.
func tryDamaged(t *testing.T, path string, content []byte, rows map[int64]Message) (noticed bool) {
	t.Helper()
	must(t, os.WriteFile(path, content, 0o600))
	ctx := context.Background()
	note := func(err error) {
		if err != nil {
			noticed = true
		}
	}
	known := func(m Message, err error) {
		note(err)
		if err == nil && m != rows[m.ID] {
			t.Errorf("row %d came back changed:\ngot  %+v\nwant %+v", m.ID, m, rows[m.ID])
		}
	}
	all := func(ms []Message, err error) {
		note(err)
		for _, m := range ms {
			known(m, nil)
		}
	}
	readAll := func(tx *Tx) error {
		folders, err := tx.Folders()
		note(err)
		for _, f := range folders {
			all(tx.InFolder(f.ID))
			all(tx.Parked(f.ID))
			all(tx.WithDeleted(f.ID))
			all(tx.ByUIDs(f.ID, mail.NewUIDSet(1, 2, 11, 35)))
			m, ok, err := tx.ByName(f.ID, benchMessage(0, 5).Name)
			if note(err); ok {
				known(m, err)
			}
			files, err := tx.Files(f.ID)
			if note(err); err == nil {
				all(tx.Messages(files.Missing()))
			}
			_, err = tx.UIDs(f.ID)
			note(err)
			_, err = tx.UIDCount(f.ID, 20)
			note(err)
			_, err = tx.Counts(f.ID)
			note(err)
			var every mail.UIDSet
			every.AddRange(1, ^mail.UID(0))
			note(tx.Sift(f.ID, every, func(Front) bool { return true }, func(*Message) {}))
		}
		all(tx.Held())
		_, err = tx.AgreedAll()
		note(err)
		_, err = tx.Intents()
		note(err)
		_, _, err = tx.LastRun()
		note(err)
		_, _, err = tx.Get("key")
		note(err)
		return nil
	}
	if r, err := OpenReader(ctx, path); err != nil {
		note(err)
	} else {
		note(r.View(ctx, func(tx *Tx) error { all(tx.Held()); return nil }))
	}
	db, err := Open(ctx, path, Options{Owner: testOwner})
	if err != nil {
		return true
	}
	note(db.c.pragma("synchronous=OFF"))
	note(db.View(ctx, readAll))
	note(db.Update(ctx, func(tx *Tx) error {
		folders, err := tx.Folders()
		if err != nil {
			return err
		}
		for _, f := range folders {
			m := benchMessage(f.ID, 1000)
			err = errors.Join(err, tx.PutMessage(&m), tx.PutFolder(&f), tx.DeleteFolder(f.ID))
		}
		return err
	}))
	note(db.Close())
	return noticed
}

func TestCutOffAnywhere(t *testing.T) {
	content, rows := intact(t)
	path := filepath.Join(t.TempDir(), "state.db")
	for n := 0; n < len(content); n += 512 {
		_ = os.Remove(path + "-journal") // if the one before left it
		if !tryDamaged(t, path, content[:n], rows) && n > 0 {
			t.Errorf("cut off after %d of %d bytes, and nothing was noticed", n, len(content))
		}
	}
}

func TestFlippedBits(t *testing.T) {
	content, rows := intact(t)
	dir := t.TempDir()
	noticed, tries := 0, 0
	try := func(at, bit int) {
		damaged := append([]byte(nil), content...)
		damaged[at] ^= 1 << bit
		if tries++; tryDamaged(t, filepath.Join(dir, strconv.Itoa(tries)), damaged, rows) {
			noticed++
		}
		if t.Failed() {
			t.Fatalf("bit %d of byte %d", bit, at)
		}
	}
	for at := range 100 { // the header of the file
		try(at, at%8)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		try(rng.IntN(len(content)), rng.IntN(8))
	}
	t.Logf("%d of %d flips were noticed; the others hit unused space or what is not checked, such as texts of errors", noticed, tries)
}

// damage changes a database behind the back of the process that has it open.
func damage(t *testing.T, path, sql string, args ...driver.Value) {
	t.Helper()
	c, err := dial(path, "mode=rw")
	must(t, err)
	n, err := c.exec(sql, args...)
	must(t, err)
	if n == 0 {
		t.Errorf("%s changed nothing", sql)
	}
	must(t, c.close())
}

// damageable makes a database with all kinds of rows and blobs: folder f with parts and deltas, and an intent.
func damageable(t *testing.T) (db *DB, f Folder) {
	t.Helper()
	db = openAt(t, statePath(t))
	f = fullFolder()
	small := defaultLimits()
	small.partEntries, small.changes = 8, 0
	db.c.limits = small
	update(t, db, func(tx *Tx) error { // parts
		must(t, tx.PutFolder(&f))
		return errors.Join(tx.PutMessages(benchMessages(f.ID, 0, 40)), tx.PutIntent(&Intent{Kind: Upload}))
	})
	db.c.limits = defaultLimits()
	db.c.forget()
	for n := range 3 { // deltas
		m := read(t, db, func(tx *Tx) ([]Message, error) { return tx.ByUIDs(f.ID, mail.NewUIDSet(mail.UID(n*10+1))) })[0]
		m.LocalFlags, m.Why = mail.NewFlags("Work"), "refused"
		db.c.forget() // a change of flags needs no index, and so gets a delta
		addMessage(t, db, m)
	}
	return db, f
}

// readEverything fails if any of what a folder, its rows and its index say can't be believed.
func readEverything(f Folder) func(tx *Tx) error {
	return func(tx *Tx) error {
		tx.c.forget()
		_, err := tx.Folders()
		_, err2 := tx.Intents()
		rows, err3 := tx.InFolder(f.ID)
		_, err4 := tx.Files(f.ID)
		counts, err5 := tx.Counts(f.ID)
		if errors.Join(err, err2, err3, err4, err5) == nil && (len(rows) != 40 || counts.Agreed != 37) {
			return fmt.Errorf("%d rows, %d agreed, and no error", len(rows), counts.Agreed)
		}
		return errors.Join(err, err2, err3, err4, err5)
	}
}

// blobTables are the tables with a blob in every row, and its key.
var blobTables = map[string]string{
	"message_page": "no", "intent_page": "no", "index_part": "id", "index_delta": "id", "index_key": "one", "summary": "folder",
}

// TestAFlippedBitInABlobIsAnError flips bits in every blob, one in each byte.
func TestAFlippedBitInABlobIsAnError(t *testing.T) {
	db, f := damageable(t)
	must(t, db.c.pragma("synchronous=OFF"))
	view(t, db, readEverything(f))
	for table, key := range blobTables {
		type row struct {
			id   int64
			blob []byte
		}
		var rows []row
		view(t, db, func(tx *Tx) error {
			return tx.c.blobs(`SELECT `+key+`, data FROM `+table, nil, func(id int64, blob []byte) error {
				rows = append(rows, row{id, blob})
				return nil
			})
		})
		if len(rows) == 0 {
			t.Fatalf("nothing in %s", table)
		}
		write := func(id int64, blob []byte) {
			_, err := db.c.exec(`UPDATE `+table+` SET data = ? WHERE `+key+` = ?`, blob, id)
			must(t, err)
		}
		for _, r := range rows {
			for at := 0; at < len(r.blob); at += 1 + len(r.blob)/50 {
				bad := append([]byte(nil), r.blob...)
				bad[at] ^= 1 << (at % 8)
				write(r.id, bad)
				if err := db.View(context.Background(), readEverything(f)); !errors.Is(err, ErrCorrupt) {
					t.Fatalf("%s %d, byte %d: %v", table, r.id, at, err)
				}
			}
			write(r.id, r.blob)
		}
	}
	view(t, db, readEverything(f))
}

// TestLostAndExchangedRowsAreErrors: damage that leaves every blob as it was written.
func TestLostAndExchangedRowsAreErrors(t *testing.T) {
	var changes []string
	for table, key := range blobTables {
		if table != "intent_page" { // nothing counts intents
			changes = append(changes, `DELETE FROM `+table+` WHERE `+key+` = (SELECT max(`+key+`) FROM `+table+`)`)
		}
		if table != "index_key" { // it has one row, and SQLite holds it to that
			changes = append(changes, `UPDATE `+table+` SET `+key+` = -1 WHERE `+key+` = (SELECT max(`+key+`) FROM `+table+`)`)
		}
	}
	changes = append(changes,
		`DELETE FROM index_part`, `DELETE FROM index_delta`, `DELETE FROM message_page`, `DELETE FROM summary`,
		`UPDATE message_page SET data = (SELECT data FROM message_page ORDER BY no LIMIT 1)`,
		`UPDATE index_part SET data = (SELECT data FROM index_part ORDER BY id LIMIT 1)`,
		`UPDATE index_delta SET data = (SELECT data FROM index_delta ORDER BY id LIMIT 1)`,
		`UPDATE folder SET modseq = modseq - 1`, `UPDATE folder SET uid_validity = 1`,
	)
	for _, change := range changes {
		t.Run(change, func(t *testing.T) {
			db, f := damageable(t)
			view(t, db, readEverything(f))
			damage(t, db.path, change)
			if err := db.View(context.Background(), readEverything(f)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("not noticed: %v", err)
			}
		})
	}
}

// TestWhatIsInMemoryIsNotBelievedWhenOthersWrote: nobody should, but if somebody does, it is seen.
func TestWhatIsInMemoryIsNotBelievedWhenOthersWrote(t *testing.T) {
	db, f := damageable(t)
	counts := func(tx *Tx) (Counts, error) { return tx.Counts(f.ID) }
	same(t, "agreed", read(t, db, counts).Agreed, 37)
	damage(t, db.path, `DELETE FROM summary`)
	if err := db.View(context.Background(), func(tx *Tx) error { _, err := counts(tx); return err }); !errors.Is(err, ErrCorrupt) {
		t.Errorf("not noticed: %v", err)
	}
}

// TestAnUpdateThatSawDamageIsNotCommitted, even if its function says that all is well: what it wrote may be half a change.
func TestAnUpdateThatSawDamageIsNotCommitted(t *testing.T) {
	db, f := damageable(t)
	row := read(t, db, func(tx *Tx) ([]Message, error) { return tx.InFolder(f.ID) })[0]
	damage(t, db.path, `DELETE FROM index_delta`)
	err := db.Update(context.Background(), func(tx *Tx) error {
		must(t, tx.Set("k", "v"))
		row.UID = 1 << 20
		if err := tx.PutMessage(&row); !errors.Is(err, ErrCorrupt) {
			t.Errorf("PutMessage: %v", err)
		}
		return nil
	})
	if !errors.Is(err, ErrCorrupt) {
		t.Errorf("Update: %v", err)
	}
	view(t, db, func(tx *Tx) error {
		_, set, err := tx.Get("k")
		if set {
			t.Error("it was committed")
		}
		return err
	})
}

// FuzzDamaged overwrites a part of an intact database.
func FuzzDamaged(f *testing.F) {
	content, rows := intact(f)
	f.Add(uint32(0), []byte("SQLite format 4"))
	f.Add(uint32(18), []byte{1, 1})
	f.Add(uint32(28), []byte{0, 0, 0, 1})
	f.Add(uint32(60), []byte{0, 0, 0, 2})
	f.Add(uint32(100), []byte{5, 0, 0, 0, 1})
	f.Add(uint32(4096), []byte{2, 0xff, 0xff})
	f.Add(uint32(8192), make([]byte, 4096))
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		damaged := append([]byte(nil), content...)
		copy(damaged[int(at)%len(damaged):], patch)
		tryDamaged(t, filepath.Join(t.TempDir(), "state.db"), damaged, rows)
	})
}
