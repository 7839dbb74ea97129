package watch

import (
	"context"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	// keepFor is how long a session is kept that nobody needs. Servers end one after half an hour (RFC 9051, 5.4).
	keepFor = 20 * time.Minute
	// sureFor is how long a session is believed to be alive; later it is asked first.
	sureFor = time.Minute
)

// keeper hands the session of one run to the next, so that what happens now need not wait for signing in.
type keeper struct {
	dialer remote.Dialer

	mu   sync.Mutex
	kept remote.Session // nil: none
	used time.Time      // when it was kept
}

// checker is a session that can be asked whether it is alive, which it says within seconds.
type checker interface {
	Check(ctx context.Context) error
}

// Dial implements remote.Dialer.
func (k *keeper) Dial(ctx context.Context) (remote.Session, error) {
	k.mu.Lock()
	s, idle := k.kept, time.Since(k.used)
	k.kept = nil
	k.mu.Unlock()
	switch {
	case s == nil:
		return k.dialer.Dial(ctx)
	case idle > keepFor || idle > sureFor && !alive(ctx, s):
		_ = s.Close() // nobody needs it any more
		return k.dialer.Dial(ctx)
	}
	return &counted{Session: s, before: s.Traffic()}, nil
}

func alive(ctx context.Context, s remote.Session) bool {
	c, ok := s.(checker)
	return ok && c.Check(ctx) == nil
}

// keep takes a session that is in order.
func (k *keeper) keep(s remote.Session) {
	if c, ok := s.(*counted); ok {
		s = c.Session
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept != nil { // one is enough
		_ = s.Close()
		return
	}
	k.kept, k.used = s, time.Now()
}

// drop ends the session that is kept.
func (k *keeper) drop() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.kept != nil {
		_ = k.kept.Close()
		k.kept = nil
	}
}

// counted is a session that counts its traffic anew.
type counted struct {
	remote.Session
	before remote.Traffic
}

// Traffic implements remote.Session.
func (c *counted) Traffic() remote.Traffic {
	return c.Session.Traffic().Minus(c.before)
}
