package imap

import (
	"cmp"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// maxMessages bounds how many messages of one mailbox are kept track of, at a hundred bytes each.
const maxMessages = 5_000_000

// observation is what is known of one message, from whichever FETCH responses named it.
type observation struct {
	remote.Message
	hasFlags, hasSize, hasDate, hasHeader bool
}

// observations are keyed by UID. Servers send them in ascending order, nearly always.
type observations struct {
	list  []observation
	index map[mail.UID]int // nil while the list is in order
}

// at returns the observation of a UID, nil if there is none.
func (o *observations) at(u mail.UID) *observation {
	if o.index != nil {
		if i, ok := o.index[u]; ok {
			return &o.list[i]
		}
		return nil
	}
	i, ok := slices.BinarySearchFunc(o.list, u, func(a observation, u mail.UID) int { return cmp.Compare(a.UID, u) })
	if !ok {
		return nil
	}
	return &o.list[i]
}

// add merges what a response says. Later ones win: the server sends what is so now.
func (o *observations) add(f *fetched) {
	u := f.msg.UID
	var m *observation
	if n := len(o.list); n > 0 && (o.index != nil || o.list[n-1].UID >= u) {
		m = o.at(u)
	}
	if m == nil {
		if len(o.list) == maxMessages {
			return
		}
		m = o.insert(u)
	}
	if f.hasFlags {
		m.Flags, m.hasFlags = f.msg.Flags, true
	}
	if f.msg.ModSeq > 0 {
		m.ModSeq = f.msg.ModSeq
	}
	if f.hasSize {
		m.Size, m.hasSize = f.msg.Size, true
	}
	if f.hasDate {
		m.Date, m.hasDate = f.msg.Date, true
	}
	if f.hasMail {
		m.EmailID = f.msg.EmailID
	}
	if f.hasHeader {
		m.Header, m.hasHeader = f.msg.Header, true
	}
}

func (o *observations) insert(u mail.UID) *observation {
	n := len(o.list)
	if o.index == nil && n > 0 && o.list[n-1].UID > u {
		o.index = make(map[mail.UID]int, n+1)
		for i := range o.list {
			o.index[o.list[i].UID] = i
		}
	}
	if o.index != nil {
		o.index[u] = n
	}
	o.list = append(o.list, observation{Message: remote.Message{UID: u}})
	return &o.list[n]
}

// sorted returns all in ascending order of UID.
func (o *observations) sorted() []observation {
	if o.index != nil {
		slices.SortFunc(o.list, func(a, b observation) int { return cmp.Compare(a.UID, b.UID) })
		o.index = nil
	}
	return o.list
}

// uids returns the set of UIDs from first to last.
func (o *observations) uids(first, last mail.UID) mail.UIDSet {
	var set mail.UIDSet
	for _, m := range o.sorted() {
		if first <= m.UID && m.UID <= last {
			set.Add(m.UID)
		}
	}
	return set
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
