package sync_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

var errKilled = errors.New("killed")

// steps are the changes of one run to the Maildir and the state. With the one that is the last, 0 for none, the process dies.
type steps struct {
	last  int64
	taken atomic.Int64
}

func (s *steps) change(do func() error) error {
	if n := s.taken.Add(1); s.last > 0 && n > s.last {
		return errKilled
	}
	return do()
}

// die has the process die now.
func (s *steps) die() error {
	s.last = max(s.taken.Load(), 1)
	s.taken.Store(s.last + 1)
	return errKilled
}

func (s *steps) died() bool { return s.last > 0 && s.taken.Load() > s.last }

// linkFS is a file system without renames that refuse to replace, such as NFS: files are renamed by a second name, and then without the first.
type linkFS struct {
	maildir.FS
	root  string
	steps *steps
}

func (l linkFS) Kind() maildir.Kind { return maildir.Kind{Name: "NFS"} }

func (l linkFS) RenameNew(from, to string) error {
	if info, err := l.FS.Stat(from); err != nil || !info.Mode.IsRegular() {
		return l.steps.change(func() error { return l.FS.RenameNew(from, to) })
	}
	err := l.steps.change(func() error { return os.Link(filepath.Join(l.root, from), filepath.Join(l.root, to)) })
	if err != nil {
		return err
	}
	return l.Remove(from)
}

func (l linkFS) Remove(name string) error {
	return l.steps.change(func() error { return l.FS.Remove(name) })
}

func (l linkFS) Create(name string, perm fs.FileMode) (f maildir.File, err error) {
	err = l.steps.change(func() error { f, err = l.FS.Create(name, perm); return err })
	return f, err
}

func (l linkFS) SyncDir(dir string) error {
	return l.steps.change(func() error { return l.FS.SyncDir(dir) })
}

// on runs one sync on such a file system as wrap makes of the real one, dead after so many steps, 0 for never.
func (w *world) on(wrap func(maildir.FS, *steps) maildir.FS, last int) (*mailsync.Result, *steps) {
	w.t.Helper()
	w.must(os.MkdirAll(w.root, 0o700))
	real, err := maildir.OSFS(w.root)
	w.must(err)
	s := &steps{last: int64(last)}
	res := mailsync.Sync(context.Background(), w.set, mailsync.World{
		Dialer: w.dialer, Now: func() time.Time { return w.now }, Maildir: maildir.Options{FS: wrap(real, s)}, Commit: s.change, Serial: true,
	}, w.opt)
	return res, s
}

func (w *world) linked(real maildir.FS, s *steps) maildir.FS { return linkFS{real, w.root, s} }

// killedAnywhere plays one history with a run that dies after its first step, after its second, and so on: start makes a world and what there
// is to do in it, then what happens after the death, before the runs that follow it.
func killedAnywhere(t *testing.T, start func() *world, fs func(*world) func(maildir.FS, *steps) maildir.FS, then func(*world), want map[string][]string) {
	t.Helper()
	for last := 1; ; last++ {
		w := start()
		_, s := w.on(fs(w), last)
		then(w)
		for i := range 2 {
			res, _ := w.on(fs(w), 0)
			if res.Fatal != nil || len(res.Errors) > 0 {
				t.Fatalf("dead after step %d, run %d after it: %v %v\n%s", last, i+1, res.Fatal, res.Errors, w)
			}
			if i == 1 && (res.ToMaildir != (mailsync.Count{}) || res.ToServer != (mailsync.Count{})) {
				t.Errorf("dead after step %d: the second run after it still had something to do: %+v %+v", last, res.ToMaildir, res.ToServer)
			}
		}
		func() {
			defer func() {
				if t.Failed() {
					t.Logf("dead after step %d", last)
				}
			}()
			w.want(want)
		}()
		if !s.died() {
			return
		}
	}
}

// TestFlagsKilledBetweenLinkAndUnlink: the server's flags come to files that are renamed by link and unlink, and the run dies at any step. The
// flags are those of the server, and each message has one name, also in more folders than are remembered; what the server does next is done
// to all of a message.
func TestFlagsKilledBetweenLinkAndUnlink(t *testing.T) {
	t.Parallel()
	changes := []struct{ before, add, remove, after string }{
		{`\Flagged`, `\Seen`, "", `\Flagged \Seen`},
		{`\Seen`, `\Deleted`, "", `\Seen \Deleted`},
		{`\Seen`, `\Flagged`, "", `\Flagged \Seen`},
		{`\Flagged \Seen`, "", `\Flagged`, `\Seen`},
		{``, `\Seen`, "", `\Seen`},
		{`\Flagged work`, `\Seen`, "", `\Flagged \Seen work`},
	}
	for _, next := range []string{"nothing", "expunge", "move"} {
		t.Run(next, func(t *testing.T) {
			t.Parallel()
			uids := make([]mail.UID, len(changes))
			start := func() *world {
				w := newWorld(t, model.Full())
				w.set.Policy.Guard.Share = 1
				for _, f := range []string{"B", "C", "D", "E", "F", "G", "H", "I"} {
					w.server.CreateMailbox(f)
					w.arrive(f, w.message("o"))
				}
				for i, c := range changes {
					uids[i] = w.arrive("INBOX", w.message(fmt.Sprint("m", i)), strings.Fields(c.before)...)
				}
				w.arrive("INBOX", w.message("other"), `\Seen`)
				if res, _ := w.on(w.linked, 0); res.Fatal != nil || len(res.Errors) > 0 {
					t.Fatal(res.Fatal, res.Errors)
				}
				for i, c := range changes {
					if c.add != "" {
						w.server.Store("INBOX", true, mail.NewFlags(c.add), uids[i])
					} else {
						w.server.Store("INBOX", false, mail.NewFlags(c.remove), uids[i])
					}
				}
				return w
			}
			want := map[string][]string{"INBOX": {`other \Seen`}}
			for _, f := range []string{"B", "C", "D", "E", "F", "G", "H", "I"} {
				want[f] = []string{"o"}
			}
			for i, c := range changes {
				switch m := fmt.Sprintf("m%d %s", i, c.after); next {
				case "nothing":
					want["INBOX"] = append(want["INBOX"], m)
				case "move":
					want["B"] = append(want["B"], m)
				}
			}
			then := func(w *world) {
				switch next {
				case "expunge":
					w.server.Expunge("INBOX", uids...)
				case "move":
					w.server.Move("INBOX", "B", uids...)
				}
			}
			killedAnywhere(t, start, func(w *world) func(maildir.FS, *steps) maildir.FS { return w.linked }, then, want)
		})
	}
}

// mountFS has the folder B mounted: nothing is renamed into it or out of it.
type mountFS struct{ linkFS }

func (m mountFS) inside(name string) bool { return strings.HasPrefix(name, "B/") }

func (m mountFS) RenameNew(from, to string) error {
	if m.inside(from) != m.inside(to) {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: syscall.EXDEV}
	}
	return m.steps.change(func() error { return m.FS.RenameNew(from, to) })
}

func (w *world) mounted(real maildir.FS, s *steps) maildir.FS {
	return mountFS{linkFS{real, w.root, s}}
}

// TestMovesKilledAtAnyStep: messages were moved, on the server or by a person in pull mode, and the run dies at any step that follows them in the
// Maildir, where a file is moved by link and unlink, or to a mounted folder by a copy. Each message is in one folder, once, on both sides.
func TestMovesKilledAtAnyStep(t *testing.T) {
	t.Parallel()
	for name, fs := range map[string]func(*world) func(maildir.FS, *steps) maildir.FS{
		"link":  func(w *world) func(maildir.FS, *steps) maildir.FS { return w.linked },
		"mount": func(w *world) func(maildir.FS, *steps) maildir.FS { return w.mounted },
	} {
		for _, from := range []string{"INBOX", "Z"} {
			for _, how := range []string{"on the server", "to another folder meanwhile", "taken back", "and the next run dies"} {
				t.Run(name+" from "+from+" "+how, func(t *testing.T) {
					t.Parallel()
					text := ""
					start := func() *world {
						w := newWorld(t, model.Full())
						w.set.Policy.Guard.Share = 1
						for _, f := range []string{"A", "B", "Z"} {
							w.server.CreateMailbox(f)
						}
						text = w.message("m")
						there := from
						if how == "taken back" {
							w.set.Policy.Mode, there = plan.Pull, "B"
						}
						uid := w.arrive(there, text, `\Seen`, "work")
						other := w.arrive(there, w.message("n"), `\Flagged`)
						w.arrive(from, w.message("other"), `\Seen`, "work")
						if res, _ := w.on(fs(w), 0); res.Fatal != nil || len(res.Errors) > 0 {
							t.Fatal(res.Fatal, res.Errors)
						}
						switch how {
						case "taken back":
							letters, err := os.ReadFile(filepath.Join(w.dir("B"), "dovecot-keywords"))
							w.must(err)
							w.must(os.WriteFile(filepath.Join(w.dir(from), "dovecot-keywords"), letters, 0o600))
							w.move(w.file("B", text), from)
						case "to another folder meanwhile":
							letters, err := os.ReadFile(filepath.Join(w.dir(from), "dovecot-keywords"))
							w.must(err)
							w.must(os.WriteFile(filepath.Join(w.dir("A"), "dovecot-keywords"), letters, 0o600))
							w.move(w.file(from, text), "A")
							w.server.Move(from, "B", uid, other)
						default:
							w.server.Move(from, "B", uid, other)
						}
						return w
					}
					want := map[string][]string{"INBOX": {}, "A": {}, "B": {`m \Seen work`, `n \Flagged`}, "Z": {}}
					want[from] = []string{`other \Seen work`}
					killedAnywhere(t, start, fs, func(w *world) {
						if how == "and the next run dies" {
							w.on(fs(w), 4) // when the second half is done, and not yet known
						}
					}, want)
				})
			}
		}
	}
}

// TestHalfAMoveIsNoCopy: a move was cut off before it began, and its destination has a file of the message's name already, which a person put
// there. Nothing is taken away.
func TestHalfAMoveIsNoCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, model.Full())
	w.server.CreateMailbox("B")
	text := w.message("m")
	uid := w.arrive("INBOX", text, `\Seen`)
	w.sync()
	w.server.Move("INBOX", "B", uid)
	w.on(func(real maildir.FS, s *steps) maildir.FS { return beforeMoveFS{linkFS{real, w.root, s}} }, 0)
	if n := len(w.intents()); n != 1 {
		t.Fatalf("%d intents", n)
	}
	file := w.file("INBOX", text)
	w.must(os.WriteFile(filepath.Join(w.dir("B"), "cur", filepath.Base(file)), []byte(text), 0o600))
	w.sync()
	w.want(map[string][]string{"INBOX": {}, "B": {`m \Seen`, `m \Seen`}})
	w.quiet()
}

// beforeMoveFS is there until a file is to be moved to B.
type beforeMoveFS struct{ linkFS }

func (b beforeMoveFS) RenameNew(from, to string) error {
	if strings.HasPrefix(to, "B/cur/") {
		return b.steps.die()
	}
	return b.linkFS.RenameNew(from, to)
}
