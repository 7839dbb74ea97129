package servers

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/certs"
	"github.com/satchel-mail/satchel/internal/testenv/daemon"
)

// Cyrus returns an account of its own on a running Cyrus. Of the options it knows Without, and Separator
// and Prefix as far as they are "." and "INBOX.".
func Cyrus(t testing.TB, o Options) *Server {
	t.Helper()
	root := unpacked(t, "cyrus")
	c, err := shared(fmt.Sprintf("cyrus %#v", o), func() (*cyrus, error) {
		return daemon.Attempts(func() (*cyrus, error) { return tryCyrus(root, o) })
	})
	if err != nil {
		t.Fatalf("starting Cyrus from %s: %v", root, err)
	}
	return c.account()
}

// cyrus is a running instance.
type cyrus struct {
	*daemon.Process
	root, dir string
	o         Options
	ports     []int
	ca        *certs.Authority
	users     atomic.Int64
}

func tryCyrus(root string, o Options) (*cyrus, error) {
	dir, err := daemon.Dir()
	if err != nil {
		return nil, err
	}
	c := &cyrus{root: root, dir: dir, o: o}
	if c.ports, err = daemon.FreePorts(2); err != nil {
		return nil, err
	}
	if err := c.prepare(); err != nil {
		return nil, err
	}
	passwords, err := checkPasswords(c.path("mux"))
	if err != nil {
		return nil, err
	}
	plugins, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu*/sasl2"))
	if err != nil {
		return nil, err
	}
	env := []string{daemon.LibraryPath(root), "SASL_PATH=" + strings.Join(plugins, ":")}
	if c.Process, err = daemon.Start(dir, env, []string{c.program("master"), "-D", "-C", c.path("imapd.conf"), "-M", c.path("cyrus.conf"), "-p", c.path("pid")}); err != nil {
		_ = passwords.Close()
		return nil, err
	}
	if err := c.Answers(fmt.Sprintf("127.0.0.1:%d", c.ports[0])); err != nil {
		_ = passwords.Close()
		log := daemon.Tail(c.path("stderr"))
		c.Stop()
		return nil, fmt.Errorf("%w%s", err, log)
	}
	return c, nil
}

func (c *cyrus) path(name string) string    { return filepath.Join(c.dir, name) }
func (c *cyrus) program(name string) string { return filepath.Join(c.root, "usr/lib/cyrus/bin", name) }

func (c *cyrus) prepare() error {
	dirs := []string{"c", "s", "t", "tls"}
	for _, sub := range []string{"db", "lock", "log", "msg", "proc", "ptclient", "quota", "sieve", "socket", "user"} {
		dirs = append(dirs, "c/"+sub)
	}
	for _, sub := range dirs {
		if err := os.Mkdir(c.path(sub), 0o755); err != nil {
			return err
		}
		if err := daemon.Give(c.path(sub)); err != nil {
			return err
		}
	}
	var err error
	if c.ca, err = certs.New(c.path("tls")); err != nil {
		return err
	}
	leaf, err := c.ca.Issue("server", certs.Request{})
	if err != nil {
		return err
	}
	if err := daemon.Give(leaf.KeyFile); err != nil {
		return err
	}
	return c.configure(leaf)
}

func (c *cyrus) configure(leaf *certs.Leaf) error {
	owner, _, err := daemon.Names()
	if err != nil {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, cyrusConfig, c.dir, owner, leaf.CertFile, leaf.KeyFile, yesNo(!c.dotted()))
	if len(c.o.Without) > 0 {
		fmt.Fprintf(&b, "suppress_capabilities: %s\n", strings.Join(c.o.Without, " "))
	}
	if err := os.WriteFile(c.path("imapd.conf"), []byte(b.String()), 0o644); err != nil {
		return err
	}
	services := fmt.Sprintf(cyrusServices, c.program("ctl_cyrusdb"), c.program("imapd"), c.path("imapd.conf"), c.ports[0], c.ports[1], c.program("idled"))
	return os.WriteFile(c.path("cyrus.conf"), []byte(services), 0o644)
}

func (c *cyrus) dotted() bool { return c.o.Separator == "." }

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func (c *cyrus) account() *Server {
	user := fmt.Sprintf("u%d", c.users.Add(1))
	s := &Server{Name: "cyrus", Host: "127.0.0.1", Port: c.ports[0], TLSPort: c.ports[1], User: user, Password: password,
		CAFile: c.ca.File, Root: c.path("s"), Log: c.path("stderr"), Separator: "/"}
	if c.dotted() {
		s.Separator, s.Prefix = ".", "INBOX."
	}
	return s
}

// cyrusConfig gets folder, user, certificate, key, and yes for "/" and no prefix.
const cyrusConfig = `configdirectory: %[1]s/c
defaultpartition: default
partition-default: %[1]s/s
temp_path: %[1]s/t
cyrus_user: %[2]s
admins: admin
servername: localhost
tls_server_cert: %[3]s
tls_server_key: %[4]s
tls_session_timeout: 0
altnamespace: %[5]s
unixhierarchysep: %[5]s
autocreate_quota: 0
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: saslauthd
sasl_saslauthd_path: %[1]s/mux
delete_mode: immediate
expunge_mode: immediate
lmtpsocket: %[1]s/c/socket/lmtp
idlesocket: %[1]s/c/socket/idle
notifysocket: %[1]s/c/socket/notify
sievedir: %[1]s/c/sieve
skiplist_unsafe: yes
`

// cyrusServices gets ctl_cyrusdb, imapd, the configuration, the plain and the TLS port, and idled: without the latter whoever idles is
// told within a minute.
const cyrusServices = `START {
  recover cmd="%[1]s -C %[3]s -r"
}
SERVICES {
  imap cmd="%[2]s -C %[3]s" listen="127.0.0.1:%[4]d" prefork=1
  imaps cmd="%[2]s -s -C %[3]s" listen="127.0.0.1:%[5]d" prefork=0
}
EVENTS {
}
DAEMON {
  idled cmd="%[6]s -C %[3]s"
}
`

// checkPasswords plays saslauthd: it listens at path until it is closed or the process ends, and accepts
// whoever knows the password.
func checkPasswords(path string) (io.Closer, error) {
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, err
	}
	go func() { // ends when l is closed
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = checkPassword(conn) // a broken question needs no answer
			_ = conn.Close()
		}
	}()
	return l, nil
}

// checkPassword answers one question: user, password, service and realm, each after its length.
func checkPassword(conn net.Conn) error {
	var fields [4]string
	for i := range fields {
		var n uint16
		if err := binary.Read(conn, binary.BigEndian, &n); err != nil {
			return err
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(conn, b); err != nil {
			return err
		}
		fields[i] = string(b)
	}
	answer := "NO"
	if fields[1] == password {
		answer = "OK"
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err
}
