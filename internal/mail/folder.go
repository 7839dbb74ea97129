package mail

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// FolderName is the local name of a folder, as people write it on the command line
// ("INBOX", "Archive/2024"): components joined by "/", each spelled so that it can be a
// directory of the nested layout (see EscapeComponent). It identifies the folder within its account.
type FolderName string

// Inbox is the folder that every mailbox has (RFC 9051, section 5.1).
const Inbox FolderName = "INBOX"

// NewFolderName joins components as the server means them, unescaped.
func NewFolderName(path []string) (FolderName, error) {
	if len(path) == 0 {
		return "", errors.New("a folder name needs at least one component")
	}
	parts := make([]string, len(path))
	for i, c := range path {
		if c == "" {
			return "", fmt.Errorf("folder name %q has an empty component", strings.Join(path, "/"))
		}
		if !utf8.ValidString(c) {
			return "", fmt.Errorf("folder name %q is not UTF-8", strings.Join(path, "/"))
		}
		parts[i] = EscapeComponent(c, "")
	}
	return FolderName(strings.Join(parts, "/")), nil
}

// Path returns the components, unescaped: what NewFolderName was given.
func (f FolderName) Path() []string {
	parts := strings.Split(string(f), "/")
	for i, p := range parts {
		parts[i] = UnescapeComponent(p, "")
	}
	return parts
}

// Parent returns the folder above, empty at the top.
func (f FolderName) Parent() FolderName {
	i := strings.LastIndexByte(string(f), '/')
	if i < 0 {
		return ""
	}
	return f[:i]
}

// Under reports whether f lies below parent, at any depth. Nothing lies below the empty name.
func (f FolderName) Under(parent FolderName) bool {
	n := len(parent)
	return n > 0 && len(f) > n && f[n] == '/' && f[:n] == parent
}

// EscapeComponent spells one component so that it can be a directory name: "/", "%", ASCII control
// characters and every byte in also are percent-encoded, and so is the first byte of a name that
// begins with "." or is one of the Maildir's own (cur, new, tmp). Different names stay different.
func EscapeComponent(name, also string) string {
	const digits = "0123456789ABCDEF"
	first := strings.HasPrefix(name, ".") || name == "cur" || name == "new" || name == "tmp"
	var b strings.Builder
	done := 0 // bytes of name that are in b
	for i := range len(name) {
		c := name[i]
		if c < 0x20 || c == 0x7f || c == '/' || c == '%' || strings.IndexByte(also, c) >= 0 || (i == 0 && first) {
			b.WriteString(name[done:i])
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&0xf])
			done = i + 1
		}
	}
	if done == 0 {
		return name
	}
	b.WriteString(name[done:])
	return b.String()
}

// UnescapeComponent undoes EscapeComponent. A name that EscapeComponent can't have written is
// meant literally.
func UnescapeComponent(name, also string) string {
	if !strings.Contains(name, "%") {
		return name
	}
	var b strings.Builder
	rest := name
	for {
		before, after, found := strings.Cut(rest, "%")
		b.WriteString(before)
		if !found {
			break
		}
		c, err := strconv.ParseUint(after[:min(2, len(after))], 16, 8)
		if err != nil || len(after) < 2 {
			return name
		}
		b.WriteByte(byte(c))
		rest = after[2:]
	}
	// Lower-case digits, or escapes of what needs none, are not ours.
	if s := b.String(); EscapeComponent(s, also) == name {
		return s
	}
	return name
}
