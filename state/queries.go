package state

import (
	"cmp"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// errMismatch: an index leads to a row that does not belong there.
var errMismatch = errors.New("an index and a row contradict each other")

// ByName returns the row with that Maildir base name in a folder, if there is one.
func (tx *Tx) ByName(folder int64, name string) (Message, bool, error) {
	if name == "" {
		return Message{}, false, nil
	}
	ms, err := tx.messages(selectMessage+`WHERE folder = ? AND name = ?`, folder, name)
	if err != nil || len(ms) == 0 {
		return Message{}, false, err
	}
	if ms[0].Folder != folder || ms[0].Name != name {
		return Message{}, false, tx.c.damaged(errMismatch)
	}
	return ms[0], true, nil
}

// ByNameAnywhere returns the rows with that Maildir base name in all folders, sorted by folder ID.
func (tx *Tx) ByNameAnywhere(name string) ([]Message, error) {
	ids, err := tx.ids(`SELECT id FROM folder ORDER BY id`)
	if err != nil {
		return nil, err
	}
	var all []Message
	for _, id := range ids {
		m, ok, err := tx.ByName(id, name)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, m)
		}
	}
	return all, nil
}

// Names returns what a directory is compared with: every row of the folder that has a name, sorted by it. It does not
// verify the rows' checksums; whoever acts on a difference reads the row, which does.
func (tx *Tx) Names(folder int64) ([]Name, error) {
	var all []Name
	err := tx.c.query(`SELECT id, name, local_flags, local_words, held FROM message WHERE folder = ? AND name IS NOT NULL ORDER BY name`,
		[]driver.Value{folder}, func(row []driver.Value) error {
			r := reader{values: row}
			n := Name{ID: r.int(), Name: r.text(), LocalFlags: r.flags()}
			n.LocalHeld = r.int()&heldLocal != 0
			if r.err != nil {
				return tx.c.damaged(r.err)
			}
			all = append(all, n)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// UIDs returns the UIDs that the server had when it was last looked at: of every row of the folder that has one,
// parked and pending rows included, but not those that are held because they were gone.
func (tx *Tx) UIDs(folder int64) (mail.UIDSet, error) {
	var seen mail.UIDSet
	err := tx.eachUID(`SELECT uid FROM message WHERE folder = ? AND uid IS NOT NULL ORDER BY uid`, folder, &seen)
	if err != nil {
		return mail.UIDSet{}, err
	}
	var gone mail.UIDSet
	err = tx.eachUID(`SELECT uid FROM message WHERE folder = ? AND held <> 0 AND held & 1 <> 0 AND uid IS NOT NULL ORDER BY uid`, folder, &gone)
	if err != nil {
		return mail.UIDSet{}, err
	}
	return seen.Minus(gone), nil
}

func (tx *Tx) eachUID(sql string, folder int64, set *mail.UIDSet) error {
	return tx.c.query(sql, []driver.Value{folder}, func(row []driver.Value) error {
		r := reader{values: row}
		set.Add(r.uid())
		if r.err != nil {
			return tx.c.damaged(r.err)
		}
		return nil
	})
}

// UIDCount counts the members of UIDs that are smaller than below. It looks only at those that are not.
func (tx *Tx) UIDCount(folder int64, below mail.UID) (uint32, error) {
	total, err := tx.count(folder, tallySeen)
	if err != nil {
		return 0, err
	}
	above, err := tx.c.one(`SELECT count(*) FROM message WHERE folder = ? AND uid >= ?`, folder, int64(below))
	if err != nil {
		return 0, err
	}
	gone, err := tx.c.one(`SELECT count(*) FROM message WHERE folder = ? AND held <> 0 AND held & 1 <> 0 AND uid >= ?`, folder, int64(below))
	if err != nil {
		return 0, err
	}
	n := int64(total) - (above - gone)
	if n < 0 {
		return 0, tx.c.damaged(errTally)
	}
	return uint32(n), nil
}

// remotePage is how many rows EachRemote reads at once.
const remotePage = 1000

// EachRemote calls f for every row of a folder that has a UID, in the order of UIDs, those included that are held. f may
// use the transaction; rows that it adds or changes may come or not. As with Names the checksums are not verified.
func (tx *Tx) EachRemote(folder int64, f func(id int64, uid mail.UID, flags mail.Flags, why string) error) error {
	type entry struct {
		id    int64
		uid   mail.UID
		flags mail.Flags
		why   string
	}
	var page []entry
	for after := mail.UID(0); ; {
		page = page[:0]
		err := tx.c.query(`SELECT id, uid, remote_flags, remote_words, why FROM message WHERE folder = ? AND uid > ? ORDER BY uid LIMIT ?`,
			[]driver.Value{folder, int64(after), int64(remotePage)}, func(row []driver.Value) error {
				r := reader{values: row}
				page = append(page, entry{id: r.int(), uid: r.uid(), flags: r.flags(), why: r.text()})
				if r.err != nil {
					return tx.c.damaged(r.err)
				}
				return nil
			})
		if err != nil {
			return err
		}
		for _, e := range page {
			if e.uid <= after {
				return tx.c.damaged(errMismatch)
			}
			after = e.uid
			if err := f(e.id, e.uid, e.flags, e.why); err != nil {
				return err
			}
		}
		if len(page) < remotePage {
			return nil
		}
	}
}

const (
	// uidGap: ranges at most this far apart are read in one go; what lies between is skipped.
	uidGap = 4
	// uidList is how many single UIDs one statement looks up.
	uidList = 64
)

var selectUIDList = selectMessage + `WHERE folder = ? AND uid IN (` + strings.TrimSuffix(strings.Repeat("?, ", uidList), ", ") + `)`

// ByUIDs returns the rows of a folder that have one of the UIDs, sorted by UID.
func (tx *Tx) ByUIDs(folder int64, uids mail.UIDSet) ([]Message, error) {
	var all []Message
	// add checks that the index led to rows that belong there: in asked, which is uids or one range of it.
	add := func(asked mail.UIDSet, sql string, args ...driver.Value) error {
		return each(tx, sql, args, func(r *reader) error {
			m := decodeMessage(r)
			switch {
			case r.err != nil:
			case m.Folder != folder || !asked.Contains(m.UID):
				return tx.c.damaged(errMismatch)
			case uids.Contains(m.UID):
				all = append(all, m)
			}
			return nil
		})
	}
	list := append(make([]driver.Value, 0, uidList+1), folder)
	for _, r := range merge(uids.Ranges()) {
		if r.First != r.Last {
			var asked mail.UIDSet
			asked.AddRange(r.First, r.Last)
			if err := add(asked, selectMessage+`WHERE folder = ? AND uid BETWEEN ? AND ?`, folder, int64(r.First), int64(r.Last)); err != nil {
				return nil, err
			}
			continue
		}
		if list = append(list, int64(r.First)); len(list) == cap(list) {
			if err := add(uids, selectUIDList, list...); err != nil {
				return nil, err
			}
			list = list[:1]
		}
	}
	for _, uid := range list[1:] {
		if err := add(uids, selectMessage+`WHERE folder = ? AND uid = ?`, folder, uid); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(all, func(a, b Message) int { return cmp.Compare(a.UID, b.UID) })
	return all, nil
}

// merge joins ranges that are close together.
func merge(ranges []mail.UIDRange) []mail.UIDRange {
	var out []mail.UIDRange
	for _, r := range ranges {
		if n := len(out); n > 0 && r.First-out[n-1].Last <= uidGap {
			out[n-1].Last = r.Last
		} else {
			out = append(out, r)
		}
	}
	return out
}

// Held returns the rows of all folders whose deletion is held back, sorted by ID.
func (tx *Tx) Held() ([]Message, error) {
	return tx.messages(selectMessage + `WHERE held <> 0 ORDER BY id`)
}

// Parked returns the rows of a folder that are on one side only, for one of the reasons or, without any, for
// whatever reason, sorted by ID.
func (tx *Tx) Parked(folder int64, whys ...string) ([]Message, error) {
	if len(whys) == 0 {
		return tx.messages(selectMessage+`WHERE folder = ? AND why <> '' ORDER BY id`, folder)
	}
	var all []Message
	for _, why := range whys {
		ms, err := tx.messages(selectMessage+`WHERE folder = ? AND why = ? AND why <> ''`, folder, why)
		if err != nil {
			return nil, err
		}
		all = append(all, ms...)
	}
	slices.SortFunc(all, func(a, b Message) int { return cmp.Compare(a.ID, b.ID) })
	return slices.CompactFunc(all, func(a, b Message) bool { return a.ID == b.ID }), nil
}

// InFolder returns all rows of a folder, sorted by UID; those without come first.
func (tx *Tx) InFolder(folder int64) ([]Message, error) {
	return tx.messages(selectMessage+`WHERE folder = ? ORDER BY uid, id`, folder)
}

// WithDeleted returns the rows of a folder that are marked \Deleted on either side, sorted by ID.
func (tx *Tx) WithDeleted(folder int64) ([]Message, error) {
	return tx.messages(selectMessage+`WHERE folder = ? AND (remote_flags | local_flags) & 32 <> 0 ORDER BY id`, folder)
}

func (tx *Tx) ids(sql string) ([]int64, error) {
	var ids []int64
	err := tx.c.query(sql, nil, func(row []driver.Value) error {
		r := reader{values: row}
		ids = append(ids, r.int())
		if r.err != nil {
			return tx.c.damaged(r.err)
		}
		return nil
	})
	return ids, err
}
