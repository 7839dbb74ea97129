package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// ghostTime is how long a server may still be working off what a dead connection had sent.
const ghostTime = 24 * time.Hour

// takenMark is added to an intent's sends once the server has said that it took the message: then it is never
// sent again, even if it can't be found there (without UIDPLUS, when the server made something else of it).
const takenMark = 1 << 20

func taken(in state.Intent) bool { return in.Sends >= takenMark }

// sending is one message on its way up.
type sending struct {
	op       plan.Op
	intent   *state.Intent
	content  mail.Content
	upload   remote.Upload
	raw      bool
	wasSent  bool
	answered bool
	result   remote.Appended
}

// Uploads go out in batches of this many messages or bytes. What the server made of a batch is looked at with the last of it where the
// server allows that, so that a batch costs one round trip, else when it is through.
// What was sent before without an answer comes after all else and in smaller company, and in the end alone, so that one message at which the
// server hangs up keeps few others waiting, and soon none. A run sends it maxAlone times like that.
const (
	uploadMessages = 1000
	uploadBytes    = 16 << 20
	uploadAgain    = 32
	maxAlone       = 2
)

// company is how many messages may be sent together with one that was sent before so many times without an answer.
func company(sends int) int {
	switch sends {
	case 0:
		return uploadMessages
	case 1:
		return uploadAgain
	}
	return 1
}

// upload stores messages of one folder on the server. Each batch is written down as intents before its
// first byte goes out; while it is sent, the files of the next one are looked at.
func (r *run) upload(ctx context.Context, f *folder, ops []plan.Op) error {
	if err := r.ensureMailbox(ctx, f); err != nil {
		return err
	}
	sel, err := r.selectedOf(ctx, f)
	if err != nil {
		return err
	}
	earlier, err := r.earlierUploads(ctx, f)
	if err != nil {
		return err
	}
	if len(earlier) > 0 {
		ops = slices.Clone(ops)
		slices.SortStableFunc(ops, func(a, b plan.Op) int {
			return cmp.Compare(company(earlier[b.Name].Sends), company(earlier[a.Name].Sends))
		})
	}
	next := f.nextUID(sel) // a batch's messages get no lower UIDs
	send := func(ctx context.Context, batch []*sending) error {
		if err := r.uploadBatch(ctx, f, sel, next, batch); err != nil {
			return fmt.Errorf("uploading: %w", err)
		}
		for _, b := range batch {
			f.stored = max(f.stored, b.intent.Message.UID)
		}
		next = f.nextUID(sel)
		return nil
	}
	batches := make(chan []*sending)
	all, ctx := errgroup.WithContext(ctx)
	g := group{all}
	g.Go(func() error {
		defer close(batches)
		for len(ops) > 0 {
			batch, n, err := r.prepare(ctx, f, sel, earlier, ops)
			if err != nil {
				return fmt.Errorf("uploading: %w", err)
			}
			ops = ops[n:]
			if r.w.Serial {
				if err := send(ctx, batch); err != nil {
					return err
				}
				continue
			}
			select {
			case batches <- batch:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	g.Go(func() error {
		for batch := range batches {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := send(ctx, batch); err != nil {
				return err
			}
		}
		return nil
	})
	return g.Wait()
}

// uploadBatch stores a batch, of which no message gets a UID below next.
func (r *run) uploadBatch(ctx context.Context, f *folder, sel remote.Selected, next mail.UID, batch []*sending) error {
	if len(batch) == 0 {
		return nil
	}
	intents := make([]*state.Intent, len(batch))
	uploads := make([]remote.Upload, len(batch))
	for i, b := range batch {
		intents[i], uploads[i] = b.intent, b.upload
	}
	if err := r.syncSources(f, batch); err != nil {
		return err
	}
	if err := r.update(ctx, func(tx *state.Tx) error { return tx.PutIntents(intents) }); err != nil {
		return err
	}
	appendErr := r.pool.with(ctx, func(s remote.Session) error {
		box := remote.Box{Name: f.mailbox, UIDValidity: sel.UIDValidity}
		seen, err := s.Append(ctx, box, next, uploads,
			func(i int) {
				batch[i].wasSent = true
				r.spend(plan.Upload, uploads[i].Size)
			},
			func(i int, a remote.Appended) {
				batch[i].answered, batch[i].result = true, a
				r.tell(func(p *Progress) { p.Messages++; p.Bytes += uploads[i].Size })
			})
		if err != nil {
			return err
		}
		return r.observe(ctx, s, f, sel, next, batch, seen)
	})
	if err := r.recordUploads(ctx, f, batch); err != nil {
		return err
	}
	if appendErr != nil {
		r.soil(f)
		if remote.ClassOf(appendErr) == remote.Lost && ctx.Err() == nil && batch[0].isAlone() {
			r.hungUpAt(f, batch[0], appendErr)
			return nil
		}
		r.lookAgain() // the next pass settles what has no answer
		if remote.ClassOf(appendErr) == remote.Lost && ctx.Err() == nil {
			r.log.Warn("the connection broke while uploading", "folder", f.name, "error", appendErr)
			lost := 0
			r.count(func(*Result) { r.lostUploads++; lost = r.lostUploads })
			if lost < maxPasses && r.passes < maxPasses {
				return nil
			}
		}
		return appendErr
	}
	return nil
}

// isAlone reports whether a message went out that was sent before without an answer, with no other beside it.
func (b *sending) isAlone() bool { return b.wasSent && !b.answered && company(b.intent.Sends-1) == 1 }

// hungUpAt deals with a message at which the connection was lost. Whether the server has taken it all the same is found out before it is sent once more.
func (r *run) hungUpAt(f *folder, b *sending, why error) {
	may := r.mayLoseMore(&r.lostAlone)
	if r.lostAt(culprit{folder: f.name, file: b.op.Name}) < maxAlone && may && r.passes < maxPasses {
		r.lookAgain()
		return
	}
	r.fail(f.name, fmt.Errorf("uploading message file %s: %w", b.op.Name, hungUp("", byHand, why)))
}

// notAgain reports whether a message that was sent before without an answer is not sent once more in this run.
func (r *run) notAgain(f *folder, file string) bool {
	r.mu.Lock()
	lost, all := r.culprits[culprit{folder: f.name, file: file}], r.lostAlone
	r.mu.Unlock()
	if lost < maxAlone && all < maxHangups {
		return false
	}
	r.soil(f)
	if lost < maxAlone {
		r.fail(f.name, fmt.Errorf("message file %s was sent before without an answer, and this run has lost the connection at too many like it: the next one tries again", file))
	}
	return true
}

// syncSources makes the files durable that are about to be sent: once the server has a message, that its file is missing means
// that somebody deleted it, and no longer that the power failed before the file was on the disk.
func (r *run) syncSources(f *folder, batch []*sending) error {
	names := make([]string, len(batch))
	for i, b := range batch {
		names[i] = b.op.Name
	}
	return r.md.SyncMessages(f.name, names)
}

// earlierUploads returns the uploads into a folder that were begun before and have no answer, by file name.
func (r *run) earlierUploads(ctx context.Context, f *folder) (map[string]state.Intent, error) {
	earlier := map[string]state.Intent{}
	err := r.view(ctx, func(tx *state.Tx) error {
		all, err := tx.Intents()
		for _, in := range all {
			if in.Kind == state.Upload && in.Message.Folder == f.base.ID && !in.Settled {
				earlier[in.Message.Name] = in
			}
		}
		return err
	})
	return earlier, err
}

// prepare looks at files once more and makes their intents: of the first operations, as many as make a batch. n is
// how many it dealt with.
func (r *run) prepare(ctx context.Context, f *folder, sel remote.Selected, earlier map[string]state.Intent, ops []plan.Op) (batch []*sending, n int, err error) {
	var bytes int64
	most := company(earlier[ops[0].Name].Sends)
	for n < len(ops) && len(batch) < most && bytes < uploadBytes && company(earlier[ops[n].Name].Sends) == most {
		b, err := r.prepareOne(ctx, f, sel, earlier, ops[n])
		if err != nil {
			return nil, n, err
		}
		n++
		if b != nil {
			batch, bytes = append(batch, b), bytes+b.upload.Size
		}
	}
	return batch, n, nil
}

// prepareOne is prepare for one message, nil if it is not sent now.
func (r *run) prepareOne(ctx context.Context, f *folder, sel remote.Selected, earlier map[string]state.Intent, op plan.Op) (*sending, error) {
	in := earlier[op.Name]
	if company(in.Sends) == 1 && !taken(in) && r.notAgain(f, op.Name) {
		return nil, nil
	}
	row := state.Message{}
	if op.Row != 0 {
		err := r.view(ctx, func(tx *state.Tx) (err error) { row, err = tx.Message(op.Row); return err })
		if err != nil {
			return nil, err
		}
	}
	c, info, err := r.md.Survey(ctx, f.name, op.Name)
	switch {
	case errors.Is(err, maildir.ErrNotFound):
		r.doubt(f) // it went away while we looked
		return nil, nil
	case err != nil:
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		r.fail(f.name, fmt.Errorf("reading message file %s: %w", op.Name, err))
		op.Why, op.Side, op.Reason = plan.Unreadable, plan.Maildir, err.Error()
		if err := r.parkUpload(ctx, f, op); err != nil {
			return nil, err
		}
		return nil, nil
	}
	b := &sending{op: op, content: c, raw: row.Raw}
	date := mail.ArrivalDate(info.ModTime, c.Date, r.now())
	if op.Row != 0 && !row.Date.IsZero() {
		date = row.Date
	}
	size := c.WireSize()
	if b.raw {
		size = c.Size
	}
	b.upload = remote.Upload{
		Size: size, Flags: sel.Keeps(op.Add), Date: date,
		Open: func() (io.ReadCloser, error) {
			rc, _, err := r.md.OpenWire(f.name, op.Name, b.raw)
			return rc, err
		},
	}
	if limit := r.caps.AppendLimit; limit > 0 && size > limit {
		op.Why, op.Side = plan.Refused, plan.Maildir
		op.Reason = fmt.Sprintf("it has %d bytes, and the server takes no more than %d", size, limit)
		r.fail(f.name, fmt.Errorf("uploading message file %s: %s", op.Name, op.Reason))
		if err := r.parkUpload(ctx, f, op); err != nil {
			return nil, err
		}
		return nil, nil
	}
	if taken(in) && in.UIDValidity == sel.UIDValidity {
		r.soil(f)
		r.fail(f.name, fmt.Errorf("message file %s was uploaded, and the server has nothing that can be recognised as it; it is not sent again. If it is in no other folder there, give the file another name", op.Name))
		return nil, nil
	}
	if in.ID != 0 && in.UIDValidity != sel.UIDValidity {
		in.UIDNext = 0 // of another mailbox
	}
	in.Kind, in.To, in.Started, in.UIDValidity = state.Upload, row.Folder, r.now(), sel.UIDValidity
	if in.ID == 0 || in.UIDNext == 0 {
		in.UIDNext = sel.UIDNext
	}
	in.Sends++
	in.Message = state.Message{
		ID: op.Row, Folder: f.base.ID, Name: op.Name, LocalFlags: op.LocalSeen, RemoteFlags: b.upload.Flags,
		Digest: c.Digest, Header: c.Header, HasMessageID: c.HasMessageID, RemoteSize: size,
		FileSize: info.Size, Inode: info.Inode, Date: date, Raw: row.Raw,
	}
	b.intent = &in
	return b, nil
}

// recordUploads commits the fate of each upload.
func (r *run) recordUploads(ctx context.Context, f *folder, batch []*sending) error {
	n := 0
	for _, b := range batch {
		if b.answered && b.result.Err == nil && (b.intent.Message.UID == 0 || !b.intent.Message.RemoteFlags.Equal(b.upload.Flags)) {
			r.soil(f)
			r.lookAgain()
		}
	}
	err := r.update(ctx, func(tx *state.Tx) error {
		for _, b := range batch {
			switch {
			case b.answered && b.result.Err == nil && b.intent.Message.UID != 0:
				if err := r.adopt(tx, f, b.intent); err != nil {
					return err
				}
				n++
			case b.answered && b.result.Err == nil:
				// Taken, but not looked at yet: the intent is settled by the next pass, which goes by the UID if one was told.
				in := b.intent
				if b.result.UID >= in.UIDNext && b.result.UIDValidity == in.UIDValidity {
					in.Message.UID = b.result.UID
				}
				in.Sends += takenMark
				if err := tx.PutIntent(in); err != nil {
					return err
				}
			case b.answered:
				if err := r.refusedUpload(tx, f, b); err != nil {
					return err
				}
			case !b.wasSent:
				if err := unsend(tx, b.intent); err != nil {
					return err
				}
			}
		}
		return nil
	})
	r.count(func(res *Result) { res.ToServer.New += n })
	return err
}

// adopt makes the row of an uploaded message. Its intent stays while earlier sends may still arrive.
func (r *run) adopt(tx *state.Tx, f *folder, in *state.Intent) error {
	if err := clearParked(tx, f.base.ID, in.Message.UID, in.Message.Name, in.Message.ID); err != nil {
		return err
	}
	row := in.Message
	if row.ID != 0 {
		if _, err := tx.Message(row.ID); errors.Is(err, state.ErrNotFound) {
			row.ID = 0
		} else if err != nil {
			return err
		}
	}
	if other, err := claimed(tx, f, row.UID, row.Name, row.ID); err != nil {
		return err
	} else if !other { // else it was paired meanwhile
		if err := tx.PutMessage(&row); err != nil {
			return err
		}
	}
	if in.Sends <= 1 {
		return tx.DeleteIntent(in.ID)
	}
	in.Message, in.Settled = row, true
	return tx.PutIntent(in)
}

// unsend takes one send back, because nothing of it went out or the server refused it.
func unsend(tx *state.Tx, in *state.Intent) error {
	if in.Sends--; in.Sends <= 0 {
		return tx.DeleteIntent(in.ID)
	}
	return tx.PutIntent(in)
}

func (r *run) refusedUpload(tx *state.Tx, f *folder, b *sending) error {
	why := plan.Refused
	if remote.ClassOf(b.result.Err) == 0 {
		why = plan.Unreadable // it never went out: the file could not be read
	}
	if errors.Is(b.result.Err, maildir.ErrNotFound) || errors.Is(b.result.Err, maildir.ErrChanged) {
		r.soil(f)
		return unsend(tx, b.intent)
	}
	r.fail(f.name, fmt.Errorf("uploading message file %s: %w", b.op.Name, b.result.Err))
	if err := unsend(tx, b.intent); err != nil {
		return err
	}
	b.op.Why, b.op.Side, b.op.Reason = why, plan.Maildir, b.result.Err.Error()
	return r.learnUnsent(tx, f, b.op)
}

func (r *run) parkUpload(ctx context.Context, f *folder, op plan.Op) error {
	return r.update(ctx, func(tx *state.Tx) error { return r.learnUnsent(tx, f, op) })
}

// learnUnsent parks a message that could not be uploaded. A row that both sides had, and that the server lost, keeps its place and stays a
// difference until that works. If what it was called there means nothing any more, nothing tells it from a new message.
func (r *run) learnUnsent(tx *state.Tx, f *folder, op plan.Op) error {
	if op.Row != 0 {
		m, err := tx.Message(op.Row)
		if err != nil {
			return err
		}
		if m.Why == "" && !r.isLost(op) {
			r.soil(f)
			return nil
		}
	}
	return r.learnParked(tx, f, op)
}

// selectedOf returns what selecting the folder's mailbox said in this pass.
func (r *run) selectedOf(ctx context.Context, f *folder) (remote.Selected, error) {
	if f.selected != nil {
		return *f.selected, nil
	}
	var sel remote.Selected
	err := r.pool.reading(ctx, func(s remote.Session) (err error) {
		sel, err = s.Select(ctx, f.mailbox)
		return err
	})
	if err == nil && f.remote != nil && f.remote.Status != nil && sel.UIDValidity != f.remote.Status.UIDValidity {
		err = remote.ErrUIDValidity
	}
	if err != nil {
		return sel, err
	}
	f.selected = &sel
	return sel, nil
}

// ensureMailbox creates a mailbox that a message is to be stored in.
func (r *run) ensureMailbox(ctx context.Context, f *folder) error {
	if f.remote != nil {
		return nil
	}
	if f.mailboxProblem != "" {
		return fmt.Errorf("the server can't have a folder of this name: %s", f.mailboxProblem)
	}
	// A new mailbox counts its messages anew: old UIDs would be taken for new ones. Before it is made: the next run would take it for one
	// that somebody put in place of the old, and bring all messages back that were deleted with that.
	anew := func(st remote.Status) error {
		return r.update(ctx, func(tx *state.Tx) error {
			if err := dropUIDs(tx, f.base.ID, !r.merge); err != nil {
				return err
			}
			f.base.Mailbox, f.base.UIDValidity, f.base.UIDNext, f.base.HighestModSeq, f.base.Exists = f.mailbox, st.UIDValidity, 0, 0, 0
			f.base.MailboxID = "" // some servers say another one here than in STATUS, which the next pass asks for
			return tx.PutFolder(&f.base)
		})
	}
	if f.base.UIDNext != 0 || f.base.UIDValidity != 0 {
		if err := anew(remote.Status{}); err != nil {
			return err
		}
	}
	var st remote.Status
	err := r.pool.with(ctx, func(s remote.Session) error {
		if err := s.Create(ctx, f.mailbox); err != nil && remote.ClassOf(err) != remote.Refused {
			return err
		}
		sel, err := s.Select(ctx, f.mailbox)
		f.selected, st = &sel, sel.Status
		return err
	})
	if err != nil {
		return fmt.Errorf("creating the folder on the server: %w", err)
	}
	f.remote = &remote.Mailbox{Name: f.mailbox, Path: f.name.Path(), Selectable: true, Status: &st}
	r.soil(f)
	r.lookAgain()
	return anew(st)
}
