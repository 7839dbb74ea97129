package sync

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// AccountStatus is what is known of an account without asking the server.
type AccountStatus struct {
	Account string
	// Never: no sync was finished or begun yet.
	Never   bool
	LastRun state.Run
	Folders []FolderStatus
}

// FolderStatus is what is known of one folder.
type FolderStatus struct {
	Name mail.FolderName
	// OnServer is the count of the last reading, InMaildir of now.
	OnServer, InMaildir int
	LastSync            time.Time
	LastError           string
	ReadOnly            bool
	// Maildrop: the server is a maildrop. What is in the Maildir only is as it should be then.
	Maildrop bool
	// Waiting counts local changes that the next sync will look at.
	Waiting int
	// Held counts deletions that the guard holds back.
	Held int
	// KeptBack counts messages with a flag or keyword that one side can't keep.
	KeptBack int
	// Parked are the messages that one side has and the other does not get, by reason.
	Parked []ParkedMessage
	ByWhy  map[plan.Why]int
}

// ParkedMessage is one message that is not transferred.
type ParkedMessage struct {
	UID  mail.UID
	UIDL string // a maildrop's name for it, whose UIDs are our own
	Name string
	Why  plan.Why
	Text string
}

// maxParkedListed bounds how many parked messages of a folder are listed one by one.
const maxParkedListed = 1000

// statusAttempts bounds how often the state is read again because a sync that ended changed it meanwhile.
const statusAttempts = 5

// Status reads the state and the Maildir, never the network.
func Status(ctx context.Context, set Settings, w World) (*AccountStatus, error) {
	for attempt := 1; ; attempt++ {
		out, err := status(ctx, set, w)
		if !errors.Is(err, state.ErrChanged) || attempt == statusAttempts {
			return out, err
		}
	}
}

func status(ctx context.Context, set Settings, w World) (*AccountStatus, error) {
	out := &AccountStatus{Account: set.Account}
	if _, err := os.Stat(set.StatePathOrDefault()); errors.Is(err, fs.ErrNotExist) {
		out.Never = true
		return out, nil
	}
	r := newRun(set, w, Options{DryRun: true})
	if err := r.openReading(ctx); err != nil {
		return nil, err
	}
	defer r.close()
	local := map[mail.FolderName]bool{}
	folders, _, err := r.md.Folders()
	if err != nil {
		return nil, fmt.Errorf("account %s: reading the Maildir: %w", set.Account, err)
	}
	for _, f := range folders {
		local[f.Name] = true
	}
	err = r.view(ctx, func(tx *state.Tx) error {
		run, ok, err := tx.LastRun()
		if err != nil {
			return err
		}
		out.LastRun, out.Never = run, !ok
		all, err := tx.Folders()
		if err != nil {
			return err
		}
		for _, f := range all {
			fs, err := r.folderStatus(ctx, tx, f, local[f.Name])
			if err != nil {
				return err
			}
			out.Folders = append(out.Folders, fs)
		}
		return nil
	})
	return out, err
}

func (r *run) folderStatus(ctx context.Context, tx *state.Tx, f state.Folder, onDisk bool) (FolderStatus, error) {
	out := FolderStatus{Name: f.Name, LastSync: f.LastSync, LastError: f.LastError, ReadOnly: f.ReadOnly, ByWhy: map[plan.Why]int{}}
	c, err := tx.Counts(f.ID)
	if err != nil {
		return out, err
	}
	out.OnServer, out.Held, out.KeptBack = c.Agreed+c.OnlyRemote, c.Held, c.KeptBack
	if r.isMaildrop() {
		out.Maildrop = true
		out.KeptBack = 0 // flags are the Maildir's alone
	}
	for why, n := range c.Why {
		out.ByWhy[plan.Why(why)] = n
	}
	rows, err := tx.Parked(f.ID, string(plan.Refused), string(plan.Unreadable), string(plan.Pending), string(plan.TooLarge), string(plan.ReadOnly), string(plan.NoFolder))
	if err != nil {
		return out, err
	}
	for _, m := range rows[:min(len(rows), maxParkedListed)] {
		p := ParkedMessage{UID: m.UID, Name: m.Name, Why: plan.Why(m.Why), Text: m.Text}
		if out.Maildrop {
			p.UIDL = m.EmailID
		}
		out.Parked = append(out.Parked, p)
	}
	if !onDisk {
		return out, nil
	}
	files, err := tx.Files(f.ID)
	if err != nil {
		return out, err
	}
	l, err := r.listKnown(ctx, f.Name, files)
	if err != nil {
		out.LastError = err.Error()
		return out, nil
	}
	out.InMaildir = l.scan.Count
	out.Waiting, err = waiting(tx, l)
	return out, err
}

// waiting counts what differs between a directory and the state.
func waiting(tx *state.Tx, l *listing) (int, error) {
	rows, err := tx.Messages(l.missing)
	if err != nil {
		return 0, err
	}
	differ := make(map[string]mail.Flags, len(l.unknown))
	for _, e := range l.unknown {
		differ[e.Base] = e.Flags
	}
	n := len(differ)
	for _, m := range rows {
		switch flags, there := differ[m.Name]; {
		case there && flags.Equal(m.LocalFlags):
			n-- // it came back while its deletion was held
		case !there && !m.LocalHeld:
			n++
		}
	}
	return n, nil
}
