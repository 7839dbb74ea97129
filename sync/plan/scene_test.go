package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// scene is a model world to tell short stories in. Messages are named by letters.
type scene struct {
	t *testing.T
	w *world
	// content of each letter.
	letters map[string]int
}

func newScene(t *testing.T, mode Mode, folders ...mail.FolderName) *scene {
	t.Helper()
	s := &scene{t: t, w: &world{unreadable: map[int]bool{}}, letters: map[string]int{}}
	s.w.policy = Policy{Mode: mode, Create: CreateBoth}
	for _, f := range append([]mail.FolderName{mail.Inbox}, folders...) {
		s.w.createMailbox(f)
		s.w.createDir(f)
	}
	s.w.commitFolders()
	return s
}

func (s *scene) content(letter string) int {
	c, ok := s.letters[letter]
	if !ok {
		c = s.w.newContent(true)
		s.letters[letter] = c
	}
	return c
}

func flagsOf(names []string) mail.Flags { return mail.NewFlags(names...) }

// agreed puts a message into both sides and the state.
func (s *scene) agreed(letter string, folder mail.FolderName, flags ...string) int64 {
	return s.w.addAgreed(folder, s.content(letter), s.content(letter), flagsOf(flags))
}

// many puts n messages into both sides and the state.
func (s *scene) many(n int, folder mail.FolderName) {
	for i := range n {
		s.agreed(fmt.Sprintf("%s%d", folder, i), folder)
	}
}

func (s *scene) add(side Side, letter string, folder mail.FolderName, flags ...string) {
	c := s.content(letter)
	if side == Server {
		s.w.mailbox(folder).store(c, c, flagsOf(flags))
	} else {
		s.w.deliver(s.w.dir(folder), c, c, flagsOf(flags))
	}
}

// take removes a message from a side and returns it.
func (s *scene) take(side Side, letter string) (serverMessage, file) {
	s.t.Helper()
	c := s.content(letter)
	for _, f := range s.w.server {
		if i := slices.IndexFunc(f.messages, func(m serverMessage) bool { return m.content == c }); side == Server && i >= 0 {
			m := f.messages[i]
			f.messages = slices.Delete(f.messages, i, i+1)
			return m, file{}
		}
	}
	for _, d := range s.w.maildir {
		if i := slices.IndexFunc(d.files, func(m file) bool { return m.content == c }); side == Maildir && i >= 0 {
			m := d.files[i]
			d.files = slices.Delete(d.files, i, i+1)
			return serverMessage{}, m
		}
	}
	s.t.Fatalf("%s is not on the %s", letter, side)
	return serverMessage{}, file{}
}

func (s *scene) delete(side Side, letter string) {
	s.t.Helper()
	s.take(side, letter)
}

func (s *scene) move(side Side, letter string, to mail.FolderName) {
	s.t.Helper()
	r, l := s.take(side, letter)
	if side == Server {
		s.w.createMailbox(to).store(r.content, r.tag, r.flags)
		return
	}
	d := s.w.createDir(to)
	d.files = append(d.files, l)
}

func (s *scene) flag(side Side, letter string, flags ...string) {
	s.t.Helper()
	c, found := s.content(letter), false
	for _, f := range s.w.server {
		for i := range f.messages {
			if side == Server && f.messages[i].content == c {
				f.messages[i].flags, found = flagsOf(flags), true
			}
		}
	}
	for _, d := range s.w.maildir {
		for i := range d.files {
			if side == Maildir && d.files[i].content == c {
				d.files[i].flags, found = flagsOf(flags), true
			}
		}
	}
	if !found {
		s.t.Fatalf("%s is not on the %s", letter, side)
	}
}

func (s *scene) deleteFolder(side Side, name mail.FolderName) {
	if side == Server {
		s.w.server = slices.DeleteFunc(s.w.server, func(f *serverFolder) bool { return f.name == name })
	} else {
		s.w.maildir = slices.DeleteFunc(s.w.maildir, func(d *directory) bool { return d.name == name })
	}
}

func (s *scene) renameFolder(side Side, from, to mail.FolderName) {
	if side == Server {
		s.w.renameMailbox(from, to)
	} else {
		s.w.renameDir(from, to)
	}
}

// plan returns the plan for the present state of things without carrying it out.
func (s *scene) plan() Plan {
	s.t.Helper()
	in, err := s.w.answer(s.w.input())
	if err != nil {
		s.t.Fatal(err)
	}
	return Make(in)
}

// sync runs until nothing is to be done any more.
func (s *scene) sync() *scene {
	s.t.Helper()
	if err := s.w.settle(nil); err != nil {
		s.t.Fatalf("%v\n%s\n%s", err, strings.Join(s.w.trail, "\n"), s.w.describe())
	}
	return s
}

// show returns what a side has: "A: a b[\Seen]; INBOX: c". Folders without messages are left out.
func (s *scene) show(side Side) string {
	name := map[int]string{}
	for letter, c := range s.letters {
		name[c] = letter
	}
	byFolder := map[mail.FolderName][]string{}
	put := func(f mail.FolderName, c int, flags mail.Flags) {
		text := name[c]
		if !flags.IsZero() {
			text += "[" + flags.String() + "]"
		}
		byFolder[f] = append(byFolder[f], text)
	}
	for _, f := range s.w.server {
		for _, m := range f.messages {
			if side == Server {
				put(f.name, m.content, m.flags)
			}
		}
	}
	for _, d := range s.w.maildir {
		for _, m := range d.files {
			if side == Maildir {
				put(d.name, m.content, m.flags)
			}
		}
	}
	var out []string
	for _, f := range slices.Sorted(maps.Keys(byFolder)) {
		slices.Sort(byFolder[f])
		out = append(out, string(f)+": "+strings.Join(byFolder[f], " "))
	}
	return strings.Join(out, "; ")
}

// want checks what a side has.
func (s *scene) want(side Side, want string) {
	s.t.Helper()
	if got := s.show(side); got != want {
		s.t.Errorf("%s has %q, want %q\n%s", side, got, want, strings.Join(s.w.trail, "\n"))
	}
}

// wantBoth checks that both sides have the same.
func (s *scene) wantBoth(want string) {
	s.t.Helper()
	s.want(Server, want)
	s.want(Maildir, want)
}

// wantFolder checks whether a side has a folder.
func (s *scene) wantFolder(side Side, name mail.FolderName, want bool) {
	s.t.Helper()
	got := s.w.mailbox(name) != nil
	if side == Maildir {
		got = s.w.dir(name) != nil
	}
	if got != want {
		s.t.Errorf("%s has folder %s: %v, want %v", side, name, got, want)
	}
}

// wantParked checks why the only row of a message on one side is parked.
func (s *scene) wantParked(letter string, side Side, why Why) {
	s.t.Helper()
	c := s.content(letter)
	for i := range s.w.rows {
		x := &s.w.rows[i]
		if x.Why != why {
			continue
		}
		if r, err := s.w.remoteAt(x.Folder, x.UID); side == Server && err == nil && r.content == c {
			return
		}
		if l, err := s.w.localAt(x.Folder, x.Name); side == Maildir && err == nil && l.content == c {
			return
		}
	}
	s.t.Errorf("%s is not parked on the %s as %q\n%s", letter, side, why, s.w.describe())
}

// kinds counts the operations of a plan: "delete server 3, hold maildir 1".
func kinds(p Plan) string {
	var names []string
	count := map[string]int{}
	for _, op := range p.Ops {
		k := string(op.Kind)
		if op.Side != "" {
			k += " " + string(op.Side)
		}
		if count[k] == 0 {
			names = append(names, k)
		}
		count[k]++
	}
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %d", n, count[n])
	}
	return strings.Join(names, ", ")
}

// wantNoTransfer checks that a plan transfers nothing.
func (s *scene) wantNoTransfer(p Plan) {
	s.t.Helper()
	for _, op := range p.Ops {
		if op.Kind == Download || op.Kind == Upload || op.Kind == Delete {
			s.t.Errorf("planned: %s", showOps([]Op{op}))
		}
	}
}

func bothSides(t *testing.T, f func(t *testing.T, side, other Side)) {
	t.Helper()
	for _, side := range []Side{Server, Maildir} {
		t.Run(string(side)+" first", func(t *testing.T) { f(t, side, otherSide(side)) })
	}
}
