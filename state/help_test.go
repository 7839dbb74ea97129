package state

import (
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

var testOwner = Owner{Kind: "imap", Host: "imap.example.org", User: "me@example.org"}

func must(tb failer, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// digest makes a digest that looks like a real one.
func digest(n int) mail.Digest { return sha256.Sum256([]byte(strconv.Itoa(n))) }

func statePath(tb testing.TB) string {
	tb.Helper()
	return filepath.Join(tb.TempDir(), "state.db")
}

// openAt opens a database that is closed, and checked, when the test ends.
func openAt(tb testing.TB, path string) *DB {
	tb.Helper()
	return openWith(tb, path, Options{Owner: testOwner, LocalFS: true})
}

func openWith(tb testing.TB, path string, o Options) *DB {
	tb.Helper()
	db, err := Open(context.Background(), path, o)
	must(tb, err)
	tb.Cleanup(func() { must(tb, db.Close()) })
	return db
}

func update(tb testing.TB, db *DB, f func(tx *Tx) error) {
	tb.Helper()
	must(tb, db.Update(context.Background(), f))
}

func view(tb testing.TB, db *DB, f func(tx *Tx) error) {
	tb.Helper()
	must(tb, db.View(context.Background(), f))
}

// read returns what one reading method returns.
func read[T any](tb testing.TB, db *DB, f func(tx *Tx) (T, error)) (v T) {
	tb.Helper()
	view(tb, db, func(tx *Tx) (err error) { v, err = f(tx); return err })
	return v
}

// failer is what testing.TB and *rapid.T have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func same(tb failer, what string, got, want any) {
	tb.Helper()
	if !reflect.DeepEqual(got, want) {
		tb.Fatalf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

func addFolder(tb testing.TB, db *DB, name mail.FolderName) Folder {
	tb.Helper()
	f := Folder{Name: name, Mailbox: string(name), OnDisk: true, UIDValidity: 1}
	update(tb, db, func(tx *Tx) error { return tx.PutFolder(&f) })
	return f
}

func addMessage(tb testing.TB, db *DB, m Message) Message {
	tb.Helper()
	update(tb, db, func(tx *Tx) error { return tx.PutMessage(&m) })
	return m
}

// fullMessage sets every field that all versions know.
func fullMessage(folder int64, n int) Message {
	return Message{
		Folder: folder, UID: mail.UID(n), Name: "170000000" + strconv.Itoa(n) + ".M1P1.host", Why: "", Text: "over quota \xff\x00 text",
		RemoteFlags: mail.NewFlags(`\Seen`, "$Junk", "Work"), LocalFlags: mail.NewFlags(`\Seen`, `\Deleted`),
		Digest: digest(n), Header: digest(n + 1), HasMessageID: true, RemoteDigest: digest(n + 2),
		RemoteSize: 1 << 40, FileSize: -1, Inode: 1<<64 - 2, EmailID: "M6d99ac3275bb4e", Date: time.Date(2024, 2, 29, 12, 0, 1, 0, time.UTC),
		Raw: true, RemoteHeld: true, LocalHeld: true,
	}
}

func fullFolder() Folder {
	return Folder{
		Name: "Archive/2024", Mailbox: "Archive.2024", OnDisk: true, UIDValidity: 1<<32 - 1, MailboxID: "F2212ea87-6097-4256-9d51-71338625",
		Inode: 1<<63 + 5, UIDNext: 1<<32 - 1, HighestModSeq: 1<<63 - 1, Exists: 1<<32 - 1, LocalMark: []byte{0, 1, 255}, Filter: "v1 since=2024",
		ReadOnly: true, Permanent: mail.NewFlags(`\Seen`, `\Flagged`, "$MDNSent"), AnyKeyword: true, PermanentKnown: true,
		LastSync: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), LastError: "no such mailbox",
	}
}

// files lists the directory of path, but for its tag.
func files(tb testing.TB, path string) (names []string) {
	tb.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	must(tb, err)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), filepath.Base(tagPath(path, ""))) {
			names = append(names, e.Name())
		}
	}
	return names
}

// openQuick opens a database without waiting for the disk, for tests that open thousands.
func openQuick(tb failer, path string) *DB {
	tb.Helper()
	db, err := Open(context.Background(), path, Options{Owner: testOwner, LocalFS: true})
	must(tb, err)
	must(tb, db.c.pragma("synchronous=OFF"))
	return db
}
