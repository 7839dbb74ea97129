package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a mail client does to a Maildir, with plain file operations.

// file is one message in a Maildir.
type file struct {
	Path string
	// Base is the name up to the flags, Flags what follows ":2,".
	Base, Flags string
	New         bool // in new/
}

// dir is the folder's place on disk; the name is as the person sees it, levels separated by "/".
func (a *account) dir(folder string) string {
	if !a.plus {
		return filepath.Join(a.Maildir, folder)
	}
	if folder == "INBOX" {
		return a.Maildir
	}
	return filepath.Join(a.Maildir, "."+strings.ReplaceAll(folder, "/", "."))
}

// mkdir makes a local folder.
func (a *account) mkdir(folder string) {
	a.t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		a.check(os.MkdirAll(filepath.Join(a.dir(folder), sub), 0o700))
	}
	if a.plus && folder != "INBOX" {
		a.check(os.WriteFile(filepath.Join(a.dir(folder), "maildirfolder"), nil, 0o600))
	}
}

// rmdir removes a local folder with all that is in it, its children excepted.
func (a *account) rmdir(folder string) {
	a.t.Helper()
	for _, sub := range []string{"cur", "new", "tmp"} {
		a.check(os.RemoveAll(filepath.Join(a.dir(folder), sub)))
	}
	if a.plus {
		a.check(os.RemoveAll(a.dir(folder)))
		return
	}
	_ = os.Remove(filepath.Join(a.dir(folder), "dovecot-keywords"))
	_ = os.Remove(a.dir(folder)) // stays if it has children
}

// files lists a folder's messages by base name.
func (a *account) files(folder string) []file {
	a.t.Helper()
	var out []file
	for _, sub := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(a.dir(folder), sub))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		a.check(err)
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), ".") {
				continue
			}
			base, flags, _ := strings.Cut(e.Name(), ":2,")
			out = append(out, file{Path: filepath.Join(a.dir(folder), sub, e.Name()), Base: base, Flags: flags, New: sub == "new"})
		}
	}
	slices.SortFunc(out, func(x, y file) int { return strings.Compare(x.Base, y.Base) })
	return out
}

// folders lists the local folders.
func (a *account) folders() []string {
	a.t.Helper()
	var out []string
	err := filepath.WalkDir(a.Maildir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() || d.Name() != "cur" {
			return nil
		}
		parent, err := filepath.Rel(a.Maildir, filepath.Dir(path))
		if err != nil || strings.HasPrefix(parent, ".satchel") || strings.HasPrefix(parent, "satchel-undo") {
			return err
		}
		switch {
		case a.plus && parent == ".":
			parent = "INBOX"
		case a.plus:
			parent = strings.ReplaceAll(strings.TrimPrefix(parent, "."), ".", "/")
		}
		out = append(out, parent)
		return nil
	})
	if !errors.Is(err, fs.ErrNotExist) {
		a.check(err)
	}
	slices.Sort(out)
	return out
}

// put delivers a message to a folder as a mail client does, and returns its base name. Without flags
// it goes to new/. A keyword is its letter.
func (a *account) put(folder, content, flags string) string {
	a.t.Helper()
	return a.putAt(folder, content, flags, time.Time{})
}

// putAt is put with a modification time.
func (a *account) putAt(folder, content, flags string, when time.Time) string {
	a.t.Helper()
	a.mkdir(folder)
	a.delivered++
	base := fmt.Sprintf("%d.M%dP%d.host", 1_700_000_000+a.delivered, a.delivered, os.Getpid())
	tmp := filepath.Join(a.dir(folder), "tmp", base)
	a.check(os.WriteFile(tmp, []byte(content), 0o600))
	if !when.IsZero() {
		a.check(os.Chtimes(tmp, when, when))
	}
	to := filepath.Join(a.dir(folder), "new", base)
	if flags != "" {
		to = filepath.Join(a.dir(folder), "cur", base+":2,"+flags)
	}
	a.check(os.Rename(tmp, to))
	return base
}

// find returns the one local message of a folder with this subject.
func (a *account) find(folder, subject string) file {
	a.t.Helper()
	var found []file
	for _, f := range a.files(folder) {
		if a.subject(f) == subject {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		a.t.Fatalf("%s holds %d messages with subject %q in the Maildir, want one", folder, len(found), subject)
	}
	return found[0]
}

func (a *account) subject(f file) string {
	a.t.Helper()
	b, err := os.ReadFile(f.Path)
	a.check(err)
	return subjectOf(b)
}

// subjectOf returns the first line that is a Subject.
func subjectOf(message []byte) string {
	for line := range bytes.Lines(message) {
		if s, ok := strings.CutPrefix(string(line), "Subject: "); ok {
			return strings.TrimRight(s, "\r\n")
		}
	}
	return ""
}

// flag gives a local message exactly these flags, sorted; it then lies in cur/.
func (a *account) flag(folder, subject, flags string) {
	a.t.Helper()
	f := a.find(folder, subject)
	a.check(os.Rename(f.Path, filepath.Join(a.dir(folder), "cur", f.Base+":2,"+flags)))
}

// move moves a local message by renaming it, as mutt and notmuch do.
func (a *account) move(from, to, subject string) {
	a.t.Helper()
	a.mkdir(to)
	f := a.find(from, subject)
	sub := "cur"
	if f.New {
		sub = "new"
	}
	a.check(os.Rename(f.Path, filepath.Join(a.dir(to), sub, filepath.Base(f.Path))))
}

// remove deletes a local message.
func (a *account) remove(folder, subject string) {
	a.t.Helper()
	a.check(os.Remove(a.find(folder, subject).Path))
}

// keywords reads a folder's dovecot-keywords: letter to keyword.
func (a *account) keywords(folder string) map[byte]string {
	a.t.Helper()
	out := map[byte]string{}
	b, err := os.ReadFile(filepath.Join(a.dir(folder), "dovecot-keywords"))
	if errors.Is(err, fs.ErrNotExist) {
		return out
	}
	a.check(err)
	for line := range strings.Lines(string(b)) {
		number, name, ok := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.Atoi(number)
		if !ok || err != nil || n < 0 || n > 25 {
			a.t.Fatalf("%s: a line of dovecot-keywords is %q", folder, line)
		}
		out['a'+byte(n)] = name
	}
	return out
}

// setKeywords writes a folder's dovecot-keywords: names for a, b, …
func (a *account) setKeywords(folder string, names ...string) {
	a.t.Helper()
	a.mkdir(folder)
	var b strings.Builder
	for i, n := range names {
		fmt.Fprintf(&b, "%d %s\n", i, n)
	}
	a.check(os.WriteFile(filepath.Join(a.dir(folder), "dovecot-keywords"), []byte(b.String()), 0o600))
}
