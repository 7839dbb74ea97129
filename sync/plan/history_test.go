package plan

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

var (
	histories = flag.Int("plan.histories", 0, "random histories to run (0: as many as take three seconds)")
	oneSeed   = flag.Uint64("plan.seed", 0, "run only this history and show it")
)

// TestRandomHistories perturbs one tree twice, synchronises, and checks that both sides converge, nothing is lost,
// nothing is doubled, and a second plan is empty. "make test" has it do so a million times, without the race detector.
func TestRandomHistories(t *testing.T) {
	if *oneSeed != 0 {
		h := newHistory(*oneSeed)
		err := h.play()
		t.Logf("%s\n%s", strings.Join(h.w.trail, "\n"), h.w.describe())
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	limit, until := uint64(*histories), time.Time{}
	if limit == 0 {
		limit, until = 100_000, time.Now().Add(3*time.Second)
	}
	defer debug.SetGCPercent(debug.SetGCPercent(1600)) // little lives long in a history, and a third of the time would be the collector's
	var next, done atomic.Uint64
	var failed atomic.Int64
	var wait sync.WaitGroup
	start := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for {
				seed := next.Add(1)
				if seed > limit || !until.IsZero() && time.Now().After(until) || failed.Load() > 3 {
					return
				}
				h := newHistory(seed)
				h.w.silent = true
				if err := h.play(); err != nil {
					failed.Add(1)
					t.Errorf("history %d (go test -run TestRandomHistories -plan.seed=%d -v): %v", seed, seed, err)
				}
				done.Add(1)
			}
		})
	}
	wait.Wait()
	t.Logf("%d histories in %v", done.Load(), time.Since(start).Round(time.Millisecond))
}

// fate is what people did to one message.
type fate struct {
	content        int
	inBase         bool
	base           mail.FolderName
	flags          mail.Flags               // in the base
	deleted, moved map[Side]bool            // by people
	place          map[Side]mail.FolderName // where they left it
	flagged        map[Side]mail.Flags      // its flags as they left them
	fresh          map[Side]bool            // new on this side
	again          bool                     // put on the server again where it was
}

type history struct {
	w     *world
	rnd   *rand.Rand
	fates []*fate
	// foldersMoved: somebody renamed, deleted or replaced a folder, so that a message's place is not
	// simply where somebody put it.
	foldersMoved bool
	lost         bool // identities were lost: what was removed meanwhile may come back
	blind        bool // something could not be read for a while
	guarded      bool // the guard lets nothing pass at first
	// waited are contents of which one that somebody deleted waited at a rest for the mailbox to take changes, which it does under another name.
	waited map[int]bool
}

func newHistory(seed uint64) *history {
	rnd := rand.New(rand.NewPCG(seed, 17))
	h := &history{rnd: rnd, waited: map[int]bool{}, w: &world{ids: rnd.IntN(2) == 0, unreadable: map[int]bool{}}}
	h.w.policy = Policy{Mode: TwoWay, Create: CreateBoth}
	switch rnd.IntN(10) {
	case 0:
		h.w.policy.Mode = Pull
	case 1:
		h.w.policy.Mode = Push
	case 2:
		h.w.policy.Mode = Archive
	}
	switch mode := h.w.policy.Mode; {
	case mode != TwoWay:
	case rnd.IntN(8) == 0:
		h.w.policy.Trash = "Trash"
	case rnd.IntN(8) == 0:
		h.w.policy.Expunge = true
	case rnd.IntN(8) == 0:
		h.w.readOnly = "B"
	case rnd.IntN(8) == 0:
		h.guarded = true
	}
	if rnd.IntN(6) == 0 {
		h.w.serverDrops = mail.NewFlags("k1")
	}
	if rnd.IntN(6) == 0 {
		h.w.maildirDrops = mail.NewFlags("k2")
	}
	return h
}

func (h *history) chance(percent int) bool { return h.rnd.IntN(100) < percent }

func (h *history) someFlags() mail.Flags {
	var f mail.Flags
	for _, name := range []string{`\Seen`, `\Flagged`, `\Deleted`, "k1", "k2", "Work"} {
		if h.chance(25) {
			f = f.Plus(mail.NewFlags(name))
		}
	}
	return f
}

func (h *history) newFate(content int) (int, *fate) {
	f := &fate{content: content, deleted: map[Side]bool{}, moved: map[Side]bool{}, fresh: map[Side]bool{},
		place: map[Side]mail.FolderName{}, flagged: map[Side]mail.Flags{}}
	h.fates = append(h.fates, f)
	return len(h.fates) - 1, f
}

// freshContent makes a message nobody has seen: mostly a plain one, sometimes one without Message-ID, with
// the header or the size of another one.
func (h *history) freshContent() int {
	c := h.w.newContent(!h.chance(15))
	x := &h.w.contents[c]
	if other := h.rnd.IntN(c + 1); other < c && h.chance(20) && h.w.contents[other].size < 10_000 {
		x.size = h.w.contents[other].size
	}
	if c > 0 && h.chance(15) {
		other := h.w.contents[h.rnd.IntN(c)]
		x.header, x.mid = other.header, other.mid
		if x.mid {
			x.size = int64(10_000 + c) // messages with one Message-ID, header and size are the same
		}
	}
	return c
}

func (h *history) build() {
	folders := []mail.FolderName{mail.Inbox, "A", "B", "A/x", "C"}[:2+h.rnd.IntN(4)]
	for _, f := range folders {
		h.w.createMailbox(f)
		h.w.createDir(f)
	}
	for range h.rnd.IntN(6) {
		f := folders[h.rnd.IntN(len(folders))]
		c := 0
		if len(h.w.contents) > 0 && h.chance(15) {
			c = h.rnd.IntN(len(h.w.contents)) // a twin
		} else {
			c = h.freshContent()
		}
		tag, x := h.newFate(c)
		x.inBase, x.base, x.flags = true, f, h.someFlags().Minus(h.w.serverDrops).Minus(h.w.maildirDrops)
		for _, s := range []Side{Server, Maildir} {
			x.place[s], x.flagged[s] = f, x.flags
		}
		h.w.addAgreed(f, c, tag, x.flags)
	}
	h.w.commitFolders()
}

func (h *history) play() error {
	h.build()
	h.w.noteText(h.w.describe)
	if err := h.w.settle(h.rnd); err != nil {
		return fmt.Errorf("at the beginning: %w", err)
	}
	for range 1 + h.rnd.IntN(2) {
		h.perturb(Server, h.rnd.IntN(4))
		h.perturb(Maildir, h.rnd.IntN(4))
		if h.chance(15) {
			h.bothNew()
		}
		if h.chance(5) && h.w.policy.Mode == TwoWay {
			h.newValidity()
		}
		h.w.noteText(h.w.describe)
		if err := h.synchronise(); err != nil {
			return err
		}
		if len(h.fates) > 0 && h.chance(70) {
			break // a second round of changes starts from what the first one left
		}
		h.rebase()
	}
	return nil
}

// synchronise runs to the fixed point, sometimes stopped in between, and checks.
func (h *history) synchronise() error {
	w := h.w
	before := h.snapshot()
	if h.chance(10) && len(h.fates) > 0 && w.policy.Mode == TwoWay {
		w.unreadable[h.rnd.IntN(len(h.fates))] = true
		h.blind = true
		if _, err := w.run(runOptions{shuffle: h.rnd, stop: -1}); err != nil {
			return err
		}
		clear(w.unreadable)
	}
	if h.chance(10) && !h.guarded {
		if err := h.synchroniseSlowly(); err != nil {
			return err
		}
	}
	for n := h.rnd.IntN(3); n > 0 && !h.guarded; n-- {
		if _, err := w.run(runOptions{shuffle: h.rnd, stop: h.rnd.IntN(8)}); err != nil {
			return fmt.Errorf("stopped in between: %w", err)
		}
	}
	if h.guarded {
		return h.synchroniseGuarded(before)
	}
	if err := w.settle(h.rnd); err != nil {
		return err
	}
	return h.check(before)
}

// synchroniseSlowly runs some days with budgets that let nothing or little pass, and lifts them.
func (h *history) synchroniseSlowly() error {
	w := h.w
	w.download, w.upload = Budget{Limit: int64(1 + h.rnd.IntN(300))}, Budget{Limit: int64(1 + h.rnd.IntN(300))}
	for range 1 + h.rnd.IntN(3) {
		w.closed = h.chance(30)
		w.download.Spent, w.upload.Spent = int64(h.rnd.IntN(300)), int64(h.rnd.IntN(300))
		if _, err := w.run(runOptions{shuffle: h.rnd, stop: -1}); err != nil {
			return fmt.Errorf("with budgets: %w", err)
		}
	}
	w.download, w.upload, w.closed = Budget{}, Budget{}, false
	return nil
}

// synchroniseGuarded checks that the guard holds every deletion, and then carries them out or takes them back.
func (h *history) synchroniseGuarded(before snapshot) error {
	w := h.w
	free := w.policy
	defer func() { w.policy = free }()
	was := h.counts()
	w.policy.Guard = Guard{ByCount: true}
	if err := w.settle(h.rnd); err != nil {
		return err
	}
	for i, n := range h.counts() {
		if n < was[i] {
			return fmt.Errorf("c%d was there %d times and is %d times, although the guard holds every deletion", i/2, was[i], n)
		}
	}
	if h.chance(50) {
		w.policy.AllowDeletes = true
		if err := w.settle(h.rnd); err != nil {
			return err
		}
		return h.check(before)
	}
	w.policy.RestoreHeld = true
	if err := w.settle(h.rnd); err != nil {
		return err
	}
	for i, n := range h.counts() {
		if n < was[i] || n == 0 && was[i^1] > 0 {
			return fmt.Errorf("c%d was there %d times and is %d times after what was held was restored", i/2, was[i], n)
		}
	}
	return w.equalSides()
}

// counts returns how often every content is on the server and in the Maildir.
func (h *history) counts() []int {
	var out []int
	for c := range h.w.contents {
		out = append(out, h.count(Server, "", c), h.count(Maildir, "", c))
	}
	return out
}

// rebase makes what there is now the beginning of the next changes.
func (h *history) rebase() {
	h.fates, h.foldersMoved, h.lost, h.blind = nil, false, false, false
	for i := range h.w.rows {
		x := &h.w.rows[i]
		c := -1
		if r, err := h.w.remoteAt(x.Folder, x.UID); err == nil && x.UID != 0 {
			c = r.content
		} else if l, err := h.w.localAt(x.Folder, x.Name); err == nil {
			c = l.content
		}
		tag, f := h.newFate(c)
		f.inBase, f.base = x.Why == Agreed, x.Folder
		if r, err := h.w.remoteAt(x.Folder, x.UID); err == nil && x.UID != 0 {
			r.tag, f.place[Server], f.flagged[Server], f.flags = tag, x.Folder, r.flags, r.flags
		}
		if l, err := h.w.localAt(x.Folder, x.Name); err == nil {
			l.tag, f.place[Maildir], f.flagged[Maildir], f.flags = tag, x.Folder, l.flags, l.flags
		}
	}
}

// --- What people do ---

func (h *history) perturb(side Side, n int) {
	for range n {
		switch k := h.rnd.IntN(100); {
		case k < 18:
			h.addNew(side)
		case k < 38:
			h.changeFlags(side)
		case k < 56:
			h.deleteOne(side)
		case k < 78:
			h.moveOne(side)
		case k < 84:
			h.copyOne(side)
		case k < 88:
			h.touch(side)
		case k < 91:
			h.addFolder(side)
		case k < 96:
			h.renameFolder(side)
		default:
			h.deleteFolder(side)
		}
	}
}

func (h *history) folderNames(side Side) []mail.FolderName {
	var names []mail.FolderName
	for _, f := range h.w.server {
		if side == Server {
			names = append(names, f.name)
		}
	}
	for _, d := range h.w.maildir {
		if side == Maildir {
			names = append(names, d.name)
		}
	}
	return names
}

func (h *history) someFolder(side Side) (mail.FolderName, bool) {
	names := h.folderNames(side)
	if len(names) == 0 {
		return "", false
	}
	return names[h.rnd.IntN(len(names))], true
}

func (h *history) put(side Side, folder mail.FolderName, c, tag int, flags mail.Flags) {
	h.w.note("%s: c%d/t%d put into %s", side, c, tag, folder)
	if side == Server {
		h.w.mailbox(folder).store(c, tag, flags.Minus(h.w.serverDrops))
	} else {
		h.w.deliver(h.w.dir(folder), c, tag, flags.Minus(h.w.maildirDrops))
	}
}

func (h *history) addNew(side Side) {
	if folder, ok := h.someFolder(side); ok {
		h.addTo(side, folder, h.freshContent())
	}
}

func (h *history) addTo(side Side, folder mail.FolderName, c int) {
	tag, f := h.newFate(c)
	f.fresh[side], f.place[side], f.flagged[side] = true, folder, h.someFlags()
	h.put(side, folder, c, tag, f.flagged[side])
}

// bothNew puts the same message into the same folder on both sides.
func (h *history) bothNew() {
	for _, folder := range h.folderNames(Server) {
		if h.w.dir(folder) != nil && h.chance(50) {
			c := h.freshContent()
			h.addTo(Server, folder, c)
			h.addTo(Maildir, folder, c)
			return
		}
	}
}

// victim is a message on one side: its folder and its index there.
func (h *history) victim(side Side) (mail.FolderName, int, bool) {
	folder, ok := h.someFolder(side)
	if !ok {
		return "", 0, false
	}
	n := 0
	if side == Server {
		n = len(h.w.mailbox(folder).messages)
	} else {
		n = len(h.w.dir(folder).files)
	}
	if n == 0 {
		return "", 0, false
	}
	return folder, h.rnd.IntN(n), true
}

func (h *history) changeFlags(side Side) {
	folder, i, ok := h.victim(side)
	if !ok {
		return
	}
	flags := h.someFlags()
	if side == Server {
		m := &h.w.mailbox(folder).messages[i]
		m.flags = flags.Minus(h.w.serverDrops)
		h.fates[m.tag].flagged[side] = m.flags
		h.w.note("%s: t%d flags [%v]", side, m.tag, m.flags)
		return
	}
	m := &h.w.dir(folder).files[i]
	m.flags = flags.Minus(h.w.maildirDrops)
	h.fates[m.tag].flagged[side] = m.flags
	h.w.note("%s: t%d flags [%v]", side, m.tag, m.flags)
}

func (h *history) take(side Side, folder mail.FolderName, i int) (serverMessage, file) {
	if side == Server {
		f := h.w.mailbox(folder)
		m := f.messages[i]
		f.messages = slices.Delete(f.messages, i, i+1)
		return m, file{}
	}
	d := h.w.dir(folder)
	m := d.files[i]
	d.files = slices.Delete(d.files, i, i+1)
	return serverMessage{}, m
}

func (h *history) deleteOne(side Side) {
	folder, i, ok := h.victim(side)
	if !ok {
		return
	}
	r, l := h.take(side, folder, i)
	tag := r.tag
	if side == Maildir {
		tag = l.tag
	}
	h.fates[tag].deleted[side] = true
	h.w.note("%s: t%d deleted in %s", side, tag, folder)
}

func (h *history) moveOne(side Side) {
	folder, i, ok := h.victim(side)
	to, _ := h.someFolder(side)
	if !ok || to == folder {
		return
	}
	r, l := h.take(side, folder, i)
	tag := r.tag
	if side == Server {
		h.w.mailbox(to).store(r.content, r.tag, r.flags)
	} else {
		tag = l.tag
		d := h.w.dir(to)
		if h.chance(30) {
			l.name = fmt.Sprintf("n%d", h.w.number())
		}
		if h.chance(30) {
			l.inode = h.w.number()
		}
		d.files = append(d.files, l)
	}
	h.fates[tag].moved[side], h.fates[tag].place[side] = true, to
	h.w.note("%s: t%d moved from %s to %s", side, tag, folder, to)
}

func (h *history) copyOne(side Side) {
	folder, i, ok := h.victim(side)
	to, _ := h.someFolder(side)
	if !ok {
		return
	}
	if side == Server {
		h.addTo(side, to, h.w.mailbox(folder).messages[i].content)
	} else {
		h.addTo(side, to, h.w.dir(folder).files[i].content)
	}
}

// touch gives a message another name on its side: a new UID, a new base name.
func (h *history) touch(side Side) {
	folder, i, ok := h.victim(side)
	if !ok {
		return
	}
	r, l := h.take(side, folder, i)
	h.w.note("%s: t%d/%d has a new name in %s", side, r.tag, l.tag, folder)
	if side == Server {
		h.w.mailbox(folder).store(r.content, r.tag, r.flags)
		h.fates[r.tag].again = true
		return
	}
	l.name = fmt.Sprintf("n%d", h.w.number())
	h.w.dir(folder).files = append(h.w.dir(folder).files, l)
}

func (h *history) addFolder(side Side) {
	name := mail.FolderName(fmt.Sprintf("N%d", h.rnd.IntN(3)))
	h.w.note("%s: folder %s added", side, name)
	if side == Server {
		h.w.createMailbox(name)
	} else {
		h.w.createDir(name)
	}
}

func (h *history) renameFolder(side Side) {
	from, ok := h.someFolder(side)
	to := mail.FolderName(fmt.Sprintf("R%d", h.rnd.IntN(4)))
	if h.chance(20) {
		to = from + "2"
	}
	if h.chance(10) {
		to = "B"
	}
	if !ok || from == mail.Inbox || to.Under(from) || from.Under(to) {
		return
	}
	for _, n := range h.folderNames(side) {
		if within(n, to) {
			if side == Server && h.w.ids && n == to && h.chance(50) {
				h.swap(from, to)
			}
			return
		}
	}
	h.foldersMoved = true
	h.w.note("%s: folder %s renamed to %s", side, from, to)
	if side == Server {
		h.w.renameMailbox(from, to)
	} else {
		h.w.renameDir(from, to)
	}
}

func (h *history) swap(a, b mail.FolderName) {
	if a == mail.Inbox || b == mail.Inbox || a == b {
		return
	}
	h.foldersMoved = true
	h.w.note("server: folders %s and %s swapped", a, b)
	h.w.renameMailbox(a, "tmp")
	h.w.renameMailbox(b, a)
	h.w.renameMailbox("tmp", b)
}

func (h *history) deleteFolder(side Side) {
	name, ok := h.someFolder(side)
	if !ok || name == mail.Inbox {
		return
	}
	h.foldersMoved = true
	h.w.note("%s: folder %s deleted", side, name)
	if side == Server {
		for _, m := range h.w.mailbox(name).messages {
			h.fates[m.tag].deleted[side] = true
		}
		h.w.server = slices.DeleteFunc(h.w.server, func(f *serverFolder) bool { return f.name == name })
		return
	}
	for _, m := range h.w.dir(name).files {
		h.fates[m.tag].deleted[side] = true
	}
	h.w.maildir = slices.DeleteFunc(h.w.maildir, func(d *directory) bool { return d.name == name })
}

// newValidity renumbers a mailbox.
func (h *history) newValidity() {
	name, ok := h.someFolder(Server)
	if !ok {
		return
	}
	h.lost = true
	f := h.w.mailbox(name)
	f.validity, f.next = h.w.number(), mail.UID(1+h.rnd.IntN(3))
	h.w.note("server: %s has a new UIDVALIDITY", name)
	h.rnd.Shuffle(len(f.messages), func(i, j int) { f.messages[i], f.messages[j] = f.messages[j], f.messages[i] })
	for i := range f.messages {
		f.messages[i].uid = f.next
		f.next++
	}
}
