package state

import (
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kept is a database in memory that one run after another opens and closes (Options.Kept) while it keeps its statements prepared.
// It is for simulations, which play a hundred runs a second: opening a file takes SQLite longer than all else that such a
// run does. A DB remembers nothing of what the one before it read, as if each were of another process.
type Kept struct {
	c      *conn
	path   string
	tables []string
	blank  Rows
}

// Keep makes an empty one. The file at path, which stays empty, is where it says that it lies.
func Keep(path string) (*Kept, error) {
	if err := makeFile(path); err != nil {
		return nil, err
	}
	c, err := dial(path, "mode=memory")
	if err != nil {
		return nil, err
	}
	c.alone = true
	k := &Kept{c: c, path: path}
	if err := c.update(func(tx *Tx) error { return tx.migrate(0, migrations()) }); err != nil {
		return nil, err
	}
	err = c.query(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`, nil, func(row []driver.Value) error {
		name, _ := row[0].(string)
		k.tables = append(k.tables, name)
		return nil
	})
	if err == nil {
		k.blank, err = k.Rows()
	}
	return k, err
}

// Close releases it.
func (k *Kept) Close() error { return k.c.close() }

func (k *Kept) open(o Options) (*DB, error) {
	n, err := k.c.one(`SELECT count(*) FROM self`)
	if err != nil {
		return nil, err
	}
	db := &DB{path: k.path, turn: make(chan struct{}, 1), c: k.c, kept: true, fresh: n == 0, now: o.Now}
	db.turn <- struct{}{}
	if db.now == nil {
		db.now = time.Now
	}
	k.c.forget()
	k.c.commit = o.Commit
	if db.fresh {
		err = k.c.update(func(*Tx) error { return db.christen(o.Owner) })
	} else {
		err = db.recognise(o)
	}
	if err == nil && !sameOwner(db.owner, o.Owner) {
		err = db.rebind(o.Owner)
	}
	if err != nil {
		return nil, err
	}
	return db, nil
}

// Rows are all that a Kept holds.
type Rows map[string][][]driver.Value

// Rows reads them.
func (k *Kept) Rows() (Rows, error) {
	all := Rows{}
	for _, table := range k.tables {
		err := k.c.query(`SELECT * FROM "`+table+`"`, nil, func(row []driver.Value) error {
			all[table] = append(all[table], slices.Clone(row))
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// Clear makes it as new.
func (k *Kept) Clear() error { return k.SetRows(k.blank) }

// SetRows replaces all that it holds.
func (k *Kept) SetRows(all Rows) error {
	k.c.forget()
	k.c.commit = nil
	return k.c.update(func(tx *Tx) error {
		for _, table := range k.tables {
			if _, err := k.c.exec(`DELETE FROM "` + table + `"`); err != nil {
				return err
			}
			for _, row := range all[table] {
				values := strings.TrimSuffix(strings.Repeat("?, ", len(row)), ", ")
				if _, err := k.c.exec(fmt.Sprintf(`INSERT INTO "%s" VALUES (%s)`, table, values), row...); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
