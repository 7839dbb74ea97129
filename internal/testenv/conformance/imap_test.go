package conformance_test

import (
	"net"
	"strings"
	"testing"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote/imap"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/conformance"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestDovecot runs the suite on Dovecot: by TCP, TLS, STARTTLS and tunnel, in its mailbox formats and
// namespaces, and with the extensions taken away one by one and all together.
func TestDovecot(t *testing.T) {
	t.Parallel()
	type variant struct {
		name    string
		options servers.Options
		way     func(*servers.Server) transport.Config
	}
	variants := []variant{
		{"by TCP", servers.Options{}, plain},
		{"by TLS", servers.Options{}, implicit},
		{"by STARTTLS, mdbox", servers.Options{Format: "mdbox"}, startTLS},
		{"by tunnel, maildir", servers.Options{Format: "maildir", Separator: ".", Prefix: "INBOX."}, tunnel},
		{"without any extension", servers.Options{Without: []string{"*"}}, tunnel},
		{"with a limit", servers.Options{Quota: "*:storage=100M", Config: "plugin {\n quota_max_mail_size = 400k\n}"}, tunnel},
	}
	for _, name := range []string{"UIDPLUS", "CONDSTORE QRESYNC", "QRESYNC", "MOVE", "ESEARCH", "LIST-STATUS", "LITERAL+", "MULTIAPPEND", "ENABLE", "IDLE", "SPECIAL-USE", "NAMESPACE"} {
		variants = append(variants, variant{"without " + name, servers.Options{Without: strings.Fields(name)}, tunnel})
	}
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, func(t *testing.T) conformance.Account {
				a := account(t, servers.Dovecot(t, v.options), v.way, conformance.Deviations{})
				if v.options.Quota != "" {
					a.Refused = "Subject: big\r\n\r\n" + strings.Repeat("too big\r\n", 50_000)
				}
				return a
			})
		})
	}
}

func TestCyrus(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]servers.Options{
		"as it is":        {},
		"INBOX. and dots": {Separator: ".", Prefix: "INBOX."},
		"bare":            {Without: []string{"UIDPLUS", "CONDSTORE", "QRESYNC", "MOVE", "ESEARCH", "LIST-STATUS", "SPECIAL-USE", "OBJECTID"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, func(t *testing.T) conformance.Account {
				a := account(t, servers.Cyrus(t, o), plain, conformance.Deviations{
					Munges8Bit: true, RefusesNames: []string{`say "x"`, `back\slash`, "100%"}})
				a.Refused = "Subject: nul\r\n\r\na\x00b\r\n"
				return a
			})
		})
	}
}

func TestCourier(t *testing.T) {
	t.Parallel()
	for name, without := range map[string][]string{"as it is": nil, "bare": {"UIDPLUS", "IDLE", "ACL", "QUOTA"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, func(t *testing.T) conformance.Account {
				return account(t, servers.Courier(t, servers.Options{Without: without}), tunnel, conformance.Deviations{
					EndsLines: true, DiesOfRename: true, RefusesNames: []string{"📬"}})
			})
		})
	}
}

// TestMemory runs the suite on the server of the demo.
func TestMemory(t *testing.T) {
	t.Parallel()
	conformance.Run(t, func(t *testing.T) conformance.Account {
		return account(t, memory(t), plain, conformance.Deviations{EndsHeaders: true, RenameLeavesChildren: true, InboxCanBeDeleted: true})
	})
}

func plain(s *servers.Server) transport.Config {
	return transport.Config{Host: s.Host, Port: s.Port, TLS: transport.Off}
}

func implicit(s *servers.Server) transport.Config {
	return transport.Config{Host: s.Host, Port: s.TLSPort, TLS: transport.Implicit, CAFile: s.CAFile}
}

func startTLS(s *servers.Server) transport.Config {
	return transport.Config{Host: s.Host, Port: s.Port, TLS: transport.StartTLS, CAFile: s.CAFile}
}

func tunnel(s *servers.Server) transport.Config {
	return transport.Config{Host: s.Name, Tunnel: s.Tunnel}
}

// account makes the suite's account of a server's.
func account(t *testing.T, s *servers.Server, way func(*servers.Server) transport.Config, d conformance.Deviations) conformance.Account {
	t.Helper()
	dialer := imap.NewDialer(imap.Config{Transport: way(s), User: s.User, Secret: auth.Literal(s.Password), Subscribed: true})
	return conformance.Account{Dialer: dialer, Other: other{s.Client(t)}, Deviations: d}
}

// other is a go-imap client as the suite's second client.
type other struct{ *servers.Client }

func (o other) Mailboxes() []string { return o.Folders() }

func (o other) Messages(mailbox string) []conformance.Message {
	var out []conformance.Message
	for _, m := range o.Client.Messages(mailbox) {
		out = append(out, conformance.Message{UID: m.UID, Flags: m.Flags, Date: m.Date, Raw: string(m.Body)})
	}
	return out
}

// memory starts go-imap's own server with an empty account.
func memory(t *testing.T) *servers.Server {
	t.Helper()
	const name, password = "u", "p"
	user := imapmemserver.NewUser(name, password)
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	mem := imapmemserver.New()
	mem.AddUser(user)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		InsecureAuth: true,
		Caps:         goimap.CapSet{goimap.CapIMAP4rev1: {}, goimap.CapUIDPlus: {}, goimap.CapMove: {}, goimap.CapNamespace: {}, goimap.CapListStatus: {}},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(l) // ends with Close
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	return &servers.Server{Name: "memory", Host: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, User: name, Password: password, Separator: "/"}
}
