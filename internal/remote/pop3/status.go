package pop3

import (
	"bytes"
	"regexp"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

// status is the line that answers a command.
type status struct {
	ok   bool
	code string // upper case, without brackets (RFC 2449, section 8)
	text string // what follows, for people, cleaned
	// challenge is what a line that begins with "+ " asks for (RFC 5034); such a line is neither a success nor a failure.
	challenge []byte
	asks      bool
}

// parseStatus reads a line without its end.
func parseStatus(line []byte) (status, bool) {
	if rest, ok := cutWord(line, "+OK"); ok {
		return status{ok: true, text: remote.CleanText(string(rest))}, true
	}
	if rest, ok := cutWord(line, "-ERR"); ok {
		st := status{}
		if len(rest) > 0 && rest[0] == '[' {
			if code, after, ok := bytes.Cut(rest[1:], []byte{']'}); ok {
				st.code, rest = strings.ToUpper(remote.CleanText(string(code))), after
			}
		}
		st.text = remote.CleanText(string(rest))
		return st, true
	}
	if len(line) > 0 && line[0] == '+' && (len(line) == 1 || line[1] == ' ') {
		return status{asks: true, challenge: bytes.TrimSpace(line[1:])}, true
	}
	return status{}, false
}

// cutWord takes the indicator off a line, whose case does not matter to us, and the space that follows.
func cutWord(line []byte, word string) ([]byte, bool) {
	if len(line) < len(word) || !strings.EqualFold(string(line[:len(word)]), word) {
		return nil, false
	}
	rest := line[len(word):]
	if len(rest) > 0 && rest[0] != ' ' && rest[0] != '\t' && rest[0] != '[' {
		return nil, false
	}
	return bytes.TrimLeft(rest, " \t"), true
}

// refusal is the error for a -ERR.
func refusal(op string, st status) *remote.Error {
	e := &remote.Error{Class: remote.Refused, Op: op, Code: st.code, Text: st.text}
	if e.Text == "" {
		e.Text = "it gave no reason"
	}
	return e
}

// busy recognises the words of servers without response codes that refuse for now.
var busy = regexp.MustCompile(`(?i)\b(lock(ed)?|in use|is use|busy|already (open|logged)|another (session|connection|pop3)|too many (connections|sessions|logins)|temporar(y|ily)|try (again )?later|timed? ?out)\b`)

// signInRefusal is the error for a sign-in that failed. loginDelay is how long the server wants to be left alone between two of
// them, 0 if it does not say.
func signInRefusal(op string, st status, loginDelay time.Duration) *remote.Error {
	e := refusal(op, st)
	switch code := st.code; {
	case code == "IN-USE": // RFC 2449, section 8.1.1
		e.Class, e.Hint = remote.Unavailable, "another program has this mailbox open; try again when it is done"
	case code == "LOGIN-DELAY":
		e.Class, e.Hint, e.RetryAfter = remote.Unavailable, "the server does not let us in so soon after the last time; sync less often", loginDelay
	case code == "SYS/TEMP": // RFC 3206
		e.Class, e.Hint = remote.Unavailable, "the server has trouble of its own that should pass; try again later"
	case code == "SYS/PERM":
		e.Class, e.Hint = remote.Protocol, "the server has trouble of its own that won't pass; ask its administrator"
	case code == "AUTH":
		e.Class, e.Hint = remote.Auth, "check user and password"
	case code == "" && busy.MatchString(st.text):
		e.Class, e.Hint = remote.Unavailable, "try again later"
	default:
		e.Class, e.Hint = remote.Auth, "check user and password"
	}
	return e
}

// isForNow reports whether a refusal says that it may pass.
func isForNow(st status) bool {
	switch st.code {
	case "IN-USE", "LOGIN-DELAY", "SYS/TEMP":
		return true
	}
	return st.code == "" && busy.MatchString(st.text)
}

// refusalForNow is the error for a server that does not want to talk at all, or lets us in and does not say what it has.
func refusalForNow(op string, st status) *remote.Error {
	e := refusal(op, st)
	e.Class, e.Hint = remote.Unavailable, "try again later"
	if st.code == "SYS/PERM" {
		e.Class, e.Hint = remote.Protocol, "ask the server's administrator"
	}
	return e
}
