package sync

import (
	"context"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
)

// inboxMailbox is what every server calls it.
const inboxMailbox = "INBOX"

// listMailboxes asks for the mailboxes. In a first sync what is in the INBOX is asked for along with them: that saves the
// exchange that would follow, on a long way the better part of a small pull.
func (r *run) listMailboxes(ctx context.Context, s remote.Session, base []state.Folder) (boxes []remote.Mailbox, err error) {
	if r.passes > 1 {
		r.ahead = nil // nobody had use for it
	}
	if r.ahead != nil || !r.beginsWithInbox(base) {
		return s.Mailboxes(ctx)
	}
	boxes, r.ahead, err = s.MailboxesAnd(ctx, inboxMailbox)
	return boxes, err
}

// beginsWithInbox reports whether this run is going to read the whole INBOX, as far as that can be told before the mailboxes are
// listed, and the state knows nothing of it.
func (r *run) beginsWithInbox(base []state.Folder) bool {
	if r.passes != 1 || r.merge || !r.isTarget(mail.Inbox) {
		return false
	}
	if slices.ContainsFunc(base, func(f state.Folder) bool { return f.Name == mail.Inbox || f.Mailbox == inboxMailbox }) {
		return false
	}
	path := []string{inboxMailbox}
	n := names{set: &r.set}
	name, err := n.local(remote.Mailbox{Display: inboxMailbox, Path: path})
	return err == nil && name == mail.Inbox && n.wants(inboxMailbox, path, nil)
}

// readAhead returns what was read of a mailbox when they were listed, nil if nothing was, or if it does not fit any more. It is
// older than what the state may have learnt since, and a row that was made since would be taken for a message
// that is gone: so there must be none.
func (r *run) readAhead(ctx context.Context, f *folder, box remote.Box) (*remote.Changes, error) {
	if f.mailbox != inboxMailbox || r.ahead == nil {
		return nil, nil
	}
	ch := r.ahead
	r.ahead = nil
	if r.merge || f.base.UIDNext != 0 || box.UIDValidity == 0 || ch.Selected.UIDValidity != box.UIDValidity {
		return nil, nil
	}
	rows := 0
	if err := r.eachRow(ctx, f, func(state.Message) { rows++ }); err != nil || rows > 0 {
		return nil, err
	}
	return ch, nil
}
