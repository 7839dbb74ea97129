package sync

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// answerFolders finds out how much of a base folder's messages its rename candidates hold.
func (r *run) answerFolders(ctx context.Context, in *plan.FolderInput) error {
	in.RemoteSame, in.LocalSame = map[plan.FolderQuestion]float64{}, map[plan.FolderQuestion]float64{}
	for range 3 {
		questions := plan.FolderQuestions(*in)
		if len(questions) == 0 {
			return nil
		}
		for _, q := range questions {
			share, err := r.sameMessages(ctx, q, in)
			if err != nil {
				return err
			}
			if q.Side == plan.Server {
				in.RemoteSame[q] = share
			} else {
				in.LocalSame[q] = share
			}
		}
	}
	return nil
}

// sameMessages is the share of a base folder's messages that a candidate holds.
func (r *run) sameMessages(ctx context.Context, q plan.FolderQuestion, in *plan.FolderInput) (float64, error) {
	if q.Side == plan.Maildir {
		scan, err := r.md.Scan(ctx, q.Candidate, nil)
		if err != nil {
			r.fail(q.Candidate, err)
			r.stick(q.Candidate) // nobody knows which one it is
			return 0, r.view(ctx, func(tx *state.Tx) error {
				f, err := tx.Folder(q.Base)
				r.stick(f.Name)
				return err
			})
		}
		there := map[string]bool{}
		for _, e := range scan.Entries {
			there[e.Base] = true
		}
		same, known := 0, 0
		err = r.view(ctx, func(tx *state.Tx) error {
			files, err := tx.Files(q.Base)
			if err != nil {
				return err
			}
			for _, e := range scan.Entries {
				if files.Take(e.Base, e.Flags.Hash()) {
					same++
				}
			}
			known = files.Len()
			others, err := tx.Messages(files.Missing()) // gone, or with other flags
			for _, m := range others {
				if there[m.Name] {
					same++
				}
			}
			return err
		})
		if err != nil || known == 0 {
			return 0, err
		}
		return float64(same) / float64(known), nil
	}
	i := slices.IndexFunc(in.Remote, func(f plan.RemoteFolder) bool { return f.Name == q.Candidate })
	if i < 0 {
		return 0, nil
	}
	return r.sameOnServer(ctx, q.Base, remote.Box{Name: in.Remote[i].Mailbox, UIDValidity: in.Remote[i].UIDValidity})
}

// sameOnServer is the share of a base folder's UIDs that a mailbox has, none if other messages have them: a mailbox may share its
// UIDVALIDITY with others, and many have the same UIDs.
func (r *run) sameOnServer(ctx context.Context, base int64, box remote.Box) (share float64, err error) {
	var known mail.UIDSet
	err = r.view(ctx, func(tx *state.Tx) (err error) { known, err = tx.UIDs(base); return err })
	if err != nil || known.IsEmpty() {
		return 0, err
	}
	err = r.pool.reading(ctx, func(s remote.Session) error {
		ms, err := s.Fetch(ctx, box, known, remote.FetchItems{})
		var there mail.UIDSet
		for _, m := range ms {
			there.Add(m.UID)
		}
		shared := known.Minus(known.Minus(there))
		if share = float64(shared.Len()) / float64(known.Len()); err != nil || shared.IsEmpty() {
			return err
		}
		sample := spread(shared, 20)
		headers, err := headersOf(ctx, s, box, sample)
		if err != nil {
			return err
		}
		return r.view(ctx, func(tx *state.Tx) error {
			rows, err := tx.ByUIDs(base, sample)
			same := 0
			for _, row := range rows {
				h := headers[row.UID]
				switch {
				case h == nil || row.Header.IsZero():
				case h.Header != row.Header:
					share = 0
				default:
					same++
				}
			}
			if same == 0 {
				share = 0
			}
			return err
		})
	})
	return share, err
}

// spread returns at most n of the UIDs at even distances, the first and the last among them: a message more or less in one of two mailboxes
// shifts all that follow.
func spread(uids mail.UIDSet, n int) mail.UIDSet {
	all := uids.Slice()
	if len(all) <= n {
		return uids
	}
	var out mail.UIDSet
	for i := range n {
		out.Add(all[i*(len(all)-1)/(n-1)])
	}
	return out
}

// applyFolders carries out folder operations. One that fails is reported, and its folder waits for the next run, as do those that have to do with it.
func (r *run) applyFolders(ctx context.Context, ops []plan.FolderOp) {
	for _, op := range ops {
		if ctx.Err() != nil {
			return
		}
		if r.waitsForNames(op) {
			r.log.Debug("it waits for another folder", "op", op.Kind, "side", op.Side, "from", op.From, "folder", op.Folder)
			r.stickRename(ctx, op)
			continue
		}
		r.log.Info("folder", "op", op.Kind, "side", op.Side, "from", op.From, "folder", op.Folder, "why", op.Reason)
		if err := r.applyFolder(ctx, op); err != nil {
			where := ""
			if op.Side != "" { // following a rename is a matter of the state alone
				where = fmt.Sprintf(" on the %s", op.Side)
			}
			r.fail(op.Folder, fmt.Errorf("%s%s: %w", folderWords[op.Kind], where, err))
			forGood := remote.ClassOf(err) == remote.Refused || errors.Is(err, maildir.ErrFolderExists) // then messages move one by one
			if op.Kind != plan.CreateFolder && !forGood {
				r.stickRename(ctx, op)
			}
			continue
		}
		r.count(func(res *Result) {
			c := res.folders(op.Side)
			switch op.Kind {
			case plan.CreateFolder:
				c.Created++
			case plan.RenameFolder:
				c.Renamed++
			}
		})
	}
}

var folderWords = map[plan.FolderKind]string{
	plan.RenameFolder: "renaming the folder",
	plan.FollowFolder: "following a rename",
	plan.CreateFolder: "creating the folder",
}

func (r *run) applyFolder(ctx context.Context, op plan.FolderOp) error {
	if op.Kind == plan.FollowFolder || op.Kind == plan.RenameFolder && op.Side == plan.Server {
		// What counts is a name that was found in the Maildir, perhaps, and whoever gave it has not made it durable.
		if err := r.md.SyncFolders([]mail.FolderName{op.Folder, op.From}); err != nil {
			return err
		}
	}
	switch {
	case op.Kind == plan.CreateFolder && op.Side == plan.Maildir:
		if err := r.md.CreateFolder(op.Folder); err != nil {
			return err
		}
		r.made[op.Folder] = true
		return nil
	case op.Kind == plan.CreateFolder:
		box := op.Mailbox
		if box == "" {
			var err error
			if box, err = r.names.mailbox(op.Folder); err != nil {
				return err
			}
		}
		return r.pool.with(ctx, func(s remote.Session) error {
			err := s.Create(ctx, box)
			if remote.ClassOf(err) == remote.Refused {
				// It may be there by now: a rename of the folder above it has taken it along.
				if _, there := s.Status(ctx, box); there == nil {
					return nil
				}
			}
			return err
		})
	case op.Kind == plan.RenameFolder && op.Side == plan.Maildir:
		if err := r.md.RenameFolder(op.From, op.Folder); err != nil {
			return err
		}
		return r.renameState(ctx, op)
	case op.Kind == plan.RenameFolder:
		var from string
		err := r.view(ctx, func(tx *state.Tx) error {
			f, err := tx.Folder(op.Base)
			from = f.Mailbox
			return err
		})
		if now := r.mailboxOf(op.From, from); now != "" {
			from = now
		}
		if err != nil {
			return err
		}
		box := op.Mailbox
		if box == "" {
			if box, err = r.names.mailbox(op.Folder); err != nil {
				return err
			}
		}
		if err := r.pool.with(ctx, func(s remote.Session) error { return s.Rename(ctx, from, box) }); err != nil {
			return err
		}
		return r.renameState(ctx, op)
	default:
		return r.renameState(ctx, op)
	}
}

// mailboxOf is what the server listed a folder as, empty if it lists the mailbox that the state knows, or neither: then an earlier step of this run
// has renamed it.
func (r *run) mailboxOf(name mail.FolderName, known string) (box string) {
	for _, b := range r.boxes {
		if b.Name == known {
			return ""
		}
		if n, err := r.names.local(b); err == nil && n == name {
			box = b.Name
		}
	}
	return box
}

// renameState gives a folder and all below it their new names in the state. The server's names are
// read anew by the probe that follows.
func (r *run) renameState(ctx context.Context, op plan.FolderOp) error {
	return r.update(ctx, func(tx *state.Tx) error {
		all, err := tx.Folders()
		if err != nil {
			return err
		}
		i := slices.IndexFunc(all, func(f state.Folder) bool { return f.ID == op.Base })
		if i < 0 {
			return state.ErrNotFound
		}
		from := all[i].Name // which a stopped run may have told apart from op.From
		for _, f := range all {
			if f.Name != from && !f.Name.Under(from) {
				continue
			}
			to := op.Folder + f.Name[len(from):]
			box := f.Mailbox
			if n, err := r.names.mailbox(to); err == nil {
				box = n
			}
			if f.ID == op.Base && op.Mailbox != "" {
				box = op.Mailbox
			}
			if f.MailboxID == "" {
				// It was recognised by its messages, and another mailbox can have the same. Each counts its own mod-sequence (RFC 7162, section
				// 3.1.2): this one does not tell what happened in that.
				f.HighestModSeq = 0
				if err := tx.PutFolder(&f); err != nil {
					return err
				}
			}
			if err := tx.RenameFolder(f.ID, to, box); err != nil {
				return err
			}
		}
		return nil
	})
}

// dryFolders carries folder renames out in memory, so that a dry run plans messages as the real run would: each
// folder gets the name that it would have, and is read where it is.
func (r *run) dryFolders(ops []plan.FolderOp, t *trees, in plan.FolderInput) {
	renamed := func(name, from, to mail.FolderName) mail.FolderName {
		switch {
		case name == from:
			return to
		case name.Under(from):
			return to + name[len(from):]
		}
		return name
	}
	r.dryRemote, r.dryLocal = map[string]mail.FolderName{}, map[mail.FolderName]mail.FolderName{}
	for _, f := range in.Remote {
		r.dryRemote[f.Mailbox] = f.Name
	}
	for _, f := range t.local {
		r.dryLocal[f.Name] = f.Name
	}
	for _, op := range ops {
		if op.Kind == plan.CreateFolder {
			continue
		}
		for box, name := range r.dryRemote {
			if op.Kind == plan.RenameFolder && op.Side == plan.Server {
				r.dryRemote[box] = renamed(name, op.From, op.Folder)
			}
		}
		for disk, name := range r.dryLocal {
			if op.Kind == plan.RenameFolder && op.Side == plan.Maildir {
				r.dryLocal[disk] = renamed(name, op.From, op.Folder)
			}
		}
		from := op.From
		for _, b := range t.base {
			if b.ID == op.Base {
				from = b.Name // which a rename on the other side may have told apart from op.From
			}
		}
		for i := range t.base {
			t.base[i].Name = renamed(t.base[i].Name, from, op.Folder)
		}
	}
	for i := range t.base {
		for _, b := range t.boxes { // where the server has it now
			if r.dryRemote[b.Name] == t.base[i].Name {
				t.base[i].Mailbox = b.Name
			}
		}
	}
}
