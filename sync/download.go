package sync

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// A batch of downloads is made durable together. It ends with this many messages or bytes, so that a kill
// costs little and a large message does not wait for others. The first ones are smaller, because a person
// waits for them, in INBOX.
const (
	firstBatch    = 100
	batchGrowth   = 4
	batchMessages = 2000
	batchBytes    = 32 << 20
)

// downloads delivers messages, of several folders side by side.
func (r *run) downloads(ctx context.Context, ops []plan.Op) error {
	if len(ops) == 0 {
		return nil
	}
	to := newCommitter(ctx, r)
	defer to.close()
	fresh, refused, err := r.apartRefused(ctx, ops)
	if err != nil {
		return err
	}
	err = r.perFolder(ctx, fresh, func(ctx context.Context, f *folder, ops []plan.Op) error {
		return r.download(ctx, f, ops, false, to)
	})
	if err != nil {
		return err
	}
	return r.perFolder(ctx, refused, func(ctx context.Context, f *folder, ops []plan.Op) error {
		return r.download(ctx, f, ops, true, to)
	})
}

// apartRefused parts downloads from those that earlier runs tried in vain: these come last, because the server may hang up at one.
func (r *run) apartRefused(ctx context.Context, ops []plan.Op) (fresh, refused []plan.Op, err error) {
	if !slices.ContainsFunc(ops, func(op plan.Op) bool { return op.Row != 0 }) {
		return ops, nil, nil
	}
	err = r.view(ctx, func(tx *state.Tx) error {
		for _, op := range ops {
			var row state.Message
			if f := r.byName[op.Folder]; op.Row != 0 && (f == nil || f.pairs[op.Row] == nil) { // else both sides had it
				var err error
				if row, err = tx.Message(op.Row); err != nil && !errors.Is(err, state.ErrNotFound) {
					return err
				}
			}
			if row.Why == string(plan.Refused) {
				refused = append(refused, op)
			} else {
				fresh = append(fresh, op)
			}
		}
		return nil
	})
	return fresh, refused, err
}

// download delivers messages of one folder. They come in one stream, newest first, which is cut into batches. A
// batch is: stream to temporary files, make the data durable, write down the intents, rename, make the names
// durable, commit the rows. While that is done with one batch, the next one streams in. again says that earlier runs tried the
// messages in vain.
func (r *run) download(ctx context.Context, f *folder, ops []plan.Op, again bool, to *committer) error {
	if err := r.ensureLocal(ctx, f); err != nil {
		return err
	}
	wanted := wantedOps(ops)
	var todo mail.UIDSet
	for _, op := range wanted {
		todo.Add(op.UID)
	}
	var ours error
	err := r.piecemeal(ctx, f, todo, func(s remote.Session, uids mail.UIDSet) (mail.UIDSet, error, error) {
		done, failed, err := r.downloadAll(ctx, s, f, uids, wanted, to)
		todo, ours = todo.Minus(done), failed
		return done, failed, err
	}, func(uid mail.UID, why error) error {
		todo = todo.Minus(mail.NewUIDSet(uid))
		return r.notDownloaded(ctx, f, *wanted.of(uid), hungUp(r.nameOf(f, uid), byClient, why))
	})
	if again && ours == nil && remote.ClassOf(err) == remote.Lost && ctx.Err() == nil {
		for uid := range r.worthTrying(f, todo).All() { // what else there is to be done in the folder does not wait for them
			if err := r.notDownloaded(ctx, f, *wanted.of(uid), hungUp(r.nameOf(f, uid), byClient, err)); err != nil {
				return err
			}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("downloading: %w", err)
	}
	return nil
}

// wanted are the downloads of a folder, in ascending order of UID, each UID once.
type wanted []plan.Op

func wantedOps(ops []plan.Op) wanted {
	byUID := func(a, b plan.Op) int { return cmp.Compare(a.UID, b.UID) }
	if !slices.IsSortedFunc(ops, byUID) {
		ops = slices.Clone(ops)
		slices.SortStableFunc(ops, byUID)
	}
	return ops
}

// of returns the download of a message, nil if it is not wanted.
func (w wanted) of(uid mail.UID) *plan.Op {
	i, ok := slices.BinarySearchFunc(w, uid, func(op plan.Op, uid mail.UID) int { return cmp.Compare(op.UID, uid) })
	if !ok {
		return nil
	}
	return &w[i]
}

// downloadAll fetches and delivers messages. done are the UIDs that need no further try in this run, also when an
// error ends it: what came whole before a lost connection is kept. failed is what could not be done here.
func (r *run) downloadAll(ctx context.Context, s remote.Session, f *folder, uids mail.UIDSet, wanted wanted, to *committer) (done mail.UIDSet, failed, err error) {
	in := newIntake(r, f, wanted, to)
	in.left = int(uids.Len())
	box := remote.Box{Name: f.mailbox, UIDValidity: f.validity()}
	missing, err := s.Bodies(ctx, box, uids, in.take)
	if err != nil && remote.ClassOf(err) != remote.Lost {
		in.drop() // what is not complete yet is not needed: the folder's trouble is another one
	}
	done, failed = in.finish()
	switch {
	case failed != nil:
		return done, failed, err
	case err != nil:
		for uid, why := range missing { // which the session was given up for: it shall not hold up the others again
			if !errors.Is(why, remote.ErrTooLarge) {
				continue
			}
			done.Add(uid)
			if perr := r.notDownloaded(ctx, f, *wanted.of(uid), why); perr != nil {
				return done, perr, err
			}
		}
		return done, nil, err
	}
	if missing == nil {
		missing = map[mail.UID]error{}
	}
	for uid := range in.empty.All() {
		missing[uid] = &remote.Error{Class: remote.Refused, Op: fmt.Sprintf("fetching message %d", uid),
			Err: fmt.Errorf("the server says that it has %d bytes, and sends none", r.sizeOf(wanted.of(uid)))}
	}
	for uid, why := range missing {
		done.Add(uid)
		if perr := r.notDownloaded(ctx, f, *wanted.of(uid), why); perr != nil {
			return done, perr, nil
		}
	}
	return done, nil, nil
}

// nameOf is what a message of a maildrop is called there; its UID is our own.
func (r *run) nameOf(f *folder, uid mail.UID) string {
	if id := r.rowOf(f, uid, "").EmailID; r.isMaildrop() && id != "" {
		return fmt.Sprintf("the message with UIDL %q", id)
	}
	return ""
}

// intake gathers the messages of one stream in batches, and hands complete ones to the committer.
type intake struct {
	r      *run
	f      *folder
	wanted wanted
	to     *committer

	left      int // messages to come
	filling   *parcel
	limit     int       // messages in the batch that is being filled
	committed []*parcel // handed over and not heard of again, the oldest first
	done      mail.UIDSet
	empty     mail.UIDSet // of those the server sent nothing, and says that there is something
	err       error       // the first failure
}

// maxUncommitted is how many batches of one stream may wait to be committed.
const maxUncommitted = 2

func newIntake(r *run, f *folder, wanted wanted, to *committer) *intake {
	in := &intake{r: r, f: f, wanted: wanted, to: to, limit: batchMessages}
	if f.name == mail.Inbox && !f.welcomed {
		in.limit, f.welcomed = firstBatch, true
	}
	return in
}

// take is given each message as it comes.
func (in *intake) take(m remote.Message, body io.Reader) error {
	if in.err != nil {
		return in.err
	}
	op := in.wanted.of(m.UID)
	if op == nil {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	if in.filling == nil {
		in.filling = newParcel(in.f, in.r.md.NewBatch())
		in.filling.got = make([]delivered, 0, min(in.limit, in.left))
	}
	p := in.filling
	if m.Size == 0 && in.r.sizeOf(op) > 0 {
		var first [1]byte
		n, err := io.ReadFull(body, first[:])
		if err == io.EOF {
			in.empty.Add(m.UID) // half an answer: an empty file in its place would never be filled
			return nil
		}
		body = io.MultiReader(bytes.NewReader(first[:n]), body)
	}
	row, err := in.r.receive(p.batch, in.f, *op, body)
	if err != nil {
		if !errors.Is(err, io.ErrUnexpectedEOF) && remote.ClassOf(err) == 0 {
			in.err = fmt.Errorf("writing message files: %w", err)
		}
		return err
	}
	p.got = append(p.got, delivered{op, row})
	in.left--
	if p.bytes += row.FileSize; len(p.got) >= in.limit || p.bytes >= batchBytes {
		in.limit = min(in.limit*batchGrowth, batchMessages)
		in.handOver()
	}
	return in.err
}

// handOver has the batch committed that was filled.
func (in *intake) handOver() {
	if len(in.committed) == maxUncommitted {
		in.hear()
	}
	in.to.take(in.filling)
	in.committed, in.filling = append(in.committed, in.filling), nil
}

// hear waits for what became of the oldest batch that was handed over.
func (in *intake) hear() {
	p := in.committed[0]
	in.committed = in.committed[1:]
	if err := <-p.fate; err != nil {
		in.err = cmp.Or(in.err, err)
		return
	}
	for _, d := range p.got {
		in.done.Add(d.op.UID)
	}
}

// drop throws away the batch that is being filled.
func (in *intake) drop() {
	if in.filling != nil {
		_ = in.filling.batch.Abort()
		in.filling = nil
	}
}

// finish has the rest committed and returns what was, and the first failure.
func (in *intake) finish() (done mail.UIDSet, err error) {
	if in.err != nil {
		in.drop()
	}
	if in.filling != nil {
		in.handOver()
	}
	for len(in.committed) > 0 {
		in.hear()
	}
	return in.done, in.err
}

// receive streams one message into a temporary file and makes the row that it will have.
func (r *run) receive(batch *maildir.Batch, f *folder, op plan.Op, body io.Reader) (state.Message, error) {
	row := r.rowOf(f, op.UID, "")
	date := row.Date
	if op.Row != 0 {
		var old state.Message
		err := r.view(context.Background(), func(tx *state.Tx) (err error) { old, err = tx.Message(op.Row); return err })
		if err != nil {
			return row, err
		}
		if date.IsZero() {
			date = old.Date
		}
		if row.RemoteSize < 0 {
			row.RemoteSize, row.EmailID = old.RemoteSize, old.EmailID
		}
		row.ID = op.Row
	}
	row.RemoteFlags = op.RemoteSeen
	d, err := batch.Add(f.name, op.Add, date)
	if err != nil {
		return row, err
	}
	n, err := io.Copy(d, &countingReader{r: body, run: r})
	if err != nil {
		d.Abort()
		return row, err
	}
	out, err := d.Close()
	if err != nil {
		return row, err
	}
	row.Date = date
	if r.isMaildrop() {
		row.Date = r.now()
	}
	row.Name, row.LocalFlags = out.Base, out.Flags
	row.Digest, row.Header, row.HasMessageID = out.Content.Digest, out.Content.Header, out.Content.HasMessageID
	row.FileSize, row.Inode, row.Raw = out.FileSize, out.Inode, out.Raw
	if row.RemoteSize < 0 {
		row.RemoteSize = n
	}
	return row, nil
}

// notDownloaded deals with a message for which nothing came.
func (r *run) notDownloaded(ctx context.Context, f *folder, op plan.Op, why error) error {
	if errors.Is(why, remote.ErrGone) {
		r.doubt(f)
		return nil // it was removed while we looked
	}
	what := fmt.Sprintf("downloading message %d", op.UID)
	if r.isMaildrop() {
		what = "downloading a message" // the UID is our own
	}
	r.fail(f.name, fmt.Errorf("%s: %w", what, why))
	return r.update(ctx, func(tx *state.Tx) error {
		op.Why, op.Side, op.Reason = plan.Refused, plan.Server, why.Error()
		if errors.Is(why, remote.ErrTooLarge) {
			op.Why = plan.TooLarge
		}
		if op.Row != 0 {
			m, err := tx.Message(op.Row)
			if err != nil {
				return err
			}
			if m.Why == "" && m.Name != "" && !r.isLost(op) {
				r.soil(f)
				return nil // an agreed row whose file is to come back: the next run tries again
			}
		}
		return r.learnParked(tx, f, op)
	})
}

// ensureLocal creates a folder that a message is to be delivered to.
func (r *run) ensureLocal(ctx context.Context, f *folder) error {
	if f.local != nil && !f.local.Incomplete {
		return nil
	}
	if f.base.OnDisk && f.base.Inode != 0 {
		// It was deleted there, and a new message comes to it. Stopped before that is here, the next run must not take the new directory for
		// one that somebody put in place of the old, as which it would bring all messages back.
		err := r.update(ctx, func(tx *state.Tx) error {
			f.base.Inode, f.base.LocalMark = 0, nil
			return tx.PutFolder(&f.base)
		})
		if err != nil {
			return err
		}
	}
	if err := r.md.CreateFolder(f.name); err != nil {
		return fmt.Errorf("creating the folder in the Maildir: %w", err)
	}
	f.local = &maildir.Folder{Name: f.name}
	r.soil(f)
	r.lookAgain()
	return r.update(ctx, func(tx *state.Tx) error {
		f.base.OnDisk, f.base.Inode, f.base.LocalMark = true, 0, nil
		return tx.PutFolder(&f.base)
	})
}

// countingReader tells the progress display and the budget what comes in, now and then.
type countingReader struct {
	r   io.Reader
	run *run
	n   int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if c.n >= 1<<18 || err != nil {
		add := c.n
		c.n = 0
		c.run.tell(func(p *Progress) { p.Bytes += add })
		c.run.spend(plan.Download, add)
	}
	return n, err
}
