// Package dovecot runs the server that the tools are measured with: a private Dovecot on loopback whose mail
// outlives it. Anybody may sign in, with one password, and is a user with an empty mailbox until mail is put there.
package dovecot

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/satchel-mail/satchel/bench/raw"
	"github.com/satchel-mail/satchel/internal/testenv/certs"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// Host is where it listens, and what its certificate is for.
const Host = "127.0.0.1"

// Password is every user's.
const Password = "secret-of-the-benchmark"

// Server is a running Dovecot.
type Server struct {
	*daemon.Process
	// Port speaks IMAP in plain text, TLSPort through TLS.
	Port, TLSPort int
	// POP3Port speaks POP3 through TLS.
	POP3Port int
	// CAFile is the authority that signed the certificate.
	CAFile string
	// Version is Dovecot's.
	Version string

	root, dir, mail string
	ca              *certs.Authority
}

// Start starts a server that keeps each user's mail in a folder of mail, or where a link there with the
// user's name points to. All of them must be Given.
func Start(mail string) (*Server, error) {
	root, ok := daemon.Unpacked("dovecot-pop3")
	if !ok {
		return nil, fmt.Errorf("no Dovecot is unpacked at %s; \"make bench-tools\" fetches it", root)
	}
	return daemon.Attempts(func() (*Server, error) { return start(root, mail) })
}

func start(root, mail string) (*Server, error) {
	dir, err := daemon.Dir()
	if err != nil {
		return nil, err
	}
	ports, err := daemon.FreePorts(3)
	if err != nil {
		return nil, err
	}
	s := &Server{root: root, dir: dir, mail: mail, Port: ports[0], TLSPort: ports[1], POP3Port: ports[2]}
	if err := s.prepare(); err != nil {
		return nil, err
	}
	env := []string{daemon.LibraryPath(root)}
	argv := []string{
		filepath.Join(root, "usr/bin/doveconf"), "-f", "service=master", "-c", s.path("conf"), "-m", "master",
		"-e", filepath.Join(root, "usr/sbin/dovecot"), "-F", "-c", s.path("conf"),
	}
	if s.Process, err = daemon.Start(dir, env, argv); err != nil {
		return nil, err
	}
	if err := s.Answers(s.address(s.Port)); err != nil {
		log := daemon.Tail(s.path("log"), s.path("stderr"))
		s.Stop()
		return nil, fmt.Errorf("starting Dovecot: %w%s", err, log)
	}
	return s, nil
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }

func (s *Server) address(port int) string { return fmt.Sprintf("%s:%d", Host, port) }

// TLSAddress is where TLSPort listens.
func (s *Server) TLSAddress() string { return s.address(s.TLSPort) }

// POP3Address is where POP3Port listens.
func (s *Server) POP3Address() string { return s.address(s.POP3Port) }

// Log is the end of what the server had to say.
func (s *Server) Log() string { return daemon.Tail(s.path("log")) }

func (s *Server) prepare() error {
	for _, sub := range []string{"b", "h", "t"} {
		if err := errors.Join(os.Mkdir(s.path(sub), 0o755), daemon.Give(s.path(sub))); err != nil {
			return err
		}
	}
	// The modules are looked for relative to base_dir, as fetch.sh arranged.
	if err := os.Symlink(filepath.Join(s.root, "usr/lib/dovecot/modules"), s.path("b/modules")); err != nil {
		return err
	}
	var err error
	if s.ca, err = certs.New(s.path("t")); err != nil {
		return err
	}
	s.CAFile = s.ca.File
	// The address is the common name too: mbsync 1.4 finds none of a certificate's addresses.
	leaf, err := s.ca.Issue("server", certs.Request{CommonName: Host})
	if err != nil {
		return err
	}
	if err := daemon.Give(leaf.KeyFile); err != nil {
		return err
	}
	owner, group, err := daemon.Names()
	if err != nil {
		return err
	}
	version := exec.Command(filepath.Join(s.root, "usr/sbin/dovecot"), "--version")
	version.Env = []string{daemon.LibraryPath(s.root)}
	text, err := version.Output()
	if err != nil {
		return fmt.Errorf("asking Dovecot for its version: %w", err)
	}
	s.Version, _, _ = strings.Cut(strings.TrimSpace(string(text)), " ")
	conf := fmt.Sprintf(configuration, s.dir, filepath.Join(s.root, "usr/lib/dovecot"), owner, group, s.mail, Password, s.Port, s.TLSPort, s.POP3Port)
	return os.WriteFile(s.path("conf"), []byte(conf), 0o644)
}

// Dial signs in as user through TLS.
func (s *Server) Dial(user string) (*raw.Client, error) {
	return raw.Dial(s.TLSAddress(), &tls.Config{RootCAs: s.ca.Pool, ServerName: Host}, user, Password)
}

// Purge frees what expunged messages of a user still occupy, which Dovecot leaves to the administrator.
func (s *Server) Purge(user string) error {
	// doveadm would look for doveconf where it is installed.
	cmd := exec.Command(filepath.Join(s.root, "usr/bin/doveconf"), "-f", "service=doveadm", "-c", s.path("conf"), "-m", "doveadm",
		"-e", filepath.Join(s.root, "usr/bin/doveadm"), "purge", "-u", user)
	cmd.Env = []string{daemon.LibraryPath(s.root)}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("purging the mail of %s: %w: %s", user, err, out)
	}
	return nil
}

// configuration gets the instance's folder, libexec_dir, user, group, mail, password, and three ports.
//
// The server shall not be what is measured: it syncs nothing to its disk, has processes waiting for whoever
// signs in, and looks a password up without asking anybody. All else is as it comes, with the plugin for
// COMPRESS that Debian's configuration leaves to the administrator.
const configuration = `base_dir = %[1]s/b
state_dir = %[1]s/b
log_path = %[1]s/log
import_environment = LD_LIBRARY_PATH
libexec_dir = %[2]s
login_plugin_dir = %[2]s/modules/login
mail_plugin_dir = %[2]s/modules
default_internal_user = %[3]s
default_internal_group = %[4]s
default_login_user = %[3]s
first_valid_uid = 1
mail_home = %[1]s/h/%%u
mail_location = mdbox:%[5]s/%%u
mail_fsync = never
mail_max_userip_connections = 1000
mail_plugins = zlib
protocols = imap pop3
protocol imap {
  mail_plugins = $mail_plugins imap_zlib
}
listen = 127.0.0.1
instance_name = %[1]s
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_cache_size = 1M
ssl = yes
ssl_cert = <%[1]s/t/server.pem
ssl_key = <%[1]s/t/server.key
passdb {
  driver = static
  args = password=%[6]s
}
userdb {
  driver = static
  args = uid=%[3]s gid=%[4]s home=%[1]s/h/%%u
}
namespace inbox {
  inbox = yes
  separator = /
}
service anvil {
  chroot =
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
service imap {
  process_min_avail = 8
}
service imap-login {
  chroot =
  service_count = 0
  process_min_avail = 2
  inet_listener imap {
    port = %[7]d
  }
  inet_listener imaps {
    port = %[8]d
  }
}
pop3_no_flag_updates = yes
service pop3 {
  process_min_avail = 8
}
service pop3-login {
  chroot =
  service_count = 0
  process_min_avail = 2
  inet_listener pop3 {
    port = 0
  }
  inet_listener pop3s {
    port = %[9]d
  }
}
`
