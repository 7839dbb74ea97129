package sync

import (
	"context"
	"fmt"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// traces are what the state knows of the messages of folders that can't be read in this pass.
type traces struct {
	remoteSizes, fileSizes map[int64]bool
	anySize                bool // the sizes on the server say nothing
	headers, contents      map[mail.Digest]bool
}

// dropStrays leaves new messages out of a plan that may have come from a folder which can't be read: taken for new ones they would be there twice,
// or in the trash, once it can be. They wait as long as it can't, or until it is excluded; other new messages do not.
func (r *run) dropStrays(ctx context.Context, p *plan.Plan) error {
	isNew := func(op plan.Op) bool { uid, name := r.newcomer(op); return uid != 0 || name != "" }
	if !slices.ContainsFunc(p.Ops, isNew) {
		return nil
	}
	if r.traces == nil {
		if err := r.traceUnread(ctx); err != nil {
			return err
		}
	}
	known := r.traces
	if known.none() {
		return nil
	}
	strays := map[*folder]mail.UIDSet{}
	asked := map[*folder]mail.UIDSet{}
	for _, op := range p.Ops {
		f := r.byName[op.Folder]
		if uid, _ := r.newcomer(op); uid != 0 && (known.anySize || known.remoteSizes[f.newRemoteMessage(uid).Size]) {
			uids := asked[f]
			uids.Add(uid)
			asked[f] = uids
		}
	}
	for _, f := range r.folders {
		uids := asked[f]
		if uids.IsEmpty() {
			continue
		}
		headers, err := r.readHeaders(ctx, f, uids)
		if err != nil && !r.ofFolder(ctx, err) {
			return err
		}
		if err != nil {
			r.failMessage(f, fmt.Errorf("comparing new messages with those of a folder that can't be read: %w", err))
		}
		var stray mail.UIDSet
		for uid := range uids.All() {
			if h, ok := headers[uid]; !ok || known.headers[h.Header] {
				stray.Add(uid)
			}
		}
		strays[f] = stray
	}
	waiting := map[int64]bool{} // what else is to be done with a row that has to wait
	r.putOff(p, func(op plan.Op) bool {
		f := r.byName[op.Folder]
		drop := waiting[op.Row]
		if uid, name := r.newcomer(op); uid != 0 {
			uids := strays[f]
			drop = drop || uids.Contains(uid)
		} else if name != "" && known.fileSizes[f.newLocalMessage(name).FileSize] {
			c, _, err := r.md.Survey(ctx, f.local.Name, name)
			drop = drop || err != nil || known.contents[c.Digest]
		}
		if drop {
			waiting[op.Row] = op.Row != 0
		}
		return drop
	})
	return nil
}

// newcomer is the message that an operation takes for a new one, or for what another one has become: one on the server, or a file.
func (r *run) newcomer(op plan.Op) (uid mail.UID, name string) {
	switch op.Kind {
	case plan.Upload:
		name = op.Name
	case plan.Download:
		uid = op.UID
	case plan.Pairing:
		uid, name = op.UID, op.Name
	case plan.Move: // a message that was moved on the other side
		if op.Side == plan.Server {
			name = op.Name
		} else {
			uid = op.UID
		}
	case plan.Park:
		// What was parked may be parked because nobody could tell whose it is.
		if !op.Why.Retried() && (op.Row == 0 || !r.isAgreed(op.Row)) {
			uid, name = op.UID, op.Name
		}
	}
	f := r.byName[op.Folder]
	if f.newRemoteMessage(uid) == nil {
		uid = 0
	}
	if f.newLocalMessage(name) == nil {
		name = ""
	}
	return uid, name
}

func (t *traces) none() bool { return len(t.contents) == 0 }

// traceUnread finds out once in a pass what the state knows of the folders that could not be read in it.
func (r *run) traceUnread(ctx context.Context) error {
	r.traces = &traces{
		remoteSizes: map[int64]bool{}, fileSizes: map[int64]bool{}, headers: map[mail.Digest]bool{}, contents: map[mail.Digest]bool{},
	}
	if r.isMaildrop() {
		r.traceMaildrop()
		return nil
	}
	unread := slices.DeleteFunc(slices.Clone(r.folders), func(f *folder) bool { return f.failed == nil })
	for _, f := range append(unread, r.veiled...) {
		err := r.eachRow(ctx, f, func(m state.Message) { r.traces.add(&m) })
		if err != nil {
			return fmt.Errorf("looking up what is known of folder %s, which can't be read: %w", f.name, err)
		}
	}
	return nil
}

// traceMaildrop is traceUnread for a maildrop, where a message is in doubt only if it is not known by its name. The planner does not see those that
// are in folders which can't be read. A server that gives other names may count sizes otherwise, too.
func (r *run) traceMaildrop() {
	d := r.drop
	if d == nil {
		return
	}
	read := map[int64]bool{}
	for _, f := range r.folders {
		read[f.base.ID] = f.failed == nil
	}
	for i := range d.known {
		if m := &d.known[i]; d.match.Remote[i] != plan.Present && !read[m.Folder] {
			r.traces.add(m)
			r.traces.anySize = true
		}
	}
}

func (t *traces) add(m *state.Message) {
	t.remoteSizes[m.RemoteSize], t.fileSizes[m.FileSize] = true, true
	t.headers[m.Header], t.contents[m.Digest] = true, true
}
