package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/ci"
	"github.com/satchel-mail/satchel/internal/testenv/tracer"
)

// room is how much room a disk has, as the account's program meets it.
type room interface {
	// short gives the account a disk on which a first sync of some megabytes does not fit.
	short(a *account, options string)
	// fill takes all room that is left.
	fill(a *account)
	// full runs a sync on it.
	full(a *account) outcome
	// enlarge makes room for everything.
	enlarge(a *account)
}

// rooms runs a test on a real small disk, where this user may mount one, and with a program that is refused all that needs room from
// some system call on, where it can be traced. With CI=true one of the two must do.
func rooms(t *testing.T, test func(t *testing.T, disk room)) {
	t.Parallel()
	var played atomic.Int32
	t.Run("kinds", func(t *testing.T) {
		for name, disk := range map[string]func() room{"mounted": func() room { return &mounted{} }, "refused": func() room { return &refused{} }} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, disk())
				played.Add(1) // unless it was skipped
			})
		}
	})
	if played.Load() == 0 && !t.Failed() && ci.On() {
		t.Error("nothing was tried: this user can neither mount a file system nor trace a program")
	}
}

// mounted is a file system of its own.
type mounted struct{ ballast string }

func (m *mounted) short(a *account, options string) {
	a.t.Helper()
	a.check(os.Mkdir(a.Maildir, 0o700))
	if err := mount("-t", "tmpfs", "-o", options+",mode=700", "tmpfs", a.Maildir); err != nil {
		a.t.Skipf("this user can't mount a file system: %v", err)
	}
	a.t.Cleanup(func() {
		if out, err := exec.CommandContext(context.Background(), "umount", a.Maildir).CombinedOutput(); err != nil {
			a.t.Errorf("unmounting %s: %v: %s", a.Maildir, err, out)
		}
	})
}

func (m *mounted) enlarge(a *account) {
	a.t.Helper()
	if m.ballast != "" {
		a.check(os.Remove(m.ballast))
		return
	}
	a.check(mount("-o", "remount,size=100m,nr_inodes=10000", a.Maildir))
}

func mount(args ...string) error {
	if out, err := exec.CommandContext(context.Background(), "mount", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (m *mounted) fill(a *account) {
	a.t.Helper()
	m.ballast = filepath.Join(a.Maildir, ".ballast")
	f, err := os.Create(m.ballast)
	a.check(err)
	defer f.Close()
	b := make([]byte, 64<<10)
	for len(b) > 0 {
		if _, err := f.Write(b); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				a.t.Fatal(err)
			}
			b = b[:len(b)/2]
		}
	}
}

func (m *mounted) full(a *account) outcome { return a.run("sync") }

// refused has the nth call fail that needs room, and all after it.
type refused struct{ at int }

// short leaves the next run room for some messages; those after it find none.
func (d *refused) short(*account, string) { d.at = 150 }

func (d *refused) fill(*account) { d.at = 1 }

func (d *refused) full(a *account) outcome {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), runPatience)
	defer cancel()
	o, said, gone, err := traced(a.command(ctx, "sync"), tracer.Fault{At: d.at, Errno: syscall.ENOSPC, Lasting: true})
	skipUntraced(a.t, err)
	a.check(errors.Join(err, gone()))
	if o.Struck == nil {
		a.t.Fatal("the program needed no room: the test proves nothing")
	}
	d.at = 1
	return outcome{Args: []string{"sync"}, Code: o.Code, Stderr: said}
}

func (d *refused) enlarge(*account) {}

// full fails the test unless a sync fails and says that it is for the disk. SQLite calls some of what a full disk refuses an I/O
// error.
func (a *account) full(disk room) {
	a.t.Helper()
	o := disk.full(a)
	if o.Code != 1 || !strings.Contains(o.Stderr, syscall.ENOSPC.Error()) && !strings.Contains(o.Stderr, "look at the disk") {
		a.t.Fatalf("on a full disk: want a failure and the reason, got %v", o)
	}
}

// TestDiskFillsUp: a first sync that does not fit leaves what did, says why it stopped, and goes on when there is room.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	t.Run("no bytes", func(t *testing.T) {
		rooms(t, func(t *testing.T, disk room) { fillsUp(t, disk, "size=1500k") })
	})
	t.Run("no inodes", func(t *testing.T) {
		rooms(t, func(t *testing.T, disk room) { fillsUp(t, disk, "size=100m,nr_inodes=60") })
	})
}

func fillsUp(t *testing.T, disk room, size string) {
	a := dovecot(t)
	disk.short(a, size)
	var want []string
	for i := range 60 {
		want = append(want, fmt.Sprintf("m%02d", i))
		a.client().Append("INBOX", sized(want[i], 60_000), flags(), received)
	}
	a.client().Create("Other")
	a.send("Other", flags(`\Seen`), "o1", "o2")
	a.full(disk)
	a.full(disk) // nothing gets better or worse by trying
	server, maildir := a.subjects("INBOX")
	if len(server) != len(want) || len(maildir) >= len(want) {
		t.Fatalf("with the disk full, %d messages are on the server and %d in the Maildir", len(server), len(maildir))
	}
	for _, f := range a.files("INBOX") {
		if b, err := os.ReadFile(f.Path); err != nil || len(b) < 55_000 {
			t.Errorf("%s is cut short: %d bytes, %v", f.Path, len(b), err)
		}
	}
	a.client().Expunge("INBOX", a.uid("INBOX", "m07"))
	disk.enlarge(a)
	a.settled()
	a.holds("INBOX", append(want[:7:7], want[8:]...)...)
	a.holds("Other", "o1", "o2")
}

// TestDiskFull: on a disk without any room left changes of every kind are waiting. Nothing is lost, nothing is doubled,
// and all of it is done when there is room.
func TestDiskFull(t *testing.T) { rooms(t, diskFull) }

func diskFull(t *testing.T, disk room) {
	a := dovecot(t)
	disk.short(a, "size=3m")
	a.send("INBOX", flags(), "flagged", "marked", "there", "here", "away", "removed", "kept")
	a.client().Create("Other")
	a.send("Other", flags(), "other")
	a.sync(0)

	a.file("INBOX", "", "new1", "new2")
	a.flag("INBOX", "marked", "F")
	a.move("INBOX", "Other", "here")
	a.remove("INBOX", "removed")
	c := a.client()
	c.Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "flagged"))
	c.Move("INBOX", "Other", a.uid("INBOX", "there"))
	c.Expunge("INBOX", a.uid("INBOX", "away"))
	a.send("INBOX", flags(), "new3")
	a.client().Append("INBOX", sized("new4", 60_000), flags(), received)

	disk.fill(a)
	for range 3 {
		a.full(disk)
		if o := a.run("status"); o.Code != 0 {
			t.Errorf("what is known can't be read: %v", o)
		}
	}
	disk.enlarge(a)
	a.settled()
	a.holds("INBOX", "flagged", "marked", "kept", "new1", "new2", "new3", "new4")
	a.holds("Other", "other", "there", "here")
	for subject, want := range map[string]string{"flagged": "F", "marked": "F"} {
		if got := letters(a.at("INBOX", subject).Flags); got != want {
			t.Errorf("the flags of %s are %q, want %q", subject, got, want)
		}
	}
}
