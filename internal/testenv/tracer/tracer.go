// Package tracer runs a program and has one of its system calls go wrong: the process is killed right before it, or
// the call fails and does nothing. Only calls count that change files or say something to a server. They are
// counted over all threads in the order in which they are made; strace counts for each thread by itself, which
// for a Go program is a matter of chance.
//
// It needs Linux on amd64, and the right to trace a child process.
package tracer

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrUnsupported says that programs can't be traced here.
var ErrUnsupported = errors.New("programs can't be traced here")

// Kind is what a call works on.
type Kind int

const (
	// Files are the calls that change the file system.
	Files Kind = iota
	// Wire are those that write to a socket or a pipe, standard output and standard error excepted.
	Wire
)

// Call is one system call that counts.
type Call struct {
	Kind Kind
	Name string
	// Target is the file, as the program named it or as the kernel names an open one.
	Target string
	// Data is what "pwrite64" writes, and Offset where, or how long "ftruncate" makes the file, if Fault.Data asks for them.
	Data   []byte
	Offset int64
	// grows: a full disk may refuse it.
	grows bool
}

func (c Call) String() string { return fmt.Sprintf("%s(%s)", c.Name, c.Target) }

// Fault says what shall go wrong. The zero value only counts.
type Fault struct {
	Kind Kind
	// At is which call of that kind is struck, from 1 on; 0 is none.
	At int
	// Errno is what it fails with; 0 kills the process in its place.
	Errno syscall.Errno
	// Lasting has all later calls fail as well that need room, as on a disk that stays full.
	Lasting bool
	// Data has the calls tell what they write.
	Data bool
}

// Outcome is how a run went.
type Outcome struct {
	// Code is the exit code, -1 if the process was killed.
	Code int
	// Calls are those that count, in their order, with the one that was struck and those after it.
	Calls []Call
	// Struck is the call at which things went wrong first, nil if the program did not make as many.
	Struck *Call
}

// Count is how many calls of a kind there were.
func (o Outcome) Count(k Kind) int {
	n := 0
	for _, c := range o.Calls {
		if c.Kind == k {
			n++
		}
	}
	return n
}
