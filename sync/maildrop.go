package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// A maildrop (POP3) is an account like any other, but for this: the server has one mailbox and names of its own for its messages,
// and its UIDs are ours. A row has a UID as long as the server has its message, in whatever folder the file is; the server's name
// for it is the row's EmailID, and its Date is when it was downloaded.

const (
	// oldestKey is where the state keeps when the first of the messages that are left on the server was downloaded, or a time
	// before; empty if there is none.
	oldestKey = "maildrop.oldest"

	// unnamedKey is where the state keeps since when the server has given its messages no names, as it had done before; empty if it
	// does. namesMayFail is how long that is taken for a failure.
	unnamedKey   = "maildrop.unnamed"
	namesMayFail = 24 * time.Hour
)

// drop is what a pass knows of the maildrop.
type drop struct {
	f       *folder // where new messages go
	listing remote.Listing
	known   []state.Message   // the rows whose messages it had
	match   plan.ListingMatch // of listing and known
	uids    []mail.UID        // of the listed messages, nil: they were not needed
	next    mail.UID          // the first that is free
	back    []returned        // listed messages that had departed
	oldest  time.Time         // see oldestKey
}

func (r *run) isMaildrop() bool { return r.set.Policy.Maildrop }

// isDue reports whether the time of a message on the server is over.
func (r *run) isDue(downloaded time.Time) bool {
	return !r.merge && r.set.LeaveFor >= 0 && !r.now().Before(downloaded.Add(r.set.LeaveFor))
}

// probeMaildrop reads the listing and, if it is another than last time or something is due, compares it with what is known.
func (r *run) probeMaildrop(ctx context.Context) error {
	r.drop = nil
	i := slices.IndexFunc(r.folders, func(f *folder) bool { return f.remote != nil })
	if i < 0 || r.folders[i].failed != nil {
		return nil
	}
	f := r.folders[i]
	r.drop = &drop{f: f}
	return r.withMaildrop(ctx, func(s remote.Maildrop) (err error) {
		d := r.drop
		f.remoteNew = nil // of a session that was lost, as what it noted of rows
		for _, f := range r.folders {
			clear(f.pairs)
		}
		if d.listing, err = s.Listing(ctx); err != nil {
			return err
		}
		b := f.base
		idle := !r.merge && d.listing.Mark != 0 && b.UIDNext != 0 && b.Filter == r.filter() &&
			d.listing.Mark == b.HighestModSeq && uint32(len(d.listing.Messages)) == b.Exists
		if idle && r.set.LeaveFor >= 0 {
			oldest, err := r.oldest(ctx)
			if err != nil {
				return err
			}
			idle = oldest.IsZero() || !r.isDue(oldest)
		}
		if idle {
			return nil
		}
		return r.compareMaildrop(ctx, s)
	})
}

// withMaildrop is pool.reading with a session that is a maildrop's.
func (r *run) withMaildrop(ctx context.Context, do func(remote.Maildrop) error) error {
	return r.pool.reading(ctx, func(s remote.Session) error {
		m, ok := s.(remote.Maildrop)
		if !ok {
			return errors.New("the account's server is no maildrop; this is a fault of the program")
		}
		return do(m)
	})
}

func (r *run) oldest(ctx context.Context) (t time.Time, err error) { return r.timeOf(ctx, oldestKey) }

// timeOf reads a time that the state keeps.
func (r *run) timeOf(ctx context.Context, key string) (t time.Time, err error) {
	var text string
	if err := r.view(ctx, func(tx *state.Tx) (err error) { text, _, err = tx.Get(key); return err }); err != nil || text == "" {
		return t, err
	}
	unix, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Unix(0, 0), nil // it is looked at, and written anew
	}
	return time.Unix(unix, 0), nil
}

// compareMaildrop finds out what of the listing is known and what of what is known is not listed.
func (r *run) compareMaildrop(ctx context.Context, s remote.Maildrop) error {
	d := r.drop
	if err := r.nameMaildrop(ctx, s); err != nil {
		return err
	}
	f := d.f
	f.readRemote = true
	f.selected = &remote.Selected{PermanentKnown: true, Status: remote.Status{
		UIDValidity: f.remote.Status.UIDValidity, UIDNext: d.next, Messages: uint32(len(d.listing.Messages)), HighestModSeq: d.listing.Mark,
	}}
	if d.listing.Partial {
		f.selected.HighestModSeq = 0 // looked at again
		r.log.Info("the server's lists of messages contradict each other: nothing counts as gone, and nothing is deleted there")
	}
	if d.match.Renamed {
		f.selected.HighestModSeq = 0 // the next listing, with the new names known, tells which of the old ones are gone
		r.log.Info("none of the server's names for its messages is known: they are compared by header and content")
	}
	if err := r.missMaildrop(ctx); err != nil {
		return err
	}
	if err := r.takeMaildrop(ctx, s); err != nil {
		return err
	}
	if r.set.Policy.UntilDeleted && (len(d.back) > 0 || slices.ContainsFunc(d.known, func(m state.Message) bool { return m.Why == string(plan.Pending) })) {
		f.selected.HighestModSeq = 0 // until it has gone
	}
	return nil
}

// nameMaildrop gives the listed messages their UIDs: those of the rows that they belong to, or new ones.
func (r *run) nameMaildrop(ctx context.Context, s remote.Maildrop) error {
	d := r.drop
	d.known, d.next = nil, max(1, d.f.base.UIDNext)
	err := r.view(ctx, func(tx *state.Tx) error {
		folders, err := tx.Folders()
		if err != nil {
			return err
		}
		for _, f := range folders {
			rows, err := tx.InFolder(f.ID)
			if err != nil {
				return err
			}
			for i := range rows {
				if rows[i].UID != 0 {
					d.known, d.next = append(d.known, rows[i]), max(d.next, rows[i].UID+1)
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := r.checkNames(ctx); err != nil {
		return err
	}
	listed := make([]plan.Listed, len(d.listing.Messages))
	for i, m := range d.listing.Messages {
		listed[i] = plan.Listed(m)
	}
	numbered := make([]plan.Numbered, len(d.known))
	for i := range d.known {
		m := &d.known[i]
		numbered[i] = plan.Numbered{Row: m.ID, UID: m.UID, ID: m.EmailID, Size: m.RemoteSize}
	}
	d.match = plan.MatchListing(listed, numbered, d.listing.Named, d.listing.Partial)
	d.uids = make([]mail.UID, len(listed))
	for i, k := range d.match.Known {
		switch {
		case k >= 0:
			d.uids[i] = d.known[k].UID
		case !d.match.Untold[i]:
			d.uids[i] = d.next
			d.next++
		}
	}
	s.Name(d.uids)
	return nil
}

// checkNames fails if the server gives its messages no names, as it did before: often that passes. If it does not, they are compared by
// content from then on.
func (r *run) checkNames(ctx context.Context) error {
	d := r.drop
	since, err := r.timeOf(ctx, unnamedKey)
	if err != nil {
		return err
	}
	missing := !d.listing.Named && len(d.listing.Messages) > 0 && slices.ContainsFunc(d.known, func(m state.Message) bool { return m.EmailID != "" })
	if !missing && since.IsZero() {
		return nil
	}
	text := ""
	if missing {
		if since.IsZero() {
			since = r.now()
		}
		text = strconv.FormatInt(since.Unix(), 10)
	}
	if !r.opt.DryRun {
		if err := r.update(ctx, func(tx *state.Tx) error { return tx.Set(unnamedKey, text) }); err != nil {
			return err
		}
	}
	if !missing || r.now().Sub(since) >= namesMayFail {
		return nil
	}
	return &remote.Error{Class: remote.Unavailable, Op: "listing the messages", Err: errors.New("the server gave its messages no names (UIDL), as it did before"),
		Hint: "try again later; if it stays so for a day they are compared by content"}
}

// missMaildrop notes what became of the known messages: which are not listed, and which are due.
func (r *run) missMaildrop(ctx context.Context) error {
	d := r.drop
	byID := make(map[int64]*folder, len(r.folders))
	for _, f := range r.folders {
		if f.base.ID != 0 && f.failed == nil {
			byID[f.base.ID] = f
		}
	}
	var departed []state.Departed
	d.oldest = time.Time{}
	for i := range d.known {
		m := &d.known[i]
		f := byID[m.Folder]
		if f == nil {
			continue
		}
		switch d.match.Remote[i] {
		case plan.Gone:
			f.pair(*m).Remote = r.missingRemote()
			// One that was never transferred is no message that the person deleted: if it comes again it is new.
			if leavesMaildrop(m) {
				departed = append(departed, departure(*m, r.now()))
			}
		case plan.Lost: // if it is found, it is by its whole content
			p := f.pair(*m)
			p.Remote, p.Due = plan.Lost, leavesMaildrop(m) && r.isDue(m.Date) && !d.listing.Partial
		default:
			if !leavesMaildrop(m) {
				break
			}
			if r.isDue(m.Date) && !d.listing.Partial {
				f.pair(*m).Due = true
			}
			// One that is due counts until it has gone: that may fail, or the run may be about other folders.
			if d.oldest.IsZero() || m.Date.Before(d.oldest) {
				d.oldest = m.Date
			}
		}
	}
	if len(departed) == 0 || r.opt.DryRun {
		return nil
	}
	return r.update(ctx, func(tx *state.Tx) error {
		for _, m := range departed {
			if err := putDeparted(tx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// leavesMaildrop reports whether a message is one that the Maildir has, or that the person has deleted from it. Others, that were not
// transferred, stay.
func leavesMaildrop(m *state.Message) bool {
	return m.Why == string(plan.Agreed) || m.Why == string(plan.Dismissed) || m.Why == string(plan.Pending)
}

// takeMaildrop notes the listed messages that are not known, or may not be.
func (r *run) takeMaildrop(ctx context.Context, s remote.Maildrop) error {
	d := r.drop
	unknown := 0
	for i, k := range d.match.Known {
		if k < 0 && !d.match.Untold[i] {
			unknown++
		}
	}
	fresh := make([]remote.Message, 0, unknown)
	d.f.remoteNew = slices.Grow(d.f.remoteNew, unknown)
	var dated, doubtful mail.UIDSet
	suspects := d.suspects()
	for i, k := range d.match.Known {
		l := d.listing.Messages[i]
		if d.match.Untold[i] && l.Size >= 0 {
			r.fail(d.f.name, errUntold)
		}
		if k >= 0 || d.match.Untold[i] {
			continue
		}
		m := remote.Message{UID: d.uids[i], Size: l.Size, EmailID: l.ID}
		fresh = append(fresh, m)
		if r.set.Since != nil && r.park(m.Size, time.Time{}) == plan.Agreed {
			dated.Add(m.UID)
		}
		if d.match.Doubtful[i] && suspects(l) {
			doubtful.Add(m.UID)
		}
	}
	dates := map[mail.UID]time.Time{}
	if !dated.IsEmpty() { // POP3 does not tell when a message arrived, but its header does
		ms, err := s.Fetch(ctx, r.dropBox(), dated, remote.FetchItems{Date: true})
		if err != nil {
			return err
		}
		for _, m := range ms {
			dates[m.UID] = m.Date
		}
	}
	for _, m := range fresh {
		m.Date = dates[m.UID]
		d.f.newRemote(r, m, 0)
		d.f.remoteNew[len(d.f.remoteNew)-1].Due = r.set.LeaveFor == 0 && !r.merge && !d.listing.Partial
	}
	if err := r.readDoubtful(ctx, s, doubtful); err != nil {
		return err
	}
	return r.recallDeparted(ctx, s, fresh)
}

var errUntold = errors.New("the server did not list all of its messages by name (UIDL); those are left for the next sync, because they may be here already")

func (r *run) dropBox() remote.Box {
	return remote.Box{Name: r.drop.f.mailbox, UIDValidity: r.drop.f.validity()}
}

// suspects says which listed messages may be one of those known messages whose name does not tell.
func (d *drop) suspects() func(remote.Listed) bool {
	sizes, ids := map[int64]bool{}, map[string]bool{}
	for i := range d.known {
		if d.match.Remote[i] == plan.Lost {
			sizes[d.known[i].RemoteSize] = true
			ids[d.known[i].EmailID] = true
		}
	}
	return func(l remote.Listed) bool {
		return sizes[l.Size] || l.ID != "" && ids[l.ID] || len(sizes) > 0 && (l.Size < 0 || sizes[-1])
	}
}

// readDoubtful reads messages whose names don't tell whether they are known: their content does.
func (r *run) readDoubtful(ctx context.Context, s remote.Maildrop, uids mail.UIDSet) error {
	if uids.IsEmpty() {
		return nil
	}
	r.log.Info("the server's names don't tell messages apart: they are compared by content", "messages", uids.Len())
	found, err := bodiesOf(ctx, s, r.dropBox(), uids)
	if err != nil {
		return fmt.Errorf("comparing messages by content: %w", err)
	}
	for uid := range uids.All() {
		m := r.drop.f.newRemoteMessage(uid)
		c, ok := found[uid]
		if !ok {
			m.Unknowable = true
			r.soil(r.drop.f)
			continue
		}
		m.Digest, m.Header = &c.Digest, &plan.Header{Digest: c.Header, HasMessageID: c.HasMessageID}
	}
	return nil
}

// finishMaildrop does what must wait until the Maildir has been looked at.
func (r *run) finishMaildrop(ctx context.Context) error {
	d := r.drop
	if d == nil || d.f.failed != nil {
		return nil
	}
	if d.uids == nil {
		if !r.needsMaildrop() {
			return nil
		}
		// Nothing changed on the server, but it will be spoken of.
		parked := slices.Clip(d.f.remoteNew)
		return r.withMaildrop(ctx, func(s remote.Maildrop) (err error) {
			d.f.remoteNew = parked
			r.forgetMaildrop()
			if d.listing, err = s.Listing(ctx); err != nil {
				return err
			}
			return r.compareMaildrop(ctx, s)
		})
	}
	slices.SortStableFunc(d.f.remoteNew, func(a, b plan.RemoteMessage) int { return cmp.Compare(a.UID, b.UID) })
	r.returnFiles()
	return nil
}

// forgetMaildrop takes back what a session that was lost has noted of rows.
func (r *run) forgetMaildrop() {
	for _, f := range r.folders {
		for _, p := range f.pairs {
			if p.UID != 0 && !p.RemoteHeld {
				p.Remote, p.Due = plan.Present, false
			}
		}
	}
}

// needsMaildrop reports whether anything that was found in the Maildir may concern the server.
func (r *run) needsMaildrop() bool {
	return slices.ContainsFunc(r.folders, func(f *folder) bool {
		if len(f.remoteNew) > 0 {
			return true
		}
		for _, p := range f.pairs {
			if p.UID != 0 && p.Local != plan.Present {
				return true
			}
		}
		return false
	})
}

// commitMaildrop records, with the marks, when something will be due, and forgets what departed long ago.
func (r *run) commitMaildrop(ctx context.Context) error {
	d := r.drop
	if d == nil || !d.f.readRemote {
		return nil
	}
	oldest := d.oldest
	if len(d.f.remoteNew) > 0 && (oldest.IsZero() || r.started.Before(oldest)) {
		oldest = r.started
	}
	for _, b := range d.back {
		if b.row.ID != 0 && b.row.Date.Before(oldest) {
			oldest = b.row.Date
		}
	}
	text := ""
	if !oldest.IsZero() {
		text = strconv.FormatInt(oldest.Unix(), 10)
	}
	var was string
	var some bool
	err := r.view(ctx, func(tx *state.Tx) (err error) {
		if was, _, err = tx.Get(oldestKey); err != nil {
			return err
		}
		some, err = tx.AnyDeparted()
		return err
	})
	if err != nil || was == text && !some {
		return err
	}
	return r.update(ctx, func(tx *state.Tx) error {
		if err := tx.DropDeparted(r.now().Add(-rememberDeparted)); err != nil {
			return err
		}
		return tx.Set(oldestKey, text)
	})
}
