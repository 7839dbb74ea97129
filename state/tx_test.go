package state

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestFolderRoundTrip(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	full, zero := fullFolder(), Folder{Name: "INBOX"}
	update(t, db, func(tx *Tx) error { return errors.Join(tx.PutFolder(&zero), tx.PutFolder(&full)) })
	if zero.ID == 0 || full.ID == 0 || zero.ID == full.ID {
		t.Fatalf("IDs %d and %d", zero.ID, full.ID)
	}
	must(t, db.Close())
	db = openAt(t, path)
	same(t, "folders", read(t, db, (*Tx).Folders), []Folder{full, zero})

	full.LastError, full.LocalMark, full.UIDNext = "", nil, 5
	update(t, db, func(tx *Tx) error { return tx.PutFolder(&full) })
	view(t, db, func(tx *Tx) error {
		f, err := tx.Folder(full.ID)
		same(t, "Folder", f, full)
		g, ok, err2 := tx.FolderByName(full.Name)
		same(t, "FolderByName", g, full)
		_, none, err3 := tx.FolderByName("inbox")
		if !ok || none {
			t.Errorf("FolderByName: found %v, found inbox %v", ok, none)
		}
		return errors.Join(err, err2, err3)
	})

	update(t, db, func(tx *Tx) error {
		if err := tx.PutFolder(&Folder{Name: full.Name}); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), string(full.Name)) {
			t.Errorf("a second folder of that name: %v", err)
		}
		if err := tx.RenameFolder(zero.ID, full.Name, "x"); !errors.Is(err, ErrTaken) {
			t.Errorf("renamed onto another: %v", err)
		}
		if err := tx.SetFlags(999, mail.Flags{}, mail.Flags{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("SetFlags: %v", err)
		}
		if err := tx.PutFolder(&Folder{ID: 999, Name: "x"}); !errors.Is(err, ErrNotFound) {
			t.Errorf("update of none: %v", err)
		}
		if err := tx.DeleteFolder(999); !errors.Is(err, ErrNotFound) {
			t.Errorf("deletion of none: %v", err)
		}
		if _, err := tx.Folder(999); !errors.Is(err, ErrNotFound) {
			t.Errorf("reading none: %v", err)
		}
		return tx.RenameFolder(full.ID, "Old/2024", "Old.2024")
	})
	full.Name, full.Mailbox = "Old/2024", "Old.2024"
	same(t, "renamed", read(t, db, (*Tx).Folders), []Folder{zero, full})
}

func TestMessageRoundTrip(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	f := addFolder(t, db, "INBOX")
	full, zero := fullMessage(f.ID, 3), Message{Folder: f.ID}
	twin := zero // rows without UID and name don't collide
	update(t, db, func(tx *Tx) error { return tx.PutMessages([]*Message{&full, &zero, &twin}) })
	must(t, db.Close())
	db = openAt(t, path)
	get := func(id int64) Message { return read(t, db, func(tx *Tx) (Message, error) { return tx.Message(id) }) }
	for _, m := range []Message{full, zero, twin} {
		same(t, "message", get(m.ID), m)
	}
	all := read(t, db, func(tx *Tx) ([]Message, error) { return tx.Messages([]int64{twin.ID, 999, full.ID, twin.ID}) })
	same(t, "Messages", all, []Message{twin, {}, full, twin})

	// Every single field on its own, those that indexes know and those that they don't.
	for name, change := range map[string]func(m *Message){
		"folder":        func(m *Message) { m.Folder = f.ID + 100 },
		"uid":           func(m *Message) { m.UID = 1<<32 - 1 },
		"no uid":        func(m *Message) { m.UID = 0 },
		"name":          func(m *Message) { m.Name = "\xff\xfe" },
		"no name":       func(m *Message) { m.Name = "" },
		"why":           func(m *Message) { m.Why = "refused" },
		"text":          func(m *Message) { m.Text = "" },
		"remote flags":  func(m *Message) { m.RemoteFlags = mail.NewFlags("a", "B", `\Draft`) },
		"local flags":   func(m *Message) { m.LocalFlags = mail.Flags{} },
		"digest":        func(m *Message) { m.Digest = mail.Digest{} },
		"header":        func(m *Message) { m.Header = digest(99) },
		"message id":    func(m *Message) { m.HasMessageID = false },
		"remote digest": func(m *Message) { m.RemoteDigest = mail.Digest{} },
		"remote size":   func(m *Message) { m.RemoteSize = -1 },
		"file size":     func(m *Message) { m.FileSize = 0 },
		"inode":         func(m *Message) { m.Inode = 1 },
		"email id":      func(m *Message) { m.EmailID = "" },
		"date":          func(m *Message) { m.Date = time.Time{} },
		"old date":      func(m *Message) { m.Date = time.Unix(-1, 0).UTC() },
		"raw":           func(m *Message) { m.Raw = false },
		"remote held":   func(m *Message) { m.RemoteHeld = false },
		"local held":    func(m *Message) { m.LocalHeld = false },
		"guarded":       func(m *Message) { m.Guarded = true },
	} {
		changed := full
		change(&changed)
		for _, m := range []Message{changed, full} {
			update(t, db, func(tx *Tx) error { return tx.PutMessage(&m) })
			same(t, name, get(m.ID), m)
		}
	}

	update(t, db, func(tx *Tx) error { return tx.DeleteMessage(full.ID) })
	for what, err := range map[string]error{
		"Message":       db.View(context.Background(), func(tx *Tx) error { _, err := tx.Message(full.ID); return err }),
		"DeleteMessage": db.Update(context.Background(), func(tx *Tx) error { return tx.DeleteMessage(full.ID) }),
		"PutMessage":    db.Update(context.Background(), func(tx *Tx) error { return tx.PutMessage(&full) }),
		"SetFlags":      db.Update(context.Background(), func(tx *Tx) error { return tx.SetFlags(full.ID, mail.Flags{}, mail.Flags{}) }),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of a row that is gone: %v", what, err)
		}
	}
	if err := db.Update(context.Background(), func(tx *Tx) error { return tx.PutMessage(&Message{UID: 1}) }); err == nil {
		t.Error("a row without a folder was taken")
	}
}

func TestIDsAreNeverUsedTwice(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	f := addFolder(t, db, "INBOX")
	seen := map[int64]bool{f.ID: true}
	for range 3 {
		m := addMessage(t, db, Message{Folder: f.ID, UID: 1})
		i := Intent{Kind: Upload, Message: m}
		update(t, db, func(tx *Tx) error {
			return errors.Join(tx.PutIntent(&i), tx.DeleteMessage(m.ID), tx.DeleteIntent(i.ID))
		})
		for _, id := range []int64{m.ID, i.ID} {
			if seen[id] {
				t.Errorf("ID %d again", id)
			}
			seen[id] = true
		}
		must(t, db.Close())
		db = openAt(t, path)
	}
}

func TestUIDAndNameAreUniqueInAFolder(t *testing.T) {
	db := openAt(t, statePath(t))
	f, g := addFolder(t, db, "INBOX"), addFolder(t, db, "Other")
	a := addMessage(t, db, Message{Folder: f.ID, UID: 7, Name: "a"})
	b := addMessage(t, db, Message{Folder: f.ID, UID: 8, Name: "b"})
	addMessage(t, db, Message{Folder: g.ID, UID: 7, Name: "a"}) // another folder is no matter
	for _, tc := range []struct {
		name string
		m    Message
		part string
	}{
		{"new with a UID that is taken", Message{Folder: f.ID, UID: 7, Name: "c"}, "UID 7"},
		{"new with a name that is taken", Message{Folder: f.ID, Name: "a"}, `"a"`},
		{"changed to a UID that is taken", Message{ID: b.ID, Folder: f.ID, UID: 7, Name: "b"}, "UID 7"},
		{"changed to a name that is taken", Message{ID: b.ID, Folder: f.ID, UID: 8, Name: "a"}, `"a"`},
		{"moved to where both are taken", Message{ID: b.ID, Folder: g.ID, UID: 7, Name: "a"}, "UID 7"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := read(t, db, func(tx *Tx) (Counts, error) { return tx.Counts(f.ID) })
			update(t, db, func(tx *Tx) error {
				m := tc.m
				err := tx.PutMessage(&m)
				if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), tc.part) {
					t.Errorf("got %v", err)
				}
				if tc.m.Folder == f.ID && !strings.Contains(err.Error(), fmt.Sprintf("(%d)", a.ID)) {
					t.Errorf("%q does not name row %d", err, a.ID)
				}
				same(t, "row", m, tc.m)
				return nil // the transaction can go on
			})
			same(t, "counts", read(t, db, func(tx *Tx) (Counts, error) { return tx.Counts(f.ID) }), before)
		})
	}
}

func TestUpdateIsAllOrNothing(t *testing.T) {
	db := openAt(t, statePath(t))
	f := addFolder(t, db, "INBOX")
	kept := addMessage(t, db, Message{Folder: f.ID, UID: 1, Name: "kept"})
	dump := func() string {
		return fmt.Sprint(read(t, db, func(tx *Tx) ([]Message, error) { return tx.InFolder(f.ID) }), read(t, db, (*Tx).Folders),
			read(t, db, (*Tx).Intents), read(t, db, func(tx *Tx) (Counts, error) { return tx.Counts(f.ID) }))
	}
	before := dump()
	change := func(tx *Tx) {
		must(t, tx.PutMessage(&Message{Folder: f.ID, UID: 2, Name: "new"}))
		must(t, tx.DeleteMessage(kept.ID))
		must(t, tx.PutFolder(&Folder{Name: "Another"}))
		must(t, tx.PutIntent(&Intent{Kind: Deliver}))
		must(t, tx.Set("k", "v"))
		must(t, tx.PutRun(Run{Exit: 1}))
		if _, err := tx.Counts(f.ID); err != nil { // writes the counts within the transaction
			t.Fatal(err)
		}
	}

	stop := errors.New("stop")
	if err := db.Update(context.Background(), func(tx *Tx) error { change(tx); return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	same(t, "after an error", dump(), before)

	func() {
		defer func() {
			if r := recover(); r != stop {
				t.Errorf("recovered %v", r)
			}
		}()
		_ = db.Update(context.Background(), func(tx *Tx) error { change(tx); panic(stop) })
	}()
	same(t, "after a panic", dump(), before)

	ctx, cancel := context.WithCancel(context.Background())
	if err := db.Update(ctx, func(tx *Tx) error { cancel(); return tx.Set("done", "yes") }); err != nil {
		t.Errorf("what was done already was not recorded: %v", err)
	}
	if err := db.Update(ctx, func(tx *Tx) error { t.Error("it ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := db.View(ctx, func(tx *Tx) error { t.Error("it ran"); return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	same(t, "in the end", dump(), before)
}

func TestTransactionsTakeTurns(t *testing.T) {
	db := openAt(t, statePath(t))
	inside, release, done := make(chan struct{}), make(chan struct{}), make(chan error)
	go func() {
		done <- db.Update(context.Background(), func(tx *Tx) error {
			close(inside)
			<-release
			return tx.Set("first", "yes")
		})
	}()
	<-inside
	ctx, cancel := context.WithCancel(context.Background())
	waiting := make(chan error)
	go func() { waiting <- db.View(ctx, func(*Tx) error { return nil }) }()
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting did not end: %v", err)
	}
	close(release)
	must(t, <-done)
	view(t, db, func(tx *Tx) error {
		v, ok, err := tx.Get("first")
		if v != "yes" || !ok {
			t.Errorf("got %q, %v", v, ok)
		}
		return err
	})
}

func TestViewDoesNotWrite(t *testing.T) {
	db := openAt(t, statePath(t))
	f := addFolder(t, db, "INBOX")
	m := addMessage(t, db, Message{Folder: f.ID, UID: 1})
	for name, write := range map[string]func(tx *Tx) error{
		"PutFolder":     func(tx *Tx) error { return tx.PutFolder(&f) },
		"DeleteFolder":  func(tx *Tx) error { return tx.DeleteFolder(f.ID) },
		"RenameFolder":  func(tx *Tx) error { return tx.RenameFolder(f.ID, "x", "x") },
		"PutMessage":    func(tx *Tx) error { return tx.PutMessage(&m) },
		"SetFlags":      func(tx *Tx) error { return tx.SetFlags(m.ID, mail.Flags{}, mail.Flags{}) },
		"PutMessages":   func(tx *Tx) error { return tx.PutMessages([]*Message{&m}) },
		"DeleteMessage": func(tx *Tx) error { return tx.DeleteMessage(m.ID) },
		"PutIntent":     func(tx *Tx) error { return tx.PutIntent(&Intent{}) },
		"PutIntents":    func(tx *Tx) error { return tx.PutIntents([]*Intent{{}}) },
		"DeleteIntent":  func(tx *Tx) error { return tx.DeleteIntent(1) },
		"DeleteIntents": func(tx *Tx) error { return tx.DeleteIntents([]int64{1}) },
		"PutRun":        func(tx *Tx) error { return tx.PutRun(Run{}) },
		"Set":           func(tx *Tx) error { return tx.Set("k", "v") },
	} {
		if err := db.View(context.Background(), write); !errors.Is(err, errReadOnly) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestIntents(t *testing.T) {
	path := statePath(t)
	db := openAt(t, path)
	f := addFolder(t, db, "INBOX")
	full := Intent{
		Kind: MoveRemote, Message: fullMessage(f.ID, 9), To: 12, UIDValidity: 1<<64 - 1, UIDNext: 1<<32 - 1, Sends: 3,
		Started: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), Settled: true,
	}
	full.Message.ID = 77
	zero := Intent{Kind: Deliver}
	update(t, db, func(tx *Tx) error { return tx.PutIntents([]*Intent{&full, &zero}) })
	must(t, db.Close())
	db = openAt(t, path)
	same(t, "intents", read(t, db, (*Tx).Intents), []Intent{full, zero})
	full.Sends, full.Settled, full.Message.Name = 4, false, "other"
	update(t, db, func(tx *Tx) error {
		if err := tx.PutIntent(&Intent{ID: 999}); !errors.Is(err, ErrNotFound) {
			t.Errorf("update of none: %v", err)
		}
		if err := tx.DeleteIntent(999); !errors.Is(err, ErrNotFound) {
			t.Errorf("deletion of none: %v", err)
		}
		// Rows of the folder go with it, intents don't.
		more := []*Intent{{Kind: Deliver}, {Kind: Upload}}
		return errors.Join(tx.PutIntent(&full), tx.DeleteIntent(zero.ID), tx.DeleteFolder(f.ID), tx.PutIntents(more),
			tx.DeleteIntents([]int64{more[0].ID, more[1].ID}))
	})
	same(t, "intents", read(t, db, (*Tx).Intents), []Intent{full})
}

func TestRunAndMeta(t *testing.T) {
	db := openAt(t, statePath(t))
	view(t, db, func(tx *Tx) error {
		_, ran, err := tx.LastRun()
		_, set, err2 := tx.Get("k")
		if ran || set {
			t.Errorf("in a new database: run %v, key %v", ran, set)
		}
		return errors.Join(err, err2)
	})
	runs := []Run{
		{Start: time.Unix(1, 0).UTC(), End: time.Unix(2, 0).UTC(), Exit: 130, Error: "stopped"},
		{Start: time.Unix(3, 0).UTC()},
	}
	for i, run := range runs {
		value := fmt.Sprint(i)
		update(t, db, func(tx *Tx) error { return errors.Join(tx.PutRun(run), tx.Set("k", value), tx.Set("other", "x")) })
		view(t, db, func(tx *Tx) error {
			got, ok, err := tx.LastRun()
			v, set, err2 := tx.Get("k")
			same(t, "run", got, run)
			if !ok || !set || v != value {
				t.Errorf("run %v, key %v %q", ok, set, v)
			}
			return errors.Join(err, err2)
		})
	}
	update(t, db, func(tx *Tx) error { return tx.Set("k", "") })
	view(t, db, func(tx *Tx) error {
		_, set, err := tx.Get("k")
		_, other, err2 := tx.Get("other")
		if set || !other {
			t.Errorf("after removing k: k %v, other %v", set, other)
		}
		return errors.Join(err, err2)
	})
}

// TestManyRows goes beyond one batch of Sift and one part of an index.
func TestManyRows(t *testing.T) {
	const rows = 2*siftBatch + 500
	db := openAt(t, statePath(t))
	folder := fill(t, db, rows, 500)

	for _, step := range []int{1, 3, 100} {
		var asked, seen, given mail.UIDSet
		for uid := 1; uid <= 2*rows; uid += step {
			asked.Add(mail.UID(uid))
		}
		view(t, db, func(tx *Tx) error {
			return tx.Sift(folder, asked, func(fr Front) bool {
				if !asked.Contains(fr.UID) || seen.Contains(fr.UID) || !fr.RemoteFlags.Equal(mail.SystemFlags(mail.Seen)) || fr.Why != "" || fr.RemoteHeld {
					t.Fatalf("every %d: %+v", step, fr)
				}
				seen.Add(fr.UID)
				return fr.UID%2 == 0
			}, func(m *Message) {
				if m.UID%2 != 0 || m.Name == "" || m.Folder != folder || given.Contains(m.UID) {
					t.Fatalf("every %d: %+v", step, m)
				}
				given.Add(m.UID)
			})
		})
		same(t, "rows seen", int(seen.Len()), (rows+step-1)/step)
		even := mail.UIDSet{}
		for uid := range seen.All() {
			if uid%2 == 0 {
				even.Add(uid)
			}
		}
		same(t, "rows given", given.Len(), even.Len())
	}

	for _, step := range []int{1, 2, 4, 5, 7, 100} {
		var asked mail.UIDSet
		want := 0
		for uid := 3; uid <= rows; uid += step {
			asked.Add(mail.UID(uid))
			want++
		}
		asked.AddRange(rows+1, 1<<32-1) // what is not there is not named
		got := read(t, db, func(tx *Tx) ([]Message, error) { return tx.ByUIDs(folder, asked) })
		same(t, fmt.Sprintf("rows with every %d. UID", step), len(got), want)
		for i, m := range got {
			if int(m.UID) != 3+i*step {
				t.Fatalf("every %d. UID: number %d is %d", step, i, m.UID)
			}
		}
	}
	none := read(t, db, func(tx *Tx) ([]Message, error) { return tx.ByUIDs(folder, mail.UIDSet{}) })
	same(t, "no UIDs", len(none), 0)
	update(t, db, func(tx *Tx) error { return tx.DeleteFolder(folder) })
	same(t, "rows of a folder that is gone", len(read(t, db, func(tx *Tx) ([]Message, error) { return tx.InFolder(folder) })), 0)
}
