package sync_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/state"
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

// TestTwinWhereACommandWasCutOff: a move or an upload is cut off, and somebody moves an equal message to where it was to go. Whether ours
// arrived or not, they are two messages.
func TestTwinWhereACommandWasCutOff(t *testing.T) {
	t.Parallel()
	for server, o := range map[string]model.Options{"move": model.Full(), "copy": {CondStore: true, UIDPlus: true}} {
		for _, command := range []string{"move", "upload"} {
			for _, arrived := range []bool{false, true} {
				for _, twin := range []string{"moved there", "left alone", "moved elsewhere"} {
					t.Run(fmt.Sprintf("%s %s, arrived %v, twin %s", server, command, arrived, twin), func(t *testing.T) {
						t.Parallel()
						w := newWorld(t, o)
						for _, f := range []string{"A", "B", "C", "D"} {
							w.server.CreateMailbox(f)
						}
						text := w.message("m")
						uid := w.server.Append("C", wire(text), mail.NewFlags(), time.Date(2025, 6, 3, 10, 0, 0, 0, time.UTC))
						if command == "move" {
							w.arrive("A", text)
							w.sync()
							w.move(w.file("A", text), "B")
						} else {
							w.sync()
							w.put("B", text, "")
						}
						w.server.SetFault(once(func(s model.Step) bool {
							return slices.Contains([]string{"move", "copy", "append"}, s.Op) && s.After == arrived
						}, func() model.Action {
							switch twin {
							case "moved there":
								w.server.Move("C", "B", uid)
							case "moved elsewhere":
								w.server.Move("C", "D", uid)
							}
							return model.Action{Kind: model.Drop}
						}))
						w.try()
						w.server.SetFault(nil)
						w.sync()
						want := map[string][]string{"INBOX": {}, "A": {}, "B": {"m"}, "C": {}, "D": {}}
						to := map[string]string{"moved there": "B", "left alone": "C", "moved elsewhere": "D"}[twin]
						want[to] = append(want[to], "m")
						w.want(want)
						w.quiet()
						if left := w.intents(); slices.ContainsFunc(left, func(in state.Intent) bool { return !in.Settled }) {
							t.Errorf("left: %+v", left)
						}
					})
				}
			}
		}
	}
}

// TestTwinThatIsNotShown: an upload had arrived, and the server does not let anybody look whether an equal message is where it was. It is waited
// for that, for a day at most.
func TestTwinThatIsNotShown(t *testing.T) {
	t.Parallel()
	for _, ends := range []bool{true, false} {
		w := newWorld(t, model.Full())
		w.server.CreateMailbox("C")
		text := w.message("m")
		w.arrive("C", text)
		w.sync()
		w.put("INBOX", text, "")
		drop := once(func(s model.Step) bool { return s.Op == "append" && s.After }, func() model.Action { return model.Action{Kind: model.Drop} })
		w.server.SetFault(func(s model.Step) model.Action {
			if s.Op == "fetch" && s.Mailbox == "C" && !s.After {
				return model.Action{Kind: model.Refuse}
			}
			return drop(s)
		})
		if res := w.try(); len(res.Errors) == 0 || len(w.intents()) != 1 {
			t.Errorf("errors %v, intents %+v", res.Errors, w.intents())
		}
		if ends {
			w.server.SetFault(nil)
		} else {
			w.now = w.now.Add(25 * time.Hour)
		}
		w.sync()
		w.want(map[string][]string{"INBOX": {"m"}, "C": {"m"}})
		w.quiet()
		if left := w.intents(); len(left) > 0 {
			t.Errorf("left: %+v", left)
		}
	}
}

// TestTwinOfATakenUpload: of two equal messages that are stored the server has taken one and, without UIDPLUS, not said where, and of the other there is no
// answer. What is there is the one that was taken, whatever flags it has by now, because that one is never sent again.
func TestTwinOfATakenUpload(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"in one batch", "flagged meanwhile", "a keyword is lost", "an older one"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := model.Options{Window: 4}
			if name == "a keyword is lost" {
				o.KeywordLimit = 1
			}
			w := newWorld(t, o)
			letters := map[string]string{"in one batch": "F", "flagged meanwhile": "", "a keyword is lost": "Sb", "an older one": "S"}[name]
			if name == "a keyword is lost" {
				w.arrive("INBOX", w.message("old"), "Other")
				w.sync()
				w.must(os.WriteFile(filepath.Join(w.dir("INBOX"), "dovecot-keywords"), []byte("0 Other\n1 Mine\n"), 0o600))
			} else {
				w.sync()
			}
			text := w.message("m")
			first := w.put("INBOX", text, letters)
			info, err := os.Stat(first)
			w.must(err)
			second := func() { w.must(os.Chtimes(w.put("INBOX", text, "S"), info.ModTime(), info.ModTime())) }
			stored, down := 0, false
			w.server.SetFault(func(s model.Step) model.Action {
				switch {
				case down:
					return model.Action{Kind: model.Drop}
				case s.Op != "append" || s.After:
					return model.Action{}
				}
				if stored++; name != "an older one" && stored == 1 {
					return model.Action{}
				}
				if name == "flagged meanwhile" {
					box, _ := w.server.Snapshot().Mailbox("INBOX")
					w.server.Store("INBOX", true, mail.NewFlags(`\Seen`), box.Messages[len(box.Messages)-1].UID)
				}
				down = true
				return model.Action{Kind: model.Drop}
			})
			if name != "an older one" {
				second()
			}
			w.try()
			if name == "an older one" {
				second()
				taken := false
				w.server.SetFault(func(s model.Step) model.Action {
					taken = taken || s.Op == "append" && s.After
					if taken && (s.Op == "fetch" || s.Op == "append") {
						return model.Action{Kind: model.Refuse}
					}
					return model.Action{}
				})
				w.try()
			}
			w.server.SetFault(nil)
			w.try() // the server refuses that keyword again
			w.try()
			if n := strings.Count(w.serverTree().String(), `Subject: m\n`); n != 2 {
				t.Errorf("the server has %d of 2\n%s", n, w)
			}
			if name != "a keyword is lost" {
				w.same()
				w.quiet()
			}
		})
	}
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

// TestTwinWithAnotherDateSince: a message has another INTERNALDATE than when it came, because its mailbox was replaced or somebody stored it anew. When
// it is moved to where a move of an equal one has no answer, it is not taken for that one.
func TestTwinWithAnotherDateSince(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"replaced", "stored anew", "as it came"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model.Options{CondStore: true, UIDPlus: true, Move: true})
			for _, f := range []string{"A", "B", "C", "D"} {
				w.server.CreateMailbox(f)
			}
			w.arrive("C", w.message("other"))
			w.arrive("D", w.message("another"))
			text, date := w.message("m"), time.Date(2025, 6, 3, 10, 0, 0, 0, time.UTC)
			from, uid := "C", w.server.Append("C", wire(text), mail.NewFlags(), date)
			w.arrive("A", text)
			w.sync()
			switch how {
			case "replaced":
				w.server.Recreate("C", false)
				uid = w.server.Append("C", wire(text), mail.NewFlags(), date.Add(time.Hour))
			case "stored anew":
				w.server.Expunge("C", uid)
				from, uid = "D", w.server.Append("D", wire(text), mail.NewFlags(), date.Add(time.Hour))
			}
			w.sync()
			w.sync()
			w.move(w.file("A", text), "B")
			w.server.SetFault(once(func(s model.Step) bool { return s.Op == "move" && !s.After }, func() model.Action {
				w.server.Move(from, "B", uid)
				return model.Action{Kind: model.Drop}
			}))
			w.try()
			w.server.SetFault(nil)
			w.sync()
			if n := strings.Count(w.serverTree().String(), `Subject: m\n`); n != 2 {
				t.Errorf("%d of 2 are left:\n%s", n, w)
			}
			w.same()
		})
	}
}
