package imap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	inbox = "INBOX"
	// Longer names are refused before the server has to.
	maxName      = 1000 // bytes, encoded
	maxComponent = 255  // bytes, decoded: what a file system takes
)

// isInbox reports whether a name, or a path's first component, is the INBOX (RFC 3501, section 5.1).
func isInbox(name string) bool { return strings.EqualFold(name, inbox) }

// canonical spells INBOX in capitals, for some servers answer with what they were asked.
func canonical(name string) string {
	if isInbox(name) {
		return inbox
	}
	return name
}

// splitName splits a server's name into decoded components.
func splitName(name string, delim byte) []string {
	if delim == 0 && name != "" {
		return []string{readName(name)}
	}
	var path []string
	for part := range strings.SplitSeq(name, string(rune(delim))) { // of nothing if there is no name
		if part != "" { // a trailing delimiter, or two in a row
			path = append(path, readName(part))
		}
	}
	return path
}

// pathOf makes a path of a server's name: without the personal namespace's prefix, unless it
// would then look like the INBOX or something below it.
func (s *Session) pathOf(name string, delim byte) []string {
	if delim > 0x7f {
		delim = 0
	}
	rest, below := strings.CutPrefix(name, s.prefix)
	path := splitName(rest, delim)
	if len(path) == 0 {
		return nil
	}
	if s.prefix != "" && (!below || s.keepsPrefix(path)) {
		path = splitName(name, delim)
	}
	if isInbox(path[0]) {
		path[0] = inbox
	}
	return path
}

// keepsPrefix reports whether a path below the prefix is told apart from the INBOX by keeping the prefix. So that no
// other path comes to read the same, it holds as well for those that begin with the prefix once more.
func (s *Session) keepsPrefix(path []string) bool {
	prefix := splitName(s.prefix, s.delim)
	for len(path) > 0 {
		if isInbox(path[0]) {
			return true
		}
		if len(prefix) == 0 || len(path) < len(prefix) || !slices.Equal(path[:len(prefix)], prefix) {
			return false
		}
		path = path[len(prefix):]
	}
	return false
}

// MailboxName spells a path as this server's mailbox name. It undoes what Mailbox.Path does. Where the mailboxes are is
// asked for if nothing was asked before.
func (s *Session) MailboxName(path []string) (string, error) {
	s.settleNow(context.Background())
	if len(path) == 0 {
		return "", errors.New("a folder without a name")
	}
	if len(path) == 1 && isInbox(path[0]) {
		return inbox, nil
	}
	if s.delim == 0 && len(path) > 1 {
		return "", fmt.Errorf("the server has no folders within folders, so %q can't be there", strings.Join(path, "/"))
	}
	prefix := splitName(s.prefix, s.delim)
	parts := make([]string, len(path))
	for i, c := range path {
		if i == 0 && len(prefix) == 0 {
			c = canonical(c)
		}
		if err := s.checkComponent(c); err != nil {
			return "", fmt.Errorf("folder %q can't be on the server: %w", strings.Join(path, "/"), err)
		}
		parts[i] = encodeName(c)
	}
	name := strings.Join(parts, string(rune(s.delim)))
	if s.delim == 0 {
		name = parts[0]
	}
	switch n := len(prefix); {
	case n == 0:
	case len(path) > n && slices.Equal(path[:n], prefix) && s.keepsPrefix(path[n:]):
	case s.keepsPrefix(path):
		return "", fmt.Errorf("the server keeps folders beside %s, not in it: call %q otherwise", inbox, strings.Join(path, "/"))
	default:
		name = s.prefix + name
	}
	if len(name) > maxName {
		return "", fmt.Errorf("folder name of %d bytes is longer than the %d that servers are asked to take", len(name), maxName)
	}
	return name, nil
}

func (s *Session) checkComponent(c string) error {
	switch {
	case c == "":
		return errors.New("a part of its name is empty")
	case len(c) > maxComponent:
		return fmt.Errorf("a part of its name is longer than %d bytes", maxComponent)
	case !utf8.ValidString(c):
		return errors.New("its name is not UTF-8")
	case strings.ContainsFunc(c, unicode.IsControl):
		return errors.New("its name holds a control character")
	case s.delim != 0 && strings.IndexByte(encodeName(c), s.delim) >= 0:
		return fmt.Errorf("its name holds %q, which separates folders there", s.delim)
	}
	return nil
}
