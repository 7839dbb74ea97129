package servers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// Courier returns an account of its own on Courier: a tunnel, because its own listener and
// authentication look for each other at paths that were compiled in. Of the options it knows Without.
func Courier(t testing.TB, o Options) *Server {
	t.Helper()
	root := unpacked(t, "courier")
	pop3 := ""
	if o.POP3 {
		pop3 = unpacked(t, "courier-pop3")
	}
	c, err := shared("courier", func() (*courier, error) { return newCourier(root) })
	if err != nil {
		t.Fatalf("preparing Courier from %s: %v", root, err)
	}
	s, err := c.account(pop3, o)
	if err != nil {
		t.Fatalf("making an account on Courier: %v", err)
	}
	return s
}

// courier is a folder of accounts; the processes are the tunnels'.
type courier struct {
	*daemon.Process
	root, dir string
	users     atomic.Int64
}

func newCourier(root string) (*courier, error) {
	dir, err := daemon.Dir()
	if err != nil {
		return nil, err
	}
	c := &courier{root: root, dir: dir}
	// there is no server to run: this process is only what has the folder removed in the end
	c.Process, err = daemon.Start(dir, nil, []string{"sleep", "1000000000"})
	return c, err
}

// courierCapabilities are those that Courier's own configuration has.
var courierCapabilities = strings.Fields("IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE")

func (c *courier) account(pop3 string, o Options) (*Server, error) {
	user := fmt.Sprintf("u%d", c.users.Add(1))
	home := filepath.Join(c.dir, user)
	if err := errors.Join(os.Mkdir(home, 0o755), daemon.Give(home)); err != nil {
		return nil, err
	}
	maildir := filepath.Join(home, "Maildir")
	mk := exec.CommandContext(context.Background(), filepath.Join(c.root, "usr/bin/maildirmake.courier"), maildir)
	mk.Env = []string{daemon.LibraryPath(c.root)}
	if err := daemon.RunAs(mk); err != nil {
		return nil, err
	}
	if out, err := mk.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("maildirmake: %w: %s", err, out)
	}
	drop, err := daemon.DropCommand()
	if err != nil {
		return nil, err
	}
	s := &Server{Name: "courier", User: user, Password: password, Root: maildir, Log: filepath.Join(home, "log"),
		Prefix: "INBOX.", Separator: ".", Tunnel: c.tunnel(drop, home, user, o)}
	if pop3 != "" {
		s.POP3Tunnel = c.pop3Tunnel(drop, pop3, home, user)
	}
	return s, nil
}

// pop3Tunnel is the command that speaks POP3. Courier's own program begins once somebody has signed in; what comes before is said here,
// with the capabilities that Courier's configuration has.
func (c *courier) pop3Tunnel(drop, pop3, home, user string) string {
	return fmt.Sprintf(`cd %s && printf '+OK ready\r\n' && while read -r line; do case $line in `+
		`CAPA*) printf '+OK\r\nTOP\r\nUSER\r\nPIPELINING\r\nUIDL\r\n.\r\n' ;; USER*) printf '+OK\r\n' ;; `+
		`"PASS %s"*) exec %senv -i %s PATH=/usr/bin:/bin HOME=%s AUTHENTICATED=%s AUTHADDR=%s %s/usr/lib/courier/courier/courierpop3d Maildir 2>>log ;; `+
		`*) printf -- '-ERR no\r\n' ;; esac; done`, home, password, drop, daemon.LibraryPath(c.root), home, user, user, pop3)
}

// tunnel is the command that speaks IMAP as user. For whoever idles it looks every second, not every minute as by default. Courier greets with an alert, which is no greeting, if there is
// no file alteration monitor: that line is taken out, and only that one.
func (c *courier) tunnel(drop, home, user string, o Options) string {
	acl := 1
	if slices.Contains(o.Without, "ACL") || slices.Contains(o.Without, "*") {
		acl = 0
	}
	command := fmt.Sprintf(`%senv -i %s PATH=/usr/bin:/bin HOME=%s AUTHENTICATED=%s AUTHADDR=%s IMAP_CAPABILITY="%s" `+
		`IMAP_KEYWORDS=1 IMAP_ACL=%d IMAP_USELOCKS=0 IMAP_TRASHFOLDERNAME=Trash IMAP_IDLE_TIMEOUT=1 PROTOCOL=IMAP %s/usr/bin/imapd Maildir`,
		drop, daemon.LibraryPath(c.root), home, user, user, strings.Join(mask(courierCapabilities, o.Without), " "), acl, c.root)
	return fmt.Sprintf(`cd %s && %s 2>>log | { read -r line; case $line in *ALERT*) ;; *) printf '%%s\n' "$line" ;; esac; exec cat; }`, home, command)
}
