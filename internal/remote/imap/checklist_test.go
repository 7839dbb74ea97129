package imap

import (
	"math/rand/v2"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestChecklist(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var set, ticked mail.UIDSet
		for range rnd.IntN(20) {
			first := 1 + mail.UID(rnd.IntN(500))
			set.AddRange(first, first+mail.UID(rnd.IntN(30)))
		}
		l := newChecklist(set)
		for range rnd.IntN(400) {
			u := mail.UID(rnd.IntN(600))
			if open := set.Contains(u) && !ticked.Contains(u); l.open(u) != open {
				t.Fatalf("%d of %v without %v is open: %v", u, set, ticked, !open)
			}
			l.tick(u)
			if u > 0 {
				ticked.Add(u)
			}
		}
		if got, want := l.left().String(), set.Minus(ticked).String(); got != want {
			t.Fatalf("left is %s, want %s", got, want)
		}
	}
}
