package state

import (
	"database/sql/driver"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Departed is a message that is no longer in a maildrop, by the server's name for it (remote.Listed) or, where that can't be had, by
// another text that is no other message's. Should it be listed again, because
// the listing was cut short or a deletion was not carried out, it is known by this.
type Departed struct {
	ID string
	// Row is the row of its file, 0 if the Maildir does not have it either, DeletedFile if that is because the person deleted it and the server
	// is to follow. The row may be gone since.
	Row  int64
	Size int64 // as the server told it, -1 if not known
	// Header is the digest of its header, zero if not known: a server may give an ID to another message later.
	Header mail.Digest
	At     time.Time // when it was missed
}

// DeletedFile is in Departed.Row.
const DeletedFile = -1

// PutDeparted writes down that a message has departed, in place of what was known under its ID.
func (tx *Tx) PutDeparted(d Departed) error {
	if err := tx.writable(); err != nil {
		return err
	}
	tx.cells.reset()
	tx.cells.text(d.ID)
	tx.cells.int(d.Row)
	tx.cells.int(d.Size)
	if d.Header.IsZero() {
		tx.cells.null()
	} else {
		tx.cells.blobOrNull(d.Header[:])
	}
	tx.cells.time(d.At)
	_, err := tx.c.exec(`INSERT OR REPLACE INTO departed (id, row, size, header, at, sum) VALUES (?, ?, ?, ?, ?, ?)`, tx.cells.sum()...)
	return err
}

// Departed returns the departed message with that ID, if there is one.
func (tx *Tx) Departed(id string) (d Departed, ok bool, err error) {
	err = each(tx, `SELECT id, row, size, header, at, sum FROM departed WHERE id = ?`, []driver.Value{id}, func(r *reader) error {
		d = Departed{ID: r.text(), Row: r.int(), Size: r.int(), Header: r.digest(), At: r.time()}
		ok = true
		return nil
	})
	return d, ok, err
}

// EachDeparted hands out all of them.
func (tx *Tx) EachDeparted(do func(Departed) error) error {
	return each(tx, `SELECT id, row, size, header, at, sum FROM departed`, nil, func(r *reader) error {
		return do(Departed{ID: r.text(), Row: r.int(), Size: r.int(), Header: r.digest(), At: r.time()})
	})
}

// AnyDeparted reports whether there is any.
func (tx *Tx) AnyDeparted() (bool, error) {
	n, err := tx.c.one(`SELECT EXISTS (SELECT 1 FROM departed)`)
	return n != 0, err
}

// DropDeparted forgets those that departed before a time.
func (tx *Tx) DropDeparted(before time.Time) error {
	if err := tx.writable(); err != nil {
		return err
	}
	_, err := tx.c.exec(`DELETE FROM departed WHERE at < ?`, before.Unix())
	return err
}
