package e2e

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// certificates lets a person sign in to Dovecot by certificate.
const certificates = `ssl_verify_client_cert = yes
passdb {
  driver = static
  mechanisms = external
  args = nopassword=y
}`

// TestSignIn: the ways to reach a server and to sign in, and what must not work.
func TestSignIn(t *testing.T) {
	t.Parallel()
	s := servers.Dovecot(t, servers.Options{Mechanisms: "plain login scram-sha-256 external", Config: certificates})
	other := servers.Dovecot(t, servers.Options{}) // with another authority
	pin := leafPin(t, s)
	port, nobody := strconv.Itoa(s.Port), strconv.Itoa(closedPort(t))
	for _, tt := range []struct {
		name string
		keys map[string]string // an empty value takes the key out
		code int
		want string // in the messages, if it fails
		auth bool
	}{
		{"TLS with ca_file", nil, 0, "", false},
		{"STARTTLS", map[string]string{"tls": `"starttls"`, "port": port}, 0, "", false},
		{"plain text on loopback", map[string]string{"tls": `"off"`, "port": port, "ca_file": "", "host": `"127.0.0.1"`}, 0, "", false},
		{"pin in place of an authority", map[string]string{"ca_file": "", "cert_sha256": quote(pin)}, 0, "", false},
		{"pin over STARTTLS", map[string]string{"ca_file": "", "cert_sha256": quote(pin), "tls": `"starttls"`, "port": port}, 0, "", false},
		{"wrong pin", map[string]string{"cert_sha256": quote(strings.Repeat("ab", 32))}, 1, pin, false},
		{"unknown authority", map[string]string{"ca_file": ""}, 1, "certificate", false},
		{"another authority", map[string]string{"ca_file": quote(other.CAFile)}, 1, "certificate", false},
		{"another authority over STARTTLS", map[string]string{"ca_file": quote(other.CAFile), "tls": `"starttls"`, "port": port}, 1, "certificate", false},
		{"plain", map[string]string{"auth": `"plain"`}, 0, "", false},
		{"login", map[string]string{"auth": `"login"`}, 0, "", false},
		{"scram-sha-256", map[string]string{"auth": `"scram-sha-256"`}, 0, "", false},
		{"scram-sha-256 in plain text", map[string]string{"auth": `"scram-sha-256"`, "tls": `"off"`, "port": port, "ca_file": ""}, 0, "", false},
		{"certificate", map[string]string{"auth": `"external"`, "password": "", "client_cert": quote(s.ClientCert), "client_key": quote(s.ClientKey)}, 0, "", false},
		{"password command", map[string]string{"password": "", "password_command": quote("echo " + s.Password)}, 0, "", false},
		{"password command as a list", map[string]string{"password": "", "password_command": `["printf", "%s\n", ` + quote(s.Password) + `]`}, 0, "", false},
		{"password from the environment", map[string]string{"password": "", "password_env": `"SECRET"`}, 0, "", false},
		{"wrong password", map[string]string{"password": `"canary-password"`}, 1, "password", true},
		{"wrong password by scram-sha-256", map[string]string{"password": `"canary-password"`, "auth": `"scram-sha-256"`}, 1, "", true},
		{"method that the server lacks", map[string]string{"auth": `"oauthbearer"`}, 1, "oauthbearer", true},
		{"password command that fails", map[string]string{"password": "", "password_command": `"echo canary-password; echo locked >&2; exit 3"`}, 1, "locked", true},
		{"nobody listens", map[string]string{"port": nobody}, 5, nobody, false},
		{"no such host", map[string]string{"host": `"satchel.invalid"`}, 5, "satchel.invalid", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, s)
			a.Env = []string{"SECRET=" + s.Password}
			a.overTLS()
			for k, v := range tt.keys {
				put(a.imap, k, v)
			}
			a.write()
			r := a.sync(tt.code)
			if r.AuthNeeded != tt.auth || !strings.Contains(strings.ToLower(r.Outcome.Stderr), strings.ToLower(tt.want)) {
				t.Errorf("want auth_needed %v and a word of %q, got %v", tt.auth, tt.want, r.Outcome)
			}
			if o := a.run("check"); o.Code != tt.code {
				t.Errorf("check: want %d, got %v", tt.code, o)
			}
			// No secret is ever shown, in clear or as the protocol encodes it.
			for _, args := range [][]string{{"sync", "-vv"}, {"check", "-vv", "--json"}, {"status"}} {
				o := a.run(args...)
				for _, secret := range secrets(s.User, s.Password, "canary-password") {
					if strings.Contains(o.Stdout+o.Stderr, secret) {
						t.Errorf("a secret (%s) is shown: %v", secret, o)
					}
				}
			}
		})
	}
}

// secrets are the forms that passwords can have on the wire.
func secrets(user string, passwords ...string) []string {
	var out []string
	for _, p := range passwords {
		out = append(out, p, encoded(p), encoded("\x00"+user+"\x00"+p), encoded(user+"\x00"+user+"\x00"+p))
	}
	return out
}

func encoded(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// TestSecretNotInArguments: the program does not have the password among its arguments, and the files that it leaves behind do
// not hold it.
func TestSecretNotInArguments(t *testing.T) {
	t.Parallel()
	s := servers.Dovecot(t, servers.Options{})
	a := newAccount(t, s)
	a.overTLS()
	put(a.imap, "password", "")
	// This password command looks at the processes above it: a shell, and the program.
	seen, script := filepath.Join(a.Dir, "seen"), filepath.Join(a.Dir, "password")
	a.check(os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
up=$PPID
while [ "$up" -gt 1 ]; do
	tr '\0' ' ' </proc/$up/cmdline
	echo
	up=$(sed -n 's/^PPid:[[:space:]]*//p' /proc/$up/status)
done >%s
echo %s
`, seen, s.Password), 0o700))
	a.setIMAP("password_command", quote(script))
	a.sync(0)
	if got, err := os.ReadFile(seen); err != nil || !strings.Contains(string(got), "--config "+a.Config+" sync") || strings.Contains(string(got), s.Password) {
		t.Errorf("the arguments are %q, %v", got, err)
	}
	for path, text := range a.snapshot() {
		if strings.Contains(text, fmt.Sprintf("%x", s.Password)) {
			t.Errorf("%s holds the password", path)
		}
	}
}

// TestPlainTextRefused: no password in clear over a network, and nothing is sent before that is found.
func TestPlainTextRefused(t *testing.T) {
	t.Parallel()
	a := newAccount(t, servers.Dovecot(t, servers.Options{}))
	a.overTLS()
	for k, v := range map[string]string{"host": `"mail.example.org"`, "tls": `"off"`, "ca_file": ""} {
		put(a.imap, k, v)
	}
	a.write()
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, "allow_plaintext") {
		t.Errorf("want 2 and a word of allow_plaintext, got %v", o)
	}
	a.overTLS()
	a.check(os.Chmod(a.Config, 0o644))
	if o := a.run("sync"); o.Code != 2 || !strings.Contains(o.Stderr, "chmod 600") {
		t.Errorf("a password in a file that others can read: want 2 and what to do, got %v", o)
	}
}

// leafPin is the SHA-256 of the server's certificate.
func leafPin(t *testing.T, s *servers.Server) string {
	t.Helper()
	config, err := s.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", s.TLSAddr(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return fmt.Sprintf("%x", sha256.Sum256(conn.ConnectionState().PeerCertificates[0].Raw))
}

// closedPort is one where nobody listens, and nobody will: of the free ones any may be a server's a moment later.
func closedPort(t *testing.T) int {
	t.Helper()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	at, err := syscall.Getsockname(socket)
	if err != nil {
		t.Fatal(err)
	}
	return at.(*syscall.SockaddrInet4).Port
}
