package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk makes the account's Maildir a file system of its own of that size, in tmpfs's notation. Where this user
// may not mount one the test is skipped: TestSweep has calls fail that a full disk refuses everywhere.
func (a *account) smallDisk(size string) {
	a.t.Helper()
	a.check(os.Mkdir(a.Maildir, 0o700))
	if err := mount("-t", "tmpfs", "-o", size+",mode=700", "tmpfs", a.Maildir); err != nil {
		a.t.Skipf("this user can't mount a file system: %v", err)
	}
	a.t.Cleanup(func() {
		if out, err := exec.CommandContext(context.Background(), "umount", a.Maildir).CombinedOutput(); err != nil {
			a.t.Errorf("unmounting %s: %v: %s", a.Maildir, err, out)
		}
	})
}

// enlarge gives a mounted disk another size.
func (a *account) enlarge(size string) {
	a.t.Helper()
	a.check(mount("-o", "remount,"+size, a.Maildir))
}

func mount(args ...string) error {
	if out, err := exec.CommandContext(context.Background(), "mount", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// fillUp takes all room that is left, with a file whose path it returns.
func (a *account) fillUp() string {
	a.t.Helper()
	path := filepath.Join(a.Maildir, ".ballast")
	f, err := os.Create(path)
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
	return path
}

// full fails the test unless a sync fails and says that it is for the disk. SQLite calls some of what a full disk refuses an I/O
// error, and then the state database that can't be opened is exit code 2.
func (a *account) full() {
	a.t.Helper()
	o := a.run("sync")
	full, refused := strings.Contains(o.Stderr, syscall.ENOSPC.Error()), strings.Contains(o.Stderr, "look at the disk")
	if !(o.Code == 1 && full) && !(o.Code != 0 && refused) {
		a.t.Fatalf("on a full disk: want a failure and the reason, got %v", o)
	}
}

// TestDiskFillsUp: a first sync that does not fit leaves what did, says why it stopped, and goes on when there is room.
func TestDiskFillsUp(t *testing.T) {
	t.Parallel()
	for _, size := range []string{"size=1500k", "size=100m,nr_inodes=60"} {
		t.Run(size, func(t *testing.T) {
			t.Parallel()
			a := dovecot(t)
			a.smallDisk(size)
			var want []string
			for i := range 60 {
				want = append(want, fmt.Sprintf("m%02d", i))
				a.client().Append("INBOX", sized(want[i], 60_000), flags(), received)
			}
			a.client().Create("Other")
			a.send("Other", flags(`\Seen`), "o1", "o2")
			a.full()
			a.full() // nothing gets better or worse by trying
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
			a.enlarge("size=100m,nr_inodes=10000")
			a.settled()
			a.holds("INBOX", append(want[:7:7], want[8:]...)...)
			a.holds("Other", "o1", "o2")
		})
	}
}

// TestDiskFull: on a disk without any room left changes of every kind are waiting. Nothing is lost, nothing is doubled,
// and all of it is done when there is room.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	a := dovecot(t)
	a.smallDisk("size=3m")
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

	ballast := a.fillUp()
	for range 3 {
		a.full()
	}
	a.check(os.Remove(ballast))
	a.settled()
	a.holds("INBOX", "flagged", "marked", "kept", "new1", "new2", "new3", "new4")
	a.holds("Other", "other", "there", "here")
	for subject, want := range map[string]string{"flagged": "F", "marked": "F"} {
		if got := letters(a.at("INBOX", subject).Flags); got != want {
			t.Errorf("the flags of %s are %q, want %q", subject, got, want)
		}
	}
}
