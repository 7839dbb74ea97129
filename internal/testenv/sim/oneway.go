package sim

import (
	"fmt"

	"github.com/satchel-mail/satchel/sync/plan"
)

// The promise of the modes in which one side is never changed. What people did is counted by side, from one rest to the next.

// bySide are counts on both sides: in the Maildir, and on the server.
type bySide struct{ maildir, server int }

func (b *bySide) of(server bool) *int {
	if server {
		return &b.server
	}
	return &b.maildir
}

// tally counts by text.
type tally map[string]*bySide

func (t tally) of(text string) *bySide {
	b := t[text]
	if b == nil {
		b = &bySide{}
		t[text] = b
	}
	return b
}

// surplus is what a tree has more of than another, folder by folder, by text. What one of them has in the other's place with other flags is
// surplus on both, unless flags don't count.
func (t Tree) surplus(other Tree, flags bool) map[string]int {
	more := map[string]int{}
	for folder, messages := range t {
		there := map[string]int{}
		for _, m := range other[folder] {
			there[keyOf(m, flags)]++
		}
		for _, m := range messages {
			if k := keyOf(m, flags); there[k] > 0 {
				there[k]--
			} else {
				more[textOf(m)]++
			}
		}
	}
	return more
}

func keyOf(m string, flags bool) string {
	if flags {
		return m
	}
	return textOf(m)
}

// brokenOneWay is broken for pull, push and archive. In pull the server gives, in push the Maildir: what it has the other side has too, in its
// place and with its flags, and what more that has is its own. In an archive the Maildir has all that it ever had and nobody deleted there.
func (p *promise) brokenOneWay(server, local Tree, pending map[string]int) string {
	if p.account.Mode == plan.Archive {
		return p.brokenArchive(server, local)
	}
	giver, taker, gives := server, local, true
	if p.account.Mode == plan.Push {
		giver, taker, gives = local, server, false
	}
	for text, n := range giver.surplus(taker, true) {
		return fmt.Sprintf("%s: the other side lacks %d of %s, or has it elsewhere or with other flags", p.account.Mode, n, subjectOf(text))
	}
	for folder := range giver {
		if taker[folder] == nil {
			return fmt.Sprintf("%s: the other side lacks folder %s", p.account.Mode, folder)
		}
	}
	own, all, given := taker.surplus(giver, true), taker.texts(), giver.texts()
	for text, n := range own {
		most := p.own[text] + *p.did.of(text).of(!gives) + p.trashed[text] + p.stays[text] // in push, what is in the trash on the server
		if p.folders {                                                                     // nothing is deleted because a mailbox or directory was replaced
			most += *p.undid.of(text).of(gives)
		}
		if n > most {
			return fmt.Sprintf("%s: the other side has %d of %s that nobody made there, of which %d were expected", p.account.Mode, n, subjectOf(text), most)
		}
	}
	for text, was := range p.own {
		did, undid := p.did.of(text), p.undid.of(text)
		if given[text] > 0 || *did.of(gives) > 0 || *undid.of(gives) > 0 {
			continue // they may have come to be one
		}
		if least := was + *did.of(!gives) - *undid.of(!gives) - p.goes[text]; all[text]+pending[text] < least {
			return fmt.Sprintf("lost: %s is there %d times and was made %d times on that side alone", subjectOf(text), all[text], least)
		}
	}
	return ""
}

func (p *promise) brokenArchive(server, local Tree) string {
	there := local.texts()
	for text, n := range there {
		if did := p.did.of(text); n > p.had[text]+did.maildir+did.server+p.passed[text]+p.stays[text] {
			return fmt.Sprintf("doubled: %s is there %d times; it was there %d times and %+v were made", subjectOf(text), n, p.had[text], *did)
		}
		if _, ok := p.gone[text]; ok && !p.folders {
			return fmt.Sprintf("back: %s was deleted in the Maildir", subjectOf(text))
		}
	}
	for text, did := range p.did {
		undid := p.undid.of(text)
		came := max(0, did.server-undid.server)
		// What is new on both sides is one; so is what the person moves to where an equal one comes to, if the archive has set it loose before.
		if least := p.had[text] + did.maildir + came - min(did.maildir+p.shifted[text], came) - undid.maildir; there[text] < least {
			return fmt.Sprintf("lost: %s is in the archive %d times; it was %d times, %+v were made and %+v deleted", subjectOf(text), there[text], p.had[text], *did, *undid)
		}
	}
	for text, n := range server.surplus(local, false) {
		if most := max(p.own[text], p.dismissed[text]) + p.undid.of(text).maildir + p.shifted[text]; n > most && !p.folders {
			return fmt.Sprintf("the archive lacks %d of %s, of which %d were deleted or moved in the Maildir", n, subjectOf(text), most)
		}
	}
	return ""
}

// dismiss adds up what was deleted or moved in the Maildir of an archive, alone or with its folder: it is not delivered again wherever the server moves it, as long as that
// has it. Another one that is alike can hide it at a rest.
func (p *promise) dismiss() {
	for text := range p.did {
		p.dismissed[text] = min(p.dismissed[text]+p.undid.of(text).maildir+p.shifted[text]+p.carried[text], p.hadThere[text])
	}
}

// passes notes that the server moved a message while a run looked at it, which may get it at its new place before it is seen to be gone at the old one:
// there an archive keeps it, and so does whoever takes back what the guard holds.
func (p *promise) passes(text string) { p.passed[text]++ }

// --- Messages that are not transferred ---

// transferred leaves out of both sides what is too large, and the folders that stay on one side for such messages only.
func (p *promise) transferred(server, local Tree) (Tree, Tree) {
	var sides [2]Tree
	stays := map[string]bool{}
	for i, t := range [2]Tree{server, local} {
		sides[i] = Tree{}
		for folder, messages := range t {
			sides[i][folder] = []string{}
			for _, m := range messages {
				if p.account.isLimited(textOf(m)) {
					stays[folder] = true
				} else {
					sides[i][folder] = append(sides[i][folder], m)
				}
			}
		}
	}
	for folder := range stays {
		if len(sides[0][folder])+len(sides[1][folder]) == 0 {
			delete(sides[0], folder)
			delete(sides[1], folder)
		}
	}
	return sides[0], sides[1]
}

// brokenLimited says what is wrong with the messages that are too large, each side on its own: that they are is never a deletion.
func (p *promise) brokenLimited(sides [2]Tree) string {
	if !p.account.Limited {
		return ""
	}
	for i, had := range [2]map[string]int{p.had, p.hadThere} {
		there := sides[i].texts()
		for text, did := range p.did {
			if !p.account.isLimited(text) {
				continue
			}
			undid := p.undid.of(text)
			made := *did.of(i == 1)
			most := had[text] + made + p.stays[text]
			least := had[text] + made - undid.maildir - undid.server - p.deleted[text]
			if n := there[text]; n < least || n > most {
				return fmt.Sprintf("too large: %s is there %d times on the %s, not %d to %d times", subjectOf(text), n, [2]string{"Maildir", "server"}[i], least, most)
			}
		}
	}
	return ""
}
