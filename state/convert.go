package state

import (
	"database/sql/driver"
)

// The first version had a table for messages, one for intents and one for counts, with a row for each.

const (
	messageColumns1 = `id, folder, uid, name, why, text, remote_flags, remote_words, local_flags, local_words, digest, header, ` +
		`has_message_id, remote_digest, remote_size, file_size, inode, email_id, date, raw, held, sum`
	intentColumns1 = `id, kind, dest, uid_validity, uid_next, sends, started, settled, row, folder, uid, name, why, text, ` +
		`remote_flags, remote_words, local_flags, local_words, digest, header, has_message_id, remote_digest, remote_size, ` +
		`file_size, inode, email_id, date, raw, held, sum`
)

// The bits of message.held.
const (
	heldRemote = 1
	heldLocal  = 2
)

// convertBatch is how many rows are read at once.
const convertBatch = 1000

// convert1 packs what the tables of version 1 hold, under the same ids, and drops them.
func convert1(tx *Tx) error {
	if _, err := tx.c.exec(`INSERT INTO index_key (one, data) VALUES (1, ?)`, newHashKey().pack()); err != nil {
		return err
	}
	folders, err := tx.Folders()
	if err != nil {
		return err
	}
	tx.c.known = make(map[int64]*summary) // there are none yet
	for _, f := range folders {
		tx.c.known[f.ID] = &summary{dirty: true}
	}
	err = eachBatch1(tx, `SELECT `+messageColumns1+` FROM message WHERE id > ? ORDER BY id LIMIT ?`, decodeMessage,
		func(m Message) (int64, error) { return m.ID, tx.convertMessage(&m) })
	if err != nil {
		return err
	}
	err = eachBatch1(tx, `SELECT `+intentColumns1+` FROM intent WHERE id > ? ORDER BY id LIMIT ?`, decodeIntent,
		func(i Intent) (int64, error) { return i.ID, tx.convertIntent(&i) })
	if err != nil {
		return err
	}
	return tx.c.script(`DROP TABLE message; DROP TABLE intent; DROP TABLE tally`)
}

// eachBatch1 calls do, which returns the id, for every row of a table, some at a time: while a query runs nothing else does.
func eachBatch1[T any](tx *Tx, sql string, decode func(*reader) T, do func(T) (int64, error)) error {
	for last := int64(0); ; {
		rows, err := collect(tx, sql, []driver.Value{last, int64(convertBatch)}, decode)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if last, err = do(row); err != nil {
				return err
			}
		}
		if len(rows) < convertBatch {
			return nil
		}
	}
}

// convertMessage is insertMessage, but SQLite's indexes have held UIDs and names unique already.
func (tx *Tx) convertMessage(m *Message) error {
	key, err := tx.c.hashes()
	if err != nil {
		return err
	}
	if m.ID > maxID {
		return tx.c.damaged(errFormat)
	}
	p, slot, err := tx.slot(messagePages, m.ID)
	if err != nil {
		return err
	}
	tx.putRow(p, slot, m)
	h := headOf(m)
	return tx.count(0, nil, entry{}, m.Folder, &h, newEntry(m.ID, &h, key.name(m.Name)))
}

func (tx *Tx) convertIntent(i *Intent) error {
	p, slot, err := tx.slot(intentPages, i.ID)
	if err == nil {
		tx.putIntentRow(p, slot, i)
	}
	return err
}

func decodeMessage(r *reader) Message {
	m := Message{
		ID:           r.int(),
		Folder:       r.int(),
		UID:          r.uid(),
		Name:         r.text(),
		Why:          r.text(),
		Text:         r.text(),
		RemoteFlags:  r.flags(),
		LocalFlags:   r.flags(),
		Digest:       r.digest(),
		Header:       r.digest(),
		HasMessageID: r.bool(),
		RemoteDigest: r.digest(),
		RemoteSize:   r.int(),
		FileSize:     r.int(),
		Inode:        uint64(r.int()),
		EmailID:      r.text(),
		Date:         r.time(),
		Raw:          r.bool(),
	}
	held := r.int()
	m.RemoteHeld, m.LocalHeld = held&heldRemote != 0, held&heldLocal != 0
	return m
}

func decodeIntent(r *reader) Intent {
	return Intent{
		ID:          r.int(),
		Kind:        IntentKind(r.text()),
		To:          r.int(),
		UIDValidity: uint64(r.int()),
		UIDNext:     r.uid(),
		Sends:       int(r.int()),
		Started:     r.time(),
		Settled:     r.bool(),
		Message:     decodeMessage(r),
	}
}
