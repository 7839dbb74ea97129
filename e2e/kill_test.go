package e2e

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/proxy"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
	"github.com/satchel-mail/satchel/internal/testenv/tracer"
)

// TestKill: the process is killed at random moments of a large two-way sync, on each kind of server; the next run begins at
// once, and nothing is lost and nothing doubled.
func TestKill(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(testing.TB, servers.Options) *servers.Server
		kills int
	}{
		{"Dovecot", servers.Dovecot, 6},
		{"Cyrus", servers.Cyrus, 4},
		{"Courier", servers.Courier, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := quickRounds(t, tt.start(t, servers.Options{}))
			kill(t, r, amount(t, "SATCHEL_KILLS", tt.kills))
		})
	}
}

// TestNoRoom: the disk refuses what needs room at random moments of a large two-way sync, once or from then on. (On Dovecot TestSweep has it
// do so at every moment.) The run says so; the next one, with room, begins at once, and nothing is lost and nothing doubled.
func TestNoRoom(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		start func(testing.TB, servers.Options) *servers.Server
	}{
		{"Cyrus", servers.Cyrus},
		{"Courier", servers.Courier},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := quickRounds(t, tt.start(t, servers.Options{}))
			noRoom(t, r, amount(t, "SATCHEL_KILLS", 2))
		})
	}
}

// quickRounds are rounds of the program without the race detector, which is many times as slow.
func quickRounds(t *testing.T, server *servers.Server) *rounds {
	t.Helper()
	r := newRounds(t, uint64(amount(t, "SATCHEL_SEED", 1)), server)
	var err error
	if r.program, err = quickProgram(); err != nil {
		t.Fatal(err)
	}
	return r
}

func noRoom(t *testing.T, r *rounds, n int) {
	r.fill(100, 4)
	if code, out := r.satchel("sync"); code != 0 {
		r.fatalf("the first sync: exit %d\n%s", code, out)
	}
	struck := 0
	calls := 300 // that change files, learnt on the way
	for i := range n {
		r.note("no room %d", i)
		r.remoteActs(30)
		r.localActs(30)
		fault := tracer.Fault{At: 1 + r.rng.IntN(calls), Errno: syscall.ENOSPC, Lasting: r.rng.IntN(2) == 0}
		r.note("%+v", fault)
		o, said, gone, err := traced(r.command("sync"), fault)
		if skipUntraced(t, err) {
			return
		}
		if err != nil {
			r.fatalf("%v", err)
		}
		calls = max(calls/2, o.Count(tracer.Files))
		if o.Struck != nil {
			struck++
			r.note("struck %s", o.Struck)
			err = honest(fault, o.Code, said)
		} else if o.Code != 0 {
			err = errors.New("it was not struck")
		}
		if err != nil {
			r.fatalf("a run without room, exit %d: %v\n%s", o.Code, err, said)
		}
		r.settle("a run without room", gone)
	}
	t.Logf("%d of %d runs had no room", struck, n)
	if struck == 0 {
		t.Error("no run was struck: the test proves nothing")
	}
}

func kill(t *testing.T, r *rounds, n int) {
	var relay *proxy.Proxy
	if r.server.Port != 0 {
		relay = r.relayed()
	}
	r.fill(200, 6)
	if code, out := r.satchel("sync"); code != 0 {
		r.fatalf("the first sync: exit %d\n%s", code, out)
	}
	killed := 0
	took := 300 * time.Millisecond // how long a whole sync of such a round takes, learnt on the way
	for i := range n {
		r.note("kill %d", i)
		r.remoteActs(40)
		r.localActs(40)
		d, err := newDeparture()
		if err != nil {
			t.Fatal(err)
		}
		cmd := r.command("sync")
		cmd.ExtraFiles = []*os.File{d.w} // which a tunnel inherits
		var out bytes.Buffer
		cmd.Stderr = &out
		started := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(r.rng.Int64N(int64(took))), func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		err = cmd.Wait()
		if timer.Stop() {
			took = max(took/2, time.Since(started))
		}
		if cmd.ProcessState.ExitCode() == -1 {
			killed++
		} else if err != nil || strings.Contains(out.String(), "goroutine ") {
			r.fatalf("a run that was not killed: %v\n%s", err, out.String())
		}
		r.settle("a kill", func() error {
			if relay != nil {
				relay.Idle()
			}
			return d.gone()
		})
	}
	t.Logf("%d of %d runs were killed", killed, n)
	if killed == 0 {
		t.Error("no run was killed: the test proves nothing")
	}
}
