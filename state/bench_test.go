package state

import (
	"fmt"
	"math/rand/v2"
	"os"
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

// benchMessages are the messages from first on.
func benchMessages(folder int64, first, n int) []*Message {
	ms := make([]*Message, n)
	for i := range ms {
		m := benchMessage(folder, first+i)
		ms[i] = &m
	}
	return ms
}

// fill adds a folder with rows, batch rows in every Update.
func fill(tb testing.TB, db *DB, rows, batch int) int64 {
	tb.Helper()
	f := addFolder(tb, db, "INBOX")
	for n := 0; n < rows; n += batch {
		ms := benchMessages(f.ID, n, min(batch, rows-n))
		update(tb, db, func(tx *Tx) error { return tx.PutMessages(ms) })
	}
	return f.ID
}

// large returns the path of a closed database with one folder of that many messages.
func large(tb testing.TB, rows int) (path string, folder int64) {
	path = filepath.Join(tb.TempDir(), "state.db")
	db := openAt(tb, path)
	folder = fill(tb, db, rows, 2000)
	must(tb, db.Close())
	return path, folder
}

// perRow reports what an operation on that many rows takes for each.
func perRow(b *testing.B, rows int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
}

// BenchmarkPutNew is a first pull, Update after Update, without the time that making the messages takes.
func BenchmarkPutNew(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		path := filepath.Join(b.TempDir(), "state.db")
		db := openAt(b, path)
		f := addFolder(b, db, "INBOX")
		for n := 0; n < benchRows; n += 2000 {
			ms := benchMessages(f.ID, n, 2000)
			b.StartTimer()
			update(b, db, func(tx *Tx) error { return tx.PutMessages(ms) })
			b.StopTimer()
		}
		b.StartTimer()
		must(b, db.Close())
		info, err := os.Stat(path)
		must(b, err)
		b.ReportMetric(float64(info.Size())/1e6, "MB")
	}
	perRow(b, benchRows)
}

// BenchmarkIntents writes and drops intents in the batches of a download.
func BenchmarkIntents(b *testing.B) {
	db := openAt(b, filepath.Join(b.TempDir(), "state.db"))
	is := make([]*Intent, 2000)
	ids := make([]int64, len(is))
	for b.Loop() {
		for i := range is {
			is[i] = &Intent{Kind: Deliver, Message: benchMessage(1, i), Started: time.Unix(1_700_000_000, 0)}
		}
		update(b, db, func(tx *Tx) error { return tx.PutIntents(is) })
		for i := range is {
			ids[i] = is[i].ID
		}
		update(b, db, func(tx *Tx) error { return tx.DeleteIntents(ids) })
	}
	perRow(b, len(is))
}

func BenchmarkOpenClose(b *testing.B) {
	path, _ := large(b, benchRows)
	for b.Loop() {
		must(b, openAt(b, path).Close())
	}
}

// BenchmarkQuietSync is what a sync costs that finds nothing: open, read the folders, record the run, close.
func BenchmarkQuietSync(b *testing.B) {
	path, folder := large(b, benchRows)
	for b.Loop() {
		db := openAt(b, path)
		view(b, db, func(tx *Tx) error {
			if _, err := tx.Folders(); err != nil {
				return err
			}
			if _, err := tx.Held(); err != nil {
				return err
			}
			if _, err := tx.Intents(); err != nil {
				return err
			}
			_, err := tx.Parked(folder)
			return err
		})
		update(b, db, func(tx *Tx) error { return tx.PutRun(Run{Start: time.Unix(1, 0)}) })
		if len(db.c.indexes) != 0 {
			b.Fatal("an index was loaded")
		}
		must(b, db.Close())
	}
}

// BenchmarkLoadIndex reads a folder's index anew.
func BenchmarkLoadIndex(b *testing.B) {
	for _, rows := range []int{benchRows, 1_000_000} {
		b.Run(fmt.Sprint(rows), func(b *testing.B) {
			path, folder := large(b, rows)
			db := openAt(b, path)
			for b.Loop() {
				db.c.forget()
				view(b, db, func(tx *Tx) error { _, err := tx.index(folder); return err })
			}
			perRow(b, rows)
		})
	}
}

func BenchmarkRead(b *testing.B) {
	path, folder := large(b, benchRows)
	db := openAt(b, path)
	var tens, sparse, whole mail.UIDSet
	for n := range 10 {
		tens.Add(mail.UID(n*9973 + 1))
	}
	for n := range benchRows / 10 {
		sparse.Add(mail.UID(n*10 + 1))
	}
	whole.AddRange(1, benchRows)
	var ids []int64
	view(b, db, func(tx *Tx) error {
		return tx.Sift(folder, whole, func(Front) bool { return true }, func(m *Message) { ids = append(ids, m.ID) })
	})
	shuffled := append([]int64(nil), ids...)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, bench := range []struct {
		name string
		rows int
		read func(tx *Tx) error
	}{
		{"Files", benchRows, func(tx *Tx) error { _, err := tx.Files(folder); return err }},
		{"UIDs", benchRows, func(tx *Tx) error { _, err := tx.UIDs(folder); return err }},
		{"UIDCount", 1, func(tx *Tx) error { _, err := tx.UIDCount(folder, benchRows-10); return err }},
		{"Counts", 1, func(tx *Tx) error { _, err := tx.Counts(folder); return err }},
		{"SiftNone", benchRows, func(tx *Tx) error {
			return tx.Sift(folder, whole, func(Front) bool { return false }, nil)
		}},
		{"SiftAll", benchRows, func(tx *Tx) error {
			return tx.Sift(folder, whole, func(Front) bool { return true }, func(*Message) {})
		}},
		{"InFolder", benchRows, func(tx *Tx) error { _, err := tx.InFolder(folder); return err }},
		{"ByUIDs10", 10, func(tx *Tx) error { _, err := tx.ByUIDs(folder, tens); return err }},
		{"ByUIDs10000Sparse", benchRows / 10, func(tx *Tx) error { _, err := tx.ByUIDs(folder, sparse); return err }},
		{"ByUIDs100000", benchRows, func(tx *Tx) error { _, err := tx.ByUIDs(folder, whole); return err }},
		{"MessagesShuffled", benchRows, func(tx *Tx) error { _, err := tx.Messages(shuffled); return err }},
		{"MessageRandom", 10_000, func(tx *Tx) error {
			for _, id := range shuffled[:10_000] {
				if _, err := tx.Message(id); err != nil {
					return err
				}
			}
			return nil
		}},
		{"ByName", 1, func(tx *Tx) error { _, _, err := tx.ByName(folder, benchMessage(folder, 5000).Name); return err }},
		{"WithDeleted", 1, func(tx *Tx) error { _, err := tx.WithDeleted(folder); return err }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				view(b, db, bench.read)
			}
			perRow(b, bench.rows)
		})
	}
}

// BenchmarkTake compares a directory with a folder, name by name.
func BenchmarkTake(b *testing.B) {
	path, folder := large(b, benchRows)
	db := openAt(b, path)
	files := read(b, db, func(tx *Tx) (*Files, error) { return tx.Files(folder) })
	names := make([]string, benchRows)
	for i := range names {
		names[i] = benchMessage(folder, i).Name
	}
	flags := mail.SystemFlags(mail.Seen).Hash()
	for b.Loop() {
		files.Reset()
		for _, name := range names {
			if !files.Take(name, flags) {
				b.Fatal(name)
			}
		}
	}
	perRow(b, benchRows)
}

// BenchmarkUpdate changes many rows in one Update.
func BenchmarkUpdate(b *testing.B) {
	path, folder := large(b, benchRows)
	db := openAt(b, path)
	other := addFolder(b, db, "Archive").ID
	rows := read(b, db, func(tx *Tx) ([]Message, error) { return tx.InFolder(folder) })
	turn := 0
	for _, bench := range []struct {
		name   string
		rows   int
		step   int
		change func(m *Message)
	}{
		{"Flags", 50_000, 1, func(m *Message) { m.LocalFlags = mail.SystemFlags(mail.System(turn % 32)) }},
		{"FlagsEverySecond", 50_000, 2, func(m *Message) { m.LocalFlags = mail.SystemFlags(mail.System(turn % 32)) }},
		{"Move", 10_000, 1, func(m *Message) { m.Folder, m.UID = folder+other-m.Folder, m.UID^1<<20 }},
		{"MoveEverySeventh", 10_000, 7, func(m *Message) { m.Folder, m.UID = folder+other-m.Folder, m.UID^1<<20 }},
	} {
		b.Run(bench.name, func(b *testing.B) {
			for b.Loop() {
				turn++
				update(b, db, func(tx *Tx) error {
					for i := range bench.rows {
						m := &rows[i*bench.step]
						bench.change(m)
						if err := tx.PutMessage(m); err != nil {
							return err
						}
					}
					return nil
				})
			}
			perRow(b, bench.rows)
		})
	}
}

// BenchmarkUpdate10Flags changes ten rows here and there, found by their UIDs.
func BenchmarkUpdate10Flags(b *testing.B) {
	path, folder := large(b, benchRows)
	db := openAt(b, path)
	n, kib := 0, int64(0)
	for b.Loop() {
		before := walSize(b, path)
		update(b, db, func(tx *Tx) error {
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
		})
		kib = max(kib, (walSize(b, path)-before)/1024)
	}
	b.ReportMetric(float64(kib), "KiB-written-at-most")
}

// walSize is the size of the write-ahead log, which grows until it is folded back the first time.
func walSize(tb testing.TB, path string) int64 {
	tb.Helper()
	info, err := os.Stat(path + "-wal")
	if err != nil {
		return 0
	}
	return info.Size()
}
