package sim

import (
	"fmt"

	"github.com/satchel-mail/satchel/sync/plan"
)

// promise counts what people made and deleted, and so knows how often each message may and must be there.
type promise struct {
	made, deleted map[string]int
	// fresh says on which side a text is new since the last rest: what is new on both is one message.
	fresh map[string]bool
	// gone are the messages that somebody deleted since then, once and while nobody else had to do with them: they must not
	// come back. busy are those that somebody had to do with.
	gone map[string]gone
	busy map[string]bool
	// folders: somebody did something to a folder since then, which may bring messages back that were in it.
	folders bool
	// jumped: so did the clock, which may be more than the day for which echoes are known.
	jumped bool
	// arrived: so did echoes of these texts, so many.
	arrived map[string]int
	// lost: so is the state, and what somebody did since the last rest shows as a difference only. Nothing is deleted then.
	lost bool
	// cutOff: so was a run, which may not know what it sent.
	cutOff bool
	// readOnly: mailboxes took no changes for a while. movedThere: so often somebody moved a text on the server.
	readOnly bool
	// withheld: the server did not let a whole run look at messages.
	withheld   bool
	movedThere map[string]int

	// In wide histories everything is counted anew from each rest on, and made on both sides; what docs/safety.md calls known limits is
	// allowed where it can come, and no more.
	wide    bool
	account Account
	since   map[string]*[2]int // made since then, in the Maildir and on the server
	trashed map[string]int     // deleted in the Maildir and not in the trash
	// wasTrash is the name that the trash got since then.
	wasTrash string
	loose    map[string]int // made or taken out of the trash there
	// In the modes other than two-way also what was made and deleted by side, moved in the Maildir, was there at the last rest, and was on the one
	// side alone.
	did, undid tally
	shifted    map[string]int
	carried    map[string]int // moved with their folder in the Maildir
	dismissed  map[string]int // see dismiss
	passed     map[string]int // moved on the server while a run looked at it
	had, own   map[string]int
	hadThere   map[string]int             // had is in the Maildir, this on the server
	forms      map[string]map[string]bool // the bytes that a text may be on the server
	back       map[string]int             // was held back by the guard, and is to be brought back
	pending    map[string]int             // marked on a server without UIDPLUS, and counted as gone
	stays      map[string]int             // so many more may be there
	goes       map[string]int             // so many may be missing, but not all
	sentAgain  map[string]bool            // names of files that were given another one, see World.sendsAgain
}

// gone says where a message may still be.
type gone struct{ inTrash bool }

func newPromise(wide bool, a Account) *promise {
	return &promise{made: map[string]int{}, deleted: map[string]int{}, fresh: map[string]bool{}, gone: map[string]gone{}, busy: map[string]bool{},
		wide: wide, account: a, since: map[string]*[2]int{}, trashed: map[string]int{}, loose: map[string]int{}, pending: map[string]int{},
		arrived: map[string]int{}, forms: map[string]map[string]bool{}, back: map[string]int{}, did: tally{}, undid: tally{}, shifted: map[string]int{}, carried: map[string]int{}, dismissed: map[string]int{},
		passed: map[string]int{}, movedThere: map[string]int{}, stays: map[string]int{}, goes: map[string]int{}, sentAgain: map[string]bool{}}
}

// makes counts a text that is made on a side, or reports that it would be the other side's new message.
func (p *promise) makes(text string, server bool) bool {
	if was, ok := p.fresh[text]; ok && was != server && !p.wide {
		return false
	}
	p.fresh[text] = server
	p.made[text]++
	n := p.since[text]
	if n == nil {
		n = new([2]int)
		p.since[text] = n
	}
	n[side(server)]++
	*p.did.of(text).of(server)++
	if !server {
		p.loose[text]++
	}
	p.touches(text, server)
	return true
}

func side(server bool) int {
	if server {
		return 1
	}
	return 0
}

// touches notes that somebody had to do with a message. Twins can't be told apart.
func (p *promise) touches(text string, server bool) {
	if server {
		p.unsettles(text)
	}
	p.busy[text] = true
	delete(p.gone, text)
}

// unsettles notes that somebody took the mark of a message on the server away, or took it elsewhere, alone or with its folder: if it was pending it may
// be one like any other then.
func (p *promise) unsettles(text string) {
	if n := p.pending[text]; n > 0 {
		p.mayStay(text, n)
	}
}

// deletes notes that somebody deleted a message in a folder. alone says that it was not deleted with its folder.
func (p *promise) deletes(text, folder string, server, alone bool) {
	*p.undid.of(text).of(server)++
	toTrash := p.account.Trash && !server && folder != trash
	if toTrash && folder == p.wasTrash {
		// For good, if it was in the trash when both sides agreed last: then it is from there that it is deleted.
		p.deleted[text]++
		p.busy[text] = true
		return
	}
	if toTrash {
		p.trashed[text]++
	} else {
		p.deleted[text]++
	}
	if p.account.Mode == plan.Archive && server {
		p.busy[text] = true
		return
	}
	if alone && p.made[text] == 1 && !p.busy[text] {
		p.gone[text] = gone{inTrash: toTrash}
	}
	p.busy[text] = true
}

// marks notes that somebody marked a message as deleted, if so.
func (p *promise) marks(text string, so bool) {
	if so && p.account.Expunge {
		p.deleted[text]++
	}
}

func (p *promise) folder() { p.folders = true }

// renames notes that somebody gave a folder another name in the Maildir.
func (p *promise) renames(from, to string) {
	if p.folder(); from == trash {
		p.wasTrash = to
	}
}

// losesEchoes notes that echoes which came, and which no run may have looked at yet, can't be recognised any more.
func (p *promise) losesEchoes(text string) {
	if n := p.arrived[text]; n > 0 {
		p.mayStay(text, p.stays[text]+n)
	}
	delete(p.arrived, text)
}

// renumbers notes that messages of the server get other numbers. Of some that are alike it is not known then which is pending, and an echo that is
// still under way can't be recognised when it comes.
func (p *promise) renumbers(text string, underWay bool) {
	p.losesEchoes(text)
	if underWay {
		p.mayStay(text, p.stays[text]+1)
	}
	if p.made[text] > 0 && p.pending[text] > 0 {
		p.mayStay(text, p.pending[text])
	}
}

// mayStay: so many copies that nobody made can no longer be known as such.
func (p *promise) mayStay(text string, n int) { p.stays[text] = max(p.stays[text], n) }

// strayed reports whether one of several that are alike was moved or deleted on the server: an echo may be taken for that one (docs/safety.md, Known
// limits).
func (p *promise) strayed(text string) bool {
	return p.made[text] > 1 && (p.movedThere[text] > 0 || p.undid.of(text).server > 0)
}

// mayGo: a copy that somebody makes may be taken for an echo.
func (p *promise) mayGo(text string) { p.goes[text]++ }

// sendsAgain notes that a file has this name now, so that it is stored once more: somebody moved or deleted what had been stored before.
func (p *promise) sendsAgain(text, name string) {
	p.sentAgain[name] = true
	p.touches(text, false)
	p.mayStay(text, p.stays[text]+1)
}

// rest begins a new time: both sides are the same, but for what is pending, and at rest.
func (p *promise) rest(server, local Tree, pending map[string]int) {
	p.pending = pending

	clear(p.fresh)
	clear(p.gone)
	clear(p.busy)
	clear(p.arrived)
	for text, n := range local.texts() {
		if p.apart(text) > 0 {
			p.made[text] = max(p.made[text], n)
		}
	}
	clear(p.movedThere)
	p.readOnly, p.withheld = false, false
	p.folders, p.jumped, p.lost, p.cutOff = false, false, false, false
	if p.wide {
		clear(p.deleted)
		clear(p.since)
		clear(p.trashed)
		p.wasTrash = ""
		clear(p.loose)
		clear(p.stays)
		clear(p.back)
		p.made, p.had, p.hadThere = local.texts(), local.texts(), server.texts()
		p.dismiss()
		clear(p.did)
		clear(p.undid)
		clear(p.passed)
		for _, had := range [...]map[string]int{p.had, p.hadThere} {
			for text := range had {
				p.did.of(text)
			}
		}
		switch p.account.Mode {
		case plan.Pull:
			p.own = local.surplus(server, true)
		case plan.Push, plan.Archive:
			p.own = server.surplus(local, p.account.Mode == plan.Push)
		}
	}
	clear(p.shifted)
	clear(p.carried)
}

// broken says what of the promise does not hold, empty if it does.
func (p *promise) broken(server, local Tree, pending map[string]int) string {
	if p.account.Mode != plan.TwoWay {
		return p.brokenOneWay(server, local, pending)
	}
	all := [2]Tree{local, server}
	if p.account.Limited {
		server, local = p.transferred(server, local)
	}
	if !server.equal(local) {
		return "the sides differ"
	}
	if wrong := p.brokenLimited(all); wrong != "" {
		return wrong
	}
	t := local
	there := t.texts()
	for text, made := range p.made {
		if p.account.isLimited(text) {
			continue
		}
		least := p.least(text)
		switch n := there[text]; {
		case n > made+p.stays[text]+p.apart(text) && !(p.lost && (p.busy[text] || p.folders) && n <= 2*made+p.stays[text]):
			return fmt.Sprintf("doubled: %s is there %d times, and was made %d times", subjectOf(text), n, made)
		case n < least:
			return fmt.Sprintf("lost: %s is there %d times; it was made %d times and deleted %d times", subjectOf(text), n, made, p.deleted[text])
		}
		if g, ok := p.gone[text]; ok && !p.folders && !p.lost && there[text] > 0 {
			if !g.inTrash || t.only(trash).texts()[text] != 1 {
				return fmt.Sprintf("back: %s was deleted", subjectOf(text))
			}
		}
	}
	for text := range p.stays {
		if _, ok := p.made[text]; !ok && there[text] > p.stays[text] {
			return fmt.Sprintf("doubled: %s is there %d times, and was deleted", subjectOf(text), there[text])
		}
	}
	for text := range there {
		if p.made[text] == 0 && !p.account.isLimited(text) && p.stays[text] == 0 {
			return fmt.Sprintf("nobody made %q", text)
		}
	}
	if p.account.Expunge {
		for folder, messages := range t {
			for _, m := range messages {
				if marked(m) {
					return fmt.Sprintf("%s in %s is marked as deleted and still there", subjectOf(m), folder)
				}
			}
		}
	}
	return ""
}

// apart counts messages that became two: what is moved in the Maildir out of a mailbox that takes no changes is stored where it was moved to, and lives on
// where it was if somebody else moves it there, alone or with its mailbox. So does what the server stored and let nobody look at (docs/safety.md, Known
// limits).
func (p *promise) apart(text string) int {
	if !p.folders && p.movedThere[text] == 0 {
		return 0
	}
	n := 0
	if p.readOnly || p.withheld {
		n = p.shifted[text] + p.carried[text]
	}
	if since := p.since[text]; since != nil && p.withheld {
		n += since[0]
	}
	return n
}

// least is how often a text must be there.
func (p *promise) least(text string) int {
	least := p.made[text] - p.deleted[text]
	if n := p.since[text]; n != nil && p.wide {
		least -= min(n[0], n[1]) // what is new on both sides is one
	}
	// What was made in the Maildir since then, or taken out of the trash, is deleted for good, or was moved and not deleted.
	least -= min(p.trashed[text], p.loose[text])
	if goes := p.goes[text]; least > 0 && goes > 0 {
		stays := 1 // of what may be taken for an echo one always does
		if p.deleted[text] > 0 {
			stays = 0 // which may be the one that somebody deleted
		}
		least = max(stays, least-goes)
	}
	return max(least, p.back[text])
}

// losesState notes that the state is lost. What was pending is a message like any other then.
func (p *promise) losesState() {
	p.lost = true
	for text, n := range p.pending {
		p.mayStay(text, p.stays[text]+n)
	}
}

// held says what of the promise does not hold while the guard holds deletions back, before they are allowed or else taken back: everything is
// on one side at least. What is taken back must be there afterwards.
func (p *promise) held(server, local Tree, allow bool) string {
	s, l := server.texts(), local.texts()
	for text := range p.made {
		if p.account.isLimited(text) {
			continue
		}
		if n := max(s[text], l[text]); n < p.least(text) {
			return fmt.Sprintf("lost: %s is there %d times while deletions are held back; it was made %d times", subjectOf(text), n, p.made[text])
		} else if !allow && p.pending[text] == 0 {
			p.back[text] = l[text] // what the server alone has may be pending
		}
		if n := p.passed[text]; !allow && n > 0 {
			p.mayStay(text, p.stays[text]+n)
		}
	}
	if !allow {
		clear(p.gone)
	}
	return ""
}

// only is a tree's one folder.
func (t Tree) only(folder string) Tree { return Tree{folder: t[folder]} }

// textOf is a message of a Tree without its flags.
func textOf(m string) string {
	for i := range len(m) - 1 {
		if m[i] == ']' && m[i+1] == ' ' {
			return m[i+2:]
		}
	}
	return m
}
