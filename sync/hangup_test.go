package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// hangUps has the server hang up at some steps, and counts its connections.
type hangUps struct {
	dials, met int
}

func (h *hangUps) at(kind model.Kind, which func(model.Step) bool) func(model.Step) model.Action {
	return func(s model.Step) model.Action {
		if s.Op == "dial" && !s.After {
			h.dials++
		}
		if !which(s) {
			return model.Action{}
		}
		h.met++
		return model.Action{Kind: kind}
	}
}

// blames fails unless a run tells of one message of a folder, in these words, and of nothing else.
func (w *world) blames(res *mailsync.Result, folder string, words ...string) {
	w.t.Helper()
	if res.Fatal != nil || len(res.Errors) != len(words) {
		w.t.Fatalf("fatal %v, errors %v", res.Fatal, res.Errors)
	}
	for i, word := range words {
		text := res.Errors[i].Error()
		if string(res.Errors[i].Folder) != folder || !strings.Contains(text, word) || !strings.Contains(text, "every sync tries again") {
			w.t.Errorf("the run says %q", text)
		}
	}
}

// TestHangUpAtADownload: the connection breaks whenever one message is read. Only that one waits, and what else is to be done in the folder is done.
func TestHangUpAtADownload(t *testing.T) {
	t.Parallel()
	for name, kind := range map[string]model.Kind{"before it": model.Drop, "in the middle": model.Cut, "silence": model.Silence} {
		for _, n := range []int{1, 2, 40} {
			t.Run(fmt.Sprintf("%s of %d", name, n), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, model.Full())
				w.server.CreateMailbox("A")
				known := w.message("known")
				w.arrive("INBOX", known)
				w.sync()
				w.reflag(w.file("INBOX", known), "F")
				w.put("INBOX", w.message("mine"), "S")
				w.arrive("A", w.message("other"))
				want := []string{`known \Flagged`, `mine \Seen`}
				var bad mail.UID
				for i := range n {
					subject := fmt.Sprint("m", i)
					uid := w.arrive("INBOX", w.message(subject))
					if i == n/2 {
						bad = uid
					} else {
						want = append(want, subject)
					}
				}
				var h hangUps
				var asked mail.UIDSet
				after := false // others were asked for after the bad one
				fault := h.at(kind, func(s model.Step) bool {
					is := s.Op == "body" && s.UIDs.Contains(bad) && s.Mailbox == "INBOX" && !s.After
					if s.Op == "body" && s.Mailbox == "INBOX" && !s.After {
						after = after || asked.Contains(bad) && !is
						asked = asked.Union(s.UIDs)
					}
					return is
				})
				w.server.SetFault(fault)
				says := fmt.Sprintf("message %d", bad)
				w.blames(w.try(), "INBOX", says)
				if got := w.localTree(); len(got["INBOX"]) != len(want) || len(got["A"]) != 1 {
					t.Fatalf("the others did not come:\n%s", w)
				}
				if h.dials > 14 {
					t.Errorf("%d connections", h.dials)
				}

				// It is asked for last from now on.
				w.arrive("INBOX", w.message("later"))
				want = append(want, "later")
				h.dials, h.met, asked, after = 0, 0, mail.UIDSet{}, false
				w.blames(w.try(), "INBOX", says)
				if got := w.localTree(); len(got["INBOX"]) != len(want) {
					t.Fatalf("the later one did not come:\n%s", w)
				}
				if h.met != 2 || after || h.dials > 5 {
					t.Errorf("met %d times, others after it: %v, %d connections", h.met, after, h.dials)
				}
				w.server.SetFault(nil)
				w.sync()
				w.want(map[string][]string{"INBOX": append(want, fmt.Sprint("m", n/2)), "A": {"other"}})
				w.same()
				w.quiet()
			})
		}
	}
}

// TestHangUpAtSomeDownloads: there are several such messages, in two folders.
func TestHangUpAtSomeDownloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	w.sync()
	bad := map[string]mail.UIDSet{}
	want := map[string][]string{}
	for _, box := range []string{"INBOX", "A"} {
		for i := range 60 {
			subject := fmt.Sprint(box, i)
			want[box] = append(want[box], subject)
			if uid := w.arrive(box, w.message(subject)); i == 0 || i == 30 || i == 31 || i == 59 {
				set := bad[box]
				set.Add(uid)
				bad[box] = set
			}
		}
	}
	var h hangUps
	w.server.SetFault(h.at(model.Drop, func(s model.Step) bool {
		return s.Op == "body" && !s.After && s.UIDs.Minus(bad[s.Mailbox]).Len() < s.UIDs.Len()
	}))
	for range 3 { // a run opens only so many connections more
		h.dials = 0
		if w.try(); h.dials > 40 {
			t.Errorf("%d connections", h.dials)
		}
	}
	if got := w.localTree(); len(got["INBOX"]) != 56 || len(got["A"]) != 56 {
		t.Fatalf("%d and %d of 56", len(got["INBOX"]), len(got["A"]))
	}
	w.server.SetFault(nil)
	w.sync()
	w.want(want)
	w.quiet()
}

// TestLineThatBreaksAtAllDownloads is no message's fault: the run does not go on for ever, and the next one is none the worse.
func TestLineThatBreaksAtAllDownloads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("A")
	w.sync()
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprint("m", i))
		w.arrive("INBOX", w.message(want[i]))
	}
	w.arrive("A", w.message("other"))
	var h hangUps
	w.server.SetFault(h.at(model.Drop, func(s model.Step) bool { return s.Op == "body" && s.Mailbox == "INBOX" }))
	res := w.try()
	if res.Fatal != nil || len(res.Errors) == 0 || len(w.localTree()["A"]) != 1 {
		t.Errorf("fatal %v, errors %v\n%s", res.Fatal, res.Errors, w)
	}
	if h.dials > 30 {
		t.Errorf("%d connections", h.dials)
	}
	w.server.SetFault(nil)
	w.sync()
	w.want(map[string][]string{"INBOX": want, "A": {"other"}})
	w.quiet()
}

// TestHangUpWhereMessagesAreCompared: the database is lost, and the connection breaks whenever one of the messages is read that must be compared.
func TestHangUpWhereMessagesAreCompared(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"fetch", "body"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nameless())
			w.server.CreateMailbox("A")
			w.arrive("A", w.message("other"))
			var want []string
			var bad mail.UID
			for i := range 40 {
				subject := fmt.Sprint("m", i)
				want = append(want, subject)
				text := noID(subject) // whose bodies must be compared
				if op == "fetch" {
					text = w.message(subject)
				}
				if uid := w.arrive("INBOX", text); i == 20 {
					bad = uid
				}
			}
			w.sync()
			w.must(os.Remove(filepath.Join(w.root, ".satchel.db")))
			w.arrive("INBOX", w.message("new"))
			var h hangUps
			w.server.SetFault(h.at(model.Drop, func(s model.Step) bool {
				return s.Op == op && s.Mailbox == "INBOX" && s.UIDs.Contains(bad) && !s.After
			}))
			res := w.try()
			if res.Fatal != nil || len(res.Errors) == 0 || !strings.Contains(res.Errors[0].Error(), fmt.Sprintf("message %d", bad)) {
				t.Errorf("fatal %v, errors %v", res.Fatal, res.Errors)
			}
			if n := len(w.localTree()["INBOX"]); n != 41 {
				t.Errorf("%d of 41", n)
			}
			if h.dials > 40 {
				t.Errorf("%d connections", h.dials)
			}
			w.server.SetFault(nil)
			w.sync()
			w.sync()
			w.want(map[string][]string{"INBOX": append(want, "new"), "A": {"other"}})
			w.quiet()
		})
	}
}

// TestHangUpAtAnUpload: the connection breaks whenever one message is stored. Only that one waits, and none is stored twice.
func TestHangUpAtAnUpload(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		kind          model.Kind
		after, stored bool
	}{
		"before it":                    {kind: model.Drop},
		"silence":                      {kind: model.Silence},
		"after it":                     {kind: model.Drop, after: true, stored: true},
		"it arrives later":             {kind: model.Ghost},
		"before it, one after another": {kind: model.Drop},
	} {
		for _, n := range []int{1, 2, 60} {
			t.Run(fmt.Sprintf("%s of %d", name, n), func(t *testing.T) {
				t.Parallel()
				o := model.Full()
				o.Window = 100
				if strings.Contains(name, "one after another") {
					o = model.Options{Window: 1}
				}
				w := newWorld(t, o)
				known := w.message("known")
				w.arrive("INBOX", known)
				w.sync()
				w.reflag(w.file("INBOX", known), "F")
				w.arrive("INBOX", w.message("theirs"))
				w.put("A", w.message("other"), "S")
				want := []string{`known \Flagged`, "theirs"}
				for i := range n {
					subject := fmt.Sprint("m", i)
					if i == n/2 {
						subject = "bad"
					}
					if w.put("INBOX", w.message(subject), "S"); subject != "bad" || tc.stored {
						want = append(want, subject+` \Seen`)
					}
				}
				var h hangUps
				sends := 0
				w.server.SetFault(h.at(tc.kind, func(s model.Step) bool {
					bad := s.Op == "append" && strings.Contains(s.Raw, "Subject: bad\r\n")
					if bad && !s.After {
						sends++
					}
					return bad && s.After == tc.after
				}))
				complains := func(res *mailsync.Result) {
					t.Helper()
					if !tc.stored {
						w.blames(res, "INBOX", "client") // the file
					} else if res.Fatal != nil || len(res.Errors) > 0 {
						t.Fatalf("fatal %v, errors %v", res.Fatal, res.Errors)
					}
				}
				complains(w.try())
				if got := w.serverTree(); len(got["INBOX"]) != len(want) || len(got["A"]) != 1 {
					t.Fatalf("the others did not come:\n%s", w)
				}
				if h.dials > 10 || sends > 4 {
					t.Errorf("%d connections, sent %d times", h.dials, sends)
				}

				// It is sent last from now on.
				w.put("INBOX", w.message("later"), "S")
				want = append(want, `later \Seen`)
				h.dials, sends = 0, 0
				complains(w.try())
				if got := w.serverTree(); len(got["INBOX"]) != len(want) {
					t.Fatalf("the later one did not come:\n%s", w)
				}
				if !tc.stored && (sends != 2 || h.dials > 6) {
					t.Errorf("sent %d times, %d connections", sends, h.dials)
				}
				w.server.SetFault(nil)
				w.server.ReleaseGhosts()
				w.sync()
				w.sync()
				if !tc.stored {
					want = append(want, `bad \Seen`)
				}
				w.want(map[string][]string{"INBOX": want, "A": {`other \Seen`}})
				w.same()
				w.quiet()
			})
		}
	}
}

// TestHangUpAtSomeUploads: there are several such messages, in two folders.
func TestHangUpAtSomeUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.sync()
	want := map[string][]string{}
	for _, box := range []string{"INBOX", "A"} {
		for i := range 60 {
			subject := fmt.Sprint("good", i)
			if i == 0 || i == 30 || i == 59 {
				subject = fmt.Sprint("bad", i)
			}
			w.put(box, w.message(subject), "S")
			want[box] = append(want[box], subject+` \Seen`)
		}
	}
	var h hangUps
	w.server.SetFault(h.at(model.Drop, func(s model.Step) bool {
		return s.Op == "append" && !s.After && strings.Contains(s.Raw, "Subject: bad")
	}))
	for range 4 {
		h.dials = 0
		if w.try(); h.dials > 30 {
			t.Errorf("%d connections", h.dials)
		}
	}
	if got := w.serverTree(); len(got["INBOX"]) != 57 || len(got["A"]) != 57 {
		t.Fatalf("%d and %d of 57", len(got["INBOX"]), len(got["A"]))
	}
	w.server.SetFault(nil)
	w.sync()
	w.want(want)
	w.quiet()
}

// TestMaildropHangUp: a POP3 server hangs up whenever one message is asked for.
func TestMaildropHangUp(t *testing.T) {
	t.Parallel()
	for _, q := range []popserver.Quirks{{}, {NoPipelining: true}, {Capabilities: []string{"EXPIRE 0"}}} {
		for _, n := range []int{1, 2, 30} {
			msgs := pops(n)
			bad := n / 2
			w := newPopWorld(t, 0, msgs...)
			q.Lose = func(command string) bool { return command == fmt.Sprint("RETR ", bad+1) }
			w.server.Set(q)
			blames := func(fresh int) {
				t.Helper()
				res := w.run(mailsync.Options{})
				if res.Fatal != nil || len(res.Errors) != 1 || !strings.Contains(res.Errors[0].Error(), fmt.Sprintf("id%d", bad)) || res.ToMaildir.New != fresh {
					t.Fatalf("fatal %v, errors %v, %d of %d new", res.Fatal, res.Errors, res.ToMaildir.New, fresh)
				}
			}
			blames(n - 1)
			w.has(slices.Delete(slices.Clone(msgs), bad, bad+1)...)
			if s := w.server.Sessions(); s > 14 {
				t.Errorf("%d sessions", s)
			}
			left := w.server.Mail()
			if len(left) == 0 || !slices.Contains(left, msgs[bad]) {
				t.Fatalf("the server has %v", left)
			}
			q.Lose = func(command string) bool { return command == "RETR 1" }
			w.server.Put(msgs[bad], pop("later", 77))
			w.server.Set(q)
			blames(1)
			q.Lose = nil
			w.server.Put(msgs[bad])
			w.server.Set(q)
			w.now = w.now.Add(time.Hour)
			if r := w.sync(); r.ToMaildir.New != 1 {
				t.Fatalf("%+v", r.ToMaildir)
			}
			w.has(append(slices.Clone(msgs), pop("later", 77))...)
			w.sync()
			if left := w.server.Mail(); len(left) != 0 {
				t.Errorf("the server has %v", left)
			}
		}
	}
}
