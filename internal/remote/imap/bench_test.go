package imap

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// BenchmarkAppend stores 5,000 messages of 2 kB on Dovecot over TLS, in a format that costs the server little.
func BenchmarkAppend(b *testing.B) {
	for _, without := range [][]string{nil, {"MULTIAPPEND"}, {"MULTIAPPEND", "LITERAL+"}} {
		b.Run(fmt.Sprintf("without %v", without), func(b *testing.B) {
			server := servers.Dovecot(b, servers.Options{Format: "mdbox"})
			cfg := configFor(server)
			cfg.Disable = without
			cfg.Transport = transport.Config{Host: server.Host, Port: server.TLSPort, CAFile: server.CAFile}
			s, err := NewDialer(cfg).Dial(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			const n = 5000
			text := letter(1) + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 26)
			var uploads []remote.Upload
			for range n {
				uploads = append(uploads, upload(text, mail.NewFlags(`\Seen`), time.Date(2024, 1, 2, 3, 4, 5, 0, time.UTC)))
			}
			b.ReportAllocs()
			for b.Loop() {
				_, err := s.Append(b.Context(), remote.Box{Name: "INBOX"}, 0, uploads, func(int) {}, func(i int, r remote.Appended) {
					if r.Err != nil || r.UID == 0 {
						b.Errorf("%d: %+v", i, r)
					}
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/n, "µs/message")
		})
	}
}
