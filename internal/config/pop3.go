package config

import (
	"math"
	"time"
)

func (r *reader) imap(t *table) IMAP {
	return IMAP{r.server(t, imapPorts, "imap.example.org")}
}

func (r *reader) pop3(t *table) POP3 {
	return POP3{Server: r.server(t, pop3Ports, "pop3.example.org"), Keep: parsed(t, "keep_on_server", "forever", keepAllowed, parseKeep)}
}

const keepAllowed = `"forever", "never", "until-deleted", or how long after the download, such as "30d", "4w" or "12h"`

// parseKeep reads keep_on_server.
func parseKeep(s string) (Keep, bool) {
	const forever = time.Duration(math.MinInt64)
	switch s {
	case "forever":
		return Keep{For: forever}, true
	case "never":
		return Keep{}, true
	case "until-deleted":
		return Keep{UntilDeleted: true, For: forever}, true
	}
	span, ok := parseSpan(s)
	return Keep{For: span}, ok && span > 0 // "0" could be taken for "never" as well as for "off"
}

// protocol reads the one table that says which server the account is on.
func (r *reader) protocol(t *table, a *Account) {
	const imapAllowed, pop3Allowed = "a table [account.NAME.imap]", "a table [account.NAME.pop3]"
	switch {
	case t.has("imap") && t.has("pop3"):
		t.fail("pop3", "an account has one server; allowed is one of imap and pop3")
	case !t.has("imap") && !t.has("pop3"):
		t.failHere("imap is missing; a table [%s] with host, user and a password source is required (or [%s], if the server speaks POP3)", t.path("imap"), t.path("pop3"))
	}
	if it := t.table("imap", imapAllowed); it != nil {
		a.IMAP = r.imap(it)
		it.unknown()
	}
	if pt := t.table("pop3", pop3Allowed); pt != nil {
		p := r.pop3(pt)
		a.POP3 = &p
		pt.unknown()
	}
}

// mode reads the mode, which is not the same for all protocols.
func mode(t *table) Mode {
	if !t.has("pop3") {
		return oneOf(t, "mode", TwoWay, TwoWay, Pull, Push, Archive)
	}
	m := oneOf(t, "mode", Pull, TwoWay, Pull, Push, Archive)
	if m != Pull && m != Archive {
		t.fail("mode", `%q is not allowed with pop3, by which nothing can be stored on the server and nothing but new messages be learnt from it; allowed are "pull" and "archive"`, m)
	}
	return m
}
