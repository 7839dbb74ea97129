package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

// A server must move slowBytes within slowFactor times the patience while it is waited for, so that one byte now and then holds
// nobody for ever.
const (
	slowFactor = 10
	slowBytes  = 1 << 10
)

// Fuse ends a connection with the first thing that goes wrong with it, which is then what every later use of it fails with.
type Fuse struct {
	Conn     net.Conn
	Patience time.Duration // how long the server may be silent

	mu  sync.Mutex
	err error

	since time.Time // since when slowness is measured, and the bytes that had moved then
	bytes int64
}

// Failure returns what ended the connection, nil while it lives.
func (f *Fuse) Failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// Fail ends the connection. The first reason wins and is returned.
func (f *Fuse) Fail(err error) error {
	f.mu.Lock()
	first := f.err == nil
	if first {
		f.err = err
	}
	err = f.err
	f.mu.Unlock()
	if first {
		_ = f.Conn.Close() // the reason for closing is the error that matters
	}
	return err
}

// Broke is Fail with what the network says, put into words.
func (f *Fuse) Broke(err error) error {
	if e, ok := errors.AsType[*remote.Error](err); ok {
		return f.Fail(e)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("the server fell silent for %v", f.Patience)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("the server closed the connection: %w", io.ErrUnexpectedEOF)
	}
	return f.Fail(Lost(err))
}

// Watch closes the connection when ctx ends. Call stop when the exchange is over.
func (f *Fuse) Watch(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { f.Fail(Lost(context.Cause(ctx))) })
}

// Begin starts the clock for a new exchange; moved is how many bytes have moved so far.
func (f *Fuse) Begin(moved int64) { f.since, f.bytes = time.Now(), moved }

// TooSlow fails the connection if it is, and returns why.
func (f *Fuse) TooSlow(moved int64) error {
	if time.Since(f.since) < slowFactor*f.Patience {
		return nil
	}
	if moved-f.bytes < slowBytes {
		return f.Fail(Lost(fmt.Errorf("the server sent less than %d bytes in %v", slowBytes, slowFactor*f.Patience)))
	}
	f.Begin(moved)
	return nil
}

// Lost is the failure of a connection that worked so far.
func Lost(err error) *remote.Error {
	return &remote.Error{Class: remote.Lost, Op: "talking to the server", Err: err}
}

// NotLost makes of a connection that broke before the session began one that could not be had: Dial knows no Lost. A refusal then is
// none of one request either.
func NotLost(err error) error {
	e, ok := errors.AsType[*remote.Error](err)
	if !ok {
		return &remote.Error{Class: remote.Unavailable, Op: "signing in", Err: err}
	}
	out := *e
	switch e.Class {
	case remote.Lost:
		out.Class = remote.Unavailable
	case remote.Refused:
		out.Class = remote.Protocol
	}
	return &out
}
