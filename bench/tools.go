package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/satchel-mail/satchel/bench/dovecot"
	"github.com/satchel-mail/satchel/bench/meter"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// account is what a tool keeps the same, and where.
type account struct {
	User   string
	Port   int // of the server's TLS, or of the link to it
	CAFile string
	Local  string // the tool's own side: the Maildir's root, or a user of the same server
	Plain  int    // the server's port without TLS, for interimap's own side
	Home   string // for the tool's configuration and state

	// For floors: the mailbox's folders, and a file with the sizes of its messages.
	Folders []string
	Sizes   string
	// For floors of bulk changes: what they send, or rename.
	Script  []string
	Renamed *renamed
}

// contender is a row of a table: a tool, or a floor.
type contender interface {
	name() string
	// command prepares what one run executes.
	command(a account) (meter.Command, error)
	// local is where the tool's own side of a user's mail goes; base is a folder of its own.
	local(base, user string) string
	// side looks at it. nil: there is none, as with floors.
	side(l *lab, a account) side
}

// maildirTool is what tools with a Maildir have in common.
type maildirTool struct{}

func (maildirTool) local(base, _ string) string { return filepath.Join(base, "Mail") }

func (maildirTool) side(_ *lab, a account) side { return maildirSide{a.Local} }

// environment is what tools get: no settings of the person who runs the benchmark.
func environment(a account, more ...string) []string {
	return append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + a.Home, "LANG=C.UTF-8", "TMPDIR=/tmp"}, more...)
}

// configure writes a configuration, which holds a password.
func configure(a account, name, text string) (string, error) {
	file := filepath.Join(a.Home, name)
	if err := os.MkdirAll(a.Home, 0o755); err != nil {
		return "", err
	}
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// satchel is the subject, or another build of it.
type satchel struct {
	maildirTool
	label, program string
	pop3           bool
}

func (s satchel) name() string { return s.label }

func (s satchel) command(a account) (meter.Command, error) {
	protocol, mode := "imap", "two-way"
	if s.pop3 {
		protocol, mode = "pop3", "pull"
	}
	file, err := configure(a, "satchel.toml", fmt.Sprintf(`[account.bench]
maildir = %q
mode = %q
max_delete = "off"

[account.bench.%s]
host = %q
port = %d
user = %q
password = %q
ca_file = %q
`, a.Local, mode, protocol, dovecot.Host, a.Port, a.User, dovecot.Password, a.CAFile))
	return meter.Command{Argv: []string{s.program, "--config", file, "sync"}, Env: environment(a)}, err
}

// mbsync is isync's program, as it comes or without COMPRESS.
type mbsync struct {
	maildirTool
	program  string
	compress bool
}

func (m mbsync) name() string {
	if m.compress {
		return "mbsync"
	}
	return "mbsync-plain"
}

func (m mbsync) command(a account) (meter.Command, error) {
	if err := os.MkdirAll(a.Local, 0o755); err != nil {
		return meter.Command{}, err
	}
	extensions := ""
	if !m.compress {
		extensions = "DisableExtension COMPRESS=DEFLATE\n"
	}
	file, err := configure(a, "mbsyncrc", fmt.Sprintf(`IMAPAccount bench
Host %s
Port %d
User %s
Pass %s
SSLType IMAPS
SystemCertificates no
CertificateFile %s
%s
IMAPStore far
Account bench

MaildirStore near
Path %[7]s/
Inbox %[7]s/INBOX
SubFolders Verbatim

Channel bench
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
SyncState *
`, dovecot.Host, a.Port, a.User, dovecot.Password, a.CAFile, extensions, a.Local))
	return meter.Command{Argv: []string{m.program, "-c", file, "-a"}, Env: environment(a)}, err
}

// interimap keeps two users of the server the same: it has no Maildir, and shows what QRESYNC is worth.
type interimap struct{ root string }

func (interimap) name() string { return "interimap" }

func (interimap) local(_, user string) string { return user + ".local" }

func (interimap) side(l *lab, a account) side { return serverSide{l, a.Local} }

func (i interimap) command(a account) (meter.Command, error) {
	file, err := configure(a, "interimaprc", fmt.Sprintf(`database = %[1]s/interimap.db
list-mailbox = *

[local]
type = imap
host = %[2]s
port = %[3]d
STARTTLS = NO
username = %[4]s
password = %[5]s

[remote]
type = imaps
host = %[2]s
port = %[6]d
username = %[7]s
password = %[5]s
SSL_CAfile = %[8]s
`, a.Home, dovecot.Host, a.Plain, a.Local, dovecot.Password, a.Port, a.User, a.CAFile))
	// interimap runs in Perl's taint mode, which takes modules from nowhere but the command line.
	argv := []string{"/usr/bin/perl", "-T", "-I" + filepath.Join(i.root, "usr/share/perl5")}
	found, _ := filepath.Glob(filepath.Join(i.root, "usr/lib/*/perl5/*")) // fails on bad patterns only
	for _, dir := range found {
		argv = append(argv, "-I"+dir)
	}
	argv = append(argv, filepath.Join(i.root, "usr/bin/interimap"), "--config="+file)
	return meter.Command{Argv: argv, Env: environment(a, daemon.LibraryPath(i.root))}, err
}

// version is the first line that a program prints about itself.
func version(program string, args ...string) string {
	out, err := exec.Command(program, args...).Output()
	if err != nil {
		return "unknown version"
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line)
}
