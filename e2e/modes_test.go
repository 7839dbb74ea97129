package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/ci"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// dovecot is an account on an ordinary Dovecot, by its tunnel.
func dovecot(t *testing.T) *account {
	t.Helper()
	return newAccount(t, servers.Dovecot(t, servers.Options{}))
}

// synced is such an account whose two sides hold the same: subjects in INBOX, and an empty folder Other.
func synced(t *testing.T, subjects ...string) *account {
	t.Helper()
	a := dovecot(t)
	a.send("INBOX", flags(), subjects...)
	a.client().Create("Other")
	a.sync(0)
	a.holds("INBOX", subjects...)
	return a
}

// sides fails the test unless a folder holds just these subjects on the server and these in the Maildir, each list
// separated by spaces.
func (a *account) sides(folder, wantServer, wantMaildir string) {
	a.t.Helper()
	server, maildir := a.subjects(folder)
	if got := strings.Join(server, " "); got != wantServer {
		a.t.Errorf("%s holds %q on the server, want %q", folder, got, wantServer)
	}
	if got := strings.Join(maildir, " "); got != wantMaildir {
		a.t.Errorf("%s holds %q in the Maildir, want %q", folder, got, wantMaildir)
	}
}

func TestModePull(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.set("mode", `"pull"`)
	a.send("INBOX", flags(), "a", "b", "c", "d")
	a.client().Create("Other")
	a.file("INBOX", "S", "mine")
	a.sync(0)
	a.sides("INBOX", "a b c d", "a b c d mine")
	if s := a.status()["INBOX"]; s.OneSided["one-way"] != 1 {
		t.Errorf("status does not count the message that only the Maildir has: %+v", s)
	}

	a.flag("INBOX", "a", "FS")
	a.remove("INBOX", "b")
	a.move("INBOX", "Other", "c")
	a.client().Store("INBOX", true, flags(`\Answered`), a.uid("INBOX", "d"))
	a.send("INBOX", flags(), "e")
	a.sync(0)
	a.sides("INBOX", "a b c d e", "a b c d e mine")
	a.sides("Other", "", "")
	if f := a.find("INBOX", "a"); f.Flags != "" {
		t.Errorf("flags that were set locally were not taken back: %q", f.Flags)
	}
	if f := a.at("INBOX", "a").Flags; !f.IsZero() {
		t.Errorf("flags that were set locally came to the server: %q", f)
	}
	if f := a.find("INBOX", "d"); f.Flags != "R" {
		t.Errorf("a flag of the server did not come: %q", f.Flags)
	}

	a.client().Move("INBOX", "Other", a.uid("INBOX", "d"))
	a.client().Expunge("INBOX", a.uid("INBOX", "e"))
	a.sync(0)
	a.sides("INBOX", "a b c", "a b c mine")
	a.sides("Other", "d", "d")
	a.quiet()
}

func TestModePush(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.set("mode", `"push"`)
	a.file("INBOX", "", "a", "b", "c", "d")
	a.mkdir("Other")
	a.send("INBOX", flags(), "theirs")
	a.sync(0)
	a.sides("INBOX", "a b c d theirs", "a b c d")

	c := a.client()
	c.Store("INBOX", true, flags(`\Seen`), a.uid("INBOX", "a"))
	c.Expunge("INBOX", a.uid("INBOX", "b"))
	c.Move("INBOX", "Other", a.uid("INBOX", "c"))
	a.flag("INBOX", "d", "R")
	a.file("INBOX", "", "e")
	a.sync(0)
	a.sides("INBOX", "a b c d e theirs", "a b c d e")
	a.sides("Other", "", "")
	if f := a.at("INBOX", "a").Flags; f.Has(mail.Seen) {
		t.Errorf("a flag that was set on the server was not taken back: %q", f)
	}
	if f := a.at("INBOX", "d").Flags; !f.Has(mail.Answered) {
		t.Errorf("a flag of the Maildir did not come: %q", f)
	}

	a.move("INBOX", "Other", "d")
	a.remove("INBOX", "e")
	a.sync(0)
	a.sides("INBOX", "a b c theirs", "a b c")
	a.sides("Other", "d", "d")
	a.quiet()
}

func TestModeArchive(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.set("mode", `"archive"`)
	a.send("INBOX", flags(), "a", "b", "c", "d")
	a.client().Create("Other")
	a.file("INBOX", "S", "mine")
	a.sync(0)
	a.sides("INBOX", "a b c d", "a b c d mine")

	a.client().Expunge("INBOX", a.uid("INBOX", "a"))
	a.client().Move("INBOX", "Other", a.uid("INBOX", "b"))
	a.client().Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "c"))
	a.remove("INBOX", "d")
	a.send("INBOX", flags(), "e")
	a.sync(0)
	a.sides("INBOX", "c d e", "a c e mine")
	a.sides("Other", "b", "b")
	if f := a.find("INBOX", "c"); f.Flags != "F" {
		t.Errorf("a flag of the server did not come: %q", f.Flags)
	}
	a.quiet()
	a.sides("INBOX", "c d e", "a c e mine")
}

func TestTrash(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b")
	a.set("trash", `"Trash"`)
	a.remove("INBOX", "a")
	a.sync(0)
	a.sides("INBOX", "b", "b")
	a.sides("Trash", "a", "a")
	a.verify()
	a.quiet()
	a.remove("Trash", "a")
	a.sync(0)
	a.sides("Trash", "", "")
	a.client().Expunge("INBOX", a.uid("INBOX", "b")) // the trash is not for what the server deletes
	a.settled()
	a.sides("Trash", "", "")

	a.set("mode", `"pull"`)
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, "trash") {
		t.Errorf("trash with mode pull: want 2, got %v", o)
	}
}

func TestExpunge(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b", "c")
	a.flag("INBOX", "a", "T")
	a.client().Store("INBOX", true, flags(`\Deleted`), a.uid("INBOX", "b"))
	a.settled()
	a.holds("INBOX", "a", "b", "c") // a flag like any other
	if f := a.find("INBOX", "b"); f.Flags != "T" || !a.at("INBOX", "a").Flags.Has(mail.Deleted) {
		t.Errorf("the mark did not come over: %q", f.Flags)
	}
	a.set("expunge", `"on"`)
	a.flag("INBOX", "c", "ST")
	a.send("INBOX", flags(), "d")
	a.settled()
	a.holds("INBOX", "d")
}

func TestIncludeExclude(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	for _, f := range []string{"A", "A/B", "A/B/C", "Lists/x", "Lists/y", "Sent", "Zoo"} {
		a.client().Create(f)
	}
	a.set("include", `["INBOX", "A/%", "Lists/*", "\\Sent"]`)
	a.set("exclude", `["Lists/y"]`)
	a.sync(0)
	if got, want := a.folders(), []string{"A/B", "INBOX", "Lists/x", "Sent"}; !slices.Equal(got, want) {
		t.Errorf("the folders are %q, want %q", got, want)
	}
	a.mkdir("Zebra") // not included, so not created there
	a.sync(0)
	if slices.Contains(a.client().Folders(), "Zebra") {
		t.Error("a local folder outside include was created on the server")
	}
	// What falls out of the filter is not deleted.
	a.send("Lists/x", flags(), "x")
	a.sync(0)
	a.set("exclude", `["Lists/*"]`)
	a.sync(0)
	a.sides("Lists/x", "x", "x")
	a.set("exclude", `[]`)
	a.sync(0)
	a.sides("Lists/x", "x", "x")
}

func TestSubscribed(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.client().Create("In")
	a.client().Create("Out")
	a.client().Subscribe("In")
	a.set("subscribed", "true")
	a.sync(0)
	if got := a.folders(); !slices.Contains(got, "In") || slices.Contains(got, "Out") {
		t.Errorf("the folders are %q, want In and not Out", got)
	}
	a.file("Mine", "", "m")
	a.sync(0)
	a.sides("Mine", "m", "m")
	a.quiet()
	a.sides("Mine", "m", "m")
}

func TestCreate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value         string
		here, onSever bool
	}{{"both", true, true}, {"maildir", true, false}, {"server", false, true}, {"none", false, false}} {
		t.Run(tt.value, func(t *testing.T) {
			t.Parallel()
			a := dovecot(t)
			a.set("create", quote(tt.value))
			a.mkdir("INBOX")
			a.client().Create("Theirs")
			a.send("Theirs", flags(), "t")
			a.file("Ours", "", "o")
			a.sync(0)
			if got := slices.Contains(a.folders(), "Theirs"); got != tt.here {
				t.Errorf("created in the Maildir: %v, want %v", got, tt.here)
			}
			if got := slices.Contains(a.client().Folders(), "Ours"); got != tt.onSever {
				t.Errorf("created on the server: %v, want %v", got, tt.onSever)
			}
		})
	}
}

func TestMap(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.client().Create("Sent Items")
	a.send("Sent Items", flags(), "s")
	a.set("map", `{ "Sent Items" = "Sent" }`)
	a.sync(0)
	if got, want := a.folders(), []string{"INBOX", "Sent"}; !slices.Equal(got, want) {
		t.Fatalf("the folders are %q, want %q", got, want)
	}
	before := a.find("Sent", "s")
	a.set("map", `{ "Sent Items" = "Outgoing/2024" }`)
	r := a.sync(0)
	r.did(t, counts{}, counts{})
	after := a.find("Outgoing/2024", "s")
	if got := a.folders(); before.Base != after.Base || slices.Contains(got, "Sent") {
		t.Errorf("a changed map is to rename locally: %q became %q, the folders are %q", before.Path, after.Path, got)
	}
	if got := a.client().Folders(); slices.Contains(got, "Sent") || slices.Contains(got, "Outgoing/2024") {
		t.Errorf("the server's folders are %q", got)
	}
	a.file("Outgoing/2024", "S", "s2")
	a.sync(0)
	if got := a.client().Count("Sent Items"); got != 2 {
		t.Errorf("%d messages on the server, want 2", got)
	}
	a.quiet()
}

func TestLayoutPlusPlus(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.set("layout", `"maildir++"`)
	a.client().Create("Work/Sub")
	a.send("INBOX", flags(), "i")
	a.send("Work/Sub", flags(), "s")
	a.file("Mine/Deep", "F", "m")
	a.settled()
	if got, want := a.folders(), []string{"INBOX", "Mine/Deep", "Work/Sub"}; !slices.Equal(got, want) {
		t.Errorf("the folders are %q, want %q", got, want)
	}
	a.remove("INBOX", "i")
	a.client().Expunge("Work/Sub", a.uid("Work/Sub", "s"))
	a.settled()
	if _, err := os.Stat(filepath.Join(a.Maildir, "satchel-undo")); err != nil {
		t.Errorf("what a sync removed is not kept for undo: %v", err)
	}
	a.set("layout", `"nested"`)
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, "layout") {
		t.Errorf("a changed layout: want 2, got %v", o)
	}
	a.set("layout", `"maildir++"`)
	a.quiet()
}

func TestSince(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	old, young := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2024, 6, 1, 0, 0, 0, 0, time.UTC)
	c := a.client()
	c.Append("INBOX", letter("old"), flags(), old)
	c.Append("INBOX", letter("young"), flags(), young)
	a.putAt("INBOX", onDisk(letter("old here")), "S", old)
	a.set("since", `"2024-01-01"`)
	if r := a.sync(0); r.Deferred != 0 { // they are not left for later
		t.Errorf("deferred is %d, want 0: %v", r.Deferred, r.Outcome)
	}
	a.sides("INBOX", "old young", "old here young")
	if s := a.status()["INBOX"]; s.OneSided["too-old"] != 2 {
		t.Errorf("status counts %v", s.OneSided)
	}
	// A window that moves on is no deletion.
	a.set("since", `"2024-12-01"`)
	a.sync(0)
	a.sides("INBOX", "old young", "old here young")
	a.client().Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "young"))
	a.sync(0)
	if f := a.find("INBOX", "young"); f.Flags != "F" {
		t.Errorf("a synchronised message outside the window is not kept in step: %q", f.Flags)
	}
	a.set("since", "")
	a.settled()
	a.holds("INBOX", "old", "young", "old here")
}

func TestMaxMessageSize(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	big := func(subject string) string { return letter(subject) + strings.Repeat("more of it\r\n", 2000) }
	a.client().Append("INBOX", big("big"), flags(), received)
	a.send("INBOX", flags(), "small")
	a.put("INBOX", onDisk(big("big here")), "S")
	a.set("max_message_size", `"10kB"`)
	if r := a.sync(0); r.Deferred != 2 {
		t.Errorf("deferred is %d, want 2: %v", r.Deferred, r.Outcome)
	}
	a.sides("INBOX", "big small", "big here small")
	if s := a.status()["INBOX"]; s.OneSided["too-large"] != 2 {
		t.Errorf("status counts %v", s.OneSided)
	}
	a.set("max_message_size", "")
	a.settled()
	a.holds("INBOX", "big", "small", "big here")
	a.set("max_message_size", `"1kB"`)
	a.quiet()
	a.holds("INBOX", "big", "small", "big here")
}

// TestRebind: a Maildir belongs to one mailbox.
func TestRebind(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b")
	a.setIMAP("host", `"mail.example.org"`)
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, "--rebind") {
		t.Fatalf("want 2 and a word of --rebind, got %v", o)
	}
	a.sync(0, "--rebind").did(t, counts{}, counts{})
	a.quiet()
}

// TestStateLost: without the database both sides are merged, nothing is doubled and nothing deleted.
func TestStateLost(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b", "c", "twin", "twin")
	a.remove("INBOX", "a")
	a.client().Expunge("INBOX", a.uid("INBOX", "b"))
	a.check(os.Remove(filepath.Join(a.Maildir, ".satchel.db")))
	a.settled()
	a.holds("INBOX", "a", "b", "c", "twin", "twin")
}

// TestRestored: after a backup was put back, nothing is deleted on either side, and the run says so.
func TestRestored(t *testing.T) {
	t.Parallel()
	a := synced(t, "a", "b", "c")
	copyTree := func(from, to string) {
		t.Helper()
		if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	backup := filepath.Join(a.Dir, "backup")
	copyTree(a.Maildir, backup)
	a.file("INBOX", "S", "after")
	a.client().Expunge("INBOX", a.uid("INBOX", "b"))
	a.settled()
	a.check(os.RemoveAll(a.Maildir))
	copyTree(backup, a.Maildir)
	r := a.sync(0)
	if !strings.Contains(r.Outcome.Stderr, "backup") && !strings.Contains(r.Outcome.Stderr, "restored") {
		t.Errorf("the run does not say that it noticed: %v", r.Outcome)
	}
	a.verify()
	a.quiet()
	a.holds("INBOX", "a", "b", "c", "after")
}

// TestBackupPutOver: a backup is put over a Maildir in which messages were marked since, so that they have two names. Each is there once.
func TestBackupPutOver(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"tar -C Mail -xf backup.tar", "cp -a backup/. Mail/", "cp -a --remove-destination backup/. Mail/"} {
		a := synced(t, "a", "b", "c", "twin", "twin")
		sh := func(command string) {
			t.Helper()
			cmd := exec.Command("sh", "-c", command)
			cmd.Dir = a.Dir
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
		}
		sh("cp -a Mail backup; tar -C Mail -cf backup.tar .")
		a.flag("INBOX", "a", "S")
		a.client().Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "b"))
		a.settled()
		sh(how)
		r := a.sync(0)
		if n := r.ToMaildir.New + r.ToServer.New + r.ToMaildir.Deleted + r.ToServer.Deleted; n != 0 {
			t.Errorf("%s: messages were copied or deleted: %v", how, r.Outcome)
		}
		a.holds("INBOX", "a", "b", "c", "twin", "twin")
		a.verify()
		a.quiet()
	}
}

// TestRestoredInPlace: the same when the backup was put over what was there.
func TestRestoredInPlace(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"cp -a", "rsync -a", "rsync -a --inplace", "rsync -a --inplace --delete"} {
		t.Run(how, func(t *testing.T) {
			a := synced(t, "a", "b", "c")
			if tags, err := filepath.Glob(filepath.Join(a.Maildir, ".satchel.db-tag-*")); err != nil || len(tags) == 0 {
				ci.Skip(t, "there is no tag: this file system is not known to keep births")
			}
			words := strings.Fields(how)
			needPrograms(t, words[0])
			backup := filepath.Join(a.Dir, "backup")
			a.check(os.Mkdir(backup, 0o700))
			copyTree := func(from, to string) {
				t.Helper()
				if out, err := exec.CommandContext(t.Context(), words[0], append(words[1:], from+"/.", to+"/")...).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			copyTree(a.Maildir, backup)
			a.client().Expunge("INBOX", a.uid("INBOX", "a"))
			a.sync(0)
			a.remove("INBOX", "b")
			a.send("INBOX", flags(), "after")
			a.settled()
			a.holds("INBOX", "after", "c")
			copyTree(backup, a.Maildir)
			if o := a.sync(0); o.ToMaildir.Deleted != 0 || o.ToServer.Deleted != 0 || !strings.Contains(o.Outcome.Stderr, "restored from a backup") {
				t.Errorf("it does not say so, or deletes: %v", o.Outcome)
			}
			a.settled()
			a.holds("INBOX", "a", "after", "b", "c")
		})
	}
}

// TestUIDValidity: a folder that was made anew with the same messages.
func TestUIDValidity(t *testing.T) {
	t.Parallel()
	a := synced(t, "i")
	a.client().Create("F")
	a.send("F", flags(), "a", "b", "c")
	a.settled()
	c := a.client()
	c.Delete("F")
	c.Create("F")
	a.send("F", flags(), "c", "a")
	a.flag("F", "a", "F")
	r := a.sync(0)
	if r.ToMaildir.New != 0 || r.ToMaildir.Deleted != 0 || r.ToServer.Deleted != 0 {
		t.Errorf("messages were downloaded or deleted: %v", r.Outcome)
	}
	a.holds("F", "a", "b", "c")
	a.verify()
	a.quiet()
}

// TestNotMounted: a Maildir whose root is missing together with its parent is not a new one.
func TestNotMounted(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.send("INBOX", flags(), "a")
	a.set("maildir", quote(filepath.Join(a.Dir, "disk", "Mail")))
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, filepath.Join(a.Dir, "disk")) {
		t.Errorf("want 2 and the path, got %v", o)
	}
	if _, err := os.Stat(filepath.Join(a.Dir, "disk")); err == nil {
		t.Error("the folder was made")
	}
}
