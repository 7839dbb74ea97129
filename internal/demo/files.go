package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// files is somebody else's mail client at a Maildir in nested layout: it knows what is written in maildir(5) and
// in Dovecot's description of its keywords file, and shares no code with package maildir.
type files struct{ root string }

// letters are the flags that file names have letters for.
const letters = "DFPRST"

// Messages reads everything that is in the Maildir, by folder and file.
func (m files) Messages() ([]Message, error) {
	var all []Message
	err := filepath.WalkDir(m.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		dir := filepath.Dir(path)
		if kind := filepath.Base(dir); kind != "cur" && kind != "new" {
			return nil
		}
		folder, err := filepath.Rel(m.root, filepath.Dir(dir))
		if err != nil {
			return err
		}
		msg, err := m.read(mail.FolderName(filepath.ToSlash(folder)), path)
		if err != nil {
			return err
		}
		all = append(all, msg)
		return nil
	})
	return all, err
}

func (m files) read(folder mail.FolderName, path string) (Message, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Message{}, err
	}
	// On disk lines end in LF unless the message could not be brought back from that.
	if !bytes.Contains(raw, []byte("\r\n")) {
		raw = bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	}
	names, err := m.flags(filepath.Dir(filepath.Dir(path)), info(filepath.Base(path)))
	if err != nil {
		return Message{}, err
	}
	rel, err := filepath.Rel(m.root, path)
	if err != nil {
		return Message{}, err
	}
	return Message{Folder: folder, Flags: names, Raw: raw, File: filepath.ToSlash(rel)}, nil
}

// info is the flag letters of a file name.
func info(name string) string {
	_, after, _ := strings.Cut(name, "2,")
	return after
}

// flags spells letters out; a to z stand for what dovecot-keywords in the folder says.
func (m files) flags(folder, info string) (mail.Flags, error) {
	keywords := map[string]string{}
	list, err := os.ReadFile(filepath.Join(folder, "dovecot-keywords"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mail.Flags{}, err
	}
	for line := range strings.Lines(string(list)) {
		number, word, _ := strings.Cut(strings.TrimSpace(line), " ")
		keywords[number] = word
	}
	names := []string{`\Draft`, `\Flagged`, `$Forwarded`, `\Answered`, `\Seen`, `\Deleted`}
	var have []string
	for _, c := range info {
		if i := strings.IndexRune(letters, c); i >= 0 {
			have = append(have, names[i])
		} else if c >= 'a' && c <= 'z' {
			have = append(have, keywords[fmt.Sprint(c-'a')])
		}
	}
	return mail.NewFlags(have...), nil
}

// Flag adds a flag letter to a message, as a client does that shows it.
func (m files) Flag(msg Message, letter byte) error {
	dir, name := filepath.Split(filepath.Join(m.root, filepath.FromSlash(msg.File)))
	base, _, found := strings.Cut(name, "2,")
	if !found {
		base = name + ":"
	}
	all := []byte(info(name) + string(letter))
	slices.Sort(all)
	return os.Rename(filepath.Join(dir, name), filepath.Join(dir, "..", "cur", base+"2,"+string(all)))
}

// Deliver saves a message, as a client does that keeps a copy of what it sent.
func (m files) Deliver(folder mail.FolderName, raw []byte) error {
	dir := filepath.Join(m.root, filepath.FromSlash(string(folder)))
	name := fmt.Sprintf("1730000000.M1P%d.mail-client", os.Getpid())
	text := bytes.ReplaceAll(raw, []byte("\r\n"), []byte("\n"))
	if err := os.WriteFile(filepath.Join(dir, "tmp", name), text, 0o600); err != nil {
		return err
	}
	return os.Rename(filepath.Join(dir, "tmp", name), filepath.Join(dir, "cur", name+":2,S"))
}

// Move moves a message to another folder.
func (m files) Move(msg Message, to mail.FolderName) error {
	from := filepath.Join(m.root, filepath.FromSlash(msg.File))
	return os.Rename(from, filepath.Join(m.root, filepath.FromSlash(string(to)), "cur", filepath.Base(from)))
}

// Delete removes a message.
func (m files) Delete(msg Message) error {
	return os.Remove(filepath.Join(m.root, filepath.FromSlash(msg.File)))
}
