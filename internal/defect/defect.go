// Package defect makes a panic, which is a mistake in this program, the failure of what was being done at that moment, so that all
// else goes on. What the runtime gives up on by itself, as without memory, still ends the program.
package defect

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// Error is a panic that was caught.
type Error struct {
	What  any
	Stack []byte // of the goroutine, for whoever mends it
}

func (e *Error) Error() string {
	return fmt.Sprintf("Satchel itself made a mistake here (%v), and left off as if it had been stopped; what it was sure of is recorded, and everything else "+
		"went on. Please report it, with what the same command prints with -vv", e.What)
}

// Unwrap returns the error that the panic was about, if it was about one.
func (e *Error) Unwrap() error {
	err, _ := e.What.(error)
	return err
}

// Of finds the panic in an error, nil if there is none.
func Of(err error) *Error {
	e, _ := errors.AsType[*Error](err)
	return e
}

// Catch is to be deferred, and makes a panic the error that its function returns. A caught one that a goroutine handed on to
// whoever waits for it, by a panic of its own, keeps its stack.
func Catch(err *error) {
	switch what := recover().(type) {
	case nil:
	case *Error:
		*err = what
	default:
		*err = &Error{what, debug.Stack()}
	}
}

// Contain calls f, and returns its error, or its panic.
func Contain(f func() error) (err error) {
	defer Catch(&err)
	return f()
}
