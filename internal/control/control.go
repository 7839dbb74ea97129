// Package control is how one Satchel asks another, which watches an account, to synchronise it or to say how it is: over a socket
// beside the account's state, which only its owner can open.
//
// A connection carries one Request and then Replies, each a line of JSON. The last Reply has Done set. While there is nothing to say, empty
// ones tell that somebody is there.
package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// Request is what is asked for.
type Request struct {
	Do string `json:"do"` // Sync or Status
	// Account is whom the asker means.
	Account string `json:"account"`

	// What `satchel sync` was asked for.
	Targets      []string `json:"targets,omitempty"`
	DryRun       bool     `json:"dry_run,omitempty"`
	AllowDeletes bool     `json:"allow_deletes,omitempty"`
	RestoreHeld  bool     `json:"restore_held,omitempty"`
	Rebind       bool     `json:"rebind,omitempty"`
	// JSON and Quiet say how the answer is to be spelled.
	JSON  bool `json:"json,omitempty"`
	Quiet bool `json:"quiet,omitempty"`
	// Config is the asker's configuration file, if it named one: the answer may say which command to give next.
	Config string `json:"config,omitempty"`
}

// What can be asked for.
const (
	Sync   = "sync"
	Status = "status"
)

// Reply is a part of the answer.
type Reply struct {
	// Out and Err are for the asker's standard output and standard error.
	Out string `json:"out,omitempty"`
	Err string `json:"err,omitempty"`
	// Status answers Status.
	Status json.RawMessage `json:"status,omitempty"`
	Done   bool            `json:"done,omitempty"`
	Exit   int             `json:"exit,omitempty"` // with Done: the exit code
}

const (
	// maxLine bounds a request or a reply.
	maxLine = 16 << 20
	// askWithin is how long the asker may take to say what it wants, and a watch to take a connection.
	askWithin = 5 * time.Second
	// aliveEvery is how often a watch says that it is there, and silentFor how long it may say nothing: it was stopped then, or its machine is
	// too busy for anything.
	aliveEvery = time.Second
	silentFor  = 5 * time.Second
)

// Path is where the socket lies of a watch on the account with that state database.
func Path(state string) string { return state + ".sock" }

// ErrNobody: nobody watches the account.
var ErrNobody = errors.New("nobody watches this account")

// ErrWatched: another Satchel watches the account already.
var ErrWatched = errors.New("another satchel watch is at work on this account")

// ErrSilent: somebody watches the account, and says nothing.
var ErrSilent = errors.New("the satchel watch that is at work on this account does not answer; was it stopped (Ctrl-Z)?")

// Listen makes the socket at path. It fails with ErrWatched if somebody listens there.
func Listen(path string) (net.Listener, error) {
	if c, err := dial(path); err == nil {
		_ = c.Close()
		return nil, ErrWatched
	}
	// What is left of a watch that was killed is replaced. Nobody can connect before the permissions are right.
	temp := path + ".new"
	if err := os.Remove(temp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("making the socket %s: %w", path, err)
	}
	l, err := listen(temp)
	if err != nil {
		return nil, fmt.Errorf("making the socket %s: %w", path, err)
	}
	if err = os.Chmod(temp, 0o600); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = l.Close()
		_ = os.Remove(temp)
		return nil, fmt.Errorf("making the socket %s: %w", path, err)
	}
	made, err := os.Stat(path)
	if err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("making the socket %s: %w", path, err)
	}
	return &listener{l, path, made}, nil
}

// listener removes the socket when it is closed.
type listener struct {
	net.Listener
	path string
	made os.FileInfo
}

// Close implements net.Listener.
func (l *listener) Close() error {
	var err error
	if l.there() { // not another one
		err = os.Remove(l.path)
	}
	return errors.Join(err, l.Listener.Close())
}

// there reports whether whoever asks at the path finds this socket.
func (l *listener) there() bool {
	now, err := os.Stat(l.path)
	return err == nil && os.SameFile(now, l.made)
}

// lookEvery is how often it is made sure that a socket is still found: it goes with its directory.
const lookEvery = 30 * time.Second

// Serve answers requests until ctx ends, each as answer does; the last reply's Done is set here. answer's ctx ends with whoever asked, too.
// It also returns when a socket of Listen is not found any more at its path, because the directory was replaced, say.
func Serve(ctx context.Context, l net.Listener, answer func(ctx context.Context, req Request, reply func(Reply)) (exit int)) {
	serveLooking(ctx, l, lookEvery, answer)
}

func serveLooking(ctx context.Context, l net.Listener, every time.Duration, answer func(context.Context, Request, func(Reply)) int) {
	ended := make(chan struct{})
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		defer l.Close()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for own, ok := l.(*listener); !ok || own.there(); {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			case <-ended:
				return
			}
		}
	}()
	defer func() { <-closed }() // then the next one can listen
	defer close(ended)
	for {
		c, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			time.Sleep(100 * time.Millisecond) // out of file descriptors, say
		case ctx.Err() != nil:
			_ = c.Close()
		default:
			go serve(ctx, c, answer)
		}
	}
}

func serve(ctx context.Context, c net.Conn, answer func(context.Context, Request, func(Reply)) int) {
	defer c.Close()
	var req Request
	_ = c.SetReadDeadline(time.Now().Add(askWithin))
	if in := lines(c); !in.Scan() || json.Unmarshal(in.Bytes(), &req) != nil {
		return // who can't say what is wanted gets nothing
	}
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	_ = c.SetReadDeadline(time.Time{})
	go func() {
		defer gone()
		_, _ = io.Copy(io.Discard, c) // until the connection is closed, by either side
	}()
	enc := json.NewEncoder(c)
	var writing sync.Mutex
	reply := func(r Reply) {
		writing.Lock()
		defer writing.Unlock()
		_ = c.SetWriteDeadline(time.Now().Add(askWithin))
		_ = enc.Encode(r) // who does not listen any more gets nothing
	}
	go func() {
		tick := time.NewTicker(aliveEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			reply(Reply{})
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
	}()
	exit := answer(ctx, req, reply)
	reply(Reply{Done: true, Exit: exit})
}

// Ask sends a request to the watch at path and gives its replies to take. The error is ErrNobody if there is none, or if it
// ended before it had answered, and ErrSilent if it does nothing at all.
func Ask(ctx context.Context, path string, req Request, take func(Reply)) (exit int, err error) {
	c, err := dial(path)
	if err != nil {
		return 0, ErrNobody
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_ = c.SetWriteDeadline(time.Now().Add(askWithin))
	if err := json.NewEncoder(c).Encode(req); err != nil {
		return 0, ended(ctx)
	}
	in := lines(patient{c})
	for in.Scan() {
		var r Reply
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			break // it broke off
		}
		switch {
		case r.Done:
			return r.Exit, nil
		case r.Out != "" || r.Err != "" || r.Status != nil:
			take(r)
		}
	}
	if errors.Is(in.Err(), os.ErrDeadlineExceeded) && ctx.Err() == nil {
		return 0, ErrSilent
	}
	return 0, ended(ctx)
}

// patient reads for as long as a watch may say nothing. It tries twice, since it may be we who were stopped meanwhile.
type patient struct{ net.Conn }

// Read implements net.Conn.
func (p patient) Read(b []byte) (n int, err error) {
	for range 2 {
		_ = p.SetReadDeadline(time.Now().Add(silentFor / 2))
		if n, err = p.Conn.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			break
		}
	}
	return n, err
}

func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return ErrNobody
}

// lines reads a line at a time, none longer than maxLine.
func lines(r io.Reader) *bufio.Scanner {
	in := bufio.NewScanner(r)
	in.Buffer(nil, maxLine)
	return in
}
