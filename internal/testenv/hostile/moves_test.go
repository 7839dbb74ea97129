//go:build !race

package hostile_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/hostile"
)

// move moves a file of the INBOX to Work, as the person does.
func (w *world) move(subject string) {
	w.t.Helper()
	path := w.file("INBOX", subject)
	w.must(os.Rename(path, strings.Replace(path, "/INBOX/", "/Work/", 1)))
}

// TestCopyThatIsNotThere: a server without MOVE says that it has copied, tells the copy's UID, and there is no copy. The original stays.
func TestCopyThatIsNotThere(t *testing.T) {
	for _, caps := range []string{hostile.Mid, hostile.Bare} {
		t.Run(caps, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, caps, patient)
			w.honest()
			w.server.Play(hostile.On(func(x *hostile.Exchange) {
				w.server.Change("Work", func(b *hostile.Mailbox) {
					b.Messages = slices.DeleteFunc(b.Messages, func(m *hostile.Message) bool { return strings.Contains(m.Raw, "Subject: inbox3\r\n") })
				})
			}, "UID COPY"))
			w.move("inbox3")
			for run := range 3 {
				w.sync(patient)
				if !slices.Contains(w.server.Contents()["INBOX"], text("inbox3")) {
					t.Fatalf("run %d: the original was removed, and there is no copy", run)
				}
			}
			w.server.Play(nil)
			w.honest()
			if here := w.server.Contents(); !slices.Contains(here["Work"], text("inbox3")) || slices.Contains(here["INBOX"], text("inbox3")) {
				t.Error("an honest server was not asked to move it")
			}
		})
	}
}

// TestMoveThatOnlyCopies: a server makes MOVE of COPY and a removal, and may not remove: it says NO, and the copy stays. Runs to come make
// no more of them.
func TestMoveThatOnlyCopies(t *testing.T) {
	for _, caps := range []string{hostile.Able, "IMAP4rev1 MOVE"} {
		t.Run(caps, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, caps, patient)
			w.honest()
			var before []*hostile.Message
			w.server.Play(func(x *hostile.Exchange) {
				w.server.Change("INBOX", func(b *hostile.Mailbox) {
					if x.Is("UID MOVE") && len(b.Messages) < len(before) {
						b.Messages = before // the originals are where they were
						x.Untagged, x.Result = nil, "NO [NOPERM] you may not remove"
					}
					before = slices.Clone(b.Messages)
				})
			})
			w.move("inbox3")
			for range 4 {
				w.sync(patient)
			}
			if n := w.count(text("inbox3")); n < 1 || n > 2 {
				t.Errorf("it is there %d times", n)
			}
		})
	}
}
