package plan

import (
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
)

// group holds the indices of rows (or local messages) and messages that have the same key.
type group struct{ left, right []int }

// groups puts indices with equal keys together, in the order in which the keys first occur on the left. Keys
// that only one list has give no group. An index whose key is not ok is in no group.
func groups[K comparable](left, right []int, leftKey, rightKey func(int) (K, bool)) []group {
	at := map[K]int{}
	var out []group
	for _, i := range left {
		k, ok := leftKey(i)
		if !ok {
			continue
		}
		n, known := at[k]
		if !known {
			n = len(out)
			at[k] = n
			out = append(out, group{})
		}
		out[n].left = append(out[n].left, i)
	}
	if len(out) == 0 {
		return nil
	}
	for _, j := range right {
		if k, ok := rightKey(j); ok {
			if n, known := at[k]; known {
				out[n].right = append(out[n].right, j)
			}
		}
	}
	return slices.DeleteFunc(out, func(g group) bool { return len(g.right) == 0 })
}

// zip matches what has equal keys one to one, in order; a surplus on either side stays unmatched.
func zip[K comparable](left, right []int, leftKey, rightKey func(int) (K, bool), match func(l, r int)) {
	for _, g := range groups(left, right, leftKey, rightKey) {
		for i := range min(len(g.left), len(g.right)) {
			match(g.left[i], g.right[i])
		}
	}
}

// contentKey is what two messages must share to be taken for the same. Fields that a comparison does not
// use are zero.
type contentKey struct {
	digest mail.Digest // of the content, or of the header
	folder mail.FolderName
	size   int64
	text   string // EMAILID or file name
	number int64  // date or inode
}

// --- Rows that are missing on the server ---

func (r *resolver) findOnServer() {
	var rows []int
	for i := range r.rows {
		x := &r.rows[i]
		missing := x.Remote == Gone || x.Remote == Lost || x.Remote == Absent && x.Why == Agreed
		// Pending messages count as deleted: where one is gone from is no move.
		if x.Why == Pending && x.Remote != Lost {
			missing = false
		}
		if missing && !x.inMaildirOnly() && !(x.Digest.IsZero() && x.Header.IsZero()) {
			rows = append(rows, i)
		}
	}
	if len(rows) == 0 {
		return
	}
	r.findOnServerWithin(rows, true)
	if len(r.questions) == 0 {
		moving := slices.DeleteFunc(slices.Clone(rows), func(i int) bool { return r.rows[i].Why == Pending })
		r.findOnServerWithin(moving, false)
	}
	r.doubtOnServer(rows)
}

// findOnServerWithin looks for rows among the unknown messages of their own folder, or of all folders. Size
// and EMAILID nominate; the header's digest decides where it can belong to one row and one message only,
// else the whole content's does.
func (r *resolver) findOnServerWithin(rows []int, sameFolder bool) {
	scope := func(f mail.FolderName) mail.FolderName {
		if sameFolder && !r.policy.Maildrop { // which has one mailbox, wherever the files are
			return f
		}
		return ""
	}
	rows = r.missingOnServer(rows)
	messages := r.nominatedOnServer(rows, scope)
	before := len(r.questions)
	for _, j := range messages {
		if m := &r.remote[j]; m.blank() {
			r.askHeader(m)
		}
	}

	// Where the whole content is known, nothing else counts. Dates break ties.
	for _, dated := range []bool{true, false} {
		key := func(d mail.Digest, f mail.FolderName, unix int64) (contentKey, bool) {
			if !dated {
				unix = 0
			}
			return contentKey{digest: d, folder: scope(f), number: unix}, !d.IsZero()
		}
		zip(rows, r.openOnServer(messages),
			func(i int) (contentKey, bool) {
				x := &r.rows[i]
				return key(x.onServer(), x.Folder, x.Date.Unix())
			},
			func(j int) (contentKey, bool) {
				m := &r.remote[j]
				if m.Digest == nil {
					return contentKey{}, false
				}
				return key(*m.Digest, m.Folder, m.Date.Unix())
			}, r.foundOnServer)
		rows = r.missingOnServer(rows)
	}

	r.findByHeader(rows, r.openOnServer(messages),
		func(x *row) (contentKey, bool) {
			return contentKey{folder: scope(x.Folder), size: x.RemoteSize}, x.RemoteSize >= 0
		},
		func(m *remoteMessage) contentKey { return contentKey{folder: scope(m.Folder), size: m.Size} })
	r.findByHeader(r.missingOnServer(rows), r.openOnServer(messages),
		func(x *row) (contentKey, bool) {
			return contentKey{folder: scope(x.Folder), text: x.EmailID}, x.EmailID != ""
		},
		func(m *remoteMessage) contentKey { return contentKey{folder: scope(m.Folder), text: m.EmailID} })

	if sameFolder && len(r.questions) == before {
		r.findOtherSize(r.missingOnServer(rows), scope)
	}
}

// nominatedOnServer returns the open messages that may be one of the rows, by size or EMAILID.
func (r *resolver) nominatedOnServer(rows []int, scope func(mail.FolderName) mail.FolderName) []int {
	wanted := make(map[contentKey]bool, 2*len(rows))
	for _, i := range rows {
		x := &r.rows[i]
		wanted[contentKey{folder: scope(x.Folder), size: x.RemoteSize}] = true
		if x.EmailID != "" {
			wanted[contentKey{folder: scope(x.Folder), text: x.EmailID}] = true
		}
	}
	var out []int
	for j := range r.remote {
		m := &r.remote[j]
		if m.open() && (wanted[contentKey{folder: scope(m.Folder), size: m.Size}] ||
			m.EmailID != "" && wanted[contentKey{folder: scope(m.Folder), text: m.EmailID}]) {
			out = append(out, j)
		}
	}
	return out
}

// findByHeader matches rows and messages that have the same key and header, one to one; where
// more than one could be meant, or the header alone says too little, it asks for the content.
func (r *resolver) findByHeader(rows, messages []int, rowKey func(*row) (contentKey, bool), messageKey func(*remoteMessage) contentKey) {
	left := func(i int) (contentKey, bool) {
		x := &r.rows[i]
		k, ok := rowKey(x)
		k.digest = x.Header
		return k, ok
	}
	right := func(j int) (contentKey, bool) {
		m := &r.remote[j]
		if m.Header == nil || m.Digest != nil {
			return contentKey{}, false // unknown, or decided by its content already
		}
		k := messageKey(m)
		k.digest = m.Header.Digest
		return k, true
	}
	for _, g := range groups(rows, messages, left, right) {
		x, m := &r.rows[g.left[0]], &r.remote[g.right[0]]
		if len(g.left) == 1 && len(g.right) == 1 && x.HasMessageID && telling(m) && !x.RemoteFlags.Has(mail.Draft) {
			r.foundOnServer(g.left[0], g.right[0])
			continue
		}
		r.askContents(g)
	}
}

// telling reports whether a message's header says enough. Drafts are saved again and again with the same header
// and another text.
func telling(m *remoteMessage) bool {
	return m.Header.HasMessageID && !m.Flags.Has(mail.Draft)
}

// askContents asks for the content of a group's messages if any of its rows could be told by it.
func (r *resolver) askContents(g group) {
	if !slices.ContainsFunc(g.left, func(i int) bool { return !r.rows[i].Digest.IsZero() }) {
		return
	}
	for _, j := range g.right {
		if m := &r.remote[j]; m.Digest == nil {
			r.askWhole(m)
		}
	}
}

// findOtherSize looks for rows whose identity was lost among the messages of their folder that have
// another size: servers count differently. The content decides.
func (r *resolver) findOtherSize(rows []int, scope func(mail.FolderName) mail.FolderName) {
	rows = slices.DeleteFunc(slices.Clone(rows), func(i int) bool {
		x := &r.rows[i]
		return x.Remote != Lost || x.Digest.IsZero() || x.Header.IsZero()
	})
	if len(rows) == 0 {
		return
	}
	wanted := map[mail.FolderName]bool{}
	for _, i := range rows {
		wanted[scope(r.rows[i].Folder)] = true
	}
	var messages []int
	for j := range r.remote {
		m := &r.remote[j]
		if !m.open() || !wanted[scope(m.Folder)] {
			continue
		}
		if m.blank() {
			r.askHeader(m)
		}
		messages = append(messages, j)
	}
	for _, g := range groups(rows, messages,
		func(i int) (contentKey, bool) {
			return contentKey{folder: scope(r.rows[i].Folder), digest: r.rows[i].Header}, true
		},
		func(j int) (contentKey, bool) {
			m := &r.remote[j]
			if m.Header == nil {
				return contentKey{}, false
			}
			return contentKey{folder: scope(m.Folder), digest: m.Header.Digest}, true
		}) {
		r.askContents(g)
	}
	zip(rows, messages,
		func(i int) (contentKey, bool) {
			return contentKey{folder: scope(r.rows[i].Folder), digest: r.rows[i].onServer()}, true
		},
		func(j int) (contentKey, bool) {
			m := &r.remote[j]
			if m.Digest == nil {
				return contentKey{}, false
			}
			return contentKey{folder: scope(m.Folder), digest: *m.Digest}, true
		}, r.foundOnServer)
}

func (r *resolver) foundOnServer(i, j int) {
	x, m := &r.rows[i], &r.remote[j]
	x.remote = place{found: have, folder: m.Folder, uid: m.UID, flags: m.Flags, msg: j}
	m.row = i
}

func (r *resolver) missingOnServer(rows []int) []int {
	return slices.DeleteFunc(slices.Clone(rows), func(i int) bool { return r.rows[i].remote.found == have })
}

func (r *resolver) openOnServer(messages []int) []int {
	return slices.DeleteFunc(slices.Clone(messages), func(j int) bool { return !r.remote[j].open() })
}

// doubtOnServer marks rows that a message which can't be looked into may be, or one that was left out.
func (r *resolver) doubtOnServer(rows []int) {
	for _, i := range rows {
		x := &r.rows[i]
		x.remote.unsure = x.Remote == Lost && x.remote.found != have && r.folder(x.Folder).RemotePartial
	}
	unknown := map[contentKey]bool{}
	for j := range r.remote {
		if m := &r.remote[j]; m.Unknowable {
			unknown[contentKey{size: m.Size}] = true
			if m.EmailID != "" {
				unknown[contentKey{text: m.EmailID}] = true
			}
		}
	}
	if len(unknown) == 0 {
		return
	}
	for _, i := range rows {
		x := &r.rows[i]
		x.remote.unsure = x.remote.unsure || x.remote.found != have &&
			(unknown[contentKey{size: x.RemoteSize}] || x.EmailID != "" && unknown[contentKey{text: x.EmailID}])
	}
}

// --- Rows that are missing in the Maildir ---

// findInMaildir looks for rows among the unknown files of all folders. Name and size nominate (and with the
// size the inode, which file systems give away again at once); the content decides.
func (r *resolver) findInMaildir() {
	var rows []int
	wanted := map[contentKey]bool{}
	for i := range r.rows {
		x := &r.rows[i]
		missing := x.Local == Gone || x.Local == Lost || x.Local == Absent && x.Why == Agreed
		if !missing || x.onServerOnly() || x.Digest.IsZero() {
			continue
		}
		rows = append(rows, i)
		wanted[contentKey{size: x.FileSize}] = true
		if x.Name != "" {
			wanted[contentKey{text: x.Name}] = true
		}
	}
	if len(rows) == 0 {
		return
	}
	var messages []int
	for j := range r.local {
		m := &r.local[j]
		if !m.open() || !wanted[contentKey{size: m.FileSize}] && !wanted[contentKey{text: m.Name}] {
			continue
		}
		if m.Content == nil {
			r.askContent(m)
			continue
		}
		messages = append(messages, j)
	}
	// What is parked for a read-only mailbox may be the moved half of a row that waits for it.
	parked := func(i int) bool { return r.rows[i].Why == ReadOnly }
	r.findFiles(slices.DeleteFunc(slices.Clone(rows), parked), messages)
	r.findFiles(slices.DeleteFunc(slices.Clone(rows), func(i int) bool { return !parked(i) }), messages)
	r.loseHalves(rows)
	r.doubtInMaildir(rows)
}

// loseHalves: that the moved half of a row that waits is missing is no evidence of its deletion where the directory it was in means nothing any more.
func (r *resolver) loseHalves(rows []int) {
	lost := map[mail.Digest]bool{}
	for _, i := range rows {
		if x := &r.rows[i]; x.inMaildirOnly() && x.Local == Lost && x.local.found != have {
			lost[x.Digest] = true
		}
	}
	for _, i := range rows {
		if x := &r.rows[i]; x.Waits && x.local.found == gone && lost[x.Digest] {
			x.local.found = none
		}
	}
}

// findFiles looks for rows among files of which the content is known.
func (r *resolver) findFiles(rows, messages []int) {
	for _, like := range localLikeness {
		rows = slices.DeleteFunc(rows, func(i int) bool { return r.rows[i].local.found == have })
		messages = slices.DeleteFunc(slices.Clone(messages), func(j int) bool { return !r.local[j].open() })
		zip(rows, messages,
			func(i int) (contentKey, bool) {
				x := &r.rows[i]
				return like(x.Digest, x.Folder, x.Name, x.Inode)
			},
			func(j int) (contentKey, bool) {
				m := &r.local[j]
				return like(m.Content.Digest, m.Folder, m.Name, m.Inode)
			},
			func(i, j int) {
				x, m := &r.rows[i], &r.local[j]
				flags := m.Flags
				if m.Unexplained {
					flags = flags.Plus(x.LocalFlags.KeywordsOnly())
				}
				x.local = place{found: have, folder: m.Folder, name: m.Name, flags: flags, msg: j}
				m.row = i
			})
	}
}

// localLikeness are the ways in which files of the same content are told apart, the surest first.
var localLikeness = [...]func(d mail.Digest, f mail.FolderName, name string, inode uint64) (contentKey, bool){
	func(d mail.Digest, f mail.FolderName, name string, _ uint64) (contentKey, bool) {
		return contentKey{digest: d, folder: f, text: name}, true
	},
	func(d mail.Digest, _ mail.FolderName, name string, _ uint64) (contentKey, bool) {
		return contentKey{digest: d, text: name}, true
	},
	func(d mail.Digest, _ mail.FolderName, _ string, inode uint64) (contentKey, bool) {
		return contentKey{digest: d, number: int64(inode)}, inode != 0
	},
	func(d mail.Digest, f mail.FolderName, _ string, _ uint64) (contentKey, bool) {
		return contentKey{digest: d, folder: f}, true
	},
	func(d mail.Digest, _ mail.FolderName, _ string, _ uint64) (contentKey, bool) {
		return contentKey{digest: d}, true
	},
}

// doubtInMaildir marks rows that a file which can't be read may be.
func (r *resolver) doubtInMaildir(rows []int) {
	unknown := map[contentKey]bool{}
	for j := range r.local {
		if m := &r.local[j]; m.Unknowable {
			unknown[contentKey{size: m.FileSize}] = true
			unknown[contentKey{text: m.Name}] = true
		}
	}
	if len(unknown) == 0 {
		return
	}
	for _, i := range rows {
		x := &r.rows[i]
		x.local.unsure = x.local.found != have && (unknown[contentKey{size: x.FileSize}] || unknown[contentKey{text: x.Name}])
	}
}
