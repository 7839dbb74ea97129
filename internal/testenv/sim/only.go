package sim

import (
	"fmt"
	"math/rand/v2"

	"github.com/satchel-mail/satchel/internal/mail"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// Only is a sync of one folder, which must not tear apart what happened in several.
type Only struct {
	Folder int
	Then   []Act // what people do after it
	Again  bool  // the runs that may be interrupted are of that folder, too
}

// askForOne has most rounds begin with a sync of one folder.
func (h *History) askForOne(r *rand.Rand, often [verbs]int) {
	for i := range h.Rounds {
		if r.IntN(4) == 0 {
			continue
		}
		only := &Only{Folder: r.IntN(1 << 20), Again: r.IntN(3) == 0}
		for range r.IntN(5) {
			only.Then = append(only.Then, someAct(r, often))
		}
		h.Rounds[i].Only = only
	}
}

// syncOne syncs one of the folders that there are, and then people act.
func (w *World) syncOne(only *Only) (story []string) {
	folders := w.Folders()
	w.Ask = mailsync.Options{Targets: []mail.FolderName{mail.FolderName(folders[only.Folder%len(folders)])}}
	w.Sync(nil)
	story = append(story, fmt.Sprintf("  a sync of %v", w.Ask.Targets))
	if !only.Again {
		w.Ask = mailsync.Options{}
	}
	for _, a := range only.Then {
		if what := a.do(w); what != "" {
			story = append(story, "  then "+what)
		}
	}
	w.Disk.Settle()
	return story
}

// oneFolder are syncs of one folder of what happened in several.
func oneFolder() (all []Scenario) {
	flagged := func(w *World) { f, _ := w.inMaildir("m"); w.reflag(f, "RS") }
	moved := func(w *World) { f, _ := w.inMaildir("m"); w.moveFile(f, "C") }
	for _, server := range []string{"", "bare"} {
		for _, s := range []Scenario{
			{Name: "moved there on the server, and to another one in the Maildir", Acts: func(w *World) { w.serverMove("m", "B"); moved(w) }},
			{Name: "moved there on the server, flagged in the Maildir", Acts: func(w *World) { w.serverMove("m", "B"); flagged(w) }},
			{Name: "moved from there to another one in the Maildir, and flagged on the server", Acts: func(w *World) {
				f, _ := w.inMaildir("m")
				w.moveFile(f, "B")
				check(w.Settle())
				w.flag("m", true, `\Flagged`)
				moved(w)
			}},
			{Name: "moved there on the server, renamed with its folder in the Maildir", Acts: func(w *World) {
				w.serverMove("m", "B")
				check(w.Disk.Person().Rename("A", "D"))
			}},
		} {
			s.Server, s.Before, s.Ask = server, oneInA, mailsync.Options{Targets: []mail.FolderName{"B"}}
			if s.Name = "a sync of one folder: " + s.Name; server != "" {
				s.Name += ", on a server that is " + server
			}
			all = append(all, s)
		}
	}
	return all
}
