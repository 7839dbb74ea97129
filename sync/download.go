package sync

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// A batch of downloads is made durable together. It ends with this many messages or bytes, so that a kill
// costs little and a large message does not wait for others.
const (
	batchMessages = 500
	batchBytes    = 32 << 20
)

// download delivers messages of one folder. A batch is: stream to temporary files, make the data durable,
// write down the intents, rename, make the names durable, commit the rows.
func (r *run) download(ctx context.Context, f *folder, ops []plan.Op) error {
	if err := r.ensureLocal(ctx, f); err != nil {
		return err
	}
	wanted := make(map[mail.UID]plan.Op, len(ops))
	var todo mail.UIDSet
	for _, op := range ops {
		wanted[op.UID] = op
		todo.Add(op.UID)
	}
	for attempt := 0; !todo.IsEmpty(); attempt++ {
		before := todo.Len()
		err := r.pool.with(ctx, func(s remote.Session) error {
			for _, chunk := range r.batches(f, todo) {
				done, err := r.downloadBatch(ctx, s, f, chunk, wanted)
				todo = todo.Minus(done)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			return nil
		}
		// A lost connection is worth another one as long as each brings something.
		if remote.ClassOf(err) != remote.Lost || ctx.Err() != nil || (attempt > 0 && todo.Len() == before) {
			return fmt.Errorf("downloading: %w", err)
		}
	}
	return nil
}

// batches cuts the UIDs into sets of bounded count and bytes.
func (r *run) batches(f *folder, uids mail.UIDSet) []mail.UIDSet {
	var out []mail.UIDSet
	var cur mail.UIDSet
	var bytes int64
	var n int
	for u := range uids.All() {
		var size int64
		if m := f.newRemoteMessage(u); m != nil {
			size = m.Size
		}
		if n > 0 && (n == batchMessages || bytes+size > batchBytes) {
			out, cur, bytes, n = append(out, cur), mail.UIDSet{}, 0, 0
		}
		cur.Add(u)
		n, bytes = n+1, bytes+size
	}
	if n > 0 {
		out = append(out, cur)
	}
	return out
}

// delivered is one message of a batch.
type delivered struct {
	op  plan.Op
	row state.Message
}

// downloadBatch fetches and delivers one batch. done are the UIDs that need no further try in this run,
// also when an error ends it: what came whole before a lost connection is kept.
func (r *run) downloadBatch(ctx context.Context, s remote.Session, f *folder, uids mail.UIDSet, wanted map[mail.UID]plan.Op) (done mail.UIDSet, err error) {
	batch := r.md.NewBatch()
	defer batch.Abort()
	var got []delivered
	var localErr error
	box := remote.Box{Name: f.mailbox, UIDValidity: f.validity()}
	missing, err := s.Bodies(ctx, box, uids, func(m remote.Message, body io.Reader) error {
		op, ok := wanted[m.UID]
		if !ok {
			_, err := io.Copy(io.Discard, body)
			return err
		}
		row, err := r.receive(batch, f, op, body)
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) && remote.ClassOf(err) == 0 {
				localErr = err
			}
			return err
		}
		got = append(got, delivered{op, row})
		return nil
	})
	if localErr != nil {
		return done, fmt.Errorf("writing message files: %w", localErr)
	}
	if err != nil && remote.ClassOf(err) != remote.Lost {
		return done, err
	}
	if cerr := r.commitBatch(ctx, f, batch, got); cerr != nil {
		return done, cerr
	}
	for _, d := range got {
		done.Add(d.op.UID)
	}
	if err != nil {
		return done, err
	}
	for uid, why := range missing {
		done.Add(uid)
		if perr := r.notDownloaded(ctx, f, wanted[uid], why); perr != nil {
			return done, perr
		}
	}
	return done, nil
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
	row.Name, row.LocalFlags = out.Base, out.Flags
	row.Digest, row.Header, row.HasMessageID = out.Content.Digest, out.Content.Header, out.Content.HasMessageID
	row.FileSize, row.Inode, row.Raw = out.FileSize, out.Inode, out.Raw
	if row.RemoteSize < 0 {
		row.RemoteSize = n
	}
	return row, nil
}

// commitBatch makes a batch durable and known.
func (r *run) commitBatch(ctx context.Context, f *folder, batch *maildir.Batch, got []delivered) error {
	if len(got) == 0 {
		return nil
	}
	if err := batch.Sync(); err != nil {
		return fmt.Errorf("making messages durable: %w", err)
	}
	intents := make([]*state.Intent, len(got))
	for i, d := range got {
		intents[i] = &state.Intent{Kind: state.Deliver, Message: d.row, UIDValidity: f.validity(), Started: r.now()}
	}
	if err := r.update(ctx, func(tx *state.Tx) error { return tx.PutIntents(intents) }); err != nil {
		return err
	}
	if err := batch.Commit(); err != nil {
		r.soil(f)
		return fmt.Errorf("delivering messages: %w", err)
	}
	err := r.update(ctx, func(tx *state.Tx) error {
		for i, d := range got {
			if err := clearParked(tx, f, d.row.UID, "", d.row.ID); err != nil {
				return err
			}
			row := d.row
			if err := tx.PutMessage(&row); err != nil {
				return err
			}
			if err := tx.DeleteIntent(intents[i].ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.count(func(res *Result) { res.ToMaildir.New += len(got) })
	r.tell(func(p *Progress) { p.Messages += int64(len(got)) })
	return nil
}

// notDownloaded deals with a message for which nothing came.
func (r *run) notDownloaded(ctx context.Context, f *folder, op plan.Op, why error) error {
	if errors.Is(why, remote.ErrGone) {
		r.doubt(f)
		return nil // it was removed while we looked
	}
	r.fail(f.name, fmt.Errorf("downloading message %d: %w", op.UID, why))
	return r.update(ctx, func(tx *state.Tx) error {
		op.Why, op.Side, op.Reason = plan.Refused, plan.Server, why.Error()
		if op.Row != 0 {
			m, err := tx.Message(op.Row)
			if err != nil {
				return err
			}
			if m.Why == "" && m.Name != "" {
				r.soil(f)
				return nil // an agreed row whose file is to come back: the next run tries again
			}
		}
		return r.learnParked(tx, f, op)
	})
}

// ensureLocal creates a folder that a message is to be delivered to.
func (r *run) ensureLocal(ctx context.Context, f *folder) error {
	if f.local != nil {
		return nil
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

// countingReader tells the progress display what comes in, now and then.
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
	}
	return n, err
}
