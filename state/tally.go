package state

import (
	"database/sql/driver"
	"slices"
	"strings"
)

// The tally counts rows per folder and kind, so that no sync has to count messages. It is kept by
// adding up what every written row contributes, and is committed together with the rows.
const (
	tallyAgreed     = "agreed"
	tallyOnlyRemote = "only-remote"
	tallyOnlyLocal  = "only-local"
	tallyHeld       = "held"
	tallyKeptBack   = "kept-back"
	tallySeen       = "seen"  // on the server when it was last looked at: what UIDs returns
	tallyWhy        = "park:" // followed by the reason
)

type tallyKey struct {
	folder int64
	kind   string
}

// add counts m n times: 1 when it is written, -1 when it is removed.
func (t *tally) add(m *Message, n int) {
	count := func(kind string) { t.delta[tallyKey{m.Folder, kind}] += n }
	onBoth := m.UID != 0 && m.Name != "" && m.Why == ""
	switch {
	case onBoth:
		count(tallyAgreed)
		if !m.RemoteFlags.Equal(m.LocalFlags) {
			count(tallyKeptBack)
		}
	case m.UID != 0 && m.Name == "":
		count(tallyOnlyRemote)
	case m.UID == 0 && m.Name != "":
		count(tallyOnlyLocal)
	}
	if m.RemoteHeld || m.LocalHeld {
		count(tallyHeld)
	}
	if m.UID != 0 && !m.RemoteHeld {
		count(tallySeen)
	}
	if m.Why != "" {
		count(tallyWhy + m.Why)
	}
}

// tally is what a transaction adds to the table of the same name.
type tally struct{ delta map[tallyKey]int }

func (t *tally) forget(folder int64) {
	for k := range t.delta {
		if k.folder == folder {
			delete(t.delta, k)
		}
	}
}

// flush writes what was added since the last time.
func (t *tally) flush(c *conn) error {
	keys := make([]tallyKey, 0, len(t.delta))
	for k, n := range t.delta {
		if n != 0 {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b tallyKey) int {
		if a.folder != b.folder {
			return int(a.folder - b.folder)
		}
		return strings.Compare(a.kind, b.kind)
	})
	for _, k := range keys {
		_, err := c.exec(`INSERT INTO tally (folder, kind, n) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET n = n + excluded.n`,
			k.folder, k.kind, int64(t.delta[k]))
		if err != nil {
			return err
		}
	}
	clear(t.delta)
	return nil
}

// Counts says what status shows of a folder. It costs the same however many messages there are.
// Agreed includes rows that are held.
func (tx *Tx) Counts(folder int64) (Counts, error) {
	c := Counts{Why: make(map[string]int)}
	err := tx.eachTally(`SELECT folder, kind, n FROM tally WHERE folder = ?`, []driver.Value{folder}, func(k tallyKey, n int) {
		switch k.kind {
		case tallyAgreed:
			c.Agreed = n
		case tallyOnlyRemote:
			c.OnlyRemote = n
		case tallyOnlyLocal:
			c.OnlyLocal = n
		case tallyHeld:
			c.Held = n
		case tallyKeptBack:
			c.KeptBack = n
		default:
			if why, ok := strings.CutPrefix(k.kind, tallyWhy); ok && n != 0 {
				c.Why[why] = n
			}
		}
	})
	return c, err
}

// Agreed counts the rows of a folder that are on both sides, those included whose deletion is held.
func (tx *Tx) Agreed(folder int64) (int, error) { return tx.count(folder, tallyAgreed) }

// AgreedAll is Agreed for every folder that has such rows.
func (tx *Tx) AgreedAll() (map[int64]int, error) {
	all := make(map[int64]int)
	err := tx.eachTally(`SELECT folder, kind, n FROM tally`, nil, func(k tallyKey, n int) {
		if k.kind == tallyAgreed && n != 0 {
			all[k.folder] = n
		}
	})
	return all, err
}

func (tx *Tx) count(folder int64, kind string) (int, error) {
	total := 0
	err := tx.eachTally(`SELECT folder, kind, n FROM tally WHERE folder = ? AND kind = ?`, []driver.Value{folder, kind},
		func(_ tallyKey, n int) { total = n })
	return total, err
}

func (tx *Tx) eachTally(sql string, args []driver.Value, f func(k tallyKey, n int)) error {
	if err := tx.tally.flush(tx.c); err != nil {
		return err
	}
	return tx.c.query(sql, args, func(row []driver.Value) error {
		r := &reader{values: row}
		k, n := tallyKey{r.int(), r.text()}, r.int()
		if r.err != nil || n < 0 {
			return tx.c.damaged(errTally)
		}
		f(k, int(n))
		return nil
	})
}
