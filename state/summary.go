package state

import (
	"encoding/binary"
	"errors"
	"maps"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
)

var (
	errCount     = errors.New("a count of rows is wrong")
	errNoSummary = errors.New("the counts of a folder are missing")
)

// summary is what is known of a folder's rows without looking at them: how many there are of each sort, so that no sync has
// to count messages, and what its index must add up to. It is kept by adding up what every written row contributes, and is
// committed together with the rows.
type summary struct {
	counts [summaryCounts]int64
	why    map[string]int64 // rows by reason, none of them 0
	// sum is that of the index's entries.
	sum uint64
	// deltas and changes count the index's deltas, and what is in them.
	deltas, changes int64
	dirty           bool
}

// What a summary counts.
const (
	countRows = iota
	countAgreed
	countOnlyRemote
	countOnlyLocal
	countHeld
	countKeptBack
	countSeen    // on the server when it was last looked at: what UIDs returns
	countDeleted // marked \Deleted on either side
	summaryCounts
)

// add counts a row n times: 1 when it is written, -1 when it is removed.
func (s *summary) add(h *head, n int64) {
	s.dirty = true
	s.counts[countRows] += n
	onServer, onDisk := h.uid != 0, h.mask&hasName != 0
	switch {
	case onServer && onDisk && h.why == "":
		s.counts[countAgreed] += n
		if !h.remote.Equal(h.local) {
			s.counts[countKeptBack] += n
		}
	case onServer && !onDisk:
		s.counts[countOnlyRemote] += n
	case !onServer && onDisk:
		s.counts[countOnlyLocal] += n
	}
	if h.mask&(isRemoteHeld|isLocalHeld|isGuarded) != 0 {
		s.counts[countHeld] += n
	}
	if onServer && h.mask&isRemoteHeld == 0 {
		s.counts[countSeen] += n
	}
	if h.remote.Has(mail.Deleted) || h.local.Has(mail.Deleted) {
		s.counts[countDeleted] += n
	}
	if h.why == "" {
		return
	}
	if s.why == nil {
		s.why = make(map[string]int64)
	}
	if s.why[h.why] += n; s.why[h.why] == 0 {
		delete(s.why, h.why)
	}
}

// pack makes the blob: the counts, what index there is, and the reasons with their counts.
func (s *summary) pack(folder int64) []byte {
	b := beginBlob(nil)
	for _, n := range s.counts {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.LittleEndian.AppendUint64(b, s.sum)
	for _, n := range [...]int64{s.deltas, s.changes} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, why := range slices.Sorted(maps.Keys(s.why)) {
		b = binary.AppendUvarint(appendText(b, why), uint64(s.why[why]))
	}
	return sealBlob(place{summaries, folder}, b)
}

func readSummary(folder int64, blob []byte) (*summary, error) {
	body, err := openBlob(place{summaries, folder}, blob)
	if err != nil {
		return nil, err
	}
	s, c := &summary{}, cursor{b: body}
	for i := range s.counts {
		s.counts[i] = c.count()
	}
	if sum := c.take(8); sum != nil {
		s.sum = binary.LittleEndian.Uint64(sum)
	}
	s.deltas, s.changes = c.count(), c.count()
	for len(c.b) > 0 {
		if s.why == nil {
			s.why = make(map[string]int64)
		}
		why := string(c.text())
		s.why[why] = c.count()
	}
	return s, c.end()
}

// count reads a number that is not negative.
func (c *cursor) count() int64 {
	n := int64(c.uvarint())
	if n < 0 {
		c.fail()
	}
	return n
}

// summaries returns those of all folders, by their id.
func (c *conn) summaries() (map[int64]*summary, error) {
	if c.known != nil {
		return c.known, nil
	}
	// Every folder has one. If it is lost, what it counted must not be taken for nothing.
	lost, err := c.one(`SELECT count(*) FROM folder WHERE id NOT IN (SELECT folder FROM summary)`)
	if err != nil {
		return nil, err
	}
	if lost != 0 {
		return nil, c.damaged(errNoSummary)
	}
	known := make(map[int64]*summary)
	err = c.blobs(`SELECT folder, data FROM summary`, nil, func(folder int64, blob []byte) (err error) {
		known[folder], err = readSummary(folder, blob)
		return err
	})
	if err != nil {
		return nil, err
	}
	c.known = known
	return known, nil
}

// summary returns that of one folder. For one without rows it is a new one.
func (tx *Tx) summary(folder int64) (*summary, error) {
	if tx.lastSummary != nil && tx.lastFolder == folder {
		return tx.lastSummary, nil
	}
	known, err := tx.c.summaries()
	if err != nil {
		return nil, err
	}
	s := known[folder]
	if s == nil {
		s = &summary{}
		if tx.readOnly {
			return s, nil
		}
		known[folder] = s
	}
	tx.lastFolder, tx.lastSummary = folder, s
	return s, nil
}

// flushSummaries writes those that changed.
func (tx *Tx) flushSummaries() error {
	for _, folder := range slices.Sorted(maps.Keys(tx.c.known)) {
		s := tx.c.known[folder]
		if !s.dirty {
			continue
		}
		for _, n := range s.counts {
			if n < 0 {
				return tx.c.damaged(errCount)
			}
		}
		if _, err := tx.c.exec(`INSERT OR REPLACE INTO summary (folder, data) VALUES (?, ?)`, folder, s.pack(folder)); err != nil {
			return err
		}
		s.dirty = false
	}
	return nil
}

// Counts says what status shows of a folder. It costs the same however many messages there are.
// Agreed includes rows that are held.
func (tx *Tx) Counts(folder int64) (Counts, error) {
	s, err := tx.summary(folder)
	if err != nil {
		return Counts{}, err
	}
	c := Counts{
		Agreed: int(s.counts[countAgreed]), OnlyRemote: int(s.counts[countOnlyRemote]), OnlyLocal: int(s.counts[countOnlyLocal]),
		Held: int(s.counts[countHeld]), KeptBack: int(s.counts[countKeptBack]), Why: make(map[string]int, len(s.why)),
	}
	for why, n := range s.why {
		c.Why[why] = int(n)
	}
	return c, nil
}

// Agreed counts the rows of a folder that are on both sides, those included whose deletion is held.
func (tx *Tx) Agreed(folder int64) (int, error) {
	s, err := tx.summary(folder)
	if err != nil {
		return 0, err
	}
	return int(s.counts[countAgreed]), nil
}

// AgreedAll is Agreed for every folder that has such rows.
func (tx *Tx) AgreedAll() (map[int64]int, error) {
	known, err := tx.c.summaries()
	if err != nil {
		return nil, err
	}
	all := make(map[int64]int)
	for folder, s := range known {
		if n := s.counts[countAgreed]; n != 0 {
			all[folder] = int(n)
		}
	}
	return all, nil
}
