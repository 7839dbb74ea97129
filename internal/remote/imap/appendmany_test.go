package imap

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

const multi = "IMAP4rev1 LITERAL+ UIDPLUS MULTIAPPEND"

// expectGroup expects one APPEND of several messages without options.
func (p *script) expectGroup(texts ...string) {
	p.expect(fmt.Sprintf(`APPEND "INBOX" {%d+}`, len(texts[0])))
	for i, text := range texts {
		want := ""
		if i+1 < len(texts) {
			want = fmt.Sprintf(" {%d+}", len(texts[i+1]))
		}
		if got := p.literal(len(text)); got != text {
			p.t.Errorf("message %d of a group is %q, want %q", i, got, text)
		}
		if got := p.line(); got != want {
			p.t.Errorf("behind message %d of a group stands %q, want %q", i, got, want)
		}
	}
}

func plainUploads(texts ...string) []remote.Upload {
	var out []remote.Upload
	for _, text := range texts {
		out = append(out, upload(text, mail.Flags{}, time.Time{}))
	}
	return out
}

func (f *fates) uids() []mail.UID {
	var out []mail.UID
	for _, d := range f.done {
		out = append(out, d.UID)
	}
	return out
}

func TestSeveralMessagesWithOneCommand(t *testing.T) {
	date := time.Date(2024, 5, 3, 4, 5, 6, 0, time.UTC)
	s := preauthBy(t, "Cyrus IMAP ready", multi, Config{}, func(p *script) {
		p.expect(`APPEND "INBOX" (\Seen) " 3-May-2024 04:05:06 +0000" {3+}`)
		if got := p.literal(3) + p.line() + "|" + p.literal(0) + p.line() + "|" + p.literal(2) + p.line(); got != `one (\Flagged $x) {0+}| {2+}|by` {
			t.Errorf("got %q", got)
		}
		p.say("$1 OK [APPENDUID 7 11,13:14] done")
	})
	var f fates
	n := trips(s, func() {
		err := f.append(t.Context(), s, upload("one", mail.NewFlags(`\Seen`), date), upload("", mail.NewFlags(`\Flagged`, "$x"), time.Time{}), upload("by", mail.Flags{}, time.Time{}))
		if err != nil {
			t.Error(err)
		}
	})
	if got := strings.Join(f.log, ","); got != "sent 0,sent 1,sent 2,done 0,done 1,done 2" || n != 1 {
		t.Errorf("%s in %d round trips", got, n)
	}
	if got := f.uids(); !slices.Equal(got, []mail.UID{11, 13, 14}) || f.done[2].UIDValidity != 7 {
		t.Errorf("%+v", f.done)
	}
}

func TestGroupsAreBounded(t *testing.T) {
	text := strings.Repeat("x", groupBytes/4)
	s := preauthBy(t, "Cyrus IMAP ready", multi, Config{}, func(p *script) {
		var tags []string
		for _, group := range [][]string{{"a", text, text, text}, {text, text}, {text + text + text + text + "x"}, {"b", text}} {
			p.expectGroup(group...)
			tags = append(tags, p.tags...)
		}
		p.tags = tags
		p.say("$1 OK done", "$2 OK done", "$3 OK done", "$4 OK done")
		var small []string
		for range groupMessages {
			small = append(small, "s")
		}
		p.expectGroup(small...)
		tags = p.tags
		p.expectGroup("s")
		p.tags = append(tags, p.tags...)
		p.say("$1 OK done", "$2 OK done")
	})
	var f fates
	if err := f.append(t.Context(), s, plainUploads("a", text, text, text, text, text, text+text+text+text+"x", "b", text)...); err != nil || len(f.done) != 9 {
		t.Errorf("%v, %d done", err, len(f.done))
	}
	f = fates{}
	if err := f.append(t.Context(), s, plainUploads(strings.Split(strings.Repeat("s", groupMessages+1), "")...)...); err != nil || len(f.done) != groupMessages+1 {
		t.Errorf("%v, %d done", err, len(f.done))
	}
}

func TestRefusedGroupIsSentOneByOne(t *testing.T) {
	s := preauthBy(t, "Cyrus IMAP ready", multi, Config{}, func(p *script) {
		p.expectGroup("one", "bad", "two")
		p.say("$1 NO [CANNOT] one of them is bad")
		for i, text := range []string{"one", "bad", "two"} {
			p.expectGroup(text)
			p.say([]string{"$1 OK [APPENDUID 7 1] done", "$1 NO [CANNOT] this is", "$1 OK [APPENDUID 7 2] done"}[i])
		}
		p.expectGroup("next", "time")
		p.say("$1 OK [APPENDUID 7 3:4] done")
	})
	var f fates
	if err := f.append(t.Context(), s, plainUploads("one", "bad", "two")...); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(f.log, ","); got != "sent 0,sent 1,sent 2,done 0,done 1,done 2" {
		t.Error(got)
	}
	if e, ok := errors.AsType[*remote.Error](f.done[1].Err); !ok || e.Text != "this is" || !slices.Equal(f.uids(), []mail.UID{1, 0, 2}) {
		t.Errorf("%+v", f.done)
	}
	if err := f.append(t.Context(), s, plainUploads("next", "time")...); err != nil {
		t.Error(err)
	}
}

func TestGroupThatTheServerDoesNotUnderstand(t *testing.T) {
	s := preauthBy(t, "Cyrus IMAP ready", multi, Config{}, func(p *script) {
		p.expectGroup("one", "two")
		p.say("$1 BAD garbage behind the literal")
		for range 2 {
			var tags []string
			for _, text := range []string{"one", "two"} {
				p.expectGroup(text)
				tags = append(tags, p.tags...)
			}
			p.tags = tags
			p.say("$1 OK done", "$2 OK done")
		}
	})
	for range 2 {
		var f fates
		if err := f.append(t.Context(), s, plainUploads("one", "two")...); err != nil || len(f.done) != 2 || f.done[0].Err != nil || f.done[1].Err != nil {
			t.Errorf("%v, %+v", err, f)
		}
	}
}

func TestGroupToAMailboxThatIsNotThere(t *testing.T) {
	s := preauthBy(t, "Cyrus IMAP ready", multi, Config{}, func(p *script) {
		p.expectGroup("one", "two")
		p.say("$1 NO [TRYCREATE] no such mailbox")
	})
	var f fates
	err := f.append(t.Context(), s, plainUploads("one", "two")...)
	if err != nil || len(f.done) != 2 || !errors.Is(f.done[0].Err, remote.ErrNoMailbox) || !errors.Is(f.done[1].Err, remote.ErrNoMailbox) {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestWhatCantBeReadIsLeftOutOfItsGroup(t *testing.T) {
	s := preauthBy(t, "Cyrus IMAP ready", multi+" APPENDLIMIT=10", Config{}, func(p *script) {
		p.expectGroup("one", "two")
		p.say("$1 OK [APPENDUID 7 1:2] done")
	})
	denied := errors.New("permission denied")
	short, long := upload("short", mail.Flags{}, time.Time{}), upload("longer", mail.Flags{}, time.Time{})
	short.Size++
	long.Size--
	breaks := remote.Upload{Size: 5, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("abc"), brokenReader{denied})), nil
	}}
	var f fates
	err := f.append(t.Context(), s, append(plainUploads("one", "eleven byte"), short, long, breaks,
		remote.Upload{Size: 5, Open: func() (io.ReadCloser, error) { return nil, denied }}, upload("two", mail.Flags{}, time.Time{}))...)
	if err != nil || len(f.done) != 7 {
		t.Fatalf("%v, %+v", err, f)
	}
	if e, ok := errors.AsType[*remote.Error](f.done[1].Err); !ok || e.Code != "TOOBIG" {
		t.Errorf("%v", f.done[1].Err)
	}
	for _, i := range []int{2, 3} {
		if err := f.done[i].Err; err == nil || remote.ClassOf(err) != 0 || !strings.Contains(err.Error(), "changed") {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if !errors.Is(f.done[4].Err, denied) || !errors.Is(f.done[5].Err, denied) || f.done[6].UID != 2 || fmt.Sprint(f.sent) != "[0 6]" {
		t.Errorf("%+v", f)
	}
	f = fates{}
	if err := f.append(t.Context(), s, short, long); err != nil || len(f.done) != 2 || len(f.sent) != 0 {
		t.Errorf("of a group nothing is left: %v, %+v", err, f)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestGroupsWithoutBoundlessLiterals(t *testing.T) {
	large := strings.Repeat("x", shortLiteral+1)
	s := preauthBy(t, "Cyrus IMAP ready", "IMAP4rev1 LITERAL- UIDPLUS MULTIAPPEND", Config{}, func(p *script) {
		p.expectGroup("one", "two")
		tags := p.tags
		p.expect(fmt.Sprintf(`APPEND "INBOX" {%d}`, len(large)))
		tags = append(tags, p.tags...)
		p.say("+ go on")
		p.literal(len(large))
		p.line()
		p.expectGroup("three")
		p.tags = append(tags, p.tags...)
		p.say("$1 OK [APPENDUID 7 1:2] done", "$2 OK [APPENDUID 7 3] done", "$3 OK [APPENDUID 7 4] done")
	})
	var f fates
	if err := f.append(t.Context(), s, plainUploads("one", "two", large, "three")...); err != nil || !slices.Equal(f.uids(), []mail.UID{1, 2, 3, 4}) {
		t.Errorf("%v, %+v", err, f)
	}
}

func TestWhoCantGroup(t *testing.T) {
	for _, tc := range []struct {
		server, caps string
		commands     int
	}{
		{"Dovecot", multi, 1},
		{"Cyrus IMAP", multi, 1},
		{"Dovecot", "IMAP4rev1 LITERAL+ MULTIAPPEND", 2},
		{"Dovecot", "IMAP4rev1 LITERAL+ UIDPLUS", 2},
		{"Dovecot", "IMAP4rev1 UIDPLUS MULTIAPPEND", 2},
		{"Stalwart", multi, 2}, // stores what comes before the message that it refuses
		{"", multi, 2},
	} {
		a := &appending{s: &Session{caps: parseCaps(tc.caps, nil), serverName: tc.server}, mailbox: inbox, uploads: plainUploads("one", "two")}
		a.uidPlus = strings.Contains(tc.caps, "UIDPLUS")
		if n := len(a.commands()); n != tc.commands {
			t.Errorf("%s with %s: %d commands", tc.server, tc.caps, n)
		}
	}
}

func TestUIDsOfAGroup(t *testing.T) {
	for arg, want := range map[string][]mail.UID{
		"7 1:3": {1, 2, 3}, "7 1,5,9": {1, 5, 9}, "7 1:2,9": {1, 2, 9}, "7 1:2": nil, "7 1:4": nil, "7 3,2,1": nil, "7 1,1,2": nil, "7 1:2,2": nil,
		"7 4294967293:4294967295": {4294967293, 4294967294, 4294967295}, "7 1:4294967295": nil, "7": nil, "": nil, "7 1:3 x": nil, "x 1:3": nil, "7 1:*": nil,
	} {
		validity, got := appendUIDs(status{code: "APPENDUID", arg: arg}, 3)
		if !slices.Equal(got, want) || (want != nil) != (validity == 7) {
			t.Errorf("%s: %v under %d", arg, got, validity)
		}
	}
}

func TestSessionThatDiesDuringAGroup(t *testing.T) {
	s := preauthBy(t, "Cyrus IMAP ready", multi, Config{}, func(p *script) {
		p.expectGroup("one", "two")
		_ = p.c.Close()
	})
	var f fates
	err := f.append(t.Context(), s, plainUploads("one", "two")...)
	if remote.ClassOf(err) != remote.Lost || len(f.done) != 0 || fmt.Sprint(f.sent) != "[0 1]" {
		t.Errorf("%v, %+v", err, f)
	}
}

// TestQuotaInTheMiddleOfAGroup: what there is room for is stored, the rest is refused each for itself.
func TestQuotaInTheMiddleOfAGroup(t *testing.T) {
	const room, n = 130, 250
	s := dial(t, configFor(servers.Dovecot(t, servers.Options{Quota: fmt.Sprintf("*:messages=%d", room)})))
	var uploads []remote.Upload
	for i := range n {
		uploads = append(uploads, upload(letter(i), mail.Flags{}, time.Time{}))
	}
	fates := appendAll(t, s, "INBOX", uploads...)
	box := remote.Box{Name: "INBOX"}
	stored := 0
	var uids []mail.UID
	for i, fate := range fates {
		if fate.Err == nil {
			stored++
			uids = append(uids, fate.UID)
			box.UIDValidity = fate.UIDValidity
		} else if e, ok := errors.AsType[*remote.Error](fate.Err); !ok || e.Code != "OVERQUOTA" {
			t.Fatalf("message %d: %v", i, fate.Err)
		}
	}
	ch, err := s.Changes(t.Context(), box, remote.Since{})
	if err != nil || stored != room || len(ch.New) != room {
		t.Fatalf("%d are stored, %d are there, %v", stored, len(ch.New), err)
	}
	texts, _ := bodiesOf(t, s, box, uids...)
	for i, fate := range fates {
		if fate.Err == nil && texts[fate.UID] != letter(i) {
			t.Errorf("message %d was said to be %d, which is %q", i, fate.UID, texts[fate.UID])
		}
	}
}
