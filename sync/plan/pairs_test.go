package plan

import (
	"flag"
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

// deed is what can be done to one of two messages, x in A and y in B, or beside it, in the exhaustive test. other numbers contents that nobody has seen.
type deed struct {
	name string
	do   func(h *history, side Side, folder mail.FolderName, other int)
}

// flagsOf are the flags of the message that lies first in a folder, as people may change them.
func (h *history) flagsOf(side Side, folder mail.FolderName) (flags *mail.Flags, tag int) {
	if side == Server {
		m := &h.w.mailbox(folder).messages[0]
		return &m.flags, m.tag
	}
	m := &h.w.dir(folder).files[0]
	return &m.flags, m.tag
}

func deeds() []deed {
	flag := func(change func(was mail.Flags, side Side) mail.Flags) func(*history, Side, mail.FolderName, int) {
		return func(h *history, side Side, folder mail.FolderName, _ int) {
			flags, tag := h.flagsOf(side, folder)
			*flags = change(*flags, side)
			h.fates[tag].flagged[side] = *flags
		}
	}
	add := flag(func(was mail.Flags, side Side) mail.Flags { return was.Plus(mail.NewFlags("By" + string(side))) })
	remove := flag(func(was mail.Flags, _ Side) mail.Flags { return was.Minus(mail.NewFlags(`\Seen`)) })
	to := func(name mail.FolderName) func(*history, Side, mail.FolderName, int) {
		return func(h *history, side Side, folder mail.FolderName, _ int) {
			r, l := h.take(side, folder, 0)
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
	remove0 := func(h *history, side Side, folder mail.FolderName, _ int) {
		r, l := h.take(side, folder, 0)
		if side == Maildir {
			r.tag = l.tag
		}
		h.fates[r.tag].deleted[side] = true
	}
	return []deed{
		{"none", func(*history, Side, mail.FolderName, int) {}},
		{"flag added", add},
		{"flag removed", remove},
		{"deleted", remove0},
		{"to A", to("A")}, {"to B", to("B")}, {"to C", to("C")},
		{"to C with a flag", func(h *history, side Side, folder mail.FolderName, other int) {
			add(h, side, folder, other)
			to("C")(h, side, folder, other)
		}},
		{"copied to C", func(h *history, side Side, folder mail.FolderName, _ int) {
			_, tag := h.flagsOf(side, folder)
			h.addTo(side, "C", h.fates[tag].content)
		}},
		{"replaced", func(h *history, side Side, folder mail.FolderName, other int) {
			remove0(h, side, folder, other)
			if side == Maildir {
				other++
			}
			h.addTo(side, folder, other)
		}},
		{"a new one beside it", func(h *history, side Side, folder mail.FolderName, other int) { h.addTo(side, folder, other+2) }},
	}
}

var everyNth = flag.Int("plan.pairs", 0, "play every nth combination of changes to two messages (1: all, 0: as many as take some seconds)")

// TestEveryPairForTwoMessages does every change to each of two messages on each side, with messages that differ, that
// are byte for byte the same, and that have only their header in common, in every mode, stopped at every point. That is 700,000 runs, which take two minutes, so a part of
// them is played if nobody asks for all.
func TestEveryPairForTwoMessages(t *testing.T) {
	all := deeds()
	stride := *everyNth
	switch {
	case stride > 0:
	case raced:
		stride = 83 // which shares no factor with the number of deeds: each takes its turn with each
	default:
		stride = 41
	}
	count := len(all) * len(all) * len(all) * len(all)
	for _, mode := range []Mode{TwoWay, Pull, Push, Archive} {
		for k, kind := range []string{"different", "twins", "one header, no Message-ID"} {
			t.Run(string(mode)+", "+kind, func(t *testing.T) {
				t.Parallel()
				for n := k; n < count; n += stride {
					pick := [4]deed{}
					for i, rest := 0, n; i < 4; i, rest = i+1, rest/len(all) {
						pick[i] = all[rest%len(all)]
					}
					for stop := -1; stop < 3; stop++ {
						h, err := playPair(mode, k, n, pick, stop)
						if err != nil {
							t.Fatalf("server: x %s, y %s; Maildir: x %s, y %s; stopped after %d: %v\n%s", pick[0].name, pick[1].name,
								pick[2].name, pick[3].name, stop, err, strings.Join(h.w.trail, "\n"))
						}
					}
				}
			})
		}
	}
}

// playPair does four deeds and synchronises, stopped in a first run after so many operations, unless that is negative.
func playPair(mode Mode, kind, seed int, pick [4]deed, stop int) (*history, error) {
	h := &history{waited: map[int]bool{}, rnd: rand.New(rand.NewPCG(uint64(seed), 1)), w: &world{unreadable: map[int]bool{}}}
	h.w.policy = Policy{Mode: mode, Create: CreateBoth}
	for _, f := range []mail.FolderName{"A", "B", "C"} {
		h.w.createMailbox(f)
		h.w.createDir(f)
	}
	// add makes a content, for y one that is to that for x what the kind says.
	add := func(i, x int) int {
		switch {
		case kind == 1 && i == 1:
			return x
		case kind == 2 && i == 1:
			h.w.contents = append(h.w.contents, content{header: h.w.contents[x].header, size: h.w.contents[x].size})
			return len(h.w.contents) - 1
		}
		return h.w.newContent(kind != 2)
	}
	agreed := mail.NewFlags(`\Seen`, "k")
	x := 0
	for i, f := range []mail.FolderName{"A", "B"} {
		c := add(i, x)
		tag, fate := h.newFate(c)
		fate.inBase, fate.base, fate.flags = true, f, agreed
		for _, side := range []Side{Server, Maildir} {
			fate.place[side], fate.flagged[side] = f, agreed
		}
		h.w.addAgreed(f, c, tag, agreed)
	}
	// For each of x and y: what replaces it on the server, in the Maildir, and what is new on both sides.
	var others [2]int
	for i := range others {
		others[i] = len(h.w.contents)
		for range 3 {
			h.w.newContent(kind != 2)
		}
	}
	for i, side := range []Side{Server, Maildir} {
		// The second message first: the other one stays the first in its folder then.
		pick[2*i+1].do(h, side, "B", others[1])
		pick[2*i].do(h, side, "A", others[0])
	}
	before := h.snapshot()
	if stop >= 0 {
		if _, err := h.w.run(runOptions{stop: stop}); err != nil {
			return h, err
		}
	}
	if err := h.w.settle(nil); err != nil {
		return h, err
	}
	return h, h.check(before)
}
