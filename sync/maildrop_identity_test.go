package sync_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// own writes a file of the person's into a folder.
func (w *popWorld) own(folder, text string) string {
	w.t.Helper()
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(w.set.Root, folder, d), 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	path := filepath.Join(w.set.Root, folder, "cur", "1.own.host:2,S")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// move moves the file of a message to another folder.
func (w *popWorld) move(m popserver.Message, folder string) {
	w.t.Helper()
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.MkdirAll(filepath.Join(w.set.Root, folder, d), 0o700); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, p := range w.paths() {
		if b, err := os.ReadFile(p); err == nil && strings.ReplaceAll(string(b), "\n", "\r\n") == m.Body {
			if err := os.Rename(p, filepath.Join(w.set.Root, folder, "cur", filepath.Base(p)+":2,")); err != nil {
				w.t.Fatal(err)
			}
			return
		}
	}
	w.t.Fatalf("no file holds %q", m.Body)
}

// noted is m as a server sends it that keeps notes in the header.
func noted(m popserver.Message, note string) popserver.Message {
	m.Body = strings.Replace(m.Body, "\r\n\r\n", "\r\n"+note+"\r\n\r\n", 1)
	return m
}

// numbered gives the messages their numbers for names.
func numbered(mail ...popserver.Message) []popserver.Message {
	for i := range mail {
		mail[i].ID = fmt.Sprint(i + 1)
	}
	return mail
}

// anew gives the messages other names.
func anew(mail []popserver.Message) []popserver.Message {
	out := slices.Clone(mail)
	for i := range out {
		out[i].ID = "n" + out[i].ID
	}
	return out
}

// TestMaildropStatus: a message is the same one when the server has noted in its header that it was read, and lies here as it was sent.
func TestMaildropStatus(t *testing.T) {
	for _, q := range []popserver.Quirks{{}, {NoUIDL: true}, {NoTOP: true}} {
		for _, first := range []string{"", "Status: U "} {
			a := pops(3)
			if first != "" {
				for i := range a {
					a[i] = noted(a[i], first)
				}
			}
			b := slices.Clone(pops(3))
			for i := range b {
				b[i] = noted(b[i], "Status: RO")
			}
			w := newPopWorld(t, 30*24*time.Hour, a...)
			w.server.Set(q)
			w.brought(3, 0)
			w.server.Put(b...)
			w.brought(0, 0)
			w.brought(0, 0)
			w.has(a...)
			for _, deep := range []bool{false, true} {
				v := mailsync.Verify(t.Context(), w.set, mailsync.World{Dialer: w.dialer()}, mailsync.VerifyOptions{Deep: deep})
				if v.Fatal != nil || len(v.Errors) > 0 || len(v.Differences) > 0 || v.Messages != 3 || deep && v.Rewritten != 3 {
					t.Errorf("deep %v: %+v", deep, v)
				}
			}
			w.now = w.now.Add(31 * 24 * time.Hour)
			w.brought(0, 3)
			w.has(a...)
			// The server is of another mind.
			w.server.Put(b...)
			w.brought(0, 0)
			w.has(a...)
		}
	}
}

// TestMaildropMigration: the mailbox is on another server, where names and sizes are others; what the person has moved to another folder
// or deleted is known there too, also if the new server was empty at first.
func TestMaildropMigration(t *testing.T) {
	for _, emptyFirst := range []bool{false, true} {
		for _, messageID := range []bool{true, false} {
			all := pops(5)
			for i := range all {
				if !messageID {
					all[i].Body = strings.Replace(all[i].Body, "Message-ID", "X-Number", 1)
				}
			}
			w := newPopWorld(t, forever, all...)
			w.brought(5, 0)
			w.move(all[1], "Work")
			w.brought(0, 0)
			w.remove(all[2])
			w.brought(0, 0)
			if emptyFirst {
				w.server.Put()
				w.brought(0, 0)
			} else {
				w.server.Set(popserver.Quirks{Size: func(m popserver.Message) int { return len(m.Body) - 6 }})
			}
			w.server.Put(anew(all)...)
			if emptyFirst && !messageID {
				w.brought(1, 0) // of what was deleted nothing is known but a header that may be another's
				continue
			}
			w.brought(0, 0)
			w.server.Put(append(anew(all), pop("fresh", 9))...)
			w.brought(1, 0)
			w.brought(0, 0)
			w.has(all[0], all[1], all[3], all[4], pop("", 9))
			w.set.LeaveFor = 0
			w.brought(0, 6)
		}
	}
}

// TestMaildropAllOthers: somebody else has emptied the mailbox, and new mail is there.
func TestMaildropAllOthers(t *testing.T) {
	w := newPopWorld(t, forever, pops(3)...)
	w.brought(3, 0)
	w.server.Put(pop("a", 7), pop("b", 8))
	w.brought(2, 0)
	before := w.server.Sessions()
	w.brought(0, 0)
	w.brought(0, 0)
	retrieved := w.server.Retrieved()
	w.server.Put(append(pops(3), pop("a", 7), pop("b", 8))...)
	w.brought(0, 0)
	if n := w.server.Retrieved() - retrieved; n != 0 || w.server.Sessions() == before {
		t.Errorf("%d messages were read again", n)
	}
	w.has(append(pops(3), pop("", 7), pop("", 8))...)
}

// TestMaildropWithoutUIDLIgnoresDele: what was deleted and is still there is told again to go, and not delivered again.
func TestMaildropWithoutUIDLIgnoresDele(t *testing.T) {
	mail := pops(4)
	mail = append(mail, mail[2])
	mail = append(mail, popserver.Message{ID: "x", Body: "Subject: no id\r\n\r\ntext\r\n"})
	w := newPopWorld(t, 0, mail...)
	w.server.Set(popserver.Quirks{NoUIDL: true, IgnoreDele: true})
	w.brought(6, 6)
	for range 3 {
		w.brought(0, 6)
	}
	w.remove(mail[0]) // and is not brought back
	for range 3 {
		if r := w.sync(); r.ToMaildir.New != 0 {
			t.Fatalf("%+v", r.ToMaildir)
		}
	}
	w.server.Set(popserver.Quirks{NoUIDL: true})
	w.server.Put(append(w.server.Mail(), pop("y", 77))...)
	w.brought(1, 6)
}

// TestMaildropNumberNames: names that are numbers, given out anew in every session, double nothing and delete nothing unseen.
func TestMaildropNumberNames(t *testing.T) {
	for _, sizes := range []bool{false, true} {
		mail := pops(8)
		if sizes {
			for i := range mail {
				mail[i].Body += strings.Repeat("x", i%3) + "\r\n"
			}
		}
		take := func(which ...int) (out []popserver.Message) {
			for _, i := range which {
				out = append(out, mail[i])
			}
			return numbered(out...)
		}
		w := newPopWorld(t, 30*24*time.Hour, take(0, 1, 2, 3, 4, 5)...)
		w.brought(6, 0)
		w.server.Put(take(1, 2, 3, 4, 5)...) // somebody else deleted the first
		w.brought(0, 0)
		w.server.Put(take(3, 4, 5, 6)...)
		fresh := w.sync().ToMaildir.New // that there is a new one may not show
		w.now = w.now.Add(31 * 24 * time.Hour)
		for range 4 {
			fresh += w.sync().ToMaildir.New
		}
		if fresh != 1 {
			t.Errorf("different sizes %v: %d are new", sizes, fresh)
		}
		w.has(mail[:7]...)
		if !sizes {
			continue // a new one that is as large as the one that had its name before does not show
		}
		w.server.Put(take(6, 7)...)
		w.sync()
		w.sync()
		w.has(mail...)
	}
}

// TestMaildropWithoutUIDLDisappears: a listing without names is empty for once, or cut short. What the person has deleted, before that or meanwhile, or
// has moved, is known when it is listed again.
func TestMaildropWithoutUIDLDisappears(t *testing.T) {
	for _, left := range []int{0, 3} {
		for _, before := range []bool{true, false} {
			for _, messageID := range []bool{true, false} {
				t.Run(fmt.Sprintf("%d left, deleted before %v, with Message-ID %v", left, before, messageID), func(t *testing.T) {
					mail := pops(5)
					for i := range mail {
						if !messageID {
							mail[i].Body = strings.Replace(mail[i].Body, "Message-ID", "X-Number", 1)
						}
					}
					w := newPopWorld(t, forever, mail...)
					w.server.Set(popserver.Quirks{NoUIDL: true})
					w.brought(5, 0)
					w.move(mail[2], "Work")
					w.remove(mail[3])
					w.remove(mail[4])
					if before {
						w.brought(0, 0)
					}
					for range 2 {
						w.server.Put(mail[:left]...)
						w.brought(0, 0)
						w.brought(0, 0)
						w.server.Put(mail...)
						w.brought(0, 0)
					}
					w.has(mail[:3]...)
				})
			}
		}
	}
}

// TestMaildropOtherUIDLsAndAContradiction: all names are others, and in the session in which that shows the server's numbers contradict each other.
func TestMaildropOtherUIDLsAndAContradiction(t *testing.T) {
	mail := pops(4)
	w := newPopWorld(t, forever, mail...)
	w.brought(4, 0)
	w.remove(mail[3])
	w.brought(0, 0)
	w.server.Put(anew(mail)...)
	w.server.Set(popserver.Quirks{Stat: 1})
	w.brought(0, 0)
	w.server.Set(popserver.Quirks{})
	w.brought(0, 0)
	w.brought(0, 0)
	w.has(mail[:3]...)
}
