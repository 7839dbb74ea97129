package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/proxy"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestCut: the connections of a large two-way sync break after so many bytes in one direction or the other, the next run
// begins at once, and nothing is lost and nothing doubled.
func TestCut(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(testing.TB, servers.Options) *servers.Server
		o     servers.Options
		cuts  int
	}{
		{"Dovecot", servers.Dovecot, servers.Options{}, 4},
		{"Dovecot without MOVE", servers.Dovecot, servers.Options{Without: []string{"MOVE"}}, 3},
		{"Cyrus", servers.Cyrus, servers.Options{}, 3},
		{"Courier", servers.Courier, servers.Options{}, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cut(t, newRounds(t, uint64(amount(t, "SATCHEL_SEED", 1)), tt.start(t, tt.o)), amount(t, "SATCHEL_CUTS", tt.cuts))
		})
	}
}

func cut(t *testing.T, r *rounds, n int) {
	relay := r.relayed()
	r.fill(200, 6)
	if code, out := r.satchel("sync"); code != 0 {
		r.fatalf("the first sync: exit %d\n%s", code, out)
	}
	broken := 0
	up, down := int64(30_000), int64(60_000) // what such a round takes, learnt on the way
	for i := range n {
		r.note("cut %d", i)
		r.remoteActs(40)
		r.localActs(40)
		script := proxy.Script{Linger: true}
		if r.rng.IntN(2) == 0 {
			script.CutAfterUp = 1 + r.rng.Int64N(up)
		} else {
			script.CutAfterDown = 1 + r.rng.Int64N(down)
		}
		r.note("%+v", script)
		before := relay.Count()
		relay.SetScript(func(int) proxy.Script { return script })
		code, out := r.satchel("sync")
		relay.SetScript(lingering)
		switch {
		case code == 0: // it could do with the bytes, or with another connection
			after := relay.Count()
			up, down = max(up/2, after.Up-before.Up), max(down/2, after.Down-before.Down)
		case code != 1 && code != 5 || strings.Contains(out, "goroutine "):
			r.fatalf("a run that was cut off: exit %d\n%s", code, out)
		default:
			broken++
		}
		r.settle("a cut", func() error { relay.Idle(); return nil })
	}
	t.Logf("%d of %d runs were cut off", broken, n)
	if broken == 0 {
		t.Error("no run was cut off: the test proves nothing")
	}
}

// TestCutUpload: the connection breaks when the server has just got the nth message of an upload, and its answer goes
// nowhere. The next run begins at once; or, where it is late, what the dead connections had sent reaches the server when
// that run is through, and has sent the same messages itself.
func TestCutUpload(t *testing.T) {
	t.Parallel()
	const here, inBox = 24, 4
	servers := []struct {
		name  string
		start func(testing.TB, servers.Options) *servers.Server
		o     servers.Options
	}{
		{"Dovecot", servers.Dovecot, servers.Options{}},
		{"Dovecot without MULTIAPPEND", servers.Dovecot, servers.Options{Without: []string{"MULTIAPPEND"}}},
		{"Dovecot without LITERAL+", servers.Dovecot, servers.Options{Without: []string{"LITERAL+", "LITERAL-", "MULTIAPPEND"}}},
		{"Dovecot without UIDPLUS", servers.Dovecot, servers.Options{Without: []string{"UIDPLUS"}}},
		{"Cyrus", servers.Cyrus, servers.Options{}},
		{"Courier", servers.Courier, servers.Options{}},
	}
	for _, server := range servers {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %v", server.name, late), func(t *testing.T) {
				t.Parallel()
				for _, nth := range everyNth(t, here) {
					a := newAccount(t, server.start(t, server.o))
					relay := a.relayed()
					var want, wantBox []string
					for i := range here {
						want = append(want, fmt.Sprintf("m%02d", i))
					}
					want = append(want, "twin", "twin")
					for i := range inBox {
						wantBox = append(wantBox, fmt.Sprintf("b%02d", i))
					}
					a.file("INBOX", "S", want...)
					a.file("Box", "F", wantBox...)
					a.cutUpload(relay, nth, late)
					a.holds("INBOX", want...)
					a.holds("Box", wantBox...)
					a.verify()
				}
			})
		}
	}
}

// TestLateCopy: where the server can't move, a run's connection breaks at its COPY, which reaches the server when the next run has
// copied the same messages, and lost its connection before it could remove the originals.
func TestLateCopy(t *testing.T) {
	t.Parallel()
	for _, server := range []struct {
		name  string
		start func(testing.TB, servers.Options) *servers.Server
		o     servers.Options
	}{
		{"Courier", servers.Courier, servers.Options{}},
		{"Courier without UIDPLUS", servers.Courier, servers.Options{Without: []string{"UIDPLUS"}}},
		{"Cyrus without MOVE", servers.Cyrus, servers.Options{Without: []string{"MOVE"}}},
	} {
		t.Run(server.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, server.start(t, server.o))
			a.client().Create(a.mailbox("Box"))
			a.send("INBOX", flags(`\Seen`), "stays", "m0", "m1", "m2", "twin")
			a.send("Box", flags(), "there")
			relay := a.relayed()
			a.sync(0)
			for _, subject := range []string{"m0", "m1", "m2", "twin"} {
				a.move("INBOX", "Box", subject)
			}
			a.send("INBOX", flags(`\Seen`), "twin")
			copied, expunged := make(chan struct{}), make(chan struct{})
			a.cutAt(relay, proxy.Script{CutAfterCommand: "UID COPY", Late: copied})
			a.cutAt(relay, proxy.Script{CutAfterCommand: "EXPUNGE", Late: expunged})
			close(copied)
			for deadline := time.Now().Add(20 * time.Second); a.client().Count(a.mailbox("Box")) < 9; {
				if time.Now().After(deadline) {
					t.Fatal("the second copies do not arrive: the test proves nothing")
				}
			}
			close(expunged)
			relay.Idle()
			a.recover()
			a.holds("INBOX", "stays", "twin")
			a.holds("Box", "there", "m0", "m1", "m2", "twin")
			a.verify()
		})
	}
}

// everyNth are the messages after which uploads are cut off: some, or all with SATCHEL_SWEEP=all.
func everyNth(t *testing.T, n int) []int {
	if sweepAll() {
		var all []int
		for i := range n {
			all = append(all, i+1)
		}
		return all
	}
	return []int{1, n/2 + amount(t, "SATCHEL_SEED", 1)%4}
}

// relayed has the program reach the server through a proxy.
func (a *account) relayed() *proxy.Proxy {
	a.t.Helper()
	relay, through := newRelay(a.t, a.Server, lingering)
	a.imap = through
	a.write()
	return relay
}

// cutUpload has a run lose each of its connections at the nth message that it sends there, and others clean up. If it is late, what
// was sent arrives when the first of these is through.
func (a *account) cutUpload(relay *proxy.Proxy, nth int, late bool) {
	a.t.Helper()
	script := proxy.Script{CutAfterLiteral: nth}
	arrive := make(chan struct{})
	if late {
		script.Late = arrive
	}
	a.cutAt(relay, script)
	a.sync(0)
	close(arrive)
	relay.Idle()
	a.recover()
}

// cutAt has a run lose each of its connections as the script says.
func (a *account) cutAt(relay *proxy.Proxy, script proxy.Script) {
	a.t.Helper()
	script.Linger = true
	relay.SetScript(func(int) proxy.Script { return script })
	defer relay.SetScript(lingering)
	if o := a.run("sync"); o.Code != 0 && o.Code != 1 && o.Code != 5 {
		a.t.Fatalf("a run that was cut off, %+v: %v", script, o)
	}
}

// recover runs the program until it finds nothing to do.
func (a *account) recover() {
	a.t.Helper()
	for i := range recoveries {
		o := a.run("sync", "--json")
		if o.Code != 0 || i == recoveries-1 && !idle(o) {
			a.t.Fatalf("run %d after the line was cut: %v", i+1, o)
		}
		if idle(o) {
			return
		}
	}
}
