package imap

import (
	"net"
	"testing"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-imap/v2/imapserver/imapmemserver"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// memServer starts go-imap's server with its mailbox in memory: a server without CONDSTORE.
func memServer(t *testing.T, caps goimap.CapSet) Config {
	t.Helper()
	mem := imapmemserver.New()
	user := imapmemserver.NewUser("me", canary)
	if err := user.Create("INBOX", nil); err != nil {
		t.Fatal(err)
	}
	mem.AddUser(user)
	server := imapserver.New(&imapserver.Options{
		NewSession: func(*imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
			return mem.NewSession(), nil, nil
		},
		Caps: caps, InsecureAuth: true,
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-over
	})
	return Config{User: "me", Secret: auth.Literal(canary), Patience: 10 * time.Second,
		Transport: transport.Config{Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, TLS: transport.Off}}
}

func TestMemServer(t *testing.T) {
	for name, caps := range map[string]goimap.CapSet{
		"IMAP4rev1": {goimap.CapIMAP4rev1: {}},
		"both":      {goimap.CapIMAP4rev1: {}, goimap.CapIMAP4rev2: {}},
		"IMAP4rev1 with UIDPLUS, MOVE and LITERAL+": {goimap.CapIMAP4rev1: {}, goimap.CapUIDPlus: {}, goimap.CapMove: {}, goimap.CapLiteralPlus: {}},
	} {
		t.Run(name, func(t *testing.T) { exercise(t, memServer(t, caps), nil) })
	}
}
