package imap

import (
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// look is what a flight of uploads asks at its end: what the server made of them. Which UIDs they got is not known when it is sent, only
// from which UID on they are. What is missing from it says nothing: servers may answer while they still store.
type look struct {
	s    *Session
	box  remote.Box
	from mail.UID
	last mail.UID
	obs  observations
}

// strangers is how many messages of others a look allows for among its own, and as many again as those: enough for what arrives at the same
// time, not for a mailbox that somebody else is filling.
const strangers = 100

var lookItems = remote.FetchItems{Size: true, Date: true, EmailID: true}

// commands returns those that look at n uploads, none if there is nothing to look from. The mailbox is opened afresh, also if it is open:
// between commands that arrive together Dovecot notices nothing, and would not find the last of what it has just stored.
func (l *look) commands(n int) []*command {
	if l.from == 0 {
		return nil
	}
	l.last = mail.UID(min(int64(l.from)+2*int64(n)+strangers, int64(lastUID)))
	var set mail.UIDSet
	set.AddRange(l.from, l.last)
	c := newCommand("looking at what was stored in "+readName(l.box.Name), "UID FETCH "+set.String()+" "+fetchItemNames(l.s, lookItems))
	c.fetch = func(f *fetched) {
		if l.from <= f.msg.UID && f.msg.UID <= l.last {
			l.obs.add(f)
		}
	}
	return append(l.s.selecting(canonical(l.box.Name), ""), c)
}

// seen returns the messages of which all was told, in ascending order of UID; none if another mailbox is open by now. What may be no more
// than what Courier says of a message that is gone must be asked for (see unavailable).
func (l *look) seen() []remote.Message {
	if l.s.check(l.box) != nil {
		return nil
	}
	return l.obs.messages(func(m *observation) bool { return m.hasFlags && m.hasSize && m.size != int64(len(unavailable)) })
}
