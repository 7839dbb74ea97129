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
	put := *i
	st := updateIntent
	if i.ID == 0 {
		id, err := tx.newID()
		if err != nil {
			return err
		}
		put.ID, st = id, insertIntent
	}
	n, err := tx.write(st, func(w *writer) { encodeIntent(w, &put) })
	if err == nil && n == 0 {
		err = fmt.Errorf("intent %d: %w", i.ID, ErrNotFound)
	}
	if err != nil {
		return err
	}
	i.ID = put.ID
	return nil
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
	n, err := tx.c.exec(`DELETE FROM intent WHERE id = ?`, id)
	if err == nil && n == 0 {
		err = fmt.Errorf("intent %d: %w", id, ErrNotFound)
	}
	return err
}

// Intents returns all intents in the order in which they were made.
func (tx *Tx) Intents() ([]Intent, error) {
	return collect(tx, `SELECT `+intentColumns+` FROM intent ORDER BY id`, nil, decodeIntent)
}

// PutRun records the outcome of a run in place of the one before.
func (tx *Tx) PutRun(run Run) error {
	if err := tx.writable(); err != nil {
		return err
	}
	w := &tx.row
	w.reset()
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
