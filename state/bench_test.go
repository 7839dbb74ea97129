package state

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

const benchRows = 100_000

// benchMessage is the n-th message of a large folder.
func benchMessage(folder int64, n int) Message {
	m := Message{
		Folder: folder, UID: mail.UID(n + 1),
		Name:         fmt.Sprintf("%d.M%dP4711Q%d.mail.example.org", 1_700_000_000+n, n*7919%1_000_000, n),
		HasMessageID: true, RemoteSize: int64(4000 + n*31%20_000), FileSize: int64(3900 + n*31%20_000),
		Inode: uint64(1_000_000 + n), Date: time.Unix(int64(1_700_000_000+n), 0).UTC(),
		RemoteFlags: mail.SystemFlags(mail.Seen), LocalFlags: mail.SystemFlags(mail.Seen),
	}
	m.Digest, m.Header = digest(2*n), digest(2*n+1)
	return m
}

func fill(tb testing.TB, db *DB, rows int) int64 {
	tb.Helper()
	ctx := context.Background()
	f := Folder{Name: "INBOX", Mailbox: "INBOX", OnDisk: true, UIDValidity: 1}
	must(tb, db.Update(ctx, func(tx *Tx) error { return tx.PutFolder(&f) }))
	for n := 0; n < rows; n += 500 {
		must(tb, db.Update(ctx, func(tx *Tx) error {
			for k := n; k < min(n+500, rows); k++ {
				m := benchMessage(f.ID, k)
				if err := tx.PutMessage(&m); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	return f.ID
}

// large returns the path of a closed database with one folder of benchRows messages.
func large(b *testing.B) (path string, folder int64) {
	path = filepath.Join(b.TempDir(), "state.db")
	db := openAt(b, path)
	folder = fill(b, db, benchRows)
	must(b, db.Close())
	return path, folder
}

func BenchmarkInsert100000(b *testing.B) {
	for b.Loop() {
		db := openAt(b, filepath.Join(b.TempDir(), "state.db"))
		fill(b, db, benchRows)
		must(b, db.Close())
	}
}

func BenchmarkOpenClose(b *testing.B) {
	path, _ := large(b)
	for b.Loop() {
		must(b, openAt(b, path).Close())
	}
}

// BenchmarkQuietSync is what a sync costs that finds nothing: open, read the folders, record the run, close.
func BenchmarkQuietSync(b *testing.B) {
	path, _ := large(b)
	ctx := context.Background()
	for b.Loop() {
		db := openAt(b, path)
		must(b, db.View(ctx, func(tx *Tx) error {
			_, err := tx.Folders()
			return err
		}))
		must(b, db.Update(ctx, func(tx *Tx) error { return tx.PutRun(Run{Start: time.Unix(1, 0)}) }))
		must(b, db.Close())
	}
}

func BenchmarkRead(b *testing.B) {
	path, folder := large(b)
	db := openAt(b, path)
	defer db.Close()
	var tens, sparse, whole mail.UIDSet
	for n := range 10 {
		tens.Add(mail.UID(n*9973 + 1))
	}
	for n := range benchRows / 10 {
		sparse.Add(mail.UID(n*10 + 1))
	}
	whole.AddRange(1, benchRows)
	for _, bench := range []struct {
		name string
		read func(tx *Tx) error
	}{
		{"Names", func(tx *Tx) error { _, err := tx.Names(folder); return err }},
		{"UIDs", func(tx *Tx) error { _, err := tx.UIDs(folder); return err }},
		{"UIDCount", func(tx *Tx) error { _, err := tx.UIDCount(folder, benchRows-10); return err }},
		{"Counts", func(tx *Tx) error { _, err := tx.Counts(folder); return err }},
		{"EachRemote", func(tx *Tx) error {
			return tx.EachRemote(folder, func(int64, mail.UID, mail.Flags, string) error { return nil })
		}},
		{"InFolder", func(tx *Tx) error { _, err := tx.InFolder(folder); return err }},
		{"ByUIDs10", func(tx *Tx) error { _, err := tx.ByUIDs(folder, tens); return err }},
		{"ByUIDs10000Sparse", func(tx *Tx) error { _, err := tx.ByUIDs(folder, sparse); return err }},
		{"ByUIDs100000", func(tx *Tx) error { _, err := tx.ByUIDs(folder, whole); return err }},
		{"ByName", func(tx *Tx) error { _, _, err := tx.ByName(folder, benchMessage(folder, 5000).Name); return err }},
		{"WithDeleted", func(tx *Tx) error { _, err := tx.WithDeleted(folder); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				must(b, db.View(context.Background(), bench.read))
			}
		})
	}
}

func BenchmarkUpdate10Flags(b *testing.B) {
	path, folder := large(b)
	db := openAt(b, path)
	defer db.Close()
	n := 0
	for b.Loop() {
		must(b, db.Update(context.Background(), func(tx *Tx) error {
			for range 10 {
				n = (n + 9973) % benchRows
				ms, err := tx.ByUIDs(folder, mail.NewUIDSet(mail.UID(n+1)))
				if err != nil {
					return err
				}
				ms[0].LocalFlags = mail.SystemFlags(mail.System(n % 31))
				if err := tx.PutMessage(&ms[0]); err != nil {
					return err
				}
			}
			return nil
		}))
	}
}
