package sync

import (
	"cmp"
	"context"
	"fmt"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// parcel is a batch of deliveries to one folder, with the rows of its messages.
type parcel struct {
	f     *folder
	batch *maildir.Batch
	got   []delivered
	bytes int64
	// fate is what became of it, once.
	fate chan error

	intents []*state.Intent
	err     error
}

// delivered is one message of a batch.
type delivered struct {
	op  *plan.Op
	row state.Message
}

func newParcel(f *folder, b *maildir.Batch) *parcel {
	return &parcel{f: f, batch: b, fate: make(chan error, 1)}
}

// committer makes batches durable and known, while their folders' streams go on. Those that are ready at the same time
// share the commits.
type committer struct {
	r       *run
	ctx     context.Context
	parcels chan *parcel
	ended   chan struct{}
}

// maxTogether bounds how many batches share a commit.
const maxTogether = 16

func newCommitter(ctx context.Context, r *run) *committer {
	c := &committer{r: r, ctx: ctx, parcels: make(chan *parcel, maxTogether), ended: make(chan struct{})}
	if !r.w.Serial {
		go c.work()
	}
	return c
}

// take has a batch committed. What becomes of it is its fate.
func (c *committer) take(p *parcel) {
	if c.r.w.Serial {
		c.settle([]*parcel{p})
	} else {
		c.parcels <- p
	}
}

// close waits until all is done. Nobody may hand over anything any more.
func (c *committer) close() {
	close(c.parcels)
	if !c.r.w.Serial {
		<-c.ended
	}
}

func (c *committer) work() {
	defer close(c.ended)
	for p := range c.parcels {
		together := []*parcel{p}
		for len(together) < maxTogether {
			select {
			case q, ok := <-c.parcels:
				if ok {
					together = append(together, q)
					continue
				}
			default:
			}
			break
		}
		c.settle(together)
	}
}

// settle commits batches and says what became of each.
func (c *committer) settle(together []*parcel) {
	mistake := defect.Contain(func() error { c.commit(together); return nil })
	for _, p := range together {
		_ = defect.Contain(p.batch.Abort) // what was committed stays
		p.fate <- cmp.Or(p.err, mistake)
	}
}

// commit takes batches through the steps that a crash may come between. A file that fails is no concern of the other batches; a
// commit that fails is all of theirs.
func (c *committer) commit(parcels []*parcel) {
	each := func(step func(*parcel) error) {
		for _, p := range parcels {
			if p.err == nil {
				p.err = defect.Contain(func() error { return step(p) })
			}
		}
	}
	known := func(step func(*state.Tx, *parcel) error) {
		err := c.r.update(c.ctx, func(tx *state.Tx) error {
			for _, p := range parcels {
				if p.err != nil {
					continue
				}
				if err := step(tx, p); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			each(func(*parcel) error { return err }) // it was the commit of all
		}
	}
	each(func(p *parcel) error {
		if err := p.batch.Sync(); err != nil {
			return fmt.Errorf("making messages durable: %w", err)
		}
		p.intend(c.r)
		return nil
	})
	known(func(tx *state.Tx, p *parcel) error { return tx.PutIntents(p.intents) })
	each(func(p *parcel) error {
		if err := p.batch.Commit(); err != nil {
			c.r.soil(p.f)
			return fmt.Errorf("delivering messages: %w", err)
		}
		return nil
	})
	known(func(tx *state.Tx, p *parcel) error { return p.record(tx) })
	each(func(p *parcel) error {
		n := len(p.got)
		c.r.count(func(res *Result) {
			res.ToMaildir.New += n
			for _, d := range p.got {
				if d.op.Row == 0 && len(c.r.came) < maxCame {
					c.r.came[d.row.Digest]++
				}
			}
		})
		c.r.tell(func(p *Progress) { p.Messages += int64(n) })
		return nil
	})
}

func (p *parcel) intend(r *run) {
	p.intents = make([]*state.Intent, len(p.got))
	for i, d := range p.got {
		p.intents[i] = &state.Intent{Kind: state.Deliver, Message: d.row, UIDValidity: p.f.validity(), Started: r.now()}
	}
}

// record makes the rows of delivered messages, whose intents are no longer needed.
func (p *parcel) record(tx *state.Tx) error {
	for i := range p.got {
		row := p.got[i].row
		if err := clearParked(tx, p.f.base.ID, row.UID, "", row.ID); err != nil {
			return err
		}
		if err := tx.PutMessage(&row); err != nil {
			return err
		}
	}
	return tx.DeleteIntents(idsOf(p.intents))
}

func idsOf(intents []*state.Intent) []int64 {
	ids := make([]int64, len(intents))
	for i, in := range intents {
		ids[i] = in.ID
	}
	return ids
}
