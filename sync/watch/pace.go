package watch

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	mailsync "github.com/satchel-mail/satchel/sync"
)

const (
	// settleServer and settleLocal are how long it must have been quiet before what happened is looked at: whoever changes one
	// message often changes more. A mail client that marks 5,000 of them takes a second or two, and that is one run.
	settleServer = 15 * time.Millisecond
	settleLocal  = 25 * time.Millisecond
	// settleMost bounds how long a run waits for that.
	settleMost = 3 * time.Second

	// firstRetry and lastRetry are the bounds of how long a failed run waits before it is tried again, twice as long each time.
	firstRetry = 2 * time.Second
	lastRetry  = 15 * time.Minute
	// secretRetry is the least where the password could not be had: somebody may be asked for it each time.
	secretRetry = time.Minute
	// lockedRetry is how long a run waits for another Satchel to end its own.
	lockedRetry = time.Second
)

// pace decides when the next run begins. It knows no clock but the times that it is given.
type pace struct {
	poll time.Duration // a run begins so long after the last one even if nothing was told
	// jitter spreads a wait, so that many clients of a server that was away don't come back at the same moment.
	jitter func(time.Duration) time.Duration

	first, due time.Time // when the first of the changes was told that no run looked at, and when they are to be; zero if there are none
	polled     time.Time // when the last run ended
	failures   int       // runs that failed, one after the other
	notBefore  time.Time // no run begins earlier on its own
	asked      bool      // it was the server who asked us to stay away till then
	refused    bool      // the server refused to let us in: no run begins on its own
	here       bool      // what failed was on this side
	troubled   int       // runs that went well but for some folders, one after the other
	again      time.Time // when those are tried again, zero if there are none
}

func newPace(poll time.Duration) *pace { return &pace{poll: poll, jitter: spread} }

// spread makes a wait up to a fifth shorter or longer.
func spread(d time.Duration) time.Duration {
	return d + time.Duration((rand.Float64()-0.5)*0.4*float64(d))
}

// changed: something may have changed; it is looked at once it was quiet for so long.
func (p *pace) changed(now time.Time, settle time.Duration) {
	if p.first.IsZero() {
		p.first = now
	}
	if due := now.Add(settle); due.After(p.due) {
		p.due = due
	}
	if most := p.first.Add(settleMost); p.due.After(most) {
		p.due = most
	}
}

// wake: the machine slept or the network came back, so what failed before may work now.
func (p *pace) wake(now time.Time) {
	if !p.asked {
		p.notBefore = time.Time{}
	}
	p.changed(now, 0)
}

// mended: what was wrong on this side may be in order.
func (p *pace) mended() {
	if p.here {
		p.notBefore = time.Time{}
	}
}

// next is when a run begins if nothing else happens, false if none does.
func (p *pace) next() (time.Time, bool) {
	if p.refused {
		return time.Time{}, false
	}
	at := p.polled.Add(p.poll)
	for _, sooner := range []time.Time{p.due, p.again} {
		if !sooner.IsZero() && sooner.Before(at) {
			at = sooner
		}
	}
	if at.Before(p.notBefore) {
		at = p.notBefore
	}
	return at, true
}

// began: a run looks at everything that was told until now.
func (p *pace) began() { p.first, p.due = time.Time{}, time.Time{} }

// ended: a run ended so.
func (p *pace) ended(now time.Time, res *mailsync.Result) {
	p.polled, p.notBefore, p.asked, p.refused, p.here, p.again = now, time.Time{}, false, false, false, time.Time{}
	err := res.Fatal
	switch {
	case err == nil:
		p.failures = 0
		if len(res.Errors) == 0 {
			p.troubled = 0
			return
		}
		p.troubled++
		p.again = now.Add(p.jitter(backoff(p.troubled)))
		return
	case errors.Is(err, mailsync.ErrLocked):
		p.changed(now, lockedRetry)
		return
	case saysNo(err):
		p.refused = true
		return
	}
	_, setup := errors.AsType[*mailsync.SetupError](err)
	_, local := errors.AsType[*mailsync.LocalError](err)
	p.here = setup || local
	p.failed(now, err)
	p.changed(now, 0)
}

// saysNo reports whether it was the server that did not let us in. Where the password could not be had, a keyring may be unlocked later.
func saysNo(err error) bool {
	e, ok := errors.AsType[*remote.Error](err)
	return ok && e.Class == remote.Auth && !noSecret(e)
}

// noSecret reports whether there was no password to sign in with.
func noSecret(e *remote.Error) bool { return e.Class == remote.Auth && e.Text == "" && e.Code == "" }

// failed: what was tried is not tried again for some time, longer each time.
func (p *pace) failed(now time.Time, err error) {
	p.failures++
	var wait time.Duration
	wait, p.asked = p.jitter(backoff(p.failures)), false
	if e, ok := errors.AsType[*remote.Error](err); ok {
		if noSecret(e) {
			wait = max(wait, secretRetry)
		}
		if e.RetryAfter > 0 {
			wait, p.asked = max(e.RetryAfter, wait), true
		}
	}
	p.notBefore = now.Add(wait)
}

// backoff is how long to wait after so many failures, one after the other.
func backoff(failures int) time.Duration {
	return min(firstRetry<<min(failures-1, 20), lastRetry)
}
