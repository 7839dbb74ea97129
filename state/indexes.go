package state

import (
	"database/sql/driver"
	"fmt"
	"maps"
	"slices"
)

// The index of a folder is in the database as parts, which together are the index as it was at some time, and
// deltas, which are what changed since. Every Update adds one delta for each folder, or, when there are too many
// changes in them, or when that takes no longer, writes those parts anew that changed. The folder's summary says what
// parts and deltas must add up to.

// limits bound what is kept in memory and what is appended. Tests make them small.
type limits struct {
	pageBytes    int   // of pages that a connection keeps
	indexEntries int   // of all indexes that it keeps, but for the one that was used last
	partEntries  int   // of one part; 330 of them fill two of SQLite's pages
	changes      int64 // of a folder's deltas, or an eighth of its rows, if that is more
	deltas       int64 // of one folder
	pending      int   // changes of one transaction that are not written yet
}

func defaultLimits() limits {
	return limits{pageBytes: 2 << 20, indexEntries: 1 << 20, partEntries: 330, changes: 1024, deltas: 256, pending: 1 << 18}
}

// pending are the changes of one folder's index in this transaction that are in no delta yet.
type pending struct{ changes []change }

// index returns the index of a folder, loaded if it is not there yet.
func (tx *Tx) index(folder int64) (*index, error) {
	c := tx.c
	ix := c.indexes[folder]
	if ix == nil {
		s, err := tx.summary(folder)
		if err != nil {
			return nil, err
		}
		if ix, err = c.loadIndex(folder); err != nil {
			return nil, err
		}
		if p := tx.pending[folder]; p != nil {
			for _, ch := range p.changes {
				if err := ix.apply(ch); err != nil {
					return nil, c.damaged(err)
				}
			}
		}
		if int64(ix.n) != s.counts[countRows] || ix.sum != s.sum {
			return nil, c.damaged(fmt.Errorf("the index of folder %d has %d entries instead of %d, or others", folder, ix.n, s.counts[countRows]))
		}
		c.indexes[folder] = ix
		c.trimIndexes(ix)
	}
	c.clock++
	ix.used = c.clock
	return ix, nil
}

// Parts and deltas are numbered within their folder: id = folder << partShift | number.
const partShift = 20

func partIDs(folder int64) (first, last driver.Value) {
	return folder << partShift, folder<<partShift | (1<<partShift - 1)
}

// loadIndex reads parts and deltas.
func (c *conn) loadIndex(folder int64) (*index, error) {
	if err := c.warm(); err != nil {
		return nil, err
	}
	ix := &index{partMax: c.limits.partEntries, lastID: folder << partShift}
	first, last := partIDs(folder)
	err := c.blobs(`SELECT id, data FROM index_part WHERE id BETWEEN ? AND ?`, []driver.Value{first, last}, func(id int64, blob []byte) error {
		entries, err := readPart(id, blob)
		if err != nil {
			return err
		}
		ix.parts = append(ix.parts, &part{id: id, entries: entries})
		ix.lastID = max(ix.lastID, id)
		ix.n += len(entries)
		for _, e := range entries {
			ix.sum += e.sum()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(ix.parts, func(a, b *part) int { return a.entries[0].compare(b.entries[0]) })
	for p := 1; p < len(ix.parts); p++ {
		before := ix.parts[p-1].entries
		if before[len(before)-1].compare(ix.parts[p].entries[0]) >= 0 {
			return nil, c.damaged(errMismatch)
		}
	}
	err = c.blobs(`SELECT id, data FROM index_delta WHERE id BETWEEN ? AND ? ORDER BY id`, []driver.Value{first, last}, func(id int64, blob []byte) error {
		return readDelta(id, blob, ix.apply)
	})
	if err != nil {
		return nil, err
	}
	return ix, nil
}

// blobs calls each with every row of a query for a number and a blob. What each fails with is damage.
func (c *conn) blobs(sql string, args []driver.Value, each func(no int64, blob []byte) error) error {
	return c.query(sql, args, func(row []driver.Value) error {
		no, ok := row[0].(int64)
		blob, ok2 := row[1].([]byte)
		if !ok || !ok2 {
			return c.damaged(errFormat)
		}
		if err := each(no, blob); err != nil {
			return c.damaged(err)
		}
		return nil
	})
}

// trimIndexes forgets those that were used longest ago, when together they have too many entries. What they have that is not
// in the database is in a transaction's pending changes.
func (c *conn) trimIndexes(keep *index) {
	total := 0
	for _, ix := range c.indexes {
		total += ix.n
	}
	for total > c.limits.indexEntries && len(c.indexes) > 1 {
		oldest := int64(0)
		for folder, ix := range c.indexes {
			if ix != keep && (oldest == 0 || ix.used < c.indexes[oldest].used) {
				oldest = folder
			}
		}
		total -= c.indexes[oldest].n
		delete(c.indexes, oldest)
	}
}

// reindex records that a row has another entry than before, or none before or none from now on.
func (tx *Tx) reindex(oldFolder int64, old entry, folder int64, e entry) error {
	if oldFolder != folder && !old.none() && !e.none() {
		if err := tx.reindex(oldFolder, old, oldFolder, entry{}); err != nil {
			return err
		}
		oldFolder, old = folder, entry{}
	}
	if old == e {
		return nil
	}
	if e.none() {
		folder = oldFolder
	}
	s, err := tx.summary(folder)
	if err != nil {
		return err
	}
	if ix := tx.c.indexes[folder]; ix != nil {
		switch {
		case old.none():
			err = ix.insert(e)
		case e.none():
			err = ix.remove(old)
		default:
			err = ix.replace(old, e)
		}
		if err != nil {
			return tx.c.damaged(err)
		}
	}
	s.sum += e.sum() - old.sum()
	s.dirty = true
	p := tx.pending[folder]
	if p == nil {
		p = &pending{}
		tx.pending[folder] = p
	}
	if !old.none() && (e.none() || old.compare(e) != 0) {
		p.changes = append(p.changes, change{old, true})
		tx.unwritten++
	}
	if !e.none() {
		p.changes = append(p.changes, change{e, false})
		tx.unwritten++
	}
	return nil
}

// relieve writes what has gathered when it is more than a transaction shall keep in memory.
func (tx *Tx) relieve() error {
	if tx.unwritten <= tx.c.limits.pending {
		return nil
	}
	return tx.flushIndexes()
}

// flushIndexes writes what changed in the indexes.
func (tx *Tx) flushIndexes() error {
	for _, folder := range slices.Sorted(maps.Keys(tx.pending)) {
		if err := tx.flushIndex(folder, tx.pending[folder]); err != nil {
			return err
		}
		delete(tx.pending, folder)
	}
	tx.unwritten = 0
	return nil
}

func (tx *Tx) flushIndex(folder int64, p *pending) error {
	if len(p.changes) == 0 {
		return nil
	}
	s, err := tx.summary(folder)
	if err != nil {
		return err
	}
	n, c := int64(len(p.changes)), tx.c
	tooMany := s.deltas >= c.limits.deltas || s.changes+n > max(c.limits.changes, s.counts[countRows]/8)
	ix := c.indexes[folder]
	if tooMany && ix == nil {
		if ix, err = tx.index(folder); err != nil {
			return err
		}
	}
	s.dirty = true
	if tooMany || ix != nil && ix.dirtyEntries() <= 2*len(p.changes) {
		return c.writeParts(folder, ix, s)
	}
	s.deltas++
	s.changes += n
	id := folder<<partShift | s.deltas
	_, err = c.exec(`INSERT INTO index_delta (id, data) VALUES (?, ?)`, id, packDelta(id, p.changes))
	return err
}

// writeParts brings the parts in the database up to date and drops the deltas.
func (c *conn) writeParts(folder int64, ix *index, s *summary) error {
	ix.tidy()
	for _, pt := range ix.parts {
		if !pt.dirty {
			continue
		}
		if pt.id == 0 {
			pt.id = ix.newPartID()
		}
		if _, err := c.exec(`INSERT OR REPLACE INTO index_part (id, data) VALUES (?, ?)`, pt.id, packPart(pt.id, pt.entries)); err != nil {
			return err
		}
		pt.dirty = false
	}
	for _, id := range ix.dead {
		if _, err := c.exec(`DELETE FROM index_part WHERE id = ?`, id); err != nil {
			return err
		}
	}
	ix.dead = ix.dead[:0]
	if s.deltas == 0 {
		return nil
	}
	s.deltas, s.changes = 0, 0
	first, last := partIDs(folder)
	_, err := c.exec(`DELETE FROM index_delta WHERE id BETWEEN ? AND ?`, first, last)
	return err
}

// dropIndex forgets the index of a folder that is gone, here and in the database.
func (tx *Tx) dropIndex(folder int64) error {
	tx.c.changes++
	tx.unwritten -= len(tx.pending[folder].all())
	delete(tx.pending, folder)
	delete(tx.c.indexes, folder)
	first, last := partIDs(folder)
	if _, err := tx.c.exec(`DELETE FROM index_part WHERE id BETWEEN ? AND ?`, first, last); err != nil {
		return err
	}
	_, err := tx.c.exec(`DELETE FROM index_delta WHERE id BETWEEN ? AND ?`, first, last)
	return err
}

func (p *pending) all() []change {
	if p == nil {
		return nil
	}
	return p.changes
}

// hashes returns the key that names are hashed with.
func (c *conn) hashes() (hashKey, error) {
	if c.key != nil {
		return *c.key, nil
	}
	err := c.blobs(`SELECT one, data FROM index_key`, nil, func(_ int64, blob []byte) error {
		k, err := readHashKey(blob)
		c.key = &k
		return err
	})
	if err != nil {
		c.key = nil
		return hashKey{}, err
	}
	if c.key == nil {
		return hashKey{}, c.damaged(errFormat)
	}
	return *c.key, nil
}
