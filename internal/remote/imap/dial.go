package imap

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// DefaultPatience is how long a server may be silent before it counts as lost.
const DefaultPatience = 60 * time.Second

// Config says how to reach an account and how to behave towards its server.
type Config struct {
	Transport transport.Config
	User      string
	Method    auth.Method // empty: auth.Auto
	// Secret gives the password or token; nil if there is none, as with a client certificate.
	Secret auth.Source

	// Patience is how long neither side may move while we wait, 0: DefaultPatience.
	Patience time.Duration
	// Subscribed asks for the list of subscriptions, and keeps it when mailboxes are renamed.
	Subscribed bool
	// Disable hides capabilities, or all "NAME=…" of one name, as if the server had not offered
	// them: the switch for an extension that a server has and can't do.
	Disable []string
	// Compress says when the connection is compressed.
	Compress Compress

	// Trace, if set, is given each line of the protocol, dir being '>' for what we send and '<' for what
	// the server says. No credentials are in it, and of literals only their size. It is never
	// called twice at a time.
	Trace func(dir byte, line string)
	// Alert, if set, is given what the server wants the person to read (RFC 3501, response code ALERT).
	Alert func(text string)
	// Log, if set, hears of odd answers, at debug level.
	Log *slog.Logger
}

// Dialer opens sessions. It implements remote.Dialer and may be used concurrently.
type Dialer struct {
	cfg      Config
	memory   atomic.Pointer[learnt] // what the last session learnt, nil before the first
	accepted auth.Accepted
	link     link
}

var _ remote.Dialer = (*Dialer)(nil)

// NewDialer returns a Dialer for one account.
func NewDialer(cfg Config) *Dialer {
	if cfg.Patience <= 0 {
		cfg.Patience = DefaultPatience
	}
	if cfg.Method == "" {
		cfg.Method = auth.Auto
	}
	return &Dialer{cfg: cfg}
}

// Dial connects and signs in. When the server does not take any more what it took before it asks for a new secret, and tries once more if
// there is one.
func (d *Dialer) Dial(ctx context.Context) (remote.Session, error) {
	var s *Session
	err := d.accepted.SignIn(ctx, d.cfg.Secret, func(err error) bool { return remote.ClassOf(err) == remote.Auth }, func() (used *auth.Secret, err error) {
		if s, err = d.dial(ctx); err == nil {
			used = s.secret
		}
		return used, err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func (d *Dialer) dial(ctx context.Context) (*Session, error) {
	if ctx.Err() != nil {
		return nil, transport.NotLost(&remote.Error{Class: remote.Lost, Op: opSignIn, Err: context.Cause(ctx)})
	}
	nc, err := transport.Dial(ctx, d.cfg.Transport, startTLS)
	if err != nil {
		return nil, err
	}
	return d.open(ctx, nc)
}

// open makes a session of a connection.
func (d *Dialer) open(ctx context.Context, nc transport.Conn) (*Session, error) {
	c := newConn(nc.Conn, d.cfg.Patience, &d.link)
	s := &Session{cfg: d.cfg, conn: c, secure: nc.Secure, memory: &d.memory, link: &d.link}
	s.in = response{in: newLineReader(c), lit: -1, tolerated: s.tolerated}
	if d.cfg.Trace != nil {
		s.in.trace = s.traceIn
	}
	defer c.Watch(ctx)()
	known := d.memory.Load()
	err := defect.Contain(func() error { return s.signIn(ctx, nc, known) })
	mistaken(&err)
	if err != nil {
		if known != nil {
			d.memory.CompareAndSwap(known, nil) // perhaps it misled us: the next session asks again
		}
		c.Fail(err)
		return nil, transport.NotLost(err)
	}
	return s, nil
}

const opSignIn = "signing in"

// signIn leads a fresh connection to where it can be used. known is what earlier sessions learnt, nil if there was none.
func (s *Session) signIn(ctx context.Context, nc transport.Conn, known *learnt) error {
	if known == nil {
		known = &learnt{}
	}
	preauth := false
	if !nc.Greeted {
		g, err := s.readGreeting()
		if err != nil {
			return err
		}
		preauth, s.welcome = g.kind == goimap.StatusResponseTypePreAuth, g.text
		if preauth && !nc.Tunnel {
			// RFC 9051, section 11.1: whoever sits in between could skip our encryption this way.
			return protocolAt(opSignIn, errors.New("the server says that we are signed in already, which only a tunnel may say"),
				"this may be an attack, or the wrong port")
		}
	} else {
		s.caughtUp = nil // RFC 3501, section 6.2.1: forget what was said in plain text
	}
	if !preauth {
		if err := s.needCaps(ctx, known.before); err != nil {
			return err
		}
		s.before = s.caps
		if err := s.authenticate(ctx); err != nil {
			return err
		}
	}
	if err := s.needCaps(ctx, known.after); err != nil {
		return err
	}
	if known.after != nil {
		s.recall(known)
	} else {
		s.xguid = s.hasXGUID() // as far as can be told before its ID
	}
	if s.wouldCompress() {
		// Not before: credentials are never compressed together with what others chose.
		if err := s.compress(ctx); err != nil {
			return err
		}
	}
	s.fresh = true
	return nil
}

func protocolAt(op string, err error, hint string) error {
	return &remote.Error{Class: remote.Protocol, Op: op, Err: err, Hint: hint}
}

// maxBlank is how many empty lines may come before the greeting. Elsewhere they are left out as well.
const maxBlank = 10

// readGreeting reads the server's first words (RFC 3501, section 7.1).
func (s *Session) readGreeting() (status, error) {
	const op = "waiting for the server's greeting"
	s.conn.begin()
	var g status
	s.greeting = &g
	defer func() { s.greeting = nil }()
	for range maxBlank {
		if err := s.receive(); err != nil {
			return g, s.during(op, err)
		}
		if g.kind != "" || len(s.in.text) > 0 {
			break
		}
	}
	switch g.kind {
	case goimap.StatusResponseTypeOK, goimap.StatusResponseTypePreAuth:
		return g, nil
	case goimap.StatusResponseTypeBye:
		return g, signInRefusal(op, g)
	}
	return g, protocolAt(op, errors.New("what answers there does not speak IMAP"), "check host, port and tls")
}

// needCaps makes sure that the capabilities of the present state are known. Where the server did not say without being
// asked, they are those that it gave to an earlier session, if there was one.
func (s *Session) needCaps(ctx context.Context, earlier *capSet) error {
	if s.caughtUp == nil {
		s.caughtUp = earlier.clone()
	}
	if s.caughtUp == nil {
		c := newCommand("asking what the server can do", "CAPABILITY")
		if err := s.run(ctx, c.op, c); err != nil {
			return err
		}
		if !c.result.ok() {
			return signInRefusal(c.op, c.result)
		}
		if s.caughtUp == nil {
			return protocolAt(c.op, errors.New("the server does not say"), "")
		}
	}
	s.caps, s.caughtUp = s.caughtUp, nil
	return nil
}
