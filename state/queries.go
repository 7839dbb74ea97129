package state

import (
	"cmp"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
)

// ByName returns the row with that Maildir base name in a folder, if there is one.
func (tx *Tx) ByName(folder int64, name string) (Message, bool, error) {
	if name == "" {
		return Message{}, false, nil
	}
	key, err := tx.c.hashes()
	if err != nil {
		return Message{}, false, err
	}
	ix, err := tx.index(folder)
	if err != nil {
		return Message{}, false, err
	}
	id, err := tx.named(ix, folder, name, key.name(name))
	if err != nil || id == 0 {
		return Message{}, false, err
	}
	m, err := tx.Message(id)
	return m, err == nil, err
}

// ByNameIn is ByName, from what was loaded of the folder before if nothing was written since.
func (tx *Tx) ByNameIn(f *Files, folder int64, name string) (Message, bool, error) {
	if f.folder != folder || f.c != tx.c || f.changes != tx.c.changes {
		return tx.ByName(folder, name)
	}
	n := f.find(name).place()
	if n < 0 {
		return Message{}, false, nil
	}
	m, err := tx.Message(f.ids[n])
	if err != nil || m.Folder != folder || m.Name != name {
		return tx.ByName(folder, name) // another name has the same hash
	}
	return m, true, nil
}

// UIDs returns the UIDs that the server had when it was last looked at: of every row of the folder that has one,
// parked and pending rows included, but not those that are held because they were gone.
func (tx *Tx) UIDs(folder int64) (mail.UIDSet, error) {
	ix, err := tx.index(folder)
	if err != nil {
		return mail.UIDSet{}, err
	}
	var seen mail.UIDSet
	ix.from(1, func(e entry) bool {
		if !e.has(entryRemoteHeld) {
			seen.Add(e.uid)
		}
		return true
	})
	return seen, nil
}

// UIDCount counts the members of UIDs that are smaller than below. It looks only at those that are not.
func (tx *Tx) UIDCount(folder int64, below mail.UID) (uint32, error) {
	s, err := tx.summary(folder)
	if err != nil {
		return 0, err
	}
	n := s.counts[countSeen]
	if n == 0 {
		return 0, nil
	}
	ix, err := tx.index(folder)
	if err != nil {
		return 0, err
	}
	ix.from(max(below, 1), func(e entry) bool {
		if !e.has(entryRemoteHeld) {
			n--
		}
		return true
	})
	if n < 0 {
		return 0, tx.c.damaged(errCount)
	}
	return uint32(n), nil
}

// siftBatch is how many rows Sift reads at once.
const siftBatch = 1024

// Front is the part of a row that can be read without the rest.
type Front struct {
	UID         mail.UID
	RemoteFlags mail.Flags
	Why         string
	RemoteHeld  bool
}

// Sift goes through the rows of a folder that have one of the UIDs, in the order of UIDs, and calls f with those for whose front want
// holds. A row is f's only until it returns. Neither may write.
func (tx *Tx) Sift(folder int64, uids mail.UIDSet, want func(Front) bool, f func(m *Message)) error {
	if uids.IsEmpty() {
		return nil
	}
	ix, err := tx.index(folder)
	if err != nil {
		return err
	}
	entries := make([]entry, 0, siftBatch)
	rows := make([][]byte, siftBatch)
	for _, r := range uids.Ranges() {
		for next, more := r.First, true; more; {
			more = false
			ix.from(next, func(e entry) bool {
				if e.uid > r.Last {
					return false
				}
				if len(entries) == siftBatch {
					next, more = e.uid, true
					return false
				}
				entries = append(entries, e)
				return e.uid < r.Last
			})
			if more {
				if err := tx.sift(folder, entries, rows, want, f); err != nil {
					return err
				}
				entries = entries[:0]
			}
		}
	}
	return tx.sift(folder, entries, rows, want, f)
}

// sift is Sift for the rows of some entries. There is room for as many in rows.
func (tx *Tx) sift(folder int64, entries []entry, rows [][]byte, want func(Front) bool, f func(m *Message)) error {
	// A row's bytes stay as they are, also when its page is let go.
	err := tx.eachRow(idsOf(entries), func(i int, row []byte) error {
		rows[i] = row
		return nil
	})
	if err != nil {
		return err
	}
	var m Message
	for i, e := range entries {
		h, err := tx.c.words.readHead(rows[i])
		if err == nil {
			err = e.fits(folder, h.folder, h.uid, h.name != nil)
		}
		if err == nil && want(Front{h.uid, h.remote, h.why, h.mask&isRemoteHeld != 0}) {
			m = Message{ID: e.id()}
			if err = tx.c.words.message(rows[i], &m); err == nil {
				f(&m)
			}
		}
		if err != nil {
			return tx.c.damaged(err)
		}
	}
	clear(rows)
	return nil
}

// ByUIDs returns the rows of a folder that have one of the UIDs, sorted by UID.
func (tx *Tx) ByUIDs(folder int64, uids mail.UIDSet) ([]Message, error) {
	if uids.IsEmpty() {
		return nil, nil
	}
	ix, err := tx.index(folder)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, min(uids.Len(), int64(ix.n)))
	for _, r := range uids.Ranges() {
		ix.from(r.First, func(e entry) bool {
			if e.uid <= r.Last {
				entries = append(entries, e)
			}
			return e.uid < r.Last
		})
	}
	return tx.read(folder, entries)
}

// InFolder returns all rows of a folder, sorted by UID; those without come first.
func (tx *Tx) InFolder(folder int64) ([]Message, error) {
	ix, err := tx.index(folder)
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, ix.n)
	for _, pt := range ix.parts {
		entries = append(entries, pt.entries...)
	}
	return tx.read(folder, entries)
}

// ByDigest returns the rows of a folder whose message has these bytes, sorted by UID. It reads every row of the folder, some at a time.
func (tx *Tx) ByDigest(folder int64, digest mail.Digest) ([]Message, error) {
	ix, err := tx.index(folder)
	if err != nil {
		return nil, err
	}
	var found []Message
	for _, pt := range ix.parts {
		ms, err := tx.read(folder, pt.entries)
		if err != nil {
			return nil, err
		}
		for _, m := range ms {
			if m.Digest == digest {
				found = append(found, m)
			}
		}
	}
	return found, nil
}

// Prepare loads what looking up the folder's rows needs, so that the first look-up is as fast as the next ones.
func (tx *Tx) Prepare(folder int64) error {
	_, err := tx.index(folder)
	return err
}

// PrepareNames is Prepare for many look-ups by name.
func (tx *Tx) PrepareNames(folder int64) error {
	ix, err := tx.index(folder)
	if err == nil && ix.names == nil {
		ix.makeNames()
	}
	return err
}

// Held returns the rows of all folders whose deletion is held back, sorted by ID.
func (tx *Tx) Held() ([]Message, error) {
	known, err := tx.c.summaries()
	if err != nil {
		return nil, err
	}
	var all []Message
	for folder, s := range known {
		n := s.counts[countHeld]
		if n == 0 {
			continue
		}
		ms, err := tx.where(folder, n, func(e entry) bool { return e.has(entryRemoteHeld | entryLocalHeld | entryGuarded) })
		if err != nil {
			return nil, err
		}
		all = append(all, ms...)
	}
	slices.SortFunc(all, func(a, b Message) int { return cmp.Compare(a.ID, b.ID) })
	return all, nil
}

// Parked returns the rows of a folder that are on one side only, for one of the reasons or, without any, for
// whatever reason, sorted by ID.
func (tx *Tx) Parked(folder int64, whys ...string) ([]Message, error) {
	s, err := tx.summary(folder)
	if err != nil {
		return nil, err
	}
	var wanted [256]bool
	n := int64(0)
	asked := func(why string) bool { return len(whys) == 0 || slices.Contains(whys, why) }
	for why, rows := range s.why {
		if asked(why) {
			wanted[whyByte(why)] = true
			n += rows
		}
	}
	if n == 0 {
		return nil, nil
	}
	ms, err := tx.whereAny(folder, func(e entry) bool { return e.why() != 0 && wanted[e.why()] })
	if err != nil {
		return nil, err
	}
	ms = slices.DeleteFunc(ms, func(m Message) bool { return !asked(m.Why) })
	if int64(len(ms)) != n {
		return nil, tx.c.damaged(errCount)
	}
	return ms, nil
}

// WithDeleted returns the rows of a folder that are marked \Deleted on either side, sorted by ID.
func (tx *Tx) WithDeleted(folder int64) ([]Message, error) {
	s, err := tx.summary(folder)
	if err != nil {
		return nil, err
	}
	n := s.counts[countDeleted]
	if n == 0 {
		return nil, nil
	}
	return tx.where(folder, n, func(e entry) bool { return e.has(entryDeleted) })
}

// where returns the rows, sorted by id, for whose entries want holds; there must be n.
func (tx *Tx) where(folder int64, n int64, want func(e entry) bool) ([]Message, error) {
	ms, err := tx.whereAny(folder, want)
	if err == nil && int64(len(ms)) != n {
		return nil, tx.c.damaged(errCount)
	}
	return ms, err
}

func (tx *Tx) whereAny(folder int64, want func(e entry) bool) ([]Message, error) {
	ix, err := tx.index(folder)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, pt := range ix.parts {
		for _, e := range pt.entries {
			if want(e) {
				entries = append(entries, e)
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return cmp.Compare(a.id(), b.id()) })
	return tx.read(folder, entries)
}

// read returns the rows of entries of a folder's index, in their order.
func (tx *Tx) read(folder int64, entries []entry) ([]Message, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	all := make([]Message, len(entries))
	err := tx.eachRow(idsOf(entries), func(i int, row []byte) error {
		m := &all[i]
		m.ID = entries[i].id()
		if err := tx.c.words.message(row, m); err != nil {
			return err
		}
		return entries[i].fits(folder, m.Folder, m.UID, m.Name != "")
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

func idsOf(entries []entry) []int64 {
	ids := make([]int64, len(entries))
	for i, e := range entries {
		ids[i] = e.id()
	}
	return ids
}

// fits fails if the row that the entry leads to is not the one that it means.
func (e entry) fits(index, folder int64, uid mail.UID, named bool) error {
	if folder != index || uid != e.uid || named != (e.name != 0) {
		return errMismatch
	}
	return nil
}
