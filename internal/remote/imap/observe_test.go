package imap

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func TestObservationIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(observation{}); n > 64 {
		t.Errorf("%d bytes for each message", n)
	}
}

// TestObservations: in whatever order messages are named, the last word on each of its properties counts.
func TestObservations(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	orders := []func(n int) mail.UID{
		func(n int) mail.UID { return mail.UID(n + 1) },
		func(n int) mail.UID { return mail.UID(5000 - n) },
		func(n int) mail.UID { return mail.UID(1 + n%50*100 + n/50) },
		func(int) mail.UID { return mail.UID(1 + rnd.IntN(800)) },
		func(int) mail.UID { return mail.UID(1 + rnd.IntN(1_000_000)) },
	}
	for round := range 100 {
		var o observations
		if round%2 == 0 {
			o.reserve(10)
		}
		want := map[mail.UID]remote.Message{}
		next := orders[round%len(orders)]
		for n := range rnd.IntN(2000) {
			u := next(n)
			m := want[u]
			m.UID = u
			f := &fetched{msg: remote.Message{UID: u}}
			if rnd.IntN(2) == 0 {
				f.hasFlags, f.msg.Flags = true, mail.NewFlags(fmt.Sprint("k", n))
				m.Flags = f.msg.Flags
			}
			if rnd.IntN(2) == 0 {
				f.hasDate, f.msg.Date = true, time.Unix(int64(n), 0).UTC()
				m.Date = f.msg.Date
			}
			if rnd.IntN(9) == 0 {
				f.hasDate, f.msg.Date = true, time.Time{}
				m.Date = f.msg.Date
			}
			if rnd.IntN(3) == 0 {
				f.hasMail, f.msg.EmailID = true, fmt.Sprint("M", n)
				m.EmailID = f.msg.EmailID
			}
			if rnd.IntN(3) == 0 {
				f.hasHeader, f.msg.Header = true, &mail.Content{Size: int64(n)}
				m.Header = f.msg.Header
			}
			if rnd.IntN(3) == 0 {
				f.hasSize, f.msg.Size, f.msg.ModSeq = true, int64(n), uint64(n)+1
				m.Size, m.ModSeq = f.msg.Size, f.msg.ModSeq
			}
			o.add(f)
			want[u] = m
			if probe := next(rnd.IntN(n + 1)); (o.at(probe) != nil) != (want[probe].UID != 0) {
				t.Fatalf("round %d: %d is there: %v", round, probe, o.at(probe) != nil)
			}
		}
		got := o.messages(func(*observation) bool { return true })
		if len(got) != len(want) || cap(got) != len(got) {
			t.Fatalf("round %d: %d messages with room for %d, want %d", round, len(got), cap(got), len(want))
		}
		for i, u := range slices.Sorted(maps.Keys(want)) {
			g, w := got[i], want[u]
			if (g.Header == nil) != (w.Header == nil) || g.Header != nil && *g.Header != *w.Header {
				t.Fatalf("round %d: header of %d: %v, want %v", round, u, g.Header, w.Header)
			}
			g.Header, w.Header = nil, nil
			if g != w {
				t.Fatalf("round %d: %+v, want %+v", round, g, w)
			}
		}
	}
}

func TestWithin(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 100 {
		var set mail.UIDSet
		for range rnd.IntN(20) {
			set.Add(mail.UID(rnd.IntN(100)))
		}
		in := within(set)
		for range 300 {
			if u := mail.UID(rnd.IntN(101)); in(u) != set.Contains(u) {
				t.Fatalf("%d is in %v: %v", u, set, !set.Contains(u))
			}
		}
	}
}
