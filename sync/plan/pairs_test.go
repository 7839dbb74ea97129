package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// A change is what a person does to message m, which was in A with \Seen, on one side.
type change struct {
	name    string
	do      func(s *scene, side Side)
	gone    bool
	to      mail.FolderName // moved to
	add     string
	remove  string
	replace bool
	fresh   bool
}

func changes() []change {
	return []change{
		{name: "none", do: func(*scene, Side) {}},
		{name: "new", do: func(s *scene, side Side) { s.add(side, "n", "A", "From"+string(side)) }, fresh: true},
		{name: "flag +", do: func(s *scene, side Side) { s.flag(side, "m", `\Seen`, `\Answered`) }, add: `\Answered`},
		{name: "flag -", do: func(s *scene, side Side) { s.flag(side, "m") }, remove: `\Seen`},
		{name: "delete", do: func(s *scene, side Side) { s.delete(side, "m") }, gone: true},
		{name: "move", do: func(s *scene, side Side) { s.move(side, "m", "B") }, to: "B"},
		{name: "move elsewhere", do: func(s *scene, side Side) { s.move(side, "m", "C") }, to: "C"},
		{name: "move+flag", do: func(s *scene, side Side) {
			s.move(side, "m", "B")
			s.flag(side, "m", `\Seen`, `\Flagged`)
		}, to: "B", add: `\Flagged`},
		{name: "replaced", do: func(s *scene, side Side) {
			s.delete(side, "m")
			s.add(side, "m from the "+string(side), "A", `\Seen`)
		}, gone: true, replace: true},
	}
}

// outcome is what must be on both sides, by the table and by nothing that the planner computes.
func outcome(local, remote change) string {
	var a []string // folder A, besides m
	if local.fresh || remote.fresh {
		var flags []string
		if local.fresh {
			flags = append(flags, "Frommaildir")
		}
		if remote.fresh {
			flags = append(flags, "Fromserver")
		}
		a = append(a, fmt.Sprintf("n[%s]", strings.Join(flags, " ")))
	}
	if local.replace {
		a = append(a, `m from the maildir[\Seen]`)
	}
	if remote.replace {
		a = append(a, `m from the server[\Seen]`)
	}
	folders := map[mail.FolderName][]string{"A": a}

	to := mail.FolderName("A")
	if local.to != "" {
		to = local.to
	}
	if remote.to != "" {
		to = remote.to
	}
	lives := !local.gone && !remote.gone || local.gone && remote.to != "" || remote.gone && local.to != ""
	if lives {
		flags := mail.NewFlags(`\Seen`, local.add, remote.add).Minus(mail.NewFlags(local.remove, remote.remove))
		text := "m"
		if !flags.IsZero() {
			text += "[" + flags.String() + "]"
		}
		folders[to] = append(folders[to], text)
	}
	var out []string
	for _, f := range []mail.FolderName{"A", "B", "C"} {
		if m := folders[f]; len(m) > 0 {
			slices.Sort(m)
			out = append(out, string(f)+": "+strings.Join(m, " "))
		}
	}
	return strings.Join(out, "; ")
}

// TestEveryPairOfChanges is every change to one message on one side with every change on the other.
func TestEveryPairOfChanges(t *testing.T) {
	for _, local := range changes() {
		for _, remote := range changes() {
			t.Run(local.name+" | "+remote.name, func(t *testing.T) {
				s := newScene(t, TwoWay, "A", "B", "C")
				s.agreed("m", "A", `\Seen`)
				local.do(s, Maildir)
				remote.do(s, Server)
				s.sync().wantBoth(outcome(local, remote))
			})
		}
	}
}

// deed is what can be done to one of two messages, x in A and y in B, in the exhaustive test.
type deed struct {
	name string
	do   func(h *history, side Side, folder mail.FolderName, i int)
}

func deeds() []deed {
	to := func(name mail.FolderName) func(h *history, side Side, folder mail.FolderName, i int) {
		return func(h *history, side Side, folder mail.FolderName, i int) {
			r, l := h.take(side, folder, i)
			tag := r.tag
			if side == Server {
				h.w.mailbox(name).store(r.content, r.tag, r.flags)
			} else {
				tag = l.tag
				h.w.dir(name).files = append(h.w.dir(name).files, l)
			}
			h.fates[tag].moved[side], h.fates[tag].place[side] = true, name
		}
	}
	return []deed{
		{"none", func(*history, Side, mail.FolderName, int) {}},
		{"flag", func(h *history, side Side, folder mail.FolderName, i int) {
			flags := mail.NewFlags("By" + string(side))
			if side == Server {
				m := &h.w.mailbox(folder).messages[i]
				m.flags, h.fates[m.tag].flagged[side] = flags, flags
			} else {
				m := &h.w.dir(folder).files[i]
				m.flags, h.fates[m.tag].flagged[side] = flags, flags
			}
		}},
		{"delete", func(h *history, side Side, folder mail.FolderName, i int) {
			r, l := h.take(side, folder, i)
			if side == Maildir {
				r.tag = l.tag
			}
			h.fates[r.tag].deleted[side] = true
		}},
		{"to A", to("A")}, {"to B", to("B")}, {"to C", to("C")},
		{"copy to C", func(h *history, side Side, folder mail.FolderName, i int) {
			if side == Server {
				h.addTo(side, "C", h.w.mailbox(folder).messages[i].content)
			} else {
				h.addTo(side, "C", h.w.dir(folder).files[i].content)
			}
		}},
	}
}

// TestEveryPairForTwoMessages does every change to each of two messages on each side, with messages that differ, that
// are byte for byte the same, and that have only their header in common, stopped at every point.
func TestEveryPairForTwoMessages(t *testing.T) {
	all := deeds()
	kinds := []string{"different", "twins", "one header, no Message-ID"}
	for k, kind := range kinds {
		for n := range len(all) * len(all) * len(all) * len(all) {
			pick := [4]int{n % len(all), n / len(all) % len(all), n / len(all) / len(all) % len(all), n / len(all) / len(all) / len(all)}
			for stop := -1; stop < 3; stop++ {
				h := &history{rnd: rand.New(rand.NewPCG(uint64(n), 1)), w: &world{unreadable: map[int]bool{}}}
				h.w.policy = Policy{Mode: TwoWay, Create: CreateBoth}
				for _, f := range []mail.FolderName{"A", "B", "C"} {
					h.w.createMailbox(f)
					h.w.createDir(f)
				}
				for i, f := range []mail.FolderName{"A", "B"} {
					c := i
					switch {
					case k == 1 && i == 1:
						c = 0
					case k == 2 && i == 1:
						h.w.contents = append(h.w.contents, content{header: 0, size: h.w.contents[0].size})
					default:
						h.w.newContent(k != 2)
					}
					tag, x := h.newFate(c)
					x.inBase, x.base = true, f
					x.place[Server], x.place[Maildir] = f, f
					h.w.addAgreed(f, c, tag, mail.Flags{})
				}
				for i, side := range []Side{Server, Maildir} {
					// The second message first: it stays at its index then.
					all[pick[2*i+1]].do(h, side, "B", 0)
					all[pick[2*i]].do(h, side, "A", 0)
				}
				before := h.snapshot()
				var err error
				if stop >= 0 {
					_, err = h.w.run(runOptions{stop: stop})
				}
				if err == nil {
					err = h.w.settle(nil)
				}
				if err == nil {
					err = h.check(before)
				}
				if err != nil {
					t.Fatalf("%s; server: x %s, y %s; Maildir: x %s, y %s; stopped after %d: %v\n%s", kind, all[pick[0]].name, all[pick[1]].name,
						all[pick[2]].name, all[pick[3]].name, stop, err, strings.Join(h.w.trail, "\n"))
				}
			}
		}
	}
}
