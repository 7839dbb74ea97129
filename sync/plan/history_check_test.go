package plan

import (
	"fmt"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// snapshot are both sides as people left them; empty where check can do without.
type snapshot struct{ server, maildir []string }

func (h *history) snapshot() snapshot {
	var s snapshot
	if h.w.policy.Mode == TwoWay && h.w.readOnly == "" {
		return s
	}
	for _, f := range h.w.server {
		for _, m := range f.messages {
			s.server = append(s.server, inWords(f.name, m.content, m.flags))
		}
	}
	for _, d := range h.w.maildir {
		for _, m := range d.files {
			s.maildir = append(s.maildir, inWords(d.name, m.content, m.flags))
		}
	}
	slices.Sort(s.server)
	slices.Sort(s.maildir)
	return s
}

func (h *history) check(before snapshot) error {
	after := h.snapshot()
	switch h.w.policy.Mode {
	case TwoWay:
		if h.w.readOnly != "" {
			return h.checkReadOnly(before)
		}
		if err := h.w.equalSides(); err != nil {
			return err
		}
		return h.checkFates()
	case Pull:
		if !slices.Equal(before.server, after.server) {
			return fmt.Errorf("pull changed the server:\n%q\n%q", before.server, after.server)
		}
		return h.checkOneWay(Server)
	case Push:
		if !slices.Equal(before.maildir, after.maildir) {
			return fmt.Errorf("push changed the Maildir:\n%q\n%q", before.maildir, after.maildir)
		}
		return h.checkOneWay(Maildir)
	default:
		if !slices.Equal(before.server, after.server) {
			return fmt.Errorf("archive changed the server:\n%q\n%q", before.server, after.server)
		}
		return h.checkArchive()
	}
}

// checkReadOnly: the mailbox is as it was, and every message that nobody deleted is somewhere.
func (h *history) checkReadOnly(before snapshot) error {
	only := func(lines []string) []string {
		return slices.DeleteFunc(slices.Clone(lines), func(s string) bool { return !strings.HasPrefix(s, string(h.w.readOnly)+" ") })
	}
	if !h.foldersMoved && !slices.Equal(only(before.server), only(h.snapshot().server)) {
		return fmt.Errorf("the read-only mailbox was changed: %q to %q", before.server, h.snapshot().server)
	}
	for _, f := range h.fates {
		if !f.deleted[Server] && !f.deleted[Maildir] && !h.waited[f.content] && h.count(Server, "", f.content)+h.count(Maildir, "", f.content) == 0 {
			return fmt.Errorf("c%d is lost: %s", f.content, showFates([]*fate{f}))
		}
	}
	for i := range h.w.rows {
		x := &h.w.rows[i]
		if !x.waits() {
			continue
		}
		if m, err := h.w.remoteAt(x.Folder, x.UID); err == nil {
			h.waited[m.content] = true
		}
	}
	return nil
}

// count returns how often a content is in a folder of a side, in all folders if it is empty.
func (h *history) count(side Side, folder mail.FolderName, c int) int {
	n := 0
	if side == Server {
		for _, f := range h.w.server {
			for _, m := range f.messages {
				if m.content == c && (folder == "" || f.name == folder) {
					n++
				}
			}
		}
		return n
	}
	for _, d := range h.w.maildir {
		for _, m := range d.files {
			if m.content == c && (folder == "" || d.name == folder) {
				n++
			}
		}
	}
	return n
}

// checkOneWay: what the side that counts has, the other one has too.
func (h *history) checkOneWay(master Side) error {
	names := h.folderNames(master)
	for _, name := range names {
		for c := range h.w.contents {
			if a, b := h.count(master, name, c), h.count(otherSide(master), name, c); a > b {
				return fmt.Errorf("%s has %d of c%d in %s, the other side %d", master, a, c, name, b)
			}
		}
	}
	// And nothing that is agreed is elsewhere, or has other flags.
	for i := range h.w.rows {
		x := &h.w.rows[i]
		if x.Why != Agreed {
			continue
		}
		r, err := h.w.remoteAt(x.Folder, x.UID)
		if err != nil {
			return err
		}
		l, err := h.w.localAt(x.Folder, x.Name)
		if err != nil {
			return err
		}
		drops := h.w.serverDrops.Plus(h.w.maildirDrops)
		if !r.flags.Minus(drops).Equal(l.flags.Minus(drops)) {
			return fmt.Errorf("row %d has [%v] on the server and [%v] in the Maildir", x.ID, r.flags, l.flags)
		}
	}
	return nil
}

// checkArchive: what was in the Maildir and nobody deleted there still is.
func (h *history) checkArchive() error {
	for c := range h.w.contents {
		want := 0
		for _, f := range h.fates {
			if f.content == c && !f.deleted[Maildir] && (f.place[Maildir] != "" || f.fresh[Server] && !f.deleted[Server]) {
				want++
			}
		}
		had := h.count(Maildir, "", c)
		single := 0
		for _, f := range h.fates {
			if f.content == c {
				single++
			}
		}
		if single == 1 && had != want {
			return fmt.Errorf("the archive has %d of c%d, want %d", had, c, want)
		}
		if want > 0 && had == 0 && single == want {
			return fmt.Errorf("the archive lost c%d", c)
		}
	}
	return nil
}

// checkFates compares what became of every message with what the table says.
func (h *history) checkFates() error {
	for c := range h.w.contents {
		var fates []*fate
		for _, f := range h.fates {
			if f.content == c {
				fates = append(fates, f)
			}
		}
		if len(fates) == 0 {
			continue
		}
		got := h.count(Server, "", c)
		if h.w.policy.Expunge && slices.ContainsFunc(fates, (*fate).marked) {
			continue
		}
		least, most := 0, 0
		for _, f := range fates {
			a, b := h.expected(f)
			least, most = least+a, most+b
		}
		plain := h.plain(fates)
		if len(fates) > 1 && !plain {
			// Which of several that are alike was deleted or moved can't be told: as many are gone at most as
			// were deleted on both sides together. New ones may be the same on both sides.
			known, deleted, fresh := 0, 0, map[Side]int{}
			for _, f := range fates {
				if f.inBase {
					known++
				}
				for _, s := range []Side{Server, Maildir} {
					if f.fresh[s] {
						fresh[s]++
					}
					if f.deleted[s] {
						deleted++
					}
				}
			}
			least = known + max(fresh[Server], fresh[Maildir])
			least, most = least-deleted, len(fates)*h.doubled()
		}
		if len(fates) == 2 && plain && fates[0].place[Server] != "" && fates[0].place[Server] == fates[1].place[Maildir] &&
			!fates[0].inBase && !fates[1].inBase {
			a0, b0 := h.expected(fates[0])
			a1, b1 := h.expected(fates[1])
			if a0 == 1 && a1 == 1 && !h.foldersMoved && !h.blind {
				least, most = 1, 1 // the same message new on both sides
			} else {
				least, most = max(a0, a1), b0+b1
			}
		}
		if got < least || got > most {
			return fmt.Errorf("c%d is there %d times, want %d to %d: %s", c, got, least, most, showFates(fates))
		}
		if len(fates) == 1 && got == 1 {
			if err := h.checkPlace(fates[0]); err != nil {
				return err
			}
		}
	}
	return nil
}

// plain reports whether the messages can be told apart although they are alike.
func (h *history) plain(fates []*fate) bool {
	return len(fates) == 1 || len(fates) == 2 && !fates[0].inBase && !fates[1].inBase && fates[0].fresh[Server] && fates[1].fresh[Maildir] &&
		!fates[0].moved[Server] && !fates[1].moved[Maildir]
}

// marked reports whether anybody ever marked the message \\Deleted.
func (f *fate) marked() bool {
	return f.flags.Has(mail.Deleted) || f.flagged[Server].Has(mail.Deleted) || f.flagged[Maildir].Has(mail.Deleted)
}

// expected returns how often a message must and may be there.
func (h *history) expected(f *fate) (least, most int) {
	if !f.inBase {
		if f.deleted[Server] || f.deleted[Maildir] {
			return 0, 0
		}
		return 1, h.doubled()
	}
	r, l := f.deleted[Server], f.deleted[Maildir]
	switch {
	case r && l:
		return 0, 0
	case l && h.w.policy.Trash != "":
		return 0, 1 // it may be in the trash
	case !r && !l:
		return 1, h.doubled()
	case r && f.moved[Maildir] || l && f.moved[Server]:
		if r && f.place[Maildir] == f.base || l && f.place[Server] == f.base {
			return 0, 1 // moved away and back again
		}
		if h.foldersMoved {
			return 0, 1 // moved to where a folder was renamed to
		}
		return 1, 1
	case l && f.again:
		return 0, 1 // it lives on, unless the run that saw the deletion came first
	case h.foldersMoved || h.lost || h.blind:
		return 0, 1
	default:
		return 0, 0
	}
}

// doubled is how often a message may be there that nobody deleted.
func (h *history) doubled() int {
	if h.blind {
		return 2 // what could not be read could not be paired
	}
	return 1
}

// checkPlace checks the folder and the flags of a message that is like no other.
func (h *history) checkPlace(f *fate) error {
	if !f.inBase || h.foldersMoved || h.lost || h.blind {
		return nil
	}
	var folder mail.FolderName
	switch r, l := f.moved[Server] && !f.deleted[Server], f.moved[Maildir] && !f.deleted[Maildir]; {
	case f.deleted[Server] || f.deleted[Maildir]:
		return nil
	case r && f.place[Server] != f.base:
		folder = f.place[Server]
	case l:
		folder = f.place[Maildir]
	default:
		folder = f.base
	}
	if h.count(Server, folder, f.content) != 1 {
		return fmt.Errorf("c%d should be in %s: %s", f.content, folder, showFates([]*fate{f}))
	}
	flags := mail.Merge(f.flagged[Server], f.flags, f.flagged[Maildir]).Minus(h.w.serverDrops).Minus(h.w.maildirDrops)
	for _, m := range h.w.mailbox(folder).messages {
		if got := m.flags.Minus(h.w.serverDrops).Minus(h.w.maildirDrops); m.content == f.content && !got.Equal(flags) {
			return fmt.Errorf("c%d has [%v], want [%v]: %s", f.content, got, flags, showFates([]*fate{f}))
		}
	}
	return nil
}

func showFates(fates []*fate) string {
	s := ""
	for _, f := range fates {
		s += fmt.Sprintf("{base=%v fresh=%v deleted=%v moved=%v place=%v flags=[%v] now=%v} ", f.inBase, f.fresh, f.deleted, f.moved,
			f.place, f.flags, f.flagged)
	}
	return s
}
