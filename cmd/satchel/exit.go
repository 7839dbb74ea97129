package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/control"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// The exit codes. Scripts depend on them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitHeld        = 3
	exitLocked      = 4
	exitUnreachable = 5
	exitInterrupted = 130
)

// errInterrupted is the cause of a context that a signal ended.
var errInterrupted = errors.New("interrupted")

// usageError is a mistake in the command line or the configuration, found before anything was touched.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// ranError is what a command that ran came back with; all other errors are cobra's, about the command line.
type ranError struct{ err error }

func (e *ranError) Error() string { return e.err.Error() }
func (e *ranError) Unwrap() error { return e.err }

// reported is the outcome of a command that has already said what there is to say.
type reported struct{ code int }

func (e *reported) Error() string { return fmt.Sprintf("exit code %d", e.code) }

// spell is an error's text for people.
func spell(err error) string {
	if locked, ok := errors.AsType[*maildir.LockedError](err); ok && errors.Is(err, mailsync.ErrLocked) && locked.PID != 0 {
		return fmt.Sprintf("another Satchel (process %d) is working on this account", locked.PID)
	}
	if errors.Is(err, mailsync.ErrLocked) {
		return mailsync.ErrLocked.Error()
	}
	return err.Error()
}

// exitOf maps one error to its exit code.
func exitOf(err error) int {
	var (
		said  *reported
		usage *usageError
		setup *mailsync.SetupError
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &said):
		return said.code
	// Nothing but a signal ends the context that commands run in.
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &setup):
		return exitUsage
	case errors.Is(err, mailsync.ErrLocked), errors.Is(err, control.ErrSilent):
		return exitLocked
	}
	switch remote.ClassOf(err) {
	case remote.Unreachable, remote.Unavailable:
		return exitUnreachable
	}
	return exitFailed
}

// exitOfErrors is the code of what failed in single folders, which is never more than exitFailed.
func exitOfErrors(errs []mailsync.FolderError) int {
	code := exitOK
	for _, e := range errs {
		if exitOf(e) == exitInterrupted {
			code = first(code, exitInterrupted)
		} else {
			code = first(code, exitFailed)
		}
	}
	return code
}

// exitOfResult is one account's code.
func exitOfResult(r *mailsync.Result) int {
	code := first(exitOf(r.Fatal), exitOfErrors(r.Errors))
	if r.HeldBack > 0 {
		code = first(code, exitHeld)
	}
	return code
}

// first returns the code that goes before the others: the first that applies of 130, 2, 1, 5, 4, 3, 0.
func first(codes ...int) int {
	for _, c := range [...]int{exitInterrupted, exitUsage, exitFailed, exitUnreachable, exitLocked, exitHeld} {
		if slices.Contains(codes, c) {
			return c
		}
	}
	return exitOK
}

// exitHelp is the part of a command's help that lists its exit codes. ok and failed say what 0 and 1 mean there.
func exitHelp(ok, failed string, others ...int) string {
	meanings := map[int]string{
		exitOK:     ok,
		exitFailed: failed,
		exitUsage:  "the command line or the configuration is wrong; nothing was touched",
		exitHeld:   "the mass-deletion guard holds deletions back; everything else was\n       synchronised",
		exitLocked: "another Satchel is working on this account",
		exitUnreachable: "the server could not be reached, or refused for now; running again later\n" +
			"       is safe",
		exitInterrupted: "interrupted; stopped at a safe point",
	}
	var b strings.Builder
	b.WriteString("\n\nExit codes:\n")
	for _, c := range append([]int{exitOK, exitFailed}, others...) {
		fmt.Fprintf(&b, "  %3d  %s\n", c, meanings[c])
	}
	return strings.TrimRight(b.String(), "\n")
}
