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
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/certs"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// Dovecot returns an account of its own on a running Dovecot.
func Dovecot(t testing.TB, o Options) *Server {
	t.Helper()
	name := "dovecot"
	if o.POP3 {
		name = "dovecot-pop3" // not a part of the other, which may be of another version
	}
	root := unpacked(t, name)
	key := fmt.Sprintf("dovecot %#v", o)
	d, err := shared(key, func() (*dovecot, error) {
		return daemon.Attempts(func() (*dovecot, error) { return tryDovecot(root, o) })
	})
	if err != nil {
		t.Fatalf("starting Dovecot from %s: %v", root, err)
	}
	s, err := d.account()
	if err != nil {
		t.Fatalf("making an account on Dovecot: %v", err)
	}
	return s
}

// dovecot is a running instance.
type dovecot struct {
	*daemon.Process
	root, dir string
	o         Options
	ports     []int
	ca        *certs.Authority
	users     atomic.Int64
}

func tryDovecot(root string, o Options) (*dovecot, error) {
	dir, err := daemon.Dir()
	if err != nil {
		return nil, err
	}
	d := &dovecot{root: root, dir: dir, o: o}
	if d.ports, err = daemon.FreePorts(4); err != nil {
		return nil, err
	}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	if d.Process, err = daemon.Start(dir, []string{daemon.LibraryPath(root)}, d.doveconf("master", "usr/sbin/dovecot", "-F", "-c", d.path("conf"))); err != nil {
		return nil, err
	}
	if err := d.answers(); err != nil {
		log := daemon.Tail(d.path("log"), d.path("stderr"))
		d.Stop()
		return nil, fmt.Errorf("%w%s", err, log)
	}
	return d, nil
}

func (d *dovecot) answers() error { return d.Answers(fmt.Sprintf("127.0.0.1:%d", d.ports[0])) }

func (d *dovecot) path(name string) string { return filepath.Join(d.dir, name) }

// prepare writes all that an instance needs into its folder.
func (d *dovecot) prepare() error {
	for _, sub := range []string{"b", "m", "h", "t"} {
		if err := errors.Join(os.Mkdir(d.path(sub), 0o755), daemon.Give(d.path(sub))); err != nil {
			return err
		}
	}
	// the modules are looked for relative to base_dir, see fetch.sh
	if err := os.Symlink(filepath.Join(d.root, "usr/lib/dovecot/modules"), d.path("b/modules")); err != nil {
		return err
	}
	var err error
	if d.ca, err = certs.New(d.path("t")); err != nil {
		return err
	}
	leaf, err := d.ca.Issue("server", certs.Request{})
	if err != nil {
		return err
	}
	if err := daemon.Give(leaf.KeyFile); err != nil {
		return err
	}
	if err := d.configure(""); err != nil {
		return err
	}
	if len(d.o.Without) == 0 {
		return nil
	}
	all, err := d.capabilities()
	if err != nil {
		return fmt.Errorf("asking for its capabilities: %w", err)
	}
	return d.configure(strings.Join(mask(all, d.o.Without), " "))
}

// mask returns what is left of the capabilities all without those in without.
func mask(all, without []string) []string {
	if slices.Contains(without, "*") {
		return []string{"IMAP4rev1"}
	}
	return slices.DeleteFunc(slices.Clone(all), func(c string) bool { return slices.Contains(without, c) })
}

// capabilities asks the unmasked server.
func (d *dovecot) capabilities() ([]string, error) {
	command, err := d.tunnel("nobody")
	if err != nil {
		return nil, err
	}
	out, err := runTunnel(command, "a LOGOUT\r\n")
	if err != nil {
		return nil, err
	}
	line, _, _ := strings.Cut(out, "\r\n")
	_, list, ok := strings.Cut(line, "[CAPABILITY ")
	list, _, closed := strings.Cut(list, "]")
	if !ok || !closed {
		return nil, fmt.Errorf("its greeting lists none: %q", line)
	}
	return strings.Fields(list), nil
}

// doveconf is the command line that reads the configuration and becomes the given program: so Dovecot's
// programs need not find doveconf at the path that was compiled in.
func (d *dovecot) doveconf(service, program string, args ...string) []string {
	argv := []string{filepath.Join(d.root, "usr/bin/doveconf"), "-f", "service=" + service, "-c", d.path("conf"),
		"-m", service, "-e", filepath.Join(d.root, program)}
	return append(argv, args...)
}

// tunnel is the command that speaks IMAP as user.
func (d *dovecot) tunnel(user string) (string, error) {
	drop, err := daemon.DropCommand()
	if err != nil {
		return "", err
	}
	home := d.path("h/" + user)
	// the imap process wants to be in a folder that it may read
	return fmt.Sprintf("cd %s && exec %senv -i %s USER=%s HOME=%s %s", d.path("b"), drop, daemon.LibraryPath(d.root), user, home,
		strings.Join(d.doveconf("imap", "usr/lib/dovecot/imap"), " ")), nil
}

func (d *dovecot) account() (*Server, error) {
	user := fmt.Sprintf("u%d", d.users.Add(1))
	client, err := d.ca.Issue(user, certs.Request{CommonName: user, Client: true})
	if err != nil {
		return nil, err
	}
	s := &Server{
		Name: "dovecot", Host: "127.0.0.1", Port: d.ports[0], TLSPort: d.ports[1], User: user, Password: password,
		CAFile: d.ca.File, ClientCert: client.CertFile, ClientKey: client.KeyFile,
		Root: d.path("m/" + user), Log: d.path("log"), Prefix: d.o.Prefix, Separator: d.separator(),
	}
	if d.o.Alone != "" {
		s.Restart = func(away time.Duration) error {
			if err := d.Process.Restart(away); err != nil {
				return fmt.Errorf("restarting Dovecot: %w", err)
			}
			return d.answers()
		}
	}
	if s.Tunnel, err = d.tunnel(user); err != nil {
		return nil, err
	}
	if d.o.POP3 {
		s.POP3Port, s.POP3TLSPort = d.ports[2], d.ports[3]
	}
	// Dovecot makes INBOX when it is first opened, and fails one of two sessions that do so at once
	if _, err := runTunnel(s.Tunnel, "a SELECT INBOX\r\nb LOGOUT\r\n"); err != nil {
		return nil, fmt.Errorf("making INBOX: %w", err)
	}
	return s, nil
}

// runTunnel says all of input to a tunnel and returns its answers.
func runTunnel(command, input string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), daemon.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.Output()
	return string(out), err
}

// password is every user's.
const password = "secret-of-the-tests"

func (d *dovecot) separator() string {
	if d.o.Separator == "" {
		return "/"
	}
	return d.o.Separator
}

// configure writes the configuration, with the given capabilities announced (empty: all).
func (d *dovecot) configure(capability string) error {
	owner, group, err := daemon.Names()
	if err != nil {
		return err
	}
	lib := filepath.Join(d.root, "usr/lib/dovecot")
	var b strings.Builder
	fmt.Fprintf(&b, dovecotConfig, d.path("b"), d.path("log"), lib, owner, group, d.path("h"), d.path("t"), password)
	fmt.Fprintf(&b, "mail_location = %s:%s/%%u\n", orElse(d.o.Format, "sdbox"), d.path("m"))
	fmt.Fprintf(&b, "auth_mechanisms = %s\n", orElse(d.o.Mechanisms, "plain login scram-sha-256"))
	fmt.Fprintf(&b, dovecotListeners, d.ports[0], d.ports[1])
	if d.o.POP3 {
		fmt.Fprintf(&b, dovecotPOP3, d.ports[2], d.ports[3])
	}
	fmt.Fprintf(&b, "namespace inbox {\n inbox = yes\n separator = %s\n prefix = %s\n", d.separator(), d.o.Prefix)
	if capability == "" || slices.Contains(strings.Fields(capability), "SPECIAL-USE") {
		for _, use := range []string{"Sent", "Drafts", "Trash", "Junk", "Archive"} {
			fmt.Fprintf(&b, " mailbox %s {\n  special_use = \\%s\n }\n", use, use)
		}
	}
	b.WriteString("}\n")
	if capability != "" {
		fmt.Fprintf(&b, "imap_capability = %s\n", capability)
	}
	d.plugins(&b)
	b.WriteString(d.o.Config + "\n")
	return os.WriteFile(d.path("conf"), []byte(b.String()), 0o644)
}

func (d *dovecot) plugins(b *strings.Builder) {
	var mailPlugins, imapPlugins []string
	if d.o.Quota != "" {
		mailPlugins, imapPlugins = append(mailPlugins, "quota"), append(imapPlugins, "imap_quota")
		fmt.Fprintf(b, "plugin {\n quota = count:User quota\n quota_vsizes = yes\n quota_grace = 0\n quota_rule = %s\n}\n", d.o.Quota)
	}
	if d.o.ACL {
		mailPlugins, imapPlugins = append(mailPlugins, "acl"), append(imapPlugins, "imap_acl")
		b.WriteString("plugin {\n acl = vfile\n}\n")
	}
	if len(mailPlugins) > 0 {
		fmt.Fprintf(b, "mail_plugins = %s\nprotocol imap {\n mail_plugins = $mail_plugins %s\n}\n",
			strings.Join(mailPlugins, " "), strings.Join(imapPlugins, " "))
	}
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// dovecotConfig gets base_dir, log, libexec_dir, user, group, home, TLS folder, password.
// Nothing waits: no fsync, no delay after a wrong password, no penalty.
const dovecotConfig = `base_dir = %[1]s
state_dir = %[1]s
log_path = %[2]s
import_environment = LD_LIBRARY_PATH
libexec_dir = %[3]s
login_plugin_dir = %[3]s/modules/login
mail_plugin_dir = %[3]s/modules
default_internal_user = %[4]s
default_internal_group = %[5]s
default_login_user = %[4]s
first_valid_uid = 1
mail_home = %[6]s/%%u
mail_fsync = never
mail_max_userip_connections = 1000
protocols = imap
listen = 127.0.0.1
instance_name = %[1]s
disable_plaintext_auth = no
ssl = yes
ssl_cert = <%[7]s/server.pem
ssl_key = <%[7]s/server.key
ssl_ca = <%[7]s/ca.pem
ssl_require_crl = no
auth_ssl_username_from_cert = yes
auth_failure_delay = 0
passdb {
  driver = static
  args = password=%[8]s
}
userdb {
  driver = static
  args = uid=%[4]s gid=%[5]s home=%[6]s/%%u
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
`

// dovecotListeners gets the plain and the TLS port.
const dovecotListeners = `service imap-login {
  chroot =
  service_count = 0
  inet_listener imap {
    port = %d
  }
  inet_listener imaps {
    port = %d
  }
}
`

// dovecotPOP3 gets the plain and the TLS port.
const dovecotPOP3 = `protocols = imap pop3
service pop3-login {
  chroot =
  service_count = 0
  inet_listener pop3 {
    port = %d
  }
  inet_listener pop3s {
    port = %d
  }
}
`
