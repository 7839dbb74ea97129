package sync_test

import (
	"os"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

func TestFirstSyncBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.arrive("INBOX", w.message("one"))
	w.arrive("INBOX", w.message("two"), `\Seen`, `\Flagged`)
	w.server.CreateMailbox("Archive/2024")
	w.arrive("Archive/2024", w.message("old"), `\Seen`, "Work")
	w.put("INBOX", w.message("mine"), "S")
	w.put("Drafts", w.message("draft"), "DS")
	w.sync()
	w.same()
	w.want(map[string][]string{
		"INBOX": {"one", `two \Flagged \Seen`, `mine \Seen`}, "Archive/2024": {`old \Seen Work`}, "Drafts": {`draft \Draft \Seen`},
	})
	w.quiet()
}

func TestChangesGoBothWays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	text := map[string]string{}
	uid := map[string]mail.UID{}
	for _, s := range []string{"a", "b", "c", "d", "e", "f"} {
		text[s] = w.message(s)
		uid[s] = w.arrive("INBOX", text[s])
	}
	w.server.CreateMailbox("Keep")
	w.sync()
	w.same()

	w.server.Store("INBOX", true, mail.NewFlags(`\Seen`, "Todo"), uid["a"])
	w.reflag(w.file("INBOX", text["b"]), "F")
	w.server.Expunge("INBOX", uid["c"])
	w.must(os.Remove(w.file("INBOX", text["d"])))
	w.server.Move("INBOX", "Keep", uid["e"])
	w.move(w.file("INBOX", text["f"]), "Keep")
	res := w.sync()
	w.want(map[string][]string{"INBOX": {`a \Seen Todo`, `b \Flagged`}, "Keep": {"e", "f"}})
	if res.ToServer.Moved != 1 || res.ToMaildir.Moved != 1 || res.ToServer.New+res.ToMaildir.New != 0 {
		t.Fatalf("moves were not carried out as moves: %+v %+v", res.ToMaildir, res.ToServer)
	}
	w.quiet()
}
