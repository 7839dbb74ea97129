package sync_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestFlagsThatOneSideCantKeep: remembered as such, never read back as a removal.
func TestFlagsThatOneSideCantKeep(t *testing.T) {
	t.Parallel()
	t.Run("PERMANENTFLAGS lacks it", func(t *testing.T) {
		w := newPairWorld(t)
		w.server.SetPermanent("A", mail.NewFlags(`\Seen`), false)
		w.reflag(w.file(), "FS")
		w.sync()
		for range 3 {
			w.sync()
		}
		if got := w.localTree().subjects(); !strings.Contains(got, `A: m \Flagged \Seen`) {
			t.Errorf("Maildir: %s", got)
		}
		if got := w.serverTree().subjects(); !strings.Contains(got, `A: m \Seen`) {
			t.Errorf("server: %s", got)
		}
	})
	t.Run("the 27th keyword stays on the server and is never read back as a removal", func(t *testing.T) {
		w := newPairWorld(t)
		for i := range 27 {
			w.server.Store("A", true, mail.NewFlags("kw"+string(rune('a'+i%26))+string(rune('a'+i/26))), w.uid)
		}
		w.sync()
		for range 3 {
			w.sync()
		}
		box, _ := w.server.Snapshot().Mailbox("A")
		if n := len(box.Messages[0].Flags.Keywords()); n != 27 {
			t.Errorf("the server has %d keywords", n)
		}
		base := filepath.Base(w.file())
		_, letters, _ := strings.Cut(base, ":2,")
		if len(letters) != 26 {
			t.Errorf("the file has %q", letters)
		}
	})
	t.Run("a message with a keyword is moved by a program that leaves the letter list behind", func(t *testing.T) {
		w := newPairWorld(t, "Todo")
		w.move(w.file(), "B")
		w.sync()
		if got := w.serverTree().subjects(); !strings.Contains(got, "B: m Todo\n") {
			t.Errorf("server: %s", got)
		}
		w.quiet()
	})
	t.Run("dovecot-keywords is lost", func(t *testing.T) {
		w := newPairWorld(t, "Todo", `\Seen`)
		w.must(os.Remove(filepath.Join(w.dir("A"), "dovecot-keywords")))
		w.reflag(w.file(), "Fa")
		w.sync()
		if got := w.serverTree().subjects(); !strings.Contains(got, `A: m \Flagged Todo`) {
			t.Errorf("server: %s", got)
		}
	})
	t.Run("a read-only folder", func(t *testing.T) {
		w := newPairWorld(t)
		w.server.SetReadOnly("A", true)
		w.reflag(w.file(), "F")
		w.put("A", w.message("own"), "")
		w.sync()
		for range 2 {
			w.sync()
		}
		if got := w.localTree().subjects(); !strings.Contains(got, `A: m \Flagged, own`) {
			t.Errorf("Maildir: %s", got)
		}
		if got := w.serverTree().subjects(); !strings.Contains(got, "A: m\n") {
			t.Errorf("server: %s", got)
		}
	})
}

// lateFlags is a server that shows a flag that was set only when it no longer hides it.
type lateFlags struct {
	remote.Session
	hide *bool
	flag mail.Flags
}

func (l lateFlags) Store(ctx context.Context, box remote.Box, uids mail.UIDSet, add bool, flags mail.Flags) ([]remote.Message, map[mail.UID]error, error) {
	seen, refused, err := l.Session.Store(ctx, box, uids, add, flags)
	if *l.hide {
		seen = nil
	}
	return seen, refused, err
}

func (l lateFlags) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	out, err := l.Session.Fetch(ctx, box, uids, want)
	for i := range out {
		if *l.hide {
			out[i].Flags = out[i].Flags.Minus(l.flag)
		}
	}
	return out, err
}

func (l lateFlags) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	ch, err := l.Session.Changes(ctx, box, since)
	for i := range ch.Flags {
		if *l.hide {
			ch.Flags[i].Flags = ch.Flags[i].Flags.Minus(l.flag)
		}
	}
	return ch, err
}

// TestFlagThatShowsLate: a flag that was set and does not show yet is not read as one that somebody removed.
func TestFlagThatShowsLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	m := w.message("m")
	uid := w.arrive("INBOX", m)
	w.sync()
	hide := true
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return lateFlags{s, &hide, mail.NewFlags(`\Flagged`)} }}
	w.reflag(w.file("INBOX", m), "F")
	for range 2 {
		w.sync()
		w.want(map[string][]string{"INBOX": {`m \Flagged`}})
	}
	hide = false
	w.server.Store("INBOX", true, mail.NewFlags(`\Answered`), uid)
	w.sync()
	w.want(map[string][]string{"INBOX": {`m \Flagged \Answered`}})
	w.quiet()
	w.server.Store("INBOX", false, mail.NewFlags(`\Flagged`), uid)
	w.sync()
	w.want(map[string][]string{"INBOX": {`m \Answered`}})
	w.quiet()
}

// TestKeywordAndACutMove: a message is moved on the server, and the sync is cut off. If the new directory has no letter left for its keyword, that its
// file has none there is never read as a removal. If it has, and somebody takes the keyword off before, it is one.
func TestKeywordAndACutMove(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"no letter is left": "m Todo\n", "it is taken off": "m \\Flagged\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for cut := 0; ; cut++ {
				w := newPairWorld(t, "Todo")
				var others []string
				for c := 'a'; c <= 'z' && name == "no letter is left"; c++ {
					others = append(others, "other"+string(c))
				}
				w.arrive("B", w.message("full"), others...)
				w.sync()
				w.server.Move("A", "B", w.uid)
				if name == "it is taken off" {
					w.reflag(w.file(), "F")
				}
				commits := w.dieAfter(cut)
				w.sync()
				w.sync()
				if got := w.serverTree().subjects(); !strings.Contains(got, want) {
					t.Errorf("cut off at commit %d of %d:\n%s", cut, commits, got)
				}
				w.quiet()
				if commits <= cut {
					break
				}
			}
		})
	}
}

// TestFlagsOfAParkedMessage: a message that one side alone had comes to the other side, too, with other flags, and the run is cut off before they
// are brought together. They have been as they are for long, and are brought together all the same.
func TestFlagsOfAParkedMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true, Move: true})
	w.set.Policy.Mode = plan.Push
	text := w.message("m")
	w.arrive("INBOX", text, `\Flagged`)
	w.sync()
	w.put("INBOX", text, "")
	w.server.SetFault(refusing("store", "INBOX", model.Drop))
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {"m"}})
	w.quiet()
}
