package state

import (
	"database/sql/driver"
	"fmt"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Folders returns all folders, sorted by name.
func (tx *Tx) Folders() ([]Folder, error) {
	return tx.folders(`SELECT ` + folderColumns + ` FROM folder ORDER BY name`)
}

// Folder returns one folder, ErrNotFound if there is none.
func (tx *Tx) Folder(id int64) (Folder, error) {
	fs, err := tx.folders(`SELECT `+folderColumns+` FROM folder WHERE id = ?`, id)
	if err == nil && len(fs) == 0 {
		err = fmt.Errorf("folder %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Folder{}, err
	}
	return fs[0], nil
}

// FolderByName returns the folder of that name, if there is one.
func (tx *Tx) FolderByName(name mail.FolderName) (Folder, bool, error) {
	fs, err := tx.folders(`SELECT `+folderColumns+` FROM folder WHERE name = ?`, string(name))
	if err != nil || len(fs) == 0 {
		return Folder{}, false, err
	}
	return fs[0], true, nil
}

// PutFolder writes a folder. With ID 0 it is a new one, and gets its ID. ErrTaken if another has its name.
func (tx *Tx) PutFolder(f *Folder) error {
	if err := tx.writable(); err != nil {
		return err
	}
	put, isNew := *f, f.ID == 0
	st := updateFolder
	if isNew {
		// Every folder has a summary. Those that there are must be known before one has none.
		if _, err := tx.c.summaries(); err != nil {
			return err
		}
		id, err := tx.newID()
		if err != nil {
			return err
		}
		put.ID, st = id, insertFolder
	}
	n, err := tx.write(st, func(w *writer) { encodeFolder(w, &put) })
	switch {
	case primary(err) == sqlite3.SQLITE_CONSTRAINT:
		return fmt.Errorf("state: the folder name %q %w", f.Name, ErrTaken)
	case err != nil:
		return err
	case n == 0:
		return fmt.Errorf("folder %d: %w", f.ID, ErrNotFound)
	}
	f.ID = put.ID
	if isNew {
		s, err := tx.summary(f.ID)
		if err != nil {
			return err
		}
		s.dirty = true
	}
	return nil
}

// RenameFolder gives a folder, not those below it, another name on both sides. ErrTaken if another has the name.
func (tx *Tx) RenameFolder(id int64, name mail.FolderName, mailbox string) error {
	f, err := tx.Folder(id)
	if err != nil {
		return err
	}
	f.Name, f.Mailbox = name, mailbox
	return tx.PutFolder(&f)
}

// DeleteFolder drops a folder and its rows. Intents stay: what they say may have happened already.
func (tx *Tx) DeleteFolder(id int64) error {
	if err := tx.writable(); err != nil {
		return err
	}
	n, err := tx.c.exec(`DELETE FROM folder WHERE id = ?`, id)
	if err == nil && n == 0 {
		err = fmt.Errorf("folder %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := tx.dropRows(id); err != nil {
		return err
	}
	delete(tx.c.known, id)
	tx.lastSummary = nil
	_, err = tx.c.exec(`DELETE FROM summary WHERE folder = ?`, id)
	return err
}

// dropRows drops all rows of a folder, and its index.
func (tx *Tx) dropRows(folder int64) error {
	ix, err := tx.index(folder)
	if err != nil {
		return err
	}
	for _, id := range ix.where(func(entry) bool { return true }) {
		p, slot, err := tx.slot(messagePages, id)
		if err != nil {
			return err
		}
		if p.rows[slot] == nil {
			return tx.c.damaged(errMismatch)
		}
		tx.c.pager.put(p, slot, nil)
	}
	return tx.dropIndex(folder)
}

func (tx *Tx) folders(sql string, args ...driver.Value) ([]Folder, error) {
	return collect(tx, sql, args, decodeFolder)
}

// each calls take with a reader of every row of a query whose last column is the checksum.
func each(tx *Tx, sql string, args []driver.Value, take func(r *reader) error) error {
	return tx.c.query(sql, args, func(row []driver.Value) error {
		r := rowReader(row)
		if err := take(r); err != nil {
			return err
		}
		if r.err != nil {
			return tx.c.damaged(r.err)
		}
		return nil
	})
}

// collect decodes all rows of such a query. A part of them is worse than none.
func collect[T any](tx *Tx, sql string, args []driver.Value, decode func(*reader) T) ([]T, error) {
	var all []T
	err := each(tx, sql, args, func(r *reader) error {
		all = append(all, decode(r))
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
