package sync

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	"github.com/satchel-mail/satchel/sync/plan"
)

// trees are the folders of the account in the three trees, as last probed.
type trees struct {
	base  []state.Folder
	boxes []remote.Mailbox // all that the server lists
	local []maildir.Folder // all that the Maildir has
	// hidden are local folders that nobody could look into: they, and what is below them, are not gone.
	hidden []mail.FolderName
	listed map[mail.FolderName]*listingToCome // directories that are being read
}

// isHidden reports whether it is not known if the Maildir has a folder.
func (t *trees) isHidden(name mail.FolderName) bool {
	return slices.ContainsFunc(t.hidden, func(h mail.FolderName) bool { return name == h || name.Under(h) })
}

// probe looks at both sides at once: one exchange with the server, one stat of each local directory.
func (r *run) probe(ctx context.Context) error {
	t, err := r.readTrees(ctx, true)
	if err != nil {
		return err
	}
	if !r.opt.DryRun {
		renamed, err := r.restoreAside(ctx, t.boxes)
		if err != nil {
			return err
		}
		if renamed {
			if t, err = r.readTrees(ctx, true); err != nil {
				return err
			}
		}
	}
	return r.lineUp(ctx, t)
}

// readTrees reads the folders of all three trees, and with compare also the directories that changed.
func (r *run) readTrees(ctx context.Context, compare bool) (*trees, error) {
	return r.readTreesWith(ctx, nil, compare)
}

// readTreesWith is readTrees with what the server listed before, nil if it is to be asked.
func (r *run) readTreesWith(ctx context.Context, boxes []remote.Mailbox, compare bool) (*trees, error) {
	t := trees{boxes: boxes}
	if err := r.view(ctx, func(tx *state.Tx) (err error) { t.base, err = tx.Folders(); return err }); err != nil {
		return nil, err
	}
	g, gctx := r.group(ctx, 2)
	g.Go(func() error {
		if boxes != nil {
			return nil
		}
		return r.pool.reading(gctx, func(s remote.Session) (err error) {
			t.boxes, err = r.listMailboxes(gctx, s, t.base)
			if err == nil {
				r.caps = s.Capabilities()
				r.names = newNames(&r.set, s, t.boxes)
			}
			return err
		})
	})
	g.Go(func() (err error) {
		var problems []maildir.Problem
		t.local, problems, err = r.md.Folders()
		if err != nil {
			return fmt.Errorf("reading the Maildir: %w", err)
		}
		for _, p := range problems {
			r.fail(p.Folder, p)
			if p.Folder != "" && !slices.ContainsFunc(t.local, func(f maildir.Folder) bool { return f.Name == p.Folder }) {
				t.hidden = append(t.hidden, p.Folder)
			}
		}
		if compare && r.passes == 1 && !r.opt.DryRun {
			if err := r.md.Clean(t.local); err != nil {
				r.log.Warn("removing left-over temporary files", "error", err)
			}
		}
		if compare {
			t.listed = r.listEarly(ctx, t.base, t.local)
		}
		return nil
	})
	return &t, g.Wait()
}

// lineUp decides which folders the account is about and makes r.folders of them, carrying out the
// folder operations that must come before messages are looked at.
func (r *run) lineUp(ctx context.Context, t *trees) error {
	r.stuck = nil
	for round := 0; ; round++ {
		before := r.stuck
		r.stuck = nil
		r.boxes = t.boxes
		r.stickHidden(t)
		in, err := r.folderInput(ctx, t)
		if err != nil {
			return err
		}
		if err := r.answerFolders(ctx, &in); err != nil {
			return err
		}
		ops := plan.Folders(in)
		for _, op := range ops {
			r.log.Debug("planned", "round", round, "op", op.Kind, "side", op.Side, "from", op.From, "folder", op.Folder, "reason", op.Reason)
		}
		r.failNameless(in.Local, ops)
		if r.opt.DryRun {
			r.res.FolderPlan = ops
			r.dryFolders(ops, t, in)
			break
		}
		if len(ops) == 0 || round == 3 {
			r.stick(before...)
			break
		}
		r.early.Wait() // what is renamed must not be read meanwhile
		r.applyFolders(ctx, ops)
		if err := context.Cause(ctx); err != nil {
			return err
		}
		boxes := t.boxes
		if slices.ContainsFunc(ops, func(op plan.FolderOp) bool { return op.Kind != plan.CreateFolder || op.Side != plan.Maildir }) {
			boxes = nil // perhaps they are others now
		}
		if t, err = r.readTreesWith(ctx, boxes, true); err != nil {
			return err
		}
	}
	return r.makeFolders(ctx, t)
}

// failNameless reports the folders that the server can't have, unless they are about to be renamed.
func (r *run) failNameless(folders []plan.LocalFolder, ops []plan.FolderOp) {
	for _, f := range folders {
		if f.Problem != "" && !slices.ContainsFunc(ops, func(op plan.FolderOp) bool { return op.Kind == plan.RenameFolder && op.From == f.Name }) {
			r.fail(f.Name, fmt.Errorf("this folder can't be on the server: %s", f.Problem))
		}
	}
}

// completeFolders completes new folders that a stopped run left half made. Of others it is not known what their owner is about, but in
// pull mode that is taken back. Whoever made a new one, it is durable before anybody can take it for agreed: that it is missing would
// look like a deletion later.
func (r *run) completeFolders() {
	if r.opt.DryRun {
		return
	}
	var names []mail.FolderName
	var fresh []*folder
	for _, f := range r.folders {
		if f.local == nil {
			continue
		}
		isNew := !f.base.OnDisk || f.base.Inode != f.local.Inode // which is 0 of one that a stopped run made anew
		switch {
		case f.local.Incomplete && (isNew || f.remote != nil && r.set.Policy.Mode == plan.Pull):
			if err := r.md.CreateFolder(f.name); err != nil {
				r.failFolder(f, err)
				continue
			}
			r.soil(f) // its mark is from before
			r.lookAgain()
		case !isNew && !f.lostLocal:
		case !r.made[f.name]:
			names, fresh = append(names, f.local.Name), append(fresh, f)
		}
	}
	if err := r.md.SyncFolders(names); err != nil {
		for _, f := range fresh {
			r.failFolder(f, err)
		}
	}
}

// scope is the part of the listed folders that the account is about.
type scope struct {
	remote map[string]scoped          // by mailbox name
	names  map[mail.FolderName]string // local name of each mailbox in scope
	outer  map[mail.FolderName]bool   // local names whose mailbox exists but is out of scope
	locals map[mail.FolderName]*maildir.Folder
}

type scoped struct {
	box  *remote.Mailbox
	name mail.FolderName
}

func (r *run) scope(t *trees) scope {
	sc := scope{
		remote: map[string]scoped{}, names: map[mail.FolderName]string{},
		outer: map[mail.FolderName]bool{}, locals: map[mail.FolderName]*maildir.Folder{},
	}
	for i := range t.boxes {
		b := &t.boxes[i]
		if !b.Selectable {
			continue
		}
		name, err := r.names.local(*b)
		if err != nil {
			if r.names.wants(b.Display, b.Path, b.SpecialUse) {
				r.fail("", fmt.Errorf("the server's mailbox %q can't be a local folder: %w", b.Display, err))
			}
			continue
		}
		if to, ok := r.dryRemote[b.Name]; ok {
			name = to
		}
		if t.isHidden(name) || !r.names.wants(b.Display, b.Path, b.SpecialUse) || (r.set.Subscribed && !b.Subscribed && name != mail.Inbox) {
			sc.outer[name] = true
			continue
		}
		if other, taken := sc.names[name]; taken {
			r.fail(name, fmt.Errorf("two mailboxes of the server, %q and %q, would be this folder: give one of them another name with `map`, or exclude it", other, b.Name))
			continue
		}
		sc.names[name] = b.Name
		sc.remote[b.Name] = scoped{b, name}
	}
	for _, b := range t.base {
		if t.isHidden(b.Name) {
			sc.outer[b.Name] = true
		}
	}
	for i := range t.local {
		f := &t.local[i]
		name := f.Name
		if to, ok := r.dryLocal[name]; ok {
			name = to
		}
		if sc.outer[name] || t.isHidden(name) {
			continue
		}
		if _, ok := sc.names[name]; !ok {
			// Only the Maildir has it: the patterns apply to the name that it would have on the server.
			path := name.Path()
			if !r.names.wants(strings.Join(path, "/"), path, nil) {
				sc.outer[name] = true
				continue
			}
		}
		sc.locals[name] = f
	}
	return sc
}

func (r *run) folderInput(ctx context.Context, t *trees) (plan.FolderInput, error) {
	sc := r.scope(t)
	in := plan.FolderInput{Policy: r.set.Policy, Keep: r.keepsFolders()}
	for _, b := range t.boxes {
		if s, ok := sc.remote[b.Name]; ok {
			f := plan.RemoteFolder{Name: s.name, Mailbox: b.Name}
			if b.Status != nil {
				f.UIDValidity, f.MailboxID = b.Status.UIDValidity, b.Status.MailboxID
			}
			in.Remote = append(in.Remote, f)
		}
	}
	for _, f := range t.local {
		if sc.locals[f.Name] == nil {
			continue
		}
		lf := plan.LocalFolder{Name: f.Name, Inode: f.Inode}
		if box, ok := sc.names[f.Name]; ok {
			lf.Mailbox = box
		} else if box, err := r.names.mailbox(f.Name); err != nil {
			lf.Problem = err.Error()
		} else {
			lf.Mailbox = box
		}
		in.Local = append(in.Local, lf)
	}
	listed := map[string]bool{}
	for _, b := range t.boxes {
		listed[b.Name] = b.Selectable
	}
	err := r.view(ctx, func(tx *state.Tx) error {
		agreed, err := tx.AgreedAll()
		for _, b := range t.base {
			if sc.outer[b.Name] {
				continue
			}
			if s, ok := sc.remote[b.Mailbox]; !ok && b.Mailbox != "" && listed[b.Mailbox] {
				continue // its mailbox is there and out of scope now
			} else if ok && sc.outer[s.name] {
				continue
			}
			in.Base = append(in.Base, plan.BaseFolder{
				ID: b.ID, Name: b.Name, Mailbox: b.Mailbox, OnDisk: b.OnDisk,
				UIDValidity: b.UIDValidity, MailboxID: b.MailboxID, Inode: b.Inode, Messages: agreed[b.ID],
			})
		}
		return err
	})
	return in, err
}

// keepsFolders reports whether a folder that is missing on a side is not deleted on the other one: where nothing is deleted because all is compared anew,
// and where the person takes back what the guard held.
func (r *run) keepsFolders() bool { return r.merge || r.opt.RestoreHeld }

// makeFolders makes r.folders from the trees and gives each folder its row in the state.
func (r *run) makeFolders(ctx context.Context, t *trees) error {
	sc := r.scope(t)
	r.folders, r.byName, r.hidden, r.veiled, r.boxes = nil, map[mail.FolderName]*folder{}, "", nil, t.boxes
	r.listed = map[mail.FolderName]bool{}
	for i := range t.local {
		r.listed[t.local[i].Name] = true
	}
	if r.passes == 1 && len(t.hidden) > 0 {
		r.hidden = t.hidden[0] // it may be new, and what another one was
	}
	for _, b := range t.base {
		if t.isHidden(b.Name) {
			r.hidden, r.veiled = b.Name, append(r.veiled, &folder{name: b.Name, base: b})
			i := slices.IndexFunc(t.boxes, func(m remote.Mailbox) bool { return m.Name == b.Mailbox })
			r.adrift = r.adrift || b.Mailbox != "" && (i < 0 || t.boxes[i].Status == nil || replaced(b, *t.boxes[i].Status))
		}
	}
	get := func(name mail.FolderName) *folder {
		f := r.byName[name]
		if f == nil {
			f = &folder{name: name, target: r.isTarget(name), pairs: map[int64]*plan.Pair{}}
			r.byName[name] = f
			r.folders = append(r.folders, f)
		}
		return f
	}
	for _, b := range t.boxes {
		if s, ok := sc.remote[b.Name]; ok {
			f := get(s.name)
			f.remote, f.mailbox = s.box, b.Name
		}
	}
	for name, lf := range sc.locals {
		f := get(name)
		f.local, f.listed = lf, t.listed[lf.Name]
	}
	listed := map[string]bool{}
	for _, b := range t.boxes {
		listed[b.Name] = b.Selectable
	}
	for _, b := range t.base {
		f, ok := r.byName[b.Name]
		switch {
		case ok:
		case sc.outer[b.Name] || listed[b.Mailbox]:
			continue
		default:
			f = get(b.Name)
		}
		f.base = b
	}
	sortFolders(r.folders)
	compared, err := r.toCompare(ctx)
	if err != nil {
		return err
	}
	for _, f := range r.folders {
		f.target = f.target || compared[f.base.ID] > 0
		if f.mailbox == "" {
			f.mailbox = f.base.Mailbox
		}
		if f.mailbox == "" {
			box, err := r.names.mailbox(f.name)
			if err != nil {
				f.mailboxProblem = err.Error()
			}
			f.mailbox = box
		}
		r.judge(f)
	}
	if r.hidden != "" && slices.ContainsFunc(t.base, func(b state.Folder) bool { return b.Name == r.hidden }) {
		if r.merge {
			r.note("folder %s can't be read, and all is compared anew, for which all must be readable: nothing is done until it can be; look after its permissions", r.hidden)
		}
		for _, f := range r.folders {
			err := fmt.Errorf("folder %s can't be read, and may hold what is missing here: left alone until it can be read; look after its permissions", r.hidden)
			switch {
			case r.merge:
				r.leaveOut(f, err)
			case f.lostRemote || f.lostLocal:
				r.failFolder(f, err)
			}
		}
	}
	r.leaveBroken()
	r.leaveUnsettledFolders()
	r.leaveStuck()
	r.completeFolders()
	if err := r.confirmGone(ctx); err != nil {
		return err
	}
	for _, target := range r.opt.Targets {
		failed := slices.ContainsFunc(r.res.Errors, func(e FolderError) bool { return e.Folder == target })
		if r.byName[target] == nil && !failed {
			why := "there is no such folder, neither on the server nor in the Maildir"
			if sc.outer[target] {
				why = "this folder is left out by include, exclude or subscribed in the configuration"
			}
			r.fail(target, errors.New(why))
		}
	}
	r.res.Folders = len(r.folders)
	r.tell(func(p *Progress) { p.Folders, p.FoldersDone = len(r.folders), 0 })
	if r.opt.DryRun {
		return nil
	}
	return r.update(ctx, func(tx *state.Tx) error {
		for _, f := range r.folders {
			if r.isStuck(f.name) {
				continue
			}
			want := f.base
			want.Name = f.name
			// Nobody else's: if the server's is gone in the next run it was deleted there.
			want.OnDisk = want.OnDisk || r.made[f.name] && f.local != nil
			if f.remote != nil {
				want.Mailbox = f.mailbox
				if f.remote.Status != nil && f.remote.Status.MailboxID != "" && !f.lostRemote { // else unname does
					want.MailboxID = f.remote.Status.MailboxID
				}
				// Known before the first UID is: rows outlive a run that ends before it commits marks.
				if f.remote.Status != nil && want.UIDValidity == 0 {
					want.UIDValidity = f.remote.Status.UIDValidity
				}
			}
			if r.keepsFolders() && f.failed == nil { // where it may not be made again, either
				want.OnDisk = want.OnDisk && f.local != nil
				if f.remote == nil {
					want.Mailbox = ""
				}
			}
			if f.base.ID != 0 && want.OnDisk == f.base.OnDisk && want.Mailbox == f.base.Mailbox && want.MailboxID == f.base.MailboxID && want.UIDValidity == f.base.UIDValidity {
				continue
			}
			if f.base.ID != 0 && f.base.Mailbox != "" && want.Mailbox != f.base.Mailbox {
				r.log.Debug("the mailbox has another name", "folder", f.name, "was", f.base.Mailbox)
			}
			if err := tx.PutFolder(&want); err != nil {
				return err
			}
			f.base = want
		}
		return nil
	})
}

// isTarget reports whether this run was asked to work on a folder.
func (r *run) isTarget(name mail.FolderName) bool {
	return len(r.opt.Targets) == 0 || slices.Contains(r.opt.Targets, name)
}

// toCompare counts the messages of the folders, by ID, that a run which compares everything works on, named or not: those in which something
// could count as deleted afterwards.
func (r *run) toCompare(ctx context.Context) (agreed map[int64]int, err error) {
	if !r.merge {
		return nil, nil
	}
	err = r.view(ctx, func(tx *state.Tx) (err error) { agreed, err = tx.AgreedAll(); return err })
	return agreed, err
}

// replaced reports whether the UIDs that the state knows in a mailbox mean nothing any more.
func replaced(b state.Folder, st remote.Status) bool {
	another := b.MailboxID != "" && st.MailboxID != "" && st.MailboxID != b.MailboxID // RFC 8474, section 4
	return another || st.UIDValidity != b.UIDValidity || st.UIDValidity == 0 || (st.UIDNext != 0 && st.UIDNext < b.UIDNext)
}

// noValidity is the UIDVALIDITY of a folder whose UIDs turned out to mean other messages. No mailbox has it (RFC 9051, section 2.3.1.1: 32 bits).
const noValidity = math.MaxUint64

// renumbered has all messages of a mailbox paired anew by content, in the next pass or run, as if it had been replaced: if one of its UIDs means
// another message, any may.
func (r *run) renumbered(ctx context.Context, f *folder) error {
	r.lookAgain()
	return r.update(ctx, func(tx *state.Tx) error {
		base, err := tx.Folder(f.base.ID)
		if err != nil {
			return err
		}
		base.UIDValidity = noValidity
		return tx.PutFolder(&base)
	})
}

// judge finds out whether what the state calls the folder's messages still means them.
func (r *run) judge(f *folder) {
	if f.remote != nil && f.remote.Status != nil && (f.base.UIDNext != 0 || f.base.UIDValidity != 0) {
		st := f.remote.Status
		f.lostRemote = replaced(f.base, *st)
		if f.lostRemote && f.base.UIDValidity == noValidity {
			r.note("what the server shows under the UIDs of %s is not what it was: its messages are paired again by content, and nothing is deleted because of it", f.name)
		} else if f.lostRemote {
			r.log.Info("the mailbox was replaced on the server; its messages are paired again by content", "folder", f.name,
				"uidvalidity", st.UIDValidity, "was", f.base.UIDValidity, "mailboxid", st.MailboxID)
		}
	}
	if f.local != nil && f.base.Inode != 0 && f.local.Inode != f.base.Inode {
		f.lostLocal = true
		r.note("the directory of folder %s was replaced: it is compared, and nothing is deleted because of it", f.name)
	}
	f.lostLocal = f.lostLocal || r.merge
}

// confirmGone asks the server once more about mailboxes that the listing left out: a listing that is cut
// short must not pass for a deletion. A mailbox is gone if the server says so in answer to its name. What else
// a server refuses, or says of itself without an INBOX, which can't be deleted (RFC 9051, section 6.3.5), is no evidence.
func (r *run) confirmGone(ctx context.Context) error {
	var missing []*folder
	noInbox := false
	for _, f := range r.folders {
		if f.remote == nil && f.base.Mailbox != "" {
			missing = append(missing, f)
			noInbox = noInbox || f.isInbox()
		}
	}
	for _, f := range missing {
		err := r.pool.reading(ctx, func(s remote.Session) error {
			_, err := s.Status(ctx, f.base.Mailbox)
			return err
		})
		switch {
		case err == nil:
			r.failFolder(f, errors.New("the server did not list this mailbox, yet has it: left alone in this run"))
		case errors.Is(err, remote.ErrNoMailbox) && !noInbox:
		case errors.Is(err, remote.ErrNoMailbox):
			r.failFolder(f, errors.New("the server says that it is gone, and that there is no INBOX either, which can't be: left alone in this run"))
		case remote.ClassOf(err) == remote.Refused:
			r.failFolder(f, fmt.Errorf("the server neither listed this mailbox nor said that it is gone: left alone in this run: %w", err))
		default:
			return err
		}
	}
	return nil
}

// isInbox reports whether the folder's mailbox is the one that every account has.
func (f *folder) isInbox() bool { return strings.EqualFold(f.base.Mailbox, string(mail.Inbox)) }
