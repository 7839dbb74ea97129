package plan

import (
	"cmp"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
)

// found says what is known of a row's message on one side.
type found uint8

const (
	// have: it is there, at place.folder.
	have found = iota
	// gone: it was there and is not any more, which is a removal unless place.unsure.
	gone
	// none: nothing says that anybody removed it (Lost and not found again, or Absent).
	none
)

// place is where a row's message is on one side.
type place struct {
	found  found
	folder mail.FolderName
	uid    mail.UID
	name   string
	flags  mail.Flags
	// msg is the index of the message that the row was found again as, -1 if the row is where it was.
	msg int
	// unsure: it is gone, but a message that nobody can look into may be it.
	unsure bool
}

type row struct {
	*Pair
	remote, local place
	// adopted: a parked row whose message was found elsewhere and goes on as a new message.
	adopted bool
	// unmark: its \Deleted mark is taken back.
	unmark bool
	// held: the guard holds back that it goes.
	held bool
}

// onServerOnly reports which side a parked row is on.
func (x *row) onServerOnly() bool { return x.Why != Agreed && (x.UID != 0 || x.Name == "") }

func (x *row) inMaildirOnly() bool { return x.Why != Agreed && !x.onServerOnly() }

type remoteMessage struct {
	*RemoteMessage
	// Row is the parked row that goes on as this message: its own, or one that was found again as it.
	Row int64
	row int // index of the row that was found again as this message, -1
	// pair is the index of the new local message that is the same, -1.
	pair int
	// unsure: it may be a file that can't be read.
	unsure bool
}

func (m *remoteMessage) open() bool  { return m.row < 0 && m.pair < 0 && !m.Unknowable }
func (m *remoteMessage) blank() bool { return m.Header == nil && m.Digest == nil }

type localMessage struct {
	*LocalMessage
	Row       int64 // as for remoteMessage
	row, pair int
	// unsure: it may be the same as a message that the server does not give.
	unsure bool
}

func (m *localMessage) open() bool { return m.row < 0 && m.pair < 0 && !m.Unknowable }

// resolver finds out which messages are which: rows whose message is elsewhere now, and new
// messages that are the same on both sides.
type resolver struct {
	policy    Policy
	folders   map[mail.FolderName]*Folder
	rows      []row
	remote    []remoteMessage
	local     []localMessage
	parkedWhy map[int64]Why // of the rows that messages carry
	questions []Question
	forget    []int64 // parked rows whose message another row or message takes over
}

// Questions returns what must be known about messages before Make can tell which are which. It is
// empty when nothing more must be known.
func Questions(in Input) []Question {
	if len(in.Remote)+len(in.Local) == 0 {
		return nil // it is them that are looked at
	}
	return resolve(in).questions
}

// resolveFully treats what was asked and not answered as unknowable, so that Make never takes a
// message whose identity is open for a new one.
func resolveFully(in Input) *resolver {
	for {
		r := resolve(in)
		if len(r.questions) == 0 {
			return r
		}
		in.Remote, in.Local = slices.Clone(in.Remote), slices.Clone(in.Local)
		asked := make(map[Question]bool, len(r.questions))
		for _, q := range r.questions {
			q.Whole = false
			asked[q] = true
		}
		for i := range in.Remote {
			m := &in.Remote[i]
			m.Unknowable = m.Unknowable || asked[Question{Side: Server, Folder: m.Folder, UID: m.UID}]
		}
		for i := range in.Local {
			m := &in.Local[i]
			m.Unknowable = m.Unknowable || asked[Question{Side: Maildir, Folder: m.Folder, Name: m.Name}]
		}
	}
}

func resolve(in Input) *resolver {
	r := newResolver(in)
	r.findOnServer()
	r.findInMaildir()
	if len(r.questions) == 0 {
		r.adoptParked()
		r.pairNew()
		r.doubtNew()
		r.doubtUnread()
	}
	slices.SortFunc(r.questions, compareQuestions)
	r.questions = slices.Compact(r.questions)
	return r
}

func newResolver(in Input) *resolver {
	r := &resolver{
		policy:    in.Policy,
		folders:   make(map[mail.FolderName]*Folder, len(in.Folders)),
		rows:      make([]row, 0, len(in.Pairs)),
		remote:    make([]remoteMessage, len(in.Remote)),
		local:     make([]localMessage, len(in.Local)),
		parkedWhy: map[int64]Why{},
	}
	for i := range in.Folders {
		r.folders[in.Folders[i].Name] = &in.Folders[i]
	}
	carried := map[int64]bool{}
	for i := range in.Remote {
		m := &in.Remote[i]
		r.remote[i] = remoteMessage{RemoteMessage: m, Row: m.Row, row: -1, pair: -1}
		carried[m.Row] = true
	}
	for i := range in.Local {
		m := &in.Local[i]
		r.local[i] = localMessage{LocalMessage: m, Row: m.Row, row: -1, pair: -1}
		carried[m.Row] = true
	}
	sortLarge(r.remote, func(a, b remoteMessage) int {
		return cmp.Or(strings.Compare(string(a.Folder), string(b.Folder)), cmp.Compare(a.UID, b.UID))
	})
	sortLarge(r.local, func(a, b localMessage) int {
		return cmp.Or(strings.Compare(string(a.Folder), string(b.Folder)), strings.Compare(a.Name, b.Name))
	})
	for _, p := range in.Pairs {
		if p.ID != 0 && p.Why != Agreed && carried[p.ID] {
			r.parkedWhy[p.ID] = p.Why // the message that carries the row stands for it
			continue
		}
		r.rows = append(r.rows, newRow(p))
	}
	if !slices.ContainsFunc(r.rows, func(x row) bool { return x.remote.found != have || x.local.found != have }) {
		return r // nothing is looked for
	}
	// Rows on both sides come first, because where messages are alike they find theirs first.
	sortLarge(r.rows, func(a, b row) int {
		return cmp.Or(compareBool(a.Why != Agreed, b.Why != Agreed), cmp.Compare(a.ID, b.ID))
	})
	return r
}

func newRow(p *Pair) row {
	x := row{Pair: p}
	x.remote = place{found: seen(p.Remote), folder: p.Folder, uid: p.UID, flags: p.RemoteNow, msg: -1}
	x.local = place{found: seen(p.Local), folder: p.Folder, name: p.Name, flags: p.LocalNow, msg: -1}
	if x.onServerOnly() {
		x.local.found = none
	}
	if x.inMaildirOnly() {
		x.remote.found = none
	}
	return x
}

func seen(p Presence) found {
	switch p {
	case Present:
		return have
	case Gone:
		return gone
	default:
		return none
	}
}

// folder returns the facts about a folder. One that the input does not have is no target and exists nowhere.
func (r *resolver) folder(name mail.FolderName) Folder {
	if f := r.folders[name]; f != nil {
		return *f
	}
	return Folder{Name: name}
}

func (r *resolver) askHeader(m *remoteMessage) {
	r.questions = append(r.questions, Question{Side: Server, Folder: m.Folder, UID: m.UID})
}

func (r *resolver) askWhole(m *remoteMessage) {
	r.questions = append(r.questions, Question{Side: Server, Folder: m.Folder, UID: m.UID, Whole: true})
}

func (r *resolver) askContent(m *localMessage) {
	r.questions = append(r.questions, Question{Side: Maildir, Folder: m.Folder, Name: m.Name, Whole: true})
}

// adoptParked lets a parked row's message that was found elsewhere go on as a new message that
// carries the row: whether it is parked again is decided by where it is now. Rows that must never be
// delivered again stay what they are.
func (r *resolver) adoptParked() {
	for i := range r.rows {
		x := &r.rows[i]
		if x.Why == Agreed || x.Why == Dismissed || x.Why == Pending {
			continue
		}
		if k := x.remote.msg; k >= 0 && r.folder(x.remote.folder).Target {
			m := &r.remote[k]
			r.replaceRow(m.Row, x.ID)
			m.Row, m.row, x.adopted = x.ID, -1, true
		}
		if k := x.local.msg; k >= 0 && r.folder(x.local.folder).Target {
			m := &r.local[k]
			r.replaceRow(m.Row, x.ID)
			m.Row, m.row, x.adopted = x.ID, -1, true
		}
	}
}

// replaceRow forgets the parked row of a message that is another row's from now on.
func (r *resolver) replaceRow(old, now int64) {
	if old != 0 && old != now {
		r.forget = append(r.forget, old)
	}
}

// sortLarge is a stable sort that moves each of its large elements only once.
func sortLarge[T any](s []T, compare func(a, b T) int) {
	if slices.IsSortedFunc(s, compare) {
		return
	}
	order := make([]int, len(s))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(compare(s[i], s[j]), cmp.Compare(i, j)) })
	sorted := make([]T, len(s))
	for to, from := range order {
		sorted[to] = s[from]
	}
	copy(s, sorted)
}

func compareQuestions(a, b Question) int {
	return cmp.Or(
		strings.Compare(string(a.Side), string(b.Side)),
		strings.Compare(string(a.Folder), string(b.Folder)),
		cmp.Compare(a.UID, b.UID),
		strings.Compare(a.Name, b.Name),
		compareBool(a.Whole, b.Whole),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
