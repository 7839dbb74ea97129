package sync_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// TestPanicInAFolder: a mistake of the program's own while it deals with one folder costs that folder its turn, as a death at that
// moment would. The others are done, nothing is lost or doubled, and the next run does the rest.
func TestPanicInAFolder(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"changes", "bodies", "deliver", "append", "appended", "store", "fetch", "expunge"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, model.Full())
			want := w.changeThree(false)
			hit := false
			w.dialer = between{w.server, func(s remote.Session) remote.Session {
				return clumsy{s, func(now, box string) {
					if now == call && box == "B" {
						hit = true
						panic("a mistake")
					}
				}}
			}}
			var log bytes.Buffer
			res := mailsync.Sync(context.Background(), w.set, mailsync.World{Dialer: w.dialer,
				Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}, w.opt)
			if !hit {
				t.Fatal("it never came to that")
			}
			if res.Fatal != nil || len(res.Errors) == 0 {
				t.Fatalf("fatal %v, errors %v\n%s", res.Fatal, res.Errors, defect.Of(res.Fatal).Stack)
			}
			for _, e := range res.Errors {
				if e.Folder != "B" || defect.Of(e) == nil || !strings.Contains(e.Error(), "a mistake") || !strings.Contains(e.Error(), "report it") {
					t.Errorf("%v", e)
				}
			}
			if !strings.Contains(log.String(), "panic_test.go") {
				t.Error("the log does not say where it was")
			}
			for i, side := range []tree{w.serverTree(), w.localTree()} {
				delete(side, "B")
				others := map[string][]string{}
				for f, m := range want {
					if f == "B" {
						continue
					}
					others[f] = m
					if f != "INBOX" && (call == "changes" || call == "fetch") { // what is missing elsewhere may be in B: deletions wait
						others[f] = append(slices.Clone(m), []string{"gone-here ", "gone-there "}[i]+f)
					}
				}
				if got, want := side.subjects(), expectedString(others); got != want {
					t.Errorf("the other folders hold\n%s\nwanted\n%s", got, want)
				}
			}
			w.dialer = w.server
			w.sync()
			w.want(want)
			w.quiet()
		})
	}
}

// changeThree makes three folders in which both sides then changed in every way, with messages that were moved between them or without, and
// says what they will hold.
func (w *world) changeThree(moves bool) map[string][]string {
	want := map[string][]string{"INBOX": {}}
	folders := []string{"A", "B", "C"}
	uids, texts := map[string]mail.UID{}, map[string]string{}
	for _, f := range folders {
		w.server.CreateMailbox(f)
		for _, what := range []string{"gone-here", "gone-there", "flagged-here", "flagged-there"} {
			texts[f+what] = w.message(what + " " + f)
			uids[f+what] = w.arrive(f, texts[f+what])
		}
	}
	movedHere, movedThere := w.message("moved-here"), w.message("moved-there")
	if moves {
		w.arrive("A", movedHere)
		uids["moved-there"] = w.arrive("B", movedThere)
	}
	w.sync()
	for _, f := range folders {
		w.arrive(f, w.message("new-there "+f))
		w.put(f, w.message("new-here "+f), "S")
		w.must(os.Remove(w.file(f, texts[f+"gone-here"])))
		w.server.Expunge(f, uids[f+"gone-there"])
		w.reflag(w.file(f, texts[f+"flagged-here"]), "F")
		w.server.Store(f, true, mail.NewFlags(`\Seen`), uids[f+"flagged-there"])
		want[f] = []string{"new-there " + f, "new-here " + f + ` \Seen`, "flagged-here " + f + ` \Flagged`, "flagged-there " + f + ` \Seen`}
	}
	if moves {
		w.move(w.file("A", movedHere), "C")
		w.server.Move("B", "C", uids["moved-there"])
		want["C"] = append(want["C"], "moved-here", "moved-there")
	}
	return want
}

// TestPanicAnywhere: whatever call to the server or the disk it is in which the program makes a mistake, the run ends by itself, and the next one
// makes both sides what they would have been. It plays some of the calls.
func TestPanicAnywhere(t *testing.T) {
	t.Parallel()
	stride := int64(7)
	if raced {
		stride = 29
	}
	for n := int64(2); ; n += stride {
		w := newWorld(t, model.Full())
		want := w.changeThree(true)
		var calls atomic.Int64
		fail := func(string, string) {
			if calls.Add(1) == n {
				panic("a mistake")
			}
		}
		w.dialer = between{w.server, func(s remote.Session) remote.Session { return clumsy{s, fail} }}
		real, err := maildir.OSFS(w.root)
		w.must(err)
		w.fs = clumsyFS{real, func() { fail("", "") }}
		w.clumsy = true
		res := w.try()
		reached := calls.Load() >= n
		if reached && (res.Fatal != nil && defect.Of(res.Fatal) == nil || slices.ContainsFunc(res.Errors, func(e mailsync.FolderError) bool { return defect.Of(e) == nil })) {
			t.Errorf("call %d: fatal %v, errors %v", n, res.Fatal, res.Errors)
		}
		w.dialer, w.fs, w.clumsy = w.server, nil, false
		w.sync()
		w.want(want)
		w.quiet()
		if !reached {
			if n < 100 {
				t.Errorf("there were %d calls only", calls.Load())
			}
			break
		}
	}
}

// TestPanicOfTheAccount: what concerns more than a folder stops the account, with its name.
func TestPanicOfTheAccount(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"dial", "mailboxes"} {
		w := newWorld(t, model.Full())
		w.arrive("INBOX", w.message("m"))
		w.dialer = clumsyDialer{between{w.server, func(s remote.Session) remote.Session {
			return clumsy{s, func(now, _ string) {
				if now == call {
					panic("a mistake")
				}
			}}
		}}, call == "dial"}
		w.clumsy = true
		res := w.try()
		if defect.Of(res.Fatal) == nil || !strings.Contains(res.Fatal.Error(), "account test") {
			t.Fatalf("%s: %v", call, res.Fatal)
		}
		w.dialer, w.clumsy = w.server, false
		w.sync() // the lock is free, too
		w.want(map[string][]string{"INBOX": {"m"}})
		w.quiet()
	}
}

// TestPanicOfASerialRun: where a test repeats a run step by step, a mistake of the program's own must not look like one of the failures that the test
// has made.
func TestPanicOfASerialRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "a mistake") {
			t.Errorf("it ended with %v", p)
		}
	}()
	mailsync.Sync(context.Background(), w.set, mailsync.World{Serial: true, Dialer: clumsyDialer{w.server, true}}, w.opt)
}

type clumsyDialer struct {
	remote.Dialer
	panics bool
}

func (d clumsyDialer) Dial(ctx context.Context) (remote.Session, error) {
	if d.panics {
		panic("a mistake")
	}
	return d.Dialer.Dial(ctx)
}

// clumsy is a session that calls at with what is done in which mailbox, before or in the middle of it.
type clumsy struct {
	remote.Session
	at func(call, box string)
}

func (c clumsy) Mailboxes(ctx context.Context) ([]remote.Mailbox, error) {
	c.at("mailboxes", "")
	return c.Session.Mailboxes(ctx)
}

func (c clumsy) MailboxesAnd(ctx context.Context, box string) ([]remote.Mailbox, *remote.Changes, error) {
	c.at("mailboxes", "")
	return c.Session.MailboxesAnd(ctx, box)
}

func (c clumsy) Select(ctx context.Context, box string) (remote.Selected, error) {
	c.at("select", box)
	return c.Session.Select(ctx, box)
}

func (c clumsy) Changes(ctx context.Context, box remote.Box, since remote.Since) (remote.Changes, error) {
	c.at("changes", box.Name)
	return c.Session.Changes(ctx, box, since)
}

func (c clumsy) Fetch(ctx context.Context, box remote.Box, uids mail.UIDSet, want remote.FetchItems) ([]remote.Message, error) {
	c.at("fetch", box.Name)
	return c.Session.Fetch(ctx, box, uids, want)
}

func (c clumsy) Bodies(ctx context.Context, box remote.Box, uids mail.UIDSet, deliver func(remote.Message, io.Reader) error) (map[mail.UID]error, error) {
	c.at("bodies", box.Name)
	return c.Session.Bodies(ctx, box, uids, func(m remote.Message, body io.Reader) error {
		c.at("deliver", box.Name)
		return deliver(m, body)
	})
}

func (c clumsy) Append(ctx context.Context, box remote.Box, from mail.UID, uploads []remote.Upload, sent func(int), done func(int, remote.Appended)) ([]remote.Message, error) {
	c.at("append", box.Name)
	seen, err := c.Session.Append(ctx, box, from, uploads, sent, done)
	c.at("appended", box.Name)
	return seen, err
}

func (c clumsy) Store(ctx context.Context, box remote.Box, uids mail.UIDSet, add bool, flags mail.Flags) ([]remote.Message, map[mail.UID]error, error) {
	c.at("store", box.Name)
	return c.Session.Store(ctx, box, uids, add, flags)
}

func (c clumsy) Move(ctx context.Context, box remote.Box, uids mail.UIDSet, to string) (remote.Moved, error) {
	c.at("move", box.Name)
	return c.Session.Move(ctx, box, uids, to)
}

func (c clumsy) Expunge(ctx context.Context, box remote.Box, uids mail.UIDSet) (mail.UIDSet, error) {
	c.at("expunge", box.Name)
	return c.Session.Expunge(ctx, box, uids)
}

// clumsyFS calls at before a file or directory is changed or read.
type clumsyFS struct {
	maildir.FS
	at func()
}

func (c clumsyFS) Create(name string, perm fs.FileMode) (maildir.File, error) {
	c.at()
	return c.FS.Create(name, perm)
}

func (c clumsyFS) Names(dir string, each func(string, fs.FileMode) bool) error {
	c.at()
	return c.FS.Names(dir, each)
}

func (c clumsyFS) Open(name string) (maildir.File, error) {
	c.at()
	return c.FS.Open(name)
}

func (c clumsyFS) Rename(from, to string) error {
	c.at()
	return c.FS.Rename(from, to)
}

func (c clumsyFS) RenameNew(from, to string) error {
	c.at()
	return c.FS.RenameNew(from, to)
}

func (c clumsyFS) SyncDir(dir string) error {
	c.at()
	return c.FS.SyncDir(dir)
}
