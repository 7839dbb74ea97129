// Package shell runs the commands that a configuration names: the one that prints a password, the
// tunnel that carries a connection, the one that is told of new mail. Each runs in a process group of its own, so that it can be
// ended together with everything it started, and the end of what it wrote to standard error
// is kept for error messages.
package shell

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

const (
	tailBytes = 2048 // of standard error are kept
	tailLines = 4    // of them are quoted

	// drainTime is how long an ended command's standard error is waited for when something that
	// it left behind still holds it open.
	drainTime = 300 * time.Millisecond
)

// Line returns the argument vector that hands command to the shell.
func Line(command string) []string { return []string{"sh", "-c", command} }

// Command says what to run.
type Command struct {
	// Argv is the program and its arguments; the program is looked up in PATH.
	Argv []string
	// Stdin and Stdout are handed to the command; nil is the null device. The caller closes its copies.
	Stdin, Stdout *os.File
	// Merged puts what the command writes to standard output with what it writes to standard error, in place of Stdout.
	Merged bool
	// Dir is its working directory, empty for ours. Env are variables, "NAME=value", that it gets beside ours.
	Dir string
	Env []string
	// NoTerminal takes the controlling terminal away, so that a command that wants to ask something
	// there fails at once instead of waiting for an answer that nobody can give.
	NoTerminal bool
	// Whole ends what the command started as soon as the command itself has ended.
	Whole bool
}

// Process is a running or ended command.
type Process struct {
	cmd     *exec.Cmd
	stderr  *os.File
	drained chan struct{} // closed when standard error came to its end
	done    chan struct{}
	err     error // valid after done

	mu   sync.Mutex
	tail []byte
}

// Start runs a command. The caller must end with Release or Kill.
func Start(c Command) (*Process, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return nil, errors.New("the command is empty")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("no pipe for the command: %w", err)
	}
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Stderr = w
	// Assigned only if there is one: a nil *os.File in the interface would not be nil.
	if c.Stdin != nil {
		cmd.Stdin = c.Stdin
	}
	if c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Merged {
		cmd.Stdout = w
	}
	cmd.Dir = c.Dir
	if len(c.Env) > 0 {
		cmd.Env = append(os.Environ(), c.Env...)
	}
	setGroup(cmd, c.NoTerminal)
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("cannot start the command: %w", err)
	}
	p := &Process{cmd: cmd, stderr: r, drained: make(chan struct{}), done: make(chan struct{})}
	go p.drain()
	go func() {
		p.err = cmd.Wait()
		if c.Whole {
			// At once, before the group's number can be given to anyone else.
			endGroup(cmd.Process, true)
		}
		close(p.done)
	}()
	return p, nil
}

// drain keeps the end of standard error.
func (p *Process) drain() {
	defer close(p.drained)
	buf := make([]byte, 1024)
	for {
		n, err := p.stderr.Read(buf)
		p.mu.Lock()
		p.tail = append(p.tail, buf[:n]...)
		if over := len(p.tail) - tailBytes; over > 0 {
			p.tail = append(p.tail[:0], p.tail[over:]...)
		}
		p.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// Done is closed when the command itself has ended (what it started may live on).
func (p *Process) Done() <-chan struct{} { return p.done }

// Err waits for the command to end and returns nil if it succeeded, else how it ended.
func (p *Process) Err() error {
	<-p.done
	return p.err
}

// ExitCode is the ended command's exit code, -1 if a signal ended it or it still runs.
func (p *Process) ExitCode() int {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	default:
		return -1
	}
}

// Stderr returns the last lines that the command wrote to standard error, on one line and without
// control characters, empty if there are none.
func (p *Process) Stderr() string {
	select {
	case <-p.done:
		p.awaitDrained()
	default: // still running: what there is so far
	}
	p.mu.Lock()
	text := string(p.tail)
	p.mu.Unlock()

	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.Map(printable, strings.ToValidUTF8(line, "?")))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-tailLines):], "; ")
}

// awaitDrained waits until what an ended command wrote is read.
func (p *Process) awaitDrained() {
	t := time.NewTimer(drainTime)
	defer t.Stop()
	select {
	case <-p.drained:
	case <-t.C:
	}
}

func printable(r rune) rune {
	if r < ' ' || (r >= 0x7f && r < 0xa0) {
		return ' '
	}
	return r
}

// Terminate asks a running command and everything in its process group to end.
func (p *Process) Terminate() { p.signal(false) }

// Kill ends a running command and everything in its process group at once, waits for it, and frees
// what was held.
func (p *Process) Kill() {
	p.signal(true)
	<-p.done
	p.awaitDrained() // what it wrote last may say why it took so long
	p.Release()
}

// signal reaches the group only while the command runs: afterwards its number may be another's.
func (p *Process) signal(force bool) {
	select {
	case <-p.done:
	default:
		endGroup(p.cmd.Process, force)
	}
}

// Release frees what an ended command held, and leaves alone what it may have started.
func (p *Process) Release() {
	p.stderr.Close()
	<-p.drained
}
