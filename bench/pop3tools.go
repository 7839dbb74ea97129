package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/satchel-mail/satchel/bench/dovecot"
	"github.com/satchel-mail/satchel/bench/meter"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// overPOP3 is what contenders that use POP3 have in common.
type overPOP3 struct{ maildirTool }

// usesPOP3 reports whether a contender is to be led to the server's POP3.
func usesPOP3(c contender) bool {
	switch c := c.(type) {
	case satchel:
		return c.pop3
	case mpop, fetchmail, getmail6:
		return true
	case floor:
		return c.run == "retr"
	}
	return false
}

// findPOP3Tools returns the others that fetch mail by POP3.
func findPOP3Tools() ([]contender, error) {
	roots := map[string]string{}
	for _, name := range []string{"mpop", "fetchmail", "getmail"} {
		root, ok := daemon.Unpacked(name)
		if !ok {
			return nil, fmt.Errorf("%s is not unpacked at %s; \"make bench-tools\" fetches it", name, root)
		}
		roots[name] = root
	}
	return []contender{mpop{root: roots["mpop"]}, fetchmail{root: roots["fetchmail"]}, getmail6{root: roots["getmail"]}}, nil
}

// inbox makes the Maildir that a tool wants to be there.
func inbox(a account) (string, error) {
	dir := filepath.Join(a.Local, "INBOX")
	var err error
	for _, sub := range []string{"cur", "new", "tmp"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	return dir, err
}

// mpop is the fast one: it pipelines.
type mpop struct {
	overPOP3
	root string
}

func (mpop) name() string { return "mpop" }

func (m mpop) command(a account) (meter.Command, error) {
	dir, err := inbox(a)
	if err != nil {
		return meter.Command{}, err
	}
	file, err := configure(a, "mpoprc", fmt.Sprintf(`account default
host %s
port %d
user %s
password %s
tls on
tls_starttls off
tls_trust_file %s
keep on
received_header off
delivery maildir %s
uidls_file %s
`, dovecot.Host, a.Port, a.User, dovecot.Password, a.CAFile, dir, filepath.Join(a.Home, "uidls")))
	return meter.Command{Argv: []string{filepath.Join(m.root, "usr/bin/mpop"), "--file=" + file, "--quiet"}, Env: environment(a, daemon.LibraryPath(m.root))}, err
}

// fetchmail hands each message to a program of its own.
type fetchmail struct {
	overPOP3
	root string
}

func (fetchmail) name() string { return "fetchmail" }

func (f fetchmail) command(a account) (meter.Command, error) {
	dir, err := inbox(a)
	if err != nil {
		return meter.Command{}, err
	}
	file, err := configure(a, "fetchmailrc", fmt.Sprintf(`poll %s service %d protocol pop3 uidl
user "%s" password "%s" keep ssl no sslcertck
mda "/bin/sh -c 'f=%s/tmp/$$; cat >$f && mv $f %s/new/'"
`, dovecot.Host, a.Port, a.User, dovecot.Password, dir, dir)) // it does not find an address in a certificate
	// It ends with 1 if there is nothing new.
	script := `"$0" --fetchmailrc "$1" --silent --nosyslog --idfile "$2"; [ $? -le 1 ]`
	return meter.Command{
		Argv: []string{"/bin/sh", "-c", script, filepath.Join(f.root, "usr/bin/fetchmail"), file, filepath.Join(a.Home, "fetchids")},
		Env:  environment(a, daemon.LibraryPath(f.root), "FETCHMAILHOME="+a.Home),
	}, err
}

// getmail6 is in Python.
type getmail6 struct {
	overPOP3
	root string
}

func (getmail6) name() string { return "getmail6" }

func (g getmail6) command(a account) (meter.Command, error) {
	dir, err := inbox(a)
	if err != nil {
		return meter.Command{}, err
	}
	deliverer := ""
	if os.Geteuid() == 0 { // it does not deliver as root
		owner, _, err := daemon.Names()
		if err != nil {
			return meter.Command{}, err
		}
		for _, d := range []string{dir, filepath.Join(dir, "cur"), filepath.Join(dir, "new"), filepath.Join(dir, "tmp")} {
			if err := daemon.Give(d); err != nil {
				return meter.Command{}, err
			}
		}
		deliverer = "user = " + owner
	}
	file, err := configure(a, "getmailrc", fmt.Sprintf(`[retriever]
type = SimplePOP3SSLRetriever
server = %s
port = %d
username = %s
password = %s
ca_certs = %s

[destination]
type = Maildir
path = %s/
%s

[options]
read_all = false
delete = false
delivered_to = false
received = false
verbose = 0
`, dovecot.Host, a.Port, a.User, dovecot.Password, a.CAFile, dir, deliverer))
	return meter.Command{
		Argv: []string{"/usr/bin/python3", filepath.Join(g.root, "usr/bin/getmail"), "--rcfile", file, "--getmaildir", a.Home},
		Env:  environment(a, "PYTHONPATH="+filepath.Join(g.root, "usr/lib/python3/dist-packages")),
	}, err
}
