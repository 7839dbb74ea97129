package sync

import (
	"maps"
	"slices"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/sync/plan"
)

// translateMoved has messages that somebody moved in the Maildir keep their keywords: each folder has letters of its own for them, and who moves a
// file takes along those of the folder that it comes from.
func (r *run) translateMoved() {
	type place struct {
		f *folder
		i int
	}
	came := map[string]place{}
	for _, f := range r.folders {
		for i := range f.localNew {
			if m := &f.localNew[i]; m.Row == 0 && (m.Unexplained || m.Flags.HasKeywords()) {
				came[m.Name] = place{f, i}
			}
		}
	}
	if len(came) == 0 {
		return
	}
	for _, from := range r.folders {
		letters := r.lettersOf(from)
		for _, id := range slices.Sorted(maps.Keys(from.pairs)) {
			p := from.pairs[id]
			at, ok := came[p.Name]
			if !ok || p.Name == "" || p.Local != plan.Gone || at.f == from || !p.LocalFlags.HasKeywords() {
				continue
			}
			m := &at.f.localNew[at.i]
			if r.opt.DryRun {
				if carries, err := r.md.Carries(at.f.local.Name, p.Name, letters, p.LocalFlags); err == nil && carries {
					m.Flags, m.Unexplained = mail.SystemFlags(m.Flags.System()).Plus(p.LocalFlags.KeywordsOnly()), false
				}
				continue
			}
			e, done, err := r.md.Translate(at.f.local.Name, p.Name, letters, p.LocalFlags)
			if err != nil {
				r.soil(at.f)
				r.log.Warn("the keywords of a message that was moved may be others now", "folder", at.f.name, "error", err)
			}
			if done {
				r.soil(at.f) // its name is another one than was read
				m.Flags, m.Unexplained = e.Flags, false
			}
		}
	}
}

// lettersOf is the directory that knows what a folder's letters mean: its own, or what that was renamed to.
func (r *run) lettersOf(f *folder) mail.FolderName {
	if f.local != nil || f.base.Inode == 0 {
		return f.name
	}
	for _, other := range r.folders {
		if other.local != nil && other.local.Inode == f.base.Inode {
			return other.local.Name
		}
	}
	return f.name
}
