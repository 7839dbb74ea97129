package model

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

var _ remote.Waiter = (*session)(nil)

// lock is a mutex that tells who waits for changes whenever it was held.
type lock struct {
	sync.Mutex
	held chan struct{} // closed then; nil if no one waits
}

func (l *lock) Unlock() {
	if l.held != nil {
		close(l.held)
		l.held = nil
	}
	l.Mutex.Unlock()
}

// next is Unlock by who waits: what it returns is closed when the lock was held again.
func (l *lock) next() <-chan struct{} {
	defer l.Mutex.Unlock()
	if l.held == nil {
		l.held = make(chan struct{})
	}
	return l.held
}

// sight is what a waiting session has seen.
type sight struct {
	boxes   map[string]remote.Status // with the mod-sequence, also where the server has none
	folders []string                 // names, and those of subscriptions behind a mark
}

// Wait tells of what other sessions and the acts of the second client do, as soon as they did it. The steps are "wait", and "tell" before each
// mailbox that is told of.
func (c *session) Wait(ctx context.Context, mailbox string, told func(remote.Notice)) error {
	const doing = "waiting for changes"
	mailbox = canonical(mailbox)
	if o := c.s.o; mailbox == "" && !o.Notify || mailbox != "" && !o.Idle {
		return no(doing, "", "it can't")
	}
	if c.dead == nil && ctx.Err() != nil {
		return nil
	}
	var before sight
	err := c.do(ctx, Step{Op: "wait", Mailbox: mailbox}, doing, func() error {
		if mailbox != "" && c.s.boxes[mailbox] == nil {
			return no(doing, "NONEXISTENT", "no such mailbox")
		}
		before = c.s.look(mailbox)
		return nil
	})
	if err != nil {
		return err
	}
	told(remote.Notice{Ready: true, Mailbox: mailbox})
	for {
		c.s.mu.Lock()
		now := c.s.look(mailbox)
		held := c.s.mu.next()
		notices := c.s.o.notices(before, now, mailbox == "")
		before = now
		for _, n := range notices {
			if a := c.s.ask(Step{Session: c.id, Op: "tell", Mailbox: n.Mailbox}); a.Kind != Pass && a.Kind != Refuse {
				return c.die(lost(doing, a.Kind))
			}
			told(n)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-held:
		}
	}
}

// look returns the state of one mailbox, or of all and the folders. The caller holds the lock.
func (s *Server) look(mailbox string) sight {
	v := sight{boxes: map[string]remote.Status{}}
	for name, b := range s.boxes {
		if mailbox == "" || name == mailbox {
			v.boxes[name] = remote.Status{UIDValidity: b.uidValidity, UIDNext: b.uidNext, Messages: uint32(len(b.messages)), HighestModSeq: b.modSeq}
		}
	}
	if mailbox == "" {
		v.folders = s.names()
		for _, name := range slices.Sorted(maps.Keys(s.subscribed)) {
			if s.subscribed[name] {
				v.folders = append(v.folders, "subscribed "+name)
			}
		}
	}
	return v
}

// notices are what a server tells that became of before, as far as the options let it tell.
func (o Options) notices(before, now sight, all bool) []remote.Notice {
	var out []remote.Notice
	if !slices.Equal(before.folders, now.folders) {
		out = append(out, remote.Notice{Folders: true})
	}
	for _, name := range slices.Sorted(maps.Keys(now.boxes)) {
		st, was := now.boxes[name], before.boxes[name]
		if st == was {
			continue
		}
		flagsOnly := st.UIDNext == was.UIDNext && st.Messages == was.Messages && st.UIDValidity == was.UIDValidity
		n := remote.Notice{Mailbox: name, Status: st, Known: o.CondStore && (flagsOnly || all && st.Messages > 0)}
		if !all {
			n.Status.UIDNext = mail.UID(0) // EXISTS does not tell it
		}
		if !o.CondStore || !all && !flagsOnly {
			n.Status.HighestModSeq = 0
		}
		out = append(out, n)
	}
	return out
}
