//go:build !race

package hostile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/testenv/hostile"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// TestHangUpAtOneMessage: the server closes the connection whenever it is about to send one message, or was sent one. All others come and go.
func TestHangUpAtOneMessage(t *testing.T) {
	for name, caps := range map[string]string{"able": hostile.Able, "mid": hostile.Mid, "bare": hostile.Bare} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, caps, patient)
			want := w.local()
			want["INBOX"] = append(want["INBOX"], text("fresh0"), text("fresh1"))
			for i := range 60 {
				theirs, mine := text(fmt.Sprintf("theirs%d", i)), text(fmt.Sprintf("mine%d", i))
				w.server.Append("INBOX", theirs)
				w.must(os.WriteFile(filepath.Join(w.folder("Archive"), "cur", fmt.Sprintf("1700000000.m%d.client:2,S", i)), []byte(local(mine)), 0o600))
				want["INBOX"], want["Archive"] = append(want["INBOX"], theirs), append(want["Archive"], mine)
			}
			for _, texts := range want {
				slices.Sort(texts)
			}
			dials := 0
			w.server.Play(func(x *hostile.Exchange) {
				switch {
				case x.Is("GREETING"):
					dials++
				case x.Is("APPEND"):
					w.server.Change("Archive", func(b *hostile.Mailbox) {
						last := b.Messages[len(b.Messages)-1]
						if strings.Contains(last.Raw, "Subject: mine30\r\n") {
							b.Messages = b.Messages[:len(b.Messages)-1]
							x.Untagged, x.Result, x.End = nil, "", hostile.HangUp
						}
					})
				case x.Is("UID FETCH") && strings.Contains(x.Args, "BODY.PEEK[]"):
					for i, line := range x.Untagged {
						if strings.Contains(line, "Subject: theirs30\r\n") {
							x.Untagged, x.Result, x.End = x.Untagged[:i], "", hostile.HangUp
							break
						}
					}
				}
			})
			for run := range 2 {
				dials = 0
				res := w.sync(time.Minute)
				if res.Fatal != nil || len(res.Errors) != 2 {
					t.Errorf("run %d: fatal %v, errors %v", run, res.Fatal, res.Errors)
				}
				for _, e := range res.Errors {
					if !strings.Contains(e.Error(), "the connection was lost each time") {
						t.Errorf("run %d: %v", run, e)
					}
				}
				if here, there := w.local(), w.server.Contents(); len(here["INBOX"]) != len(want["INBOX"])-1 || len(there["Archive"]) != len(want["Archive"])-1 {
					t.Errorf("run %d: %d of %d came and %d of %d went", run, len(here["INBOX"]), len(want["INBOX"])-1, len(there["Archive"]), len(want["Archive"])-1)
				}
				if dials > 20 {
					t.Errorf("run %d: %d connections", run, dials)
				}
			}
			w.unharmed()
			w.server.Play(nil)
			w.honest()
			here, there := w.local(), w.server.Contents()
			for folder, texts := range want {
				slices.Sort(there[folder])
				if !slices.Equal(here[folder], texts) || !slices.Equal(there[folder], texts) {
					t.Errorf("%s: the Maildir has %d, the server %d of %d", folder, len(here[folder]), len(there[folder]), len(texts))
				}
			}
			if res := w.honest(); res.ToMaildir != (mailsync.Count{}) || res.ToServer != (mailsync.Count{}) {
				t.Errorf("one more run still changed something: %+v %+v", res.ToMaildir, res.ToServer)
			}
		})
	}
}
