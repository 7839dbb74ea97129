package sync

import (
	"context"
	"errors"
	"sync"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/remote"
)

// sessions hands out sessions of one account: one at a time to each worker, opened when there is work
// for them, never more than the limit.
type sessions struct {
	dialer remote.Dialer
	keep   func(remote.Session) // takes what is in order at the end, nil: it is closed
	slots  chan struct{}        // one token for each session in use

	mu      sync.Mutex
	idle    []remote.Session
	opened  int // sessions alive
	limit   int // lowered when the server refuses another
	traffic remote.Traffic
	early   *dialing // the session that is being opened before anybody needs it, nil once it is taken
}

// dialing is a session that is being opened.
type dialing struct {
	done   chan struct{}
	cancel context.CancelFunc
	s      remote.Session
	err    error
}

func newSessions(d remote.Dialer, keep func(remote.Session), limit int) *sessions {
	limit = max(limit, 1)
	return &sessions{dialer: d, keep: keep, slots: make(chan struct{}, limit), limit: limit}
}

// with runs f with a session. A session that f's error killed is closed, others are kept. When the
// server refuses an additional connection, the work waits for one of those that are there.
func (p *sessions) with(ctx context.Context, f func(remote.Session) error) error {
	for {
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s, err := p.take(ctx)
		if err != nil {
			if p.fewer(err) {
				continue // this slot stays taken for good
			}
			<-p.slots
			return err
		}
		return p.use(s, f)
	}
}

// use runs f with a session and takes that back. One in which f panicked may be anywhere by now.
func (p *sessions) use(s remote.Session, f func(remote.Session) error) error {
	err := context.Canceled
	defer func() {
		p.put(s, err)
		<-p.slots
	}()
	err = f(s)
	return err
}

// start begins to open the first session, so that it is there when it is needed.
func (p *sessions) start(ctx context.Context) {
	d := &dialing{done: make(chan struct{})}
	ctx, d.cancel = context.WithCancel(ctx)
	p.mu.Lock()
	p.early = d
	p.opened++
	p.mu.Unlock()
	go func() {
		defer close(d.done)
		d.s, d.err = p.dial(ctx)
	}()
}

// await returns the session that start began to open.
func (p *sessions) await(ctx context.Context, d *dialing) (remote.Session, error) {
	select {
	case <-d.done:
	case <-ctx.Done(): // which is that of Dial too
		d.cancel()
		<-d.done
	}
	if d.err != nil {
		p.mu.Lock()
		p.opened--
		p.mu.Unlock()
	}
	return d.s, d.err
}

func (p *sessions) take(ctx context.Context) (remote.Session, error) {
	p.mu.Lock()
	if d := p.early; d != nil {
		p.early = nil
		p.mu.Unlock()
		return p.await(ctx, d)
	}
	if n := len(p.idle); n > 0 {
		s := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return s, nil
	}
	p.opened++
	p.mu.Unlock()
	s, err := p.dial(ctx)
	if err != nil {
		p.mu.Lock()
		p.opened--
		p.mu.Unlock()
	}
	return s, err
}

func (p *sessions) dial(ctx context.Context) (s remote.Session, err error) {
	defer defect.Catch(&err)
	return p.dialer.Dial(ctx)
}

// fewer reports whether err means that the server takes no further connection while others are open.
func (p *sessions) fewer(err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := remote.ClassOf(err); p.opened == 0 || p.limit <= 1 || (c != remote.Unavailable && c != remote.Lost && c != remote.Unreachable) {
		return false
	}
	p.limit--
	return true
}

func (p *sessions) put(s remote.Session, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if remote.Dead(err) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		p.drop(s)
		return
	}
	p.idle = append(p.idle, s)
}

// drop closes a session and keeps its counts. The caller holds mu.
func (p *sessions) drop(s remote.Session) {
	_ = s.Close() // it is dead or no longer needed
	p.release(s)
}

// release keeps the counts of a session that is no longer ours. The caller holds mu.
func (p *sessions) release(s remote.Session) {
	p.traffic = p.traffic.Plus(s.Traffic())
	p.opened--
}

// close ends all sessions and returns what they exchanged.
func (p *sessions) close() remote.Traffic {
	p.mu.Lock()
	if d := p.early; d != nil { // nobody needed it
		p.early = nil
		p.mu.Unlock()
		d.cancel()
		if s, err := p.await(context.Background(), d); err == nil {
			p.put(s, context.Canceled)
		}
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	for _, s := range p.idle {
		if p.keep == nil {
			p.drop(s)
			continue
		}
		p.release(s)
		p.keep(s)
	}
	p.idle = nil
	return p.traffic
}

// reading is with for work that can be repeated: when the session is lost it is done once more on a
// new one.
func (p *sessions) reading(ctx context.Context, f func(remote.Session) error) error {
	err := p.with(ctx, f)
	if remote.ClassOf(err) == remote.Lost && ctx.Err() == nil {
		err = p.with(ctx, f)
	}
	return err
}
