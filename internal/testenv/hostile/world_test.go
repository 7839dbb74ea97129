//go:build !race

package hostile_test

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/remote/imap"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/hostile"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// world is an account that was synchronised with an honest server: the engine, the IMAP client and the Maildir are the real
// ones. The guard is off, so that it hides no deletion that should not have been planned at all.
type world struct {
	t      testing.TB
	server *hostile.Server
	dir    string // holds nothing but root and what tells that somebody came out of it
	root   string
	set    mailsync.Settings
	dialer *imap.Dialer
	now    time.Time
	agreed map[string][]string // texts by folder, after the first run
	coming map[string][]string // new on one side, by folder
	doomed string              // a text of which the person deleted the local file after that
	before map[string]string   // outside of root, see outside

	flooded bool // what the server says is too much to be shown
}

// patient is how long a server may be silent in tests where it speaks.
const patient = 20 * time.Second

func text(subject string) string {
	return fmt.Sprintf("From: a@example.org\r\nMessage-ID: <%s@example.org>\r\nSubject: %s\r\n\r\nThis is %s.\r\n%s\r\n",
		subject, subject, subject, strings.Repeat(subject+" ", 7))
}

func local(text string) string { return strings.ReplaceAll(text, "\r\n", "\n") }

// newWorld makes the account, and changes on both sides that the next run will have to deal with.
func newWorld(t testing.TB, caps string, patience time.Duration) *world {
	t.Helper()
	return newWorldIn(t, maildir.Nested, caps, patience)
}

func newWorldIn(t testing.TB, layout maildir.Layout, caps string, patience time.Duration) *world {
	t.Helper()
	w := &world{t: t, server: hostile.New(t, caps), dir: t.TempDir(), now: time.Now()}
	w.root = filepath.Join(w.dir, "a", "mail")
	w.must(os.MkdirAll(w.root, 0o700))
	w.must(os.MkdirAll(filepath.Join(w.dir, "a", "canary"), 0o700))
	w.must(os.WriteFile(filepath.Join(w.dir, "a", "canary", "cur"), []byte("tweet"), 0o600))
	w.set = mailsync.Settings{
		Account: "test", Owner: state.Owner{Kind: "imap", Host: "hostile", User: "me"},
		Root: w.root, Layout: layout, Include: []string{"*"}, Connections: 2, Undo: 24 * time.Hour,
		Policy: plan.Policy{Mode: plan.TwoWay, Create: plan.CreateBoth},
	}
	w.patience(patience)
	for _, box := range []string{"Archive", "Work", "Work/Old"} {
		w.server.Create(box)
	}
	for i := range 6 {
		w.server.Append("INBOX", text(fmt.Sprintf("inbox%d", i)), `\Seen`)
	}
	for i := range 4 {
		w.server.Append("Archive", text(fmt.Sprintf("archive%d", i)), `\Seen`, "Work")
	}
	for i := range 3 {
		w.server.Append("Work/Old", text(fmt.Sprintf("old%d", i)))
	}
	w.put("INBOX", text("mine"), "S")
	w.honest()
	w.agreed = w.local()

	w.coming = map[string][]string{}
	w.arrives("INBOX", "fresh0", `\Flagged`)
	w.arrives("INBOX", "fresh1")
	w.server.Change("Archive", func(b *hostile.Mailbox) {
		b.ModSeq++
		b.Messages[0].Flags, b.Messages[0].ModSeq = []string{`\Answered`, `\Seen`}, b.ModSeq
	})
	w.made("Archive", "new here")
	w.reflag("INBOX", "inbox1", "FS")
	w.doomed = text("old1")
	w.must(os.Remove(w.file("Work/Old", "old1")))
	w.before = w.outside()
	return w
}

// patience says how long the server may be silent, and forgets what the client learnt about it.
func (w *world) patience(d time.Duration) {
	cfg := imap.Config{
		Transport: transport.Config{Host: w.server.Host, Port: w.server.Port, TLS: transport.Off},
		User:      "me", Secret: auth.Literal("secret"), Patience: d, Compress: imap.CompressOff,
	}
	if testing.Verbose() && !w.flooded {
		cfg.Trace = func(dir byte, line string) { w.t.Logf("%c %.300s", dir, line) }
	}
	w.dialer = imap.NewDialer(cfg)
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// sync runs the engine once, which must end in time.
func (w *world) sync(most time.Duration) *mailsync.Result {
	w.t.Helper()
	w.now = w.now.Add(time.Minute)
	world := mailsync.World{Dialer: w.dialer, Now: func() time.Time { return w.now }}
	if testing.Verbose() && !w.flooded {
		world.Log = slog.New(slog.NewTextHandler(w.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	start := time.Now()
	res := mailsync.Sync(ctx, w.set, world, mailsync.Options{})
	if ctx.Err() != nil {
		w.t.Fatalf("it went on for %v: %v", time.Since(start), res.Fatal)
	}
	mistakes := []*defect.Error{defect.Of(res.Fatal)}
	for _, e := range res.Errors {
		mistakes = append(mistakes, defect.Of(e.Err))
	}
	for _, d := range mistakes {
		if d != nil {
			w.t.Fatalf("%v\n%s", d, d.Stack)
		}
	}
	return res
}

// honest is a run with the honest server, without a failure.
func (w *world) honest() *mailsync.Result {
	w.t.Helper()
	res := w.sync(time.Minute)
	if res.Fatal != nil || len(res.Errors) > 0 || len(res.Warnings) > 0 {
		w.t.Fatalf("with an honest server: %v %v %v", res.Fatal, res.Errors, res.Warnings)
	}
	return res
}

// folder is where the Maildir has a folder of a plain name.
func (w *world) folder(name string) string {
	switch {
	case w.set.Layout == maildir.Nested:
		return filepath.Join(w.root, name)
	case name == "INBOX":
		return w.root
	}
	return filepath.Join(w.root, "."+strings.ReplaceAll(name, "/", "."))
}

func (w *world) put(folder, text, flags string) {
	w.t.Helper()
	for _, d := range []string{"cur", "new", "tmp"} {
		w.must(os.MkdirAll(filepath.Join(w.folder(folder), d), 0o700))
	}
	name := fmt.Sprintf("1700000000.%d.client:2,%s", len(text), flags)
	w.must(os.WriteFile(filepath.Join(w.folder(folder), "cur", name), []byte(local(text)), 0o600))
}

// count counts the files with a text, wherever they are.
func (w *world) count(text string) (n int) {
	for _, texts := range w.local() {
		for _, t := range texts {
			if t == text {
				n++
			}
		}
	}
	return n
}

// file finds the file of a message by its subject.
func (w *world) file(folder, subject string) string {
	w.t.Helper()
	for _, sub := range []string{"cur", "new"} {
		entries, err := os.ReadDir(filepath.Join(w.folder(folder), sub))
		w.must(err)
		for _, e := range entries {
			path := filepath.Join(w.folder(folder), sub, e.Name())
			if b, err := os.ReadFile(path); err == nil && strings.Contains(string(b), "Subject: "+subject+"\n") {
				return path
			}
		}
	}
	w.t.Fatalf("%s has no message %s", folder, subject)
	return ""
}

// arrives and made have a new message on the server, and in the Maildir.
func (w *world) arrives(folder, subject string, flags ...string) {
	w.server.Append(folder, text(subject), flags...)
	w.coming[folder] = append(w.coming[folder], text(subject))
}

func (w *world) made(folder, subject string) {
	w.put(folder, text(subject), "F")
	w.coming[folder] = append(w.coming[folder], text(subject))
}

// carry moves a message's file to another folder, as a mail program does.
func (w *world) carry(from, to, subject string) {
	w.t.Helper()
	path := w.file(from, subject)
	w.must(os.Rename(path, filepath.Join(w.folder(to), "cur", filepath.Base(path))))
	w.forget(from, text(subject))
	w.agreed[to] = append(w.agreed[to], text(subject))
}

// forget has a message be one that may go from a folder.
func (w *world) forget(folder, text string) {
	w.agreed[folder] = slices.DeleteFunc(slices.Clone(w.agreed[folder]), func(t string) bool { return t == text })
}

func (w *world) reflag(folder, subject, flags string) {
	w.t.Helper()
	path := w.file(folder, subject)
	base, _, _ := strings.Cut(filepath.Base(path), ":2,")
	w.must(os.Rename(path, filepath.Join(w.folder(folder), "cur", base+":2,"+flags)))
}

// local reads the Maildir, none of our code being asked: the texts of each folder, as they would go over the wire.
func (w *world) local() map[string][]string {
	w.t.Helper()
	out := map[string][]string{}
	w.must(filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if d.Name() == ".satchel" || d.Name() == "satchel-undo" && w.set.Layout == maildir.PlusPlus {
			return filepath.SkipDir
		}
		if d.Name() != "cur" && d.Name() != "new" {
			return nil
		}
		rel, err := filepath.Rel(w.root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if w.set.Layout == maildir.PlusPlus {
			if rel == "." {
				rel = ".INBOX"
			}
			rel = strings.ReplaceAll(rel[1:], ".", "/")
		}
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		if out[rel] == nil {
			out[rel] = []string{}
		}
		for _, e := range entries {
			b, err := os.ReadFile(filepath.Join(path, e.Name()))
			if err != nil {
				return err
			}
			out[rel] = append(out[rel], strings.ReplaceAll(local(string(b)), "\n", "\r\n"))
		}
		slices.Sort(out[rel])
		return filepath.SkipDir
	}))
	return out
}

// outside lists what is beside the Maildir.
func (w *world) outside() map[string]string {
	w.t.Helper()
	out := map[string]string{}
	w.must(filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == w.root {
			return filepath.SkipDir
		}
		content := ""
		if !d.IsDir() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(b)
		}
		out[path] = content
		return nil
	}))
	return out
}

// unharmed fails the test if an agreed message is gone from the Maildir, or if anything was written outside of it, or inside in a
// way that others can read.
func (w *world) unharmed() {
	w.t.Helper()
	now := w.local()
	for folder, texts := range w.agreed {
		for _, text := range texts {
			if text != w.doomed && !slices.Contains(now[folder], text) {
				w.t.Errorf("%s lost a message: %.100q", folder, text)
			}
		}
	}
	w.contained()
}

// acted fails the test if the server was honest all the same.
func (w *world) acted() {
	w.t.Helper()
	if !w.server.Acted() {
		w.t.Error("the server never did it: the test proves nothing")
	}
}

func (w *world) contained() {
	w.t.Helper()
	if now := w.outside(); !maps.Equal(now, w.before) {
		w.t.Errorf("outside of the Maildir there is\n%q\nand there was\n%q", now, w.before)
	}
	w.must(filepath.WalkDir(w.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if mode := info.Mode(); mode.Perm()&0o077 != 0 || !mode.IsDir() && !mode.IsRegular() {
			w.t.Errorf("%s has the mode %v", path, mode)
		}
		return nil
	}))
}

// clear fails the test unless a run has said that something failed, in words.
func (w *world) clear(res *mailsync.Result) {
	w.t.Helper()
	var texts []string
	if res.Fatal != nil {
		texts = append(texts, res.Fatal.Error())
	}
	for _, e := range res.Errors {
		texts = append(texts, e.Error())
	}
	if len(texts) == 0 {
		w.t.Error("nothing was said to have failed")
	}
	for _, text := range texts {
		if len(text) < 15 || len(text) > 30_000 || strings.ContainsFunc(text, unicode.IsControl) {
			w.t.Errorf("not for people: %q", text)
		}
		w.t.Logf("it says: %s", text)
	}
}

// recovers runs against the honest server, and fails the test unless both sides are then the same, with nothing lost
// or doubled, and at rest.
func (w *world) recovers() {
	w.t.Helper()
	w.server.Play(nil)
	w.patience(patient)
	w.honest()
	w.whole()
	if res := w.honest(); res.ToMaildir != (mailsync.Count{}) || res.ToServer != (mailsync.Count{}) {
		w.t.Errorf("one more run still changed something: %+v %+v", res.ToMaildir, res.ToServer)
	}
	w.whole()
}

// whole compares both sides with what there should be.
func (w *world) whole() {
	w.t.Helper()
	server, here := w.server.Contents(), w.local()
	for name, texts := range server {
		slices.Sort(texts)
		if !slices.Equal(texts, here[name]) {
			w.t.Errorf("%s differs:\nthe server has\n%.100q\nthe Maildir has\n%.100q", name, texts, here[name])
		}
	}
	for name := range here {
		if _, ok := server[name]; !ok {
			w.t.Errorf("only the Maildir has the folder %q", name)
		}
	}
	want := maps.Clone(w.agreed)
	for folder, texts := range w.coming {
		want[folder] = append(slices.Clone(want[folder]), texts...)
	}
	for folder, texts := range want {
		for _, text := range texts {
			n := len(slices.DeleteFunc(slices.Clone(here[folder]), func(t string) bool { return t != text }))
			if n != 1 && !(text == w.doomed && n == 0) {
				w.t.Errorf("%s has %d times %.100q", folder, n, text)
			}
		}
		if len(here[folder]) > len(texts) {
			w.t.Errorf("%s has %d messages, want %d", folder, len(here[folder]), len(texts))
		}
	}
}
