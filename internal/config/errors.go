package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors bounds how many errors are reported of one file.
const maxErrors = 100

// Error is one thing that is wrong in a configuration file.
type Error struct {
	Path string
	Line int    // counted from 1
	Key  string // dotted, empty if it is not about a key
	Text string // what is wrong and what is allowed
}

// Error gives "path:line: key: text".
func (e *Error) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("%s:%d: %s", e.Path, e.Line, e.Text)
	}
	return fmt.Sprintf("%s:%d: %s: %s", e.Path, e.Line, e.Key, e.Text)
}

// Errors is everything that is wrong in a configuration file, by line.
type Errors []*Error

// Error gives one line for each error.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the single errors.
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// report gathers errors while a file is read.
type report struct {
	path string
	errs Errors
}

func (r *report) add(line int, key, format string, args ...any) {
	if len(r.errs) < maxErrors {
		r.errs = append(r.errs, &Error{Path: r.path, Line: max(line, 1), Key: key, Text: fmt.Sprintf(format, args...)})
	}
}

// full reports whether further errors would be dropped.
func (r *report) full() bool { return len(r.errs) >= maxErrors }

// err returns the errors in the file's order, nil if there are none.
func (r *report) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errs, func(a, b *Error) int { return cmp.Compare(a.Line, b.Line) })
	return r.errs
}
