package sync_test

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// verify compares the two sides.
func (w *world) verify(deep bool) *mailsync.Verification {
	w.t.Helper()
	v := mailsync.Verify(w.t.Context(), w.set, mailsync.World{Dialer: w.dialer}, mailsync.VerifyOptions{Deep: deep})
	if v.Fatal != nil || len(v.Errors) > 0 {
		w.t.Fatal(v.Fatal, v.Errors)
	}
	return v
}

// TestVerifyOfRewritten: that a server keeps other bytes than it was sent is no difference, as long as it is those which the state remembers.
func TestVerifyOfRewritten(t *testing.T) {
	t.Parallel()
	for _, note := range []struct{ begin, end string }{{begin: "X-Seen-By: server\r\n"}, {end: "-- \r\nscanned\r\n"}} {
		w := newWorld(t, model.Full())
		w.dialer = between{w.server, func(s remote.Session) remote.Session { return rewriting{s, note.begin, note.end} }}
		w.put("INBOX", w.message("a"), "S")
		w.put("INBOX", w.message("b"), "S")
		w.sync()
		for _, deep := range []bool{false, true} {
			// A changed header shows, a changed body only byte for byte.
			if v := w.verify(deep); len(v.Differences) != 0 || v.Messages != 2 || (deep || note.begin != "") && v.Rewritten != 2 {
				t.Fatalf("deep %v: %+v", deep, v)
			}
		}
		w.server.Permute("INBOX")
		for _, deep := range []bool{false, true} {
			if v := w.verify(deep); len(v.Differences) != 2 || v.Rewritten != 0 {
				t.Errorf("deep %v, the UIDs mean other messages: %+v", deep, v)
			}
		}
	}
}

// rewriting is a server that adds to what it stores.
type rewriting struct {
	remote.Session
	begin, end string
}

func (r rewriting) Append(ctx context.Context, box remote.Box, next mail.UID, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) ([]remote.Message, error) {
	out := make([]remote.Upload, len(uploads))
	for i, u := range uploads {
		open := u.Open
		u.Size += int64(len(r.begin) + len(r.end))
		u.Open = func() (io.ReadCloser, error) {
			rc, err := open()
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{io.MultiReader(strings.NewReader(r.begin), rc, strings.NewReader(r.end)), rc}, nil
		}
		out[i] = u
	}
	return r.Session.Append(ctx, box, next, out, sent, done)
}

// TestVerifyOfAFolderOnOneSide: what one side alone has because the mode, or the person, leaves it there is explained, in a folder of its own too.
func TestVerifyOfAFolderOnOneSide(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		mode      plan.Mode
		create    plan.Create
		explained int // 2 in folders of the Maildir, 2 in those of the server, one each in INBOX
	}{
		{plan.Pull, plan.CreateBoth, 3},
		{plan.Archive, plan.CreateBoth, 3},
		{plan.Push, plan.CreateBoth, 3},
		{plan.TwoWay, plan.CreateNone, 4},
		{plan.Pull, plan.CreateNone, 5},
	} {
		w := newWorld(t, model.Full())
		w.set.Policy.Mode, w.set.Policy.Create = tt.mode, tt.create
		w.sync()
		w.arrive("INBOX", w.message("theirs"))
		w.server.CreateMailbox("Theirs")
		w.server.CreateMailbox("Theirs/Empty")
		w.arrive("Theirs", w.message("a"))
		w.arrive("Theirs", w.message("b"))
		w.put("INBOX", w.message("mine"), "S")
		w.put("Mine", w.message("c"), "S")
		w.put("Mine", w.message("d"), "S")
		w.mkfolder("Mine/Empty")
		if v := w.verify(false); len(v.Differences) < 2 {
			t.Errorf("%s, create %s, not synchronised yet: %+v", tt.mode, tt.create, v)
		}
		w.sync()
		if v := w.verify(false); len(v.Differences) != 0 || v.Explained != tt.explained {
			t.Errorf("%s, create %s: %+v", tt.mode, tt.create, v)
		}
		if tt.mode == plan.Archive {
			w.must(os.RemoveAll(w.dir("Theirs"))) // is not delivered again
			w.sync()
			if v := w.verify(false); len(v.Differences) != 0 || v.Explained != tt.explained+2 {
				t.Errorf("%s, a folder was deleted: %+v", tt.mode, v)
			}
		}
	}
	w := newWorld(t, model.Full())
	w.sync()
	w.mkfolder("Mine")
	w.server.CreateMailbox("Theirs")
	if v := w.verify(false); len(v.Differences) != 2 {
		t.Errorf("empty folders that the next sync creates: %+v", v)
	}
}
