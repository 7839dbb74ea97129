package sync_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote/imap"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/hostile"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// tokens gives another secret each time it is asked.
type tokens struct{ n atomic.Int64 }

func (s *tokens) Secret(context.Context) (auth.Secret, error) {
	return auth.NewSecret(fmt.Sprint("token", s.n.Add(1)))
}

// TestTokenRunsOutInAnUpload: the server says BYE in the middle of an APPEND, because the token of this session has run out, and has stored the message
// or not. The same run signs in with a new token, finds out what became of the upload, and sends what is left, once.
func TestTokenRunsOutInAnUpload(t *testing.T) {
	t.Parallel()
	for _, stored := range []bool{true, false} {
		for _, caps := range []string{hostile.Able, hostile.Bare} {
			t.Run(fmt.Sprintf("stored %v, %.20s", stored, caps), func(t *testing.T) {
				w := newWorld(t, model.Full())
				server := hostile.New(t, caps)
				source := &tokens{}
				w.dialer = imap.NewDialer(imap.Config{
					Transport: transport.Config{Host: server.Host, Port: server.Port, TLS: transport.Off},
					User:      "me", Secret: auth.Once(source), Compress: imap.CompressOff,
				})
				w.sync()
				var texts []string
				for i := range 3 {
					texts = append(texts, w.message(fmt.Sprint("m", i)))
					w.put("INBOX", texts[i], "S")
				}
				expired := false
				server.Play(func(x *hostile.Exchange) {
					switch {
					case x.Verb == "LOGIN" && expired && !strings.Contains(x.Args, "token2"):
						x.Untagged, x.Result = nil, "NO [AUTHENTICATIONFAILED] the token has expired"
					case x.Verb == "APPEND" && !expired:
						expired = true
						if !stored {
							server.Change("INBOX", func(b *hostile.Mailbox) {
								b.Messages = b.Messages[:len(b.Messages)-1]
								b.UIDNext--
							})
						}
						x.Untagged, x.Result, x.End = []string{"* BYE Session invalidated - AccessTokenExpired"}, "", hostile.HangUp
					}
				})
				res := w.sync()
				if !expired || source.n.Load() != 2 {
					t.Errorf("expired %v, %d tokens were asked for", expired, source.n.Load())
				}
				if res.ToServer.New != 3 {
					t.Errorf("%+v", res.ToServer)
				}
				var want []string
				for _, text := range texts {
					want = append(want, wire(text))
				}
				got := server.Contents()["INBOX"]
				slices.Sort(got)
				slices.Sort(want)
				if !slices.Equal(got, want) {
					t.Errorf("the server has %q", got)
				}
				if n := len(w.files("INBOX")); n != 3 {
					t.Errorf("the Maildir has %d", n)
				}
				if res := w.sync(); res.ToServer.New+res.ToMaildir.New > 0 {
					t.Errorf("another run did something: %+v", res)
				}
			})
		}
	}
}
