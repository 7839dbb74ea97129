package config

import (
	"net"
	"runtime"
	"strings"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// The ports of a protocol, with TLS from the start and without.
type ports struct{ tls, plain int }

var (
	imapPorts = ports{993, 143}
	pop3Ports = ports{995, 110} // RFC 8314, section 7.2
)

// server reads what is the same for all protocols.
func (r *reader) server(t *table, p ports, example string) Server {
	m := Server{
		Config: transport.Config{
			Host:           r.host(t, example),
			TLS:            tlsMode(t),
			AllowPlaintext: t.boolean("allow_plaintext"),
			CAFile:         r.path(t, "ca_file"),
			CertSHA256:     t.text("cert_sha256", "", pinAllowed),
			ClientCert:     r.path(t, "client_cert"),
			ClientKey:      r.path(t, "client_key"),
			Tunnel:         t.text("tunnel", "", `a shell command, or ""`),
		},
		User: t.text("user", "", userAllowed),
		Auth: oneOf(t, "auth", auth.Auto, auth.Methods()...),
	}
	def := p.tls
	if m.TLS != transport.Implicit {
		def = p.plain
	}
	m.Port = t.integer("port", def, 1, 65535)
	r.security(t, m.Config)
	r.user(t, m)
	if src := r.password(t, m); src != nil {
		m.Password = auth.Once(src)
	}
	return m
}

const (
	pinAllowed  = `the SHA-256 of the server's certificate in 64 hexadecimal digits, with or without colons, or ""`
	userAllowed = `the name to sign in with, such as "me@example.org"`
	hostAllowed = `a host name such as "imap.example.org", or an IP address`
)

func tlsMode(t *table) transport.Mode {
	modes := map[string]transport.Mode{
		"implicit": transport.Implicit, "starttls": transport.StartTLS, "off": transport.Off,
	}
	return modes[oneOf(t, "tls", "implicit", "implicit", "starttls", "off")]
}

func (r *reader) host(t *table, example string) string {
	host := t.text("host", "", hostAllowed)
	switch {
	case !t.has("host"):
		t.failHere(`host is missing; it is required, such as host = %q`, example)
	case strings.Contains(host, "://"):
		t.fail("host", "%s is an address with a protocol; allowed is %s; the port goes to port, the kind of TLS to tls", quote(host), hostAllowed)
	case net.ParseIP(host) != nil:
	case strings.ContainsFunc(host, func(c rune) bool { return c >= 0x80 }):
		t.fail("host", "%s holds letters outside ASCII; allowed is the name as the network spells it, which begins with xn-- there", quote(host))
	case strings.Contains(host, ":"):
		t.fail("host", "%s is not allowed; allowed is %s, without brackets; the port goes to port", quote(host), hostAllowed)
	case !isHostName(host):
		if v, ok := t.get("host"); ok && v == any(host) { // another type was reported already
			t.bad("host", host, hostAllowed)
		}
	}
	return host
}

// isHostName reports whether s can be looked up: letters, digits, "-", "_" and "." of at most 253 bytes.
func isHostName(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '-' || s[0] == '.' || strings.Contains(s, "..") {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	})
}

// security checks the keys about TLS against each other.
func (r *reader) security(t *table, c transport.Config) {
	if c.Tunnel != "" {
		// The tunnel's bytes go through as they are. Whoever writes such a key expects protection that
		// would not be there.
		for _, key := range []string{"ca_file", "cert_sha256", "client_cert", "client_key"} {
			if v, ok := t.get(key); ok && v != any("") {
				t.fail(key, "not allowed together with tunnel, over which no TLS is spoken; remove one of them")
			}
		}
		if t.has("tls") && c.TLS != transport.Off {
			t.fail("tls", `not allowed together with tunnel, over which no TLS is spoken; remove it, or use "off"`)
		}
		return
	}
	if c.TLS == transport.Off && !c.AllowPlaintext && c.Host != "" && !transport.IsLoopback(c.Host) {
		t.fail("tls", `"off" would send the password and all mail in plain text over the network; allowed are "implicit" and "starttls", or "off" together with allow_plaintext = true`)
	}
	if c.CertSHA256 != "" {
		if _, err := transport.ParseFingerprint(c.CertSHA256); err != nil {
			t.bad("cert_sha256", c.CertSHA256, pinAllowed)
		}
	}
	for _, pair := range [][4]string{{"client_cert", c.ClientCert, "client_key", c.ClientKey}, {"client_key", c.ClientKey, "client_cert", c.ClientCert}} {
		if pair[1] != "" && pair[3] == "" && !t.has(pair[2]) {
			t.fail(pair[0], "it needs %s as well; a PEM file that holds both can be named in both", pair[2])
		}
	}
}

// user checks user and the sign-in method.
func (r *reader) user(t *table, m Server) {
	switch {
	case strings.ContainsFunc(m.User, func(c rune) bool { return c < ' ' || c == 0x7f }):
		t.bad("user", m.User, userAllowed+", without control characters")
	case m.User == "" && m.Tunnel == "" && m.Auth != auth.External:
		if !t.has("user") {
			t.failHere(`user is missing; it is required, such as user = "me@example.org"`)
		} else if v, _ := t.get("user"); v == any("") {
			t.bad("user", "", userAllowed)
		}
	}
	if m.Auth == auth.External && m.Tunnel == "" && !t.has("client_cert") {
		t.fail("auth", `"external" signs in by client certificate; set client_cert and client_key, or use another method`)
	}
}

// password returns the one password source, nil if there is none. An empty value is none.
func (r *reader) password(t *table, m Server) auth.Source {
	readers := []struct {
		key  string
		read func(t *table, key string) (auth.Source, bool)
	}{
		{"password_command", passwordCommand},
		{"password_env", passwordEnv},
		{"password_keyring", func(t *table, key string) (auth.Source, bool) { return passwordKeyring(t, key, m.User) }},
		{"password", r.passwordLiteral},
	}
	keys := make([]string, len(readers))
	for i, r := range readers {
		keys[i] = r.key
	}
	var (
		source auth.Source
		from   string
		wrong  bool
	)
	for _, r := range readers {
		src, ok := r.read(t, r.key)
		switch {
		case !ok:
			wrong = true
		case src == nil:
		case source != nil:
			t.fail(r.key, "the password comes from %s already; allowed is one of %s", from, strings.Join(keys, ", "))
		default:
			source, from = src, r.key
		}
	}
	if source == nil && !wrong && m.Auth != auth.External && m.Tunnel == "" {
		t.failHere(`a password source is missing; one of %s is required, such as password_command = "pass show mail/personal"`, strings.Join(keys, ", "))
	}
	return source
}

// passwordCommand and its like return nil and true if the key gives no password, and false if its value is wrong,
// which is reported.
func passwordCommand(t *table, key string) (auth.Source, bool) {
	const allowed = `a shell command such as "pass show mail/personal", or a list of a program and its arguments such as ["pass", "show", "mail/personal"]`
	v, ok := t.get(key)
	if !ok || v == any("") {
		return nil, true
	}
	switch v := v.(type) {
	case string:
		if strings.TrimSpace(v) != "" && !strings.ContainsRune(v, 0) {
			return auth.FromShell(v), true
		}
	case []any:
		argv, ok := t.list(key, allowed)
		if !ok {
			return nil, false
		}
		if len(argv) > 0 && argv[0] != "" && !strings.ContainsRune(strings.Join(argv, ""), 0) {
			return auth.FromCommand(argv), true
		}
	default:
		t.wrongType(key, v, allowed)
		return nil, false
	}
	t.bad(key, "", allowed)
	return nil, false
}

func passwordEnv(t *table, key string) (auth.Source, bool) {
	const allowed = `the name of an environment variable, without "$"`
	v, ok := t.get(key)
	if !ok || v == any("") {
		return nil, true
	}
	name, ok := v.(string)
	if !ok {
		t.wrongType(key, v, allowed)
		return nil, false
	}
	if strings.ContainsAny(name, "$= \t\r\n\x00") {
		// Not shown: it may be the password itself.
		t.fail(key, "this value is not allowed; allowed is %s", allowed)
		return nil, false
	}
	return auth.FromEnv(name), true
}

func passwordKeyring(t *table, key, user string) (auth.Source, bool) {
	v, ok := t.get(key)
	if !ok {
		return nil, true
	}
	on, ok := v.(bool)
	switch {
	case !ok:
		t.wrongType(key, v, "true or false, without quotes")
		return nil, false
	case !on:
		return nil, true
	case user == "":
		t.fail(key, "the keyring is asked by user, which is missing")
		return nil, false
	}
	return auth.FromKeyring(auth.KeyringService, user), true
}

func (r *reader) passwordLiteral(t *table, key string) (auth.Source, bool) {
	const allowed = "the password as a string; better keep it out of the file, with password_command"
	v, ok := t.get(key)
	if !ok || v == any("") {
		return nil, true
	}
	s, ok := v.(string)
	if !ok {
		t.wrongType(key, v, allowed)
		return nil, false
	}
	if _, err := auth.NewSecret(s); err != nil {
		t.fail(key, "%v", err)
		return nil, false
	}
	// Windows has no such permissions, and says 0666 of everything.
	if r.perm&0o044 != 0 && runtime.GOOS != "windows" {
		t.fail(key, "the file holds a password and can be read by others (mode %04o); run: chmod 600 %s", r.perm, r.source.path)
		return nil, false
	}
	return auth.Literal(s), true
}
