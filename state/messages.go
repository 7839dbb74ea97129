package state

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/satchel-mail/satchel/internal/mail"
)

// errTwice: a row is where one with a new id should go.
var errTwice = errors.New("a row id was given out twice")

// PutMessage writes a row. With ID 0 it is a new one, and gets its ID. ErrTaken if another row of the folder has the
// UID or the name, ErrNotFound if there is no row with the ID.
func (tx *Tx) PutMessage(m *Message) error {
	if err := tx.writable(); err != nil {
		return err
	}
	if m.Folder <= 0 || m.Folder > maxID {
		return fmt.Errorf("state: row %d has no folder", m.ID)
	}
	if m.ID != 0 {
		return tx.updateMessage(m)
	}
	id, err := tx.newID()
	if err != nil {
		return err
	}
	return tx.insertMessage(id, m)
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

func (tx *Tx) insertMessage(id int64, m *Message) error {
	key, err := tx.c.hashes()
	if err != nil {
		return err
	}
	h, name := headOf(m), key.name(m.Name)
	if err := tx.taken(m, name, m.UID != 0, m.Name != ""); err != nil {
		return err
	}
	p, slot, err := tx.slot(messagePages, id)
	if err != nil {
		return err
	}
	if p.rows[slot] != nil {
		return tx.c.damaged(errTwice)
	}
	tx.putRow(p, slot, m)
	m.ID = id
	return tx.count(0, nil, entry{}, m.Folder, &h, newEntry(id, &h, name))
}

func (tx *Tx) updateMessage(m *Message) error {
	p, slot, err := tx.slot(messagePages, m.ID)
	if err != nil {
		return err
	}
	if p.rows[slot] == nil {
		return fmt.Errorf("row %d: %w", m.ID, ErrNotFound)
	}
	old, err := tx.c.words.readHead(p.rows[slot])
	if err != nil {
		return tx.c.damaged(err)
	}
	key, err := tx.c.hashes()
	if err != nil {
		return err
	}
	h, name := headOf(m), key.name(m.Name)
	oldName := name
	moved, renamed := old.folder != m.Folder, string(old.name) != m.Name
	if renamed {
		oldName = key.name(string(old.name))
	}
	checkUID, checkName := m.UID != 0 && (moved || old.uid != m.UID), m.Name != "" && (moved || renamed)
	if checkUID || checkName {
		if err := tx.taken(m, name, checkUID, checkName); err != nil {
			return err
		}
		// Looking may have put other pages in the place of this one.
		if p, slot, err = tx.slot(messagePages, m.ID); err != nil {
			return err
		}
	}
	oldEntry := newEntry(m.ID, &old, oldName)
	tx.putRow(p, slot, m)
	return tx.count(old.folder, &old, oldEntry, m.Folder, &h, newEntry(m.ID, &h, name))
}

// SetFlags is PutMessage of a row of which nothing changes but the flags that were last seen. ErrNotFound if there is none.
func (tx *Tx) SetFlags(id int64, remote, local mail.Flags) error {
	p, slot, old, name, err := tx.present(id)
	if err != nil {
		return err
	}
	h := old
	h.remote, h.local = remote, local
	h.mask &^= hasRemoteWords | hasLocalWords
	if remote.HasKeywords() {
		h.mask |= hasRemoteWords
	}
	if local.HasKeywords() {
		h.mask |= hasLocalWords
	}
	pg := &tx.c.pager
	pg.put(p, slot, pg.packed(append(appendFlagged(pg.pack(maxFlagged+roomForWords+len(h.rest)), &h), h.rest...)))
	return tx.count(h.folder, &old, newEntry(id, &old, name), h.folder, &h, newEntry(id, &h, name))
}

// putRow packs a row into its page.
func (tx *Tx) putRow(p *page, slot int, m *Message) {
	pg := &tx.c.pager
	pg.put(p, slot, pg.packed(appendMessage(pg.pack(packedSize(m)), m)))
}

// count records in the summaries and indexes that a row is another than before; no head is no row.
func (tx *Tx) count(oldFolder int64, old *head, oldEntry entry, folder int64, h *head, e entry) error {
	tx.c.changes++
	if old != nil {
		s, err := tx.summary(oldFolder)
		if err != nil {
			return err
		}
		s.add(old, -1)
	}
	if h != nil {
		s, err := tx.summary(folder)
		if err != nil {
			return err
		}
		s.add(h, 1)
	}
	if err := tx.reindex(oldFolder, oldEntry, folder, e); err != nil {
		return err
	}
	return tx.relieve()
}

// headOf is the front of the row that m will be, but for its name.
func headOf(m *Message) head {
	h := head{folder: m.Folder, uid: m.UID, remote: m.RemoteFlags, local: m.LocalFlags, why: m.Why}
	if m.Name != "" {
		h.mask |= hasName
	}
	if m.RemoteHeld {
		h.mask |= isRemoteHeld
	}
	if m.LocalHeld {
		h.mask |= isLocalHeld
	}
	if m.Guarded {
		h.mask |= isGuarded
	}
	return h
}

// taken fails if another row of m's folder has its UID or its name, whichever is to be checked. name is the name's hash.
func (tx *Tx) taken(m *Message, name uint64, checkUID, checkName bool) error {
	if !checkUID && !checkName {
		return nil
	}
	ix, err := tx.index(m.Folder)
	if err != nil {
		return err
	}
	if checkUID {
		if e := ix.byUID(m.UID); !e.none() && e.id() != m.ID {
			return fmt.Errorf("state: UID %d of folder %d, meant for row %d, %w (%d)", m.UID, m.Folder, m.ID, ErrTaken, e.id())
		}
	}
	if !checkName {
		return nil
	}
	other, err := tx.named(ix, m.Folder, m.Name, name)
	if err != nil {
		return err
	}
	if other != 0 && other != m.ID {
		return fmt.Errorf("state: the name %q in folder %d, meant for row %d, %w (%d)", m.Name, m.Folder, m.ID, ErrTaken, other)
	}
	return nil
}

// named returns the id of the row with that name, 0 if there is none. hash is the name's.
func (tx *Tx) named(ix *index, folder int64, name string, hash uint64) (int64, error) {
	var room [4]int64
	for _, id := range ix.named(hash, room[:0]) {
		row, err := tx.row(id)
		if err != nil {
			return 0, err
		}
		h, err := tx.c.words.readHead(row)
		if err != nil || h.folder != folder {
			return 0, tx.c.damaged(errMismatch)
		}
		if string(h.name) == name {
			return id, nil
		}
	}
	return 0, nil
}

// DeleteMessage drops a row, ErrNotFound if there is none.
func (tx *Tx) DeleteMessage(id int64) error {
	p, slot, old, name, err := tx.present(id)
	if err != nil {
		return err
	}
	tx.c.pager.put(p, slot, nil)
	return tx.count(old.folder, &old, newEntry(id, &old, name), 0, nil, entry{})
}

// present returns the place of a row that is to be changed, its front and the hash of its name; ErrNotFound if there is none.
func (tx *Tx) present(id int64) (p *page, slot int, h head, name uint64, err error) {
	if err = tx.writable(); err != nil {
		return nil, 0, h, 0, err
	}
	if p, slot, err = tx.slot(messagePages, id); err != nil {
		return nil, 0, h, 0, err
	}
	if p.rows[slot] == nil {
		return nil, 0, h, 0, fmt.Errorf("row %d: %w", id, ErrNotFound)
	}
	if h, err = tx.c.words.readHead(p.rows[slot]); err != nil {
		return nil, 0, h, 0, tx.c.damaged(err)
	}
	key, err := tx.c.hashes()
	if err != nil {
		return nil, 0, h, 0, err
	}
	return p, slot, h, key.name(unsafe.String(unsafe.SliceData(h.name), len(h.name))), nil
}

// Message returns one row, ErrNotFound if there is none.
func (tx *Tx) Message(id int64) (Message, error) {
	row, err := tx.row(id)
	if err == nil && row == nil {
		err = fmt.Errorf("row %d: %w", id, ErrNotFound)
	}
	if err != nil {
		return Message{}, err
	}
	m := Message{ID: id}
	if err := tx.c.words.message(row, &m); err != nil {
		return Message{}, tx.c.damaged(err)
	}
	return m, nil
}

// Messages returns the rows with these ids, in their order. One that does not exist is the zero Message.
func (tx *Tx) Messages(ids []int64) ([]Message, error) {
	all := make([]Message, len(ids))
	err := tx.EachMessage(ids, func(i int, m *Message) { all[i] = *m })
	if err != nil {
		return nil, err
	}
	return all, nil
}

// EachMessage calls f for each of these ids, with its place among them and its row, the zero Message if there is none; not in
// their order. The row is f's only until it returns.
func (tx *Tx) EachMessage(ids []int64, f func(i int, m *Message)) error {
	var m Message
	return tx.eachRow(ids, func(i int, row []byte) error {
		m = Message{}
		if row != nil {
			m.ID = ids[i]
			if err := tx.c.words.message(row, &m); err != nil {
				return err
			}
		}
		f(i, &m)
		return nil
	})
}

// slot returns the page and the place in it where the row with an id is, or would be. Another call may make the page stale.
func (tx *Tx) slot(kind byte, id int64) (*page, int, error) {
	key, slot := pageOf(kind, id)
	p, err := tx.c.pager.get(key)
	return p, slot, err
}

// row returns the packed message with an id, nil if there is none.
func (tx *Tx) row(id int64) ([]byte, error) {
	p, slot, err := tx.slot(messagePages, id)
	if err != nil {
		return nil, err
	}
	return p.rows[slot], nil
}

const (
	// aheadPages is how many pages are read with one statement at most.
	aheadPages = 32
	// aheadShare: it is worth that if at least one of so many pages is wanted.
	aheadShare = 2
)

// eachRow calls f for every id with its place in ids and its packed row, nil if there is none, page by page, and so not
// always in their order. What f fails with is damage.
func (tx *Tx) eachRow(ids []int64, f func(i int, row []byte) error) error {
	var order []int // places, sorted by id; nil if the ids are sorted
	if !slices.IsSorted(ids) {
		order = make([]int, len(ids))
		for i := range order {
			order[i] = i
		}
		slices.SortFunc(order, func(a, b int) int { return cmp.Compare(ids[a], ids[b]) })
	}
	at := func(n int) int {
		if order == nil {
			return n
		}
		return order[n]
	}
	read := int64(-1) // pages up to this one were read ahead
	for n := range ids {
		i := at(n)
		if no := ids[i] >> pageShift; no > read && !tx.c.pager.has(messagePages, no) {
			// The last row that lies at most aheadPages on, and how many pages lie between.
			last, wanted := no, 1
			for k := n + 1; k < len(ids) && ids[at(k)]>>pageShift < no+aheadPages; k++ {
				if next := ids[at(k)] >> pageShift; next != last {
					last = next
					wanted++
				}
			}
			if read = last; wanted > 1 && int(last-no)+1 <= aheadShare*wanted {
				if err := tx.c.pager.readAhead(no, last); err != nil {
					return err
				}
			}
		}
		row, err := tx.row(ids[i])
		if err != nil {
			return err
		}
		if err := f(i, row); err != nil {
			return tx.c.damaged(err)
		}
	}
	return nil
}
