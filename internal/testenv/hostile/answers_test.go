//go:build !race

package hostile_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/hostile"
)

// TestStatusWithoutMessages: STATUS leaves out how many messages there are. A mailbox in which one has just arrived is not deleted.
func TestStatusWithoutMessages(t *testing.T) {
	for _, tt := range []struct{ name, pattern, replacement string }{
		{"left out", `MESSAGES \d+ `, ""},
		{"two lines", `^\* STATUS (\S+) \(.*$`, "$0\r\n* STATUS $1 (HIGHESTMODSEQ 99)"},
	} {
		for _, caps := range []string{hostile.Able, hostile.Mid, hostile.Bare} {
			t.Run(tt.name+"/"+caps, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, caps, patient)
				w.honest()
				w.must(os.RemoveAll(w.folder("Work/Old")))
				arrived := false
				re := regexp.MustCompile(tt.pattern)
				w.server.Play(func(x *hostile.Exchange) {
					if !x.Is("STATUS") || !strings.Contains(x.Args, "Old") && !strings.Contains(x.Args, "satchel-deleting") {
						return
					}
					if len(w.server.Contents()["Work/Old"]) == 0 && !arrived {
						arrived = true // right before it is looked whether the mailbox is empty
						w.server.Append("Work/Old", text("arrived"))
					}
					for i := range x.Untagged {
						x.Untagged[i] = re.ReplaceAllString(x.Untagged[i], tt.replacement)
						x.Untagged[i] = strings.ReplaceAll(x.Untagged[i], "MESSAGES 0", "MESSAGES 1") // it has come before
					}
				})
				for range 2 {
					w.sync(patient)
				}
				w.server.Play(nil)
				w.sync(patient)
				there := w.count(text("arrived")) > 0
				for _, texts := range w.server.Contents() {
					there = there || slices.Contains(texts, text("arrived"))
				}
				if !arrived || !there {
					t.Errorf("the message that arrived (%v) is nowhere any more", arrived)
				}
			})
		}
	}
}

var emptySearch = regexp.MustCompile(`^\* E?SEARCH( \(TAG "[^"]*"\))?( UID)?$`)

// silentWhereNothingIsFound is what iCloud does (home-assistant/core#132042).
func silentWhereNothingIsFound(x *hostile.Exchange) {
	if x.Is("UID SEARCH") {
		x.Untagged = slices.DeleteFunc(x.Untagged, emptySearch.MatchString)
	}
}

// TestNoAnswerWhereNothingIsFound: what others deleted is deleted, and what the person deleted, on servers that have no answer to a search
// that finds nothing: iCloud sends no line, Proton Bridge (gluon#478) says NO if the mailbox is empty.
func TestNoAnswerWhereNothingIsFound(t *testing.T) {
	for _, tt := range []struct {
		name    string
		prepare func(w *world)
		act     hostile.Act
		gone    []string
	}{
		{"deleted on the server", func(w *world) { w.honest(); w.server.Remove("Archive", 2) }, silentWhereNothingIsFound, []string{"archive1"}},
		{"deleted in the Maildir", func(*world) {}, silentWhereNothingIsFound, []string{"old1"}},
		{"the last one is deleted", func(w *world) {
			w.honest()
			w.server.Change("Work/Old", func(b *hostile.Mailbox) { b.Messages = nil })
		}, hostile.On(inBox("Work/Old", asking("UID ", func(x *hostile.Exchange) { x.Untagged, x.Result = nil, "NO no such message" })), "UID SEARCH"),
			[]string{"old0", "old2"}},
	} {
		for _, caps := range []string{hostile.Mid, hostile.Bare, "IMAP4rev1 LITERAL+ UIDPLUS ESEARCH CONDSTORE UNSELECT"} {
			t.Run(tt.name+"/"+caps, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, caps, patient)
				tt.prepare(w)
				w.server.Play(tt.act)
				for range 2 {
					w.honest()
				}
				for _, subject := range tt.gone {
					if n := w.count(text(subject)); n != 0 {
						t.Errorf("%s was deleted, and the Maildir has it %d times", subject, n)
					}
				}
			})
		}
	}
}

// TestMailboxWithAPatternForAName: for once it is not listed, and STATUS fails without saying why. LIST of its name shows that it is there.
func TestMailboxWithAPatternForAName(t *testing.T) {
	for _, name := range []string{"100%", "a*b"} {
		for _, caps := range []string{hostile.Able, hostile.Bare} {
			t.Run(name+"/"+caps, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, caps, patient)
				w.server.Create(name)
				w.server.Append(name, text("in it"))
				w.honest()
				w.server.Play(all(asking(`"*"`, hostile.On(func(x *hostile.Exchange) {
					x.Untagged = slices.DeleteFunc(x.Untagged, func(line string) bool { return strings.Contains(line, name) })
				}, "LIST")), asking(name, hostile.On(func(x *hostile.Exchange) { x.Untagged, x.Result = nil, "NO sorry" }, "STATUS"))))
				w.clear(w.sync(patient))
				if n := w.count(text("in it")); n != 1 {
					t.Errorf("the Maildir has it %d times now", n)
				}
				w.server.Play(nil)
				w.server.Discard(name)
				w.honest()
				if n := w.count(text("in it")); n != 0 {
					t.Errorf("the mailbox is gone, and the Maildir has the message %d times", n)
				}
			})
		}
	}
}

// TestAnswersThatSayLess: what the server kept back in one run comes with the next. In that run somebody had stored a message, and deleted another.
func TestAnswersThatSayLess(t *testing.T) {
	late := func(w *world) { w.server.Append("Archive", text("late")) }
	deleted := func(w *world) { w.server.Remove("Archive", 2) }
	for _, tt := range []struct {
		name    string
		prepare func(w *world)
		act     hostile.Act
		came    int // of the message that somebody stored
		left    int // of the one that may be deleted
	}{
		{"a new message without FLAGS", late, edit(`FLAGS \(\) `, "", "UID FETCH"), 1, 1},
		{"a new message is withheld, and another one is gone", func(w *world) { late(w); deleted(w) }, without(`FETCH \(UID 6 `, "UID FETCH", "SELECT"), 1, 0},
		{"one message less than there are", deleted, all(without(`VANISHED`), without(`FETCH \(UID 3`, "UID FETCH"), edit(`(SEARCH .*)\b3\b`, "$1", "UID SEARCH")), 0, 0},
	} {
		for _, caps := range []string{hostile.Able, hostile.Mid, hostile.Bare} {
			t.Run(tt.name+"/"+caps, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, caps, patient)
				w.honest()
				tt.prepare(w)
				w.server.Play(tt.act)
				w.sync(patient)
				w.server.Play(nil)
				w.sync(patient)
				w.honest()
				if came, left := w.count(text("late")), w.count(text("archive1")); came != tt.came || left != tt.left {
					t.Errorf("what came is there %d times, want %d; what may be deleted %d times, want %d", came, tt.came, left, tt.left)
				}
			})
		}
	}
}

// TestOneMoreThanIsShown: the number of messages is always one too high. It is said that what was deleted can't be told.
func TestOneMoreThanIsShown(t *testing.T) {
	more := regexp.MustCompile(`^\* (\d+) EXISTS|MESSAGES (\d+)`)
	number := regexp.MustCompile(`\d+`)
	for _, caps := range []string{hostile.Able, hostile.Bare} { // with CONDSTORE alone nothing shows
		t.Run(caps, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, caps, patient)
			w.honest()
			w.server.Remove("Archive", 2)
			w.server.Play(func(x *hostile.Exchange) {
				for i, line := range x.Untagged {
					if x.Box == "Archive" && strings.Contains(line, "EXISTS") || strings.Contains(line, "STATUS \"Archive\"") {
						x.Untagged[i] = more.ReplaceAllStringFunc(line, func(s string) string {
							return number.ReplaceAllStringFunc(s, func(n string) string { v, _ := strconv.Atoi(n); return strconv.Itoa(v + 1) })
						})
					}
				}
			})
			said := false
			for range 3 {
				res := w.sync(patient)
				said = said || res.Fatal != nil || len(res.Errors) > 0
			}
			if n := w.count(text("archive1")); n != 0 && !said {
				t.Errorf("it was deleted on the server, the Maildir has it %d times, and all is said to be well", n)
			}
		})
	}
}
