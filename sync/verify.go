package sync

import (
	"context"
	"crypto/sha256"
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

// VerifyOptions are what one comparison was asked for.
type VerifyOptions struct {
	Targets []mail.FolderName
	// Deep compares contents byte for byte; otherwise headers, flags and the digest of each file are compared.
	Deep bool
}

// Difference is something that is not the same on both sides.
type Difference struct {
	Folder mail.FolderName
	UID    mail.UID
	Name   string
	What   string
}

// Verification is the outcome of Verify.
type Verification struct {
	Account           string
	Folders, Messages int
	Differences       []Difference
	// Explained counts messages on one side only for a reason that status shows: filtered, parked, pending.
	Explained int
	// Rewritten counts messages of which the server keeps other bytes than it was sent, as the state knows, or, over POP3, sends its own
	// notes in the header along with.
	Rewritten int
	Errors    []FolderError
	Fatal     error
	Traffic   remote.Traffic
}

// Verify compares the two sides message by message and changes nothing.
func Verify(ctx context.Context, set Settings, w World, opt VerifyOptions) *Verification {
	v := &verifier{out: &Verification{Account: set.Account}, deep: opt.Deep}
	r := newRun(set, w, Options{Targets: opt.Targets, DryRun: true})
	v.r = r
	if err := r.openReading(ctx); err != nil {
		v.out.Fatal = err
		return v.out
	}
	defer r.close()
	if err := defect.Contain(func() error { return v.all(ctx) }); err != nil {
		v.out.Fatal = r.ofAccount(err)
	}
	v.out.Errors = r.res.Errors
	v.out.Traffic = r.pool.close()
	return v.out
}

type verifier struct {
	r    *run
	out  *Verification
	deep bool
}

func (v *verifier) all(ctx context.Context) error {
	r := v.r
	t, err := r.readTrees(ctx, false)
	if err != nil {
		return err
	}
	if err := r.makeFolders(ctx, t); err != nil {
		return err
	}
	if r.isMaildrop() {
		return v.maildrop(ctx)
	}
	for _, f := range r.folders {
		if f.failed != nil || !f.target {
			continue
		}
		if err := defect.Contain(func() error { return v.folder(ctx, f) }); err != nil {
			if !r.ofFolder(ctx, err) {
				return err
			}
			r.failFolder(f, err)
		}
		r.tell(func(p *Progress) { p.FoldersDone++ })
	}
	return nil
}

func (v *verifier) differ(f *folder, uid mail.UID, name, format string, args ...any) {
	v.out.Differences = append(v.out.Differences, Difference{f.name, uid, name, fmt.Sprintf(format, args...)})
}

// folder compares one folder.
func (v *verifier) folder(ctx context.Context, f *folder) error {
	switch {
	case f.remote == nil && f.local == nil:
		return nil
	case f.remote == nil:
		return v.oneSided(ctx, f, plan.Server, "the server does not have this folder")
	case f.local == nil:
		return v.oneSided(ctx, f, plan.Maildir, "the Maildir does not have this folder")
	}
	v.out.Folders++
	remotes, locals, rows, err := v.read(ctx, f)
	if err != nil {
		return err
	}
	var both []state.Message
	for _, row := range rows {
		m, onServer := remotes[row.UID]
		e, inMaildir := locals[row.Name]
		onServer, inMaildir = onServer && row.UID != 0, inMaildir && row.Name != ""
		if onServer {
			delete(remotes, row.UID)
		}
		if inMaildir {
			delete(locals, row.Name)
		}
		switch {
		case row.Why != "":
			v.out.Explained++
		case onServer && inMaildir:
			v.flags(f, row, m, e)
			both = append(both, row)
		case onServer:
			v.differ(f, row.UID, row.Name, "only on the server: its file is gone from the Maildir")
		case inMaildir:
			v.differ(f, row.UID, row.Name, "only in the Maildir: it is gone from the server")
		}
	}
	v.out.Messages += len(both)
	for _, uid := range sortedUIDs(remotes) {
		v.differ(f, uid, "", "only on the server: not synchronised yet")
	}
	for _, name := range sortedKeys(locals) {
		v.differ(f, 0, name, "only in the Maildir: not synchronised yet")
	}
	for chunk := range slices.Chunk(both, 500) {
		if err := v.contents(ctx, f, chunk); err != nil {
			return err
		}
	}
	return nil
}

// oneSided looks at a folder that one side does not have. That is no difference where each of its messages is left on the other side for a reason, and
// an empty one is not created.
func (v *verifier) oneSided(ctx context.Context, f *folder, missing plan.Side, what string) error {
	remotes, locals, rows, err := v.read(ctx, f)
	if err != nil {
		return err
	}
	explained := 0
	for _, row := range rows {
		if row.Why != "" {
			delete(remotes, row.UID)
			delete(locals, row.Name)
			explained++
		}
	}
	policy := v.r.set.Policy
	created := policy.CreatesFolders(missing) && !(policy.Mode == plan.Archive && f.base.OnDisk) // where it was deleted in the Maildir
	if len(remotes)+len(locals) > 0 || explained == 0 && created {
		v.differ(f, 0, "", "%s", what)
		return nil
	}
	v.out.Folders++
	v.out.Explained += explained
	return nil
}

// read reads a folder, of the sides that have it.
func (v *verifier) read(ctx context.Context, f *folder) (map[mail.UID]remote.Message, map[string]maildir.Entry, []state.Message, error) {
	remotes, err := v.readRemote(ctx, f)
	if err != nil {
		return nil, nil, nil, err
	}
	locals := map[string]maildir.Entry{}
	if f.local != nil {
		scan, err := v.r.md.Scan(ctx, f.name, nil)
		if err != nil {
			return nil, nil, nil, err
		}
		for _, p := range scan.Problems {
			v.r.fail(f.name, p)
		}
		for _, e := range scan.Entries {
			locals[e.Base] = e
		}
	}
	var rows []state.Message
	err = v.r.eachRow(ctx, f, func(m state.Message) { rows = append(rows, m) })
	return remotes, locals, rows, err
}

func (v *verifier) readRemote(ctx context.Context, f *folder) (map[mail.UID]remote.Message, error) {
	remotes := map[mail.UID]remote.Message{}
	if f.remote == nil {
		return remotes, nil
	}
	st, err := v.r.statusOf(ctx, f)
	if err != nil {
		return nil, err
	}
	var ch remote.Changes
	err = v.r.pool.reading(ctx, func(s remote.Session) (err error) {
		ch, err = s.Changes(ctx, remote.Box{Name: f.mailbox, UIDValidity: st.UIDValidity}, remote.Since{})
		return err
	})
	if err != nil {
		return nil, err
	}
	f.selected = &ch.Selected
	if f.base.UIDNext != 0 && f.base.UIDValidity != ch.Selected.UIDValidity {
		return nil, remote.ErrUIDValidity
	}
	for _, m := range slices.Concat(ch.New, ch.Flags) {
		remotes[m.UID] = m
	}
	return remotes, nil
}

// flags compares the flags of one message. A flag that one side can't keep is known to the state and no difference.
func (v *verifier) flags(f *folder, row state.Message, m remote.Message, e maildir.Entry) {
	if m.Flags.Equal(e.Flags) || (m.Flags.Equal(row.RemoteFlags) && e.Flags.Equal(row.LocalFlags)) {
		return
	}
	v.differ(f, row.UID, row.Name, "flags: the server has (%s), the Maildir (%s)", m.Flags, e.Flags)
}

// contents compares files with what the state recorded and with the server.
func (v *verifier) contents(ctx context.Context, f *folder, rows []state.Message) error {
	r := v.r
	var uids mail.UIDSet
	for _, row := range rows {
		uids.Add(row.UID)
	}
	var exact map[mail.UID]exactly
	var headers map[mail.UID]mail.Content
	var err error
	if v.deep {
		exact, err = v.exactBytes(ctx, f, uids)
	} else {
		headers, err = r.readHeaders(ctx, f, uids)
	}
	if err != nil {
		return err
	}
	for _, row := range rows {
		c, _, err := r.md.Survey(ctx, f.name, row.Name)
		if errors.Is(err, maildir.ErrNotFound) {
			v.differ(f, row.UID, row.Name, "its file went away during the comparison")
			continue
		}
		if err != nil {
			v.differ(f, row.UID, row.Name, "its file can't be read: %v", err)
			continue
		}
		if !row.Digest.IsZero() && c.Digest != row.Digest {
			v.differ(f, row.UID, row.Name, "the file was changed since it was synchronised")
			continue
		}
		if v.deep {
			if err := v.compareExact(f, row, exact); err != nil {
				return err
			}
			continue
		}
		h, ok := headers[row.UID]
		switch {
		case !ok:
			v.differ(f, row.UID, row.Name, "the server did not give its header")
		case h.Header == c.Header:
		case !row.RemoteDigest.IsZero() && h.Header == row.Header: // which is the server's
			v.out.Rewritten++
		default:
			v.differ(f, row.UID, row.Name, "the header on the server is another one")
		}
	}
	return nil
}

// exactly is a message as the server sends it: the digest of every byte, and that by which it is known, in a maildrop without the server's notes.
type exactly struct {
	sum    [sha256.Size]byte
	digest mail.Digest
}

func (v *verifier) compareExact(f *folder, row state.Message, exact map[mail.UID]exactly) error {
	want, ok := exact[row.UID]
	if !ok {
		v.differ(f, row.UID, row.Name, "the server did not give its content")
		return nil
	}
	rc, _, err := v.r.md.OpenWire(f.name, row.Name, row.Raw)
	if err != nil {
		v.differ(f, row.UID, row.Name, "its file can't be read: %v", err)
		return nil
	}
	defer rc.Close()
	h := sha256.New()
	if _, err := io.Copy(h, rc); err != nil {
		v.differ(f, row.UID, row.Name, "its file can't be read: %v", err)
		return nil
	}
	if [sha256.Size]byte(h.Sum(nil)) == want.sum {
		return nil
	}
	if want.digest == row.RemoteDigest || v.r.isMaildrop() && want.digest == row.Digest {
		v.out.Rewritten++
		return nil
	}
	v.differ(f, row.UID, row.Name, "the contents differ")
	return nil
}

// exactBytes digests messages as the server sends them, to the byte.
func (v *verifier) exactBytes(ctx context.Context, f *folder, uids mail.UIDSet) (map[mail.UID]exactly, error) {
	box := remote.Box{Name: f.mailbox, UIDValidity: f.validity()}
	out := map[mail.UID]exactly{}
	err := v.r.piecemeal(ctx, f, uids, func(s remote.Session, uids mail.UIDSet) (done mail.UIDSet, failed, err error) {
		_, err = s.Bodies(ctx, box, uids, func(m remote.Message, body io.Reader) error {
			h := sha256.New()
			c, err := surveyOf(s)(io.TeeReader(body, h))
			if err != nil {
				return err
			}
			out[m.UID] = exactly{[sha256.Size]byte(h.Sum(nil)), c.Digest}
			done.Add(m.UID)
			return nil
		})
		return done, nil, err
	}, func(mail.UID, error) error { return nil })
	return out, err
}

func sortedUIDs[V any](m map[mail.UID]V) []mail.UID {
	uids := make([]mail.UID, 0, len(m))
	for u := range m {
		uids = append(uids, u)
	}
	slices.Sort(uids)
	return uids
}
