package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/ci"
	"github.com/satchel-mail/satchel/internal/testenv/tracer"
)

// sweeps are the ways in which a system call goes wrong in TestSweep. trials is how many of the calls are struck in an
// ordinary run of the tests; with SATCHEL_SWEEP=all it is every single one.
var sweeps = []struct {
	name   string
	fault  tracer.Fault
	trials int
}{
	{"killed before a file changes", tracer.Fault{}, 14},
	{"killed before something is said to the server", tracer.Fault{Kind: tracer.Wire}, 6},
	{"the disk is full once", tracer.Fault{Errno: syscall.ENOSPC}, 7},
	{"the disk is full from then on", tracer.Fault{Errno: syscall.ENOSPC, Lasting: true}, 6},
	{"the disk fails", tracer.Fault{Errno: syscall.EIO}, 7},
	{"the connection breaks", tracer.Fault{Kind: tracer.Wire, Errno: syscall.EPIPE}, 5},
}

// sweepAll asks for every single case of those tests that otherwise take a sample.
func sweepAll() bool { return os.Getenv("SATCHEL_SWEEP") == "all" }

// TestSweep strikes a sync that has work of every kind at one system call after the other. Whatever the call,
// the next runs leave both sides as they should be: each message once, in its folder, with its flags, and
// nothing that was deleted. A run that says that it succeeded has.
func TestSweep(t *testing.T) {
	t.Parallel()
	for i, sweep := range sweeps {
		t.Run(sweep.name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			s.restore()
			o, _, err := s.strike(tracer.Fault{})
			if skipUntraced(t, err) {
				return
			}
			s.check(err)
			calls := o.Count(sweep.fault.Kind)
			step := max(1, calls/sweep.trials)
			if sweepAll() {
				step = 1
			}
			rng := rand.New(rand.NewPCG(uint64(amount(t, "SATCHEL_SEED", 1)), uint64(i)))
			struck, wrong, codes := 0, 0, map[int]int{}
			// The threads race, so that a run makes a few calls more or less than another.
			for at, beyond := 1+rng.IntN(step), 0; at <= calls || step == 1 && beyond < 3; at += step {
				fault := sweep.fault
				fault.At = at
				hit, code, err := s.trial(fault)
				if hit == "" {
					beyond++
				} else {
					struck++
					codes[code]++
				}
				if err != nil {
					t.Errorf("%s, at call %d of some %d, %s:\n%v", sweep.name, at, calls, hit, err)
					if wrong++; wrong == 10 {
						t.Fatal("and so on")
					}
				}
			}
			t.Logf("%d of some %d calls were struck, exit codes %v, %d went wrong", struck, calls, codes, wrong)
			if struck == 0 {
				t.Error("nothing was struck: the test proves nothing")
			}
		})
	}
}

// skipUntraced skips the test where programs can't be traced, or fails it with CI=true.
func skipUntraced(t testing.TB, err error) bool {
	t.Helper()
	if !errors.Is(err, tracer.ErrUnsupported) {
		return false
	}
	ci.Skip(t, "%v", err)
	return true
}

// strike runs a sync with a fault, and returns when the server's process has ended too.
func (s *stage) strike(f tracer.Fault) (o tracer.Outcome, said string, err error) {
	o, said, gone, err := s.strikeUnder(f)
	return o, said, errors.Join(err, gone())
}

// strikeUnder leaves it to the caller to wait for the server's process, with gone.
func (s *stage) strikeUnder(f tracer.Fault) (o tracer.Outcome, said string, gone func() error, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), runPatience)
	defer cancel()
	o, said, gone, err = traced(s.command(ctx, "sync"), f)
	if ctx.Err() != nil {
		err = fmt.Errorf("the run hung:\n%s", said)
	}
	return o, said, gone, err
}

// traced runs the program with a fault. gone waits for what it had started, a tunnel, which may outlive it.
func traced(cmd *exec.Cmd, f tracer.Fault) (o tracer.Outcome, said string, gone func() error, err error) {
	d, err := newDeparture()
	if err != nil {
		return o, "", func() error { return nil }, err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.ExtraFiles = []*os.File{d.w}
	o, err = tracer.Run(cmd, f)
	said = out.String()
	if err == nil && strings.Contains(said, "goroutine ") {
		err = fmt.Errorf("the program broke:\n%s", said)
	}
	return o, said, d.gone, err
}

// trial does it once: what was struck, what the run's exit code was, and what is wrong.
func (s *stage) trial(f tracer.Fault) (hit string, code int, err error) {
	s.restore()
	o, said, gone, err := s.strikeUnder(f)
	defer gone() // before anything is put back; its error is seen by mend
	if o.Struck != nil {
		hit = o.Struck.String()
	}
	if err == nil && f.Errno != 0 && hit != "" {
		err = honest(f, o.Code, said)
		if err == nil && o.Code == 0 {
			if err = gone(); err == nil {
				err = s.right()
			}
		}
		if err != nil {
			err = fmt.Errorf("the run that was struck ended with exit code %d: %w\n%s", o.Code, err, said)
		}
	}
	return hit, o.Code, errors.Join(err, s.mend(gone))
}

// honest reports whether a run that could not do something said so, and why.
func honest(f tracer.Fault, code int, said string) error {
	switch {
	case code < 0:
		return errors.New("it was killed")
	case code == 0 || f.Kind == tracer.Wire:
		return nil
	case strings.Contains(said, f.Errno.Error()), strings.Contains(said, "look at the disk"),
		strings.Contains(said, "can't be opened for writing"):
		return nil // the database tells no more than that
	}
	return fmt.Errorf("it does not say %q", f.Errno.Error())
}
