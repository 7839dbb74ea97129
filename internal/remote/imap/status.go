package imap

import (
	"bytes"
	"regexp"
	"strconv"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/remote"
)

// status is a status response (RFC 3501, section 7.1), or a command's outcome.
type status struct {
	kind goimap.StatusResponseType
	code string // upper case, without brackets
	arg  string // what follows the code inside the brackets, the server's bytes
	text string // for people, cleaned
}

func (s status) ok() bool { return s.kind == goimap.StatusResponseTypeOK }

// parseStatus reads "OK [CODE arg] text".
func parseStatus(line []byte) (status, bool) {
	kind, rest, _ := bytes.Cut(line, []byte{' '})
	s := status{kind: goimap.StatusResponseType(strings.ToUpper(string(kind)))}
	switch s.kind {
	case goimap.StatusResponseTypeOK, goimap.StatusResponseTypeNo, goimap.StatusResponseTypeBad,
		goimap.StatusResponseTypeBye, goimap.StatusResponseTypePreAuth:
	default:
		return status{}, false
	}
	rest = bytes.TrimLeft(rest, " ")
	if code, after, ok := cutCode(rest); ok {
		name, arg, _ := strings.Cut(strings.TrimSpace(string(code)), " ")
		s.code, s.arg, rest = remote.CleanText(strings.ToUpper(name)), strings.TrimSpace(arg), after
	}
	s.text = remote.CleanText(string(rest))
	return s, true
}

// cutCode takes a response code off a text. It ends at the first "]" that is not inside a quoted string, or, if its
// argument is a list, after the list: a flag in PERMANENTFLAGS may hold a "]".
func cutCode(text []byte) (code, rest []byte, ok bool) {
	if len(text) == 0 || text[0] != '[' {
		return nil, text, false
	}
	inQuotes, depth := false, 0
	for i := 1; i < len(text); i++ {
		switch c := text[i]; {
		case inQuotes && c == '\\':
			i++
		case c == '"':
			inQuotes = !inQuotes
		case inQuotes:
		case c == '(':
			depth++
		case c == ')':
			depth--
		case c == ']' && depth <= 0:
			return text[1:i], text[i+1:], true
		}
	}
	// Unbalanced: the simple rule.
	if i := bytes.IndexByte(text, ']'); i > 0 {
		return text[1:i], text[i+1:], true
	}
	return nil, text, false
}

// advice is what a response code (RFC 5530 and others) means to us.
type advice struct {
	// signIn is the class of a sign-in that failed with this code.
	signIn remote.Class
	hint   string
}

// adviceFor says what a response code means. For commands after the sign-in only the hint counts: a
// refusal of one command is that.
func adviceFor(code string) advice {
	switch goimap.ResponseCode(code) {
	case goimap.ResponseCodeAuthenticationFailed:
		return advice{remote.Auth, "check user and password"}
	case goimap.ResponseCodeAuthorizationFailed:
		return advice{remote.Auth, "the password is right, but this user may not use this mailbox"}
	case goimap.ResponseCodeExpired:
		return advice{remote.Auth, "the password or token has expired; get a new one"}
	case goimap.ResponseCodePrivacyRequired:
		return advice{remote.Auth, `the server wants encryption; set tls = "implicit" or "starttls"`}
	case goimap.ResponseCodeContactAdmin:
		return advice{remote.Auth, "the server asks to contact its administrator"}
	case goimap.ResponseCodeNoPerm:
		return advice{remote.Auth, "the account has no permission for this"}
	case goimap.ResponseCodeUnavailable:
		return advice{remote.Unavailable, "a part of the server is down; try again later"}
	case goimap.ResponseCodeInUse:
		return advice{remote.Unavailable, "another program uses the mailbox; try again later"}
	case goimap.ResponseCodeLimit:
		return advice{remote.Unavailable, "a limit of the server is reached, perhaps too many connections; set connections lower, or try again later"}
	case goimap.ResponseCodeServerBug:
		return advice{remote.Unavailable, "the server admits an error of its own; try again later"}
	case goimap.ResponseCodeClientBug:
		return advice{remote.Auth, "the server blames this program; please report it"}
	case goimap.ResponseCodeCorruption:
		return advice{remote.Unavailable, "the server's data is damaged; contact its administrator"}
	case goimap.ResponseCodeOverQuota:
		return advice{remote.Unavailable, "the mailbox is full; delete something or get more room"}
	case goimap.ResponseCodeTooBig:
		return advice{hint: "the message is larger than the server takes"}
	case goimap.ResponseCodeAlreadyExists:
		return advice{hint: "there is one of that name already"}
	case goimap.ResponseCodeNonExistent, goimap.ResponseCodeTryCreate:
		return advice{hint: "it does not exist on the server"}
	case goimap.ResponseCodeCannot:
		return advice{hint: "the server can't do this, now or ever"}
	case "THROTTLED": // Gmail, Yahoo
		return advice{remote.Unavailable, "the server wants to be asked less; try again later"}
	case "WEBALERT": // Gmail
		return advice{remote.Auth, "the provider wants a sign-in with a web browser first"}
	}
	return advice{}
}

// backoff is how Exchange asks to be left alone.
var backoff = regexp.MustCompile(`(?i)suggested backoff time: *([0-9]{1,12}) *milliseconds`)

// maxRetryAfter caps what a server can ask for.
const maxRetryAfter = time.Hour

func retryAfter(text string) time.Duration {
	m := backoff.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	ms, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0
	}
	return min(time.Duration(ms)*time.Millisecond, maxRetryAfter)
}

// throttles reports whether a refusal means all that might be asked next: more of it would only make it worse.
func (s status) throttles() bool {
	return !s.ok() && (s.code == "THROTTLED" || retryAfter(s.text) > 0)
}

// saysNone reports whether this is how Dovecot says that there is no such mailbox, which is without a code. On Maildir it goes on listing the name of one
// that was deleted and has others below it, as if it could be opened.
func (s status) saysNone() bool {
	return s.code == "" && strings.HasPrefix(s.text, "Mailbox doesn't exist: ")
}

// refusal is the error for a NO or BAD to one command.
func refusal(op string, s status) *remote.Error {
	e := &remote.Error{Class: remote.Refused, Op: op, Code: s.code, Text: s.text, RetryAfter: retryAfter(s.text)}
	e.Hint = adviceFor(s.code).hint
	if e.Text == "" {
		e.Text = "it gave no reason (" + string(s.kind) + ")"
	}
	return e
}

// signInRefusal is the error for a NO, BAD or BYE before the session is ready.
func signInRefusal(op string, s status) *remote.Error {
	e := refusal(op, s)
	a := adviceFor(s.code)
	switch {
	case e.RetryAfter > 0:
		e.Class = remote.Unavailable
	case a.signIn != 0:
		e.Class = a.signIn
	case s.kind == goimap.StatusResponseTypeBye:
		e.Class = remote.Unavailable
	default:
		e.Class = remote.Auth
	}
	if e.Class == remote.Auth && e.Hint == "" {
		e.Hint = "check user and password"
	}
	return e
}

// isSet reports whether a list of words holds one, without regard to case.
func isSet(words []string, word string) bool {
	for _, w := range words {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}
