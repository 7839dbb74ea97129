package sync

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// The daily budgets. The planner decides who waits; here is counted what was transferred. That goes into the state with whatever commit
// comes next, which is the one of the messages themselves.

// ledgerKey is where the state keeps what was transferred today, as JSON.
const ledgerKey = "budget"

// purse is the account's ledger as this run knows it.
type purse struct {
	mu              sync.Mutex
	ledger          plan.Ledger
	loaded, unsaved bool
	// offering is the day for which this pass plans everything that waits, empty if it does not.
	offering plan.Day
}

// limits are the account's budgets.
func (r *run) limits() plan.Limits {
	return plan.Limits{Download: r.set.DailyDownload, Upload: r.set.DailyUpload}
}

func (r *run) hasBudget() bool { return r.limits() != plan.Limits{} }

// openPurse begins a pass.
func (r *run) openPurse(ctx context.Context) error {
	p := &r.purse
	if !r.hasBudget() {
		return nil
	}
	if !p.loaded {
		var text string
		if err := r.view(ctx, func(tx *state.Tx) (err error) { text, _, err = tx.Get(ledgerKey); return err }); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(text), &p.ledger); err != nil && text != "" {
			r.log.Warn("what was transferred today can't be read, and is counted anew", "error", err)
			p.ledger = plan.Ledger{}
		}
		p.loaded = true
	}
	p.offering = r.ledger().Today()
	for _, f := range r.folders {
		if !f.target {
			p.offering = ""
		}
	}
	return nil
}

// ledger is what was transferred today.
func (r *run) ledger() plan.Ledger {
	today := plan.Day(r.now().Format(time.DateOnly))
	p := &r.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ledger.Today() != today {
		p.ledger, p.unsaved = p.ledger.On(today), true
	}
	return p.ledger
}

// spend counts bytes that were transferred.
func (r *run) spend(way plan.Kind, bytes int64) {
	if !r.hasBudget() {
		return
	}
	r.ledger()
	p := &r.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	if way == plan.Download {
		p.ledger.Downloaded += bytes
	} else {
		p.ledger.Uploaded += bytes
	}
	p.unsaved = true
}

// saveLedger puts the ledger into a commit, if it changed.
func (r *run) saveLedger(tx *state.Tx) error {
	p := &r.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unsaved {
		return nil
	}
	text, err := json.Marshal(p.ledger)
	if err != nil {
		return err
	}
	p.unsaved = false
	return tx.Set(ledgerKey, string(text))
}

// keepLedger has the next commit save the ledger, because one failed.
func (r *run) keepLedger() {
	p := &r.purse
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unsaved = p.loaded
}

// opens reports whether what waits in a folder for a reason is to be planned for in this pass: in a day's first run, and when there is
// anything on the other side that may be the same message.
func (r *run) opens(f *folder, why plan.Why) bool {
	if why == plan.OverDownload && len(f.localNew) > 0 || why == plan.OverUpload && len(f.remoteNew) > 0 {
		return true
	}
	return !r.hasBudget() || r.ledger().Opens(why, r.limits())
}

// offered notes that all that waits was planned for, so that it is left alone for the rest of the day.
func (r *run) offered() {
	if !r.hasBudget() {
		return
	}
	l := r.ledger()
	p := &r.purse
	if p.offering != l.Today() || l.Offered == r.limits() {
		return
	}
	for _, f := range r.folders {
		if f.failed != nil {
			return
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.Offered, p.unsaved = r.limits(), true
}
