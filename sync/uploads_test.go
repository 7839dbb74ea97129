package sync_test

import (
	"context"
	"os"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// appendLiar tells the engine something else about uploads than the server did.
type appendLiar struct {
	remote.Session
	lie func(remote.Appended) remote.Appended
}

func (l appendLiar) Append(ctx context.Context, mailbox string, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) error {
	return l.Session.Append(ctx, mailbox, uploads, sent, func(i int, r remote.Appended) { done(i, l.lie(r)) })
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
