// Package sim plays histories: people act on a server and in a Maildir, Satchel's engine brings both together, and at a
// chosen step the process dies, the power fails, the connection breaks, the disk is full, or somebody interferes. Then it
// holds the engine to its promise. Server (package model) and disk (package disk) are in memory, one thing happens after the
// other, and everything follows from a seed, so that what failed once fails again.
//
//	world.go      an account: server, disk, state, and the engine between them
//	layout.go     the layout maildir++, as if it were nested
//	memory.go     where the engine keeps its state
//	gate.go       all steps of a run, and what happens at one of them
//	acts.go       what people do
//	history.go    a random history
//	wide.go       what the newer ones have more: accounts set up in all ways, clocks, undo, odd bytes
//	layout.go     the directories of folders in both layouts
//	waits.go      what can't be done yet: mailboxes that are read-only for a while, deletions that wait for a decision
//	promise.go    what must hold when both sides are at rest; oneway.go: in the modes that change one side only; rest.go: of a run that
//	              finds nothing to do
//	shrink.go     the shortest history that still fails
//	scenarios.go  fixed histories
//	hazards.go    more of them, for what docs/safety.md says of folders, servers, messages, disks, the state, the guard and undo
//	sweep.go      a fixed history cut off at each step in turn
package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/testenv/disk"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// World is one account. Its methods panic with a fault of the simulation itself.
type World struct {
	Server *model.Server
	Disk   *disk.Disk
	Set    mailsync.Settings
	Ask    mailsync.Options // what runs are asked for
	Log    *slog.Logger     // of the engine, nil for none
	// Uneasy: each run complains of something.
	Uneasy  bool
	counts  bool // see gate.counts
	running bool
	gate    *gate
	memory  *Memory
	now     time.Time
	files   int    // made by people so far
	rng     uint64 // of the engine's names
	texts   int    // made up so far
	// promise is kept in histories. wide: people do all that they can, see wide.go.
	promise *promise
	wide    bool
	changed string // what a run did that its mode forbids
	// fs and dialer come between the engine and the two sides, see History.
	fs     func(maildir.FS) maildir.FS
	dialer func(remote.Dialer) remote.Dialer
}

// New makes an account on a server with such options, of which m knows nothing afterwards.
func New(m *Memory, o model.Options) *World {
	m.clear()
	w := &World{Server: model.New(o), Disk: disk.New(), memory: m, now: time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)}
	w.Set = mailsync.Settings{
		Account: "sim", Owner: state.Owner{Kind: "imap", Host: "model", User: "me"}, Root: filepath.Dir(m.path), StatePath: m.path,
		Layout: maildir.Nested, Include: []string{"*"}, Connections: 1, Undo: 24 * time.Hour,
		Policy: plan.Policy{Mode: plan.TwoWay, Create: plan.CreateBoth},
	}
	w.MakeFolder("INBOX")
	w.Disk.Settle()
	return w
}

// count numbers the texts that are made up.
func (w *World) count() int {
	w.texts++
	return w.texts
}

// Sync is one run of the engine, in a process of its own. fault may be nil.
func (w *World) Sync(fault *Fault) *mailsync.Result {
	before := w.givingSide()
	outside := w.enter(fault)
	defer w.leave(before)
	return mailsync.Sync(context.Background(), w.Set, outside, w.Ask)
}

// Undo is `satchel undo` of everything, which is a run, too.
func (w *World) Undo(fault *Fault) *mailsync.Undone {
	before := w.givingSide()
	outside := w.enter(fault)
	defer w.leave(before)
	return mailsync.Undo(context.Background(), w.Set, outside, mailsync.UndoOptions{})
}

// enter makes the world ready for a process.
func (w *World) enter(fault *Fault) mailsync.World {
	w.now = w.now.Add(time.Hour)
	w.Disk.Advance(w.now)
	w.rng++
	w.gate = begin(w, fault)
	w.running = true
	return w.engine(w.gate.commit)
}

// leave is the end of the process.
func (w *World) leave(before Tree) {
	w.running = false
	w.gate.end(w)
	if w.wide && w.changed == "" {
		w.changed = w.gave(before)
	}
}

// engine is what a process of the engine's reaches.
func (w *World) engine(commit func(func() error) error) mailsync.World {
	var dialer remote.Dialer = w.Server
	if w.dialer != nil {
		dialer = w.dialer(dialer)
	}
	fs := w.Disk.FS()
	if w.fs != nil {
		fs = w.fs(fs)
	}
	return mailsync.World{
		Dialer: dialer, Now: func() time.Time { return w.now }, Commit: commit, State: w.memory.kept, Serial: true, Log: w.Log,
		Maildir: maildir.Options{FS: fs, Now: func() time.Time { return w.now }, Rand: random{rand.New(rand.NewPCG(w.rng, 7))}, Host: "sim", PID: int(w.rng)},
	}
}

// random is an io.Reader of random bytes.
type random struct{ r *rand.Rand }

func (r random) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.r.Uint32())
	}
	return len(p), nil
}

// Settle syncs until a run finds nothing to do and nothing to complain of, and says why if that never comes.
func (w *World) Settle() error {
	_, err := w.settle()
	return err
}

// settle is Settle, and says how many deletions the guard holds back then.
func (w *World) settle() (held int, err error) {
	const runs = 8
	var res *mailsync.Result
	for n := 0; n < runs; n++ {
		res = w.Sync(nil)
		if res.Fatal == nil && (w.Uneasy || len(res.Errors) == 0) && Idle(res) {
			return res.HeldBack, nil
		}
		if n == runs-1 && w.sendsAgain(res.Errors) {
			n = 0
		}
	}
	return 0, fmt.Errorf("it does not come to rest: fatal %v, errors %v, to the Maildir %+v %+v, to the server %+v %+v",
		res.Fatal, res.Errors, res.ToMaildir, res.MaildirFolders, res.ToServer, res.ServerFolders)
}

// unrecognised is said of a message that was stored, and that nobody could look at then (docs/safety.md, Known limits).
var unrecognised = regexp.MustCompile(`message file (\S+) was uploaded, and the server has nothing that can be recognised as it`)

// sendsAgain is a person who does what these errors say, and reports whether that may be all that they were about.
func (w *World) sendsAgain(errs []mailsync.FolderError) (all bool) {
	for _, e := range errs {
		said := unrecognised.FindStringSubmatch(e.Error())
		if said == nil {
			return false
		}
		for _, f := range w.messageFiles() {
			name, _, _ := strings.Cut(path.Base(f.path), ":")
			if name != said[1] || w.promise.sentAgain[name] {
				continue
			}
			w.files++
			again := fmt.Sprintf("17%08d.again%d.host", w.files, w.files)
			check(w.Disk.Person().Rename(f.path, strings.Replace(f.path, name, again, 1)))
			w.promise.sendsAgain(f.text, again)
			all = true
		}
	}
	return all
}

// Idle reports whether a run changed nothing.
func Idle(res *mailsync.Result) bool {
	return res.ToMaildir == (mailsync.Count{}) && res.ToServer == (mailsync.Count{}) &&
		res.MaildirFolders == (mailsync.FolderCount{}) && res.ServerFolders == (mailsync.FolderCount{})
}

// saved is a world at rest that can be brought back.
type saved struct {
	w World
	m content
}

func (w *World) save() saved {
	s := saved{*w, w.memory.save()}
	s.w.Server, s.w.Disk, s.w.gate = w.Server.Clone(), w.Disk.Clone(), nil
	return s
}

// restore brings it back.
func (s saved) restore() *World {
	w := s.w
	w.Server, w.Disk = s.w.Server.Clone(), s.w.Disk.Clone()
	w.memory.restore(s.m)
	return &w
}

// --- What people do ---

// Arrive stores a message on the server.
func (w *World) Arrive(mailbox, text string, flags ...string) {
	w.Server.Append(mailbox, strings.ReplaceAll(text, "\n", "\r\n"), mail.NewFlags(flags...), w.now)
}

// Message is the text of a message that is known by its subject.
func Message(subject string) string {
	return fmt.Sprintf("From: a@example.org\nMessage-ID: <%s@example.org>\nSubject: %s\nDate: Mon, 02 Jun 2025 10:00:00 +0000\n\nThis is %s.\n", subject, subject, subject)
}

// subjectOf is the subject of a message.
func subjectOf(text string) string {
	for line := range strings.Lines(text) {
		if s, ok := strings.CutPrefix(line, "Subject: "); ok {
			return strings.TrimSpace(s)
		}
	}
	return "?"
}

// onServer finds a message by its subject.
func (w *World) onServer(subject string) (mailbox string, uid mail.UID, ok bool) {
	for _, b := range w.Server.Snapshot().Mailboxes {
		for _, m := range b.Messages {
			if subjectOf(m.Raw) == subject {
				return b.Name, m.UID, true
			}
		}
	}
	return "", 0, false
}

// Put writes a message file as a mail client does.
func (w *World) Put(folder, text, letters string) {
	w.MakeFolder(folder)
	w.files++
	name := fmt.Sprintf("17%08d.client%d.host", w.files, w.files)
	file := path.Join(folder, "cur", name+":2,"+letters)
	if letters == "" {
		file = path.Join(folder, "new", name)
	}
	w.write(file, text)
}

func (w *World) write(file, text string) {
	f, err := w.Disk.Person().Create(file, 0o600)
	if err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	check(err)
}

func (w *World) read(file string) string {
	f, err := w.Disk.Person().Open(file)
	check(err)
	b, err := io.ReadAll(f)
	check(err)
	return string(b)
}

// MakeFolder makes a folder of the Maildir and those above it, as far as they are missing.
func (w *World) MakeFolder(folder string) {
	p := w.Disk.Person()
	mkdir := func(name string) {
		if err := p.Mkdir(name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			check(err)
		}
	}
	for i := range len(folder) {
		if folder[i] == '/' {
			mkdir(folder[:i])
		}
	}
	mkdir(folder)
	for _, sub := range []string{"cur", "new", "tmp"} {
		mkdir(path.Join(folder, sub))
	}
}

// file is a message file of the Maildir.
type file struct {
	folder, path string
	text         string // with the line ends of the Maildir
	raw          string // as it is
}

// messageFiles are all of them, in order.
func (w *World) messageFiles() (all []file) {
	for _, folder := range w.Folders() {
		for _, sub := range []string{"cur", "new"} {
			err := w.Disk.Person().List(path.Join(folder, sub), func(name string, mode fs.FileMode) bool {
				if mode.IsRegular() {
					p := path.Join(folder, sub, name)
					raw := w.read(p)
					all = append(all, file{folder, p, unix(raw), raw})
				}
				return true
			})
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				check(err)
			}
		}
	}
	return all
}

// furtherNames counts, by text, names that a rename by link left behind when it was cut off: with the other name they are one message to the
// product. They stay for more than a day, because whoever renames may still be at it.
func (w *World) furtherNames() map[string]int {
	further, seen := map[string]int{}, map[uint64]bool{}
	for _, f := range w.messageFiles() {
		info, err := w.Disk.Person().Stat(f.path)
		check(err)
		if seen[info.Inode] {
			further[f.text]++
		}
		seen[info.Inode] = true
	}
	return further
}

// inMaildir finds a message file by its subject.
func (w *World) inMaildir(subject string) (file, bool) {
	for _, f := range w.messageFiles() {
		if subjectOf(f.text) == subject {
			return f, true
		}
	}
	return file{}, false
}

// Folders are those of the Maildir, sorted.
func (w *World) Folders() (all []string) {
	var walk func(dir string)
	walk = func(dir string) {
		var below []string
		is := false
		check(w.Disk.Person().List(dir, func(name string, mode fs.FileMode) bool {
			switch {
			case name == "cur":
				is = true
			case mode.IsDir() && name != "new" && name != "tmp" && name[0] != '.':
				below = append(below, path.Join(dir, name))
			}
			return true
		}))
		if is {
			all = append(all, dir)
		}
		for _, b := range below {
			walk(b)
		}
	}
	walk(".")
	slices.Sort(all)
	return all
}

// letters are a file's flag letters.
func letters(file string) string {
	_, l, _ := strings.Cut(path.Base(file), ":2,")
	return l
}

// reflag gives a file other flag letters.
func (w *World) reflag(f file, to string) {
	base, _, _ := strings.Cut(path.Base(f.path), ":2,")
	check(w.Disk.Person().Rename(f.path, path.Join(f.folder, "cur", base+":2,"+to)))
}

// moveFile moves a file to another folder, with what its keyword letters mean.
func (w *World) moveFile(f file, to string) {
	w.MakeFolder(to)
	w.explain(f.folder, to)
	sub := path.Base(path.Dir(f.path))
	check(w.Disk.Person().Rename(f.path, path.Join(to, sub, path.Base(f.path))))
}

// explain lists in a folder the keyword letters of another, as a client does that moves messages with keywords. They
// are the same in all folders.
func (w *World) explain(from, to string) {
	list := func(folder string) []string {
		name := path.Join(folder, "dovecot-keywords")
		if _, err := w.Disk.Person().Stat(name); err != nil {
			return nil
		}
		return slices.Collect(strings.Lines(w.read(name)))
	}
	there := list(to)
	all := append(list(from), there...)
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > len(there) {
		name := path.Join(to, "dovecot-keywords")
		if len(there) > 0 {
			check(w.Disk.Person().Remove(name))
		}
		w.write(name, strings.Join(all, ""))
	}
}

func (w *World) remove(f file) { check(w.Disk.Person().Remove(f.path)) }

// removeFolder removes a folder of the Maildir with its messages, not those below it.
func (w *World) removeFolder(folder string) {
	p := w.Disk.Person()
	for _, sub := range []string{"cur", "new", "tmp"} {
		dir := path.Join(folder, sub)
		var names []string
		_ = p.List(dir, func(name string, _ fs.FileMode) bool { names = append(names, name); return true })
		for _, name := range names {
			check(p.Remove(path.Join(dir, name)))
		}
		_ = p.Remove(dir)
	}
	for _, file := range []string{"dovecot-keywords", "maildirfolder"} {
		_ = p.Remove(path.Join(folder, file))
	}
	_ = p.Remove(folder) // folders below it keep it
}

// check panics: people's own acts never fail.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// --- What there is ---

// Tree is what one side holds: for each folder the messages as "[flags] text", sorted.
type Tree map[string][]string

// ServerTree is what the server holds.
func (w *World) ServerTree() Tree {
	t := Tree{}
	for _, b := range w.Server.Snapshot().Mailboxes {
		t[b.Name] = []string{}
		for _, m := range b.Messages {
			t[b.Name] = append(t[b.Name], fmt.Sprintf("[%s] %s", m.Flags, strings.ReplaceAll(m.Raw, "\r\n", "\n")))
		}
		slices.Sort(t[b.Name])
	}
	return t
}

var letterNames = map[rune]string{'D': `\Draft`, 'F': `\Flagged`, 'P': `$Forwarded`, 'R': `\Answered`, 'S': `\Seen`, 'T': `\Deleted`}

// LocalTree is what the Maildir holds, read without any of the product's code.
func (w *World) LocalTree() Tree {
	t := Tree{}
	for _, folder := range w.Folders() {
		t[folder] = []string{}
	}
	for _, f := range w.messageFiles() {
		var flags []string
		for _, l := range letters(f.path) {
			if name, ok := letterNames[l]; ok {
				flags = append(flags, name)
			} else if name := w.keyword(f.folder, int(l-'a')); name != "" {
				flags = append(flags, name)
			}
		}
		t[f.folder] = append(t[f.folder], fmt.Sprintf("[%s] %s", mail.NewFlags(flags...), f.text))
	}
	for _, messages := range t {
		slices.Sort(messages)
	}
	return t
}

// keyword is what a letter means in a folder.
func (w *World) keyword(folder string, n int) string {
	name := path.Join(folder, "dovecot-keywords")
	if _, err := w.Disk.Person().Stat(name); err != nil {
		return ""
	}
	for line := range strings.Lines(w.read(name)) {
		var i int
		var word string
		if _, err := fmt.Sscanf(line, "%d %s", &i, &word); err == nil && i == n {
			return word
		}
	}
	return ""
}

func (t Tree) String() string {
	var b strings.Builder
	for _, folder := range t.folders() {
		fmt.Fprintf(&b, "  %s:", folder)
		for _, m := range t[folder] {
			flags, text, _ := strings.Cut(m, "] ")
			fmt.Fprintf(&b, " %s", subjectOf(text))
			if flags != "[" {
				fmt.Fprintf(&b, "%s]", flags)
			}
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func (t Tree) folders() (names []string) {
	for name := range t {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// equal compares two trees, texts and all.
func (t Tree) equal(o Tree) bool {
	if len(t) != len(o) {
		return false
	}
	for name, messages := range t {
		if there, ok := o[name]; !ok || !slices.Equal(messages, there) {
			return false
		}
	}
	return true
}
