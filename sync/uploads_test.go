package sync_test

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// appendLiar tells the engine something else about uploads than the server did.
type appendLiar struct {
	remote.Session
	lie func(remote.Appended) remote.Appended
}

func (l appendLiar) Append(ctx context.Context, box remote.Box, from mail.UID, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) ([]remote.Message, error) {
	return l.Session.Append(ctx, box, from, uploads, sent, func(i int, r remote.Appended) { done(i, l.lie(r)) })
}

// TestWrongAppendUID: what the server says about an upload is a hint.
func TestWrongAppendUID(t *testing.T) {
	t.Parallel()
	for name, lie := range map[string]func(remote.Appended) remote.Appended{
		"exchanged": func(r remote.Appended) remote.Appended {
			return remote.Appended{UID: mail.UID(r.UIDValidity), UIDValidity: uint64(r.UID)}
		},
		"another mailbox's":         func(r remote.Appended) remote.Appended { r.UIDValidity++; return r },
		"an old message's":          func(r remote.Appended) remote.Appended { r.UID = 1; return r },
		"nothing, in spite of all":  func(remote.Appended) remote.Appended { return remote.Appended{} },
		"one that there is not yet": func(r remote.Appended) remote.Appended { r.UID += 1000; return r },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.arrive("INBOX", w.message("old"))
			w.sync()
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return appendLiar{s, lie} }}
			mine := w.message("mine")
			w.put("INBOX", mine, "S")
			w.sync()
			w.sync()
			w.want(map[string][]string{"INBOX": {"old", `mine \Seen`}})
			w.quiet()
			w.must(os.Remove(w.file("INBOX", mine)))
			w.sync()
			w.want(map[string][]string{"INBOX": {"old"}})
			w.quiet()
		})
	}
}

// TestAppendUIDOfAnother: somebody else stores a message at the same moment, and the server tells both the same UID, as Courier does. The
// other message has the same size, and perhaps all else that can be seen at a glance.
func TestAppendUIDOfAnother(t *testing.T) {
	t.Parallel()
	for name, flag := range map[string]string{"other flags": `\Draft`, "another date": `\Seen`, "nothing else": `\Seen`, "a look that breaks": `\Seen`} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.sync()
			mine, other := w.message("mine"), w.message("same")
			info, err := os.Stat(w.put("INBOX", mine, "S"))
			w.must(err)
			others := once(func(s model.Step) bool { return s.Op == "append" && !s.After }, func() model.Action {
				date := info.ModTime().Truncate(time.Second)
				if name == "another date" {
					date = date.Add(-time.Second)
				}
				w.server.Append("INBOX", wire(other), mail.NewFlags(flag), date)
				return model.Action{}
			})
			stored := false
			breaks := once(func(s model.Step) bool { return name == "a look that breaks" && stored && s.Op == "fetch" },
				func() model.Action { return model.Action{Kind: model.Drop} })
			w.server.SetFault(func(s model.Step) model.Action {
				others(s)
				stored = stored || s.Op == "append" && s.After
				return breaks(s)
			})
			w.dialer = between{w.server, func(s remote.Session) remote.Session {
				return appendLiar{s, func(r remote.Appended) remote.Appended { r.UID--; return r }}
			}}
			w.sync()
			w.sync()
			w.want(map[string][]string{"INBOX": {`mine \Seen`, "same " + flag}})
			w.quiet()
			w.must(os.Remove(w.file("INBOX", mine)))
			w.sync()
			w.want(map[string][]string{"INBOX": {"same " + flag}})
		})
	}
}

// TestHalfAMessageIsStored: the connection breaks during an upload, and the server keeps what it had got.
func TestHalfAMessageIsStored(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.sync()
	text := w.message("m")
	w.put("INBOX", text, "S")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "append" && !s.After }, func() model.Action {
		w.arrive("INBOX", text[:len(text)-10])
		return model.Action{Kind: model.Drop}
	}))
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": {"m", `m \Seen`}})
	w.file("INBOX", text)
	w.same()
	w.quiet()
}

// appendSeer tells the engine less than what the server showed along with uploads, or something else.
type appendSeer struct {
	remote.Session
	show func([]remote.Message) []remote.Message
}

func (s appendSeer) Append(ctx context.Context, box remote.Box, from mail.UID, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) ([]remote.Message, error) {
	seen, err := s.Session.Append(ctx, box, from, uploads, sent, done)
	return s.show(seen), err
}

// TestSeenAlongWithUploads: what was seen is not asked for again, and what is missing is. Because of what others stored at the same time the
// headers are read, too.
func TestSeenAlongWithUploads(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		show    func([]remote.Message) []remote.Message
		fetches int // besides the one that goes along
	}{
		"all":     {func(ms []remote.Message) []remote.Message { return ms }, 1},
		"none":    {func([]remote.Message) []remote.Message { return nil }, 2},
		"the end": {func(ms []remote.Message) []remote.Message { return ms[2:] }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.arrive("INBOX", w.message("old"))
			w.sync()
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return appendSeer{s, tc.show} }}
			for _, subject := range []string{"a", "b", "c"} {
				w.put("INBOX", w.message(subject), "S")
			}
			fetches := 0
			w.server.SetFault(func(s model.Step) model.Action {
				switch {
				case s.Op == "append" && s.Index == 2 && !s.After:
					w.arrive("INBOX", w.message("theirs"))
				case s.Op == "fetch" && !s.After:
					fetches++
				}
				return model.Action{}
			})
			w.sync()
			if fetches != 1+tc.fetches {
				t.Errorf("%d fetches", fetches)
			}
			w.server.SetFault(nil)
			w.sync()
			w.want(map[string][]string{"INBOX": {"old", "theirs", `a \Seen`, `b \Seen`, `c \Seen`}})
			w.same()
			w.quiet()
		})
	}
}

// copyLiar tells other UIDs of copies than they have.
type copyLiar struct{ remote.Session }

func (l copyLiar) Move(ctx context.Context, box remote.Box, uids mail.UIDSet, to string) (remote.Moved, error) {
	moved, err := l.Session.Move(ctx, box, uids, to)
	for from := range moved.UIDs {
		moved.UIDs[from]--
	}
	return moved, err
}

// TestCopyUIDOfAnother is TestAppendUIDOfAnother for moves on a server without MOVE.
func TestCopyUIDOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{CondStore: true, UIDPlus: true})
	mine, other := w.message("mine"), w.message("same")
	w.server.CreateMailbox("Lists")
	w.arrive("INBOX", mine)
	w.sync()
	w.move(w.file("INBOX", mine), "Lists")
	w.server.SetFault(once(func(s model.Step) bool { return s.Op == "copy" && !s.After }, func() model.Action {
		w.server.Append("Lists", wire(other), mail.Flags{}, w.now)
		return model.Action{}
	}))
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return copyLiar{s} }}
	w.sync()
	w.sync()
	w.want(map[string][]string{"INBOX": nil, "Lists": {"mine", "same"}})
	w.quiet()
}

// TestUploadLostInTheLastLook: the connection breaks during an upload, and the run looks no more than it did.
func TestUploadLostInTheLastLook(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("Busy")
	gone := w.message("gone")
	w.arrive("INBOX", gone)
	w.sync()
	w.must(os.Remove(w.file("INBOX", gone)))
	lists := 0 // two in each look, of which the second sees what arrived meanwhile
	w.server.SetFault(func(s model.Step) model.Action {
		switch {
		case s.Op == "list" && s.After:
			w.arrive("Busy", w.message("busy"))
			if lists++; lists == 6 { // the last look begins after that
				w.put("INBOX", w.message("mine"), "S")
			}
		case s.Op == "append" && !s.After:
			return model.Action{Kind: model.Drop}
		}
		return model.Action{}
	})
	res := w.try()
	if res.Fatal != nil || !slices.ContainsFunc(res.Errors, func(e mailsync.FolderError) bool {
		return e.Folder == "INBOX" && strings.Contains(e.Error(), "uploading")
	}) {
		t.Errorf("%d lists, fatal %v, errors %v", lists, res.Fatal, res.Errors)
	}
	w.server.SetFault(nil)
	w.sync()
	w.same()
	w.quiet()
}

// TestTakenUploadThatIsMovedOn: the server has taken an upload and not said where, and before it is looked for somebody moves the message. What
// arrives late of an older upload is that one's, and does not hide where it was.
func TestTakenUploadThatIsMovedOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Options{Window: 4})
	w.server.CreateMailbox("Lists")
	w.sync()
	x, m := w.message("x"), w.message("m")
	w.put("INBOX", x, "S")
	down := false
	w.server.SetFault(func(s model.Step) model.Action {
		switch {
		case down:
			return model.Action{Kind: model.Drop}
		case s.Op == "append" && !s.After:
			down = true
			return model.Action{Kind: model.Ghost}
		}
		return model.Action{}
	})
	w.try()
	w.server.SetFault(nil)
	w.now = w.now.Add(time.Minute) // the runs' seconds count
	w.put("INBOX", m, "S")
	stored, moved := false, false
	w.server.SetFault(func(s model.Step) model.Action {
		stored = stored || s.Op == "append" && s.After && strings.Contains(s.Raw, "Subject: m\r\n")
		if !stored || moved || s.Op != "fetch" || s.Mailbox != "INBOX" || s.After {
			return model.Action{}
		}
		moved = true
		box, _ := w.server.Snapshot().Mailbox("INBOX")
		w.server.Move("INBOX", "Lists", box.Messages[len(box.Messages)-1].UID)
		w.server.ReleaseGhosts()
		return model.Action{Kind: model.Refuse}
	})
	w.try()
	w.server.SetFault(nil)
	w.now = w.now.Add(time.Minute)
	w.sync()
	w.want(map[string][]string{"INBOX": {`x \Seen`}, "Lists": {`m \Seen`}})
	w.quiet()
}

// TestEchoWhereAMailboxIsRenamed: while a run looks whether all messages with the bytes of an echo are where they belong, the mailbox of one of them
// is renamed or renumbered. That one is not missing, and the echo goes when it is known where it is. If it is deleted the echo stays, because nobody knows
// whether it is one: see docs/safety.md, Known limits.
func TestEchoWhereAMailboxIsRenamed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		mailbox string // in which the look meets it
		before  bool   // the look
		targets []mail.FolderName
		happens func(*model.Server)
		want    map[string][]string
	}{
		"that of the echo is renamed": {"Lists", false, nil, func(s *model.Server) { s.RenameMailbox("Lists", "New") },
			map[string][]string{"INBOX": {}, "Old": {`m \Seen`}, "New": {`m \Seen`}}},
		"another one is renamed": {"Old", false, nil, func(s *model.Server) { s.RenameMailbox("Old", "New") },
			map[string][]string{"INBOX": {}, "New": {`m \Seen`}, "Lists": {`m \Seen`}}},
		"another one was renamed, and this run is of one folder": {"Old", true, []mail.FolderName{"Lists"}, func(s *model.Server) { s.RenameMailbox("Old", "New") },
			map[string][]string{"INBOX": {}, "New": {`m \Seen`}, "Lists": {`m \Seen`}}},
		"another one is renumbered": {"Old", false, nil, func(s *model.Server) { s.Renumber("Old") },
			map[string][]string{"INBOX": {}, "Old": {`m \Seen`}, "Lists": {`m \Seen`}}},
		"another one was renumbered": {"Old", true, nil, func(s *model.Server) { s.Renumber("Old") },
			map[string][]string{"INBOX": {}, "Old": {`m \Seen`}, "Lists": {`m \Seen`}}},
		"another one is deleted": {"Old", false, nil, func(s *model.Server) { s.DeleteMailbox("Old") },
			map[string][]string{"INBOX": {}, "Lists": {`m \Seen`, `m \Seen`}}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("Lists")
			w.server.CreateMailbox("Old")
			text := w.message("m")
			w.arrive("Old", text, `\Seen`)
			w.sync()
			w.put("Lists", text, "S")
			broken := false
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op != "append" || s.After || broken {
					return model.Action{}
				}
				broken = true
				return model.Action{Kind: model.Ghost}
			})
			w.try()
			w.server.SetFault(nil)
			w.server.ReleaseGhosts()
			if tc.before {
				tc.happens(w.server)
			}
			w.opt.Targets = tc.targets
			met := tc.before
			w.server.SetFault(func(s model.Step) model.Action {
				if !met && s.Op == "fetch" && s.Mailbox == tc.mailbox && s.UIDs.String() == "1" {
					met = true
					tc.happens(w.server)
				}
				return model.Action{}
			})
			w.try()
			w.server.SetFault(nil)
			w.opt.Targets = nil
			if !met {
				t.Fatal("it was not looked for")
			}
			w.sync()
			w.want(tc.want)
			w.quiet()
		})
	}
}
