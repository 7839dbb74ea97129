package plan

import (
	"github.com/satchel-mail/satchel/internal/mail"
)

type folderOn struct {
	name mail.FolderName
	side Side
}

// planFolderDeletions removes on the other side the folders that a person has deleted on one, if
// nothing in them stays. While the guard holds deletions back they wait with them: where messages are missing because a disk is, so are folders.
func (m *maker) planFolderDeletions(in Input) {
	if len(m.plan.Held) > 0 || in.HeldElsewhere {
		return
	}
	var doomed []folderOn
	for _, f := range in.Folders {
		if side, ok := m.deletedFolder(f); ok {
			doomed = append(doomed, folderOn{f.Name, side})
		}
	}
	if len(doomed) == 0 {
		return
	}
	keep := m.keptFolders(in)
	for _, d := range doomed {
		if !keep[d] {
			reason := "deleted on the server"
			if d.side == Server {
				reason = "deleted in the Maildir"
			}
			m.add(Op{Kind: DeleteFolder, Side: d.side, Folder: d.name, Reason: reason})
		}
	}
}

// deletedFolder returns the side on which a folder that the other side has deleted is to be deleted, too.
func (m *maker) deletedFolder(f Folder) (Side, bool) {
	if !f.Target || f.Name == mail.Inbox || !f.WasOnServer || !f.WasInMaildir {
		return "", false
	}
	mode := m.policy.Mode
	switch {
	case f.InMaildir && !f.OnServer && (mode == TwoWay || mode == Pull):
		return Maildir, true
	case f.OnServer && !f.InMaildir && (mode == TwoWay || mode == Push) && !m.readOnly(f.Name):
		return Server, true
	}
	return "", false
}

// keptFolders are the folders, by side, in which a message stays or arrives.
func (m *maker) keptFolders(in Input) map[folderOn]bool {
	keep := map[folderOn]bool{}
	leaving := map[Side]map[int64]bool{Server: {}, Maildir: {}}
	for _, op := range m.plan.Ops {
		switch op.Kind {
		case Delete:
			leaving[op.Side][op.Row] = true
		case Move:
			leaving[op.Side][op.Row] = true
			keep[folderOn{op.Folder, Server}] = true
			keep[folderOn{op.Folder, Maildir}] = true
		case Download, Upload, Pairing, Hold:
			keep[folderOn{op.Folder, Server}] = true
			keep[folderOn{op.Folder, Maildir}] = true
		}
	}
	known := map[mail.FolderName]int{}
	for i := range m.rows {
		x := &m.rows[i]
		if x.Why == Agreed && !x.Waits {
			known[x.Folder]++
		}
		if x.remote.found == have && !leaving[Server][x.ID] {
			keep[folderOn{x.remote.folder, Server}] = true
		}
		if x.local.found == have && !leaving[Maildir][x.ID] {
			keep[folderOn{x.local.folder, Maildir}] = true
		}
	}
	for i := range m.remote {
		if x := &m.remote[i]; x.row < 0 {
			keep[folderOn{x.Folder, Server}] = true
		}
	}
	for i := range m.local {
		if x := &m.local[i]; x.row < 0 {
			keep[folderOn{x.Folder, Maildir}] = true
		}
	}
	// Rows that the input leaves out are there unchanged, whatever the folder's facts say.
	for _, f := range in.Folders {
		if known[f.Name] < f.Agreed {
			keep[folderOn{f.Name, Server}], keep[folderOn{f.Name, Maildir}] = true, true
		}
	}
	return keep
}
