package sync

import (
	"context"
	"errors"
	"fmt"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// What is here looks at messages once more, right before they are removed or moved.

// lastLook is what a last look at messages under their UIDs showed: those that are still there, the UIDs under which others are, and those of
// which the server does not say enough to tell. flags are those of all.
type lastLook struct {
	present, others, doubtful mail.UIDSet
	flags                     map[mail.UID]mail.Flags
}

// stillThere looks at messages once more. A UID should never mean another message, and on some servers does: what tells messages apart, and
// comes with one question, must be as the state has it. Dates and identities may be others on a server that was moved; then the header decides. What
// has none then stays, perhaps for good, and the person hears of it.
func (r *run) stillThere(ctx context.Context, s remote.Session, folder mail.FolderName, box remote.Box, known map[mail.UID]*state.Message) (seen lastLook, err error) {
	var uids, doubtful mail.UIDSet
	for uid := range known {
		uids.Add(uid)
	}
	ms, err := s.Fetch(ctx, box, uids, remote.FetchItems{Size: true, Date: true, EmailID: true})
	seen.flags = make(map[mail.UID]mail.Flags, len(ms))
	for _, m := range ms {
		seen.flags[m.UID] = m.Flags
		switch row := known[m.UID]; {
		case row == nil:
		case row.RemoteSize >= 0 && m.Size != row.RemoteSize:
			seen.others.Add(m.UID)
		case !m.Date.IsZero() && !row.Date.IsZero() && m.Date.Unix() != row.Date.Unix(), m.EmailID != "" && row.EmailID != "" && m.EmailID != row.EmailID:
			doubtful.Add(m.UID)
		default:
			seen.present.Add(m.UID)
		}
	}
	if err != nil || doubtful.IsEmpty() {
		return seen, err
	}
	headers, err := headersOf(ctx, s, box, doubtful)
	for uid := range doubtful.All() {
		switch h := headers[uid]; {
		case h == nil:
			seen.doubtful.Add(uid)
		case h.Header == known[uid].Header:
			seen.present.Add(uid)
		default:
			seen.others.Add(uid)
		}
	}
	if err == nil && !seen.doubtful.IsEmpty() {
		r.fail(folder, fmt.Errorf("for UID %.100s the server tells another date of arrival or EMAILID than it did, and gives no header to tell whether it still is the "+
			"same message: it is not deleted or moved there; if that stays so, do it with another mail program", seen.doubtful))
	}
	return seen, err
}

// goneFrom is missingFrom for which a mailbox that is gone or was replaced has no messages.
func goneFrom(ctx context.Context, s remote.Session, box remote.Box, uids mail.UIDSet) (mail.UIDSet, error) {
	gone, err := missingFrom(ctx, s, box, uids)
	if errors.Is(err, remote.ErrUIDValidity) || errors.Is(err, remote.ErrNoMailbox) {
		return uids, nil
	}
	return gone, err
}

// missingFrom returns the UIDs that a mailbox has no message with.
func missingFrom(ctx context.Context, s remote.Session, box remote.Box, uids mail.UIDSet) (mail.UIDSet, error) {
	ms, err := s.Fetch(ctx, box, uids, remote.FetchItems{})
	var there mail.UIDSet
	for _, m := range ms {
		there.Add(m.UID)
	}
	return uids.Minus(there), err
}

// headersOf reads headers. Messages that are gone are left out.
func headersOf(ctx context.Context, s remote.Session, box remote.Box, uids mail.UIDSet) (map[mail.UID]*mail.Content, error) {
	ms, err := s.Fetch(ctx, box, uids, remote.FetchItems{Header: true})
	headers := make(map[mail.UID]*mail.Content, len(ms))
	for _, m := range ms {
		if m.Header != nil {
			headers[m.UID] = m.Header
		}
	}
	return headers, err
}

// asShown gives a row the size, the EMAILID and the INTERNALDATE that the server showed for its UID in this pass, if it did: it may have been found again
// under it.
func (r *run) asShown(f *folder, row *state.Message) {
	if m := r.shown(f, row.UID); m != nil {
		row.RemoteSize, row.EmailID = m.Size, m.EmailID
		if !m.Date.IsZero() {
			row.Date = m.Date
		}
	}
}

// fileIsBack reports whether a message that is to be deleted on the server is in the Maildir after all.
func (r *run) fileIsBack(f *folder, name string) bool {
	if name == "" {
		return false
	}
	_, err := r.md.Stat(f.name, name)
	if errors.Is(err, maildir.ErrNotFound) || errors.Is(err, maildir.ErrNoFolder) {
		return false
	}
	if err != nil {
		r.fail(f.name, fmt.Errorf("looking whether message file %s is really gone: %w", name, err))
	}
	return true
}

// fileUnmarked reports whether the file of a message that is to go on both sides because it is marked \Deleted is no longer there with its
// mark.
func (r *run) fileUnmarked(op *plan.Op) bool {
	info, err := r.md.Stat(op.Folder, op.Name)
	switch {
	case err == nil && !op.MarkTakenBack(info.Flags):
		return false
	case err == nil, errors.Is(err, maildir.ErrNotFound), errors.Is(err, maildir.ErrNoFolder):
		r.lookAgain()
	default:
		r.fail(op.Folder, fmt.Errorf("looking whether message file %s is still marked as deleted: %w", op.Name, err))
	}
	return true
}
