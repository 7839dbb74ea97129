package sync

import (
	"context"
	"fmt"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
)

// LocalQuiet reports whether the Maildir is as the last run left it: what the file system told of was that run's own doing. It goes by
// the times of the directories and reads none of them; where they don't tell, and while there are folders that the state does not
// know, it is false.
func LocalQuiet(ctx context.Context, set Settings, w World) (bool, error) {
	r := newRun(set, w, Options{DryRun: true})
	if err := r.openReading(ctx); err != nil {
		return false, err
	}
	defer r.close()
	folders, problems, err := r.md.Folders()
	if err != nil {
		return false, fmt.Errorf("account %s: reading the Maildir: %w", set.Account, err)
	}
	if len(problems) > 0 {
		return false, nil
	}
	local := map[mail.FolderName]*maildir.Folder{}
	for i := range folders {
		local[folders[i].Name] = &folders[i]
	}
	quiet := true
	err = r.view(ctx, func(tx *state.Tx) error {
		base, err := tx.Folders()
		known := 0
		for i := range base {
			f := local[base[i].Name]
			if base[i].OnDisk {
				known++
			}
			quiet = quiet && base[i].OnDisk == (f != nil) && (f == nil || r.sameLocal(base[i], f))
		}
		quiet = quiet && known == len(local)
		return err
	})
	return quiet && err == nil, err
}
