package state

import (
	"database/sql/driver"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"
)

const selectMessage = `SELECT ` + messageColumns + ` FROM message `

// PutMessage writes a row. With ID 0 it is a new one, and gets its ID. ErrTaken if another row of the folder has the
// UID or the name, ErrNotFound if there is no row with the ID.
func (tx *Tx) PutMessage(m *Message) error {
	if err := tx.writable(); err != nil {
		return err
	}
	if m.Folder == 0 {
		return fmt.Errorf("state: row %d has no folder", m.ID)
	}
	if m.ID != 0 {
		return tx.updateMessage(m)
	}
	id, err := tx.newID()
	if err != nil {
		return err
	}
	put := *m
	put.ID = id
	if _, err := tx.write(insertMessage, func(w *writer) { encodeMessage(w, &put) }); err != nil {
		return tx.taken(&put, err)
	}
	tx.tally.add(&put, 1)
	m.ID = id
	return nil
}

// PutMessages is PutMessage for each.
func (tx *Tx) PutMessages(ms []*Message) error {
	for _, m := range ms {
		if err := tx.PutMessage(m); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) updateMessage(m *Message) error {
	old, err := tx.Message(m.ID)
	if err != nil {
		return err
	}
	// SQLite rewrites the index entries of every column that a statement names, changed or not, and mostly
	// only flags change.
	st := updateMessage
	if old.Folder == m.Folder && old.UID == m.UID && old.Name == m.Name && old.Why == m.Why {
		st = updateUnindexed
	}
	if _, err := tx.write(st, func(w *writer) { encodeMessage(w, m) }); err != nil {
		return tx.taken(m, err)
	}
	tx.tally.add(&old, -1)
	tx.tally.add(m, 1)
	return nil
}

// taken names the row that a row collides with.
func (tx *Tx) taken(m *Message, err error) error {
	if primary(err) != sqlite3.SQLITE_CONSTRAINT {
		return err
	}
	if m.UID != 0 {
		others, look := tx.messages(selectMessage+`WHERE folder = ? AND uid = ? AND id <> ?`, m.Folder, int64(m.UID), m.ID)
		if look != nil {
			return look
		}
		if len(others) > 0 {
			return fmt.Errorf("state: UID %d of folder %d, meant for row %d, %w (%d)", m.UID, m.Folder, m.ID, ErrTaken, others[0].ID)
		}
	}
	if m.Name != "" {
		others, look := tx.messages(selectMessage+`WHERE folder = ? AND name = ? AND id <> ?`, m.Folder, m.Name, m.ID)
		if look != nil {
			return look
		}
		if len(others) > 0 {
			return fmt.Errorf("state: the name %q in folder %d, meant for row %d, %w (%d)", m.Name, m.Folder, m.ID, ErrTaken, others[0].ID)
		}
	}
	return tx.c.damaged(err) // the row ids are our own, and never given twice
}

// DeleteMessage drops a row, ErrNotFound if there is none.
func (tx *Tx) DeleteMessage(id int64) error {
	if err := tx.writable(); err != nil {
		return err
	}
	old, err := tx.Message(id)
	if err != nil {
		return err
	}
	if _, err := tx.c.exec(`DELETE FROM message WHERE id = ?`, id); err != nil {
		return err
	}
	tx.tally.add(&old, -1)
	return nil
}

// Message returns one row, ErrNotFound if there is none.
func (tx *Tx) Message(id int64) (Message, error) {
	ms, err := tx.messages(selectMessage+`WHERE id = ?`, id)
	if err == nil && len(ms) == 0 {
		err = fmt.Errorf("row %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Message{}, err
	}
	return ms[0], nil
}

func (tx *Tx) messages(sql string, args ...driver.Value) ([]Message, error) {
	return collect(tx, sql, args, decodeMessage)
}
