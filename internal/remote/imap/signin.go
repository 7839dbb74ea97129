package imap

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"

	"github.com/emersion/go-sasl"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote"
)

// notConnected is how Exchange says, of every command after a sign-in it has accepted, that the password
// was wrong. It ends the session: no command's refusal means what it says.
var notConnected = regexp.MustCompile(`(?i)authenticated but not connected`)

// authenticate signs in by the method that is configured, or the strongest that is offered.
func (s *Session) authenticate(ctx context.Context) error {
	loginAllowed := !s.caps.has(goimap.CapLoginDisabled)
	certOnly := s.cfg.Transport.ClientCert != "" && s.cfg.Secret == nil
	method, err := auth.Choose(s.cfg.Method, s.caps.mechs, loginAllowed, certOnly)
	if err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err, Hint: s.loginHint()}
	}
	var secret auth.Secret
	if method.NeedsSecret() {
		if s.cfg.Secret == nil {
			return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: errors.New("no password is configured"),
				Hint: "set password_command, password_env, password_keyring or password"}
		}
		if secret, err = s.cfg.Secret.Secret(ctx); err != nil {
			return &remote.Error{Class: remote.Auth, Op: "getting the password", Err: err}
		}
		s.secret = &secret
	}
	if method == auth.Login && loginAllowed {
		return s.login(ctx, secret)
	}
	client, err := auth.Client(method, s.cfg.User, secret, s.cfg.Transport.Host, s.cfg.Transport.Port)
	if err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err}
	}
	return s.sasl(ctx, client)
}

func (s *Session) loginHint() string {
	if s.caps.has(goimap.CapLoginDisabled) {
		return `the server forbids passwords on this connection; set tls = "implicit" or "starttls", or auth`
	}
	return "set auth to one that the server offers"
}

// login is the LOGIN command (RFC 3501, section 6.2.3).
func (s *Session) login(ctx context.Context, secret auth.Secret) error {
	c := newCommand(opSignIn, "LOGIN").str(s.cfg.User, s.caps).str(secret.Reveal(), s.caps)
	c.show = "LOGIN ***"
	if c.err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: errors.New("the user name or password holds a character that can't be sent")}
	}
	return s.submit(ctx, c, nil)
}

// sasl is the AUTHENTICATE command (RFC 3501, section 6.2.2; RFC 4959 for the initial response).
func (s *Session) sasl(ctx context.Context, client sasl.Client) error {
	mech, initial, err := client.Start()
	if err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err}
	}
	c := newCommand(opSignIn, "AUTHENTICATE "+mech)
	c.show = "AUTHENTICATE " + mech + " ***"
	first := initial != nil
	if first && s.caps.has(goimap.CapSASLIR) {
		c.raw(" ", encodeInitial(initial))
		first = false
	}
	var failed error
	asked := 0
	c.challenge = func(line []byte) []byte {
		if asked++; asked > maxChallenges {
			return nil
		}
		if first {
			first = false
			return encodeSASL(initial)
		}
		challenge, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(line[1:])))
		if err == nil && failed == nil {
			var reply []byte
			if reply, err = client.Next(challenge); err == nil {
				return encodeSASL(reply)
			}
		}
		if failed == nil {
			failed = err
		}
		return []byte("*") // RFC 3501, section 6.2.2: cancel
	}
	s.hideContinuations = true
	defer func() { s.hideContinuations = false }()
	if err := s.submit(ctx, c, &failed); err != nil {
		return err
	}
	if err := auth.Verified(client); err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err}
	}
	return nil
}

// submit sends credentials. failed is our own reason to break the exchange off.
func (s *Session) submit(ctx context.Context, c *command, failed *error) error {
	s.caughtUp = nil // what the server can do may change with the sign-in
	if err := s.run(ctx, c.op, c); err != nil {
		return err
	}
	if c.result.ok() {
		return nil
	}
	if failed != nil && *failed != nil {
		return &remote.Error{Class: remote.Auth, Op: c.op, Err: *failed, Text: c.result.text, Code: c.result.code}
	}
	return signInRefusal(c.op, c.result)
}

func encodeSASL(b []byte) []byte { return []byte(base64.StdEncoding.EncodeToString(b)) }

// encodeInitial spells an initial response; an empty one is "=" (RFC 4959, section 3).
func encodeInitial(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// maxChallenges is more than any mechanism has.
const maxChallenges = 10

const (
	// What a server may say before it starts TLS.
	maxUpgradeLine  = 8 << 10
	maxUpgradeLines = 20
)

// startTLS is the transport.Upgrade of IMAP (RFC 3501, section 6.2.1). Nothing of what it reads is
// remembered: anybody may have said it.
func startTLS(_ context.Context, c net.Conn) error {
	const op = "starting TLS"
	// The connection gives a byte at a time: what this reader buffers is never more than was asked for.
	r := bufio.NewReaderSize(byteAtATime{c}, maxUpgradeLine)
	line, err := upgradeLine(r)
	if err != nil {
		return upgradeFailed(op, err)
	}
	greeting, ok := parseStatus([]byte(strings.TrimPrefix(line, "* ")))
	switch {
	case !ok || !strings.HasPrefix(line, "* "):
		return protocolAt(op, errors.New("what answers there does not speak IMAP"), "check host, port and tls")
	case greeting.kind == goimap.StatusResponseTypeBye:
		return signInRefusal(op, greeting)
	case greeting.kind != goimap.StatusResponseTypeOK:
		return protocolAt(op, errors.New("the server wants to go on without encryption (PREAUTH)"), "this may be an attack; nothing was sent")
	}
	if _, err := io.WriteString(c, "S0 STARTTLS\r\n"); err != nil {
		return upgradeFailed(op, err)
	}
	for range maxUpgradeLines {
		if line, err = upgradeLine(r); err != nil {
			return upgradeFailed(op, err)
		}
		answer, tagged := strings.CutPrefix(line, "S0 ")
		if !tagged {
			continue
		}
		st, ok := parseStatus([]byte(answer))
		if ok && st.ok() {
			return nil
		}
		e := refusal(op, st)
		e.Class, e.Hint = remote.Protocol, `the server won't encrypt, so no password was sent; use tls = "implicit" if it offers that`
		return e
	}
	return protocolAt(op, errors.New("the server talks on in plain text"), "")
}

// byteAtATime makes sure that nothing is read beyond the line that is looked for.
type byteAtATime struct{ r io.Reader }

func (b byteAtATime) Read(p []byte) (int, error) { return b.r.Read(p[:min(1, len(p))]) }

func upgradeLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", protocolAt("starting TLS", fmt.Errorf("a line of more than %d bytes", maxUpgradeLine), "check host, port and tls")
	}
	return strings.TrimRight(string(line), "\r\n"), err
}

// upgradeFailed leaves errors with a class as they are; the transport explains the network's.
func upgradeFailed(op string, err error) error {
	if remote.ClassOf(err) != 0 {
		return err
	}
	return fmt.Errorf("%s: %w", op, err)
}
