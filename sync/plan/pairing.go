package plan

import (
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
)

// pairNew finds new messages that both sides have, folder by folder, after moves took theirs.
func (r *resolver) pairNew() {
	if r.policy.Maildrop {
		r.pairMaildrop()
		return
	}
	remote := byFolder(len(r.remote), func(i int) mail.FolderName { return r.remote[i].Folder })
	local := byFolder(len(r.local), func(i int) mail.FolderName { return r.local[i].Folder })
	for i, j := 0, 0; i < len(remote) && j < len(local); {
		a, b := remote[i], local[j]
		switch {
		case a.folder < b.folder:
			i++
		case b.folder < a.folder:
			j++
		default:
			if r.folder(a.folder).Target {
				r.pairFolder(a.indices(), b.indices())
			}
			i, j = i+1, j+1
		}
	}
}

// span is a run of messages of one folder.
type span struct {
	folder      mail.FolderName
	first, next int
}

func (s span) indices() []int {
	out := make([]int, 0, s.next-s.first)
	for i := s.first; i < s.next; i++ {
		out = append(out, i)
	}
	return out
}

// byFolder cuts n messages, sorted by folder, into spans.
func byFolder(n int, folder func(int) mail.FolderName) []span {
	var out []span
	for i := range n {
		if k := len(out) - 1; k >= 0 && out[k].folder == folder(i) {
			out[k].next = i + 1
		} else {
			out = append(out, span{folder(i), i, i + 1})
		}
	}
	return out
}

// pairFolder pairs by size and header where only one message on each side can be meant, and by the
// whole content, in as many pairs as there are, where several can. Each step needs the answers to the
// questions of the step before.
func (r *resolver) pairFolder(remote, local []int) {
	remote = r.openOnServer(remote)
	local = slices.DeleteFunc(local, func(j int) bool { return !r.local[j].open() })
	if len(remote) == 0 || len(local) == 0 {
		return
	}
	before := len(r.questions)
	for _, j := range local {
		if m := &r.local[j]; m.Content == nil {
			r.askContent(m)
		}
	}
	if len(r.questions) > before {
		return
	}

	r.pairByContent(local, remote)
	remote, local = r.unpaired(remote, local)
	sizes := make(map[int64]bool, 2*len(local))
	for _, i := range local {
		c := r.local[i].Content
		sizes[c.WireSize()], sizes[c.Size] = true, true
	}
	for _, j := range remote {
		if m := &r.remote[j]; m.blank() && sizes[m.Size] {
			r.askHeader(m)
		}
	}
	if len(r.questions) > before {
		return
	}

	r.pairBySize(local, remote, mail.Content.WireSize)
	remote, local = r.unpaired(remote, local)
	r.pairBySize(local, remote, func(c mail.Content) int64 { return c.Size })
	if len(r.questions) == before {
		r.pairOtherSize(r.unpaired(remote, local))
	}
}

func (r *resolver) pairByContent(local, remote []int) {
	for _, dated := range []bool{true, false} {
		key := func(d mail.Digest, unix int64) (contentKey, bool) {
			if !dated {
				unix = 0
			}
			return contentKey{digest: d, number: unix}, true
		}
		zip(local, remote,
			func(i int) (contentKey, bool) {
				m := &r.local[i]
				return key(m.Content.Digest, m.Date.Unix())
			},
			func(j int) (contentKey, bool) {
				m := &r.remote[j]
				if m.Digest == nil {
					return contentKey{}, false
				}
				return key(*m.Digest, m.Date.Unix())
			}, r.pair)
		remote, local = r.unpaired(remote, local)
	}
}

func (r *resolver) pairBySize(local, remote []int, size func(mail.Content) int64) {
	for _, g := range groups(local, remote,
		func(i int) (contentKey, bool) {
			c := r.local[i].Content
			return contentKey{digest: c.Header, size: size(*c)}, true
		},
		r.undecidedKey(func(m *remoteMessage) int64 { return m.Size })) {
		i, j := g.left[0], g.right[0]
		l, m := &r.local[i], &r.remote[j]
		// What leaves a maildrop later must be here to the last byte, unless it is known from before.
		exact := r.policy.Maildrop && (l.Row == 0 || m.Unread)
		if len(g.left) == 1 && len(g.right) == 1 && l.Content.HasMessageID && telling(m) && !l.Flags.Has(mail.Draft) && !exact {
			r.pair(i, j)
			continue
		}
		for _, j := range g.right {
			r.askWhole(&r.remote[j])
		}
	}
}

// pairOtherSize looks at what is left by header alone, because servers get sizes wrong; the content decides.
func (r *resolver) pairOtherSize(remote, local []int) {
	if len(local) == 0 {
		return
	}
	for _, j := range remote {
		if m := &r.remote[j]; m.blank() {
			r.askHeader(m)
		}
	}
	for _, g := range groups(local, remote,
		func(i int) (contentKey, bool) { return contentKey{digest: r.local[i].Content.Header}, true },
		r.undecidedKey(func(*remoteMessage) int64 { return 0 })) {
		for _, j := range g.right {
			r.askWhole(&r.remote[j])
		}
	}
}

// undecidedKey is the header of messages that only it is known of.
func (r *resolver) undecidedKey(size func(*remoteMessage) int64) func(int) (contentKey, bool) {
	return func(j int) (contentKey, bool) {
		m := &r.remote[j]
		if m.Header == nil || m.Digest != nil {
			return contentKey{}, false
		}
		return contentKey{digest: m.Header.Digest, size: size(m)}, true
	}
}

func (r *resolver) pair(local, remote int) {
	r.local[local].pair, r.remote[remote].pair = remote, local
}

func (r *resolver) unpaired(remote, local []int) ([]int, []int) {
	return r.openOnServer(remote),
		slices.DeleteFunc(slices.Clone(local), func(i int) bool { return !r.local[i].open() })
}

// doubtNew marks new files that may be what the server has in the same folder and does not give. It goes by the header if there is one, else
// by the size, if that was told.
func (r *resolver) doubtNew() {
	if r.policy.Maildrop {
		return // it stores nothing
	}
	unknown := map[contentKey]bool{}
	folders := map[mail.FolderName]bool{}
	for j := range r.remote {
		m := &r.remote[j]
		if !m.Unknowable || m.row >= 0 {
			continue
		}
		key := contentKey{folder: m.Folder, size: m.Size}
		if m.Header != nil {
			key = contentKey{folder: m.Folder, digest: m.Header.Digest}
		}
		unknown[key], folders[m.Folder] = true, true
	}
	for i := range r.local {
		m := &r.local[i]
		if !m.open() {
			continue
		}
		if m.unsure = r.folder(m.Folder).RemotePartial; m.unsure || !folders[m.Folder] {
			continue
		}
		c := m.Content
		if c == nil {
			r.askContent(m)
			continue
		}
		m.unsure = unknown[contentKey{folder: m.Folder, digest: c.Header}] ||
			unknown[contentKey{folder: m.Folder, size: c.WireSize()}] || unknown[contentKey{folder: m.Folder, size: c.Size}]
	}
}

// doubtUnread marks new messages on the server that the Maildir may have, in files which can't be read: where nothing is known yet of what both had, and
// those that have waited since then. Of such a file only the size is known, and not whether its lines end in LF.
func (r *resolver) doubtUnread() {
	scope := func(f mail.FolderName) mail.FolderName {
		if r.policy.Maildrop {
			return ""
		}
		return f
	}
	sizes := map[mail.FolderName][]int64{}
	for i := range r.local {
		if m := &r.local[i]; m.Unknowable && m.row < 0 {
			sizes[scope(m.Folder)] = append(sizes[scope(m.Folder)], m.FileSize)
		}
	}
	if len(sizes) == 0 {
		return
	}
	for _, s := range sizes {
		slices.Sort(s)
	}
	for j := range r.remote {
		m := &r.remote[j]
		if !m.open() || !m.Unread && !r.folder(m.Folder).Unknown {
			continue
		}
		s := sizes[scope(m.Folder)]
		k, _ := slices.BinarySearch(s, (m.Size+1)/2)
		m.unsure = k < len(s) && (s[k] <= m.Size || m.Size < 0)
	}
}
