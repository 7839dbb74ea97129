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
	// rememberDeparted is how long a message that the server no longer lists is known by its name.
	rememberDeparted = 90 * 24 * time.Hour

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

// returned is a message that the server lists again.
type returned struct {
	uid mail.UID
	row state.Message // of its file; ID 0: the Maildir does not have it
	was state.Departed
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
	return r.takeMaildrop(ctx, s)
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
	return m.Why == string(plan.Agreed) || m.Why == string(plan.Dismissed)
}

// departure is what is kept of a message that leaves the maildrop. One without a name is known by its content and row: no name
// has a NUL.
func departure(m state.Message, at time.Time) state.Departed {
	out := state.Departed{ID: m.EmailID, Size: m.RemoteSize, Header: m.Header, At: at}
	if m.Name != "" {
		out.Row = m.ID
	}
	if out.ID == "" {
		out.ID = fmt.Sprintf("\x00%x %d", m.Digest, m.ID)
	}
	return out
}

// putDeparted writes a departure down. Where the server gave the name to another message before, that one stays known by its size
// and header.
func putDeparted(tx *state.Tx, m state.Departed) error {
	was, ok, err := tx.Departed(m.ID)
	if err != nil {
		return err
	}
	if ok && was.Header != m.Header {
		was.ID = fmt.Sprintf("\x00%s %x", was.ID, was.Header)
		if err := tx.PutDeparted(was); err != nil {
			return err
		}
	}
	return tx.PutDeparted(m)
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

// recallDeparted finds the new messages that had been gone: the listing had left them out, was of another mind about a deletion, or
// gives them other names. One is nominated by its name or its size; whether it is the same is decided by the header, as with moves.
// Nothing that the person has deleted is delivered again.
func (r *run) recallDeparted(ctx context.Context, s remote.Maildrop, fresh []remote.Message) error {
	d := r.drop
	d.back = nil
	if len(fresh) == 0 {
		return nil
	}
	byID, bySize := map[string]state.Departed{}, map[int64][]state.Departed{}
	err := r.view(ctx, func(tx *state.Tx) error {
		return tx.EachDeparted(func(m state.Departed) error {
			if m.Header.IsZero() {
				return nil
			}
			byID[m.ID] = m
			bySize[m.Size] = append(bySize[m.Size], m)
			return nil
		})
	})
	if err != nil || len(byID) == 0 {
		return err
	}
	var unread mail.UIDSet
	nominated := slices.DeleteFunc(slices.Clone(fresh), func(m remote.Message) bool {
		_, named := byID[m.EmailID]
		return !named && len(bySize[m.Size]) == 0
	})
	for _, m := range nominated {
		if d.f.newRemoteMessage(m.UID).Header == nil {
			unread.Add(m.UID)
		}
	}
	if !unread.IsEmpty() {
		ms, err := s.Fetch(ctx, r.dropBox(), unread, remote.FetchItems{Header: true})
		if err != nil {
			return err
		}
		for _, m := range ms {
			if h := m.Header; h != nil {
				d.f.newRemoteMessage(m.UID).Header = &plan.Header{Digest: h.Header, HasMessageID: h.HasMessageID}
			}
		}
	}
	taken := map[string]bool{}
	return r.view(ctx, func(tx *state.Tx) error {
		for _, m := range nominated {
			h := d.f.newRemoteMessage(m.UID).Header
			if h == nil {
				continue
			}
			candidates := bySize[m.Size]
			if was, named := byID[m.EmailID]; named {
				candidates = slices.Concat([]state.Departed{was}, candidates)
			}
			for _, was := range candidates {
				if taken[was.ID] || was.Header != h.Digest {
					continue
				}
				back, is, err := isBack(tx, m, h, was)
				if err != nil {
					return err
				}
				if is {
					d.back, taken[was.ID] = append(d.back, back), true
					break
				}
			}
		}
		return nil
	})
}

// isBack reports whether a new message may be one that departed, whose header is the same. Its file will tell; where there is none the
// name and size must be the same, or the header one that is no other message's.
func isBack(tx *state.Tx, m remote.Message, h *plan.Header, was state.Departed) (back returned, is bool, err error) {
	back = returned{uid: m.UID, was: was}
	if was.Row != 0 {
		switch back.row, err = tx.Message(was.Row); {
		case errors.Is(err, state.ErrNotFound):
			back.row = state.Message{}
		case err != nil:
			return back, false, err
		case back.row.UID != 0 || back.row.Name == "":
			return back, false, nil // it is known as another one by now
		case back.row.Why == string(plan.OneWay):
			return back, true, nil
		default:
			back.row = state.Message{}
		}
	}
	sameSize := was.Size == m.Size || was.Size < 0 || m.Size < 0
	return back, sameSize && (was.ID == m.EmailID || h.HasMessageID), nil
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

// returnFiles puts the files of returned messages beside them, so that the planner pairs them again.
func (r *run) returnFiles() {
	byID := make(map[int64]*folder, len(r.folders))
	for _, f := range r.folders {
		byID[f.base.ID] = f
	}
	for _, b := range r.drop.back {
		m := r.drop.f.newRemoteMessage(b.uid)
		f := byID[b.row.Folder]
		p := (*plan.Pair)(nil)
		if f != nil {
			p = f.pairs[b.row.ID]
		}
		if b.row.ID == 0 || f == nil || f.local == nil || p != nil && p.Local != plan.Present {
			m.Park, m.Date = plan.Dismissed, r.now() // its time begins anew
			continue
		}
		if p != nil {
			b.row.LocalFlags = p.LocalNow
			delete(f.pairs, b.row.ID)
		}
		if f.newLocalMessage(b.row.Name) != nil {
			continue // it is looked at anyway
		}
		c := mail.Content{Digest: b.row.Digest, Header: b.row.Header, HasMessageID: b.row.HasMessageID, Size: b.row.RemoteSize, CRLF: 1}
		if b.row.Raw {
			c.CRLF, c.BareLF = 0, 1
		}
		f.localNew = append(f.localNew, plan.LocalMessage{
			Row: b.row.ID, Folder: f.name, Name: b.row.Name, Flags: b.row.LocalFlags, FileSize: b.row.FileSize, Inode: b.row.Inode,
			Date: b.row.Date, Content: &c,
		})
		f.localAt = nil
	}
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
