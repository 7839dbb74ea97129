package sync

import (
	"context"
	"fmt"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// traces are what the state knows of the messages of folders that can't be read in this pass.
type traces struct {
	remoteSizes, fileSizes map[int64]bool
	headers, contents      map[mail.Digest]bool
}

// dropStrays leaves new messages out of a plan that may have come from a folder which can't be read: taken for new ones they would be there twice,
// or in the trash, once it can be. They wait as long as it can't, or until it is excluded; other new messages do not.
func (r *run) dropStrays(ctx context.Context, p *plan.Plan) error {
	isNew := func(op plan.Op) bool {
		return op.Row == 0 && (op.Kind == plan.Upload || op.Kind == plan.Download || op.Kind == plan.Pairing || op.Kind == plan.Park && !op.Why.Retried())
	}
	if r.isMaildrop() || !slices.ContainsFunc(p.Ops, isNew) {
		return nil
	}
	known, err := r.tracesOfUnread(ctx)
	if known == nil || err != nil {
		return err
	}
	strays := map[*folder]mail.UIDSet{}
	asked := map[*folder]mail.UIDSet{}
	for _, op := range p.Ops {
		if f := r.byName[op.Folder]; isNew(op) && op.UID != 0 {
			if m := f.newRemoteMessage(op.UID); m != nil && known.remoteSizes[m.Size] {
				uids := asked[f]
				uids.Add(op.UID)
				asked[f] = uids
			}
		}
	}
	for _, f := range r.folders {
		uids := asked[f]
		if uids.IsEmpty() {
			continue
		}
		headers, err := r.readHeaders(ctx, remote.Box{Name: f.mailbox, UIDValidity: f.validity()}, uids)
		if err != nil && !r.ofFolder(ctx, err) {
			return err
		}
		var stray mail.UIDSet
		for uid := range uids.All() {
			if h, ok := headers[uid]; !ok || known.headers[h.Header] {
				stray.Add(uid)
			}
		}
		strays[f] = stray
	}
	p.Ops = slices.DeleteFunc(p.Ops, func(op plan.Op) bool {
		if !isNew(op) {
			return false
		}
		f := r.byName[op.Folder]
		drop := false
		if op.UID != 0 {
			uids := strays[f]
			drop = uids.Contains(op.UID)
		} else if m := f.newLocalMessage(op.Name); m != nil && known.fileSizes[m.FileSize] {
			c, _, err := r.md.Survey(ctx, f.local.Name, op.Name)
			drop = err != nil || known.contents[c.Digest]
		}
		if drop {
			r.log.Debug("it may come from a folder that can't be read, and waits", "folder", op.Folder, "uid", op.UID, "name", op.Name)
			r.soil(f)
		}
		return drop
	})
	return nil
}

// tracesOfUnread returns nil if all folders of which the state knows messages could be read.
func (r *run) tracesOfUnread(ctx context.Context) (*traces, error) {
	var known *traces
	for _, f := range r.folders {
		if f.failed == nil || f.base.ID == 0 {
			continue
		}
		if known == nil {
			known = &traces{map[int64]bool{}, map[int64]bool{}, map[mail.Digest]bool{}, map[mail.Digest]bool{}}
		}
		err := r.eachRow(ctx, f, func(m state.Message) {
			known.remoteSizes[m.RemoteSize], known.fileSizes[m.FileSize] = true, true
			known.headers[m.Header], known.contents[m.Digest] = true, true
		})
		if err != nil {
			return nil, fmt.Errorf("looking up what is known of folder %s, which can't be read: %w", f.name, err)
		}
	}
	return known, nil
}
