package imap

import (
	"context"
	"io"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// maxSpan is how many UIDs a set may name to be taken at its word, one UID for one message, whatever the mailbox holds.
const maxSpan = 10_000

// present returns those of some UIDs that the server lists as being in the box, and match if that is not empty
// (" DELETED"). It costs what the server lists, whatever uids spans. sure is false if the answers are no evidence
// that the others are not there.
//
// What others removed counts only once the server has noticed; see refresh.
func (s *Session) present(ctx context.Context, op string, box remote.Box, uids mail.UIDSet, match string) (there mail.UIDSet, sure bool, err error) {
	var found uidRanges
	answers := 0
	sets := uids.Chunks(maxCommand, 0)
	enough := 4*len(sets) + 100
	f := &flight{}
	for _, set := range sets {
		c := newCommand(op, "UID SEARCH UID "+set.String()+match)
		c.search = func(listed mail.UIDSet) {
			if answers++; answers <= enough { // the more, the less they are believed
				found.add(intersect(listed, uids).Ranges()...)
			}
		}
		f.cmds = append(f.cmds, c)
	}
	cmds := f.cmds
	if len(cmds) == 0 {
		return mail.UIDSet{}, true, nil
	}
	before := s.leftOut
	if err := s.runIn(ctx, op, box, f); err != nil {
		return mail.UIDSet{}, false, err
	}
	there = found.set()
	refused := firstRefused(cmds) != nil
	if match == "" && s.leftOut == before && answers < len(cmds) {
		return s.presentOfAll(ctx, op, box, uids, there, refused)
	}
	sure = !refused && s.leftOut == before && answers >= len(cmds) && answers <= enough && there.Len() <= maxMessages
	return there, sure, nil
}

// presentOfAll is present for servers that have no answer where nothing is found: iCloud sends no SEARCH then, and Proton Bridge says NO if the
// mailbox is empty. A list of all that is as long as the mailbox is evidence. found is what they did answer.
func (s *Session) presentOfAll(ctx context.Context, op string, box remote.Box, uids, found mail.UIDSet, refused bool) (there mail.UIDSet, sure bool, err error) {
	if s.sel.unsure || refused && s.sel.exists > 0 || s.sel.exists > maxSearch {
		return found, false, nil
	}
	if s.sel.exists == 0 {
		return found, found.IsEmpty(), nil
	}
	var all uidRanges
	c := newCommand(op, "UID SEARCH ALL")
	c.search = func(set mail.UIDSet) { all.add(set.Ranges()...) }
	before := s.leftOut
	if err := s.runIn(ctx, op, box, &flight{cmds: []*command{c}}); err != nil {
		return mail.UIDSet{}, false, err
	}
	listed := all.set()
	sure = c.result.ok() && s.leftOut == before && !s.sel.unsure && listed.Len() == int64(s.sel.exists) && found.Minus(listed).IsEmpty()
	return intersect(listed, uids).Union(found), sure, nil
}

// thoseThere cuts a set that merely spans much, such as everything from a UID on, down to the messages there are, as far
// as the server has noticed: after catchUp. What is done for each member of the result is then bounded by what the box
// holds. A set with no more members than that is so already, and is not asked about.
func (s *Session) thoseThere(ctx context.Context, op string, box remote.Box, uids mail.UIDSet) (there mail.UIDSet, sure bool, err error) {
	n := uids.Len()
	if n > maxSpan && !s.isOpen(box) {
		if err := s.enter(ctx, box, uids); err != nil {
			return mail.UIDSet{}, false, err
		}
	}
	if n <= maxSpan || n <= min(int64(s.sel.exists), maxMessages) {
		return uids, true, nil
	}
	return s.present(ctx, op, box, uids, "")
}

// refresh lets the server notice what others did to the open mailbox. It is an exchange of its own, because
// Dovecot notices nothing between commands that arrive together, and Courier only during NOOP.
func (s *Session) refresh(ctx context.Context, op string, hear func(*command)) error {
	c := newCommand(op, "NOOP")
	hear(c)
	if err := s.run(ctx, op, c); err != nil {
		return err
	}
	if err := c.refused(); err != nil {
		s.warn("%v", err)
	}
	return nil
}

// catchUp lets the server notice messages that came after the box was opened, if uids name any: those that it has
// not noticed it passes over without a word. Those up to one that it named since then it has noticed.
func (s *Session) catchUp(ctx context.Context, op string, box remote.Box, uids mail.UIDSet) error {
	r := uids.Ranges()
	if len(r) == 0 || !s.isOpen(box) {
		return nil
	}
	if last := r[len(r)-1].Last; last < s.sel.info.UIDNext || last <= s.sel.named {
		return nil
	}
	return s.refresh(ctx, op, func(*command) {})
}

// presentNow is present for when it matters what others removed.
func (s *Session) presentNow(ctx context.Context, op string, box remote.Box, uids mail.UIDSet) (there mail.UIDSet, sure bool, err error) {
	if s.isOpen(box) {
		if err := s.refresh(ctx, op, func(*command) {}); err != nil {
			return mail.UIDSet{}, false, err
		}
	}
	return s.present(ctx, op, box, uids, "")
}

// unavailable is what Courier sends in place of a message that another session removed, as if it were the
// message, until it has noticed. It may also be a message: some program before us believed it and stored it.
const unavailable = "From: System Administrator <root@localhost>\r\nSubject: message unavailable\r\n\r\n" +
	"This message is no longer available on the server.\r\n"

// unavailableHeader is the digest of its header.
func unavailableHeader() mail.Digest {
	surveyor := mail.NewSurveyor()
	_, _ = io.Copy(surveyor, strings.NewReader(unavailable)) // from memory: never fails
	return surveyor.Content().Header
}
