package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

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
		cuts  int
	}{
		{"Dovecot", servers.Dovecot, 6},
		{"Cyrus", servers.Cyrus, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cut(t, newRounds(t, uint64(amount(t, "SATCHEL_SEED", 1)), tt.start(t, servers.Options{})), amount(t, "SATCHEL_CUTS", tt.cuts))
		})
	}
}

func cut(t *testing.T, r *rounds, n int) {
	relay := proxy.New(t, r.server.Addr(), lingering)
	r.plainly(relay.Port())
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
	}
	for _, server := range servers {
		for _, late := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, late %v", server.name, late), func(t *testing.T) {
				t.Parallel()
				for _, nth := range everyNth(t, here) {
					a := newAccount(t, server.start(t, server.o))
					relay := proxy.New(t, a.Server.Addr(), nil)
					a.imap = map[string]string{"host": `"localhost"`, "port": strconv.Itoa(relay.Port()), "tls": `"off"`,
						"user": quote(a.Server.User), "password": quote(a.Server.Password)}
					a.write()
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

// cutUpload has a run lose each of its connections at the nth message that it sends there, and others clean up.
func (a *account) cutUpload(relay *proxy.Proxy, nth int, late bool) {
	a.t.Helper()
	script := proxy.Script{CutAfterLiteral: nth, Linger: true}
	arrive := make(chan struct{})
	if late {
		script.Late = arrive
	}
	relay.SetScript(func(int) proxy.Script { return script })
	if o := a.run("sync"); o.Code != 0 && o.Code != 1 && o.Code != 5 {
		a.t.Fatalf("a run that was cut off at message %d: %v", nth, o)
	}
	relay.SetScript(lingering)
	a.sync(0)
	close(arrive)
	relay.Idle()
	for i := range recoveries {
		o := a.run("sync", "--json")
		if o.Code != 0 || i == recoveries-1 && !idle(o) {
			a.t.Fatalf("cut off at message %d: run %d afterwards: %v", nth, i+2, o)
		}
		if idle(o) {
			return
		}
	}
}
