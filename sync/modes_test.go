package sync_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestModes is the section of that name, rule by rule.
func TestModes(t *testing.T) {
	t.Parallel()
	setup := func(t *testing.T, mode plan.Mode) *pairWorld {
		w := newPairWorld(t, `\Seen`)
		w.set.Policy.Mode = mode
		w.sync()
		return w
	}
	server := func(w *pairWorld) string { return w.serverTree().subjects() }
	local := func(w *pairWorld) string { return w.localTree().subjects() }
	expect := func(t *testing.T, w *pairWorld, where string, got string, want map[string][]string) {
		t.Helper()
		if got != expectedString(want) {
			t.Fatalf("%s:\n%s\nwanted\n%s\n%s", where, got, expectedString(want), w.world)
		}
	}

	t.Run("pull: changes made locally to synchronised messages are taken back (flags reset)", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.reflag(w.file(), "F")
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("pull: deleted ones delivered again", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.must(os.Remove(w.file()))
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("pull: a folder that was deleted and half made again is made whole", func(t *testing.T) {
		w := setup(t, plan.Pull)
		for _, sub := range []string{"cur", "new"} {
			w.must(os.RemoveAll(filepath.Join(w.dir("B"), sub)))
		}
		w.sync()
		for _, sub := range []string{"cur", "new", "tmp"} {
			if _, err := os.Stat(filepath.Join(w.dir("B"), sub)); err != nil {
				t.Error(err)
			}
		}
		w.quiet()
	})
	t.Run("pull: moves undone", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.move(w.file(), "B")
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("pull: a folder that the server deleted stays for messages that only the Maildir has", func(t *testing.T) {
		w := setup(t, plan.Pull)
		own := w.put("A", w.message("own"), "S")
		w.sync()
		w.server.DeleteMailbox("A")
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`own \Seen`}}))
		w.sync()
		w.must(os.Remove(own))
		w.sync()
		want := boxes(nil)
		delete(want, "A")
		expect(t, w, "Maildir", local(w), want)
	})
	t.Run("push: a mailbox stays for messages that only the server has when its folder is deleted", func(t *testing.T) {
		w := setup(t, plan.Push)
		w.arrive("A", w.message("own"))
		w.sync()
		w.must(os.RemoveAll(w.dir("A")))
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {"own"}}))
		w.sync()
	})
	t.Run("push: a message that is moved on the server while it is read is moved back", func(t *testing.T) {
		w := setup(t, plan.Push)
		w.arrive("A", w.message("a"), `\Seen`) // or A's marks would say that it need not be read
		w.arrive("B", w.message("b"))
		read := make(chan struct{})
		first := true
		w.server.SetFault(func(s model.Step) model.Action {
			switch {
			case s.Op == "changes" && s.Mailbox == "A" && s.After && first:
				first = false
				w.server.Move("A", "B", w.uid)
				close(read)
			case s.Op == "changes" && s.Mailbox == "B" && !s.After:
				return model.Action{Until: read}
			}
			return model.Action{}
		})
		w.sync()
		w.server.SetFault(nil)
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {`a \Seen`, `m \Seen`}, "B": {"b"}}))
	})
	t.Run("pull: messages only the Maildir has stay, untransferred, and status counts them", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.put("A", w.message("own"), "S")
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {`m \Seen`}}))
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`, `own \Seen`}}))
		st, err := mailsync.Status(t.Context(), w.set, mailsync.World{})
		w.must(err)
		n := 0
		for _, f := range st.Folders {
			n += f.ByWhy[plan.OneWay]
		}
		if n != 1 {
			t.Errorf("status counts %d messages that only the Maildir has", n)
		}
	})
	t.Run("pull: the server's changes come", func(t *testing.T) {
		w := setup(t, plan.Pull)
		w.arrive("A", w.message("n"))
		to := w.server.Move("A", "B", w.uid)
		w.server.Store("B", true, mail.NewFlags(`\Flagged`), to[0])
		w.sync()
		w.want(boxes(map[string][]string{"A": {"n"}, "B": {`m \Flagged \Seen`}}))
		w.server.Expunge("B", to[0])
		w.sync()
		w.want(boxes(map[string][]string{"A": {"n"}}))
	})
	t.Run("push: the same the other way round", func(t *testing.T) {
		w := setup(t, plan.Push)
		w.server.Store("A", false, mail.NewFlags(`\Seen`), w.uid)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
		w.server.Expunge("A", w.uid)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
		m, _ := w.server.Snapshot().Mailbox("A")
		w.server.Move("A", "B", m.Messages[0].UID)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
		w.arrive("C", w.message("theirs"))
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`}}))
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {`m \Seen`}, "C": {"theirs"}}))
		w.must(os.Remove(w.file()))
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"C": {"theirs"}}))
	})
	t.Run("archive: new messages, flags and moves", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.arrive("A", w.message("n"))
		to := w.server.Move("A", "B", w.uid)
		w.server.Store("B", true, mail.NewFlags(`\Flagged`), to[0])
		w.sync()
		w.want(boxes(map[string][]string{"A": {"n"}, "B": {`m \Flagged \Seen`}}))
	})
	t.Run("archive: never deletes locally", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.server.Expunge("A", w.uid)
		w.sync()
		w.server.DeleteMailbox("A")
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("archive: what the person deletes locally is not delivered again", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.must(os.Remove(w.file()))
		w.sync()
		w.server.Move("A", "B", w.uid)
		w.sync()
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(nil))
		expect(t, w, "server", server(w), boxes(map[string][]string{"B": {`m \Seen`}}))
	})
	t.Run("archive: the Maildir's changes never go to the server", func(t *testing.T) {
		w := setup(t, plan.Archive)
		w.put("C", w.message("own"), "")
		w.reflag(w.file(), "F")
		w.sync()
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {`m \Seen`}}))
	})
	t.Run("since and max_message_size decide only whether a message that was never synchronised is transferred", func(t *testing.T) {
		w := newPairWorld(t)
		w.set.MaxMessageSize = 50
		big := w.arrive("A", w.message("big"))
		res := w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {"m"}}))
		expect(t, w, "server", server(w), boxes(map[string][]string{"A": {"m", "big"}}))
		if res.Deferred != 1 {
			t.Errorf("deferred = %d", res.Deferred)
		}
		w.server.Store("A", true, mail.NewFlags(`\Seen`), w.uid)
		w.sync()
		expect(t, w, "Maildir", local(w), boxes(map[string][]string{"A": {`m \Seen`}}))
		w.set.MaxMessageSize = 0
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`, "big"}}))
		w.server.Expunge("A", big)
		w.sync()
		w.want(boxes(map[string][]string{"A": {`m \Seen`}}))
	})
}

// TestOwnMessageOfBothSides: a message that a mode leaves on its side, and that comes to the other one in another way, is one message.
func TestOwnMessageOfBothSides(t *testing.T) {
	t.Parallel()
	for _, mode := range []plan.Mode{plan.Pull, plan.Push} {
		t.Run(string(mode), func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.set.Policy.Mode = mode
			w.arrive("INBOX", w.message("known"))
			w.put("INBOX", w.message("other"), "")
			w.sync()
			a, b := w.message("a"), w.message("b")
			if mode == plan.Push {
				w.arrive("INBOX", a)
				w.arrive("INBOX", b)
			} else {
				w.put("INBOX", a, "S")
				w.put("INBOX", b, "S")
			}
			w.sync()
			if mode == plan.Push {
				w.put("INBOX", a, "S")
			} else {
				w.arrive("INBOX", a)
			}
			w.sync()
			count := func(all []string) (n int) {
				for _, m := range all {
					if strings.Contains(m, "This is a.") {
						n++
					}
				}
				return n
			}
			if here, there := count(w.localTree()["INBOX"]), count(w.serverTree()["INBOX"]); here != 1 || there != 1 {
				t.Errorf("it is in the Maildir %d times, and on the server %d times", here, there)
			}
			w.quiet()
		})
	}
}
