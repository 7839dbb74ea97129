package state

import (
	"context"
	"database/sql/driver"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// writeGolden writes testdata/vN.sql for the newest schema. It is done once, when a schema is new; what a
// release has written must stay readable for ever.
var writeGolden = flag.Bool("write-golden", false, "write the fixture of the newest schema")

// golden is what every fixture holds.
type golden struct {
	folders  []Folder
	messages []Message
	intents  []Intent
	run      Run
	value    string
	counts   Counts
	departed Departed // from version 3 on
}

func goldenContents() golden {
	archive, inbox := fullFolder(), Folder{ID: 1, Name: "INBOX", Mailbox: "INBOX", OnDisk: true, UIDValidity: 7, UIDNext: 12}
	archive.ID = 2
	full := fullMessage(2, 11)
	full.ID = 3
	plain := Message{
		ID: 4, Folder: 2, UID: 12, Name: "1700000001.M2P2.host", RemoteFlags: mail.SystemFlags(mail.Seen), LocalFlags: mail.SystemFlags(mail.Seen),
		Digest: digest(1), Header: digest(2), HasMessageID: true, RemoteSize: 100, FileSize: 97, Inode: 5, Date: time.Unix(1700000001, 0).UTC(),
	}
	parked := Message{ID: 5, Folder: 2, Name: "1700000002.M3P3.host", Why: "read-only", RemoteSize: -1, LocalFlags: mail.NewFlags(`\Draft`, `\Flagged`, `$Forwarded`, `\Answered`)}
	intent := Intent{ID: 6, Kind: Upload, Message: full, To: 1, UIDValidity: 7, UIDNext: 12, Sends: 1, Started: time.Unix(1700000003, 0).UTC(), Settled: true}
	intent.Message.ID = 0
	return golden{
		folders: []Folder{archive, inbox}, messages: []Message{parked, full, plain}, intents: []Intent{intent},
		run:      Run{Start: time.Unix(1700000000, 0).UTC(), End: time.Unix(1700000009, 0).UTC(), Exit: 3, Error: "held"},
		value:    "it's",
		counts:   Counts{Agreed: 2, OnlyLocal: 1, Held: 1, KeptBack: 1, Why: map[string]int{"read-only": 1}},
		departed: Departed{ID: "0000abcd5", Row: 4, Size: 100, Header: digest(2), At: time.Unix(1700000008, 0).UTC()},
	}
}

func TestSchemasOfAllReleasesAreRead(t *testing.T) {
	if *writeGolden {
		writeFixture(t)
	}
	fresh := openAt(t, statePath(t))
	want := schemaOf(t, fresh.c)
	for v := 1; v <= len(migrations()); v++ {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) {
			sql, err := os.ReadFile(filepath.Join("testdata", fmt.Sprintf("v%d.sql", v)))
			must(t, err)
			path := statePath(t)
			c, err := dial(path, "")
			must(t, err)
			must(t, c.script(string(sql)))
			must(t, c.close())

			db := openAt(t, path)
			if db.Fresh() || !db.Copied() || db.Generation() != "0123456789abcdef0123456789abcdef" {
				t.Errorf("fresh %v, copied %v, generation %q", db.Fresh(), db.Copied(), db.Generation())
			}
			same(t, "schema after migration", schemaOf(t, db.c), want)
			g := goldenContents()
			view(t, db, func(tx *Tx) error {
				folders, err := tx.Folders()
				must(t, err)
				same(t, "folders", folders, g.folders)
				messages, err := tx.InFolder(2)
				must(t, err)
				same(t, "messages", messages, g.messages)
				intents, err := tx.Intents()
				must(t, err)
				same(t, "intents", intents, g.intents)
				run, _, err := tx.LastRun()
				must(t, err)
				same(t, "run", run, g.run)
				value, _, err := tx.Get("key")
				must(t, err)
				same(t, "value", value, g.value)
				named, ok, err := tx.ByName(2, g.messages[1].Name)
				must(t, err)
				if !ok || named != g.messages[1] {
					t.Errorf("by name: %v %+v", ok, named)
				}
				counts, err := tx.Counts(2)
				must(t, err)
				same(t, "counts", counts, g.counts)
				departed, ok, err := tx.Departed(g.departed.ID)
				if ok != (v >= 3) || ok && departed != g.departed {
					t.Errorf("departed: %v %+v", ok, departed)
				}
				return err
			})
			m := addMessage(t, db, Message{Folder: 1})
			same(t, "next id", m.ID, int64(7))
		})
	}
}

// TestConversionOfManyRows: those of version 1 are packed under their ids, some at a time, and damage to one of them stops it.
func TestConversionOfManyRows(t *testing.T) {
	const rows = 2*convertBatch + 300
	sql, err := os.ReadFile("testdata/v1.sql")
	must(t, err)
	path := statePath(t)
	c, err := dial(path, "")
	must(t, err)
	must(t, c.script(string(sql)))
	var want []Message
	must(t, c.script("BEGIN"))
	for n := range rows {
		m := benchMessage(1, n)
		m.ID = int64(10 + 3*n)
		want = append(want, m)
		insert1(t, c, &m)
	}
	must(t, c.script(fmt.Sprintf("UPDATE self SET next_id = %d; UPDATE message SET inode = inode + 1 WHERE id = 10; COMMIT", 10+3*rows)))
	must(t, c.close())

	ctx, o := context.Background(), Options{Owner: testOwner, LocalFS: true}
	if _, err := Open(ctx, path, o); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("a damaged row was converted: %v", err)
	}
	c, err = dial(path, "mode=rw")
	must(t, err)
	version, _, err := c.schemaVersion()
	must(t, err)
	same(t, "version", version, 1)
	must(t, c.script(`UPDATE message SET inode = inode - 1 WHERE id = 10`))
	must(t, c.close())

	db := openAt(t, path)
	view(t, db, func(tx *Tx) error {
		got, err := tx.InFolder(1)
		must(t, err)
		same(t, "rows", len(got), rows)
		for i, m := range got {
			if m != want[i] {
				t.Fatalf("got  %+v\nwant %+v", m, want[i])
			}
		}
		counts, err := tx.Counts(1)
		same(t, "agreed", counts.Agreed, rows)
		return err
	})
	m := addMessage(t, db, Message{Folder: 1})
	same(t, "next id", m.ID, int64(10+3*rows))
}

// insert1 stores an agreed message as version 1 did.
func insert1(tb testing.TB, c *conn, m *Message) {
	tb.Helper()
	w := &writer{}
	w.int(m.ID)
	w.int(m.Folder)
	w.int(int64(m.UID))
	w.text(m.Name)
	w.text("")
	w.text("")
	w.flags(m.RemoteFlags)
	w.flags(m.LocalFlags)
	w.blobOrNull(m.Digest[:])
	w.blobOrNull(m.Header[:])
	w.bool(true)
	w.null()
	w.int(m.RemoteSize)
	w.int(m.FileSize)
	w.int(int64(m.Inode))
	w.text("")
	w.time(m.Date)
	w.bool(false)
	w.int(0)
	_, err := c.exec(`INSERT INTO message (`+messageColumns1+`) VALUES (`+strings.TrimSuffix(strings.Repeat("?, ", len(w.sum())), ", ")+`)`, w.values...)
	must(tb, err)
}

// schemaOf returns the statements that make the schema.
func schemaOf(t *testing.T, c *conn) (sql []string) {
	t.Helper()
	must(t, c.query(`SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name`, nil, func(row []driver.Value) error {
		sql = append(sql, row[0].(string))
		return nil
	}))
	return sql
}

func writeFixture(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	g := goldenContents()
	update(t, db, func(tx *Tx) error {
		ids := func(id int64) { tx.nextID = id }
		for _, f := range g.folders {
			ids(f.ID)
			f.ID = 0
			must(t, tx.PutFolder(&f))
		}
		for _, m := range g.messages {
			ids(m.ID)
			m.ID, m.LocalFlags = 0, mail.NewFlags("Draft") // not yet what it will be
			must(t, tx.PutMessage(&m))
		}
		for _, i := range g.intents {
			ids(i.ID)
			i.ID = 0
			must(t, tx.PutIntent(&i))
		}
		if _, err := tx.c.exec(`UPDATE self SET generation = '0123456789abcdef0123456789abcdef', inode = 1, born = 0, since = 1700000000`); err != nil {
			return err
		}
		must(t, tx.PutRun(g.run))
		must(t, tx.PutDeparted(g.departed))
		return tx.Set("key", g.value)
	})
	db.c.forget() // a change of flags needs no index, and so gets a delta
	update(t, db, func(tx *Tx) error {
		for _, m := range g.messages {
			must(t, tx.PutMessage(&m))
		}
		return nil
	})
	version := len(migrations())
	var out strings.Builder
	for _, sql := range schemaOf(t, db.c) {
		if strings.HasPrefix(sql, "CREATE TABLE") {
			out.WriteString(sql + ";\n\n")
		}
	}
	for _, sql := range schemaOf(t, db.c) {
		if !strings.HasPrefix(sql, "CREATE TABLE") {
			out.WriteString(sql + ";\n")
		}
	}
	for _, table := range []string{"self", "folder", "message_page", "intent_page", "index_part", "index_delta", "index_key", "summary", "run", "meta", "departed"} {
		view(t, db, func(tx *Tx) error {
			return tx.c.query(`SELECT * FROM `+table, nil, func(row []driver.Value) error {
				var values []string
				for _, v := range row {
					values = append(values, literal(v))
				}
				fmt.Fprintf(&out, "INSERT INTO %s VALUES (%s);\n", table, strings.Join(values, ", "))
				return nil
			})
		})
	}
	fmt.Fprintf(&out, "PRAGMA application_id = %d;\nPRAGMA user_version = %d;\n", applicationID, version)
	must(t, os.WriteFile(filepath.Join("testdata", fmt.Sprintf("v%d.sql", version)), []byte(out.String()), 0o644))
}

// literal spells a value in SQL. Texts that are not plain are spelled as blobs, so that the fixture stays ASCII.
func literal(v driver.Value) string {
	switch v := v.(type) {
	case nil:
		return "NULL"
	case int64:
		return fmt.Sprint(v)
	case string:
		if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r > '~' }) {
			return "CAST(x'" + hex.EncodeToString([]byte(v)) + "' AS TEXT)"
		}
		return "'" + strings.ReplaceAll(v, "'", "''") + "'"
	case []byte:
		return "x'" + hex.EncodeToString(v) + "'"
	}
	return "?"
}

// TestApplicationIDMarksTheFile: file(1) and other tools find it at a fixed place.
func TestApplicationIDMarksTheFile(t *testing.T) {
	path := statePath(t)
	must(t, openAt(t, path).Close())
	content, err := os.ReadFile(path)
	must(t, err)
	if string(content[:15]) != "SQLite format 3" || string(content[68:72]) != "Stch" {
		t.Errorf("header %q, application id %q", content[:15], content[68:72])
	}
}
