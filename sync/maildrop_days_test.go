package sync_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/popserver"
	mailsync "github.com/satchel-mail/satchel/sync"
)

const month = 31 * 24 * time.Hour

// TestMaildropDueAgain: what was due and could not be deleted is tried again by the next sync, though nothing changed meanwhile.
func TestMaildropDueAgain(t *testing.T) {
	for _, q := range []popserver.Quirks{{HangUpAtQuit: true}, {RefuseDele: true}, {Quit: "-ERR no"}} {
		w := newPopWorld(t, 30*24*time.Hour, pops(3)...)
		w.brought(3, 0)
		w.brought(0, 0)
		w.now = w.now.Add(month)
		w.server.Set(q)
		if r := w.run(mailsync.Options{}); r.ToServer.Deleted != 0 || r.Fatal == nil && len(r.Errors) == 0 {
			t.Errorf("%+v: %+v", q, r)
		}
		w.server.Set(popserver.Quirks{})
		w.brought(0, 3)
		w.brought(0, 0)
	}
}

// TestMaildropDueElsewhere: a sync of another folder deletes nothing and forgets nothing.
func TestMaildropDueElsewhere(t *testing.T) {
	w := newPopWorld(t, 30*24*time.Hour, pops(3)...)
	w.own("Work", "From: me@example.org\nMessage-ID: <own@example.org>\n\nown\n")
	w.brought(3, 0)
	w.brought(0, 0)
	w.now = w.now.Add(month)
	if r := w.run(mailsync.Options{Targets: []mail.FolderName{"Work"}}); r.ToServer.Deleted != 0 || r.Fatal != nil {
		t.Errorf("%+v", r)
	}
	w.brought(0, 3)
}

// TestMaildropTimeBeginsAnew: of what comes back, or was here before the server had it, it is not known how long it has been there: it stays its
// whole time.
func TestMaildropTimeBeginsAnew(t *testing.T) {
	all := pops(5)
	w := newPopWorld(t, 30*24*time.Hour, all...)
	w.brought(5, 0)
	w.remove(all[0])
	w.brought(0, 0)
	w.server.Put()
	w.brought(0, 0)
	w.now = w.now.Add(month)
	w.server.Put(all...)
	w.brought(0, 0)
	w.server.Put(append(all, pop("new", 9))...)
	w.brought(1, 0)

	m := pop("m", 1)
	w = newPopWorld(t, forever)
	old := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(w.own("Work", strings.ReplaceAll(m.Body, "\r\n", "\n")), old, old); err != nil {
		t.Fatal(err)
	}
	w.brought(0, 0)
	w.set.LeaveFor = 30 * 24 * time.Hour
	w.server.Put(m)
	w.brought(0, 0)
	w.server.Put(m, pop("new", 3))
	w.brought(1, 0)
	w.now = w.now.Add(month)
	w.brought(0, 2)
}

// TestMaildropRefusedComesAgain: what was refused, and not listed once, is not taken for what the person has deleted.
func TestMaildropRefusedComesAgain(t *testing.T) {
	m := pop("m", 1)
	w := newPopWorld(t, 0, m)
	w.server.Set(popserver.Quirks{Refuse: "m"})
	if r := w.run(mailsync.Options{}); len(r.Errors) != 1 {
		t.Fatalf("%+v", r)
	}
	w.server.Put()
	w.brought(0, 0)
	w.server.Put(m)
	w.server.Set(popserver.Quirks{})
	w.brought(1, 1)
	w.has(m)
}
