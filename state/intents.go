package state

import (
	"database/sql/driver"
	"fmt"
)

// PutIntent writes an intent. With ID 0 it is a new one, and gets its ID.
func (tx *Tx) PutIntent(i *Intent) error {
	if err := tx.writable(); err != nil {
		return err
	}
	id, isNew := i.ID, i.ID == 0
	if isNew {
		var err error
		if id, err = tx.newID(); err != nil {
			return err
		}
	}
	p, slot, err := tx.slot(intentPages, id)
	if err != nil {
		return err
	}
	switch {
	case isNew && p.rows[slot] != nil:
		return tx.c.damaged(errTwice)
	case !isNew && p.rows[slot] == nil:
		return fmt.Errorf("intent %d: %w", id, ErrNotFound)
	}
	tx.putIntentRow(p, slot, i)
	i.ID = id
	return nil
}

// putIntentRow packs an intent into its page.
func (tx *Tx) putIntentRow(p *page, slot int, i *Intent) {
	const front = 100 // what an intent adds to its message, besides its kind
	pg := &tx.c.pager
	pg.put(p, slot, pg.packed(appendIntent(pg.pack(packedSize(&i.Message)+front+len(i.Kind)), i)))
}

// PutIntents is PutIntent for each.
func (tx *Tx) PutIntents(is []*Intent) error {
	for _, i := range is {
		if err := tx.PutIntent(i); err != nil {
			return err
		}
	}
	return nil
}

// DeleteIntent drops an intent, ErrNotFound if there is none.
func (tx *Tx) DeleteIntent(id int64) error {
	if err := tx.writable(); err != nil {
		return err
	}
	p, slot, err := tx.slot(intentPages, id)
	if err != nil {
		return err
	}
	if p.rows[slot] == nil {
		return fmt.Errorf("intent %d: %w", id, ErrNotFound)
	}
	tx.c.pager.put(p, slot, nil)
	return nil
}

// DeleteIntents is DeleteIntent for each.
func (tx *Tx) DeleteIntents(ids []int64) error {
	for _, id := range ids {
		if err := tx.DeleteIntent(id); err != nil {
			return err
		}
	}
	return nil
}

// Intents returns all intents in the order in which they were made.
func (tx *Tx) Intents() ([]Intent, error) {
	if err := tx.c.pager.flush(); err != nil {
		return nil, err
	}
	var all []Intent
	err := tx.c.blobs(`SELECT no, data FROM intent_page ORDER BY no`, nil, func(no int64, blob []byte) error {
		p, err := readPage(pageKey{intentPages, no}, blob)
		if err != nil {
			return err
		}
		for slot, row := range p.rows {
			if row == nil {
				continue
			}
			i := Intent{ID: no<<pageShift | int64(slot)}
			if err := tx.c.words.intent(row, &i); err != nil {
				return err
			}
			all = append(all, i)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// PutRun records the outcome of a run in place of the one before.
func (tx *Tx) PutRun(run Run) error {
	if err := tx.writable(); err != nil {
		return err
	}
	var w writer
	w.time(run.Start)
	w.time(run.End)
	w.int(int64(run.Exit))
	w.text(run.Error)
	_, err := tx.c.exec(`INSERT OR REPLACE INTO run (one, start, "end", exit, error) VALUES (1, ?, ?, ?, ?)`, w.values...)
	return err
}

// LastRun returns the outcome of the last run, if there was one.
func (tx *Tx) LastRun() (run Run, ok bool, err error) {
	err = tx.c.query(`SELECT start, "end", exit, error FROM run`, nil, func(row []driver.Value) error {
		r := reader{values: row}
		run = Run{Start: r.time(), End: r.time(), Exit: int(r.int()), Error: r.text()}
		if r.err != nil {
			return tx.c.damaged(r.err)
		}
		ok = true
		return nil
	})
	return run, ok, err
}

// Get returns the value that Set stored under key.
func (tx *Tx) Get(key string) (value string, ok bool, err error) {
	err = tx.c.query(`SELECT value FROM meta WHERE key = ?`, []driver.Value{key}, func(row []driver.Value) error {
		r := reader{values: row}
		value, ok = r.text(), true
		if r.err != nil {
			return tx.c.damaged(r.err)
		}
		return nil
	})
	return value, ok, err
}

// Set stores a small value under key, for good; an empty one removes it.
func (tx *Tx) Set(key, value string) error {
	if err := tx.writable(); err != nil {
		return err
	}
	if value == "" {
		_, err := tx.c.exec(`DELETE FROM meta WHERE key = ?`, key)
		return err
	}
	_, err := tx.c.exec(`INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)`, key, value)
	return err
}
