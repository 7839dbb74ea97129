package pop3

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-sasl"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote"
)

// signIn leads a fresh connection to where it can be used.
func (s *Session) signIn(ctx context.Context) error {
	if err := s.askCapabilities(); err != nil {
		return err
	}
	way, err := s.choose()
	if err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err, Hint: s.hint()}
	}
	var secret auth.Secret
	if way.apop || way.method.NeedsSecret() {
		if s.cfg.Secret == nil {
			return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: errors.New("no password is configured"),
				Hint: "set password_command, password_env, password_keyring or password"}
		}
		if secret, err = s.cfg.Secret.Secret(ctx); err != nil {
			return &remote.Error{Class: remote.Auth, Op: "getting the password", Err: err}
		}
		s.secret = &secret
		s.wire.begin() // asking may have taken its time
	}
	switch {
	case way.apop:
		return s.apop(secret)
	case way.method == auth.Login && s.takesUser():
		return s.userPass(secret)
	}
	client, err := auth.Client(way.method, s.cfg.User, secret, s.cfg.Transport.Host, s.cfg.Transport.Port)
	if err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err}
	}
	return s.sasl(client)
}

// askCapabilities asks what the server can do (RFC 2449, section 5). A server that does not know the question has no extensions.
func (s *Session) askCapabilities() error {
	const op = "asking what the server can do"
	st, err := s.exchange(op, "CAPA")
	if err != nil || !st.ok {
		return err
	}
	s.hasCapa = true
	const most = 1000
	for range most {
		line, err := s.wire.readLine()
		if err != nil {
			return during(op, err)
		}
		if string(line) == "." {
			s.traceIn("(" + strings.Join(s.caps, ", ") + ")")
			return nil
		}
		if c := remote.CleanText(string(line)); c != "" && !s.disabled(c) {
			s.caps = append(s.caps, c)
		}
	}
	return s.wire.Fail(protocolAt(op, errors.New("the list does not end"), ""))
}

func (s *Session) disabled(capability string) bool {
	name, _, _ := strings.Cut(capability, " ")
	return slices.ContainsFunc(s.cfg.Disable, func(d string) bool { return strings.EqualFold(d, name) })
}

// capability returns the arguments of a capability, and whether the server has it.
func (s *Session) capability(name string) ([]string, bool) {
	for _, c := range s.caps {
		if words := strings.Fields(c); len(words) > 0 && strings.EqualFold(words[0], name) {
			return words[1:], true
		}
	}
	return nil, false
}

func (s *Session) has(name string) bool {
	_, ok := s.capability(name)
	return ok
}

// takesUser reports whether the server takes USER and PASS. One that says what it can do, and does not say that, does not.
func (s *Session) takesUser() bool { return !s.hasCapa || s.has("USER") }

// way is how to sign in.
type way struct {
	apop   bool // by the digest of the greeting's timestamp and the password (RFC 1939, section 7)
	method auth.Method
}

// choose settles on a way. APOP is taken, by "auto" only, where it protects the password better than what else there is: on a connection
// that others can read, and where there is nothing else. It rests on MD5, so over TLS all else goes before it.
func (s *Session) choose() (way, error) {
	mechs, _ := s.capability("SASL")
	certOnly := s.cfg.Transport.ClientCert != "" && s.cfg.Secret == nil
	m, err := auth.Choose(s.cfg.Method, mechs, s.takesUser(), certOnly)
	if s.cfg.Method != auth.Auto || s.stamp == "" || certOnly {
		return way{method: m}, err
	}
	if err != nil || !s.secure && m != auth.ScramSHA256 {
		return way{apop: true}, nil
	}
	return way{method: m}, nil
}

func (s *Session) hint() string {
	if !s.secure {
		return `the server may want encryption; set tls = "implicit" or "starttls", or auth`
	}
	return "set auth to one that the server offers"
}

// stamped finds the timestamp in a greeting, which looks like a Message-ID.
var stamped = regexp.MustCompile(`<[\x21-\x3b\x3d\x3f-\x7e]+@[\x21-\x3b\x3d\x3f-\x7e]+>`)

func timestamp(greeting string) string { return stamped.FindString(greeting) }

// unsendable reports whether a word would end its command, or its place in it.
func unsendable(word string, spaces bool) bool {
	return strings.ContainsAny(word, "\r\n\x00") || spaces && strings.ContainsAny(word, " \t")
}

var errUnsendable = errors.New("the user name or password holds a character that can't be sent")

func (s *Session) apop(secret auth.Secret) error {
	if unsendable(s.cfg.User, true) {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: errUnsendable}
	}
	sum := md5.Sum([]byte(s.stamp + secret.Reveal()))
	st, err := s.exchangeSecretly(opSignIn, "APOP "+s.cfg.User+" "+hex.EncodeToString(sum[:]), "APOP ***")
	if err != nil || st.ok {
		return err
	}
	e := signInRefusal(opSignIn, st, s.loginDelay())
	if e.Class == remote.Auth && !s.secure {
		// Nothing weaker is tried: somebody in between might have made it fail.
		e.Hint = `check user and password; if the server can't do APOP, set tls = "implicit" or "starttls", or auth = "login" to send the password as it is`
	}
	return e
}

// userPass is USER and PASS (RFC 1939, section 7). The password is all that follows the space, others included.
func (s *Session) userPass(secret auth.Secret) error {
	if unsendable(s.cfg.User, true) || unsendable(secret.Reveal(), false) {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: errUnsendable}
	}
	st, err := s.exchangeSecretly(opSignIn, "USER "+s.cfg.User, "USER ***")
	if err == nil && st.ok {
		st, err = s.exchangeSecretly(opSignIn, "PASS "+secret.Reveal(), "PASS ***")
	}
	if err != nil || st.ok {
		return err
	}
	return signInRefusal(opSignIn, st, s.loginDelay())
}

// maxInitial is the longest line that may hold an initial response (RFC 5034, section 4, which refers to RFC 2449).
const maxInitial = 255

// maxChallenges is more than any mechanism has.
const maxChallenges = 10

// sasl is the AUTH command (RFC 5034).
func (s *Session) sasl(client sasl.Client) error {
	mech, initial, err := client.Start()
	if err != nil {
		return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err}
	}
	line, show := "AUTH "+mech, "AUTH "+mech+" ***"
	if initial != nil {
		if full := line + " " + encodeInitial(initial); len(full)+len("\r\n") <= maxInitial {
			line, initial = full, nil
		}
	}
	var failed error
	for range maxChallenges {
		st, err := s.exchangeSecretly(opSignIn, line, show)
		switch {
		case err != nil:
			return err
		case st.ok:
			if err := auth.Verified(client); err != nil {
				return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: err}
			}
			return nil
		case !st.asks && failed != nil:
			return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: failed, Text: st.text, Code: st.code}
		case !st.asks:
			return signInRefusal(opSignIn, st, s.loginDelay())
		}
		show = "***"
		switch {
		case failed != nil: // it goes on asking though we gave up
			return &remote.Error{Class: remote.Auth, Op: opSignIn, Err: failed}
		case initial != nil:
			line, initial = base64.StdEncoding.EncodeToString(initial), nil
			continue
		}
		challenge, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(st.challenge)))
		var reply []byte
		if err == nil {
			reply, err = client.Next(challenge)
		}
		if err != nil {
			failed, line = err, "*" // RFC 5034, section 4: cancel
			continue
		}
		line = base64.StdEncoding.EncodeToString(reply)
	}
	return s.wire.Fail(protocolAt(opSignIn, errors.New("the server asks without end"), ""))
}

// encodeInitial spells an initial response; an empty one is "=".
func encodeInitial(b []byte) string {
	if len(b) == 0 {
		return "="
	}
	return base64.StdEncoding.EncodeToString(b)
}

// loginDelay is the time that the server wants between two sign-ins (RFC 2449, section 6.5), 0 if it says nothing.
func (s *Session) loginDelay() time.Duration {
	const most = time.Hour
	args, _ := s.capability("LOGIN-DELAY")
	if len(args) == 0 {
		return 0
	}
	seconds, err := strconv.ParseUint(args[0], 10, 31)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, most)
}
