package imap

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// zlib is a Dovecot that compresses.
func zlib(t testing.TB) *servers.Server {
	return servers.Dovecot(t, servers.Options{Config: "protocol imap {\n mail_plugins = $mail_plugins imap_zlib\n}"})
}

func TestCompressedDovecot(t *testing.T) {
	server := zlib(t)
	cfg := configFor(server)
	cfg.Compress = CompressOn
	exercise(t, cfg, server.Client(t))
	if s := dial(t, cfg); !s.conn.compressed() || !slices.Contains(s.Capabilities().Used, string(capCompress)) {
		t.Errorf("it is not compressed; used are %v", s.Capabilities().Used)
	}
}

// prose is text of about n bytes that compresses as the text of messages does.
func prose(seed uint64, n int) string {
	r := rand.New(rand.NewPCG(seed, 1))
	var b strings.Builder
	for b.Len() < n {
		for range 10 {
			for range 2 + r.IntN(7) {
				b.WriteByte("etaoinshrdlucmfw"[min(r.IntN(16), r.IntN(16))])
			}
			b.WriteByte(' ')
		}
		b.WriteString("\r\n")
	}
	return b.String()
}

// fill stores n messages of about size bytes in INBOX.
func fill(t testing.TB, cfg Config, n, size int) {
	t.Helper()
	s, err := NewDialer(cfg).Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var uploads []remote.Upload
	for i := range n {
		uploads = append(uploads, upload(letter(i)+prose(uint64(i), size), mail.Flags{}, time.Time{}))
	}
	if _, err := s.Append(t.Context(), remote.Box{Name: "INBOX"}, 0, uploads, func(int) {}, func(_ int, r remote.Appended) {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}

// narrow relays to addr and lets only so many bytes a second come from there.
func narrow(t testing.TB, addr string, bytesPerSecond int) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				_ = client.Close()
				return
			}
			go func() {
				_, _ = io.Copy(server, client) // until one of them is gone
				_ = server.Close()
			}()
			go func() {
				defer client.Close()
				buf := make([]byte, 4<<10)
				due := time.Now()
				for {
					n, err := server.Read(buf)
					if _, werr := client.Write(buf[:n]); err != nil || werr != nil {
						return
					}
					if now := time.Now(); due.Before(now) {
						due = now
					}
					due = due.Add(time.Duration(n) * time.Second / time.Duration(bytesPerSecond))
					time.Sleep(time.Until(due))
				}
			}()
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

// pullAll fetches all of n messages in portions as the engine does, and returns how long that took and what came over the wire.
func pullAll(t testing.TB, s *Session, n int) (time.Duration, int64) {
	t.Helper()
	sel, err := s.Select(t.Context(), "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	start, came := time.Now(), 0
	for from := 1; from <= n; from += 500 {
		var uids mail.UIDSet
		uids.AddRange(mail.UID(from), mail.UID(min(n, from+499)))
		missing, err := s.Bodies(t.Context(), remote.Box{Name: "INBOX", UIDValidity: sel.UIDValidity}, uids, func(m remote.Message, body io.Reader) error {
			text, err := io.ReadAll(body)
			if !strings.Contains(string(text), fmt.Sprintf("letter %d\r\n", m.UID-1)) || int64(len(text)) != m.Size {
				t.Errorf("message %d is another one", m.UID)
			}
			came++
			return err
		})
		if err != nil || len(missing) > 0 {
			t.Fatal(missing, err)
		}
	}
	if came != n {
		t.Errorf("%d messages came", came)
	}
	return time.Since(start), s.Traffic().BytesIn
}

func TestAutoOnDovecot(t *testing.T) {
	server := zlib(t)
	cfg := configFor(server)
	fill(t, cfg, 1500, 4000)
	cfg.Transport.Port = narrow(t, server.Addr(), 1_000_000)
	s := dial(t, quietly(cfg))
	took, in := pullAll(t, s, 1500)
	if !s.conn.compressed() || in > 5_200_000 {
		t.Errorf("%d bytes came, compressed: %v, %v", in, s.conn.compressed(), took)
	}
}

// BenchmarkPull is 5 MB of mail over a narrow link and over none.
func BenchmarkPull(b *testing.B) {
	server := zlib(b)
	plain := configFor(server)
	fill(b, plain, 1000, 5000)
	slow := plain
	slow.Transport.Port = narrow(b, server.Addr(), 1_000_000)
	for _, link := range []struct {
		name string
		cfg  Config
	}{{"1MB/s", slow}, {"loopback", plain}} {
		for how, c := range map[string]Compress{"off": CompressOff, "auto": CompressAuto, "on": CompressOn} {
			b.Run(link.name+"/"+how, func(b *testing.B) {
				cfg := link.cfg
				cfg.Compress = c
				for b.Loop() {
					s, err := NewDialer(cfg).Dial(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					_, in := pullAll(b, s.(*Session), 1000)
					b.ReportMetric(float64(in), "bytes")
					_ = s.Close()
				}
			})
		}
	}
}
