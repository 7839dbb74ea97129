package state

import (
	"cmp"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
)

// pager keeps the pages of one connection that were read or written lately. Pages that a transaction changed are
// dirty until flush, at the latest at its end. What is clean stays for the transactions to come; nobody else writes, and if
// somebody did, or a transaction fails, all of them are forgotten (see conn.forget).
type pager struct {
	c     *conn
	pages map[pageKey]*page
	last  *page // the one that was used last
	size  int   // of all pages, in bytes
	dirty []*page
	// room is where packed rows are put.
	room []byte
}

// roomBytes is how much memory for packed rows is taken at once.
const roomBytes = 64 << 10

func newPager(c *conn) pager { return pager{c: c, pages: make(map[pageKey]*page)} }

// get returns a page, an empty one if there is none.
func (pg *pager) get(key pageKey) (*page, error) {
	if pg.last != nil && pg.last.key == key {
		return pg.last, nil
	}
	p := pg.pages[key]
	if p == nil {
		sql := `SELECT data FROM message_page WHERE no = ?`
		if key.kind == intentPages {
			sql = `SELECT data FROM intent_page WHERE no = ?`
		}
		var err error
		if p, err = pg.load(key, sql); err != nil {
			return nil, err
		}
	}
	pg.last = p
	return p, nil
}

// has reports whether a page is in memory.
func (pg *pager) has(kind byte, no int64) bool { return pg.pages[pageKey{kind, no}] != nil }

func (pg *pager) load(key pageKey, sql string) (p *page, err error) {
	if err := pg.makeRoom(); err != nil {
		return nil, err
	}
	err = pg.c.query(sql, []driver.Value{key.no}, func(row []driver.Value) error {
		p, err = pg.read(key, row[0])
		return err
	})
	if err != nil {
		return nil, err
	}
	if p == nil {
		p = &page{key: key}
	}
	pg.keep(p)
	return p, nil
}

// readAhead loads those of the message pages first to last that are not in memory, with one statement.
func (pg *pager) readAhead(first, last int64) error {
	if err := pg.makeRoom(); err != nil {
		return err
	}
	return pg.c.query(`SELECT no, data FROM message_page WHERE no BETWEEN ? AND ?`, []driver.Value{first, last}, func(row []driver.Value) error {
		no, ok := row[0].(int64)
		if !ok {
			return pg.c.damaged(errFormat)
		}
		key := pageKey{messagePages, no}
		if pg.pages[key] != nil {
			return nil
		}
		p, err := pg.read(key, row[1])
		if err == nil {
			pg.keep(p)
		}
		return err
	})
}

func (pg *pager) read(key pageKey, value driver.Value) (*page, error) {
	blob, ok := value.([]byte)
	if !ok {
		return nil, pg.c.damaged(errFormat)
	}
	p, err := readPage(key, blob)
	if err != nil {
		return nil, pg.c.damaged(fmt.Errorf("page %d of kind %q: %w", key.no, key.kind, err))
	}
	return p, nil
}

func (pg *pager) keep(p *page) {
	pg.pages[p.key] = p
	pg.size += p.size
}

// put replaces one row of a page; nil removes it. The bytes are the page's from then on.
func (pg *pager) put(p *page, slot int, row []byte) {
	p.rows[slot] = row
	p.size += len(row)
	pg.size += len(row)
	if !p.dirty {
		p.dirty = true
		pg.dirty = append(pg.dirty, p)
	}
}

// pack returns memory for a packed row of at most size bytes. What append makes of it is handed to packed.
func (pg *pager) pack(size int) []byte {
	if cap(pg.room)-len(pg.room) < size {
		pg.room = make([]byte, 0, max(size, roomBytes))
	}
	return pg.room[len(pg.room):]
}

// packed takes note of what was packed.
func (pg *pager) packed(row []byte) []byte {
	if n := len(pg.room) + len(row); n <= cap(pg.room) {
		pg.room = pg.room[:n]
	} else {
		pg.room = nil // the row outgrew it, and lies elsewhere
	}
	return row[:len(row):len(row)]
}

// flush writes the dirty pages in the order of their keys.
func (pg *pager) flush() error {
	if len(pg.dirty) == 0 {
		return nil
	}
	slices.SortFunc(pg.dirty, func(a, b *page) int {
		return cmp.Or(cmp.Compare(a.key.kind, b.key.kind), cmp.Compare(a.key.no, b.key.no))
	})
	for _, kind := range [...]byte{intentPages, messagePages} {
		if err := pg.flushKind(kind); err != nil {
			return err
		}
	}
	clear(pg.dirty)
	pg.dirty, pg.room = pg.dirty[:0], nil
	return nil
}

// writePages is how many pages are written with one statement.
const writePages = 8

func (pg *pager) flushKind(kind byte) error {
	table := "message_page"
	if kind == intentPages {
		table = "intent_page"
	}
	put := `INSERT OR REPLACE INTO ` + table + ` (no, data) VALUES (?, ?)`
	putMany := put + strings.Repeat(`, (?, ?)`, writePages-1)
	var args []driver.Value
	for _, p := range pg.dirty {
		if p.key.kind != kind {
			continue
		}
		pg.size -= p.size
		blob := p.pack()
		pg.size += p.size
		if blob == nil && p.stored {
			if _, err := pg.c.exec(`DELETE FROM `+table+` WHERE no = ?`, p.key.no); err != nil {
				return err
			}
		}
		p.dirty, p.stored = false, blob != nil
		if blob == nil {
			continue
		}
		if args = append(args, p.key.no, blob); len(args) == 2*writePages {
			if _, err := pg.c.exec(putMany, args...); err != nil {
				return err
			}
			args = args[:0]
		}
	}
	for ; len(args) > 0; args = args[2:] {
		if _, err := pg.c.exec(put, args[:2]...); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom prepares for pages to come. It lets some go when there are too many, after writing those that are dirty. Which ones is left to chance, which
// suits both readings in order and jumps.
func (pg *pager) makeRoom() error {
	if err := pg.c.warm(); err != nil {
		return err
	}
	limit := pg.c.limits.pageBytes
	if pg.size <= limit && len(pg.pages) <= limit/pageRows {
		return nil
	}
	if err := pg.flush(); err != nil {
		return err
	}
	for key, p := range pg.pages {
		if pg.size <= limit*3/4 && len(pg.pages) <= limit/pageRows*3/4 {
			break
		}
		pg.size -= p.size
		delete(pg.pages, key)
	}
	pg.last = nil
	return nil
}
