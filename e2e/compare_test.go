package e2e

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// client is a second mail client on the account. It does not live long, so it is renewed now and then.
func (a *account) client() *servers.Client {
	a.t.Helper()
	if a.observer == nil || time.Now().After(a.observerDue) {
		a.observer, a.observerDue = a.Server.Client(a.t), time.Now().Add(20*time.Second)
	}
	return a.observer
}

// mailbox spells a folder's name as the server does.
func (a *account) mailbox(folder string) string {
	if folder == "INBOX" {
		return folder
	}
	return a.Server.Prefix + strings.ReplaceAll(folder, "/", a.Server.Separator)
}

// localName is the inverse of mailbox.
func (a *account) localName(mailbox string) string {
	return strings.ReplaceAll(strings.TrimPrefix(mailbox, a.Server.Prefix), a.Server.Separator, "/")
}

// at finds the one message with this subject in a folder on the server.
func (a *account) at(folder, subject string) servers.Message {
	a.t.Helper()
	var found []servers.Message
	for _, m := range a.client().Messages(a.mailbox(folder)) {
		if subjectOf(m.Body) == subject {
			found = append(found, m)
		}
	}
	if len(found) != 1 {
		a.t.Fatalf("%s holds %d messages with subject %q on the server, want one", folder, len(found), subject)
	}
	return found[0]
}

// uid is the UID of the one message with this subject.
func (a *account) uid(folder, subject string) mail.UID {
	a.t.Helper()
	return a.at(folder, subject).UID
}

// flags builds a set of flags of their IMAP names.
func flags(names ...string) mail.Flags { return mail.NewFlags(names...) }

// letter is a small message with CRLF line ends, as a server has it.
func letter(subject string) string {
	return "From: ann@example.org\r\nTo: bob@example.org\r\nSubject: " + subject + "\r\nDate: Mon, 3 Feb 2020 04:05:06 +0000\r\n" +
		"Message-ID: <" + strings.ReplaceAll(subject, " ", ".") + "@example.org>\r\n\r\nThis is " + subject + ".\r\n"
}

// onDisk is the form in which the contract wants a server's message on disk.
func onDisk(wire string) string {
	lf := strings.ReplaceAll(wire, "\r\n", "\n")
	if strings.ReplaceAll(lf, "\n", "\r\n") == wire && !strings.Contains(lf, "\r\n") {
		return lf
	}
	return wire
}

// subjects lists what a folder holds on each side, sorted.
func (a *account) subjects(folder string) (server, maildir []string) {
	a.t.Helper()
	for _, m := range a.client().Messages(a.mailbox(folder)) {
		server = append(server, subjectOf(m.Body))
	}
	for _, f := range a.files(folder) {
		maildir = append(maildir, a.subject(f))
	}
	slices.Sort(server)
	slices.Sort(maildir)
	return server, maildir
}

// holds fails the test unless both sides of a folder hold just these subjects.
func (a *account) holds(folder string, want ...string) {
	a.t.Helper()
	slices.Sort(want)
	server, maildir := a.subjects(folder)
	if !slices.Equal(server, want) || !slices.Equal(maildir, want) {
		a.t.Fatalf("%s:\nwant      %q\non server %q\nin Maildir %q", folder, want, server, maildir)
	}
}

// letters are the flags that have letters of their own.
func letters(f mail.Flags) string {
	var b strings.Builder
	for _, x := range []struct {
		flag   mail.System
		letter byte
	}{{mail.Draft, 'D'}, {mail.Flagged, 'F'}, {mail.Forwarded, 'P'}, {mail.Answered, 'R'}, {mail.Seen, 'S'}, {mail.Deleted, 'T'}} {
		if f.Has(x.flag) {
			b.WriteByte(x.letter)
		}
	}
	return b.String()
}

// sentence describes a message so that the two sides' can be compared: flags, keywords, and bytes with CRLF taken
// as LF. How line ends lie on disk is the matter of tests of their own.
func sentence(body []byte, system string, keywords []string) string {
	lower := make([]string, len(keywords))
	for i, k := range keywords {
		lower[i] = strings.ToLower(k)
	}
	slices.Sort(lower)
	sum := sha256.Sum256(bytes.ReplaceAll(body, []byte("\r\n"), []byte("\n")))
	return fmt.Sprintf("%q %x %s %v", subjectOf(body), sum[:6], system, lower)
}

// serverTree describes all folders on the server, local names to messages, sorted.
func (a *account) serverTree() map[string][]string {
	a.t.Helper()
	c := a.client()
	tree := map[string][]string{}
	for _, box := range c.Folders() {
		list := []string{}
		for _, m := range c.Messages(box) {
			list = append(list, sentence(m.Body, letters(m.Flags), m.Flags.Keywords()))
		}
		slices.Sort(list)
		tree[a.localName(box)] = list
	}
	return tree
}

// maildirTree describes the Maildir in the same way.
func (a *account) maildirTree() map[string][]string {
	a.t.Helper()
	tree := map[string][]string{}
	for _, folder := range a.folders() {
		names := a.keywords(folder)
		list := []string{}
		for _, f := range a.files(folder) {
			b, err := os.ReadFile(f.Path)
			a.check(err)
			var system strings.Builder
			var keywords []string
			for _, c := range []byte(f.Flags) {
				if c >= 'a' && c <= 'z' {
					keywords = append(keywords, names[c])
				} else {
					system.WriteByte(c)
				}
			}
			list = append(list, sentence(b, system.String(), keywords))
		}
		slices.Sort(list)
		tree[folder] = list
	}
	return tree
}

// compare fails the test unless both sides hold the same folders with the same messages.
func (a *account) compare() {
	a.t.Helper()
	if diff := cmp.Diff(a.serverTree(), a.maildirTree()); diff != "" {
		a.t.Fatalf("the sides differ (-server +Maildir):\n%s", diff)
	}
}
