package state

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

// model is what the database should hold.
type model struct {
	folders  map[int64]Folder
	messages map[int64]Message
	// older are Files from earlier checks, by folder; clones share them.
	older map[int64]*Files
}

func (m model) clone() model { return model{maps.Clone(m.folders), maps.Clone(m.messages), m.older} }

// where returns the rows for which want holds, sorted by ID.
func (m model) where(want func(Message) bool) (rows []Message) {
	for _, id := range slices.Sorted(maps.Keys(m.messages)) {
		if want(m.messages[id]) {
			rows = append(rows, m.messages[id])
		}
	}
	return rows
}

func (m model) counts(folder int64) Counts {
	c := Counts{Why: map[string]int{}}
	for _, r := range m.messages {
		if r.Folder != folder {
			continue
		}
		if r.Why != "" {
			c.Why[r.Why]++
		}
		if r.RemoteHeld || r.LocalHeld || r.Guarded {
			c.Held++
		}
		switch {
		case r.UID != 0 && r.Name != "" && r.Why == "":
			c.Agreed++
			if r.RemoteFlags.String() != r.LocalFlags.String() {
				c.KeptBack++
			}
		case r.UID != 0 && r.Name == "":
			c.OnlyRemote++
		case r.UID == 0 && r.Name != "":
			c.OnlyLocal++
		}
	}
	return c
}

var (
	genUID    = rapid.Map(rapid.IntRange(0, 40), func(n int) mail.UID { return mail.UID(n) })
	genName   = rapid.SampledFrom([]string{"", "", "a", "b", "c", "d", "e", "\xff", "z"})
	genWhy    = rapid.SampledFrom([]string{"", "", "", "too-large", "refused", "pending"})
	genFlags  = rapid.SampledFrom([]mail.Flags{{}, {}, mail.SystemFlags(mail.Seen), mail.NewFlags(`\Deleted`), mail.NewFlags("Work"), mail.NewFlags(`\Seen`, "Work", "$Junk")})
	genDigest = rapid.Map(rapid.IntRange(0, 3), func(n int) mail.Digest {
		if n == 0 {
			return mail.Digest{}
		}
		return digest(n)
	})
)

// genLimits makes everything small that is otherwise reached by many rows only.
func genLimits(t *rapid.T) limits {
	return limits{
		pageBytes: rapid.SampledFrom([]int{0, 300, 1 << 20}).Draw(t, "page bytes"), indexEntries: rapid.IntRange(0, 20).Draw(t, "index entries"),
		partEntries: rapid.IntRange(1, 8).Draw(t, "part"), changes: rapid.Int64Range(0, 10).Draw(t, "changes"),
		deltas: rapid.Int64Range(0, 4).Draw(t, "deltas"), pending: rapid.SampledFrom([]int{0, 5, 1000}).Draw(t, "pending"),
	}
}

func genMessage(t *rapid.T, id, folder int64) Message {
	return Message{
		ID: id, Folder: folder, UID: genUID.Draw(t, "uid"), Name: genName.Draw(t, "name"), Why: genWhy.Draw(t, "why"),
		RemoteFlags: genFlags.Draw(t, "remote flags"), LocalFlags: genFlags.Draw(t, "local flags"), Digest: genDigest.Draw(t, "digest"), Header: genDigest.Draw(t, "header"),
		RemoteSize: rapid.Int64Range(-1, 3).Draw(t, "size"), RemoteHeld: rapid.Bool().Draw(t, "remote held"),
		LocalHeld: rapid.Bool().Draw(t, "local held"), Guarded: rapid.Bool().Draw(t, "guarded"), Date: time.Unix(rapid.Int64Range(0, 9).Draw(t, "date"), 0).UTC(),
	}
}

// step does one random change to both, and fails where the model does not allow it.
func (m model) step(t *rapid.T, tx *Tx) {
	folders, messages := slices.Sorted(maps.Keys(m.folders)), slices.Sorted(maps.Keys(m.messages))
	kind := rapid.SampledFrom([]string{"put", "put", "put", "put", "change", "change", "flags", "delete", "folder", "drop folder", "rename"}).Draw(t, "kind")
	if len(folders) == 0 {
		kind = "folder"
	}
	if len(messages) == 0 && (kind == "change" || kind == "flags" || kind == "delete") {
		kind = "put"
	}
	free := func(r Message) bool {
		return len(m.where(func(o Message) bool {
			return o.ID != r.ID && o.Folder == r.Folder && (o.UID == r.UID && r.UID != 0 || o.Name == r.Name && r.Name != "")
		})) == 0
	}
	put := func(r Message) {
		err := tx.PutMessage(&r)
		if free(r) != (err == nil) || err != nil && !errors.Is(err, ErrTaken) {
			t.Fatalf("PutMessage(%+v): %v", r, err)
		}
		if err == nil {
			m.messages[r.ID] = r
		}
	}
	switch kind {
	case "folder":
		f := Folder{Name: mail.FolderName(rapid.SampledFrom([]string{"INBOX", "A", "A/B", "C"}).Draw(t, "folder name"))}
		_, taken, err := tx.FolderByName(f.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.PutFolder(&f); (err != nil) != taken || err != nil && !errors.Is(err, ErrTaken) {
			t.Fatalf("PutFolder(%q), taken %v: %v", f.Name, taken, err)
		}
		if !taken {
			m.folders[f.ID] = f
		}
	case "rename":
		id := rapid.SampledFrom(folders).Draw(t, "folder")
		f := m.folders[id]
		f.Mailbox = rapid.StringN(0, 3, -1).Draw(t, "mailbox")
		if err := tx.RenameFolder(id, f.Name, f.Mailbox); err != nil {
			t.Fatal(err)
		}
		m.folders[id] = f
	case "drop folder":
		id := rapid.SampledFrom(folders).Draw(t, "folder")
		if err := tx.DeleteFolder(id); err != nil {
			t.Fatal(err)
		}
		delete(m.folders, id)
		maps.DeleteFunc(m.messages, func(_ int64, r Message) bool { return r.Folder == id })
	case "put":
		put(genMessage(t, 0, rapid.SampledFrom(folders).Draw(t, "folder")))
	case "change":
		put(genMessage(t, rapid.SampledFrom(messages).Draw(t, "row"), rapid.SampledFrom(folders).Draw(t, "folder")))
	case "flags":
		r := m.messages[rapid.SampledFrom(messages).Draw(t, "row")]
		r.RemoteFlags, r.LocalFlags = genFlags.Draw(t, "remote flags"), genFlags.Draw(t, "local flags")
		if err := tx.SetFlags(r.ID, r.RemoteFlags, r.LocalFlags); err != nil {
			t.Fatalf("SetFlags(%+v): %v", r, err)
		}
		m.messages[r.ID] = r
	case "delete":
		id := rapid.SampledFrom(messages).Draw(t, "row")
		if err := tx.DeleteMessage(id); err != nil {
			t.Fatal(err)
		}
		delete(m.messages, id)
	}
}

// check compares everything that can be read.
func (m model) check(t *rapid.T, tx *Tx) {
	equal := func(what string, got any, err error, want any) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		same(t, what, got, want)
	}
	byUID := func(a, b Message) int { return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.ID, b.ID)) }

	agreed := map[int64]int{}
	for id, f := range m.folders {
		got, err := tx.Folder(id)
		equal("Folder", got, err, f)
		counts, err := tx.Counts(id)
		equal("Counts", counts, err, m.counts(id))
		n, err := tx.Agreed(id)
		equal("Agreed", n, err, m.counts(id).Agreed)
		if n > 0 {
			agreed[id] = n
		}

		rows := m.where(func(r Message) bool { return r.Folder == id })
		sorted := slices.SortedFunc(slices.Values(rows), byUID)
		in, err := tx.InFolder(id)
		equal("InFolder", in, err, sorted)

		var seen mail.UIDSet
		below := genUID.Draw(t, "below")
		count := uint32(0)
		for _, r := range rows {
			if r.UID != 0 && !r.RemoteHeld {
				seen.Add(r.UID)
				if r.UID < below {
					count++
				}
			}
			got, ok, err := tx.ByName(id, r.Name)
			if r.Name != "" {
				equal("ByName", got, err, r)
			}
			if ok != (r.Name != "") {
				t.Fatalf("ByName(%q): %v", r.Name, ok)
			}
		}
		uids, err := tx.UIDs(id)
		equal("UIDs", uids.String(), err, seen.String())
		uidCount, err := tx.UIDCount(id, below)
		equal("UIDCount", uidCount, err, count)
		files, err := tx.Files(id)
		if err != nil {
			t.Fatal(err)
		}
		m.checkFiles(t, id, files)
		older := cmp.Or(m.older[id], files)
		m.older[id] = files
		for _, name := range []string{"", "a", "b", "z"} {
			want, wantOK, err := tx.ByName(id, name)
			equal("ByName", nil, err, nil)
			for _, known := range []*Files{files, older, {}} {
				got, ok, err := tx.ByNameIn(known, id, name)
				equal("ByNameIn", got, err, want)
				equal("ByNameIn found", ok, nil, wantOK)
			}
		}

		asked := mail.NewUIDSet(rapid.SliceOf(rapid.Map(rapid.Uint32Range(1, 60), func(n uint32) mail.UID { return mail.UID(n) })).Draw(t, "asked")...)
		byUIDs, err := tx.ByUIDs(id, asked)
		var wantUIDs []Message
		for _, r := range sorted {
			if asked.Contains(r.UID) {
				wantUIDs = append(wantUIDs, r)
			}
		}
		equal("ByUIDs", byUIDs, err, wantUIDs)

		digest := genDigest.Draw(t, "digest")
		byDigest, err := tx.ByDigest(id, digest)
		var wantDigest []Message
		for _, r := range sorted {
			if r.Digest == digest {
				wantDigest = append(wantDigest, r)
			}
		}
		equal("ByDigest", byDigest, err, wantDigest)

		var fronts, wantFronts []Front
		var sifted, wantSifted []Message
		odd := func(fr Front) bool { return fr.UID%2 == 1 }
		err = tx.Sift(id, asked, func(fr Front) bool {
			fronts = append(fronts, fr)
			return odd(fr)
		}, func(m *Message) { sifted = append(sifted, *m) })
		for _, r := range wantUIDs {
			fr := Front{r.UID, r.RemoteFlags, r.Why, r.RemoteHeld}
			if wantFronts = append(wantFronts, fr); odd(fr) {
				wantSifted = append(wantSifted, r)
			}
		}
		equal("Sift", sifted, err, wantSifted)
		equal("Sift's fronts", fronts, nil, wantFronts)

		for _, whys := range [][]string{nil, {"refused"}, {"pending", "too-large", "pending", "no-such"}} {
			parked, err := tx.Parked(id, whys...)
			equal("Parked", parked, err, m.where(func(r Message) bool {
				return r.Folder == id && r.Why != "" && (whys == nil || slices.Contains(whys, r.Why))
			}))
		}
		deleted, err := tx.WithDeleted(id)
		equal("WithDeleted", deleted, err, m.where(func(r Message) bool {
			return r.Folder == id && (r.RemoteFlags.Has(mail.Deleted) || r.LocalFlags.Has(mail.Deleted))
		}))
	}
	all, err := tx.AgreedAll()
	equal("AgreedAll", all, err, agreed)
	held, err := tx.Held()
	equal("Held", held, err, m.where(func(r Message) bool { return r.RemoteHeld || r.LocalHeld || r.Guarded }))
	asked := rapid.SliceOf(rapid.Int64Range(1, 200)).Draw(t, "ids")
	var want []Message
	for _, id := range asked {
		want = append(want, m.messages[id])
	}
	byID, err := tx.Messages(asked)
	if err != nil || !slices.Equal(byID, want) {
		t.Fatalf("Messages(%v): %v\ngot  %+v\nwant %+v", asked, err, byID, want)
	}
}

// checkFiles reads a made-up directory twice.
func (m model) checkFiles(t *rapid.T, folder int64, files *Files) {
	for range 2 {
		files.Reset()
		rows := map[string]Message{}
		for _, r := range m.messages {
			if r.Folder == folder && r.Name != "" {
				rows[r.Name] = r
			}
		}
		same(t, "Len", files.Len(), len(rows))
		taken := map[string]bool{}
		for range rapid.IntRange(0, 8).Draw(t, "files") {
			name, flags := genName.Draw(t, "name"), genFlags.Draw(t, "flags")
			r, ok := rows[name]
			want := ok && r.LocalFlags.Equal(flags) && !r.LocalHeld && !taken[name]
			if got := files.Take(name, flags.Hash()); got != want {
				t.Fatalf("Take(%q, %v) of %+v, taken %v: %v", name, flags, r, taken[name], got)
			}
			taken[name] = taken[name] || want
			if files.Taken(name) != taken[name] {
				t.Fatalf("Taken(%q): %v", name, !taken[name])
			}
		}
		missing := m.where(func(r Message) bool { return r.Folder == folder && r.Name != "" && !taken[r.Name] })
		var ids []int64
		for _, r := range missing {
			ids = append(ids, r.ID)
		}
		same(t, "Missing", files.Missing(), ids)
	}
}

// TestAgainstAModel makes random changes in random transactions, some of which fail, and compares every
// reading method, the counts above all, with a model that counts anew.
func TestAgainstAModel(t *testing.T) {
	dir := t.TempDir()
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		path := filepath.Join(dir, strconv.Itoa(run))
		m := model{map[int64]Folder{}, map[int64]Message{}, map[int64]*Files{}}
		db := openQuick(t, path)
		db.c.limits = genLimits(t)
		for range rapid.IntRange(1, 6).Draw(t, "transactions") {
			next := m.clone()
			stop := errors.New("stop")
			fail := rapid.IntRange(0, 4).Draw(t, "fate") == 0
			err := db.Update(context.Background(), func(tx *Tx) error {
				for range rapid.IntRange(0, 12).Draw(t, "steps") {
					next.step(t, tx)
				}
				next.check(t, tx) // a transaction sees its own writes
				if fail {
					return stop
				}
				return nil
			})
			if fail != errors.Is(err, stop) || !fail && err != nil {
				t.Fatal(err)
			}
			if !fail {
				m = next
			}
			if rapid.Bool().Draw(t, "reopen") {
				must(t, db.Close())
				db = openQuick(t, path)
				db.c.limits = genLimits(t)
			}
			must(t, db.View(context.Background(), func(tx *Tx) error { m.check(t, tx); return nil }))
		}
		must(t, db.Close())
	})
}
