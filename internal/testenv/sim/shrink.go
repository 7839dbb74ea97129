package sim

import "slices"

// Shrink leaves out of a history that breaks the promise what it breaks without. play plays one.
func Shrink(h History, play func(History) Outcome) (History, Outcome) {
	out := play(h)
	for again := true; again; {
		again = false
		for _, shorter := range h.shorter() {
			if o := play(shorter); o.Broken != "" {
				h, out, again = shorter, o, true
				break
			}
		}
	}
	return h, out
}

// shorter are the histories that lack one thing, the largest things first.
func (h History) shorter() (all []History) {
	without := func(change func(rounds []Round) []Round) {
		s := h
		s.Rounds = slices.Clone(h.Rounds)
		for i := range s.Rounds {
			s.Rounds[i].Acts = slices.Clone(s.Rounds[i].Acts)
		}
		s.Rounds = change(s.Rounds)
		all = append(all, s)
	}
	for i := range h.Rounds {
		without(func(r []Round) []Round { return slices.Delete(r, i, i+1) })
	}
	for i, r := range h.Rounds {
		if n := len(r.Acts); n > 3 {
			without(func(r []Round) []Round { r[i].Acts = r[i].Acts[:n/2]; return r })
			without(func(r []Round) []Round { r[i].Acts = r[i].Acts[n/2:]; return r })
		}
		if r.Again != nil {
			without(func(r []Round) []Round { r[i].Again = nil; return r })
		}
		if r.Fault != nil {
			without(func(r []Round) []Round { r[i].Fault, r[i].Again = r[i].Again, nil; return r })
		}
		if r.Only != nil {
			without(func(r []Round) []Round { r[i].Only = nil; return r })
			for k := range r.Only.Then {
				without(func(r []Round) []Round {
					only := *r[i].Only
					only.Then = slices.Delete(slices.Clone(only.Then), k, k+1)
					r[i].Only = &only
					return r
				})
			}
		}
		if r.Waits != nil {
			without(func(r []Round) []Round { r[i].Waits = nil; return r })
			for k := range r.Waits.Then {
				without(func(r []Round) []Round {
					waits := *r[i].Waits
					waits.Then = slices.Delete(slices.Clone(waits.Then), k, k+1)
					r[i].Waits = &waits
					return r
				})
			}
		}
		for k := range r.Acts {
			without(func(r []Round) []Round { r[i].Acts = slices.Delete(r[i].Acts, k, k+1); return r })
		}
	}
	return all
}
