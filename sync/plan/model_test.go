package plan

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// The model world: a server, a Maildir and a state, as small as they can be. Everything is kept in
// slices and in order, so that a seed always gives the same history.

// content is what a message says. Its index in world.contents is its identity.
type content struct {
	header int
	mid    bool
	size   int64
}

type serverMessage struct {
	uid     mail.UID
	content int
	tag     int // which message it is to the people; the planner never sees it
	flags   mail.Flags
}

type serverFolder struct {
	name     mail.FolderName
	id       string
	validity uint64
	next     mail.UID
	messages []serverMessage
}

type file struct {
	name    string
	content int
	tag     int
	inode   uint64
	flags   mail.Flags
}

type directory struct {
	name  mail.FolderName
	inode uint64
	files []file
}

type stateRow struct {
	Base
	remoteHeld, localHeld, guarded bool
}

type world struct {
	readAgain []mail.FolderName // of the last plan
	policy    Policy
	ids       bool // the server gives mailbox identities
	contents  []content
	server    []*serverFolder
	maildir   []*directory
	folders   []BaseFolder
	rows      []stateRow
	counter   uint64 // of everything that needs a number
	readOnly  mail.FolderName
	// unreadable are the tags whose messages can't be looked into just now.
	unreadable map[int]bool
	// serverDrops and maildirDrops are flags that the side can't keep.
	serverDrops, maildirDrops mail.Flags
	// download and upload are the day's budgets, down and up what was transferred. closed: what waits is not planned for.
	download, upload Budget
	down, up         []int64
	closed           bool
	// trail tells what happened. silent: it is not kept, which makes many histories quick.
	trail  []string
	silent bool
}

func (w *world) note(format string, args ...any) {
	if !w.silent {
		w.trail = append(w.trail, fmt.Sprintf(format, args...))
	}
}

// noteText is note for what is long to spell.
func (w *world) noteText(show func() string) {
	if !w.silent {
		w.trail = append(w.trail, show())
	}
}

func (w *world) number() uint64 {
	w.counter++
	return w.counter
}

func digestOf(kind byte, n int) mail.Digest {
	var d mail.Digest
	d[0] = kind
	binary.BigEndian.PutUint64(d[1:], uint64(n))
	return d
}

func (w *world) survey(c int) *mail.Content {
	x := w.contents[c]
	return &mail.Content{Size: x.size, Digest: digestOf('d', c), Header: digestOf('h', x.header), HasMessageID: x.mid}
}

func (w *world) newContent(mid bool) int {
	n := len(w.contents)
	w.contents = append(w.contents, content{header: n, mid: mid, size: int64(100 + n)})
	return n
}

func dateOf(content int) time.Time { return time.Unix(int64(1_000_000+content), 0) }

// --- Looking things up ---

func (w *world) mailbox(name mail.FolderName) *serverFolder {
	for _, f := range w.server {
		if f.name == name {
			return f
		}
	}
	return nil
}

func (w *world) dir(name mail.FolderName) *directory {
	for _, d := range w.maildir {
		if d.name == name {
			return d
		}
	}
	return nil
}

func (f *serverFolder) find(uid mail.UID) int {
	return slices.IndexFunc(f.messages, func(m serverMessage) bool { return m.uid == uid })
}

func (d *directory) find(name string) int {
	return slices.IndexFunc(d.files, func(f file) bool { return f.name == name })
}

func (w *world) base(name mail.FolderName) *BaseFolder {
	for i := range w.folders {
		if w.folders[i].Name == name {
			return &w.folders[i]
		}
	}
	return nil
}

func (w *world) row(id int64) *stateRow {
	for i := range w.rows {
		if w.rows[i].ID == id {
			return &w.rows[i]
		}
	}
	return nil
}

// --- Changing things ---

func (w *world) createMailbox(name mail.FolderName) *serverFolder {
	if f := w.mailbox(name); f != nil {
		return f
	}
	f := &serverFolder{name: name, validity: w.number(), next: 1}
	if w.ids {
		f.id = fmt.Sprint("id", w.number())
	}
	w.server = append(w.server, f)
	return f
}

func (w *world) createDir(name mail.FolderName) *directory {
	if d := w.dir(name); d != nil {
		return d
	}
	d := &directory{name: name, inode: w.number()}
	w.maildir = append(w.maildir, d)
	return d
}

func (f *serverFolder) store(c, tag int, flags mail.Flags) mail.UID {
	uid := f.next
	f.next++
	f.messages = append(f.messages, serverMessage{uid, c, tag, flags})
	return uid
}

func (w *world) deliver(d *directory, c, tag int, flags mail.Flags) string {
	n := w.number()
	name := fmt.Sprintf("n%d", n)
	d.files = append(d.files, file{name: name, content: c, tag: tag, inode: n, flags: flags})
	return name
}

// addAgreed puts a message into both sides and the state.
func (w *world) addAgreed(folder mail.FolderName, c, tag int, flags mail.Flags) int64 {
	uid := w.createMailbox(folder).store(c, tag, flags)
	name := w.deliver(w.createDir(folder), c, tag, flags)
	d := w.dir(folder)
	x := w.survey(c)
	w.rows = append(w.rows, stateRow{Base: Base{ID: int64(w.number()), Folder: folder, UID: uid, Name: name,
		RemoteFlags: flags, LocalFlags: flags, Digest: x.Digest, Header: x.Header, HasMessageID: x.HasMessageID,
		RemoteSize: x.Size, FileSize: x.Size, Inode: d.files[len(d.files)-1].inode, Date: dateOf(c)}})
	w.commitFolders()
	return w.rows[len(w.rows)-1].ID
}

// commitFolders tells the state which folders there are, as at the end of a run.
func (w *world) commitFolders() {
	for _, f := range w.server {
		w.ensureBase(f.name)
	}
	for _, d := range w.maildir {
		w.ensureBase(d.name)
	}
	kept := w.folders[:0]
	for _, b := range w.folders {
		f, d := w.mailbox(b.Name), w.dir(b.Name)
		// A folder that one side has deleted counts as deleted until the other side has none either.
		if f != nil {
			b.Mailbox, b.MailboxID, b.UIDValidity = string(f.name), f.id, f.validity
		} else if d == nil {
			b.Mailbox, b.MailboxID, b.UIDValidity = "", "", 0
		}
		b.OnDisk, b.Inode = d != nil || b.OnDisk && f != nil, 0
		if d != nil {
			b.Inode = d.inode
		}
		if f != nil || d != nil || slices.ContainsFunc(w.rows, func(x stateRow) bool { return x.Folder == b.Name }) {
			kept = append(kept, b)
		}
	}
	w.folders = kept
}

// ensureBase makes the state know a folder that a row lies in.
func (w *world) ensureBase(name mail.FolderName) {
	b := w.base(name)
	if b == nil {
		w.folders = append(w.folders, BaseFolder{ID: int64(w.number()), Name: name})
		b = &w.folders[len(w.folders)-1]
	}
	if f := w.mailbox(name); f != nil && b.Mailbox == "" {
		b.Mailbox, b.MailboxID, b.UIDValidity = string(f.name), f.id, f.validity
	}
	if d := w.dir(name); d != nil && !b.OnDisk {
		b.OnDisk, b.Inode = true, d.inode
	}
}

// --- What the planner sees ---

func (w *world) folderInput() FolderInput {
	in := FolderInput{Policy: w.policy, RemoteSame: map[FolderQuestion]float64{}, LocalSame: map[FolderQuestion]float64{},
		Base: make([]BaseFolder, 0, len(w.folders)), Remote: make([]RemoteFolder, 0, len(w.server)), Local: make([]LocalFolder, 0, len(w.maildir))}
	for _, b := range w.folders {
		for i := range w.rows {
			if w.rows[i].Folder == b.Name {
				b.Messages++
			}
		}
		in.Base = append(in.Base, b)
	}
	for _, f := range w.server {
		in.Remote = append(in.Remote, RemoteFolder{Name: f.name, Mailbox: string(f.name), UIDValidity: f.validity, MailboxID: f.id})
	}
	for _, d := range w.maildir {
		in.Local = append(in.Local, LocalFolder{Name: d.name, Mailbox: string(d.name), Inode: d.inode})
	}
	return in
}

func (w *world) answerFolders(in FolderInput) FolderInput {
	for range 10 {
		questions := FolderQuestions(in)
		if len(questions) == 0 {
			return in
		}
		for _, q := range questions {
			var name mail.FolderName
			for _, b := range w.folders {
				if b.ID == q.Base {
					name = b.Name
				}
			}
			total, same := 0, 0
			for i := range w.rows {
				x := &w.rows[i]
				if x.Folder != name {
					continue
				}
				if q.Side == Server && x.UID != 0 {
					total++
					if w.mailbox(q.Candidate).find(x.UID) >= 0 {
						same++
					}
				}
				if q.Side == Maildir && x.Name != "" {
					total++
					if w.dir(q.Candidate).find(x.Name) >= 0 {
						same++
					}
				}
			}
			share := 0.0
			if total > 0 {
				share = float64(same) / float64(total)
			}
			if q.Side == Server {
				in.RemoteSame[q] = share
			} else {
				in.LocalSame[q] = share
			}
		}
	}
	return in
}

func (w *world) input() Input {
	in := Input{Policy: w.policy, Download: w.download, Upload: w.upload, Pairs: make([]*Pair, 0, len(w.rows))}
	names := make([]mail.FolderName, 0, len(w.server)+len(w.maildir)+len(w.folders)+len(w.rows))
	for _, f := range w.server {
		names = append(names, f.name)
	}
	for _, d := range w.maildir {
		names = append(names, d.name)
	}
	for _, b := range w.folders {
		names = append(names, b.Name)
	}
	for _, x := range w.rows {
		names = append(names, x.Folder)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	in.Folders = make([]Folder, 0, len(names))
	for _, n := range names {
		f := Folder{Name: n, Target: true, CanCreate: true, OnServer: w.mailbox(n) != nil, InMaildir: w.dir(n) != nil,
			RemoteReadOnly: n == w.readOnly}
		if b := w.base(n); b != nil {
			f.WasOnServer, f.WasInMaildir = b.Mailbox != "", b.OnDisk
		}
		for i := range w.rows {
			if w.rows[i].Folder == n && w.rows[i].Why == Agreed {
				f.Agreed++
			}
		}
		in.Folders = append(in.Folders, f)
	}

	waits := slices.ContainsFunc(w.rows, func(x stateRow) bool { return x.waits() })
	knownRemote, knownLocal := map[folderUID]int64{}, map[folderFile]int64{}
	for i := range w.rows {
		x := &w.rows[i]
		p := Pair{Base: x.Base, RemoteHeld: x.remoteHeld, LocalHeld: x.localHeld, Guarded: x.guarded}
		p.Remote, p.Local = Absent, Absent
		p.Waits = x.waits()
		retried := x.Why.Retried() || x.Why == NoFolder || x.Why == ReadOnly && !p.Waits || waits && p.Base.UID == 0 && x.Why != Agreed || (x.Why == OverDownload || x.Why == OverUpload) && !w.closed
		if x.UID != 0 && !(x.remoteHeld) {
			p.Remote, p.RemoteNow = w.seeRemote(x)
			if p.Remote == Present {
				knownRemote[folderUID{x.Folder, x.UID}] = x.ID
			}
		}
		if x.Name != "" && !(x.localHeld) {
			p.Local, p.LocalNow = w.seeLocal(x)
			if p.Local == Present {
				knownLocal[folderFile{x.Folder, x.Name}] = x.ID
			}
		}
		if x.remoteHeld {
			p.Remote = Gone
		}
		if x.localHeld {
			p.Local = Gone
		}
		if p.Waits {
			p.Why, p.Local = Agreed, Gone
		}
		if retried && (p.Remote == Present || p.Local == Present) {
			// looked at again, as a message with its row
			knownRemote[folderUID{x.Folder, x.UID}] = -x.ID
			knownLocal[folderFile{x.Folder, x.Name}] = -x.ID
		}
		in.Pairs = append(in.Pairs, &p)
	}
	for _, f := range w.server {
		for _, m := range f.messages {
			if id := knownRemote[folderUID{f.name, m.uid}]; id <= 0 {
				in.Remote = append(in.Remote, RemoteMessage{Row: -id, Folder: f.name, UID: m.uid, Flags: m.flags,
					Size: w.contents[m.content].size, Date: dateOf(m.content)})
			}
		}
	}
	for _, d := range w.maildir {
		for _, x := range d.files {
			if id := knownLocal[folderFile{d.name, x.name}]; id <= 0 {
				in.Local = append(in.Local, LocalMessage{Row: -id, Folder: d.name, Name: x.name, Flags: x.flags,
					FileSize: w.contents[x.content].size, Inode: x.inode, Date: dateOf(x.content)})
			}
		}
	}
	return in
}

// waits reports whether it waits for a mailbox to take changes.
func (x *stateRow) waits() bool { return x.Why == ReadOnly && x.Name == "" }

type folderUID struct {
	folder mail.FolderName
	uid    mail.UID
}

type folderFile struct {
	folder mail.FolderName
	name   string
}

func (w *world) seeRemote(x *stateRow) (Presence, mail.Flags) {
	f, b := w.mailbox(x.Folder), w.base(x.Folder)
	if f == nil {
		return Gone, mail.Flags{}
	}
	if b != nil && b.Mailbox != "" && b.UIDValidity != f.validity {
		return Lost, mail.Flags{}
	}
	if i := f.find(x.UID); i >= 0 {
		return Present, f.messages[i].flags
	}
	return Gone, mail.Flags{}
}

func (w *world) seeLocal(x *stateRow) (Presence, mail.Flags) {
	d := w.dir(x.Folder)
	if d == nil {
		return Gone, mail.Flags{}
	}
	if i := d.find(x.Name); i >= 0 {
		return Present, d.files[i].flags
	}
	return Gone, mail.Flags{}
}

// answer answers the planner's questions until it has none.
func (w *world) answer(in Input) (Input, error) {
	for range 12 {
		questions := Questions(in)
		if len(questions) == 0 {
			return in, nil
		}
		for _, q := range questions {
			w.answerOne(in, q)
		}
	}
	return in, fmt.Errorf("the planner does not stop asking: %v", Questions(in))
}

func (w *world) answerOne(in Input, q Question) {
	if q.Side == Maildir {
		for i := range in.Local {
			if m := &in.Local[i]; m.Folder == q.Folder && m.Name == q.Name {
				d := w.dir(q.Folder)
				f := d.files[d.find(q.Name)]
				if w.unreadable[f.tag] {
					m.Unknowable = true
					continue
				}
				m.Content = w.survey(f.content)
			}
		}
		return
	}
	for i := range in.Remote {
		m := &in.Remote[i]
		if m.Folder != q.Folder || m.UID != q.UID {
			continue
		}
		f := w.mailbox(q.Folder)
		x := f.messages[f.find(q.UID)]
		if w.unreadable[x.tag] {
			m.Unknowable = true
			continue
		}
		c := w.survey(x.content)
		m.Header = &Header{Digest: c.Header, HasMessageID: c.HasMessageID}
		if q.Whole {
			m.Digest = &c.Digest
		}
	}
}

// describe shows both sides, for people.
func (w *world) describe() string {
	var b strings.Builder
	for _, f := range w.server {
		fmt.Fprintf(&b, "server %s (%d %s):", f.name, f.validity, f.id)
		for _, m := range f.messages {
			fmt.Fprintf(&b, " %d=c%d/t%d[%v]", m.uid, m.content, m.tag, m.flags)
		}
		b.WriteByte('\n')
	}
	for _, d := range w.maildir {
		fmt.Fprintf(&b, "maildir %s (%d):", d.name, d.inode)
		for _, m := range d.files {
			fmt.Fprintf(&b, " %s=c%d/t%d[%v]", m.name, m.content, m.tag, m.flags)
		}
		b.WriteByte('\n')
	}
	for _, x := range w.rows {
		fmt.Fprintf(&b, "row %d %s %d %s %q [%v][%v] %v %v\n", x.ID, x.Folder, x.UID, x.Name, x.Why, x.RemoteFlags, x.LocalFlags,
			x.remoteHeld, x.localHeld)
	}
	for _, f := range w.folders {
		fmt.Fprintf(&b, "base %+v\n", f)
	}
	return b.String()
}

func showOps(ops []Op) string {
	var b strings.Builder
	for _, op := range ops {
		fmt.Fprintf(&b, "  %s %s %s", op.Kind, op.Side, op.Folder)
		if op.From != "" {
			fmt.Fprintf(&b, " from %s", op.From)
		}
		fmt.Fprintf(&b, " row=%d uid=%d name=%s +[%v] -[%v] why=%s seen=[%v][%v] (%s)\n", op.Row, op.UID, op.Name, op.Add, op.Remove,
			op.Why, op.RemoteSeen, op.LocalSeen, op.Reason)
	}
	return b.String()
}
