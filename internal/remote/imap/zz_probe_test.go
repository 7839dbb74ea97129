package imap

import (
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

func TestZZProbe(t *testing.T) {
	sv := servers.Courier(t, servers.Options{})
	s := dial(t, configFor(sv))
	o := sv.Client(t)
	o.Append("INBOX", letter(1), mail.Flags{}, time.Time{})
	o.Append("INBOX", letter(2), mail.Flags{}, time.Time{})
	o.Append("INBOX", letter(3), mail.Flags{}, time.Time{})
	sel, err := s.Select(t.Context(), "INBOX")
	t.Log(sel, err)
	o.Expunge("INBOX", 1)
	run := func(v string) { c := newCommand("x", v); s.run(t.Context(), "x", c) }
	run("UID FETCH 1 (UID FLAGS RFC822.SIZE)")
	run("UID FETCH 1 (UID FLAGS INTERNALDATE)")
	run("UID FETCH 1 (UID FLAGS BODY.PEEK[HEADER])")
	run("UID FETCH 1 (UID FLAGS INTERNALDATE BODY.PEEK[])")
	run("UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE)")
	run("UID SEARCH UID 1")
	run("STATUS INBOX (MESSAGES UIDNEXT)")
	run("NOOP")
	run("UID SEARCH UID 1")
	run("UID FETCH 1 (UID FLAGS BODY.PEEK[HEADER])")
	o.Store("INBOX", true, mail.NewFlags(`\Deleted`), 2)
	run("UID SEARCH DELETED")
	run("NOOP")
	run("UID SEARCH DELETED")
	run("EXAMINE INBOX")
	_ = remote.Box{}
	t.Fail()
}
