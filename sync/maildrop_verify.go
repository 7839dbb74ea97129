package sync

import (
	"context"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// maildrop compares the messages that the server lists with their files, wherever those are. What only the Maildir has is explained:
// nothing is ever stored in a maildrop, and what leaves it stays here.
func (v *verifier) maildrop(ctx context.Context) error {
	r := v.r
	i := slices.IndexFunc(r.folders, func(f *folder) bool { return f.remote != nil })
	if i < 0 || r.folders[i].failed != nil {
		return nil
	}
	r.drop = &drop{f: r.folders[i]}
	var at map[int64]mail.UID // of the rows whose messages are listed
	var unknown []mail.UID
	err := r.withMaildrop(ctx, func(s remote.Maildrop) (err error) {
		if r.drop.listing, err = s.Listing(ctx); err != nil {
			return err
		}
		if err := r.nameMaildrop(ctx, s); err != nil {
			return err
		}
		at, unknown, err = r.drop.find(ctx, s, r.dropBox())
		return err
	})
	if err != nil {
		return err
	}
	if r.drop.f.target {
		for _, uid := range unknown {
			v.differ(r.drop.f, uid, "", "only on the server: not synchronised yet")
		}
	}
	for _, f := range r.folders {
		if f.failed != nil || !f.target || f.local == nil && f != r.drop.f {
			continue
		}
		if err := v.inMaildrop(ctx, f, at); err != nil {
			if !r.ofFolder(ctx, err) {
				return err
			}
			r.failFolder(f, err)
		}
		r.tell(func(p *Progress) { p.FoldersDone++ })
	}
	return nil
}

// find says which rows the listed messages are, by name or, where that does not tell, by content, and which are none.
func (d *drop) find(ctx context.Context, s remote.Maildrop, box remote.Box) (at map[int64]mail.UID, unknown []mail.UID, err error) {
	at = map[int64]mail.UID{}
	var doubtful mail.UIDSet
	for i, k := range d.match.Known {
		switch {
		case k >= 0:
			at[d.known[k].ID] = d.uids[i]
		case d.match.Untold[i]:
		case d.match.Doubtful[i] || d.match.Renamed:
			doubtful.Add(d.uids[i])
		default:
			unknown = append(unknown, d.uids[i])
		}
	}
	if doubtful.IsEmpty() {
		return at, unknown, nil
	}
	found, err := bodiesOf(ctx, s, box, doubtful)
	if err != nil {
		return nil, nil, err
	}
	lost := map[mail.Digest][]int64{}
	for i := range d.known {
		if d.match.Remote[i] == plan.Lost {
			lost[d.known[i].Digest] = append(lost[d.known[i].Digest], d.known[i].ID)
		}
	}
	for uid := range doubtful.All() {
		rows := lost[found[uid].Digest]
		if _, read := found[uid]; !read || len(rows) == 0 {
			unknown = append(unknown, uid)
			continue
		}
		at[rows[0]], lost[found[uid].Digest] = uid, rows[1:]
	}
	return at, unknown, nil
}

// inMaildrop compares the messages whose files are in one folder.
func (v *verifier) inMaildrop(ctx context.Context, f *folder, at map[int64]mail.UID) error {
	locals := map[string]bool{}
	if f.local != nil {
		scan, err := v.r.md.Scan(ctx, f.name, nil)
		if err != nil {
			return err
		}
		for _, p := range scan.Problems {
			v.r.fail(f.name, p)
		}
		for _, e := range scan.Entries {
			locals[e.Base] = true
		}
	}
	v.out.Folders++
	known := 0
	var both []state.Message
	err := v.r.eachRow(ctx, f, func(row state.Message) {
		uid, listed := at[row.ID]
		there := row.Name != "" && locals[row.Name]
		if there {
			known++
		}
		switch {
		case row.Why != "" || there && !listed:
			v.out.Explained++
		case there:
			row.UID = uid
			both = append(both, row)
		case listed:
			v.differ(f, uid, row.Name, "only on the server: its file is gone from the Maildir")
		}
	})
	if err != nil {
		return err
	}
	v.out.Explained += len(locals) - known
	v.out.Messages += len(both)
	for chunk := range slices.Chunk(both, 500) {
		if err := v.contents(ctx, f, chunk); err != nil {
			return err
		}
	}
	return nil
}
