package watch

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

// fakeServer tells whoever waits what the test says.
type fakeServer struct {
	caps remote.Capabilities

	mu      sync.Mutex
	err     error // of every Dial
	dials   int
	waiting []*fakeSession
}

// Dial implements remote.Dialer.
func (f *fakeServer) Dial(context.Context) (remote.Session, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dials++
	if f.err != nil {
		return nil, f.err
	}
	return &fakeSession{server: f}, nil
}

func (f *fakeServer) dialled() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.dials
}

// down has the server fail so, for those who are waiting too.
func (f *fakeServer) down(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
	for _, s := range f.waiting {
		s.lost <- err
	}
}

func (f *fakeServer) up() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = nil
}

// tell tells everybody who waits.
func (f *fakeServer) tell(n remote.Notice) {
	f.mu.Lock()
	waiting := slices.Clone(f.waiting)
	f.mu.Unlock()
	for _, s := range waiting {
		s.told(n)
	}
}

// waitsFor fails the test unless these mailboxes are waited for.
func (f *fakeServer) waitsFor(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	var got []string
	for _, s := range f.waiting {
		got = append(got, s.mailbox)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%q are waited for, want %q", got, want)
	}
}

// fakeSession is a session that does nothing but wait.
type fakeSession struct {
	remote.Session
	server  *fakeServer
	mailbox string
	told    func(remote.Notice)
	lost    chan error
	closed  bool
	dead    bool
	checks  int
	traffic remote.Traffic
}

// Capabilities implements remote.Session.
func (s *fakeSession) Capabilities() remote.Capabilities { return s.server.caps }

// Traffic implements remote.Session.
func (s *fakeSession) Traffic() remote.Traffic { return s.traffic }

// Close implements remote.Session.
func (s *fakeSession) Close() error {
	s.closed = true
	return nil
}

// Check implements checker.
func (s *fakeSession) Check(context.Context) error {
	s.checks++
	if s.dead {
		return errTest
	}
	return nil
}

// Wait implements remote.Waiter.
func (s *fakeSession) Wait(ctx context.Context, mailbox string, told func(remote.Notice)) error {
	s.server.mu.Lock()
	s.mailbox, s.told, s.lost = mailbox, told, make(chan error, 1)
	s.server.waiting = append(s.server.waiting, s)
	s.server.mu.Unlock()
	defer func() {
		s.server.mu.Lock()
		defer s.server.mu.Unlock()
		s.server.waiting = slices.DeleteFunc(s.server.waiting, func(o *fakeSession) bool { return o == s })
	}()
	told(remote.Notice{Ready: true})
	select {
	case <-ctx.Done():
		return nil
	case err := <-s.lost:
		return err
	}
}

func TestKeeper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeServer{}
		k := &keeper{dialer: f}
		dial := func() remote.Session {
			t.Helper()
			s, err := k.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		first := dial().(*fakeSession)
		first.traffic = remote.Traffic{BytesIn: 100, BytesOut: 10, RoundTrips: 3}
		k.keep(first)
		again := dial()
		if n := f.dialled(); n != 1 {
			t.Fatalf("%d connections, want 1", n)
		}
		first.traffic.BytesIn, first.traffic.RoundTrips = 150, 4
		if got, want := again.Traffic(), (remote.Traffic{BytesIn: 50, RoundTrips: 1}); got != want {
			t.Errorf("the second run's traffic is %+v, want %+v", got, want)
		}
		k.keep(again)
		k.keep(dial()) // the same
		k.keep(&fakeSession{server: f, dead: true})
		if n := f.dialled(); n != 1 || first.closed {
			t.Fatalf("%d connections, the first closed: %v", n, first.closed)
		}

		time.Sleep(sureFor + time.Second)
		k.keep(dial())
		if first.checks != 1 || f.dialled() != 1 {
			t.Errorf("after a minute it was asked %d times whether it is alive, of %d connections", first.checks, f.dialled())
		}
		time.Sleep(sureFor + time.Second)
		first.dead = true
		second := dial()
		if !first.closed || f.dialled() != 2 {
			t.Errorf("a dead session is used again, of %d connections", f.dialled())
		}
		k.keep(second)
		time.Sleep(keepFor + time.Second)
		k.keep(dial())
		if !second.(*fakeSession).closed || f.dialled() != 3 {
			t.Errorf("a session is kept too long, of %d connections", f.dialled())
		}
		k.drop()
		k.drop()
		dial()
		if f.dialled() != 4 {
			t.Errorf("a session is used that was to be dropped, of %d connections", f.dialled())
		}
	})
}
