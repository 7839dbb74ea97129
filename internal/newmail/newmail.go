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

// TimeLimit is how long a command may take.
const TimeLimit = time.Minute

// Hook is one account's command. It runs once at a time, however many ask for it.
type Hook struct {
	account, dir, command string
	limit                 time.Duration
	running               sync.Mutex

	mu     sync.Mutex
	untold int           // messages that Tell was told of and the command was not
	news   chan struct{} // there are some
}

// New makes the hook of an account. command is for the shell, empty for none; dir, the account's Maildir, is where it runs.
func New(account, dir, command string) *Hook {
	return &Hook{account: account, dir: dir, command: command, limit: TimeLimit, news: make(chan struct{}, 1)}
}

// Run tells the command that n messages were delivered, waits for its end, and says what went wrong, with the end of what it
// printed. With no messages, or no command, it does nothing. The command has SATCHEL_ACCOUNT and SATCHEL_NEW, the number, in
// its environment beside all that is in ours, no terminal and nothing on standard input. After the time limit, or when ctx ends, it is killed together
// with all that it started; what it has left behind when it ends by itself lives on.
func (h *Hook) Run(ctx context.Context, n int) error {
	if h.command == "" || n == 0 {
		return nil
	}
	h.running.Lock()
	defer h.running.Unlock()
	if err := context.Cause(ctx); err != nil {
		return fmt.Errorf("on_new_mail was not run for %d new messages: %w", n, err)
	}
	p, err := shell.Start(shell.Command{
		Argv: shell.Line(h.command), Dir: h.dir, NoTerminal: true, Merged: true,
		Env: []string{"SATCHEL_ACCOUNT=" + h.account, "SATCHEL_NEW=" + strconv.Itoa(n)},
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

// Serve runs the command for what Tell is told, until ctx ends. What comes while it runs is told together, in the next run. failed is called
// with what went wrong.
func (h *Hook) Serve(ctx context.Context, failed func(error)) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.news:
		}
		h.mu.Lock()
		n := h.untold
		h.untold = 0
		h.mu.Unlock()
		if err := h.Run(ctx, n); err != nil && ctx.Err() == nil {
			failed(err)
		}
	}
}

func said(p *shell.Process) string {
	if text := p.Stderr(); text != "" {
		return "; it said: " + text
	}
	return ""
}
