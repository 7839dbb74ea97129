package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/ci"
)

// muttrc asks no questions, and knows nothing but the Maildir.
const muttrc = `set mbox_type=Maildir
set folder=%q
set spoolfile="=INBOX"
set record="" postponed="" header_cache="" history_file="" move=no
set delete=yes quit=yes confirmcreate=no confirmappend=no
set mark_old=no wait_key=no sleep_time=0 timeout=1 mail_check=0 pager_stop=yes beep=no
set index_format="%%Z %%s"
`

// terminal is a mutt in a terminal multiplexer.
type terminal struct {
	t    testing.TB
	home string
}

// screenPatience bounds the wait for something to show on the screen.
const screenPatience = time.Minute

func (m *terminal) tmux(args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "tmux", append([]string{"-S", filepath.Join(m.home, "tmux"), "-f", "/dev/null"}, args...)...)
	cmd.Env = []string{"HOME=" + m.home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8", "TERM=xterm", "SHELL=/bin/sh"}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// keys types, as tmux names the keys.
func (m *terminal) keys(keys ...string) {
	m.t.Helper()
	if out, err := m.tmux(append([]string{"send-keys", "-t", "mutt"}, keys...)...); err != nil {
		m.t.Fatalf("typing %q: %v: %s", keys, err, out)
	}
}

// shows waits until the screen holds text.
func (m *terminal) shows(text string) {
	m.t.Helper()
	m.until(fmt.Sprintf("%q to show", text), func(screen string) bool { return strings.Contains(screen, text) })
}

func (m *terminal) until(what string, holds func(screen string) bool) {
	m.t.Helper()
	for deadline := time.Now().Add(screenPatience); ; {
		screen, err := m.tmux("capture-pane", "-p", "-J", "-t", "mutt") // with wrapped lines joined
		if err == nil && holds(screen) {
			return
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("waited for %s, but mutt shows (%v):\n%s", what, err, screen)
		}
		time.Sleep(20 * time.Millisecond) // there is nothing that tells when a screen has changed
	}
}

// at goes to the message with this subject.
func (m *terminal) at(subject string) {
	m.t.Helper()
	m.keys("/", "~s "+subject, "Enter")
	m.until(subject+" to be the current message", func(screen string) bool {
		return strings.Contains(m.current(), subject)
	})
}

// current is the line that the cursor is on.
func (m *terminal) current() string {
	row, err := m.tmux("display-message", "-p", "-t", "mutt", "#{cursor_y}")
	if err != nil {
		return ""
	}
	row = strings.TrimSpace(row)
	line, err := m.tmux("capture-pane", "-p", "-t", "mutt", "-S", row, "-E", row)
	if err != nil {
		return ""
	}
	return line
}

// startMutt opens the account's Maildir, or one directory after the other.
func startMutt(t *testing.T, a *account, dirs ...string) *terminal {
	t.Helper()
	rc := filepath.Join(a.Dir, "muttrc")
	a.check(os.WriteFile(rc, fmt.Appendf(nil, muttrc, a.Maildir), 0o600))
	m := &terminal{t: t, home: t.TempDir()}
	command := "mutt -n -F " + rc
	if len(dirs) > 0 {
		var all strings.Builder
		for _, dir := range dirs {
			fmt.Fprintf(&all, "%s -f '%s'; ", command, dir)
		}
		command = all.String() + "exec cat" // so that the screen stays
	}
	if out, err := m.tmux("new-session", "-d", "-s", "mutt", "-x", "120", "-y", "40", command); err != nil {
		t.Fatalf("starting mutt in tmux: %v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = m.tmux("kill-server") }) // it has ended with mutt, if all went well
	return m
}

// needPrograms skips the test where one of these is missing.
func needPrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, program := range names {
		if _, err := exec.LookPath(program); err != nil {
			ci.Skip(t, "%v: \"make programs\" installs it", err)
		}
	}
}

// TestMutt: somebody works with mutt in the Maildir while syncs run, and all of it arrives on the server as
// what it was.
func TestMutt(t *testing.T) {
	needPrograms(t, "mutt", "tmux")
	t.Parallel()
	a := dovecot(t)
	a.client().Create("Archive")
	a.send("INBOX", flags(), "alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf")
	a.send("Archive", flags(`\Seen`), "old")
	a.sync(0)

	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() { // ends when stop is closed, or with the first sync that fails
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			o, err := a.try("sync")
			if err == nil && o.Code != 0 {
				err = fmt.Errorf("%v", o)
			}
			if err != nil {
				stopped <- err
				return
			}
		}
	}()

	m := startMutt(t, a)
	m.shows("golf")
	m.at("alpha") // read
	m.keys("Enter")
	m.shows("This is alpha.")
	m.keys("i")
	m.shows("golf")
	m.at("bravo") // flag
	m.keys("F")
	m.at("charlie") // answered
	m.keys("w")
	m.shows("Set flag")
	m.keys("r")
	m.at("delta") // save to another folder
	m.keys("s")
	m.shows("Save to mailbox")
	m.keys("C-u", "=Archive", "Enter")
	m.at("echo") // delete
	m.keys("d")
	a.send("INBOX", flags(), "hotel") // new mail meanwhile
	a.client().Store("INBOX", true, flags(`\Flagged`), a.uid("INBOX", "foxtrot"))
	m.keys("$")
	m.until("delta and echo to go", func(screen string) bool {
		return !strings.Contains(screen, "delta") && !strings.Contains(screen, "echo")
	})
	m.shows("hotel")
	m.at("golf") // and once more, with the syncs' changes in between
	m.keys("s")
	m.shows("Save to mailbox")
	m.keys("C-u", "=Archive", "Enter", "$")
	m.until("golf to go", func(screen string) bool { return !strings.Contains(screen, "golf") })
	m.keys("q")

	close(stop)
	if err := <-stopped; err != nil {
		t.Fatalf("a sync failed while mutt was at work: %v", err)
	}
	for { // until mutt has ended
		if _, err := m.tmux("has-session", "-t", "mutt"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	a.settled()
	a.holds("INBOX", "alpha", "bravo", "charlie", "foxtrot", "hotel")
	a.holds("Archive", "old", "delta", "golf")
	for subject, want := range map[string]mail.System{"alpha": mail.Seen, "bravo": mail.Flagged, "charlie": mail.Answered, "foxtrot": mail.Flagged} {
		if f := a.at("INBOX", subject).Flags; !f.Has(want) {
			t.Errorf("the flags of %s on the server are %q", subject, f)
		}
	}
}
