package plan

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Budget is how much may be transferred one way in a day, and how much of it was. The zero value is no budget.
//
//   - INBOX comes first, then what arrived last, in whatever folder. What does not fit any more is passed over: it keeps nothing
//     smaller from going.
//   - A message that is larger than the budget would never fit. The first one of a day's first plan, when nothing was spent yet, goes
//     beside the budget.
//   - What waits is parked, as OverDownload or OverUpload. Whatever else is decided about a message comes before its budget: it is paired,
//     moved and left out as if there were none.
type Budget struct {
	Limit int64 // bytes, 0: no budget
	Spent int64 // bytes, today
}

// sizeUntold is what a message counts of which a server does not tell the size, in bytes. What it really has is spent.
const sizeUntold = 100_000

// cost is one message that is to be transferred.
type cost struct {
	folder mail.FolderName
	uid    mail.UID
	name   string
	date   time.Time
	size   int64 // -1: not told
}

func compareCosts(a, b cost) int {
	return cmp.Or(
		compareBool(a.folder != mail.Inbox, b.folder != mail.Inbox),
		b.date.Compare(a.date),
		compareFolders(a.folder, b.folder),
		cmp.Compare(b.uid, a.uid),
		strings.Compare(b.name, a.name),
	)
}

// waiting says which messages must wait for another day.
func (b Budget) waiting(all []cost) []bool {
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Or(compareCosts(all[i], all[j]), cmp.Compare(i, j)) })
	waits := make([]bool, len(all))
	left, beside := b.Limit-b.Spent, b.Spent == 0
	for _, i := range order {
		size := all[i].size
		if size < 0 {
			size = sizeUntold
		}
		switch {
		case size <= left:
			left -= size
		case beside && size > b.Limit:
			beside = false
		default:
			waits[i] = true
		}
	}
	return waits
}

// transfer is a message to be brought over, if the budget lets it.
type transfer struct {
	op  Op
	x   *row // whose message it is again; nil: it is new
	due bool // to leave the maildrop then
	cost
}

// bring plans a transfer. With a budget, all are decided together.
func (m *maker) bring(t transfer) {
	if m.budget(t.op.Kind).Limit == 0 {
		m.carry(t)
		return
	}
	t.folder, t.uid, t.name = t.op.Folder, t.op.UID, t.op.Name
	m.transfers = append(m.transfers, t)
}

// budgets are those of an input.
type budgets struct{ download, upload Budget }

func (m *maker) budget(k Kind) Budget {
	if k == Download {
		return m.budgets.download
	}
	return m.budgets.upload
}

func (m *maker) carry(t transfer) {
	if t.x != nil {
		m.release(t.x)
	}
	m.add(t.op)
	if t.due {
		m.leaveMaildrop(t.op)
	}
}

// planTransfers spends the budgets.
func (m *maker) planTransfers() {
	for _, kind := range []Kind{Download, Upload} {
		var costs []cost
		for i := range m.transfers {
			if m.transfers[i].op.Kind == kind {
				costs = append(costs, m.transfers[i].cost)
			}
		}
		waits := m.budget(kind).waiting(costs)
		n := 0
		for _, t := range m.transfers {
			if t.op.Kind != kind {
				continue
			}
			if n++; waits[n-1] {
				m.wait(t)
			} else {
				m.carry(t)
			}
		}
	}
}

const tomorrow = "waits for tomorrow's budget"

// wait parks a message on the side that it would have been brought from.
func (m *maker) wait(t transfer) {
	switch download := t.op.Kind == Download; {
	case t.x != nil && download:
		m.parkOnServer(t.x, OverDownload, tomorrow)
	case t.x != nil:
		m.parkInMaildir(t.x, OverUpload, tomorrow)
	case download:
		m.park(Op{Side: Server, Folder: t.op.Folder, Row: t.op.Row, UID: t.op.UID, RemoteSeen: t.op.RemoteSeen}, OverDownload, tomorrow)
	default:
		m.park(Op{Side: Maildir, Folder: t.op.Folder, Row: t.op.Row, Name: t.op.Name, LocalSeen: t.op.LocalSeen}, OverUpload, tomorrow)
	}
}

// ration marks, in an input in which every message is planned for by itself (see Independent), those that must wait for another day, as
// Make would find. What is left needs no budget any more.
func ration(in Input) Input {
	if in.Download.Limit == 0 {
		return in
	}
	in.Remote = slices.Clone(in.Remote)
	m := maker{resolver: newResolver(Input{Policy: in.Policy, Folders: in.Folders})}
	var costs []cost
	var at []int
	for i := range in.Remote {
		x := &in.Remote[i]
		if why, _ := m.keptFromMaildir(x); why == Agreed && m.folder(x.Folder).Target {
			costs, at = append(costs, costOf(x)), append(at, i)
		}
	}
	for n, waits := range in.Download.waiting(costs) {
		if waits {
			in.Remote[at[n]].Park = OverDownload
		}
	}
	in.Download = Budget{}
	return in
}

func costOf(x *RemoteMessage) cost {
	return cost{folder: x.Folder, uid: x.UID, date: x.Date, size: x.Size}
}

// Day is a day of the calendar, such as "2026-01-31".
type Day string

// Ledger is what was transferred in a day. The clock may jump: a day that was today once brings no new budget when it comes again, and
// going back brings none.
type Ledger struct {
	// Days are those that were today, the last one is.
	Days []Day `json:"days"`
	// Downloaded and Uploaded are bytes.
	Downloaded int64 `json:"downloaded,omitempty"`
	Uploaded   int64 `json:"uploaded,omitempty"`
	// Offered says under which limits all that waits was planned for in that day, 0 for not yet: nothing more of it fits then.
	Offered Limits `json:"offered"`
}

// Limits are the bytes that may be transferred in a day each way, 0 for any number.
type Limits struct {
	Download int64 `json:"download,omitempty"`
	Upload   int64 `json:"upload,omitempty"`
}

// maxDays bounds how many days a ledger remembers.
const maxDays = 8

// On returns the ledger for today.
func (l Ledger) On(today Day) Ledger {
	if l.Today() == today {
		return l
	}
	days := append(slices.DeleteFunc(slices.Clone(l.Days), func(d Day) bool { return d == today }), today)
	if today > l.Today() && !slices.Contains(l.Days, today) {
		l = Ledger{}
	}
	l.Days = days[max(0, len(days)-maxDays):]
	return l
}

// Today is the day that the ledger is for, empty if it never was for any.
func (l Ledger) Today() Day {
	if len(l.Days) == 0 {
		return ""
	}
	return l.Days[len(l.Days)-1]
}

// Budgets are what the ledger leaves of limits.
func (l Ledger) Budgets(of Limits) (download, upload Budget) {
	return Budget{of.Download, l.Downloaded}, Budget{of.Upload, l.Uploaded}
}

// Opens reports whether what waits for a reason is to be planned for again.
func (l Ledger) Opens(why Why, of Limits) bool {
	if why == OverDownload {
		return of.Download == 0 || l.Offered.Download != of.Download
	}
	return of.Upload == 0 || l.Offered.Upload != of.Upload
}
