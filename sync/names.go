package sync

import (
	"fmt"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// names translates between the server's mailboxes and local folder names, and says which of them
// the account is about.
type names struct {
	set   *Settings
	delim string
	// spell makes a server name of a path; it is the session's.
	spell func(path []string) (string, error)
	// byDisplay finds the listed mailbox that a map entry means.
	byDisplay map[string]remote.Mailbox
}

func newNames(set *Settings, s remote.Session, boxes []remote.Mailbox) *names {
	n := &names{set: set, delim: s.Capabilities().Delimiter, spell: s.MailboxName, byDisplay: map[string]remote.Mailbox{}}
	for _, b := range boxes {
		for _, d := range n.spellings(b.Display, b.Path) {
			n.byDisplay[d] = b
		}
	}
	return n
}

// spellings are the ways in which a configuration may write a mailbox: with the namespace's prefix,
// without it, and with "/" between the levels.
func (n *names) spellings(display string, path []string) []string {
	s := []string{display, strings.Join(path, "/")}
	if n.delim != "" {
		s = append(s, strings.Join(path, n.delim))
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// local gives a mailbox its local name.
func (n *names) local(b remote.Mailbox) (mail.FolderName, error) {
	for _, d := range n.spellings(b.Display, b.Path) {
		if to, ok := n.set.Map[d]; ok {
			return mail.FolderName(to), nil
		}
	}
	return mail.NewFolderName(b.Path)
}

// mailbox gives a local folder its server name, or says why the server can't have it.
func (n *names) mailbox(f mail.FolderName) (string, error) {
	for _, from := range sortedKeys(n.set.Map) {
		if n.set.Map[from] != string(f) {
			continue
		}
		if b, ok := n.byDisplay[from]; ok {
			return b.Name, nil
		}
		sep := "/"
		if n.delim != "" && !strings.Contains(from, "/") {
			sep = n.delim
		}
		return n.spell(strings.Split(from, sep))
	}
	path := f.Path()
	for _, d := range n.spellings(strings.Join(path, "/"), path) {
		if to, ok := n.set.Map[d]; ok {
			return "", fmt.Errorf("the configuration maps the server's %q to %q, so a local folder of that name has no place on the server; rename it", d, to)
		}
	}
	if len(path) > 0 && path[0] != "INBOX" && strings.EqualFold(path[0], "INBOX") {
		return "", fmt.Errorf("on the server this name would be INBOX; rename the local folder")
	}
	return n.spell(path)
}

// wants reports whether the account is about a mailbox.
func (n *names) wants(display string, path []string, specialUse []string) bool {
	spelled := n.spellings(display, path)
	match := func(patterns []string) bool {
		for _, p := range patterns {
			if strings.HasPrefix(p, `\`) {
				if slices.ContainsFunc(specialUse, func(u string) bool { return strings.EqualFold(u, p) }) {
					return true
				}
				continue
			}
			for _, s := range spelled {
				if matchPattern(p, s, "/") || (n.delim != "" && n.delim != "/" && matchPattern(p, s, n.delim)) {
					return true
				}
			}
		}
		return false
	}
	include := n.set.Include
	return (len(include) == 0 || match(include)) && !match(n.set.Exclude)
}

// matchPattern matches as IMAP's LIST does (RFC 9051, 6.3.9): * is anything, % anything but the
// hierarchy delimiter. INBOX is matched without regard to case as a whole first level.
func matchPattern(pattern, name, delim string) bool {
	if p, _, _ := strings.Cut(pattern, delim); strings.EqualFold(p, "INBOX") {
		pattern = "INBOX" + pattern[len(p):]
	}
	// Positions to come back to when a wildcard must take one byte more.
	star, starName := -1, 0
	percent, percentName := -1, 0
	i, j := 0, 0
	for j < len(name) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, starName = i, j
			percent = -1
			i++
			continue
		case i < len(pattern) && pattern[i] == '%':
			percent, percentName = i, j
			i++
			continue
		case i < len(pattern) && pattern[i] == name[j]:
			i++
			j++
			continue
		}
		if percent >= 0 && !strings.HasPrefix(name[percentName:], delim) {
			percentName++
			i, j = percent+1, percentName
			continue
		}
		if star >= 0 {
			starName++
			percent = -1
			i, j = star+1, starName
			continue
		}
		return false
	}
	for i < len(pattern) && (pattern[i] == '*' || pattern[i] == '%') {
		i++
	}
	return i == len(pattern)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
