package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// Compare puts two accounts through the same random history of session calls and acts of the second client, and
// fails where they part: in the class of an error, in what a reading tells, or in what the mailboxes hold. Of
// numbers only their order counts: UIDs are compared by the messages that they stand for.
func Compare(t *testing.T, a, b Account, seed uint64, steps int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	twins := [2]*twin{newTwin(ctx, t, a), newTwin(ctx, t, b)}
	rng := rand.New(rand.NewPCG(seed, 0))
	var history []string
	var subjects []int
	for i := range steps {
		act := randomAct(rng, i, subjects)
		if strings.HasSuffix(act.op, "append") {
			subjects = append(subjects, i)
		}
		history = append(history, act.String())
		got := [2]string{}
		for k, w := range twins {
			got[k] = w.do(act)
		}
		if got[0] != got[1] {
			t.Fatalf("seed %d, step %d: %s\nfirst:  %s\nsecond: %s\nhistory: %s", seed, i, act, got[0], got[1], strings.Join(history, "; "))
		}
	}
	if first, second := twins[0].holds(), twins[1].holds(); first != second {
		t.Fatalf("seed %d: in the end\nfirst:\n%s\nsecond:\n%s\nhistory: %s", seed, first, second, strings.Join(history, "; "))
	}
}

var (
	compareBoxes = []string{"INBOX", "A", "B"}
	compareFlags = []mail.Flags{mail.NewFlags(`\Seen`), mail.NewFlags(`\Flagged`, "$Forwarded"), mail.NewFlags("work", `\Answered`), mail.NewFlags(`\Deleted`)}
)

// act is one step of a history. Messages are named by their subject.
type act struct {
	op       string
	box, to  string
	subjects []int
	flags    mail.Flags
	add      bool
}

func (a act) String() string {
	return fmt.Sprintf("%s %s %v to=%s %v %s", a.op, a.box, a.subjects, a.to, a.add, a.flags)
}

// randomAct makes a step: an APPEND of a new subject, or something with a few of the newest subjects, which are
// likely to be in one of few mailboxes.
func randomAct(rng *rand.Rand, step int, subjects []int) act {
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	a := act{box: pick(compareBoxes), to: pick(compareBoxes), flags: compareFlags[rng.IntN(len(compareFlags))], add: rng.IntN(3) > 0}
	a.op = pick([]string{"append", "append", "append", "store", "store", "store", "other store", "other store", "other append", "other expunge", "move", "expunge", "changes", "changes", "fetch", "create", "status"})
	if strings.HasSuffix(a.op, "append") || len(subjects) == 0 {
		a.subjects = []int{step}
		return a
	}
	const newest = 12
	subjects = subjects[max(0, len(subjects)-newest):]
	for range 1 + rng.IntN(newest) {
		a.subjects = append(a.subjects, subjects[rng.IntN(len(subjects))])
	}
	return a
}

// twin is one of the two accounts, with what a program would remember of it.
type twin struct {
	*check
	names map[string]string
	since map[string]remote.Since
}

func newTwin(ctx context.Context, t *testing.T, a Account) *twin {
	c := &check{T: t, ctx: ctx, Account: a}
	c.s = c.dial()
	c.caps = c.s.Capabilities()
	w := &twin{check: c, names: map[string]string{"INBOX": "INBOX"}, since: map[string]remote.Since{}}
	for _, box := range compareBoxes[1:] {
		w.names[box] = c.create(box)
	}
	return w
}

// subjects are the messages of a box by UID.
func (w *twin) subjects(box string) map[mail.UID]string {
	out := map[mail.UID]string{}
	for uid, m := range w.content(w.names[box]) {
		_, rest, _ := strings.Cut(m.Raw, "Subject: ")
		out[uid], _, _ = strings.Cut(rest, "\r\n")
	}
	return out
}

// find returns the UIDs of the messages with the subjects, none for those that are not there.
func (w *twin) find(a act) mail.UIDSet {
	var set mail.UIDSet
	for uid, s := range w.subjects(a.box) {
		if slices.ContainsFunc(a.subjects, func(n int) bool { return fmt.Sprint(n) == s }) {
			set.Add(uid)
		}
	}
	return set
}

// do acts and describes the outcome in words that are the same on every right server.
func (w *twin) do(a act) string {
	box, uids := w.box(w.names[a.box]), w.find(a)
	if uids.IsEmpty() && !slices.Contains([]string{"append", "other append", "changes", "create", "status"}, a.op) {
		return "nothing to do"
	}
	switch a.op {
	case "append":
		told := w.append(box.Name, upload(letter(fmt.Sprint(a.subjects[0])), a.flags, someDay))
		return fmt.Sprintf("told a UID: %v", told[0].UID != 0)
	case "other append":
		w.Other.Append(box.Name, letter(fmt.Sprint(a.subjects[0])), a.flags, someDay)
	case "store":
		_, no, err := w.s.Store(w.ctx, box, uids, a.add, a.flags)
		return fmt.Sprintf("%s, refused %d", outcome(err), len(no))
	case "other store":
		w.Other.Store(box.Name, a.add, a.flags, uids.Slice()...)
	case "other expunge":
		w.Other.Expunge(box.Name, uids.Slice()...)
	case "move":
		if a.to == a.box {
			return "not into itself"
		}
		r, err := w.s.Move(w.ctx, box, uids, w.names[a.to])
		return fmt.Sprintf("%s, paired %d", outcome(err), len(r.UIDs))
	case "expunge":
		pending, err := w.s.Expunge(w.ctx, box, uids)
		return fmt.Sprintf("%s, pending %d", outcome(err), pending.Len())
	case "fetch":
		got, err := w.s.Fetch(w.ctx, box, uids, remote.FetchItems{Size: true, Date: true})
		return outcome(err) + ", " + w.tell(a.box, got)
	case "changes":
		return w.changes(a.box, box)
	case "create":
		return outcome(w.s.Create(w.ctx, box.Name))
	case "status":
		st, err := w.s.Status(w.ctx, box.Name)
		return fmt.Sprintf("%s, %d messages, marks %v", outcome(err), st.Messages, st.HighestModSeq > 0)
	}
	return "done"
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, remote.ErrNoMailbox):
		return "no mailbox"
	}
	return fmt.Sprintf("class %d", remote.ClassOf(err))
}

// tell describes messages by subject and flags, sorted.
func (w *twin) tell(box string, messages []remote.Message) string {
	subjects := w.subjects(box)
	var out []string
	for _, m := range messages {
		out = append(out, fmt.Sprintf("%s[%s]", subjects[m.UID], m.Flags))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// changes reads what changed since the last reading of the box. Flags that are told again unchanged are not
// compared: a server may say too much. Those that a program knows wrong would show in the end.
func (w *twin) changes(name string, box remote.Box) string {
	before := w.since[name]
	ch, err := w.s.Changes(w.ctx, box, before)
	if err != nil {
		return outcome(err)
	}
	var known mail.UIDSet
	if before.Known != nil {
		known = before.Known()
	}
	w.since[name] = mark(ch, known)
	return fmt.Sprintf("new %s, vanished %d", w.tell(name, ch.New), ch.Vanished.Len())
}

// holds describes all mailboxes in the order of their UIDs.
func (w *twin) holds() string {
	var b strings.Builder
	for _, box := range compareBoxes {
		fmt.Fprintf(&b, "%s:", box)
		for _, m := range w.Other.Messages(w.names[box]) {
			_, rest, _ := strings.Cut(m.Raw, "Subject: ")
			subject, _, _ := strings.Cut(rest, "\r\n")
			fmt.Fprintf(&b, " %s[%s]", subject, m.Flags)
		}
		b.WriteString("\n")
	}
	return b.String()
}
