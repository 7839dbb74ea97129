// Package meter runs a program and measures it: the time that it takes, the processor time of it and of
// its children, and the most memory that it had resident.
//
// Between the benchmark and the program stands a launcher, the benchmark's own executable started
// once more. Linux counts the memory of the process that forks as its child's own until the child
// becomes another program, and keeps the peak; the benchmark's would be more than that of most tools. The launcher
// has little.
package meter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"
)

// Command is what is measured.
type Command struct {
	Argv []string
	Env  []string // all of it
	Dir  string
}

// Reading is what one run took.
type Reading struct {
	Wall time.Duration
	CPU  time.Duration // user and system
	RSS  int64         // bytes, of the largest of its processes; at least the launcher's own 8 MB or so
}

// patience is the longest that a run may take.
const patience = time.Hour

// report is what the launcher says, on file descriptor 3.
type report struct {
	Reading Reading
	Error   string
}

// Run runs a command to its end. What it printed becomes part of the error if there is one.
func Run(ctx context.Context, c Command) (Reading, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		return Reading{}, err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return Reading{}, err
	}
	defer in.Close()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, self, append([]string{Word}, c.Argv...)...)
	cmd.Env, cmd.Dir, cmd.ExtraFiles = c.Env, c.Dir, []*os.File{out}
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // the launcher passes it on
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Start()
	_ = out.Close() // the launcher has its own
	if err != nil {
		return Reading{}, fmt.Errorf("starting the launcher: %w", err)
	}
	text, readErr := io.ReadAll(in)
	waitErr := cmd.Wait()
	var r report
	if err := errors.Join(ctx.Err(), readErr, waitErr, json.Unmarshal(text, &r)); err != nil {
		return Reading{}, fmt.Errorf("running %s: %w", c.Argv[0], err)
	}
	if r.Error != "" {
		return r.Reading, fmt.Errorf("%s: %s%s", strings.Join(c.Argv, " "), r.Error, tail(said.Bytes()))
	}
	return r.Reading, nil
}

// tail is the end of what a program printed.
func tail(said []byte) string {
	if said = bytes.TrimSpace(said); len(said) == 0 {
		return ""
	}
	return "\n" + string(said[max(0, len(said)-2000):])
}

// Word as the first argument makes the executable the launcher.
const Word = "launch"

// Launch is the launcher: it runs argv and says on file descriptor 3 what that took.
func Launch(argv []string) error {
	if len(argv) == 0 {
		return errors.New("the launcher has nothing to run")
	}
	out := os.NewFile(3, "report")
	if out == nil {
		return errors.New("the launcher has nobody to report to")
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	begin := time.Now()
	err := run(cmd)
	r := report{Reading: Reading{Wall: time.Since(begin)}}
	if err != nil {
		r.Error = err.Error()
	}
	if s := cmd.ProcessState; s != nil {
		r.Reading.CPU = s.UserTime() + s.SystemTime()
		r.Reading.RSS = peak(s)
	}
	return json.NewEncoder(out).Encode(r)
}

// run runs cmd and passes an interrupt on to it.
func run(cmd *exec.Cmd) error {
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { // ends with the program
		select {
		case <-interrupts:
			_ = cmd.Process.Signal(os.Interrupt) // one that has ended already needs none
		case <-ended:
		}
	}()
	defer close(ended)
	return cmd.Wait()
}
