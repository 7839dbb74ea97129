package main

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"sync"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote"
)

// redactor knows the secrets that this process has sent, and takes them out of what others say: some servers
// repeat in an error text what they were told. Our own texts never hold a secret. Safe for concurrent use.
type redactor struct {
	mu sync.Mutex
	// forms are the spellings in which a secret may come back, longest first.
	forms []string
}

// minRedacted is the length below which a secret is not looked for: it would be found in every word.
const minRedacted = 4

// watch returns a Source that gives what source gives and makes it known to the redactor.
func (r *redactor) watch(source auth.Source) auth.Source {
	if source == nil {
		return nil
	}
	return watched{source, r}
}

type watched struct {
	auth.Source
	r *redactor
}

// Secret implements auth.Source.
func (w watched) Secret(ctx context.Context) (auth.Secret, error) {
	s, err := w.Source.Secret(ctx)
	if err == nil {
		w.r.add(s.Reveal())
	}
	return s, err
}

// Renew implements auth.Renewer.
func (w watched) Renew(ctx context.Context, old auth.Secret) bool {
	source, ok := w.Source.(auth.Renewer)
	return ok && source.Renew(ctx, old)
}

// Forget implements auth.Renewer.
func (w watched) Forget() {
	if source, ok := w.Source.(auth.Renewer); ok {
		source.Forget()
	}
}

func (r *redactor) add(secret string) {
	if len(secret) < minRedacted {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.Contains(r.forms, secret) {
		return
	}
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(secret) // as LOGIN sends it
	r.forms = append(r.forms, secret, quoted)
	r.forms = append(r.forms, encoded(secret)...)
	slices.SortFunc(r.forms, func(a, b string) int { return len(b) - len(a) })
}

// encoded gives the base64 of a secret in the middle of something else, which depends on where in a group
// of three bytes it begins. Letters that its neighbours have a part in are left out.
func encoded(secret string) []string {
	var out []string
	for before := range 3 {
		text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
		first := (before*8 + 5) / 6            // the first letter that is all the secret's
		last := (before*8 + len(secret)*8) / 6 // the first that is not
		if core := text[first:last]; len(core) >= minRedacted {
			out = append(out, core)
		}
	}
	return out
}

// text takes the secrets out of a text.
func (r *redactor) text(s string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, form := range r.forms {
		s = strings.ReplaceAll(s, form, "***")
	}
	return s
}

// dialer wraps d so that errors of signing in, which are also kept in the state, hold no secret.
func (r *redactor) dialer(d remote.Dialer) remote.Dialer { return redacting{d, r} }

type redacting struct {
	remote.Dialer
	r *redactor
}

// Dial implements remote.Dialer.
func (d redacting) Dial(ctx context.Context) (remote.Session, error) {
	s, err := d.Dialer.Dial(ctx)
	if e, ok := errors.AsType[*remote.Error](err); ok && d.r.text(e.Text) != e.Text {
		// Only the server's own words are changed. e may be shared with the session's other users.
		clean := *e
		clean.Text = d.r.text(e.Text)
		return nil, &clean
	}
	return s, err
}
