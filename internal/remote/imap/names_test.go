package imap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/remote"
)

func TestModifiedUTF7(t *testing.T) {
	for _, tc := range []struct{ name, text string }{
		{"", ""}, {"INBOX", "INBOX"}, {"R&-D", "R&D"}, {"&-", "&"}, {"Entw&APw-rfe", "Entwürfe"},
		{"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"}, // RFC 3501, section 5.1.3
		{"&2D3cqQ-", "💩"}, {"&AAo-", "\n"}, {"a &- b", "a & b"}, {"&ZeVnLIqe-&-&ZeVnLIqe-", "日本語&日本語"},
	} {
		if got := encodeName(tc.text); got != tc.name {
			t.Errorf("encodeName(%q) = %q, want %q", tc.text, got, tc.name)
		}
		if got, ok := decodeName(tc.name); !ok || got != tc.text {
			t.Errorf("decodeName(%q) = %q, %v, want %q", tc.name, got, ok, tc.text)
		}
	}
}

func TestInvalidModifiedUTF7(t *testing.T) {
	for name, shown := range map[string]string{
		"R&D":                    "R&D",                    // no end
		"&":                      "&",                      //
		"&AGE-":                  "&AGE-",                  // ASCII in base64
		"&U,BTFw-&ZeVnLIqe-":     "&U,BTFw-&ZeVnLIqe-",     // a superfluous shift, RFC 3501
		"&2D0-":                  "&2D0-",                  // half a surrogate pair
		"&3Kk-":                  "&3Kk-",                  // the other half
		"&APx-":                  "&APx-",                  // bits left over
		"&A-":                    "&A-",                    //
		"&AP/8-":                 "&AP/8-",                 // the alphabet of MIME
		"&APw=-":                 "&APw=-",                 // padded
		"Entwürfe":               "Entwürfe",               // raw UTF-8
		"Entw\xfcrfe":            "Entw%FCrfe",             // raw Latin-1
		"\xff\xfe":               "%FF%FE",                 //
		"tab\there":              "tab\there",              // a control character as it is
		strings.Repeat("&", 100): strings.Repeat("&", 100), //
	} {
		if text, ok := decodeName(name); ok {
			t.Errorf("decodeName(%q) = %q", name, text)
		}
		if got := readName(name); got != shown {
			t.Errorf("readName(%q) = %q, want %q", name, got, shown)
		}
	}
}

func TestNamesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String().Draw(t, "text")
		if got, ok := decodeName(encodeName(text)); !ok || got != text {
			t.Errorf("%q became %q, %v", text, got, ok)
		}
		raw := string(rapid.SliceOf(rapid.SampledFrom([]byte("ab&-,+/A\xc3\xbc\x00 w="))).Draw(t, "raw"))
		if got, ok := decodeName(raw); ok && encodeName(got) != raw {
			t.Errorf("%q was read as %q, which is %q", raw, got, encodeName(got))
		}
	})
}

// naming is a session that knows nothing but a namespace.
func naming(prefix string, delim byte) *Session {
	return &Session{prefix: prefix, delim: delim, delimKnown: true, settled: true, caps: parseCaps("", nil)}
}

func TestPaths(t *testing.T) {
	for _, tc := range []struct {
		prefix string
		delim  byte
		name   string
		path   []string
	}{
		{"", '/', "INBOX", []string{"INBOX"}},
		{"", '/', "Inbox/sub", []string{"INBOX", "sub"}},
		{"", '/', "Archive/2024", []string{"Archive", "2024"}},
		{"", '.', "Archive.2024/5", []string{"Archive", "2024/5"}},
		{"", '/', "a/INBOX", []string{"a", "INBOX"}},
		{"", '/', "a//b/", []string{"a", "b"}},
		{"", '/', "R&-D/&AOQ-", []string{"R&D", "ä"}},
		{"", '/', "R&D/\xe4", []string{"R&D", "%E4"}},
		{"", 0, "a/b.c", []string{"a/b.c"}},
		{"", '/', "", nil},
		{"INBOX.", '.', "INBOX", []string{"INBOX"}},
		{"INBOX.", '.', "INBOX.Sent", []string{"Sent"}},
		{"INBOX.", '.', "INBOX.Sent.2024", []string{"Sent", "2024"}},
		{"INBOX.", '.', "INBOX.INBOX", []string{"INBOX", "INBOX"}},
		{"INBOX.", '.', "INBOX.Inbox.x", []string{"INBOX", "Inbox", "x"}},
		{"INBOX.", '.', "INBOX.", nil},
		{"Mail/", '/', "Mail/x", []string{"x"}},
		{"Mail/", '/', "Mail/INBOX", []string{"Mail", "INBOX"}},
		{"Mail/", '/', "Mail/Mail/INBOX", []string{"Mail", "Mail", "INBOX"}},
	} {
		s := naming(tc.prefix, tc.delim)
		if got := s.pathOf(tc.name, tc.delim); !slices.Equal(got, tc.path) {
			t.Errorf("prefix %q: the path of %q is %q, want %q", tc.prefix, tc.name, got, tc.path)
		}
	}
}

func TestMailboxName(t *testing.T) {
	long := strings.Repeat("x", maxComponent)
	for _, tc := range []struct {
		prefix string
		delim  byte
		path   []string
		name   string // empty: refused
	}{
		{"", '/', []string{"inbox"}, "INBOX"},
		{"", '/', []string{"Inbox", "sub"}, "INBOX/sub"},
		{"", '/', []string{"sub", "Inbox"}, "sub/Inbox"},
		{"", '/', []string{"ä", "R&D", `q"u\o`}, `&AOQ-/R&-D/q"u\o`},
		{"", '/', []string{"a/b"}, ""},
		{"", '.', []string{"a/b"}, "a/b"},
		{"", '.', []string{"a.b"}, ""},
		{"", 0, []string{"a.b"}, "a.b"},
		{"", 0, []string{"a", "b"}, ""},
		{"", '/', nil, ""},
		{"", '/', []string{""}, ""},
		{"", '/', []string{"a", ""}, ""},
		{"", '/', []string{"a\nb"}, ""},
		{"", '/', []string{"a\x00"}, ""},
		{"", '/', []string{"a\u0085"}, ""},
		{"", '/', []string{"a\xff"}, ""},
		{"", '/', []string{long}, long},
		{"", '/', []string{long + "x"}, ""},
		{"", '/', []string{long, long, long, long}, ""},
		{"", '-', []string{"ä"}, ""}, // the delimiter is part of the spelling
		{"INBOX.", '.', []string{"INBOX"}, "INBOX"},
		{"INBOX.", '.', []string{"Sent", "2024"}, "INBOX.Sent.2024"},
		{"INBOX.", '.', []string{"INBOX", "INBOX"}, "INBOX.INBOX"},
		{"INBOX.", '.', []string{"INBOX", "x"}, ""},
		{"Mail/", '/', []string{"Mail", "x"}, "Mail/Mail/x"},
		{"Mail/", '/', []string{"INBOX", "x"}, ""},
	} {
		s := naming(tc.prefix, tc.delim)
		got, err := s.MailboxName(tc.path)
		if got != tc.name || (err == nil) != (tc.name != "") {
			t.Errorf("prefix %q: MailboxName(%q) = %q, %v, want %q", tc.prefix, tc.path, got, err, tc.name)
		}
	}
}

// TestNamesAndPathsAreOneToOne: a path that has a name is that name's path, and no two names have one path.
func TestNamesAndPathsAreOneToOne(t *testing.T) {
	words := rapid.SliceOfN(rapid.SampledFrom([]string{"INBOX", "inbox", "Mail", "a", "ä", "R&D"}), 1, 5)
	rapid.Check(t, func(t *rapid.T) {
		delim := rapid.SampledFrom([]byte{'/', '.'}).Draw(t, "delim")
		prefix := rapid.SampledFrom([]string{"", "INBOX", "Mail"}).Draw(t, "prefix")
		if prefix != "" {
			prefix += string(rune(delim))
		}
		s := naming(prefix, delim)
		path := words.Draw(t, "path")
		if isInbox(path[0]) {
			path[0] = inbox
		}
		if name, err := s.MailboxName(path); err == nil {
			if back := s.pathOf(name, delim); !slices.Equal(back, path) {
				t.Errorf("path %q is named %q, whose path is %q", path, name, back)
			}
		}
		name := canonical(s.prefix + encodeName(strings.Join(words.Draw(t, "name"), string(rune(delim)))))
		if got := s.pathOf(name, delim); !strings.HasPrefix(strings.ToUpper(name), inbox) {
			if back, err := s.MailboxName(got); err != nil || back != name {
				t.Errorf("name %q has path %q, which is named %q, %v", name, got, back, err)
			}
		}
	})
}

// mailboxes lists what a scripted server says in answer to a plain LIST.
func mailboxes(t *testing.T, cfg Config, caps string, play func(p *script)) map[string]remote.Mailbox {
	t.Helper()
	s := preauth(t, caps, cfg, play)
	list, err := s.Mailboxes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]remote.Mailbox{}
	for _, m := range list {
		if _, twice := out[m.Name]; twice {
			t.Errorf("%q is listed twice", m.Name)
		}
		out[m.Name] = m
	}
	return out
}

const listStatus = "IMAP4rev1 LIST-EXTENDED LIST-STATUS SPECIAL-USE OBJECTID"

func TestMailboxesInOneExchange(t *testing.T) {
	got := mailboxes(t, Config{Subscribed: true}, listStatus, func(p *script) {
		p.expect(`LIST "" "*" RETURN (SUBSCRIBED SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY MAILBOXID))`)
		p.say(`* LIST (\HasNoChildren \Subscribed) "/" "inbox"`, `* STATUS Inbox (MESSAGES 3 UIDNEXT 9 UIDVALIDITY 7 MAILBOXID (F1) X-FUTURE (a (b "c")) )`,
			`* LIST (\HasChildren \Noselect) "/" Work`, `* LIST (\subscribed \nonexistent) "/" Work/Gone`,
			`* LIST (\SENT) "/" "Work/R&D"`, `* STATUS "Work/R&D" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 8 MAILBOXID NIL)`,
			"* LIST () \"/\" {4}\r\n\xe4\"\\* (\"CHILDINFO\" (\"SUBSCRIBED\"))", "* STATUS {4}\r\n\xe4\"\\* (MESSAGES 0 UIDVALIDITY 9)",
			"$1 OK done")
	})
	if len(got) != 5 {
		t.Fatalf("%d mailboxes: %+v", len(got), got)
	}
	in := got["INBOX"]
	if in.Status == nil || *in.Status != (remote.Status{UIDValidity: 7, UIDNext: 9, Messages: 3, MailboxID: "F1"}) || !in.Subscribed || !in.Selectable {
		t.Errorf("INBOX: %+v %+v", in, in.Status)
	}
	if m := got["Work"]; m.Selectable || m.Status != nil || m.StatusErr != nil {
		t.Errorf("Work: %+v", m)
	}
	if m := got["Work/Gone"]; m.Selectable || !m.Subscribed {
		t.Errorf("Work/Gone: %+v", m)
	}
	if m := got["Work/R&D"]; !slices.Equal(m.Path, []string{"Work", "R&D"}) || !slices.Equal(m.SpecialUse, []string{`\Sent`}) || m.Status == nil || m.Display != "Work/R&D" {
		t.Errorf("Work/R&D: %+v", m)
	}
	if m := got["\xe4\"\\*"]; !slices.Equal(m.Path, []string{`%E4"\*`}) || m.Status == nil {
		t.Errorf("the Latin-1 name: %+v", m)
	}
}

func TestMailboxesOfABareServer(t *testing.T) {
	s := preauth(t, bare, Config{Subscribed: true}, func(p *script) {
		p.expect(`LIST "" "*"`, `LSUB "" "*"`)
		p.say(`* LIST () "/" INBOX`, `* LIST () "/" "broken"`, `* LIST () "/" {4}`+"\r\nä/b", "$1 OK done",
			`* LSUB () "/" inbox`, `* LSUB (\Noselect) "/" broken`, `* LSUB () "/" dead`, "$2 OK done")
		p.expect(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`, `STATUS "broken" (MESSAGES UIDNEXT UIDVALIDITY)`, "STATUS {4}")
		p.say("* STATUS INBOX (MESSAGES 1)", "$1 OK done", "$2 NO [SERVERBUG] broken", "+ go on")
		if got := p.literal(4) + p.line(); got != "ä/b (MESSAGES UIDNEXT UIDVALIDITY)" {
			t.Errorf("got %q", got)
		}
		p.say("* STATUS {4}\r\nä/b (MESSAGES 2)", "$3 OK done")
	})
	list, err := s.Mailboxes(t.Context())
	if err != nil || len(list) != 3 || list[2].Status == nil || list[2].Status.Messages != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	for _, m := range list {
		switch m.Name {
		case "INBOX":
			if !m.Subscribed || m.Status == nil {
				t.Errorf("%+v", m)
			}
		case "broken":
			if m.Subscribed || m.Status != nil || remote.ClassOf(m.StatusErr) != remote.Refused {
				t.Errorf("%+v", m)
			}
		}
	}
}

func TestOneBadLineInAListSpoilsOnlyItself(t *testing.T) {
	for name, line := range map[string]string{
		"no parenthesis": `* LIST \Noselect "/" x`, "no end": `* LIST (\Noselect "/"`, "no name": `* LIST () "/"`, "nothing": "* LIST",
		"long delimiter": `* LIST () "//" x`, "open quote": `* LIST () "/" "x`, "deep": "* LIST () \"/\" y\r\n* STATUS y (X " + strings.Repeat("(", 40) + strings.Repeat(")", 40) + ")",
		"empty line": "", "garbage": "\x00\x01\x02", "tag nobody has": "X7 OK done", "no such data": "* XYZZY (a {3}\r\nabc \"d\")", "lone star": "*", "star and space": "* ",
		"open line after a literal": "* LIST () \"/\" {3}\r\nx\ny ((", "negative": "* STATUS INBOX (MESSAGES -1)", "number too large": "* STATUS INBOX (MESSAGES 99999999999999999999999)",
		"a name with an end of line": "* LIST () \"/\" {3}\r\na\r\n", "continuation": "+ whatever", "no such tag": "S99999999 OK done", "no status": "S1 MAYBE",
	} {
		t.Run(name, func(t *testing.T) {
			got := mailboxes(t, Config{}, listStatus, func(p *script) {
				p.expect(`LIST "" "*" RETURN (SPECIAL-USE STATUS (MESSAGES UIDNEXT UIDVALIDITY MAILBOXID))`)
				p.say(`* LIST () "/" INBOX`, "* STATUS INBOX (MESSAGES 1)", line, `* LIST () "/" "&"`, "* STATUS & (MESSAGES 2)", "$1 OK done")
				if name == "deep" {
					p.expect(`STATUS "y" (MESSAGES UIDNEXT UIDVALIDITY MAILBOXID)`)
					p.say("* STATUS y (MESSAGES 3)", "$1 OK done")
				}
			})
			if in := got["INBOX"]; in.Status == nil || in.Status.Messages != 1 {
				t.Errorf("INBOX: %+v", in)
			}
			if m := got["&"]; m.Status == nil || m.Status.Messages != 2 {
				t.Errorf("&: %+v", m)
			}
		})
	}
}

func TestOtherNamespacesAreLeftOut(t *testing.T) {
	s, err := converse(t, Config{}, tunnelled(), func(p *script) {
		p.say("* PREAUTH [CAPABILITY IMAP4rev1 NAMESPACE LIST-EXTENDED LIST-STATUS] ready")
		p.expect("NAMESPACE")
		p.say(`* NAMESPACE (("" "." "X-PARAM" ("a" "b"))("Archive." "."))  (("user." ".")) (("shared." NIL) ("" "."))`, "$1 OK done")
		p.expect(`LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))`)
		p.say(`* LIST () "." INBOX`, "* STATUS INBOX (MESSAGES 1)", `* LIST () "." user.bob`, `* LIST () "." shared.all`, "$1 OK done")
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Mailboxes(t.Context())
	if err != nil || len(list) != 1 || list[0].Name != "INBOX" {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestNamespacesAreKnownInTime: what is ours is told apart also when the answers come in one flight.
func TestNamespacesAreKnownInTime(t *testing.T) {
	for name, tc := range map[string]struct {
		namespaces string
		listed     []string
		again      bool
		want       string
	}{
		"no prefix":       {`(("" "/")) (("user/" "/")) (("shared/" "/"))`, []string{"INBOX", "a", "user/bob", "shared/x", "users"}, false, "INBOX a users"},
		"prefix":          {`(("INBOX." ".")) (("user." ".")) NIL`, []string{"inbox", "INBOX.a", "Inbox.b", "user.bob", "other"}, false, "INBOX INBOX.a Inbox.b"},
		"below a folder":  {`(("Mail/" "/")) NIL NIL`, []string{"INBOX", "Mail", "Mail/a", "news"}, false, "INBOX Mail/a"},
		"not of its list": {`(("~/Mail/" "/")) NIL NIL`, []string{"INBOX", "x"}, true, "INBOX ~/Mail/y"},
	} {
		t.Run(name, func(t *testing.T) {
			d := scripted(t, Config{})
			s := begin(t, d, func(p *script) {
				p.say("* PREAUTH [CAPABILITY IMAP4rev1 NAMESPACE] ready")
				p.expect("NAMESPACE", `LIST "" "*"`)
				delim := "/"
				if strings.Contains(tc.namespaces, `"."`) {
					delim = "."
				}
				for _, m := range tc.listed { // before the namespaces, which no server does
					p.say(`* LIST () "` + delim + `" ` + m)
				}
				p.say("$2 OK done", "* NAMESPACE "+tc.namespaces, "$1 OK done")
				if tc.again {
					p.expect(`LIST "" "INBOX"`, `LIST "" "~/Mail/*"`)
					p.say(`* LIST () "/" INBOX`, "$1 OK done", `* LIST () "/" ~/Mail/y`, "$2 OK done")
				}
				for _, m := range strings.Fields(tc.want) {
					p.expect(fmt.Sprintf("STATUS %q (MESSAGES UIDNEXT UIDVALIDITY)", m))
					p.say("* STATUS "+m+" (MESSAGES 1)", "$1 OK done")
				}
			})
			list, err := s.Mailboxes(t.Context())
			var got []string
			for _, m := range list {
				got = append(got, m.Name)
			}
			if err != nil || strings.Join(got, " ") != tc.want {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

func TestPrefixIsAskedForAndTakenOff(t *testing.T) {
	s, err := converse(t, Config{}, tunnelled(), func(p *script) {
		p.say("* PREAUTH [CAPABILITY IMAP4rev1 NAMESPACE LIST-EXTENDED LIST-STATUS] ready")
		p.expect("NAMESPACE")
		p.say(`* NAMESPACE (("INBOX." ".")) NIL NIL`, "$1 OK done")
		p.expect(`LIST "" "INBOX" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))`, `LIST "" "INBOX.*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))`)
		p.say(`* LIST () "." INBOX`, "* STATUS INBOX (MESSAGES 1)", "$1 OK done", `* LIST () "." INBOX.Sent`, "* STATUS INBOX.Sent (MESSAGES 1)", "$2 OK done")
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Mailboxes(t.Context())
	if err != nil || len(list) != 2 || !slices.Equal(list[1].Path, []string{"Sent"}) || list[1].Display != "INBOX.Sent" {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestIMAP4rev2DoesNotChangeTheSpellingOfNames(t *testing.T) {
	s := preauth(t, "IMAP4rev1 IMAP4rev2 UTF8=ACCEPT ENABLE", Config{}, func(p *script) {
		p.expect(`CREATE "Entw&APw-rfe"`)
		p.say("$1 OK done")
		p.expect(`SUBSCRIBE "Entw&APw-rfe"`)
		p.say("$1 NO subscriptions are off")
	})
	name, err := s.MailboxName([]string{"Entwürfe"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), name); err != nil {
		t.Error(err)
	}
}

func TestInboxInAnyCase(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.expect(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`)
		p.say("* STATUS Inbox (MESSAGES 4)", "$1 OK done")
	})
	if st, err := s.Status(t.Context(), "inbox"); err != nil || st.Messages != 4 {
		t.Errorf("%+v, %v", st, err)
	}
}

func TestNamesThatCantBeSentSendNothing(t *testing.T) {
	s := preauth(t, bare, Config{}, func(*script) {})
	for _, name := range []string{"a\r\nS9 LOGOUT", "a\nb", "a\x00"} {
		if _, err := s.Status(t.Context(), name); remote.ClassOf(err) != remote.Refused {
			t.Errorf("Status(%q): %v", name, err)
		}
		if _, err := s.Append(t.Context(), remote.Box{Name: name}, 0, []remote.Upload{{}}, nil, nil); remote.ClassOf(err) != remote.Refused {
			t.Errorf("Append(%q): %v", name, err)
		}
	}
}

// TestNothingFromOutsideGetsIntoACommand: whatever a string holds, what is sent is one quoted string or literal.
func TestNothingFromOutsideGetsIntoACommand(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := string(rapid.SliceOf(rapid.Byte()).Draw(t, "name"))
		c := newCommand("testing", "X").str(name, parseCaps("LITERAL+", nil))
		if strings.ContainsAny(name, "\r\n\x00") {
			if c.err == nil {
				t.Errorf("%q can be sent", name)
			}
			return
		}
		in := response{in: newLineReader(strings.NewReader(strings.Replace(c.parts[0].text, "+}", "}", 1) + " end\r\n"))}
		if err := in.begin(); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(c.parts[0].text, "X \"") {
			in.text, in.lit, _ = cutLiteral([]byte(strings.SplitN(strings.Replace(c.parts[0].text, "+}", "}", 1), "\r\n", 2)[0]))
		}
		in.pos = 1
		got, _, err := in.str()
		if err != nil || string(got) != name || string(in.rest()) != " end" {
			t.Errorf("%q was sent as %q, which reads as %q, %v", name, c.parts[0].text, got, err)
		}
	})
}

func TestRefusalsWithoutACodeAreExplainedByList(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.expect(`SELECT "here"`)
		p.say("$1 NO can't open it")
		p.expect(`LIST "" "here"`)
		p.say(`* LIST () "/" "here"`, "$1 OK done")
		p.expect(`SELECT "gone"`)
		p.say("$1 NO can't open it")
		p.expect(`LIST "" "gone"`)
		p.say("$1 OK done")
		p.expect(`SELECT "100%"`)
		p.say("$1 NO can't open it")
		p.expect(`LIST "" "100%"`)
		p.say(`* LIST () "/" "1000"`, `* LIST () "/" "100%"`, "$1 OK done")
		p.expect(`SELECT "a*b"`)
		p.say("$1 NO can't open it")
		p.expect(`LIST "" "a*b"`)
		p.say(`* LIST () "/" "a/b"`, "$1 OK done")
		p.expect(`SELECT "above"`)
		p.say("$1 NO Mailbox doesn't exist: above")
		p.expect(`LIST "" "above"`)
		p.say(`* LIST (\Noselect \HasChildren) "/" "above"`, "$1 OK done")
		p.expect(`SELECT "over"`)
		p.say("$1 NO Mailbox doesn't exist: over (0.001 + 0.000 secs).")
		p.expect(`LIST "" "over"`)
		p.say(`* LIST (\HasChildren) "/" "over"`, "$1 OK done")
		p.expect(`SELECT "over2"`)
		p.say("$1 NO can't open it")
		p.expect(`LIST "" "over2"`)
		p.say(`* LIST (\HasChildren) "/" "over2"`, "$1 OK done")
		p.expect(`SELECT "shut"`)
		p.say("$1 NO [NOPERM] you may not")
	})
	for _, tc := range []struct {
		name    string
		missing bool
	}{{"here", false}, {"gone", true}, {"100%", false}, {"a*b", true}, {"above", true}, {"over", true}, {"over2", false}, {"shut", false}} {
		_, err := s.Select(t.Context(), tc.name)
		if remote.ClassOf(err) != remote.Refused || errors.Is(err, remote.ErrNoMailbox) != tc.missing {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}

func TestExtensionsOfListThatDoNotWorkAreDoneWithout(t *testing.T) {
	s, err := converse(t, Config{}, tunnelled(), func(p *script) {
		p.say("* PREAUTH [CAPABILITY IMAP4rev1 ID LIST-EXTENDED LIST-STATUS] ready")
		p.expect(`ID ("name" "satchel")`, `LIST "" ""`)
		p.say(`* ID ("name" "Dovecot" "version" NIL)`, "$1 OK done", `* LIST (\Noselect) "/" ""`, "$2 OK done")
		p.expect(`LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY X-GUID))`)
		p.say("$1 BAD unknown status item")
		p.expect(`LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY))`)
		p.say("$1 BAD what")
		p.expect(`LIST "" "*"`)
		p.say(`* LIST () "/" INBOX`, "$1 OK done")
		p.expect(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`)
		p.say("* STATUS INBOX (MESSAGES 1)", "$1 OK done")
		p.expect(`LIST "" "*"`)
		p.say("$1 NO [SERVERBUG] broken")
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := s.Mailboxes(t.Context())
	if err != nil || len(list) != 1 || list[0].Status == nil {
		t.Errorf("%+v, %v", list, err)
	}
	if list, err = s.Mailboxes(t.Context()); remote.ClassOf(err) != remote.Refused {
		t.Errorf("%+v, %v", list, err)
	}
}

func TestStatusWithoutXGUID(t *testing.T) {
	s, err := converse(t, Config{}, tunnelled(), func(p *script) {
		p.say("* PREAUTH [CAPABILITY IMAP4rev1 ID] ready")
		p.expect(`ID ("name" "satchel")`, `LIST "" ""`)
		p.say(`* ID ("name" "Dovecot")`, "$1 OK done", `* LIST (\Noselect) "/" ""`, "$2 OK done")
		p.expect(`STATUS "x" (MESSAGES UIDNEXT UIDVALIDITY X-GUID)`)
		p.say("$1 BAD unknown status item")
		p.expect(`STATUS "x" (MESSAGES UIDNEXT UIDVALIDITY)`)
		p.say("* STATUS x (MESSAGES 5)", "$1 OK done")
	})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := s.Status(t.Context(), "x"); err != nil || st.Messages != 5 {
		t.Errorf("%+v, %v", st, err)
	}
}

// FuzzNames: whatever a server calls a mailbox, its path can be spelled again, as the same name, or is refused; different names
// have different paths; and a path from the Maildir that becomes a name comes back as it was.
func FuzzNames(f *testing.F) {
	for _, name := range []string{"INBOX", "inbox/x", "R&-D", "Entw&APw-rfe", "&", "&AGE-", "&2D0-", "&AC8-", "Entw\xfcrfe", "a//b", "/", "a.b", "..", "a\x00", "\r\n", "%2F", "INBOX.x", "INBOX.INBOX"} {
		f.Add(name, "Archive", "", byte('/'))
		f.Add(name, "x/y", "INBOX.", byte('.'))
		f.Add(name, "&", "", byte(0))
	}
	f.Fuzz(func(t *testing.T, a, b, prefix string, delim byte) {
		if delim > 0x7e || delim > 0 && delim < ' ' || delim == '\\' || delim == '"' || strings.ContainsAny(prefix, "\r\n\x00") {
			return
		}
		s := naming(prefix, delim)
		for _, name := range []string{a, b} {
			text, ok := decodeName(name)
			if ok && (encodeName(text) != name || !utf8.ValidString(text)) {
				t.Fatalf("%q reads as %q, which is spelled %q", name, text, encodeName(text))
			}
			if utf8.ValidString(name) {
				if back, ok := decodeName(encodeName(name)); !ok || back != name {
					t.Fatalf("%q is spelled %q, which reads as %q", name, encodeName(name), back)
				}
			}
			if !utf8.ValidString(readName(name)) {
				t.Fatalf("%q is shown as %q", name, readName(name))
			}
			// From the server and back: the name of another mailbox never comes out.
			path := s.pathOf(canonical(name), delim)
			for _, c := range path {
				if c == "" || !utf8.ValidString(c) {
					t.Fatalf("the path of %q is %q", name, path)
				}
			}
			if spelled, err := s.MailboxName(path); err == nil && len(path) > 0 {
				if again := s.pathOf(spelled, delim); !slices.Equal(again, path) {
					t.Fatalf("%q has the path %q, which is spelled %q, which has the path %q", name, path, spelled, again)
				}
				if strings.ContainsAny(spelled, "\r\n\x00") {
					t.Fatalf("%q would be sent", spelled)
				}
			}
		}
		// From the Maildir and back.
		local := []string{a, b}
		if spelled, err := s.MailboxName(local); err == nil {
			want := slices.Clone(local)
			if isInbox(want[0]) {
				want[0] = inbox
			}
			if got := s.pathOf(spelled, delim); !slices.Equal(got, want) {
				t.Fatalf("%q is spelled %q, which has the path %q", local, spelled, got)
			}
		}
	})
}

func TestStatusWithoutMessagesIsNoStatus(t *testing.T) {
	const told = `* STATUS "x" (MESSAGES 2 UIDNEXT 5 UIDVALIDITY 7)`
	for name, tc := range map[string]struct {
		says []string
		ok   bool
	}{
		"left out":          {[]string{`* STATUS "x" (UIDNEXT 5 UIDVALIDITY 7)`}, false},
		"in the first line": {[]string{told, `* STATUS "x" (HIGHESTMODSEQ 9)`}, true},
		"in the last line":  {[]string{`* STATUS "x" (UIDVALIDITY 7)`, told}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := preauth(t, bare, Config{}, func(p *script) {
				p.expect(`STATUS "x" (MESSAGES UIDNEXT UIDVALIDITY)`)
				p.say(append(tc.says, "$1 OK done")...)
			})
			st, err := s.Status(t.Context(), "x")
			if (err == nil) != tc.ok || err == nil && (st.Messages != 2 || st.UIDNext != 5) {
				t.Errorf("%+v, %v", st, err)
			}
		})
	}
}
