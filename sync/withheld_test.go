package sync_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/sync/plan"
)

// TestNothingToCompareForOneRun: the database is lost, or the mailbox renumbered, and in one whole run a folder's messages can't be compared, which is said. They are not taken for new ones.
func TestNothingToCompareForOneRun(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]model.Kind{"refused": model.Refuse, "the line breaks": model.Drop} {
		for _, op := range []string{"fetch", "body"} {
			for _, how := range []string{"state lost", "renumbered", "restored"} {
				t.Run(name+" "+op+" "+how, func(t *testing.T) {
					t.Parallel()
					w := newWorld(t, nameless())
					w.server.CreateMailbox("A")
					var want []string
					for i := range 5 {
						s := fmt.Sprint("m", i)
						text := noID(s) // whose bodies must be compared
						if op == "fetch" {
							text = w.message(s)
						}
						w.arrive("A", text)
						want = append(want, s)
					}
					w.sync()
					switch how {
					case "state lost":
						w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
					case "renumbered":
						w.server.SetUIDNext("A", 100)
						w.server.Renumber("A")
					default:
						old := w.root + ".old"
						w.must(os.Rename(w.root, old))
						w.must(os.CopyFS(w.root, os.DirFS(old)))
						w.server.SetUIDNext("A", 100)
						w.server.Renumber("A")
					}
					w.server.SetFault(func(s model.Step) model.Action {
						if s.Op == op && s.Mailbox == "A" && !s.After {
							return model.Action{Kind: kind}
						}
						return model.Action{}
					})
					res := w.try()
					w.server.SetFault(nil)
					if res.Fatal != nil || len(res.Errors) == 0 {
						t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
					}
					w.sync()
					w.sync()
					w.want(map[string][]string{"INBOX": {}, "A": want})
				})
			}
		}
	}
}

// TestNothingToCompareInModes: the same in the other modes, and with a message that has moved.
func TestNothingToCompareInModes(t *testing.T) {
	t.Parallel()
	for _, mode := range []plan.Mode{plan.Pull, plan.Push, plan.Archive, "pull renumbered", "push renumbered", "archive renumbered", "two-way renumbered, moved"} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nameless())
			w.server.CreateMailbox("A")
			w.arrive("A", w.message("m"))
			w.sync()
			first, what, renumbered := strings.Cut(string(mode), " ")
			w.set.Policy.Mode = plan.Mode(first)
			if renumbered {
				w.sync()
				w.server.SetUIDNext("A", 100)
				w.server.Renumber("A")
			} else {
				w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
			}
			want := map[string][]string{"INBOX": {}, "A": {"m"}}
			if strings.Contains(what, "moved") {
				w.move(w.files("A")[0], "B")
				want["A"], want["B"] = nil, []string{"m"}
			}
			w.server.SetFault(func(s model.Step) model.Action {
				if s.Op == "fetch" && s.Mailbox == "A" && !s.After {
					return model.Action{Kind: model.Refuse}
				}
				return model.Action{}
			})
			w.try()
			w.server.SetFault(nil)
			w.sync()
			w.sync()
			w.want(want)
		})
	}
}

// TestNothingToCompareInOneFolderAfterTheOther: one folder's headers can't be had in the first look, and another's in the second.
func TestNothingToCompareInOneFolderAfterTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nameless())
	w.server.CreateMailbox("A")
	w.server.CreateMailbox("B")
	w.arrive("A", w.message("a"))
	w.arrive("B", w.message("b"))
	w.sync()
	w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
	lists, a, b := 0, 0, 0
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "list" && !s.After {
			lists++
		}
		if s.Op == "fetch" && !s.After {
			if s.Mailbox == "A" && a == 0 {
				a++
				return model.Action{Kind: model.Refuse}
			}
			if s.Mailbox == "B" && a == 1 && b == 0 && lists > 1 {
				b++
				return model.Action{Kind: model.Refuse}
			}
		}
		return model.Action{}
	})
	w.try()
	w.server.SetFault(nil)
	w.sync()
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "A": {"a"}, "B": {"b"}})
}

// partly is a session with a server that leaves out the last messages of a mailbox, and that shows.
type partly struct {
	remote.Session
	mailbox string
	without *int
}

func (p partly) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	ch, err := p.Session.Changes(ctx, box, since)
	if n := len(ch.New) - *p.without; box.Name == p.mailbox && *p.without > 0 && n >= 0 {
		ch.New, ch.Partial = ch.New[:n], true
	}
	return ch, err
}

// TestShownInPart: the database is lost, or the mailbox renumbered, and for some runs the server leaves messages out. They are not stored there once more,
// nor are they if it does so for good: but then nothing else waits for them longer than a day.
func TestShownInPart(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"state lost", "renumbered", "restored", "restored and renumbered", "renumbered, moved"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nameless())
			without := 0
			w.dialer = between{w.server, func(s remote.Session) remote.Session { return partly{s, "A", &without} }}
			w.server.CreateMailbox("A")
			want := map[string][]string{"INBOX": {}}
			var text string
			for i := range 5 {
				text = w.message(fmt.Sprint("m", i))
				w.arrive("A", text)
				want["A"] = append(want["A"], fmt.Sprint("m", i))
			}
			w.sync()
			if how == "state lost" {
				w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
			}
			if strings.Contains(how, "moved") {
				w.move(w.file("A", text), "B")
				want["A"], want["B"] = want["A"][:4], []string{"m4"}
			}
			if strings.Contains(how, "restored") {
				old := w.root + ".old"
				w.must(os.Rename(w.root, old))
				w.must(os.CopyFS(w.root, os.DirFS(old)))
			}
			if strings.Contains(how, "renumbered") {
				w.server.SetUIDNext("A", 100)
				w.server.Renumber("A")
			}
			without = 2
			for range 2 {
				if res := w.try(); res.Fatal != nil || len(res.Errors) == 0 {
					t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
				}
			}
			without = 0
			w.sync()
			w.sync()
			w.want(want)
			w.quiet()
		})
	}
	t.Run("for good", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, nameless())
		without := 1
		w.dialer = between{w.server, func(s remote.Session) remote.Session { return partly{s, "A", &without} }}
		w.server.CreateMailbox("A")
		w.arrive("A", w.message("left out"))
		w.put("A", w.message("new"), "S")
		for range 2 {
			if res := w.try(); res.ToServer.New != 0 {
				t.Errorf("%+v", res.ToServer)
			}
			w.now = w.now.Add(13 * time.Hour)
		}
		if res := w.try(); res.ToServer.New != 1 {
			t.Errorf("%+v", res.ToServer)
		}
	})
}

// TestNothingToCompareOfADeletedOne: a mailbox is renumbered, and for some runs nothing of it can be compared. What was deleted in the Maildir, and the server has
// because the account is an archive or because it could only be marked there, does not come back.
func TestNothingToCompareOfADeletedOne(t *testing.T) {
	t.Parallel()
	for _, mode := range []plan.Mode{plan.Archive, plan.TwoWay} {
		for _, how := range []string{"refused", "left out"} {
			t.Run(string(mode)+", "+how, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, model.Options{CondStore: true})
				w.set.Policy.Mode = mode
				without := 0
				w.dialer = between{w.server, func(s remote.Session) remote.Session { return partly{s, "A", &without} }}
				w.server.CreateMailbox("A")
				theirs, text := w.arrive("A", w.message("theirs")), w.message("deleted")
				w.arrive("A", text)
				w.sync()
				w.server.Store("A", true, mail.NewFlags(`\Deleted`), theirs) // so that no EXPUNGE is possible
				w.must(os.Remove(w.file("A", text)))
				w.sync()
				w.server.SetUIDNext("A", 100)
				w.server.Renumber("A")
				if how == "left out" {
					without = 1
				} else {
					w.server.SetFault(func(s model.Step) model.Action {
						if s.Op == "fetch" && s.Mailbox == "A" && !s.After {
							return model.Action{Kind: model.Refuse}
						}
						return model.Action{}
					})
				}
				for range 2 {
					if res := w.try(); res.Fatal != nil || len(res.Errors) == 0 {
						t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
					}
				}
				without = 0
				w.server.SetFault(nil)
				w.sync()
				w.quiet()
				if n := len(w.files("A")); n != 1 {
					t.Errorf("%d files\n%s", n, w)
				}
			})
		}
	}
}

// TestRestoredAndShownInPart: after a restore the server leaves a message out in each run, so that not everything can be compared. What is deleted comes back
// meanwhile, which is said, and with it the way out.
func TestRestoredAndShownInPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nameless())
	without := 0
	w.dialer = between{w.server, func(s remote.Session) remote.Session { return partly{s, "A", &without} }}
	w.server.CreateMailbox("A")
	w.arrive("A", w.message("left out"))
	text := w.message("deleted")
	w.arrive("INBOX", text)
	w.sync()
	old := w.root + ".old"
	w.must(os.Rename(w.root, old))
	w.must(os.CopyFS(w.root, os.DirFS(old)))
	without = 1
	for range 3 {
		w.must(os.Remove(w.file("INBOX", text)))
		if res := w.try(); !strings.Contains(strings.Join(res.Notes, "\n"), "folder A could not be compared whole") {
			t.Errorf("notes %q", res.Notes)
		}
	}
	w.set.Exclude = []string{"A"}
	w.sync()
	w.must(os.Remove(w.file("INBOX", text)))
	w.sync()
	w.set.Exclude, without = nil, 0
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "A": {"left out"}})
	w.quiet()
}
