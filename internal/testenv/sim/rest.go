package sim

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/sync/plan"
)

// stir syncs once more when all is at rest, and says what that run did to either side, empty if nothing. What is pending on the server is tried
// again each time.
func (w *World) stir() string {
	before := w.Server.Snapshot().String()
	_, pending := w.ServerTree().withoutPending(w.LocalTree(), w.promise.account)
	res := w.Sync(nil)
	if res.Fatal != nil || len(res.Errors) > 0 || !Idle(res) {
		return fmt.Sprintf("a run at rest: fatal %v, errors %v, to the Maildir %+v %+v, to the server %+v %+v",
			res.Fatal, res.Errors, res.ToMaildir, res.MaildirFolders, res.ToServer, res.ServerFolders)
	}
	for _, s := range w.gate.steps {
		if s.writes() && !(len(pending) > 0 && (s.op == "mark" || s.op == "expunge")) && !w.outlived(s) {
			return "a run at rest did this: " + s.String()
		}
	}
	if now := w.Server.Snapshot().String(); now != before {
		return fmt.Sprintf("a run at rest changed the server from\n%sto\n%s", before, now)
	}
	return ""
}

var asideSince = regexp.MustCompile(`^(?:\.satchel/undo|satchel-undo)/(\d{8}T\d{6}Z)(?:/|$)`)

// outlived reports whether a step removes what was put aside long enough ago.
func (w *World) outlived(s step) bool {
	m := asideSince.FindStringSubmatch(s.what)
	if s.op != "remove" || m == nil {
		return false
	}
	began, err := time.Parse("20060102T150405Z", m[1])
	return err == nil && began.Before(w.now.Add(-w.Set.Undo))
}

// writes reports whether a step changes what a side holds. The lock is touched to learn what time it is on the disk; and what is durable already may
// be made so again.
func (s step) writes() bool {
	switch s.op {
	case "append", "store", "move", "copy", "mark", "expunge", "delete":
		return s.source == atServer
	case "write", "times", "mkdir", "remove":
		return s.source == onDisk
	case "create", "rename", "link":
		return true
	}
	return false
}

// givingSide is what the Maildir holds, in push mode.
func (w *World) givingSide() Tree {
	if w.wide && w.promise.account.Mode == plan.Push {
		return w.LocalTree()
	}
	return nil
}

// gave says what the last run did to the side that its mode never changes, empty if nothing.
func (w *World) gave(before Tree) string {
	mode := w.promise.account.Mode
	if meddled := w.gate.fault != nil && w.gate.fault.Kind == Meddles && w.gate.hit != ""; mode == plan.Push && !meddled && !before.equal(w.LocalTree()) {
		return fmt.Sprintf("push changed the Maildir from\n%sto\n%s", before, w.LocalTree())
	}
	for _, s := range w.gate.steps {
		if (mode == plan.Pull || mode == plan.Archive) && s.source == atServer && s.writes() {
			return fmt.Sprintf("%s did this to the server: %s", mode, s)
		}
	}
	return ""
}

// withoutPending leaves out, and counts, of a server's tree what is marked as deleted and not in the Maildir: what a server without UIDPLUS can't remove
// alone, and what counts as gone (docs/safety.md, "Nobody else's messages").
func (t Tree) withoutPending(local Tree, a Account) (rest Tree, pending map[string]int) {
	rest, pending = Tree{}, map[string]int{}
	for name, messages := range t {
		there := slices.Clone(local[name])
		rest[name] = []string{}
		for _, m := range messages {
			at := slices.Index(there, m)
			if at >= 0 {
				there = slices.Delete(there, at, at+1)
			}
			if at >= 0 || !marked(m) || a.isLimited(textOf(m)) {
				rest[name] = append(rest[name], m)
			} else {
				pending[textOf(m)]++
			}
		}
	}
	return rest, pending
}

// marked reports whether a message of a Tree is marked as deleted.
func marked(m string) bool {
	flags, _, _ := strings.Cut(m, "] ")
	return strings.Contains(flags, `\Deleted`)
}
