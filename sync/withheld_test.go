package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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
