package state

import (
	"context"
	"errors"
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
			names, err := tx.Names(f.ID)
			note(err)
			for _, n := range names {
				if m, err := tx.Message(n.ID); !errors.Is(err, ErrNotFound) {
					known(m, err)
				}
			}
			_, err = tx.UIDs(f.ID)
			note(err)
			_, err = tx.UIDCount(f.ID, 20)
			note(err)
			_, err = tx.Counts(f.ID)
			note(err)
			note(tx.EachRemote(f.ID, func(int64, mail.UID, mail.Flags, string) error { return nil }))
		}
		all(tx.Held())
		all(tx.ByNameAnywhere(benchMessage(0, 5).Name))
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

// TestAChangedRowIsAnError: damage inside a row, which SQLite does not notice.
func TestAChangedRowIsAnError(t *testing.T) {
	for _, change := range []string{
		`UPDATE message SET uid = uid + 1000`, `UPDATE message SET name = 'x' || name`, `UPDATE message SET held = 2 WHERE held = 0`,
		`UPDATE message SET why = 'dismissed'`, `UPDATE message SET digest = NULL`, `UPDATE message SET inode = inode + 1`,
		`UPDATE message SET remote_words = local_words, local_words = remote_words || 'x'`, `UPDATE message SET sum = sum + 1`,
		`UPDATE message SET digest = header, header = digest`, `UPDATE message SET id = id + 1000`,
		`UPDATE folder SET modseq = modseq - 1`, `UPDATE folder SET uid_validity = 1`, `UPDATE intent SET sends = sends + 1`,
	} {
		t.Run(change, func(t *testing.T) {
			db := openAt(t, statePath(t))
			f := fullFolder()
			update(t, db, func(tx *Tx) error {
				must(t, tx.PutFolder(&f))
				m := fullMessage(f.ID, 1)
				m.RemoteHeld, m.LocalHeld = false, false
				return errors.Join(tx.PutMessage(&m), tx.PutIntent(&Intent{Kind: Upload}))
			})
			all := func(tx *Tx) error {
				_, err := tx.InFolder(f.ID)
				_, err2 := tx.Folders()
				_, err3 := tx.Intents()
				return errors.Join(err, err2, err3)
			}
			view(t, db, all)
			update(t, db, func(tx *Tx) error {
				n, err := tx.c.exec(change)
				if n == 0 {
					t.Error("changed nothing")
				}
				return err
			})
			if err := db.View(context.Background(), all); !errors.Is(err, ErrCorrupt) {
				t.Errorf("not noticed: %v", err)
			}
		})
	}
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
