package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

const (
	// renewAfter is how long the server may be silent while we wait: routers forget connections on which nothing moves, some after ten
	// minutes, and servers sign off whoever idles for half an hour (RFC 2177). Besides, it is what finds a dead connection.
	renewAfter = 9 * time.Minute
	// refreshAfter is how long after the server told of something in any mailbox it is asked to tell anew. Dovecot 2.3 hears of all mailboxes
	// but the INBOX through one log, and of nothing once that was rotated, which is what changes lead to: a thousand of them, or fewer
	// over some minutes. Until it is asked anew.
	refreshAfter = 20 * time.Second
	// lull is how long what the server tells is gathered.
	lull = 10 * time.Millisecond
	// longest is how long it is gathered if it does not end.
	longest = 100 * time.Millisecond
	// pause is between two renewals at least, if it is the server that causes them, and twice as long each time that it does so at once.
	pause = time.Second
	// longestPause bounds that.
	longestPause = time.Minute
	// forgive is how often the count of what the server says without being asked begins anew, see maxLines.
	forgive = 10 * time.Second
	// endTime is how long the server may take to end the waiting.
	endTime = 5 * time.Second
	// checkTime is how long a session that is alive may take to say so.
	checkTime = 10 * time.Second
	// maxToldBoxes bounds of how many mailboxes something is remembered that was not passed on yet.
	maxToldBoxes = 1000
	// maxToldName bounds their names, in bytes.
	maxToldName = 4 << 10
)

// Check finds out within seconds whether the session is alive. If it is not the error is of class Lost.
func (s *Session) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkTime, fmt.Errorf("the server did not answer within %v", checkTime))
	defer cancel()
	c := newCommand("asking whether the server is there", "NOOP")
	return s.run(ctx, c.op, c)
}

// Wait implements remote.Waiter.
func (s *Session) Wait(ctx context.Context, mailbox string, told func(remote.Notice)) error {
	w := &wait{s: s, mailbox: canonical(mailbox), tell: told, boxes: map[string]remote.Notice{}, op: "waiting for changes"}
	switch {
	case mailbox == "" && !s.notifies():
		return unspeakable(w.op, errors.New("the server does not tell of all mailboxes (NOTIFY)"))
	case mailbox != "":
		w.op = "waiting for changes in mailbox " + readName(mailbox)
		if !s.idles() {
			return unspeakable(w.op, errors.New("the server does not tell of changes (IDLE)"))
		}
	}
	if ctx.Err() != nil && s.conn.Failure() == nil {
		return nil
	}
	defer func() { s.waiting = nil }()
	if mailbox == "" {
		return w.forAll(ctx)
	}
	return w.forOne(ctx)
}

// wait is a session that waits for changes. All of it is the reader's.
type wait struct {
	s       *Session
	op      string
	mailbox string // empty: all
	tell    func(remote.Notice)

	// What was heard and not passed on yet.
	ready, folders bool
	boxes          map[string]remote.Notice
	begun          bool // the first of ready was passed on, before which nothing is

	since    time.Time // of the first of it
	last     time.Time // when something was passed on
	forgiven time.Time
	hasty    int                // rounds that the server ended within a pause, one after the other
	renew    context.CancelFunc // ends the round
	refresh  *time.Timer        // ends it some time after something was told, nil: nothing was told in this round
}

// forOne waits for changes of one mailbox. It is opened to be read only: that clears no \Recent.
func (w *wait) forOne(ctx context.Context) error {
	s := w.s
	c := newCommand("opening mailbox "+readName(w.mailbox), "EXAMINE").str(w.mailbox, s.caps)
	if s.caps.has(goimap.CapCondStore) {
		c.raw(" (CONDSTORE)")
	}
	c.opening = &selection{name: w.mailbox}
	if err := w.run(ctx, append(s.unselect(), c)...); err != nil {
		return err
	}
	if !c.result.ok() {
		return s.whyRefused(ctx, w.mailbox, c)
	}
	s.waiting = w
	// Whoever uses the mailbox next must open it to be written.
	defer func() { s.sel = nil }()
	for first := true; ctx.Err() == nil; first = false {
		if err := w.round(ctx, first); err != nil {
			return err
		}
	}
	return nil
}

// forAll waits for changes of all mailboxes. Each round asks anew: that makes Dovecot 2.3 open its index anew, of which it may be watching
// a file that was replaced, see refreshAfter. It must be told to forget what it was asked before: else every second time it
// watches nothing, and looks by itself every half minute.
func (w *wait) forAll(ctx context.Context) error {
	const events = "(MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange)"
	w.s.waiting = w
	for ctx.Err() == nil {
		forget, ask := newCommand(w.op, "NOTIFY NONE"), newCommand(w.op, "NOTIFY SET (personal "+events+")")
		if err := w.run(ctx, append(w.s.leave(), forget, ask)...); err != nil {
			return err
		}
		if err := cmp.Or(forget.refused(), ask.refused()); err != nil {
			return err
		}
		if err := w.round(ctx, true); err != nil {
			return cmp.Or(w.settle(ctx), err)
		}
	}
	return w.settle(ctx)
}

// settle makes the server tell what servers tell if nothing was asked for (RFC 5465, section 3.1), which is not NOTIFY NONE.
func (w *wait) settle(ctx context.Context) error {
	if err := w.s.conn.Failure(); err != nil {
		return nil // known
	}
	c := newCommand(w.op, "NOTIFY SET (selected-delayed (MessageNew MessageExpunge FlagChange))")
	if err := w.run(ctx, c); err != nil {
		return err
	}
	if err := c.refused(); err != nil {
		return w.s.during(w.op, w.s.conn.Fail(transport.Lost(err))) // nobody knows what it tells now
	}
	return nil
}

// round is one IDLE. It ends with ctx, or when it is time for the next one.
func (w *wait) round(ctx context.Context, announce bool) error {
	from := time.Now()
	until, cancel := context.WithTimeout(ctx, renewAfter)
	defer cancel()
	w.renew = cancel
	w.settled()
	defer w.settled()
	c := newCommand(w.op, "IDLE\r\n")
	c.show = "IDLE"
	c.parts = append(c.parts, part{wait: true, until: until, text: "DONE"})
	c.confirmed = func() {
		w.ready = w.ready || announce
		w.heard()
	}
	if err := w.run(ctx, c); err != nil {
		return err
	}
	if err := c.refused(); err != nil {
		return err
	}
	lasted := time.Since(from)
	left := min(pause<<min(w.hasty, 10), longestPause) - lasted
	if w.hasty++; lasted >= pause || until.Err() != nil {
		w.hasty, left = 0, pause-lasted
	}
	if left > 0 {
		t := time.NewTimer(left)
		defer t.Stop()
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	return nil
}

// settled: nothing was told since the server was last asked.
func (w *wait) settled() {
	if w.refresh != nil {
		w.refresh.Stop()
		w.refresh = nil
	}
}

// run is Session.run for which the end of ctx is no reason to break off, unless it takes too long after that.
func (w *wait) run(ctx context.Context, cmds ...*command) error {
	patient, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() {
		time.AfterFunc(endTime, func() { cancel(fmt.Errorf("the server did not end the waiting within %v", endTime)) })
	})()
	return w.s.run(patient, w.op, cmds...)
}

// heard notes that there is something to pass on.
func (w *wait) heard() {
	if w.since.IsZero() {
		w.since = time.Now()
	}
}

// about notes something about a mailbox: change gets what was noted before, and whether there was anything.
func (w *wait) about(name string, change func(n *remote.Notice, more bool)) {
	w.heard()
	n, more := w.boxes[name]
	switch {
	case more || len(w.boxes) < maxToldBoxes && len(name) <= maxToldName && !strings.ContainsFunc(name, unicode.IsControl):
		n.Mailbox = name
		change(&n, more)
		w.boxes[name] = n
	default: // no server in its right mind
		w.folders = true
		clear(w.boxes)
	}
}

// changed: messages came to the open mailbox or went.
func (w *wait) changed() {
	if w.mailbox == "" {
		return
	}
	w.about(w.mailbox, func(n *remote.Notice, _ bool) { n.Known, n.Status.HighestModSeq = false, 0 })
}

// fetched: a message of the open mailbox has other flags, under a mod-sequence if the server told it.
func (w *wait) fetched(modSeq uint64) {
	if w.mailbox == "" {
		return
	}
	w.about(w.mailbox, func(n *remote.Notice, more bool) {
		n.Known = modSeq > 0 && (n.Known || !more)
		if n.Status.HighestModSeq = max(n.Status.HighestModSeq, modSeq); !n.Known {
			n.Status.HighestModSeq = 0
		}
	})
}

// status: what STATUS says. Of what did not change it says nothing; empty means that it said that there are no messages.
func (w *wait) status(name string, st remote.Status, empty bool) {
	if w.mailbox != "" {
		return
	}
	w.about(canonical(name), func(n *remote.Notice, more bool) {
		before := n.Status
		for _, f := range []struct{ now, was *uint64 }{{&st.UIDValidity, &before.UIDValidity}, {&st.HighestModSeq, &before.HighestModSeq}} {
			if *f.now == 0 {
				*f.now = *f.was
			}
		}
		if st.UIDNext == 0 {
			st.UIDNext = before.UIDNext
		}
		if st.Messages == 0 {
			st.Messages = before.Messages
		}
		backwards := st.HighestModSeq < before.HighestModSeq || st.UIDNext < before.UIDNext
		// Without QRESYNC a mod-sequence need not tell of an expunge (RFC 7162, section 3.1.2.2).
		n.Known = st.HighestModSeq > 0 && !backwards && !empty && (n.Known || !more)
		n.Status = st
	})
}

// listed: a mailbox was made, renamed, removed or subscribed to, or the contrary.
func (w *wait) listed() {
	if w.mailbox == "" {
		w.folders = true
		w.heard()
	}
}

// code: a status response.
func (w *wait) code(st status) {
	switch {
	case w.mailbox == "" && st.code == "NOTIFICATIONOVERFLOW": // RFC 5465, section 5.8: it tells nothing more
		w.folders = true
		w.heard()
		if w.renew != nil {
			w.renew()
		}
	case w.mailbox != "" && st.code == "UIDVALIDITY":
		w.changed()
	case w.mailbox != "" && st.code == "HIGHESTMODSEQ" && w.s.caps.has(goimap.CapCondStore): // RFC 7162, section 3.2.5.1: of all that it told so far
		if m, ok := parseNumber([]byte(st.arg)); ok && m > 0 {
			w.about(w.mailbox, func(n *remote.Notice, _ bool) { n.Known, n.Status.HighestModSeq = true, m })
		}
	}
}

// gather passes on what was heard, unless more is there already. It is called after each response.
func (w *wait) gather() {
	if w.since.IsZero() || !w.ready && !w.begun {
		return
	}
	if l := w.s.in.in; l.r < l.w && time.Since(w.since) < longest {
		return
	}
	time.Sleep(lull - time.Since(w.last)) // what comes meanwhile is told with the next
	w.since, w.begun = time.Time{}, true
	if w.ready {
		w.tell(remote.Notice{Ready: true, Mailbox: w.mailbox})
	}
	if w.folders {
		w.tell(remote.Notice{Folders: true})
	}
	for _, name := range slices.Sorted(maps.Keys(w.boxes)) {
		n := w.boxes[name]
		if box := w.s.sel; w.mailbox != "" && box != nil && !box.unsure {
			n.Status.Messages, n.Status.UIDValidity = box.exists, box.info.UIDValidity
		}
		w.tell(n)
	}
	if w.mailbox == "" && w.refresh == nil && (w.folders || len(w.boxes) > 0) {
		w.refresh = time.AfterFunc(refreshAfter, w.renew)
	}
	w.ready, w.folders = false, false
	clear(w.boxes)
	w.last = time.Now()
	if w.last.Sub(w.forgiven) > forgive {
		w.forgiven = w.last
		w.s.in.answered()
	}
}
