package watch

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/remote"
)

// ears are the connections on which the server tells of changes: one where it tells of all mailboxes (NOTIFY), else one for each of
// the mailboxes that are waited for (IDLE).
type ears struct {
	dialer remote.Dialer
	most   int // mailboxes that are waited for with IDLE
	log    *slog.Logger
	told   func(remote.Notice) // called from several goroutines
	barred func()              // called when the server does not let a connection in: it is not tried again
	how    func([]string)      // called with the mailboxes that the server tells of, one without a name for all
	all    sync.WaitGroup

	mu      sync.Mutex
	now     *listening    // nil: nobody listens
	wanted  []string      // the mailboxes to wait for
	changed chan struct{} // closed when wanted changes
}

// listening is one generation of connections: those that were opened since the machine last slept.
type listening struct {
	*ears
	end     context.CancelFunc
	hearing map[string]int // on how many connections the server tells of a mailbox, without a name of all
}

func newEars(dialer remote.Dialer, most int, log *slog.Logger) *ears {
	return &ears{dialer: dialer, most: max(most, 1), log: log, changed: make(chan struct{})}
}

// listen begins to listen, on new connections; those from before end in their own time.
func (e *ears) listen(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.now != nil {
		e.now.end()
	}
	l := &listening{ears: e, hearing: map[string]int{}}
	ctx, l.end = context.WithCancel(ctx)
	e.now = l
	e.how(nil) // until one of them is told otherwise
	e.all.Go(func() { l.first(ctx) })
}

// stop ends all connections and waits for that.
func (e *ears) stop() {
	e.mu.Lock()
	if e.now != nil {
		e.now.end()
	}
	e.mu.Unlock()
	e.all.Wait()
}

// prefer names the mailboxes to wait for where not all can be, the most important first.
func (e *ears) prefer(mailboxes []string) {
	mailboxes = mailboxes[:min(len(mailboxes), e.most)]
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.wanted, mailboxes) {
		e.wanted = slices.Clone(mailboxes)
		close(e.changed)
		e.changed = make(chan struct{})
	}
}

// want returns the nth mailbox to wait for, empty if there is none, and what is closed when that may be another.
func (e *ears) want(n int) (string, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if n < len(e.wanted) {
		return e.wanted[n], e.changed
	}
	return "", e.changed
}

// await returns the nth mailbox to wait for, once there is one; empty if ctx ended before.
func (e *ears) await(ctx context.Context, n int) string {
	for {
		mailbox, changed := e.want(n)
		if mailbox != "" {
			return mailbox
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ""
		}
	}
}

// errDeaf: the server tells nothing by itself.
var errDeaf = errors.New("the server tells nothing by itself")

// first is the first connection, which finds out how the server can be listened to.
func (l *listening) first(ctx context.Context) {
	var others sync.Once
	l.keepUp(ctx, func(s remote.Session) error {
		caps := s.Capabilities()
		w, ok := s.(remote.Waiter)
		switch {
		case ok && caps.Notify:
			return l.wait(ctx, w, "")
		case ok && caps.Idle:
			others.Do(func() {
				for n := 1; n < l.most; n++ {
					l.all.Go(func() { l.other(ctx, n) })
				}
			})
			return l.idle(ctx, w, 0)
		}
		return errDeaf
	})
}

// other is another connection, for the nth mailbox.
func (l *listening) other(ctx context.Context, n int) {
	if l.await(ctx, n) == "" {
		return
	}
	l.keepUp(ctx, func(s remote.Session) error {
		w, ok := s.(remote.Waiter)
		if !ok || !s.Capabilities().Idle {
			return errDeaf
		}
		return l.idle(ctx, w, n)
	})
}

// workedFor is how long a connection must have lasted for its loss to be followed by another at once.
const workedFor = 10 * time.Second

// keepUp has f use a session, and another one when that is lost, until ctx ends. A server that refuses is left in peace.
func (l *listening) keepUp(ctx context.Context, f func(remote.Session) error) {
	retry := newPace(0)
	for ctx.Err() == nil {
		began := time.Now()
		err := defect.Contain(func() error {
			s, err := l.dialer.Dial(ctx)
			if err == nil {
				defer s.Close() // it is lost or no longer needed
				err = f(s)
			}
			return err
		})
		if ctx.Err() != nil || errors.Is(err, errDeaf) {
			return
		}
		if remote.ClassOf(err) == remote.Auth {
			l.barred() // a run says what there is to say
			return
		}
		l.log.Debug("what listens to the server was lost", "error", err)
		if time.Since(began) > workedFor {
			retry.failures = 0
			continue // servers are restarted, and lines drop: at first there is no reason to wait
		}
		retry.failed(time.Now(), err)
		select {
		case <-time.After(time.Until(retry.notBefore)):
		case <-ctx.Done():
		}
	}
}

// idle waits for the nth mailbox, whichever that is now.
func (l *listening) idle(ctx context.Context, w remote.Waiter, n int) error {
	for {
		mailbox := l.await(ctx, n)
		if mailbox == "" || ctx.Err() != nil {
			return nil
		}
		here, leave := context.WithCancel(ctx)
		go func() {
			for {
				now, changed := l.want(n)
				if now != mailbox {
					leave()
					return
				}
				select {
				case <-changed:
				case <-here.Done():
					return
				}
			}
		}()
		err := l.wait(here, w, mailbox)
		leave()
		if err != nil {
			return err
		}
	}
}

// wait has one session wait.
func (l *listening) wait(ctx context.Context, w remote.Waiter, mailbox string) error {
	heard := 0
	defer func() { l.hears(mailbox, -heard) }()
	return w.Wait(ctx, mailbox, func(n remote.Notice) {
		if n.Ready && heard == 0 {
			heard = 1
			l.hears(mailbox, 1)
		}
		l.told(n)
	})
}

// hears notes that a mailbox is listened to on more connections than before, or fewer.
func (l *listening) hears(mailbox string, more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hearing[mailbox] += more; l.hearing[mailbox] == 0 {
		delete(l.hearing, mailbox)
	}
	if l.now == l {
		l.how(slices.Sorted(maps.Keys(l.hearing)))
	}
}
