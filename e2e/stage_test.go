package e2e

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// quickProgram is the program without the race detector, for tests that run it very often.
var quickProgram = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(filepath.Dir(satchel), "satchel-quick")
	return bin, build(bin)
})

// stage is an account with work of every kind to be done, which can be put back to where it was.
type stage struct {
	*account
	// before and after are copies of the server's side: when both sides were the same, and with the work to be done.
	before, after string
	// want is what both sides hold when the work is done.
	want map[string][]string
}

// stageOutcome is want in the words of the test: subjects and flags.
var stageOutcome = map[string]string{
	"INBOX":     "flagged.here=F flagged.there=F kept= keyword= new.here1= new.here2=S new.there1= new.there2= new.there3=S twin= twin=",
	"Work":      "both.ways=FS moved.here= moved.there= work=",
	"Fresh":     "fresh=",
	"Home":      "home=S",
	"Older":     "old=",
	"Documents": "paper=",
}

// newStage makes one on a Dovecot. Its observers come by the tunnel, so that no process of the server works on the
// account when they are gone.
func newStage(t testing.TB) *stage {
	t.Helper()
	server := *servers.Dovecot(t, servers.Options{})
	server.Port = 0
	a := newAccount(t, &server)
	bin, err := quickProgram()
	a.check(err)
	a.Program = bin

	s := &stage{account: a, before: filepath.Join(a.Dir, "before"), after: filepath.Join(a.Dir, "after")}
	c := a.client()
	for _, box := range []string{"Work", "Doomed", "Dropped", "Old", "Papers"} {
		c.Create(box)
	}
	a.send("INBOX", flags(), "flagged.there", "flagged.here", "moved.there", "moved.here", "both.ways", "deleted.there", "deleted.here", "kept",
		"twin", "twin", "keyword")
	for box, subject := range map[string]string{"Work": "work", "Doomed": "doomed", "Dropped": "dropped", "Old": "old", "Papers": "paper"} {
		a.send(box, flags(), subject)
	}
	a.leave()
	a.check(copyTree(server.Root, s.before))
	a.sync(0)
	s.workThere()
	a.leave()
	a.check(copyTree(server.Root, s.after))
	s.workHere()
	a.settled()
	s.want = a.serverTree()
	if diff := cmp.Diff(stageOutcome, outline(s.want)); diff != "" {
		t.Fatalf("an undisturbed sync went wrong (-want +got):\n%s", diff)
	}
	return s
}

// workThere is what another client did on the server.
func (s *stage) workThere() {
	c := s.client()
	s.send("INBOX", flags(), "new.there1", "new.there2")
	s.send("INBOX", flags(`\Seen`), "new.there3")
	c.Store("INBOX", true, flags(`\Flagged`), s.uid("INBOX", "flagged.there"))
	c.Store("INBOX", true, flags("Errand"), s.uid("INBOX", "keyword"))
	c.Store("INBOX", true, flags(`\Flagged`), s.uid("INBOX", "both.ways"))
	c.Move("INBOX", "Work", s.uid("INBOX", "moved.there"))
	c.Expunge("INBOX", s.uid("INBOX", "deleted.there"))
	c.Create("Fresh")
	s.send("Fresh", flags(), "fresh")
	c.Rename("Old", "Older")
	c.Delete("Doomed")
}

// workHere is what a mail client did in the Maildir.
func (s *stage) workHere() {
	s.file("INBOX", "", "new.here1")
	s.file("INBOX", "S", "new.here2")
	s.file("Home", "S", "home")
	s.flag("INBOX", "flagged.here", "F")
	s.flag("INBOX", "both.ways", "S")
	s.move("INBOX", "Work", "both.ways")
	s.move("INBOX", "Work", "moved.here")
	s.remove("INBOX", "deleted.here")
	s.check(os.Rename(s.dir("Papers"), s.dir("Documents")))
	s.rmdir("Dropped")
}

// outline is a tree of sentences in short.
func outline(tree map[string][]string) map[string]string {
	out := map[string]string{}
	for folder, list := range tree {
		var words []string
		for _, s := range list {
			var subject, digest, rest string
			if _, err := fmt.Sscanf(s, "%q %s", &subject, &digest); err == nil {
				_, rest, _ = strings.Cut(s, digest+" ")
			}
			system, _, _ := strings.Cut(rest, " ")
			words = append(words, subject+"="+system)
		}
		slices.Sort(words)
		out[folder] = strings.Join(words, " ")
	}
	return out
}

// leave ends the observer's session.
func (a *account) leave() {
	if a.observer != nil {
		a.observer.Close()
		a.observer = nil
	}
}

// restore puts everything back. The Maildir is made anew by a sync: the program knows files and folders by their inodes,
// which no copy has.
func (s *stage) restore() {
	s.t.Helper()
	s.leave()
	s.check(os.RemoveAll(s.Maildir))
	s.putServer(s.before)
	if o, err := s.whole("sync"); err != nil || o.Code != 0 {
		s.t.Fatalf("the first sync: %v, %v", err, o)
	}
	s.putServer(s.after)
	s.workHere()
}

func (s *stage) putServer(kept string) {
	s.t.Helper()
	s.check(os.RemoveAll(s.Server.Root))
	s.check(copyTree(kept, s.Server.Root))
}

// whole runs the program, and returns when the server's process has ended too.
func (s *stage) whole(args ...string) (outcome, error) {
	d, err := newDeparture()
	if err != nil {
		return outcome{}, err
	}
	s.extra = []*os.File{d.w}
	o, err := s.try(args...)
	s.extra = nil
	return o, errors.Join(err, d.gone())
}

// copyTree copies a folder with all that is in it: owners, modes and times too.
func copyTree(from, to string) error {
	type dir struct {
		path string
		info fs.FileInfo
	}
	var dirs []dir // get their times last
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		switch {
		case d.IsDir():
			dirs = append(dirs, dir{dest, info})
			return os.MkdirAll(dest, 0o700)
		case info.Mode().IsRegular():
			return copyFile(path, dest, info)
		}
		return fmt.Errorf("%s is neither folder nor file", path)
	})
	for _, d := range slices.Backward(dirs) {
		err = errors.Join(err, likeIn(d.path, d.info))
	}
	return err
}

func copyFile(from, to string, info fs.FileInfo) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, b, 0o600), likeIn(to, info))
}

// giveTo gives a file the owner of another one, where this user may.
func giveTo(path string, like fs.FileInfo) error {
	st, ok := like.Sys().(*syscall.Stat_t)
	if !ok || os.Geteuid() != 0 {
		return nil
	}
	return os.Lchown(path, int(st.Uid), int(st.Gid))
}

// likeIn gives a file another one's owner, mode and time.
func likeIn(path string, info fs.FileInfo) error {
	return errors.Join(giveTo(path, info), os.Chmod(path, info.Mode().Perm()), os.Chtimes(path, time.Time{}, info.ModTime()))
}

// recoveries is after how many runs the program must be done with what a stopped run left, the last one
// with nothing to do.
const recoveries = 4

// mend has the program finish what a disturbed run left: it begins at once, while the server may still be busy with
// what the disturbed run had sent; gone returns when it is not. Then both sides must be as they should.
func (s *stage) mend(gone func() error) error {
	var last outcome
	for i := 0; i < recoveries; i++ {
		o, err := s.whole("sync", "--json")
		if err != nil {
			return err
		}
		if i == 0 {
			if err := gone(); err != nil {
				return err
			}
		}
		switch again, err := s.waits(o); {
		case err != nil:
			return err
		case again && i == 0:
			if o, err = s.whole("sync", "--json"); err != nil {
				return err
			}
		}
		if o.Code != 0 {
			return fmt.Errorf("run %d afterwards failed: %v", i+1, o)
		}
		last = o
		if idle(o) {
			return s.right()
		}
	}
	return fmt.Errorf("run %d afterwards still changed something: %v", recoveries, last)
}

// waits reports whether a run only had to wait for what a killed one can't help leaving: the lock, for as long as a process
// that was just being made has not become the tunnel; the lock of a keyword file, which is broken when it is two minutes old, as it
// is made here.
func (s *stage) waits(o outcome) (bool, error) {
	switch {
	case o.Code == 4:
		return true, nil
	case o.Code != 1 || !strings.Contains(o.Stderr, "dovecot-keywords is locked by another program"):
		return false, nil
	}
	locks, err := filepath.Glob(filepath.Join(s.Maildir, "*", "dovecot-keywords.lock"))
	old := time.Now().Add(-3 * time.Minute)
	for _, name := range locks {
		err = errors.Join(err, os.Chtimes(name, old, old))
	}
	return len(locks) > 0, err
}

// idle reports whether a run changed nothing.
func idle(o outcome) bool {
	return strings.Contains(o.Stdout, `"to_maildir":{"new":0,"flags":0,"moved":0,"deleted":0},"to_server":{"new":0,"flags":0,"moved":0,"deleted":0}`)
}

// right reports what is not as it should be.
func (s *stage) right() error {
	defer s.leave()
	if diff := cmp.Diff(s.want, s.serverTree()); diff != "" {
		return fmt.Errorf("the server is not as it should be (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(s.want, s.maildirTree()); diff != "" {
		return fmt.Errorf("the Maildir is not as it should be (-want +got):\n%s", diff)
	}
	return nil
}

// departure is a pipe that a process and all that it starts hold open: its other end tells when they are gone.
type departure struct {
	r, w *os.File
	once sync.Once
	err  error
}

func newDeparture() (*departure, error) {
	r, w, err := os.Pipe()
	return &departure{r: r, w: w}, err
}

// gone waits for it.
func (d *departure) gone() error {
	d.once.Do(func() { d.err = d.wait() })
	return d.err
}

func (d *departure) wait() error {
	defer d.r.Close()
	if err := d.w.Close(); err != nil {
		return err
	}
	if err := d.r.SetReadDeadline(time.Now().Add(runPatience)); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, d.r); err != nil {
		return fmt.Errorf("waiting for the server's process to end: %w", err)
	}
	return nil
}
