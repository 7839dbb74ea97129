package mail

import (
	"errors"
	"fmt"
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

// Path returns the components, unescaped.
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

// Under reports whether f lies below parent.
func (f FolderName) Under(parent FolderName) bool {
	return strings.HasPrefix(string(f), string(parent)+"/")
}

// EscapeComponent spells one component so that it can be a directory name: "/", "%", control
// characters and every byte in also are percent-encoded, and so is the first byte of a name that
// begins with "." or is one of the Maildir's own (cur, new, tmp).
func EscapeComponent(name, also string) string {
	first := strings.HasPrefix(name, ".") || name == "cur" || name == "new" || name == "tmp"
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c < 0x20 || c == 0x7f || c == '/' || c == '%' || strings.IndexByte(also, c) >= 0 || (i == 0 && first) {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// UnescapeComponent undoes EscapeComponent. A name that EscapeComponent can't have written is
// meant literally.
func UnescapeComponent(name, also string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		var c byte
		if i+2 >= len(name) {
			return name
		}
		if _, err := fmt.Sscanf(name[i+1:i+3], "%02X", &c); err != nil {
			return name
		}
		b.WriteByte(c)
		i += 2
	}
	if s := b.String(); EscapeComponent(s, also) == name {
		return s
	}
	return name
}
