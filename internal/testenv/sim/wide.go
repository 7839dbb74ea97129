package sim

import (
	"math/rand/v2"

	"github.com/satchel-mail/satchel/sync/plan"
)

// Account is how an account is set up, as far as histories differ in it.
type Account struct {
	Mode    plan.Mode
	Expunge bool
	Trash   bool
}

// trash is the name of the folder where there is one.
const trash = "Trash"

// someAccount makes one up.
func someAccount(seed uint64) Account {
	r := rand.New(rand.NewPCG(seed, 5))
	a := Account{Mode: plan.TwoWay}
	a.Expunge = r.IntN(4) == 0
	a.Trash = r.IntN(4) == 0
	if n := r.IntN(20); n < 6 {
		a.Mode = []plan.Mode{plan.Pull, plan.Push, plan.Archive}[n/2]
		a.Trash = a.Trash && a.Mode == plan.Push // the others don't go with it
	}
	return a
}

func (a Account) apply(w *World) {
	p := &w.Set.Policy
	p.Mode, p.Expunge = a.Mode, a.Expunge
	if a.Trash {
		p.Trash = trash
	}
}

// wideWeights say how often people do what in wide histories. There both sides draw the names of folders from one pool, so that the same
// name is made on both, deleted, and made again; both make the same messages; and messages are marked as deleted.
var wideWeights = [verbs]int{9, 9, 5, 8, 3, 2, 1, 1, 1, 1, 1, 1}

var poolOfNames = []string{"Work", "Work/Old", "Lists", "N0", "N1"}

// folderName is the name that an act makes a folder by, or gives to one.
func (a Act) folderName(w *World) string {
	switch {
	case w.wide:
		return poolOfNames[a.C%len(poolOfNames)]
	case a.Server:
		return "R" + string(rune('0'+a.C%4))
	}
	return "L" + string(rune('0'+a.C%4))
}

const deletedFlag = `\Deleted`
