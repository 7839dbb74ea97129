package e2e

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// syncing has syncs run one after the other until it is stopped.
type syncing struct {
	r    *rounds
	ran  atomic.Int64 // syncs that ended
	stop chan struct{}
	end  chan error
}

func (r *rounds) startSyncing() *syncing {
	s := &syncing{r: r, stop: make(chan struct{}), end: make(chan error, 1)}
	go s.loop() // ends with stop, or with the first sync that fails
	return s
}

func (s *syncing) loop() {
	for {
		out, err := s.r.command("sync").CombinedOutput()
		if err != nil && !s.restless(string(out)) {
			s.end <- fmt.Errorf("%w\n%s", err, out)
			return
		}
		s.ran.Add(1)
		select {
		case <-s.stop:
			s.end <- nil
			return
		default:
		}
	}
}

// restless reports whether all that a sync complains of is that the others never rested, so that it left something to the next. Courier may show
// another message under a UID that it has just given (docs/safety.md, Known limits), which is said as well.
func (s *syncing) restless(out string) bool {
	rest := strings.Count(out, ": something changed each time that this sync looked")
	others := 0
	if s.r.server.Name == "courier" {
		others = strings.Count(out, ": what the server shows under the UIDs of ")
	}
	return rest > 0 && strings.Count(out, "satchel: ") == rest+others
}

// next does something again and again until another sync has ended, at least once.
func (s *syncing) next(do func()) {
	s.r.t.Helper()
	for ran := s.ran.Load(); s.ran.Load() == ran; {
		do()
		select {
		case err := <-s.end:
			s.r.fatalf("a sync failed while others were at work: %v", err)
		default:
		}
	}
}

// halt waits for the last sync.
func (s *syncing) halt() {
	s.r.t.Helper()
	close(s.stop)
	if err := <-s.end; err != nil {
		s.r.fatalf("a sync failed while others were at work: %v", err)
	}
}

// togetherRounds is during how many syncs the others are at work on Dovecot; elsewhere half of that.
const togetherRounds = 8

// Of those who are at work at the same time only one moves messages, unless SATCHEL_SWEEP=all: a message that two move
// to two places in the same instant may end in both. Likewise all folders have the same letters for the keywords then: a file that somebody
// moves to a folder where its letter means nothing, in the instant in which a sync works on it, may keep the letter and lose the keyword.

// together are the kinds of servers on which people work during syncs, of which there are rounds. Courier may give other UIDs
// to what two clients store in one folder at the same moment (docs/safety.md, Known limits): two Satchels meet there with SATCHEL_SWEEP=all.
func together(t *testing.T, satchels int, test func(t *testing.T, s *servers.Server, rounds int)) {
	t.Parallel()
	for _, kind := range []struct {
		name   string
		start  func(testing.TB, servers.Options) *servers.Server
		rounds int
	}{{"Dovecot", servers.Dovecot, togetherRounds}, {"Cyrus", servers.Cyrus, togetherRounds / 2}, {"Courier", servers.Courier, togetherRounds / 2}} {
		if kind.name == "Courier" && satchels > 1 && !sweepAll() {
			continue
		}
		t.Run(kind.name, func(t *testing.T) {
			t.Parallel()
			test(t, kind.start(t, servers.Options{}), amount(t, "SATCHEL_TOGETHER", kind.rounds))
		})
	}
}

// TestTogether: while syncs run, somebody works in the Maildir as mutt does, and another client on the server; no sync fails, but
// for saying that they never rest, and in the end nothing is lost and nothing doubled.
func TestTogether(t *testing.T) {
	together(t, 1, func(t *testing.T, server *servers.Server, rounds int) {
		r := newRounds(t, uint64(amount(t, "SATCHEL_SEED", 1)), server)
		r.fill(60, 5)
		r.nameKeywords()
		none := func() error { return nil }
		r.settle("the start", none)
		r.movesThere = sweepAll()
		s := r.startSyncing()
		for range rounds {
			s.next(func() {
				r.localActs(1 + r.rng.IntN(6))
				r.remoteActs(1 + r.rng.IntN(4))
			})
		}
		s.halt()
		r.settle("all were at work", none)
	})
}

// TestTwoSatchels: two of them keep a Maildir each with one account, at the same time, and people work in both and on
// the server. In the end all three are the same.
func TestTwoSatchels(t *testing.T) { together(t, 2, twoSatchels) }

func twoSatchels(t *testing.T, server *servers.Server, rounds int) {
	one := newRounds(t, uint64(amount(t, "SATCHEL_SEED", 1)), server)
	one.fill(60, 5)
	one.nameKeywords()
	two := newRounds(t, 0, server)
	two.rng, two.made, two.gone = one.rng, one.made, one.gone
	two.side, two.n = "other local side", 1_000_000
	none := func() error { return nil }
	one.settle("the start", none)
	two.settle("the start", none)
	two.movesHere, one.movesThere = sweepAll(), sweepAll()
	first, second := one.startSyncing(), two.startSyncing()
	for range rounds {
		act := func() {
			one.localActs(1 + one.rng.IntN(4))
			two.localActs(1 + one.rng.IntN(4))
			one.remoteActs(1 + one.rng.IntN(3))
		}
		first.next(act)
		second.next(act)
	}
	first.halt()
	second.halt()
	two.log = append(one.log, two.log...)
	for i := range 2 * recoveries {
		a, b := one.quietly(), two.quietly()
		if a && b {
			break
		}
		if i == 2*recoveries-1 {
			two.fatalf("the two do not come to rest")
		}
	}
	one.check()
	two.check()
}

// quietly syncs, and reports whether there was nothing to do.
func (r *rounds) quietly() bool {
	r.t.Helper()
	code, out := r.satchel("sync", "--json")
	if code != 0 {
		r.fatalf("a sync when all others have ended: exit %d\n%s", code, out)
	}
	return idle(outcome{Stdout: out})
}
