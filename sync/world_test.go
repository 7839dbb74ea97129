package sync_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// world is one account for a test: a model server, a Maildir that the test changes by hand as a mail client
// does (plain files and renames, none of our code), and the engine between them.
type world struct {
	t      testing.TB
	server *model.Server
	dialer remote.Dialer // the server's, unless a test comes between
	fs     maildir.FS    // nil: the real one
	root   string
	set    mailsync.Settings
	opt    mailsync.Options
	now    time.Time
	made   int
	clumsy bool // the test makes the engine panic
}

func newWorld(t testing.TB, o model.Options) *world {
	t.Helper()
	w := &world{t: t, server: model.New(o), root: filepath.Join(t.TempDir(), "mail"), now: time.Now()}
	w.dialer = w.server
	w.set = mailsync.Settings{
		Account: "test", Owner: state.Owner{Kind: "imap", Host: "model", User: "me"},
		Root: w.root, Layout: maildir.Nested, Include: []string{"*"}, Connections: 2, Undo: 24 * time.Hour,
		Policy: plan.Policy{Mode: plan.TwoWay, Create: plan.CreateBoth, Guard: plan.Guard{ByShare: true, Share: 0.5}},
	}
	return w
}

// try runs one sync and returns its result.
func (w *world) try() *mailsync.Result {
	w.t.Helper()
	// Times move on, so that directory times are not too young to be trusted for ever.
	out := mailsync.World{Dialer: w.dialer, Now: func() time.Time { return w.now }, Maildir: maildir.Options{FS: w.fs}}
	if testing.Verbose() {
		out.Log = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	res := mailsync.Sync(context.Background(), w.set, out, w.opt)
	for _, e := range append([]mailsync.FolderError{{Err: res.Fatal}}, res.Errors...) {
		if d := defect.Of(e.Err); d != nil && !w.clumsy {
			w.t.Fatalf("panic: %v\n%s", d.What, d.Stack)
		}
	}
	return res
}

// sync runs one sync that must go well.
func (w *world) sync() *mailsync.Result {
	w.t.Helper()
	res := w.try()
	if res.Fatal != nil {
		w.t.Fatalf("sync: %v\n%s", res.Fatal, w)
	}
	for _, e := range res.Errors {
		w.t.Fatalf("sync: %v\n%s", e, w)
	}
	return res
}

// message makes the text of a message that is unlike every other, with LF line ends.
func (w *world) message(subject string) string {
	w.made++
	return fmt.Sprintf("From: a@example.org\nMessage-ID: <%d.%s@example.org>\nSubject: %s\nDate: Mon, 02 Jun 2025 10:00:00 +0000\n\nThis is %s.\n",
		w.made, strings.ReplaceAll(subject, " ", "-"), subject, subject)
}

func wire(text string) string { return strings.ReplaceAll(text, "\n", "\r\n") }

// arrive stores a message on the server.
func (w *world) arrive(mailbox, text string, flags ...string) mail.UID {
	return w.server.Append(mailbox, wire(text), mail.NewFlags(flags...), time.Date(2025, 6, 2, 10, 0, 0, 0, time.UTC))
}

func (w *world) dir(folder string) string {
	if w.set.Layout == maildir.PlusPlus {
		if folder == "INBOX" {
			return w.root
		}
		return filepath.Join(w.root, "."+strings.ReplaceAll(folder, "/", "."))
	}
	return filepath.Join(w.root, filepath.FromSlash(folder))
}

// put writes a message file as a mail client does.
func (w *world) put(folder, text, flags string) string {
	w.t.Helper()
	w.made++
	sub, name := "cur", fmt.Sprintf("17%08d.client%d.host:2,%s", w.made, w.made, flags)
	if flags == "" {
		sub, name = "new", fmt.Sprintf("17%08d.client%d.host", w.made, w.made)
	}
	w.mkfolder(folder)
	path := filepath.Join(w.dir(folder), sub, name)
	w.must(os.WriteFile(path, []byte(text), 0o600))
	return path
}

func (w *world) mkfolder(folder string) {
	for _, d := range []string{"cur", "new", "tmp"} {
		w.must(os.MkdirAll(filepath.Join(w.dir(folder), d), 0o700))
	}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// file finds the file of a message by its text.
func (w *world) file(folder, text string) string {
	w.t.Helper()
	for _, f := range w.files(folder) {
		if b, err := os.ReadFile(f); err == nil && string(b) == text {
			return f
		}
	}
	w.t.Fatalf("no file in %s holds %q\n%s", folder, firstLines(text), w)
	return ""
}

func (w *world) files(folder string) []string {
	var out []string
	for _, d := range []string{"new", "cur"} {
		entries, err := os.ReadDir(filepath.Join(w.dir(folder), d))
		if err != nil {
			continue
		}
		for _, e := range entries {
			out = append(out, filepath.Join(w.dir(folder), d, e.Name()))
		}
	}
	slices.Sort(out)
	return out
}

// reflag gives a file other flag letters, as a mail client does.
func (w *world) reflag(path, flags string) string {
	w.t.Helper()
	base, _, _ := strings.Cut(filepath.Base(path), ":2,")
	to := filepath.Join(filepath.Dir(filepath.Dir(path)), "cur", base+":2,"+flags)
	w.must(os.Rename(path, to))
	return to
}

// move renames a file into another folder, under the same name.
func (w *world) move(path, folder string) string {
	w.t.Helper()
	w.mkfolder(folder)
	to := filepath.Join(w.dir(folder), filepath.Base(filepath.Dir(path)), filepath.Base(path))
	w.must(os.Rename(path, to))
	return to
}

// tree is what one side holds: for each folder the messages as "flags text", sorted.
type tree map[string][]string

func (w *world) serverTree() tree {
	out := tree{}
	for _, b := range w.server.Snapshot().Mailboxes {
		out[b.Name] = []string{}
		for _, m := range b.Messages {
			out[b.Name] = append(out[b.Name], fmt.Sprintf("[%s] %s", m.Flags, strings.ReplaceAll(m.Raw, "\r\n", "\n")))
		}
		slices.Sort(out[b.Name])
	}
	return out
}

// localTree reads the Maildir without any of our code.
func (w *world) localTree() tree {
	out := tree{}
	names := map[rune]string{'D': `\Draft`, 'F': `\Flagged`, 'P': `$Forwarded`, 'R': `\Answered`, 'S': `\Seen`, 'T': `\Deleted`}
	err := filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if strings.HasPrefix(d.Name(), ".satchel") || d.Name() == "satchel-undo" {
			return filepath.SkipDir
		}
		if d.Name() != "cur" {
			return nil
		}
		dir := filepath.Dir(path)
		folder, _ := filepath.Rel(w.root, dir)
		if w.set.Layout == maildir.PlusPlus {
			if folder == "." {
				folder = "INBOX"
			}
			folder = strings.ReplaceAll(strings.TrimPrefix(folder, "."), ".", "/")
		}
		out[folder] = []string{}
		keywords := map[rune]string{}
		if b, err := os.ReadFile(filepath.Join(dir, "dovecot-keywords")); err == nil {
			for line := range strings.Lines(string(b)) {
				var i int
				var k string
				if _, err := fmt.Sscanf(line, "%d %s", &i, &k); err == nil {
					keywords['a'+rune(i)] = k
				}
			}
		}
		for _, sub := range []string{"new", "cur"} {
			entries, err := os.ReadDir(filepath.Join(dir, sub))
			if err != nil {
				return err
			}
			for _, e := range entries {
				b, err := os.ReadFile(filepath.Join(dir, sub, e.Name()))
				if err != nil {
					return err
				}
				var flags []string
				_, letters, _ := strings.Cut(e.Name(), ":2,")
				for _, l := range letters {
					if n, ok := names[l]; ok {
						flags = append(flags, n)
					} else if k, ok := keywords[l]; ok {
						flags = append(flags, k)
					}
				}
				out[folder] = append(out[folder], fmt.Sprintf("[%s] %s", mail.NewFlags(flags...), strings.ReplaceAll(string(b), "\r\n", "\n")))
			}
		}
		slices.Sort(out[folder])
		return nil
	})
	w.must(err)
	return out
}

// same fails unless both sides hold the same.
func (w *world) same() {
	w.t.Helper()
	if a, b := w.serverTree().String(), w.localTree().String(); a != b {
		w.t.Fatalf("the sides differ\n%s", w)
	}
}

// want fails unless both sides hold exactly this: folder → subjects with flags, "subject [flags]".
func (w *world) want(expected map[string][]string) {
	w.t.Helper()
	for _, side := range []struct {
		name string
		tree tree
	}{{"server", w.serverTree()}, {"Maildir", w.localTree()}} {
		if got, want := side.tree.subjects(), expectedString(expected); got != want {
			w.t.Fatalf("the %s holds\n%s\nwanted\n%s\n%s", side.name, got, want, w)
		}
	}
}

func expectedString(m map[string][]string) string {
	var b strings.Builder
	var folders []string
	for f := range m {
		folders = append(folders, f)
	}
	slices.Sort(folders)
	for _, f := range folders {
		s := slices.Clone(m[f])
		slices.Sort(s)
		fmt.Fprintf(&b, "%s: %s\n", f, strings.Join(s, ", "))
	}
	return b.String()
}

func (t tree) subjects() string {
	m := map[string][]string{}
	for f, messages := range t {
		m[f] = []string{}
		for _, msg := range messages {
			flags, text, _ := strings.Cut(msg, "] ")
			subject := "?"
			for line := range strings.Lines(text) {
				if s, ok := strings.CutPrefix(line, "Subject: "); ok {
					subject = strings.TrimSpace(s)
				}
			}
			if flags = strings.TrimPrefix(flags, "["); flags != "" {
				subject += " " + flags
			}
			m[f] = append(m[f], subject)
		}
	}
	return expectedString(m)
}

func (t tree) String() string {
	var b bytes.Buffer
	var folders []string
	for f := range t {
		folders = append(folders, f)
	}
	slices.Sort(folders)
	for _, f := range folders {
		fmt.Fprintf(&b, "%s (%d)\n", f, len(t[f]))
		for _, m := range t[f] {
			fmt.Fprintf(&b, "  %q\n", m)
		}
	}
	return b.String()
}

func (w *world) String() string {
	return "--- server\n" + w.serverTree().String() + "--- Maildir\n" + w.localTree().String()
}

// quiet syncs once more and fails unless that changes nothing.
func (w *world) quiet() {
	w.t.Helper()
	before := w.server.Snapshot().String()
	res := w.sync()
	if res.ToMaildir != (mailsync.Count{}) || res.ToServer != (mailsync.Count{}) {
		w.t.Fatalf("a second run changed something: %+v %+v\n%s", res.ToMaildir, res.ToServer, w)
	}
	if after := w.server.Snapshot().String(); after != before {
		w.t.Fatalf("a second run changed the server\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

func firstLines(s string) string {
	if len(s) > 120 {
		s = s[:120]
	}
	return s
}

// pairWorld is a world in which message m lies in folder A on both sides, with B and C beside it.
type pairWorld struct {
	*world
	text string
	uid  mail.UID
}

func newPairWorld(t *testing.T, flags ...string) *pairWorld {
	return newPairWorldOn(t, model.Full(), flags...)
}

func newPairWorldOn(t *testing.T, o model.Options, flags ...string) *pairWorld {
	w := &pairWorld{world: newWorld(t, o)}
	for _, f := range []string{"A", "B", "C"} {
		w.server.CreateMailbox(f)
	}
	w.text = w.message("m")
	w.uid = w.arrive("A", w.text, flags...)
	w.sync()
	return w
}

func (w *pairWorld) file() string { return w.world.file("A", w.text) }

// boxes is what both sides must hold: the folders that are always there and one more entry each.
func boxes(more map[string][]string) map[string][]string {
	all := map[string][]string{"INBOX": {}, "A": {}, "B": {}, "C": {}}
	for f, m := range more {
		all[f] = m
	}
	return all
}

// between is a dialer with a test between the engine and the server.
type between struct {
	remote.Dialer
	wrap func(remote.Session) remote.Session
}

func (b between) Dial(ctx context.Context) (remote.Session, error) {
	s, err := b.Dialer.Dial(ctx)
	if err != nil {
		return nil, err
	}
	return b.wrap(s), nil
}
