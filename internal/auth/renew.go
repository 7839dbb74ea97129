package auth

import (
	"context"
	"sync/atomic"
)

// Renewer is a Source that can be asked anew, because the server does not take a secret any more that it took before: an access token ran
// out. Renew reports whether there is another one now. Forget has whoever needs it next ask anew.
type Renewer interface {
	Source
	Renew(ctx context.Context, old Secret) bool
	Forget()
}

// Accepted remembers the secret that a server last let in. Safe for concurrent use.
type Accepted struct{ secret atomic.Pointer[Secret] }

// SignIn calls try, which returns the secret that it used, nil if it needed none. If that was refused, though the server took the
// secret before, source is asked anew, and if it has another one there is one more try. What is refused in the end is forgotten: by the next
// time the person may have mended it.
func (a *Accepted) SignIn(ctx context.Context, source Source, refused func(error) bool, try func() (*Secret, error)) error {
	used, err := try()
	r, renewable := source.(Renewer)
	if old := a.secret.Load(); old != nil && renewable && refused(err) && r.Renew(ctx, *old) {
		used, err = try()
	}
	switch {
	case err == nil:
		a.secret.Store(used)
	case renewable && refused(err):
		r.Forget()
	}
	return err
}

// Renew implements Renewer. It asks only if that was not done since.
func (c *Cached) Renew(ctx context.Context, old Secret) bool {
	c.mu.Lock()
	outdated := c.have != nil && c.have.Reveal() == old.Reveal()
	c.mu.Unlock()
	if outdated {
		c.Forget()
	}
	secret, err := c.Secret(ctx)
	return err == nil && secret.Reveal() != old.Reveal()
}
