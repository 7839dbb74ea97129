// Command satchel keeps mail accounts and Maildirs the same, in both directions.
//
// One file holds one command: flags in, calls, output out. Decisions are made in package sync and below. What
// all commands share:
//
//	root.go      the command tree and the flags on every command
//	exit.go      errors to exit codes
//	settings.go  the configuration's words into the engine's
//	accounts.go  several accounts side by side, their output in order
//	ui.go        what is printed where; the only place that prints
//	progress.go  the display on a terminal
//	json.go      the shapes of --json
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if os.Getenv("GOGC") == "" {
		frugal(usualGrowth)
	}
	os.Exit(run(os.Args[1:], streams{out: os.Stdout, err: os.Stderr, env: os.Getenv}))
}

// streams are the program's ends to the outside.
type streams struct {
	out, err io.Writer
	env      func(string) string
}

// run is the program: a command line in, an exit code out.
func run(args []string, s streams) int {
	a := newApp(s)
	ctx, stop := a.interruptible(context.Background())
	defer stop()
	root := newRoot(a)
	root.SetArgs(args)
	_, err := root.ExecuteContextC(ctx)
	return a.finish(err)
}

// interruptible returns a context that the first SIGINT or SIGTERM ends; the engine then stops at a safe
// point. The second one ends the program at once, which is safe too, only less tidy.
func (a *app) interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	done := make(chan struct{})
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
		case <-done:
			return
		}
		cancel(errInterrupted)
		a.ui.say("stopping at a safe point; interrupt once more to stop at once")
		select {
		case <-signals:
			os.Exit(exitInterrupted)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}
