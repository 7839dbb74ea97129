package sync_test

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestFewerConnections: the server takes one connection and no more.
func TestFewerConnections(t *testing.T) {
	w := newWorld(t, model.Full())
	w.set.Connections = 4
	want := map[string][]string{"INBOX": {}}
	for _, f := range []string{"A", "B", "C", "D"} {
		w.server.CreateMailbox(f)
		w.arrive(f, w.message("m"+f))
		w.put(f, w.message("l"+f), "S")
		want[f] = []string{"m" + f, "l" + f + ` \Seen`}
	}
	refused := make(chan struct{})
	told, waits := false, false
	w.server.SetFault(func(s model.Step) model.Action {
		switch {
		case s.Op == "dial" && !s.After && s.Session > 1:
			if !told {
				told = true
				close(refused)
			}
			return model.Action{Kind: model.Refuse, Code: "LIMIT", Text: "too many connections"}
		case s.Op == "changes" && s.Mailbox != "INBOX" && !s.After && !waits: // INBOX is read along with the list
			waits = true
			return model.Action{Until: refused} // another worker wants a connection as well
		}
		return model.Action{}
	})
	w.sync()
	w.server.SetFault(nil)
	w.want(want)
	w.quiet()
}

// TestOneTryToSignIn: a password that is refused is not tried again, by no other connection either.
func TestOneTryToSignIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.set.Connections = 4
	for _, f := range []string{"A", "B", "C", "D"} {
		w.server.CreateMailbox(f)
		w.arrive(f, w.message("m"+f))
	}
	dials := 0
	w.server.SetFault(func(s model.Step) model.Action {
		if s.Op == "dial" && !s.After {
			dials++
			return model.Action{Kind: model.Refuse, Code: "AUTHENTICATIONFAILED", Text: "wrong"}
		}
		return model.Action{}
	})
	if res := w.try(); remote.ClassOf(res.Fatal) != remote.Auth || dials != 1 {
		t.Errorf("%d tries, %v", dials, res.Fatal)
	}
}
