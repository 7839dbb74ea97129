package imap

import (
	"cmp"
	"slices"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// maxMessages bounds how many messages of one mailbox are kept track of, at 64 bytes each, and what the server says
// beyond flags, size and date.
const maxMessages = 5_000_000

// observation is what is known of one message, from whichever FETCH responses named it. There is one for each message
// of a mailbox that is read for the first time: what few messages have lies elsewhere.
type observation struct {
	uid                                   mail.UID
	email, header                         uint32 // numbers in the tables of observations, counted from 1, 0: none
	hasFlags, hasSize, hasDate, hasHeader bool
	flags                                 mail.Flags
	modSeq                                uint64
	size                                  int64
	date                                  int64 // in seconds since 1970
}

// observations are what is known of messages, by UID. Servers send them in ascending order, nearly always, or in a few
// stretches that are, one for each command. Each stretch is a run in list; no UID is in two.
type observations struct {
	list    []observation
	runs    []int // where the runs begin, except the first
	emails  []string
	headers []mail.Content
}

// reserve makes room for the messages that are expected, as far as one may believe in them.
func (o *observations) reserve(n int64) {
	const most = 1 << 17
	if o.list == nil {
		o.list = make([]observation, 0, min(n, most))
	}
}

// at returns the observation of a UID, nil if there is none. It is valid until the next add.
func (o *observations) at(u mail.UID) *observation {
	end := len(o.list)
	for i := len(o.runs); i >= 0; i-- {
		begin := 0
		if i > 0 {
			begin = o.runs[i-1]
		}
		run := o.list[begin:end]
		if n, ok := slices.BinarySearchFunc(run, u, func(a observation, u mail.UID) int { return cmp.Compare(a.uid, u) }); ok {
			return &run[n]
		}
		end = begin
	}
	return nil
}

// add merges what a response says. Later ones win: the server sends what is so now.
func (o *observations) add(f *fetched) {
	m := o.place(f.msg.UID)
	if m == nil {
		return
	}
	if f.hasFlags {
		m.flags, m.hasFlags = f.msg.Flags, true
	}
	if f.msg.ModSeq > 0 {
		m.modSeq = f.msg.ModSeq
	}
	if f.hasSize {
		m.size, m.hasSize = f.msg.Size, true
	}
	if f.hasDate {
		m.date, m.hasDate = f.msg.Date.Unix(), true
	}
	if f.hasMail {
		if m.email == 0 {
			o.emails = append(o.emails, "")
			m.email = uint32(len(o.emails))
		}
		o.emails[m.email-1] = f.msg.EmailID
	}
	if f.hasHeader {
		if m.header == 0 {
			o.headers = append(o.headers, mail.Content{})
			m.header = uint32(len(o.headers))
		}
		o.headers[m.header-1], m.hasHeader = *f.msg.Header, true
	}
}

// place returns the observation of a UID, a new one if there is none; nil if there are too many.
func (o *observations) place(u mail.UID) *observation {
	n := len(o.list)
	if n > 0 && (len(o.runs) > 0 || o.list[n-1].uid >= u) {
		if m := o.at(u); m != nil {
			return m
		}
	}
	if n == maxMessages {
		return nil
	}
	if n > 0 && o.list[n-1].uid > u {
		o.newRun()
	}
	o.list = append(o.list, observation{uid: u})
	return &o.list[n]
}

// newRun ends the last run. Before, runs that are not much longer than those behind them are merged with these, so that
// in whatever order a server sends there are few of them, and each message is moved only a few times.
func (o *observations) newRun() {
	for len(o.runs) > 0 {
		last := len(o.runs) - 1
		begin := 0
		if last > 0 {
			begin = o.runs[last-1]
		}
		if o.runs[last]-begin > 2*(len(o.list)-o.runs[last]) {
			break
		}
		o.mergeLast()
	}
	o.runs = append(o.runs, len(o.list))
}

// mergeLast merges the last two runs.
func (o *observations) mergeLast() {
	last := len(o.runs) - 1
	begin := 0
	if last > 0 {
		begin = o.runs[last-1]
	}
	a, b := slices.Clone(o.list[begin:o.runs[last]]), o.list[o.runs[last]:]
	out := o.list[begin:begin]
	for len(a) > 0 && len(b) > 0 {
		if a[0].uid < b[0].uid {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	_ = append(out, a...) // what is left of b is in its place
	o.runs = o.runs[:last]
}

// sorted returns all in ascending order of UID.
func (o *observations) sorted() []observation {
	for len(o.runs) > 0 {
		o.mergeLast()
	}
	return o.list
}

// message is an observation as the engine sees it.
func (o *observations) message(m *observation) remote.Message {
	out := remote.Message{UID: m.uid, Flags: m.flags, ModSeq: m.modSeq, Size: m.size}
	if m.hasDate {
		out.Date = time.Unix(m.date, 0).UTC()
	}
	if m.email > 0 {
		out.EmailID = o.emails[m.email-1]
	}
	if m.header > 0 {
		out.Header = &o.headers[m.header-1]
	}
	return out
}

// messages returns those for which is true, in ascending order of UID.
func (o *observations) messages(is func(*observation) bool) []remote.Message {
	list := o.sorted()
	n := 0
	for i := range list {
		if is(&list[i]) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	out := make([]remote.Message, 0, n) // exactly: it is kept for long
	for i := range list {
		if is(&list[i]) {
			out = append(out, o.message(&list[i]))
		}
	}
	return out
}

// uids returns the set of UIDs for which is true.
func (o *observations) uids(is func(*observation) bool) mail.UIDSet {
	var set mail.UIDSet
	list := o.sorted()
	for i := range list {
		if is(&list[i]) {
			set.Add(list[i].uid)
		}
	}
	return set
}

// between returns the set of UIDs from first to last.
func (o *observations) between(first, last mail.UID) mail.UIDSet {
	return o.uids(func(m *observation) bool { return first <= m.uid && m.uid <= last })
}

// within is set.Contains for UIDs that are asked about in ascending order, as those of observations are: a set of as
// many ranges is then walked through once.
func within(set mail.UIDSet) func(mail.UID) bool {
	ranges, i := set.Ranges(), 0
	return func(u mail.UID) bool {
		if i > 0 && u <= ranges[i-1].Last {
			i = 0 // another round
		}
		for i < len(ranges) && ranges[i].Last < u {
			i++
		}
		return i < len(ranges) && ranges[i].First <= u
	}
}

// uidRanges gathers sets that a server names one by one, in any order, at the cost of what it spells.
type uidRanges []mail.UIDRange

// maxRanges bounds what is gathered; what comes after it is as if it had not been said.
const maxRanges = 5_000_000

func (r *uidRanges) add(ranges ...mail.UIDRange) {
	if len(*r)+len(ranges) <= maxRanges {
		*r = append(*r, ranges...)
	}
}

// set returns them as a set.
func (r uidRanges) set() mail.UIDSet {
	slices.SortFunc(r, func(a, b mail.UIDRange) int { return cmp.Compare(a.First, b.First) })
	var set mail.UIDSet
	for _, part := range r {
		set.AddRange(part.First, part.Last)
	}
	return set
}

// parseSet is mail.ParseUIDSet for a set that may be long and in any order.
func parseSet(text string) (mail.UIDSet, error) {
	ranges, err := mail.ParseUIDRanges(text)
	return uidRanges(ranges).set(), err
}
