package state

import (
	"database/sql/driver"
	"strings"
)

// statement writes one row. order says which of the row's values are its arguments.
type statement struct {
	sql   string
	order []int
}

// None of these is ever changed.
var (
	insertFolder = newInsert("folder", folderColumns)
	updateFolder = newUpdate("folder", folderColumns)
)

// newInsert inserts a row with all columns of one of the lists in row.go.
func newInsert(table, columns string) statement {
	var s statement
	var marks []string
	for i := range strings.Split(columns, ", ") {
		marks = append(marks, "?")
		s.order = append(s.order, i)
	}
	s.sql = `INSERT INTO ` + table + ` (` + columns + `) VALUES (` + strings.Join(marks, ", ") + `)`
	return s
}

// newUpdate sets all columns in the row with the id, which is the first column.
func newUpdate(table, columns string) statement {
	var s statement
	var set []string
	for i, name := range strings.Split(columns, ", ") {
		if i == 0 {
			continue
		}
		set = append(set, name+" = ?")
		s.order = append(s.order, i)
	}
	s.order = append(s.order, 0)
	s.sql = `UPDATE ` + table + ` SET ` + strings.Join(set, ", ") + ` WHERE id = ?`
	return s
}

// write runs s with one row and returns how many rows it changed.
func (tx *Tx) write(s statement, encode func(w *writer)) (int64, error) {
	tx.cells.reset()
	encode(&tx.cells)
	values := tx.cells.sum()
	tx.args = tx.args[:0]
	for _, i := range s.order {
		tx.args = append(tx.args, values[i])
	}
	return tx.c.exec(s.sql, tx.args...)
}

// writer collects the values of one row.
type writer struct{ values []driver.Value }
