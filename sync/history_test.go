package sync_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// A history is a seeded sequence of acts on both sides with syncs in between. Its promise is checked from
// outside: what nobody deleted exists on both sides, once for each time that it should.
type history struct {
	*world
	rng     *rand.Rand
	folders []string
	deleted map[string]int // how many copies of each text somebody deleted
	made    map[string]int // and how many were made
	// fresh says on which side a text is new since the last sync: what is new on both is one message.
	fresh map[string]string
	log   []string
}

func newHistory(t testing.TB, seed uint64, o model.Options) *history {
	h := &history{world: newWorld(t, o), rng: rand.New(rand.NewPCG(seed, 1)), deleted: map[string]int{}, made: map[string]int{}, fresh: map[string]string{}}
	h.mkfolder("INBOX")
	h.set.Policy.Guard.ByShare = false // histories delete freely; the guard has tests of its own
	h.folders = []string{"INBOX", "Work", "Work/Old", "Lists"}
	for _, f := range h.folders[1:] {
		h.server.CreateMailbox(f)
	}
	return h
}

// make counts a text that is made on a side, or reports that it would be the other side's new message.
func (h *history) make(text, side string) bool {
	if was := h.fresh[text]; was != "" && was != side {
		return false
	}
	h.fresh[text] = side
	h.made[text]++
	return true
}

func (h *history) note(format string, args ...any) {
	h.log = append(h.log, fmt.Sprintf(format, args...))
}

var letters = []string{"", "S", "F", "FS", "R", "RS", "P", "DS"}
var flagNames = []string{`\Seen`, `\Flagged`, `\Answered`, "$Forwarded", "Todo", "Later"}

// text makes a message: most are unlike every other, some have no Message-ID, some are twins of another.
// The twins of each side are its own, because what is new on both sides at once is one message.
func (h *history) text(from string) string {
	switch h.rng.IntN(6) {
	case 0:
		return fmt.Sprintf("Subject: %stwin%d\n\nalike\n", from, h.rng.IntN(3))
	case 1:
		h.world.made++
		return fmt.Sprintf("Subject: %snoid\n\nbody %03d\n", from, h.world.made)
	}
	return h.message(fmt.Sprintf("%s%d", from, h.world.made))
}

// remoteAct is what another client does on the server.
func (h *history) remoteAct() {
	snap := h.server.Snapshot()
	box := snap.Mailboxes[h.rng.IntN(len(snap.Mailboxes))]
	pick := func() (model.Message, bool) {
		if len(box.Messages) == 0 {
			return model.Message{}, false
		}
		return box.Messages[h.rng.IntN(len(box.Messages))], true
	}
	switch h.rng.IntN(11) {
	case 8:
		if m, ok := pick(); ok && h.make(strings.ReplaceAll(m.Raw, "\r\n", "\n"), "server") {
			to := snap.Mailboxes[h.rng.IntN(len(snap.Mailboxes))].Name
			h.server.Copy(box.Name, to, m.UID)
			h.note("server: copy %s from %s to %s", subjectOf(m.Raw), box.Name, to)
		}
	case 9:
		h.remoteFolderAct(box)
	case 0, 1, 2:
		text := h.text("r")
		if !h.make(text, "server") {
			return
		}
		var flags []string
		if h.rng.IntN(2) == 0 {
			flags = append(flags, flagNames[h.rng.IntN(len(flagNames))])
		}
		h.arrive(box.Name, text, flags...)
		h.note("server: new %s in %s", subjectOf(text), box.Name)
	case 3, 4:
		if m, ok := pick(); ok {
			f := mail.NewFlags(flagNames[h.rng.IntN(len(flagNames))])
			add := h.rng.IntN(2) == 0
			h.server.Store(box.Name, add, f, m.UID)
			h.note("server: flag %v %s on %s in %s", add, f, subjectOf(m.Raw), box.Name)
		}
	case 5:
		if m, ok := pick(); ok {
			text := strings.ReplaceAll(m.Raw, "\r\n", "\n")
			h.deleted[text]++
			h.server.Expunge(box.Name, m.UID)
			h.note("server: delete %s in %s", subjectOf(text), box.Name)
		}
	default:
		if m, ok := pick(); ok {
			to := snap.Mailboxes[h.rng.IntN(len(snap.Mailboxes))].Name
			if to != box.Name {
				h.server.Move(box.Name, to, m.UID)
				h.note("server: move %s from %s to %s", subjectOf(m.Raw), box.Name, to)
			}
		}
	}
}

// localAct is what a mail client does in the Maildir.
func (h *history) localAct() {
	folder := h.pickLocal()
	files := h.files(folder)
	if len(h.localFolders()) == 0 {
		return
	}
	switch h.rng.IntN(11) {
	case 8:
		if len(files) > 0 {
			f := files[h.rng.IntN(len(files))]
			text := h.read(f)
			if !h.make(text, "maildir") {
				return
			}
			to := h.pickLocal()
			h.put(to, text, "S")
			h.note("maildir: copy %s from %s to %s", subjectOf(text), folder, to)
		}
	case 9:
		h.localFolderAct(folder)
	case 0, 1, 2:
		text := h.text("l")
		if !h.make(text, "maildir") {
			return
		}
		h.put(folder, text, letters[h.rng.IntN(len(letters))])
		h.note("maildir: new %s in %s", subjectOf(text), folder)
	case 3, 4:
		if len(files) > 0 {
			f := files[h.rng.IntN(len(files))]
			l := letters[h.rng.IntN(len(letters))]
			h.note("maildir: flags %q on %s in %s", l, subjectOf(h.read(f)), folder)
			h.reflag(f, l)
		}
	case 5:
		if len(files) > 0 {
			f := files[h.rng.IntN(len(files))]
			h.deleted[h.read(f)]++
			h.note("maildir: delete %s in %s", subjectOf(h.read(f)), folder)
			h.must(os.Remove(f))
		}
	default:
		if len(files) > 0 {
			f := files[h.rng.IntN(len(files))]
			to := h.pickLocal()
			if to != folder {
				h.note("maildir: move %s from %s to %s", subjectOf(h.read(f)), folder, to)
				h.explain(folder, to)
				h.move(f, to)
			}
		}
	}
}

// explain lists in a folder the keyword letters of another, as a client does that moves messages with keywords. They
// are the same in all folders.
func (h *history) explain(from, to string) {
	list := func(folder string) []string {
		b, err := os.ReadFile(filepath.Join(h.dir(folder), "dovecot-keywords"))
		if !os.IsNotExist(err) {
			h.must(err)
		}
		return slices.Collect(strings.Lines(string(b)))
	}
	there := list(to)
	all := append(list(from), there...)
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > len(there) {
		h.must(os.WriteFile(filepath.Join(h.dir(to), "dovecot-keywords"), []byte(strings.Join(all, "")), 0o600))
	}
}

func (h *history) read(path string) string {
	b, err := os.ReadFile(path)
	h.must(err)
	return string(b)
}

func subjectOf(text string) string {
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			return strings.TrimSpace(s)
		}
	}
	return "?"
}

// settle syncs until nothing more changes.
func (h *history) settle() {
	h.t.Helper()
	for range 6 {
		res := h.sync()
		if res.ToMaildir == (mailsync.Count{}) && res.ToServer == (mailsync.Count{}) {
			clear(h.fresh)
			return
		}
	}
	h.fatalf("it does not come to rest")
}

func (h *history) fatalf(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s\n%s\n%s", fmt.Sprintf(format, args...), strings.Join(h.log, "\n"), h.world)
}

// check holds the promise against both sides.
func (h *history) check() {
	h.t.Helper()
	if a, b := h.serverTree().String(), h.localTree().String(); a != b {
		h.fatalf("the sides differ")
	}
	h.checkCounts()
}

// checkCounts fails if a message is lost or doubled.
func (h *history) checkCounts() {
	h.t.Helper()
	count := map[string]int{}
	for _, messages := range h.serverTree() {
		for _, m := range messages {
			_, text, _ := strings.Cut(m, "] ")
			count[text]++
		}
	}
	for text, made := range h.made {
		switch n := count[text]; {
		case n > made:
			h.fatalf("%s exists %d times, and %d were made", subjectOf(text), n, made)
		case n < made-h.deleted[text]:
			h.fatalf("%s is lost: %d were made, %d deleted, %d are there", subjectOf(text), made, h.deleted[text], n)
		}
	}
	for text := range count {
		if h.made[text] == 0 {
			h.fatalf("nobody made %s", subjectOf(text))
		}
	}
}

// localFolders are the folders that the Maildir has.
func (h *history) localFolders() []string {
	var out []string
	for f := range h.localTree() {
		out = append(out, f)
	}
	slices.Sort(out)
	return out
}

func (h *history) pickLocal() string {
	f := h.localFolders()
	if len(f) == 0 {
		return "INBOX"
	}
	return f[h.rng.IntN(len(f))]
}

// remoteFolderAct creates, renames or deletes a mailbox.
func (h *history) remoteFolderAct(box model.Mailbox) {
	name := fmt.Sprintf("R%d", h.rng.IntN(4))
	exists := slices.Contains(h.server.Snapshot().Names(), name)
	switch h.rng.IntN(3) {
	case 0:
		if !exists {
			h.server.CreateMailbox(name)
			h.note("server: create folder %s", name)
		}
	case 1:
		if box.Name != "INBOX" && !exists {
			h.server.RenameMailbox(box.Name, name)
			h.note("server: rename folder %s to %s", box.Name, name)
		}
	default:
		if box.Name != "INBOX" {
			for _, m := range box.Messages {
				h.deleted[strings.ReplaceAll(m.Raw, "\r\n", "\n")]++
			}
			h.server.DeleteMailbox(box.Name)
			h.note("server: delete folder %s", box.Name)
		}
	}
}

// localFolderAct does the same in the Maildir. A folder with others in it is renamed with them, and only
// its own messages are deleted.
func (h *history) localFolderAct(folder string) {
	name := fmt.Sprintf("L%d", h.rng.IntN(4))
	exists := slices.Contains(h.localFolders(), name)
	switch h.rng.IntN(3) {
	case 0:
		h.mkfolder(name)
		h.note("maildir: create folder %s", name)
	case 1:
		if folder != "INBOX" && !exists {
			h.must(os.RemoveAll(h.dir(name))) // an empty directory may be left of it
			h.must(os.Rename(h.dir(folder), h.dir(name)))
			h.note("maildir: rename folder %s to %s", folder, name)
		}
	default:
		if folder != "INBOX" {
			for _, f := range h.files(folder) {
				h.deleted[h.read(f)]++
			}
			for _, sub := range []string{"cur", "new", "tmp", "dovecot-keywords"} {
				h.must(os.RemoveAll(filepath.Join(h.dir(folder), sub)))
			}
			_ = os.Remove(h.dir(folder)) // folders below it keep it
			h.note("maildir: delete folder %s", folder)
		}
	}
}

// act is one act on a side at random.
func (h *history) act() {
	if h.rng.IntN(2) == 0 {
		h.remoteAct()
	} else {
		h.localAct()
	}
}

func (h *history) acts(n int) {
	for range n {
		h.act()
	}
}

// playing is how histories of a kind are played.
type playing struct {
	seeds  int    // of each kind of server
	first  uint64 // of the seeds
	rounds int
}

// play has each round of each history do its part, on every kind of server.
func (p playing) play(t *testing.T, servers map[string]model.Options, round func(*history)) {
	for name, o := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds(t, p.seeds) {
				h := newHistory(t, seed+p.first, o)
				h.note("seed %d", seed)
				for n := range p.rounds {
					h.note("round %d", n)
					round(h)
				}
			}
		})
	}
}

// TestHistories runs random changes on both sides against every kind of server.
func TestHistories(t *testing.T) {
	t.Parallel()
	servers := interruptible()
	servers["no-move"] = model.Options{CondStore: true, UIDPlus: true, Window: 2}
	servers["no-condstore"] = model.Options{UIDPlus: true, Move: true}
	playing{seeds: 25, rounds: 4}.play(t, servers, func(h *history) {
		h.acts(1 + h.rng.IntN(8))
		h.settle()
		h.check()
	})
}

// seeds yields as many seeds as wanted, and with the race detector, under which all takes several times as long, a fifth of them.
// SATCHEL_SEEDS multiplies them, SATCHEL_SEED names a single one.
func seeds(t testing.TB, n int) func(func(uint64) bool) {
	if raced {
		n /= 5
	}
	if s := os.Getenv("SATCHEL_SEED"); s != "" {
		one, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return func(yield func(uint64) bool) { yield(one) }
	}
	if s := os.Getenv("SATCHEL_SEEDS"); s != "" {
		k, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		n *= k
	}
	return func(yield func(uint64) bool) {
		for i := range n {
			if !yield(uint64(i)) {
				return
			}
		}
	}
}

// interruptible are the kinds of servers on which runs are cut off.
func interruptible() map[string]model.Options {
	return map[string]model.Options{
		"full":       model.Full(),
		"no-uidplus": {CondStore: true, Move: true, Window: 2},
		"no-move":    {CondStore: true, UIDPlus: true},
		"bare":       {},
	}
}

// TestInterrupted cuts the connection or the process' luck at random steps of the exchange, then lets runs
// go through, and holds the promise again.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	playing{seeds: 40, first: 1000, rounds: 3}.play(t, interruptible(), func(h *history) {
		h.acts(2 + h.rng.IntN(10))
		h.struck()
		if h.rng.IntN(2) == 0 {
			h.note("ghosts arrive at once: %d", h.server.Ghosts())
			h.server.ReleaseGhosts()
		}
		h.settle()
		if h.server.Ghosts() > 0 {
			h.note("ghosts arrive late: %d", h.server.Ghosts())
			h.server.ReleaseGhosts()
			h.settle()
		}
		h.check()
	})
}

// struck runs a sync in which something goes wrong at a random step: once, or from there on. One time in two it is a step that
// brings or changes something.
func (h *history) struck() {
	h.t.Helper()
	kinds := []model.Kind{model.Drop, model.Silence, model.Refuse, model.Ghost, model.Cut}
	kind := kinds[h.rng.IntN(len(kinds))]
	after := h.rng.IntN(2) == 0 && kind != model.Ghost // which is an upload's, before it
	lasting := h.rng.IntN(2) == 0
	anywhere := h.rng.IntN(2) == 0
	left := h.rng.IntN(20)
	if !anywhere {
		left = h.rng.IntN(5)
	}
	begun := false
	h.server.SetFault(func(s model.Step) model.Action {
		looks := slices.Contains([]string{"dial", "list", "status", "select", "changes", "fetch"}, s.Op)
		switch {
		case begun && lasting:
		case begun || s.After != after || looks && !anywhere:
			return model.Action{}
		case left > 0:
			left--
			return model.Action{}
		default:
			begun = true
			h.note("fault %d at %s, lasting %v", kind, s, lasting)
		}
		return model.Action{Kind: kind}
	})
	h.faulty()
	h.server.SetFault(nil)
}

// TestInterruptedWhileRecovering: the runs after the one that was cut off are cut off as well.
func TestInterruptedWhileRecovering(t *testing.T) {
	t.Parallel()
	playing{seeds: 15, first: 9000, rounds: 2}.play(t, interruptible(), func(h *history) {
		h.acts(2 + h.rng.IntN(10))
		for range 2 + h.rng.IntN(2) {
			h.struck()
			if h.rng.IntN(2) == 0 {
				h.note("ghosts arrive: %d", h.server.Ghosts())
				h.server.ReleaseGhosts()
			}
		}
		h.settle()
		h.server.ReleaseGhosts()
		h.settle()
		h.check()
	})
}

// faulty runs a sync that may fail in any way but must not panic.
func (h *history) faulty() {
	h.t.Helper()
	res := h.try()
	if res.Fatal != nil {
		h.note("the run failed: %v", res.Fatal)
		if errors.Is(res.Fatal, mailsync.ErrLocked) || remote.ClassOf(res.Fatal) == 0 {
			h.fatalf("unexpected: %v", res.Fatal)
		}
	}
	for _, e := range res.Errors {
		h.note("error: %v", e)
	}
}
