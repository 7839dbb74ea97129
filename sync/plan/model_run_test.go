package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/satchel-mail/satchel/internal/mail"
)

// runOptions say how a run of the model goes wrong.
type runOptions struct {
	shuffle *rand.Rand // shuffles operations that may come in any order
	stop    int        // stop after so many operations, -1 never
}

// run does one synchronisation. It returns how many operations there were that change anything.
func (w *world) run(o runOptions) (int, error) {
	count := 0
	w.note("--- run %v", w.policy)
	for _, op := range Folders(w.answerFolders(w.folderInput())) {
		if count == o.stop {
			return count, nil
		}
		w.note("  %+v", op)
		if err := w.applyFolder(op); err != nil {
			return count, err
		}
		count++
	}
	in, err := w.answer(w.input())
	if err != nil {
		return count, err
	}
	plan := Make(in)
	w.readAgain = plan.ReadAgain
	w.unname()
	ops := plan.Ops
	if o.shuffle != nil {
		ops = shuffled(ops, o.shuffle)
	}
	w.noteText(func() string { return showOps(ops) })
	for _, op := range ops {
		if count == o.stop {
			return count, nil
		}
		if err := w.apply(op); err != nil {
			return count, err
		}
		if op.Kind != Hold {
			count++
		}
	}
	w.commitFolders()
	return count, w.checkState()
}

// unname is what the engine does before it carries out anything: the state learns which mailboxes it looked at, and takes the UIDs from the
// rows of those that were replaced, or a run that stops on the way would leave them to mean others.
func (w *world) unname() {
	for _, f := range w.server {
		b := w.base(f.name)
		if b == nil || b.Mailbox == "" {
			continue
		}
		if b.UIDValidity != f.validity {
			for i := range w.rows {
				if w.rows[i].Folder == f.name {
					w.rows[i].UID = 0
				}
			}
		}
		b.Mailbox, b.MailboxID, b.UIDValidity = string(f.name), f.id, f.validity
	}
}

// shuffled changes the order of operations of one kind and side; those on one row keep theirs.
func shuffled(ops []Op, rnd *rand.Rand) []Op {
	out := slices.Clone(ops)
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && out[j].Side == out[i].Side && stage(out[j]) == stage(out[i]) {
			j++
		}
		if k := stage(out[i]); k != 9 {
			part := out[i:j]
			rnd.Shuffle(len(part), func(a, b int) { part[a], part[b] = part[b], part[a] })
		}
		i = j
	}
	return out
}

// checkState checks what must hold after every whole run: every row names messages that are there,
// and no message has two rows.
func (w *world) checkState() error {
	remote, local := map[folderUID]bool{}, map[folderFile]bool{}
	for i := range w.rows {
		x := &w.rows[i]
		if x.UID != 0 && !x.remoteHeld {
			if k := (folderUID{x.Folder, x.UID}); remote[k] {
				return fmt.Errorf("two rows for UID %v", k)
			} else {
				remote[k] = true
			}
			r, err := w.remoteAt(x.Folder, x.UID)
			if err != nil && !w.readsAgain(x.Folder) {
				return fmt.Errorf("row %+v: %w", x.Base, err)
			}
			if err == nil && !x.Digest.IsZero() && x.Digest != digestOf('d', r.content) {
				return fmt.Errorf("row %+v is another message", x.Base)
			}
		}
		if x.Name != "" && !x.localHeld {
			if k := (folderFile{x.Folder, x.Name}); local[k] {
				return fmt.Errorf("two rows for file %v", k)
			} else {
				local[k] = true
			}
			if _, err := w.localAt(x.Folder, x.Name); err != nil && !w.readsAgain(x.Folder) {
				return fmt.Errorf("row %+v: %w", x.Base, err)
			}
		}
		if w.base(x.Folder) == nil {
			return fmt.Errorf("row %+v lies in a folder that the state does not know", x.Base)
		}
	}
	for _, f := range w.server {
		for _, m := range f.messages {
			if !remote[folderUID{f.name, m.uid}] && w.policy.Trash == "" && !w.readsAgain(f.name) {
				return fmt.Errorf("the state does not know %s %d", f.name, m.uid)
			}
		}
	}
	for _, d := range w.maildir {
		for _, m := range d.files {
			if !local[folderFile{d.name, m.name}] && !w.readsAgain(d.name) {
				return fmt.Errorf("the state does not know %s %s", d.name, m.name)
			}
		}
	}
	return nil
}

// settle runs until nothing is to be done any more.
func (w *world) settle(rnd *rand.Rand) error {
	for range 5 {
		n, err := w.run(runOptions{shuffle: rnd, stop: -1})
		if err != nil {
			return err
		}
		if n == 0 {
			return nil
		}
	}
	return fmt.Errorf("five runs were not enough")
}

// inWords spells a message, so that lists of them can be compared and read.
func inWords(folder mail.FolderName, content int, flags mail.Flags) string {
	return string(folder) + " " + strconv.Itoa(content) + " " + flags.String()
}

// equalSides compares both sides message by message, but for flags that a side can't keep.
func (w *world) equalSides() error {
	drops := w.serverDrops.Plus(w.maildirDrops)
	var remote, local []string
	for _, f := range w.server {
		remote = append(remote, string(f.name))
		for _, m := range f.messages {
			remote = append(remote, inWords(f.name, m.content, m.flags.Minus(drops)))
		}
	}
	for _, d := range w.maildir {
		local = append(local, string(d.name))
		for _, m := range d.files {
			local = append(local, inWords(d.name, m.content, m.flags.Minus(drops)))
		}
	}
	slices.Sort(remote)
	slices.Sort(local)
	if !slices.Equal(remote, local) {
		return fmt.Errorf("the sides differ:\nserver:  %q\nMaildir: %q", remote, local)
	}
	return nil
}

// readsAgain reports whether the last plan left something in a folder as it is.
func (w *world) readsAgain(name mail.FolderName) bool { return slices.Contains(w.readAgain, name) }
