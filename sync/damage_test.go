package sync_test

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// spoil overwrites bytes of the state database.
func (w *world) spoil(at int64, with string) {
	w.t.Helper()
	f, err := os.OpenFile(filepath.Join(w.root, ".satchel.db"), os.O_RDWR, 0)
	w.must(err)
	_, err = f.WriteAt([]byte(with), at)
	w.must(err)
	w.must(f.Close())
}

// aside returns the databases that were set aside.
func (w *world) statesAside() []string {
	w.t.Helper()
	found, err := filepath.Glob(filepath.Join(w.root, ".satchel.db.damaged-*"))
	w.must(err)
	return found
}

// repaired is a sync that finds the database damaged: it says so once, and nothing fails.
func (w *world) repaired() *mailsync.Result {
	w.t.Helper()
	before := len(w.statesAside())
	res := w.sync()
	if len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "damaged") || !strings.Contains(res.Warnings[0], w.root) {
		w.t.Fatalf("it says: %q", res.Warnings)
	}
	if n := len(w.statesAside()) - before; n != 1 {
		w.t.Fatalf("%d databases were set aside: %q", n, w.statesAside())
	}
	return res
}

func TestDamagedStateIsSetAsideAndNothingIsDeleted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		at   int64
		with string
	}{
		{"the file's first bytes", 0, "not a database"},
		{"the mark of the program", 68, "None"},
		{"the schema", 100, "\x05\x00\x00\x00\x01"},
		{"all pages behind the first", 4096, strings.Repeat("\xff", 200<<10)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("Archive")
			a, b := w.message("a"), w.message("b")
			w.arrive("INBOX", a, `\Seen`)
			uid := w.arrive("INBOX", b)
			w.arrive("INBOX", w.message("c"), `\Flagged`, "Work")
			w.arrive("Archive", "Subject: twin\n\nx\n")
			w.arrive("Archive", "Subject: twin\n\nx\n")
			w.sync()
			w.must(os.Remove(w.file("INBOX", a)))
			w.server.Expunge("INBOX", uid)
			w.put("Archive", w.message("new"), "S")
			w.spoil(tt.at, tt.with)
			spoilt, err := os.ReadFile(filepath.Join(w.root, ".satchel.db"))
			w.must(err)

			w.opt.DryRun = true
			if res := w.try(); res.Fatal != nil || len(res.Warnings) != 1 || len(res.Plan) == 0 {
				t.Errorf("a dry run: %v, %q, %d operations", res.Fatal, res.Warnings, len(res.Plan))
			}
			w.opt.DryRun = false
			if now, err := os.ReadFile(filepath.Join(w.root, ".satchel.db")); err != nil || !bytes.Equal(now, spoilt) || len(w.statesAside()) > 0 {
				t.Fatal("a dry run changed something")
			}

			res := w.repaired()
			if res.ToMaildir.Deleted+res.ToServer.Deleted != 0 {
				t.Errorf("deleted: %+v %+v", res.ToMaildir, res.ToServer)
			}
			kept, err := os.ReadFile(w.statesAside()[0])
			w.must(err)
			if tt.at < 4096 && !bytes.Equal(kept, spoilt) {
				t.Error("what was set aside is not what there was")
			}
			w.want(map[string][]string{"INBOX": {`a \Seen`, "b", `c \Flagged Work`}, "Archive": {"twin", "twin", `new \Seen`}})
			w.quiet()
			if res := w.sync(); len(res.Warnings) > 0 {
				t.Errorf("it says so again: %q", res.Warnings)
			}
		})
	}
}

// TestStateDamagedAnywhere: whatever part of the database is overwritten, before a run or while one is under way for all that shows, the
// run comes to its end, nothing is lost and nothing doubled.
func TestStateDamagedAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Archive")
	want := map[string][]string{"INBOX": {}, "Archive": {}}
	for i := range 60 {
		box := []string{"INBOX", "Archive"}[i%2]
		subject := "m" + string(rune('A'+i/2)) + string(rune('a'+i%2))
		w.arrive(box, w.message(subject))
		want[box] = append(want[box], subject)
	}
	w.sync()
	rng := rand.New(rand.NewPCG(3, 4))
	noticed := 0
	for n := range 40 {
		info, err := os.Stat(filepath.Join(w.root, ".satchel.db"))
		w.must(err)
		at := rng.Int64N(info.Size())
		if n%2 == 0 { // what every run reads
			at = at/4096*4096 + 8
		}
		w.spoil(at, strings.Repeat("\xa5", 64))
		here, there := "here"+string(rune('A'+n)), "there"+string(rune('A'+n))
		w.put("INBOX", w.message(here), "S")
		w.arrive("Archive", w.message(there), `\Flagged`)
		want["INBOX"], want["Archive"] = append(want["INBOX"], here+` \Seen`), append(want["Archive"], there+` \Flagged`)
		before := len(w.statesAside())
		res := w.try()
		if res.Fatal != nil || len(res.Errors) > 0 {
			t.Fatalf("%d: spoilt at %d: %v %v", n, at, res.Fatal, res.Errors)
		}
		if len(w.statesAside()) != before+len(res.Warnings) {
			t.Fatalf("%d set aside, it says %q", len(w.statesAside())-before, res.Warnings)
		}
		noticed += len(res.Warnings)
		w.want(want)
	}
	if noticed < 10 {
		t.Errorf("only %d of 40 were noticed", noticed)
	}
	w.quiet()
}

// TestDamagedStateWithAnUnansweredUpload: the intent is lost with the database. What was stored is paired by its content.
func TestDamagedStateWithAnUnansweredUpload(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"stored", "not stored"} {
		t.Run(end, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.arrive("INBOX", w.message("a"))
			w.sync()
			w.put("INBOX", w.message("mine"), "S")
			w.put("INBOX", w.message("mine too"), "S")
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "append" && s.After == (end == "stored") {
					return model.Action{Kind: model.Drop}
				}
				return model.Action{}
			})
			w.try()
			w.server.SetFault(nil)
			w.spoil(0, "rubbish")
			w.repaired()
			w.want(map[string][]string{"INBOX": {"a", `mine \Seen`, `mine too \Seen`}})
			w.quiet()
		})
	}
}

// TestDamagedStateTakesHeldDeletionsBack: that they were held is forgotten, and so is that they were deletions.
func TestDamagedStateTakesHeldDeletionsBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.set.Policy.Guard = plan.Guard{ByCount: true, Count: 2}
	want := []string{"stays"}
	w.arrive("INBOX", w.message("stays"))
	var gone []string
	for _, s := range []string{"a", "b", "c", "d"} {
		text := w.message(s)
		w.arrive("INBOX", text)
		gone, want = append(gone, text), append(want, s)
	}
	w.sync()
	for _, text := range gone {
		w.must(os.Remove(w.file("INBOX", text)))
	}
	if res := w.sync(); res.HeldBack != 4 {
		t.Fatalf("%d are held back", res.HeldBack)
	}
	w.spoil(0, "rubbish")
	if res := w.repaired(); res.HeldBack != 0 {
		t.Errorf("%d are held back", res.HeldBack)
	}
	w.want(map[string][]string{"INBOX": want})
	w.quiet()
}

// TestAnotherProgramsFileIsNotSetAside: `state` may name anything by mistake.
func TestAnotherProgramsFileIsNotSetAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.arrive("INBOX", w.message("a"))
	w.set.StatePath = filepath.Join(t.TempDir(), "precious")
	content := bytes.Repeat([]byte("not Satchel's\n"), 1000)
	w.must(os.WriteFile(w.set.StatePath, content, 0o600))
	for _, dry := range []bool{true, false} {
		w.opt.DryRun = dry
		var setup *mailsync.SetupError
		if res := w.try(); !asSetup(res.Fatal, &setup) {
			t.Errorf("fatal = %v", res.Fatal)
		}
	}
	now, err := os.ReadFile(w.set.StatePath)
	w.must(err)
	beside, err := os.ReadDir(filepath.Dir(w.set.StatePath))
	w.must(err)
	if !bytes.Equal(now, content) || len(beside) != 1 {
		t.Error("it was touched")
	}

	w.must(os.Remove(w.set.StatePath))
	w.opt.DryRun = false
	w.sync()
	ours, err := os.ReadFile(w.set.StatePath)
	w.must(err)
	w.must(os.WriteFile(w.set.StatePath, slices.Concat(ours[:200], bytes.Repeat([]byte{0xa5}, len(ours)-200)), 0o600))
	if res := w.sync(); len(res.Warnings) != 1 {
		t.Errorf("one of ours that lies elsewhere: %q", res.Warnings)
	}
	w.want(map[string][]string{"INBOX": {"a"}})
}

// TestDamagedState: a state that can't be believed is set aside, and without one nothing is deleted.
func TestDamagedState(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	b := w.message("b")
	gone := w.arrive("INBOX", w.message("a"))
	w.arrive("INBOX", b)
	w.sync()
	db := filepath.Join(w.root, ".satchel.db")
	whole, err := os.ReadFile(db)
	w.must(err)
	w.server.Expunge("INBOX", gone)
	w.must(os.Remove(w.file("INBOX", b)))
	w.must(os.WriteFile(db, whole[:len(whole)/2], 0o600))
	if res := w.sync(); len(res.Warnings) == 0 {
		t.Error("it does not say so")
	}
	w.want(map[string][]string{"INBOX": {"a", "b"}})
	w.quiet()
}
