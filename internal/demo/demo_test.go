package demo

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote/imap"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// play runs the demonstration; after says what happens after each sync, counted from 0.
func play(t *testing.T, after func(n int, root string)) (Report, []Step, error) {
	t.Helper()
	s, err := StartServer()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	root := filepath.Join(t.TempDir(), "Mail")
	set := mailsync.Settings{
		Account: "demo", Owner: state.Owner{Kind: "imap", Host: Host, User: s.User}, Root: root, Layout: maildir.Nested,
		Policy: plan.Policy{Mode: plan.TwoWay, Create: plan.CreateBoth}, Include: []string{"*"}, Connections: 2,
	}
	w := mailsync.World{Dialer: imap.NewDialer(imap.Config{
		Transport: transport.Config{Host: Host, Port: s.Port, TLS: transport.Off}, User: s.User, Secret: auth.Literal(s.Password),
	})}
	n := 0
	var steps []Step
	report, err := Run(t.Context(), s, root, func(ctx context.Context) *mailsync.Result {
		r := mailsync.Sync(ctx, set, w, mailsync.Options{})
		after(n, root)
		n++
		return r
	}, func(s Step) { steps = append(steps, s) })
	return report, steps, err
}

func TestRun(t *testing.T) {
	report, steps, err := play(t, func(int, string) {})
	if err != nil || len(report.Wrong) > 0 {
		t.Fatalf("%v %q", err, report.Wrong)
	}
	if report.Messages != 12 || report.Folders != 5 || len(steps) != 10 {
		t.Errorf("%+v in %d steps", report, len(steps))
	}
	sides := map[Side]int{}
	for i, s := range steps {
		sides[s.Side]++
		if s.Number != i {
			t.Errorf("step %d has number %d", i, s.Number)
		}
	}
	if sides[OnServer] != 4 || sides[InMaildir] != 4 {
		t.Errorf("the steps were on %v", sides)
	}
}

// Whatever is wrong in the end is found.
func TestRunFindsWhatIsWrong(t *testing.T) {
	const lastSync = 9
	one := func(t *testing.T, pattern string) string {
		t.Helper()
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		return found[0]
	}
	for _, c := range []struct {
		name string
		do   func(t *testing.T, root string) error
		want string
	}{
		{"lost", func(t *testing.T, root string) error { return os.Remove(one(t, root+"/Lists/*/*")) }, "is not in Lists"},
		{"doubled", func(t *testing.T, root string) error {
			return os.Link(one(t, root+"/Lists/*/*"), root+"/Lists/cur/1.2.3:2,")
		}, "a message too many in Lists"},
		{"elsewhere", func(t *testing.T, root string) error {
			return os.Rename(one(t, root+"/Lists/*/*"), root+"/Sent/cur/1.2.3:2,")
		}, "a message too many in Sent"},
		{"flagged", func(t *testing.T, root string) error {
			f := one(t, root+"/Sent/cur/*:2,S")
			return os.Rename(f, f+"T")
		}, `(\Seen \Deleted) instead of (\Seen)`},
		{"changed", func(t *testing.T, root string) error {
			return os.WriteFile(one(t, root+"/Lists/*/*"), []byte("Subject: x\n\nother\n"), 0o600)
		}, "not as it was written"},
		{"without its keyword", func(_ *testing.T, root string) error {
			return os.Remove(root + "/Archive/2024/dovecot-keywords")
		}, "instead of"},
	} {
		t.Run(c.name, func(t *testing.T) {
			report, _, err := play(t, func(n int, root string) {
				if n != lastSync {
					return
				}
				if err := c.do(t, root); err != nil {
					t.Fatal(err)
				}
			})
			if err != nil || !strings.Contains(strings.Join(report.Wrong, "\n"), c.want) {
				t.Errorf("%v, %q; want something with %q", err, report.Wrong, c.want)
			}
		})
	}
}

// A sync that does more than the change needs is wrong even if both sides are right in the end.
func TestRunCountsWhatASyncDoes(t *testing.T) {
	report, _, err := play(t, func(n int, root string) {
		if n == 0 { // the next sync finds one more change
			if err := os.Mkdir(filepath.Join(root, "Lists", "tmp", "x"), 0o700); err != nil {
				t.Fatal(err)
			}
			m := files{root}
			all, err := m.Messages()
			if err != nil {
				t.Fatal(err)
			}
			for _, msg := range all {
				if msg.Folder == drafts {
					if err := m.Flag(msg, 'F'); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
	if err != nil || len(report.Wrong) == 0 || !strings.Contains(report.Wrong[0], "sync 1 did") {
		t.Errorf("%v %q", err, report.Wrong)
	}
}

func TestFiles(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"A/B/cur/1.2.3:2,FSab":   "Subject: x\n\nbody\n",
		"A/B/new/4.5.6":          "Subject: y\r\n\r\nbody\r\n",
		"A/B/dovecot-keywords":   "0 work\n1 home\n",
		"A/B/tmp/7.8.9":          "unfinished",
		"A/B/.satchel.db":        "not a message",
		"A/cur/.keep-out/ignore": "not a message",
	} {
		path := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := files{root}.Messages()
	if err != nil || len(all) != 2 {
		t.Fatalf("%v %+v", err, all)
	}
	if m := all[0]; m.Folder != "A/B" || string(m.Raw) != "Subject: x\r\n\r\nbody\r\n" || !m.Flags.Equal(mail.NewFlags(`\Flagged`, `\Seen`, "work", "home")) {
		t.Errorf("%+v", m)
	}
	if m := all[1]; m.File != "A/B/new/4.5.6" || string(m.Raw) != "Subject: y\r\n\r\nbody\r\n" || !m.Flags.IsZero() {
		t.Errorf("%+v", m)
	}
}

func TestShorten(t *testing.T) {
	for in, want := range map[string]string{
		"INBOX/cur/1764000000.M1P2.host:2,FS": "INBOX/cur/176400...:2,FS",
		"INBOX/new/1764000000.M1P2.host":      "INBOX/new/176400...",
		"a/cur/1.2.3:2,":                      "a/cur/1.2.3:2,",
	} {
		if got := shorten(in); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
