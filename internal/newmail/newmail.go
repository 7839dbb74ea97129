// Package newmail runs the command that an account's configuration wants run when mail was delivered, such as one that
// indexes it or tells the person.
package newmail

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/shell"
)

const (
	// TimeLimit is how long a command may take.
	TimeLimit = time.Minute
	// lastLimit is how long Serve goes on after it was told to end. Whoever stops the machine waits for it.
	lastLimit = 10 * time.Second
)

// Hook is one account's command. It runs once at a time, however many ask for it.
type Hook struct {
	limit, lastLimit time.Duration
	running          sync.Mutex

	mu     sync.Mutex
	what   what
	untold int           // messages that Tell was told of and the command was not
	news   chan struct{} // there are some
}

// what is to be run, for whom and where.
type what struct{ account, dir, command string }

// New makes the hook of an account. command is for the shell, empty for none; dir, the account's Maildir, is where it runs.
func New(account, dir, command string) *Hook {
	return &Hook{what: what{account, dir, command}, limit: TimeLimit, lastLimit: lastLimit, news: make(chan struct{}, 1)}
}

// Change has later runs be of another command, as New takes it.
func (h *Hook) Change(account, dir, command string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.what = what{account, dir, command}
}

// Run tells the command that n messages were delivered, waits for its end, and says what went wrong, with the end of what it
// printed. With no messages, or no command, it does nothing. The command has SATCHEL_ACCOUNT and SATCHEL_NEW, the number, in
// its environment beside all that is in ours, no terminal and nothing on standard input. After the time limit, or when ctx ends, it is killed together
// with all that it started; what it has left behind when it ends by itself lives on.
func (h *Hook) Run(ctx context.Context, n int) error {
	if n == 0 {
		return nil
	}
	h.running.Lock()
	defer h.running.Unlock()
	h.mu.Lock()
	what := h.what
	h.mu.Unlock()
	if what.command == "" {
		return nil
	}
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("on_new_mail was not run for %d new messages: %w", n, err)
	}
	p, err := shell.Start(shell.Command{
		Argv: shell.Line(what.command), Dir: what.dir, NoTerminal: true, Merged: true,
		Env: []string{"SATCHEL_ACCOUNT=" + what.account, "SATCHEL_NEW=" + strconv.Itoa(n)},
	})
	if err != nil {
		return fmt.Errorf("on_new_mail: %w", err)
	}
	limit := time.NewTimer(h.limit)
	defer limit.Stop()
	select {
	case <-p.Done():
		defer p.Release()
		if err := p.Err(); err != nil {
			return fmt.Errorf("on_new_mail failed: %w%s", err, said(p))
		}
		return nil
	case <-limit.C:
		p.Kill()
		return fmt.Errorf("on_new_mail was stopped because it took longer than %v%s", h.limit, said(p))
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("on_new_mail was stopped: %w%s", context.Cause(ctx), said(p))
	}
}

// Tell has Serve run the command for n more messages. It does not wait.
func (h *Hook) Tell(n int) {
	if n == 0 {
		return
	}
	h.mu.Lock()
	h.untold += n
	h.mu.Unlock()
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// Serve runs the command for what Tell is told, until ctx ends. What comes while it runs is told together, in the next run. When ctx ends, a
// command that runs, and one for what was told until then, have a little time left. failed is called with what went wrong
// for which account.
func (h *Hook) Serve(ctx context.Context, failed func(account string, err error)) {
	running, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(nil)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(h.lastLimit):
			kill(context.Cause(ctx))
		case <-running.Done():
		}
	})
	defer stop()
	for ended := false; !ended; {
		select {
		case <-ctx.Done():
			ended = true
		case <-h.news:
		}
		h.mu.Lock()
		n, account := h.untold, h.what.account
		h.untold = 0
		h.mu.Unlock()
		if err := h.Run(running, n); err != nil {
			failed(account, err)
		}
	}
}

func said(p *shell.Process) string {
	if text := p.Stderr(); text != "" {
		return "; it said: " + text
	}
	return ""
}
