package auth

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/zalando/go-keyring"

	"github.com/satchel-mail/satchel/internal/shell"
)

const (
	// askTime is how long a command or a keyring may take; a person may have to unlock it.
	askTime = 60 * time.Second

	// leftoverTime is how long the end of an ended command's output is waited for when something that it
	// left behind still holds it open.
	leftoverTime = time.Second

	// KeyringService is the service name under which keyrings hold our passwords.
	KeyringService = "satchel"
)

// Source is where a secret comes from. Secret returns within a bounded time, or when ctx ends; its
// errors say what to do and never hold the secret. Sources are safe for concurrent use.
type Source interface {
	Secret(ctx context.Context) (Secret, error)
}

// Literal is a secret that stands in the configuration. It fails as NewSecret does when asked.
func Literal(value string) Source { return literal{&value} }

// literal holds a pointer for the reason that Secret does.
type literal struct{ value *string }

func (l literal) Secret(context.Context) (Secret, error) { return NewSecret(*l.value) }

// FromEnv reads the secret from an environment variable.
func FromEnv(name string) Source { return env{name} }

type env struct{ name string }

func (e env) Secret(context.Context) (Secret, error) {
	value, ok := os.LookupEnv(e.name)
	switch {
	case !ok:
		return Secret{}, fmt.Errorf("the environment variable %s (password_env) is not set", e.name)
	case value == "":
		return Secret{}, fmt.Errorf("the environment variable %s (password_env) is empty", e.name)
	}
	s, err := NewSecret(value)
	if err != nil {
		return Secret{}, fmt.Errorf("the environment variable %s (password_env): %w", e.name, err)
	}
	return s, nil
}

// FromKeyring reads the secret from the desktop's or system's keyring, where it is filed under service
// and user.
func FromKeyring(service, user string) Source { return ring{service, user} }

type ring struct{ service, user string }

func (r ring) Secret(ctx context.Context) (Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	type answer struct {
		value string
		err   error
	}
	// The keyring can't be told to stop asking; an abandoned question ends with the program.
	c := make(chan answer, 1)
	go func() {
		value, err := keyring.Get(r.service, r.user)
		c <- answer{value, err}
	}()
	var a answer
	select {
	case a = <-c:
	case <-ctx.Done():
		return Secret{}, fmt.Errorf("the keyring gave no answer (password_keyring): %w; unlock it and try again", context.Cause(ctx))
	}
	switch {
	case errors.Is(a.err, keyring.ErrNotFound), a.err == nil && a.value == "":
		return Secret{}, fmt.Errorf("the keyring holds no password for service %q, user %q (password_keyring); store one there, with `secret-tool store --label=Satchel service %s username %s` on Linux",
			r.service, r.user, r.service, r.user)
	case a.err != nil:
		return Secret{}, fmt.Errorf("the keyring can't be asked (password_keyring): %w", a.err)
	}
	s, err := NewSecret(a.value)
	if err != nil {
		return Secret{}, fmt.Errorf("the keyring (password_keyring): %w", err)
	}
	return s, nil
}

// FromCommand runs a program and takes the first line of its standard output. It gets no input, and at most 60
// seconds, after which it is ended with everything it started.
func FromCommand(argv []string) Source { return command{argv: argv, limit: askTime} }

// FromShell is FromCommand for a command line, which the shell runs.
func FromShell(line string) Source { return FromCommand(shell.Line(line)) }

type command struct {
	argv  []string
	limit time.Duration
}

func (c command) Secret(ctx context.Context) (Secret, error) {
	value, err := c.run(ctx)
	if err != nil {
		return Secret{}, fmt.Errorf("password_command: %w", err)
	}
	s, err := NewSecret(value)
	if err != nil {
		return Secret{}, fmt.Errorf("password_command: %w", err)
	}
	if s.IsZero() {
		return Secret{}, errors.New("password_command: the first line of its output is empty; the password must be there")
	}
	return s, nil
}

// run returns the first line of the command's output.
func (c command) run(ctx context.Context) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	proc, err := shell.Start(shell.Command{Argv: c.argv, Stdout: w})
	w.Close()
	if err != nil {
		return "", err
	}
	var out firstLine
	eof := make(chan struct{})
	go func() {
		defer close(eof)
		_, _ = io.Copy(&out, r) // an error is an end like any other: the exit code decides
	}()

	limit := time.NewTimer(c.limit)
	defer limit.Stop()
	select {
	case <-proc.Done():
	case <-limit.C:
		said := said(proc, &out)
		proc.Kill()
		return "", fmt.Errorf("it did not end within %v and was stopped; it can't ask anything on the terminal%s", c.limit, said)
	case <-ctx.Done():
		proc.Kill()
		return "", context.Cause(ctx)
	}
	defer proc.Release()
	leftover := time.NewTimer(leftoverTime)
	defer leftover.Stop()
	select {
	case <-eof:
	case <-leftover.C:
	}
	if err := proc.Err(); err != nil {
		return "", fmt.Errorf("it failed (%w)%s", err, said(proc, &out))
	}
	line, whole := out.line()
	if !whole {
		return "", fmt.Errorf("the first line of its output is longer than %d bytes", maxSecret)
	}
	return line, nil
}

// said quotes what a command wrote to standard error, without the secret, should it be in there.
func said(proc *shell.Process, out *firstLine) string {
	text := proc.Stderr()
	if text == "" {
		return ""
	}
	if line, _ := out.line(); strings.TrimSpace(line) != "" {
		text = strings.ReplaceAll(text, strings.TrimSpace(line), mask)
	}
	return "; it says: " + text
}

// firstLine keeps the first line that is written to it, up to maxSecret bytes, and drops the rest.
type firstLine struct {
	mu    sync.Mutex
	buf   []byte
	ended bool
}

func (f *firstLine) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.ended {
		line, _, found := bytes.Cut(p, []byte("\n"))
		f.buf = append(f.buf, line[:min(len(line), maxSecret+2-len(f.buf))]...)
		f.ended = found || len(f.buf) > maxSecret+1
	}
	return len(p), nil
}

// line returns the line without its end, and whether it is the whole line.
func (f *firstLine) line() (string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	line := strings.TrimSuffix(string(f.buf), "\r")
	return line, len(line) <= maxSecret
}

// Cached is a Source that asks another one only once. Make it with Once.
type Cached struct {
	source Source

	mu   sync.Mutex
	have *Secret
	call *call
}

// call is one question that several may be waiting for.
type call struct {
	done     chan struct{} // closed when the rest is set
	secret   Secret
	err      error
	gaveUp   bool // the asker's context ended: the failure says nothing about the source
	outdated bool // Forget came in between: not to be kept
}

// Once returns a Source that keeps what source answers, so that several connections ask once, at the same
// time too. A failure is shared by those who were waiting for it and then forgotten.
func Once(source Source) *Cached { return &Cached{source: source} }

// Secret returns the kept secret, or asks for it.
func (c *Cached) Secret(ctx context.Context) (Secret, error) {
	for {
		c.mu.Lock()
		if c.have != nil {
			defer c.mu.Unlock()
			return *c.have, nil
		}
		p := c.call
		if p == nil {
			p = &call{done: make(chan struct{})}
			c.call = p
			c.mu.Unlock()
			return c.ask(ctx, p)
		}
		c.mu.Unlock()
		select {
		case <-p.done:
			if !p.gaveUp {
				return p.secret, p.err
			}
		case <-ctx.Done():
			return Secret{}, context.Cause(ctx)
		}
	}
}

func (c *Cached) ask(ctx context.Context, p *call) (Secret, error) {
	p.secret, p.err = c.source.Secret(ctx)
	p.gaveUp = p.err != nil && ctx.Err() != nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.err == nil && !p.outdated {
		c.have = &p.secret
	}
	c.call = nil
	close(p.done)
	return p.secret, p.err
}

// Forget drops what is kept, because the server does not take it (any more): the next one asks anew.
func (c *Cached) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.have = nil
	if c.call != nil {
		c.call.outdated = true
	}
}
