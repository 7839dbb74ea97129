//go:build !race

package hostile_test

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/hostile"
)

// all plays several acts at once.
func all(acts ...hostile.Act) hostile.Act {
	return func(x *hostile.Exchange) {
		for _, act := range acts {
			act(x)
		}
	}
}

// edit replaces what a pattern finds in all untagged lines.
func edit(pattern, replacement string, verbs ...string) hostile.Act {
	re := regexp.MustCompile(pattern)
	return func(x *hostile.Exchange) {
		if len(verbs) > 0 && !x.Is(verbs...) {
			return
		}
		for i := range x.Untagged {
			x.Untagged[i] = re.ReplaceAllString(x.Untagged[i], replacement)
		}
	}
}

// without leaves untagged lines out.
func without(pattern string, verbs ...string) hostile.Act {
	re := regexp.MustCompile(pattern)
	return hostile.On(func(x *hostile.Exchange) { x.Untagged = slices.DeleteFunc(x.Untagged, re.MatchString) }, verbs...)
}

// adding says more lines after the others.
func adding(line string, verbs ...string) hostile.Act {
	return hostile.On(func(x *hostile.Exchange) { x.Untagged = append(x.Untagged, line) }, verbs...)
}

// asking narrows an act down to commands whose arguments hold a text.
func asking(text string, act hostile.Act) hostile.Act {
	return func(x *hostile.Exchange) {
		if strings.Contains(x.Args, text) {
			act(x)
		}
	}
}

// bodies narrows an act down to the messages themselves.
func bodies(act hostile.Act) hostile.Act { return asking("BODY.PEEK[]", act) }

func inBox(name string, act hostile.Act) hostile.Act {
	return func(x *hostile.Exchange) {
		if x.Box == name {
			act(x)
		}
	}
}

const everything = "* VANISHED (EARLIER) 1:4294967295"

// lies are acts by servers that contradict themselves, or say what can't be. Whatever the run makes of it, no message that was
// agreed goes, and the next run with an honest server puts everything right.
var lies = []struct {
	name  string
	caps  string // empty: Able
	act   hostile.Act
	fails bool // the run must say that something failed
}{
	// How many messages there are.
	{name: "EXISTS shrinks to 0 without an EXPUNGE", act: adding("* 0 EXISTS", "UID FETCH")},
	{name: "SELECT has none, STATUS and FETCH have them", act: edit(`^\* \d+ EXISTS`, "* 0 EXISTS", "SELECT")},
	{name: "the same without extensions", caps: hostile.Bare, act: edit(`^\* \d+ EXISTS`, "* 0 EXISTS", "SELECT")},
	{name: "STATUS has none, SELECT has them", act: edit(`MESSAGES \d+`, "MESSAGES 0")},
	{name: "STATUS has none and another mod-sequence, SELECT has them", act: edit(`MESSAGES \d+(.*)HIGHESTMODSEQ \d+`, "MESSAGES 0${1}HIGHESTMODSEQ 999")},
	{name: "STATUS and SELECT have none, FETCH and SEARCH have them", act: all(edit(`MESSAGES \d+`, "MESSAGES 0"), edit(`^\* \d+ EXISTS`, "* 0 EXISTS", "SELECT"))},
	{name: "EXISTS counts one less than there are", act: edit(`^\* \d+ EXISTS`, "* 2 EXISTS", "SELECT")},
	{name: "the same with CONDSTORE only", caps: hostile.Mid, act: edit(`^\* \d+ EXISTS`, "* 2 EXISTS", "SELECT")},
	{name: "EXISTS counts four thousand million", act: edit(`^\* \d+ EXISTS`, "* 4294967295 EXISTS"), fails: true},
	{name: "SEARCH finds nothing", caps: hostile.Mid, act: all(edit(`^\* \d+ EXISTS`, "* 3 EXISTS", "SELECT"), edit(`^\* SEARCH.*`, "* SEARCH"))},
	{name: "SEARCH finds nothing, ESEARCH", act: all(edit(`^\* \d+ EXISTS`, "* 3 EXISTS", "SELECT"), edit(`^\* ESEARCH.*`, "* ESEARCH UID"))},
	{name: "SEARCH finds others", caps: hostile.Mid, act: all(edit(`^\* \d+ EXISTS`, "* 3 EXISTS", "SELECT"), edit(`^\* SEARCH.*`, "* SEARCH 100 200 300"))},
	{name: "FETCH tells nothing", caps: hostile.Bare, act: without(` FETCH `, "UID FETCH")},
	{name: "FETCH and SEARCH tell nothing, EXISTS has them", caps: hostile.Bare, act: all(without(` FETCH `, "UID FETCH"), edit(`^\* SEARCH.*`, "* SEARCH"))},
	{name: "FETCH tells every second message", caps: hostile.Bare, act: without(`UID \d*[13579] `, "UID FETCH")},
	{name: "nothing but OK to whatever is asked", act: hostile.On(func(x *hostile.Exchange) { x.Say() },
		"LIST", "STATUS", "SELECT", "UID FETCH", "UID SEARCH", "ID", "NAMESPACE", "ENABLE")},
	{name: "nothing but OK in the mailboxes", act: hostile.On(func(x *hostile.Exchange) { x.Say() }, "STATUS", "SELECT", "UID FETCH", "UID SEARCH"), fails: true},
	{name: "NO to whatever is asked", act: func(x *hostile.Exchange) {
		if !x.Is("GREETING", "LOGIN", "CAPABILITY") {
			x.Untagged, x.Result = nil, "NO no"
		}
	}, fails: true},
	{name: "BAD to whatever is asked", act: func(x *hostile.Exchange) {
		if !x.Is("GREETING", "LOGIN", "CAPABILITY") {
			x.Untagged, x.Result = nil, "BAD what?"
		}
	}, fails: true},

	// What vanished.
	{name: "VANISHED for everything, EXISTS has them", act: adding(everything, "SELECT")},
	{name: "VANISHED for 1:*", act: adding("* VANISHED (EARLIER) 1:*", "SELECT")},
	{name: "VANISHED for everything after SELECT", act: adding("* VANISHED 1:4294967295", "UID FETCH")},
	{name: "VANISHED for everything after every command", act: func(x *hostile.Exchange) { x.Untagged = append(x.Untagged, "* VANISHED 1:4294967295") }},
	{name: "VANISHED for everything without QRESYNC", caps: hostile.Mid, act: adding(everything, "SELECT", "UID FETCH")},
	{name: "EXPUNGE for everything, FETCH has them", act: hostile.On(func(x *hostile.Exchange) {
		for range 20 {
			x.Untagged = append(x.Untagged, "* 1 EXPUNGE")
		}
	}, "UID FETCH")},

	// What a UID means.
	{name: "UIDVALIDITY changes between STATUS and SELECT", act: edit(`UIDVALIDITY \d+`, "UIDVALIDITY 77", "SELECT"), fails: true},
	{name: "UIDVALIDITY changes between SELECT and FETCH", act: adding("* OK [UIDVALIDITY 77] other", "UID FETCH"), fails: true},
	{name: "UIDVALIDITY changes with every word", act: func() hostile.Act {
		n := 5000
		re := regexp.MustCompile(`UIDVALIDITY \d+`)
		return func(x *hostile.Exchange) {
			for i := range x.Untagged {
				n++
				x.Untagged[i] = re.ReplaceAllString(x.Untagged[i], fmt.Sprint("UIDVALIDITY ", n))
			}
		}
	}(), fails: true},
	{name: "another UIDVALIDITY throughout", act: edit(`UIDVALIDITY \d+`, "UIDVALIDITY 77")},
	{name: "UIDVALIDITY 0", act: edit(`UIDVALIDITY \d+`, "UIDVALIDITY 0")},
	{name: "no UIDVALIDITY", act: all(edit(` UIDVALIDITY \d+`, ""), without(`\[UIDVALIDITY`, "SELECT"))},
	{name: "UIDVALIDITY is a word", act: edit(`UIDVALIDITY \d+`, "UIDVALIDITY seven")},
	{name: "UIDNEXT goes back to 1", act: edit(`UIDNEXT \d+`, "UIDNEXT 1")},
	{name: "UIDNEXT is below known UIDs", act: edit(`UIDNEXT \d+`, "UIDNEXT 3")},
	{name: "UIDNEXT goes back in SELECT only", act: edit(`UIDNEXT \d+`, "UIDNEXT 2", "SELECT")},
	{name: "UIDNEXT is beyond all", act: edit(`UIDNEXT \d+`, "UIDNEXT 4294967295")},
	{name: "HIGHESTMODSEQ goes backwards", act: edit(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 1")},
	{name: "HIGHESTMODSEQ is 0", act: edit(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 0")},
	{name: "HIGHESTMODSEQ is beyond all", act: edit(`HIGHESTMODSEQ \d+`, "HIGHESTMODSEQ 18446744073709551615")},
	{name: "NOMODSEQ", act: edit(`HIGHESTMODSEQ \d+\]`, "NOMODSEQ]")},
	{name: "FETCH tells UIDs that nobody asked for", act: adding(`* 9 FETCH (UID 4242 FLAGS (\Seen) INTERNALDATE "02-Jun-2025 10:00:00 +0000" RFC822.SIZE 9 MODSEQ (99))`, "UID FETCH")},
	{name: "FETCH tells the highest of all UIDs", act: adding(`* 9 FETCH (UID 4294967295 FLAGS () INTERNALDATE "02-Jun-2025 10:00:00 +0000" RFC822.SIZE 9 MODSEQ (99))`, "UID FETCH")},
	{name: "FETCH tells UID 0", act: edit(`UID \d+ FLAGS`, "UID 0 FLAGS", "UID FETCH")},
	{name: "FETCH tells the same UID for all", act: edit(`UID \d+ FLAGS`, "UID 2 FLAGS", "UID FETCH")},
	{name: "FETCH tells no UID", act: edit(`UID \d+ FLAGS`, "FLAGS", "UID FETCH")},
	{name: "UIDs are turned round", caps: hostile.Bare, act: func(x *hostile.Exchange) {
		if x.Is("UID FETCH") {
			slices.Reverse(x.Untagged)
		}
	}},
	{name: "APPENDUID names another message", act: hostile.On(func(x *hostile.Exchange) { x.Result = "OK [APPENDUID 1001 1] stored" }, "APPEND")},
	{name: "APPENDUID names the highest of all UIDs", act: hostile.On(func(x *hostile.Exchange) { x.Result = "OK [APPENDUID 1001 4294967295] stored" }, "APPEND")},
	{name: "APPENDUID names many", act: hostile.On(func(x *hostile.Exchange) { x.Result = "OK [APPENDUID 1001 1:4294967295] stored" }, "APPEND")},

	// What a message holds.
	{name: "the body is NIL", act: bodies(edit(`(?s)BODY\[\] \{\d+\}.*`, "BODY[] NIL)")), fails: true},
	{name: "the body is an empty literal", act: bodies(edit(`(?s)BODY\[\] \{\d+\}.*`, "BODY[] {0}\r\n)")), fails: true},
	{name: "the body is an empty string", act: bodies(edit(`(?s)BODY\[\] \{\d+\}.*`, `BODY[] "")`)), fails: true},
	{name: "there is no body", act: bodies(edit(`(?s) BODY\[\] \{\d+\}.*`, ")")), fails: true},
	{name: "the body is that of a known message", act: bodies(edit(`UID \d+ FLAGS`, "UID 1 FLAGS")), fails: true},
	{name: "the body is that of a message which nobody asked for", act: bodies(adding("* 1 FETCH (UID 2 FLAGS () INTERNALDATE \"02-Jun-2025 10:00:00 +0000\" BODY[] {5}\r\nwrong)", "UID FETCH"))},
	{name: "RFC822.SIZE is another", act: edit(`RFC822.SIZE \d+`, "RFC822.SIZE 7")},
	{name: "RFC822.SIZE is 0", act: edit(`RFC822.SIZE \d+`, "RFC822.SIZE 0")},
	{name: "RFC822.SIZE is beyond all", act: edit(`RFC822.SIZE \d+`, "RFC822.SIZE 18446744073709551615")},
	{name: "RFC822.SIZE is a word", act: edit(`RFC822.SIZE \d+`, "RFC822.SIZE large")},
	{name: "INTERNALDATE is nonsense", act: edit(`INTERNALDATE "[^"]*"`, `INTERNALDATE "99-Foo-0000 99:99:99 +9999"`)},
	{name: "the body breaks off", act: bodies(hostile.On(func(x *hostile.Exchange) {
		if len(x.Untagged) > 0 {
			line := x.Untagged[0]
			_, _ = x.Write([]byte(line[:len(line)-40]))
			x.Untagged, x.Result, x.End = nil, "", hostile.HangUp
		}
	}, "UID FETCH")), fails: true},
	{name: "a thousand flags", act: edit(`FLAGS \(`, "FLAGS ("+strings.Repeat(`\X `, 500)+strings.Repeat("k ", 500), "UID FETCH", "SELECT")},
	{name: "flags that no keyword can be", act: edit(`FLAGS \(`, `FLAGS (a"b c{3} %* \ ] `, "UID FETCH", "SELECT")},

	// Which mailboxes there are.
	{name: "LIST is empty", act: hostile.On(func(x *hostile.Exchange) { x.Say() }, "LIST"), fails: true},
	{name: "LIST is empty, and STATUS says NO", act: all(hostile.On(func(x *hostile.Exchange) { x.Say() }, "LIST"),
		hostile.On(func(x *hostile.Exchange) { x.Untagged, x.Result = nil, "NO not now" }, "STATUS")), fails: true},
	{name: "LIST lacks the INBOX", act: without(`INBOX`, "LIST"), fails: true},
	{name: "there is no INBOX", act: all(without(`INBOX`, "LIST"), asking("INBOX", hostile.On(func(x *hostile.Exchange) {
		x.Untagged, x.Result = nil, "NO [NONEXISTENT] no such mailbox"
	}, "STATUS", "SELECT"))), fails: true},
	{name: "LIST lacks a mailbox, STATUS has it", act: without(`Archive`, "LIST"), fails: true},
	{name: "LIST * lacks a mailbox, STATUS says NO, LIST of its name has it", act: all(asking("*", without(`Archive`, "LIST")),
		asking("Archive", hostile.On(func(x *hostile.Exchange) { x.Untagged, x.Result = nil, "NO sorry" }, "STATUS"))), fails: true},
	{name: "LIST lacks a mailbox, STATUS says NO [UNAVAILABLE]", act: all(without(`Archive`, "LIST"),
		asking("Archive", hostile.On(func(x *hostile.Exchange) { x.Untagged, x.Result = nil, "NO [UNAVAILABLE] sorry" }, "STATUS"))), fails: true},
	{name: "LIST lacks a mailbox, STATUS says NO [CORRUPTION]", act: all(without(`Archive`, "LIST"),
		asking("Archive", hostile.On(func(x *hostile.Exchange) { x.Untagged, x.Result = nil, "NO [CORRUPTION] sorry" }, "STATUS"))), fails: true},
	{name: "no mailbox can be selected", act: edit(`LIST \(\)`, `LIST (\Noselect)`, "LIST")},
	{name: "no mailbox exists", act: edit(`LIST \(\)`, `LIST (\NonExistent)`, "LIST")},
	{name: "another hierarchy delimiter", act: edit(`LIST \(\) "/"`, `LIST () "."`, "LIST")},
	{name: "no hierarchy delimiter", act: edit(`LIST \(\) "/"`, `LIST () NIL`, "LIST")},
	{name: "another namespace", act: edit(`NAMESPACE .*`, `NAMESPACE (("Archive/" "/")) (("INBOX" "/")) NIL`, "NAMESPACE")},
	{name: "the INBOX four times", act: hostile.On(func(x *hostile.Exchange) {
		x.Untagged = append(x.Untagged, `* LIST () "/" inbox`, `* LIST () "/" Inbox`, `* LIST () "/" "iNBOX"`)
	}, "LIST")},
	{name: "SELECT opens another mailbox", act: func(x *hostile.Exchange) {
		if x.Is("SELECT") {
			x.Say("* FLAGS ()", "* 1 EXISTS", "* OK [UIDVALIDITY 1000] x", "* OK [UIDNEXT 2] x", "* OK [HIGHESTMODSEQ 2] x")
		}
	}},
	{name: "SELECT closes the mailbox again", act: hostile.On(func(x *hostile.Exchange) { x.Untagged = append(x.Untagged, "* OK [CLOSED] gone") }, "SELECT"), fails: true},
	{name: "capabilities come and go", act: hostile.On(func(x *hostile.Exchange) {
		x.Untagged = append(x.Untagged, "* CAPABILITY IMAP4rev1", "* CAPABILITY IMAP4rev1 UIDPLUS COMPRESS=DEFLATE")
	}, "LIST", "SELECT", "UID FETCH")},
}

func TestLies(t *testing.T) {
	for _, tt := range lies {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			caps := tt.caps
			if caps == "" {
				caps = hostile.Able
			}
			w := newWorld(t, caps, patient)
			w.patience(patient) // as a new process: nothing is known of the server
			w.server.Play(tt.act)
			res := w.sync(time.Minute)
			w.acted()
			w.unharmed()
			if tt.fails {
				w.clear(res)
			}
			w.recovers()
		})
	}
}

// TestTwoLies: what a first lie left in the state does not make a second one worse.
func TestTwoLies(t *testing.T) {
	if testing.Short() {
		t.Skip("many pairs")
	}
	for i, first := range lies {
		second := lies[(i+len(lies)/2)%len(lies)]
		if first.caps != second.caps {
			continue
		}
		t.Run(first.name+", then "+second.name, func(t *testing.T) {
			t.Parallel()
			caps := first.caps
			if caps == "" {
				caps = hostile.Able
			}
			w := newWorld(t, caps, patient)
			for i, lie := range []hostile.Act{first.act, second.act} {
				more := strings.Repeat("more", i+1) // which there is to do each time
				w.arrives("INBOX", more)
				w.made("Archive", "mine, "+more)
				w.patience(patient)
				w.server.Play(lie)
				w.sync(time.Minute)
				w.acted()
				w.unharmed()
			}
			w.recovers()
		})
	}
}

// TestTheBodyOfAnother: a server that sends other bytes under the right UID is believed, there is nothing to tell it by; it
// harms that message only.
func TestTheBodyOfAnother(t *testing.T) {
	w := newWorld(t, hostile.Able, patient)
	w.server.Play(bodies(edit(`(?s)BODY\[\] \{\d+\}.*`, "BODY[] {5}\r\nwrong)")))
	res := w.sync(time.Minute)
	if res.Fatal != nil || len(res.Errors) > 0 {
		t.Errorf("%v %v", res.Fatal, res.Errors)
	}
	w.unharmed()
	w.server.Play(nil)
	w.honest()
	w.unharmed()
	for box, texts := range w.server.Contents() {
		if slices.Contains(texts, "wrong") {
			t.Errorf("it was uploaded to %s", box)
		}
	}
}

// TestAnotherMailboxThatIsEmpty: nothing of a lie shows, so what was in the old mailbox goes to the new one. Nothing is lost; with the
// old one back each message is there twice.
func TestAnotherMailboxThatIsEmpty(t *testing.T) {
	w := newWorld(t, hostile.Able, patient)
	w.server.Play(all(edit(`UIDVALIDITY \d+`, "UIDVALIDITY 77"), edit(`MESSAGES \d+ UIDNEXT \d+`, "MESSAGES 0 UIDNEXT 1"),
		edit(`^\* \d+ EXISTS`, "* 0 EXISTS"), edit(`\[UIDNEXT \d+`, "[UIDNEXT 1"), without(` FETCH `, "UID FETCH", "SELECT"), edit(`^\* ESEARCH.*`, "* ESEARCH UID")))
	w.sync(time.Minute)
	w.unharmed()
	w.server.Play(nil)
	w.honest()
	w.unharmed()
	for folder, texts := range w.agreed {
		for _, text := range texts {
			if !slices.Contains(w.server.Contents()[folder], text) {
				t.Errorf("the server has lost %.100q", text)
			}
		}
	}
}

// TestConsistentlyGone: a server that says the same in every way is believed, and what it takes away is kept aside.
func TestConsistentlyGone(t *testing.T) {
	w := newWorld(t, hostile.Able, patient)
	w.server.Change("INBOX", func(b *hostile.Mailbox) {
		b.Messages = slices.DeleteFunc(b.Messages, func(m *hostile.Message) bool { return m.UID < 4 })
	})
	w.server.Play(nil)
	res := w.honest()
	if res.ToMaildir.Deleted != 3 {
		t.Errorf("%d messages were deleted, want 3", res.ToMaildir.Deleted)
	}
	w.contained()
}

// TestEveryTurn: the server says BYE, hangs up, refuses, falls silent, or sends half its answer, at each exchange in turn.
func TestEveryTurn(t *testing.T) {
	const short = 300 * time.Millisecond
	ends := []struct {
		name     string
		patience time.Duration
		do       func(x *hostile.Exchange)
	}{
		{"BYE", patient, func(x *hostile.Exchange) {
			x.Untagged, x.Result, x.End = []string{"* BYE [UNAVAILABLE] going down\x1b[2J"}, "", hostile.HangUp
		}},
		{"BYE after the answer", patient, func(x *hostile.Exchange) { x.Untagged, x.End = append(x.Untagged, "* BYE enough"), hostile.HangUp }},
		{"hang up before the answer", patient, func(x *hostile.Exchange) { x.Untagged, x.Result, x.End = nil, "", hostile.HangUp }},
		{"hang up before the outcome", patient, func(x *hostile.Exchange) { x.Result, x.End = "", hostile.HangUp }},
		{"NO", patient, func(x *hostile.Exchange) {
			if !x.Is("GREETING") {
				x.Untagged, x.Result = nil, "NO [SERVERBUG] not this one"
			}
		}},
		{"half a line", patient, func(x *hostile.Exchange) {
			line := "* OK half"
			if len(x.Untagged) > 0 {
				line = x.Untagged[0]
			}
			_, _ = x.Write([]byte(line[:len(line)/2]))
			x.Untagged, x.Result, x.End = nil, "", hostile.HangUp
		}},
		{"silence before the answer", short, func(x *hostile.Exchange) { x.Untagged, x.Result, x.End = nil, "", hostile.Silence }},
		{"silence before the outcome", short, func(x *hostile.Exchange) { x.Result, x.End = "", hostile.Silence }},
	}
	for _, end := range ends {
		t.Run(end.name, func(t *testing.T) {
			t.Parallel()
			for at, more := 0, true; more; at++ {
				w := newWorld(t, hostile.Able, end.patience)
				w.patience(end.patience) // as a new process: nothing is known of the server
				happened := ""
				w.server.Play(func(x *hostile.Exchange) {
					if x.N == at {
						happened = x.Verb
						end.do(x)
					}
				})
				w.sync(time.Minute)
				w.unharmed()
				w.recovers()
				if more = happened != ""; more && t.Failed() {
					t.Fatalf("at exchange %d, %s", at, happened)
				}
			}
		})
	}
}

// TestAlwaysSilent: no point of a run at which the server says nothing any more keeps it from ending, also when every connection
// meets the same.
func TestAlwaysSilent(t *testing.T) {
	for _, tt := range []struct {
		verb, caps string
		set        func(w *world) // has the run send it
	}{
		{verb: "GREETING"}, {verb: "LOGIN"}, {verb: "ID"}, {verb: "NAMESPACE"}, {verb: "ENABLE"}, {verb: "LIST"}, {verb: "SELECT"}, {verb: "UID FETCH"},
		{verb: "UID STORE"}, {verb: "UID EXPUNGE"}, {verb: "APPEND"},
		{verb: "STATUS", caps: hostile.Bare},
		{verb: "UID SEARCH", caps: hostile.Mid, set: func(w *world) {
			w.server.Remove("INBOX", 1)
			w.forget("INBOX", text("inbox0"))
		}},
		{verb: "UID MOVE", set: func(w *world) { w.carry("INBOX", "Archive", "inbox2") }},
		{verb: "UID COPY", caps: hostile.Mid, set: func(w *world) { w.carry("INBOX", "Archive", "inbox2") }},
		{verb: "CREATE", set: func(w *world) { w.put("New", text("in a new folder"), "") }},
		{verb: "RENAME", set: func(w *world) {
			w.server.Create("Spare")
			w.honest()
			w.must(os.Rename(w.folder("Spare"), w.folder("Kept")))
		}},
	} {
		t.Run(tt.verb, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, cmp.Or(tt.caps, hostile.Able), patient)
			w.patience(300 * time.Millisecond)
			if tt.set != nil {
				tt.set(w)
			}
			w.server.Play(hostile.On(func(x *hostile.Exchange) { x.Untagged, x.Result, x.End = nil, "", hostile.Silence }, tt.verb))
			res := w.sync(20 * time.Second)
			w.acted()
			w.unharmed()
			if tt.verb != "APPEND" { // the next pass finds out what became of it, and may be content
				w.clear(res)
			}
			w.recovers()
		})
	}
}

// TestDrip: a byte now and then is progress, but not enough of it.
func TestDrip(t *testing.T) {
	for _, verb := range []string{"GREETING", "LIST", "SELECT", "UID FETCH"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, hostile.Able, patient)
			w.patience(100 * time.Millisecond)
			w.server.Play(hostile.On(func(x *hostile.Exchange) {
				for range 400 {
					if _, err := x.Write([]byte("*")); err != nil {
						break
					}
					time.Sleep(20 * time.Millisecond)
				}
				x.End = hostile.HangUp
			}, verb))
			w.clear(w.sync(20 * time.Second))
			w.unharmed()
			w.recovers()
		})
	}
}
