package transport

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/shell"
)

const (
	// tunnelGrace is how long a closed tunnel may take to end by itself, and then after being asked to.
	tunnelGrace = 500 * time.Millisecond
	// tunnelVerdict is how long a tunnel whose pipe closed is waited for, to say how it ended.
	tunnelVerdict = time.Second

	// What the shell exits with when it can't run a command.
	exitNotExecutable = 126
	exitNotFound      = 127
)

// tunnelConn is a command's standard input and output as a connection.
type tunnelConn struct {
	host  string
	in    *os.File // the command's standard output
	out   *os.File // the command's standard input
	proc  *shell.Process
	heard atomic.Bool // the command said something
	close sync.Once
}

var _ net.Conn = (*tunnelConn)(nil)

// dialTunnel starts a tunnel. Whether it leads anywhere shows when it is read from.
func dialTunnel(cfg Config) (Conn, error) {
	fail := func(err error) (Conn, error) {
		return Conn{}, &remote.Error{Class: remote.Protocol, Op: "starting the tunnel to " + cfg.Host, Err: err, Hint: "check tunnel"}
	}
	in, childOut, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	childIn, out, err := os.Pipe()
	if err != nil {
		in.Close()
		childOut.Close()
		return fail(err)
	}
	proc, err := shell.Start(shell.Command{
		Argv: shell.Line(cfg.Tunnel), Stdin: childIn, Stdout: childOut, NoTerminal: true, Whole: true,
	})
	childIn.Close()
	childOut.Close()
	if err != nil {
		in.Close()
		out.Close()
		return fail(err)
	}
	return Conn{Conn: &tunnelConn{host: cfg.Host, in: in, out: out, proc: proc}, Secure: true, Tunnel: true}, nil
}

func (c *tunnelConn) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	if n > 0 {
		c.heard.Store(true)
	}
	if errors.Is(err, io.EOF) {
		err = c.verdict(io.EOF)
	}
	return n, err
}

func (c *tunnelConn) Write(p []byte) (int, error) {
	n, err := c.out.Write(p)
	if errors.Is(err, syscall.EPIPE) {
		err = c.verdict(err)
	}
	return n, err
}

// verdict says how the tunnel ended: as it is for a success after something was said (how a server's program ends
// after the last answer), else with the command's own words.
func (c *tunnelConn) verdict(err error) error {
	t := time.NewTimer(tunnelVerdict)
	defer t.Stop()
	ended := true
	select {
	case <-c.proc.Done():
	case <-t.C:
		ended = false
	}
	heard := c.heard.Load()
	e := &remote.Error{Class: remote.Lost, Op: "talking through the tunnel to " + c.host}
	if !heard {
		e.Class = remote.Unreachable
	}
	switch {
	case !ended:
		e.Err = fmt.Errorf("the tunnel command closed its end but still runs: %w", err)
	case c.proc.Err() != nil:
		e.Err = fmt.Errorf("the tunnel command failed (%w)", c.proc.Err())
		if code := c.proc.ExitCode(); code == exitNotFound || code == exitNotExecutable {
			e.Class, e.Hint = remote.Protocol, "the command can't be run; check tunnel"
		}
	case heard:
		return err
	default:
		e.Err = fmt.Errorf("the tunnel command ended without a word: %w", err)
		e.Hint = "run it by hand: the server's greeting must appear on its standard output"
	}
	if said := c.proc.Stderr(); said != "" {
		e.Err = fmt.Errorf("%w: it says: %s", e.Err, said)
	}
	return e
}

// Close ends the command with everything it started: it may end by itself once its input is
// closed, then it is asked to, then it is made to.
func (c *tunnelConn) Close() error {
	c.close.Do(func() {
		c.out.Close()
		c.in.Close()
		for _, next := range []func(){c.proc.Terminate, nil} {
			t := time.NewTimer(tunnelGrace)
			select {
			case <-c.proc.Done():
			case <-t.C:
				if next != nil {
					next()
				}
			}
			t.Stop()
		}
		c.proc.Kill()
	})
	return nil
}

func (c *tunnelConn) SetDeadline(t time.Time) error {
	return errors.Join(c.in.SetReadDeadline(t), c.out.SetWriteDeadline(t))
}

func (c *tunnelConn) SetReadDeadline(t time.Time) error  { return c.in.SetReadDeadline(t) }
func (c *tunnelConn) SetWriteDeadline(t time.Time) error { return c.out.SetWriteDeadline(t) }

func (c *tunnelConn) LocalAddr() net.Addr  { return tunnelAddr("local") }
func (c *tunnelConn) RemoteAddr() net.Addr { return tunnelAddr(c.host) }

// tunnelAddr is the name of a tunnel's end.
type tunnelAddr string

func (tunnelAddr) Network() string  { return "tunnel" }
func (a tunnelAddr) String() string { return string(a) }
