package sync

import (
	"context"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
)

// observe looks at what the server made of what it took: the flags that it kept and the size, and, where
// it told no UID, which message it is. No upload has a UID below next. What was seen along with the uploads is not asked for again.
func (r *run) observe(ctx context.Context, s remote.Session, f *folder, sel remote.Selected, next mail.UID, batch []*sending, along []remote.Message) error {
	var uids mail.UIDSet
	unnamed := false
	for _, b := range batch {
		if b.answered && b.result.Err == nil {
			if b.result.UID != 0 && b.result.UIDValidity == sel.UIDValidity && b.result.UID >= sel.UIDNext {
				uids.Add(b.result.UID)
			} else {
				b.result.UID = 0
				unnamed = true
			}
		}
	}
	box := remote.Box{Name: f.mailbox, UIDValidity: sel.UIDValidity}
	var odd, doubtful mail.UIDSet
	if unnamed {
		var err error
		if odd, err = r.findUploads(ctx, s, f, box, batch); err != nil {
			return err
		}
	}
	if uids.IsEmpty() {
		return r.learnRewritten(ctx, s, box, odd, batch)
	}
	seen, err := lookAt(ctx, s, box, next, uids, along)
	if err != nil {
		return err
	}
	for _, b := range batch {
		m, ok := seen.of[b.result.UID]
		if !ok && uids.Contains(b.result.UID) {
			// Another client has moved or deleted it in between: that is for the next pass to see.
			seen.of[b.result.UID] = remote.Message{UID: b.result.UID, Size: b.upload.Size, Flags: b.upload.Flags}
			r.soil(f)
			r.lookAgain()
		}
		if ok && b.result.UID != 0 && (seen.stranger || !b.asSent(m) || b.content.RawHeader) { // Cyrus puts an X for every byte of a raw header
			doubtful.Add(m.UID)
		}
	}
	changed, err := r.mistaken(ctx, s, f, box, batch, doubtful, seen)
	if err != nil {
		return err
	}
	odd = odd.Union(changed)
	for _, b := range batch {
		if m, ok := seen.of[b.result.UID]; ok && b.result.UID != 0 {
			arrived(b.intent, m)
			if m.Size != b.upload.Size || b.content.NUL {
				odd.Add(m.UID)
			}
		}
	}
	return r.learnRewritten(ctx, s, box, odd, batch)
}

// asSent reports whether a message is what was sent, as far as can be told without reading it.
func (b *sending) asSent(m remote.Message) bool {
	if m.Date.IsZero() { // the server does not say
		m.Date = b.upload.Date.Truncate(time.Second)
	}
	return m.Size == b.upload.Size && asSent(b.intent, m)
}

// mistaken finds uploads of which the server told a wrong UID, as Courier does if somebody else stores a message at the same moment: the
// message there has another header, or one that says little, and another message has the bytes that were sent. It corrects them, and returns
// the UIDs whose message is another although they are the uploads'.
func (r *run) mistaken(ctx context.Context, s remote.Session, f *folder, box remote.Box, batch []*sending, doubtful mail.UIDSet, seen sight) (changed mail.UIDSet, err error) {
	if doubtful.IsEmpty() {
		return changed, nil
	}
	header, err := headersOf(ctx, s, box, doubtful)
	if err != nil {
		return changed, err
	}
	var others []*sending
	from := ^mail.UID(0)
	for _, b := range batch {
		h := header[b.result.UID]
		if b.result.UID != 0 && h != nil && (h.Header != b.content.Header || seen.stranger && !b.content.HasMessageID) {
			others = append(others, b)
			from = min(from, max(b.intent.UIDNext, 1))
		}
	}
	if len(others) == 0 {
		return changed, nil
	}
	found, err := r.candidates(ctx, s, f, box, from)
	if err != nil {
		return changed, err
	}
	for _, b := range batch {
		if !slices.Contains(others, b) {
			delete(found.free, b.result.UID)
		}
	}
	for _, b := range others {
		m, ok, err := found.take(ctx, b.intent)
		if err != nil {
			return changed, err
		}
		switch {
		case !ok && seen.stranger && (header[b.result.UID].HasMessageID != b.content.HasMessageID || !header[b.result.UID].Date.Equal(b.content.Date)):
			b.result.UID = 0 // somebody else's: the next pass looks for it
		case !ok:
			changed.Add(b.result.UID)
		case m.UID != b.result.UID:
			r.log.Info("the server told another message's UID for an upload", "folder", f.name, "told", b.result.UID, "uid", m.UID)
			fallthrough
		default:
			b.result.UID, seen.of[m.UID] = m.UID, m
		}
	}
	return changed, nil
}

// sight is what was seen of what was just stored.
type sight struct {
	of       map[mail.UID]remote.Message
	stranger bool // somebody else stored something at the same time
}

// lookAt looks at messages, of which some were seen already. None of them has a UID below from.
func lookAt(ctx context.Context, s remote.Session, box remote.Box, from mail.UID, uids mail.UIDSet, along []remote.Message) (sight, error) {
	seen := sight{of: make(map[mail.UID]remote.Message, uids.Len())}
	missing := uids
	take := func(ms []remote.Message) {
		seen.stranger = seen.stranger || strangerIn(ms, uids)
		var found mail.UIDSet
		for _, m := range ms {
			if uids.Contains(m.UID) {
				seen.of[m.UID] = m
				found.Add(m.UID)
			}
		}
		missing = missing.Minus(found)
	}
	if take(along); missing.IsEmpty() {
		return seen, nil
	}
	items := remote.FetchItems{Size: true, Date: true, EmailID: true}
	around := items
	around.Once = true
	ms, err := s.Fetch(ctx, box, onwards(from, uids), around)
	if err != nil && remote.ClassOf(err) != remote.Refused {
		return seen, err
	}
	if take(ms); missing.IsEmpty() {
		return seen, nil
	}
	ms, err = s.Fetch(ctx, box, missing, items)
	take(ms)
	return seen, err
}

// onwards are the UIDs that what was just stored may have, and all behind them, if some of those that were told are somebody else's. from is
// the lowest, 0 if it is not known.
func onwards(from mail.UID, told mail.UIDSet) (set mail.UIDSet) {
	first := told.Ranges()[0].First
	if from > 0 {
		first = min(from, first)
	}
	set.AddRange(first, ^mail.UID(0))
	return set
}

// nextUID is the lowest UID that what is stored in the folder's mailbox from now on can get, 0 if it is not known.
func (f *folder) nextUID(sel remote.Selected) mail.UID {
	if f.stored == 0 {
		return sel.UIDNext
	}
	return max(sel.UIDNext, f.stored+1)
}

// strangerIn reports whether any of the messages is none of those.
func strangerIn(ms []remote.Message, uids mail.UIDSet) bool {
	return slices.ContainsFunc(ms, func(m remote.Message) bool { return !uids.Contains(m.UID) })
}

// learnRewritten remembers what a server made of messages that it did not keep as they were sent. The
// header is then the server's: that is the one which the message is recognised by on the server.
func (r *run) learnRewritten(ctx context.Context, s remote.Session, box remote.Box, uids mail.UIDSet, batch []*sending) error {
	if uids.IsEmpty() {
		return nil
	}
	found, err := bodiesOf(ctx, s, box, uids)
	if err != nil {
		return err
	}
	for _, b := range batch {
		m := &b.intent.Message
		if c, ok := found[m.UID]; ok && m.UID != 0 && (c.Digest != m.Digest || c.Size != b.upload.Size) {
			m.RemoteDigest, m.Header, m.HasMessageID = c.Digest, c.Header, c.HasMessageID
		}
	}
	return nil
}

// arrived notes what an uploaded message is on the server. A flag that it lacks, though it was sent, is the Maildir's to bring over again:
// either the server does not keep it, or somebody took it away just now.
func arrived(in *state.Intent, m remote.Message) {
	row := &in.Message
	row.UID, row.RemoteSize, row.EmailID = m.UID, m.Size, m.EmailID
	if !m.Date.IsZero() {
		row.Date = m.Date
	}
	row.LocalFlags = row.LocalFlags.Minus(row.RemoteFlags.Minus(m.Flags))
	row.RemoteFlags = row.RemoteFlags.And(m.Flags)
}

// findUploads finds messages that the server took without telling their UIDs. It returns those that the server may not
// have kept as they were sent.
func (r *run) findUploads(ctx context.Context, s remote.Session, f *folder, box remote.Box, batch []*sending) (mail.UIDSet, error) {
	var odd mail.UIDSet
	from := ^mail.UID(0)
	for _, b := range batch {
		from = min(from, max(b.intent.UIDNext, 1))
	}
	found, err := r.candidates(ctx, s, f, box, from)
	if err != nil {
		return odd, err
	}
	name := func(b *sending, m remote.Message) {
		arrived(b.intent, m)
		b.result.UID = m.UID
		if m.Size != b.upload.Size {
			odd.Add(m.UID)
		}
	}
	for _, take := range [...]func(context.Context, *state.Intent) (remote.Message, bool, error){found.takeAsSent, found.take} {
		for _, b := range batch {
			if b.unnamed() {
				m, ok, err := take(ctx, b.intent)
				if err != nil {
					return odd, err
				}
				if ok {
					name(b, m)
				}
			}
		}
	}
	// What is still missing was changed on the way in. UIDs ascend as the messages were sent.
	for i, b := range batch {
		if b.unnamed() {
			if m, ok := found.takeChanged(b.intent, b.content, uidBefore(batch[:i]), uidAfter(batch[i:])); ok {
				name(b, m)
				odd.Add(m.UID)
			}
		}
	}
	return odd, nil
}

// passedOn finds the UID that a message had which the server took, without telling which, and which somebody has moved or deleted since: the
// mailbox gave a UID away that no message has any more, and holds nothing that the upload could have become.
func (c *candidates) passedOn(ctx context.Context, in *state.Intent) (remote.Message, bool, error) {
	for uid := range c.free {
		if uid >= in.UIDNext {
			return remote.Message{}, false, nil // it may be this one, if the server did not keep it as it was
		}
	}
	st, err := c.s.Status(ctx, c.box.Name) // before the look, or what arrives in between would count as gone
	if err != nil || in.UIDNext == 0 || st.UIDNext <= in.UIDNext || st.UIDValidity != in.UIDValidity {
		return remote.Message{}, false, err
	}
	var given, used mail.UIDSet
	given.AddRange(in.UIDNext, st.UIDNext-1)
	ms, err := c.s.Fetch(ctx, c.box, given, remote.FetchItems{})
	for _, m := range ms {
		used.Add(m.UID)
	}
	if err == nil {
		err = c.r.view(ctx, func(tx *state.Tx) error {
			rows, err := tx.ByUIDs(in.Message.Folder, given)
			for _, row := range rows {
				used.Add(row.UID)
			}
			return err
		})
	}
	left := given.Minus(used)
	if err != nil || left.IsEmpty() {
		return remote.Message{}, false, err
	}
	return remote.Message{UID: left.Ranges()[0].First, Size: in.Message.RemoteSize, Flags: in.Message.RemoteFlags}, true, nil
}

// unnamed reports whether the server took the message and its UID is not known.
func (b *sending) unnamed() bool { return b.answered && b.result.Err == nil && b.result.UID == 0 }

// uidBefore is the highest UID of messages that were sent before, uidAfter the lowest of those sent after.
func uidBefore(batch []*sending) mail.UID {
	var uid mail.UID
	for _, b := range batch {
		uid = max(uid, b.result.UID)
	}
	return uid
}

func uidAfter(batch []*sending) mail.UID {
	uid := ^mail.UID(0)
	for _, b := range batch {
		if b.result.UID != 0 {
			uid = min(uid, b.result.UID)
		}
	}
	return uid
}
