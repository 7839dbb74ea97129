package sync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/satchel-mail/satchel/internal/defect"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// input makes the planner's input of all that was gathered, and answers its questions.
func (r *run) input(ctx context.Context) (plan.Input, error) {
	in := plan.Input{Policy: r.set.Policy, Removed: slices.Concat(r.opt.Removed, r.res.Removed)}
	if r.merge {
		in.Policy.RestoreHeld = true
	}
	if r.hasBudget() {
		in.Download, in.Upload = r.ledger().Budgets(r.limits())
	}
	var agreed map[int64]int
	err := r.view(ctx, func(tx *state.Tx) (err error) {
		if in.HeldElsewhere, err = r.heldElsewhere(tx); err != nil {
			return err
		}
		if agreed, err = tx.AgreedAll(); err != nil || !r.isMaildrop() {
			return err
		}
		// What the person deleted is still on the server until its time is over: that a day's worth of it goes is not many of all.
		for _, f := range r.folders {
			c, err := tx.Counts(f.base.ID)
			if err != nil {
				return err
			}
			agreed[f.base.ID] += c.Why[string(plan.Dismissed)] + c.Why[string(plan.Pending)]
		}
		return nil
	})
	if err != nil {
		return in, err
	}
	changed := 0
	var remotes, locals []*folder
	n := 0
	for _, f := range r.folders {
		if f.failed == nil {
			n += len(f.pairs)
		}
	}
	in.Pairs = make([]*plan.Pair, 0, n)
	for _, f := range r.folders {
		if f.failed != nil {
			continue
		}
		if f.readRemote || f.readLocal {
			changed++
		}
		in.Folders = append(in.Folders, plan.Folder{
			Name: f.name, OnServer: f.remote != nil, InMaildir: f.local != nil,
			WasOnServer: f.base.Mailbox != "", WasInMaildir: f.base.OnDisk,
			CanCreate: f.mailboxProblem == "", RemoteReadOnly: f.remote != nil && f.readOnly(), RemotePartial: f.partial, Unknown: f.base.UIDNext == 0, Agreed: agreed[f.base.ID], Target: f.target,
		})
		for _, p := range f.paired {
			if f.pairs[p.ID] == p {
				in.Pairs = append(in.Pairs, p)
			}
		}
		if len(f.remoteNew) > 0 {
			slices.SortStableFunc(f.remoteNew, func(a, b plan.RemoteMessage) int { return cmp.Compare(a.UID, b.UID) })
			remotes = append(remotes, f)
		}
		if len(f.localNew) > 0 {
			locals = append(locals, f)
		}
	}
	// The folders' lists become parts of the planner's, so that what the answers add is there when the operations are
	// carried out.
	in.Remote = together(remotes, func(f *folder) *[]plan.RemoteMessage { return &f.remoteNew })
	in.Local = together(locals, func(f *folder) *[]plan.LocalMessage { return &f.localNew })
	r.count(func(res *Result) { res.FoldersChanged = max(res.FoldersChanged, changed) })
	return in, r.answer(ctx, &in)
}

// heldElsewhere reports whether the guard holds back deletions in folders that this run does not work on.
func (r *run) heldElsewhere(tx *state.Tx) (bool, error) {
	for _, f := range r.folders {
		if f.target && f.failed == nil || f.base.ID == 0 {
			continue
		}
		c, err := tx.Counts(f.base.ID)
		if err != nil {
			return false, err
		}
		if c.Held == 0 {
			continue
		}
		held, err := tx.Held()
		if err != nil || slices.ContainsFunc(held, func(m state.Message) bool { return m.Folder == f.base.ID && m.Guarded }) {
			return err == nil, err
		}
	}
	return false, nil
}

// together makes one list of the folders' lists, and those parts of it.
func together[T any](folders []*folder, of func(*folder) *[]T) []T {
	if len(folders) == 1 {
		return *of(folders[0])
	}
	n := 0
	for _, f := range folders {
		n += len(*of(f))
	}
	all := make([]T, 0, n)
	for _, f := range folders {
		list := of(f)
		from := len(all)
		all = append(all, *list...)
		*list = all[from:len(all):len(all)]
	}
	return all
}

func (f *folder) readOnly() bool {
	if f.selected != nil {
		return f.selected.ReadOnly
	}
	return f.base.ReadOnly
}

// maxRounds bounds how often the planner may ask; it needs three.
const maxRounds = 10

// answer looks at the messages that the planner must know more about.
func (r *run) answer(ctx context.Context, in *plan.Input) error {
	type key struct {
		folder mail.FolderName
		uid    mail.UID
		name   string
	}
	var remotes map[key]*plan.RemoteMessage
	var locals map[key]*plan.LocalMessage
	for range maxRounds {
		questions := plan.Questions(*in)
		if len(questions) == 0 {
			return nil
		}
		if remotes == nil {
			remotes, locals = make(map[key]*plan.RemoteMessage, len(in.Remote)), make(map[key]*plan.LocalMessage, len(in.Local))
			for i := range in.Remote {
				m := &in.Remote[i]
				remotes[key{folder: m.Folder, uid: m.UID}] = m
			}
			for i := range in.Local {
				m := &in.Local[i]
				locals[key{folder: m.Folder, name: m.Name}] = m
			}
		}
		type ask struct {
			folder mail.FolderName
			whole  bool
		}
		byFolder := map[ask]*mail.UIDSet{}
		var asks []ask // the keys, in order
		for _, q := range questions {
			if q.Side == plan.Maildir {
				m := locals[key{folder: q.Folder, name: q.Name}]
				var c mail.Content
				var info maildir.Info
				err := defect.Contain(func() (err error) {
					c, info, err = r.md.Survey(ctx, r.byName[q.Folder].local.Name, q.Name)
					return err
				})
				switch {
				case errors.Is(err, maildir.ErrNotFound):
					m.Unknowable, r.unanswered = true, true
					r.soil(r.byName[q.Folder])
				case err != nil:
					if ctx.Err() != nil {
						return context.Cause(ctx)
					}
					m.Unknowable, r.unanswered = true, true
					r.failMessage(r.byName[q.Folder], fmt.Errorf("reading message file %s: %w", q.Name, err))
				default:
					m.Content, m.FileSize, m.Inode = &c, info.Size, info.Inode
				}
				continue
			}
			a := ask{q.Folder, q.Whole}
			if byFolder[a] == nil {
				byFolder[a] = &mail.UIDSet{}
				asks = append(asks, a)
			}
			byFolder[a].Add(q.UID)
		}
		for _, a := range asks {
			uids := byFolder[a]
			f := r.byName[a.folder]
			found := map[mail.UID]mail.Content{}
			err := defect.Contain(func() (err error) {
				if a.whole {
					found, err = r.readBodies(ctx, f, *uids)
				} else {
					found, err = r.readHeaders(ctx, f, *uids)
				}
				return err
			})
			if err != nil && !r.ofFolder(ctx, err) {
				return err
			}
			if err != nil {
				r.failMessage(f, fmt.Errorf("comparing messages: %w", err))
				r.soil(f)
			}
			for u := range uids.All() {
				m := remotes[key{folder: a.folder, uid: u}]
				c, ok := found[u]
				switch {
				case !ok, a.whole && c.Size == 0 && m.Size > 0: // half an answer says nothing
					m.Unknowable, r.unanswered = true, true
					r.soil(f)
					if err == nil {
						f.withheld++
					}
				case a.whole:
					m.Digest = &c.Digest
					fallthrough
				default:
					m.Header = &plan.Header{Digest: c.Header, HasMessageID: c.HasMessageID}
				}
			}
		}
	}
	return errors.New("the planner asks without end; this is a fault of the program, nothing was changed")
}

// tellWithheld says of which messages the server gave nothing to compare in the last pass.
func (r *run) tellWithheld() {
	for _, f := range r.folders {
		if f.withheld > 0 {
			r.fail(f.name, fmt.Errorf("the server lists messages and does not give them (%d): they wait, and so do files that may be the same; the next run asks again", f.withheld))
		}
	}
}

// validity is the UIDVALIDITY that this pass saw.
func (f *folder) validity() uint64 {
	if f.selected != nil {
		return f.selected.UIDValidity
	}
	if f.remote != nil && f.remote.Status != nil {
		return f.remote.Status.UIDValidity
	}
	return f.base.UIDValidity
}

func (r *run) readHeaders(ctx context.Context, f *folder, uids mail.UIDSet) (map[mail.UID]mail.Content, error) {
	return r.readEach(ctx, f, uids, func(s remote.Session, box remote.Box, uids mail.UIDSet) (map[mail.UID]mail.Content, error) {
		found := map[mail.UID]mail.Content{}
		ms, err := s.Fetch(ctx, box, uids, remote.FetchItems{Header: true})
		for _, m := range ms {
			if m.Header != nil {
				found[m.UID] = *m.Header
			}
		}
		return found, err
	})
}

func (r *run) readBodies(ctx context.Context, f *folder, uids mail.UIDSet) (map[mail.UID]mail.Content, error) {
	return r.readEach(ctx, f, uids, func(s remote.Session, box remote.Box, uids mail.UIDSet) (map[mail.UID]mail.Content, error) {
		return bodiesOf(ctx, s, box, uids)
	})
}

// readEach reads messages to compare them.
func (r *run) readEach(ctx context.Context, f *folder, uids mail.UIDSet, read func(remote.Session, remote.Box, mail.UIDSet) (map[mail.UID]mail.Content, error)) (map[mail.UID]mail.Content, error) {
	box := remote.Box{Name: f.mailbox, UIDValidity: f.validity()}
	all := map[mail.UID]mail.Content{}
	err := r.piecemeal(ctx, f, uids, func(s remote.Session, uids mail.UIDSet) (done mail.UIDSet, failed, err error) {
		found, err := read(s, box, uids)
		for uid, c := range found {
			all[uid] = c
			done.Add(uid)
		}
		return done, nil, err
	}, func(uid mail.UID, why error) error {
		what := fmt.Sprintf("message %d", uid)
		if r.isMaildrop() {
			what = cmp.Or(r.nameOf(f, uid), "a message")
		}
		r.fail(f.name, fmt.Errorf("comparing %s: %w", what, hungUp("", byClient, why)))
		return nil
	})
	return all, err
}

// surveyOf is how what a server sends is read: a maildrop may have put notes of its own into it.
func surveyOf(s remote.Session) func(io.Reader) (mail.Content, error) {
	if _, is := s.(remote.Maildrop); is {
		return mail.SurveyMaildrop
	}
	return mail.Survey
}

// bodiesOf reads messages whole and keeps what they say.
func bodiesOf(ctx context.Context, s remote.Session, box remote.Box, uids mail.UIDSet) (map[mail.UID]mail.Content, error) {
	found, survey := map[mail.UID]mail.Content{}, surveyOf(s)
	_, err := s.Bodies(ctx, box, uids, func(m remote.Message, body io.Reader) error {
		c, err := survey(body)
		if err == nil {
			found[m.UID] = c
		}
		return err
	})
	return found, err
}
