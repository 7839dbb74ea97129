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
