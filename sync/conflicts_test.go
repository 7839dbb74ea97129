package sync_test

import (
	"os"
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
)

// TestWhenBothSidesChanged is the table of that name, line by line.
func TestWhenBothSidesChanged(t *testing.T) {
	t.Parallel()
	type side struct {
		name          string
		remote, local func(w *pairWorld)
	}
	// Each line is played with the sides as in the table and the other way round.
	tests := []struct {
		line  string
		flags []string
		sides []side
		want  map[string][]string
	}{
		{
			"flag or keyword changed | other flags changed | every single flag is merged on its own",
			[]string{`\Seen`, "Todo"},
			[]side{{
				"", func(w *pairWorld) {
					w.server.Store("A", true, mail.NewFlags(`\Answered`, "Done"), w.uid)
					w.server.Store("A", false, mail.NewFlags("Todo"), w.uid)
				}, func(w *pairWorld) { w.reflag(w.file(), "Fa") },
			}},
			boxes(map[string][]string{"A": {`m \Flagged \Answered Done`}}),
		},
		{
			"deleted | flags changed | deleted", nil,
			[]side{
				{"server deletes", func(w *pairWorld) { w.server.Expunge("A", w.uid) }, func(w *pairWorld) { w.reflag(w.file(), "F") }},
				{"Maildir deletes", func(w *pairWorld) { w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid) }, func(w *pairWorld) { w.must(os.Remove(w.file())) }},
			},
			boxes(nil),
		},
		{
			"deleted | moved | moved: the message lives on in its new folder", nil,
			[]side{
				{"server deletes", func(w *pairWorld) { w.server.Expunge("A", w.uid) }, func(w *pairWorld) { w.move(w.file(), "B") }},
				{"Maildir deletes", func(w *pairWorld) { w.server.Move("A", "B", w.uid) }, func(w *pairWorld) { w.must(os.Remove(w.file())) }},
			},
			boxes(map[string][]string{"B": {"m"}}),
		},
		{
			"moved to A | moved to B | in A, the server's choice", nil,
			[]side{{"", func(w *pairWorld) { w.server.Move("A", "B", w.uid) }, func(w *pairWorld) { w.move(w.file(), "C") }}},
			boxes(map[string][]string{"B": {"m"}}),
		},
		{
			"moved | flags changed | moved, with the flags merged", []string{`\Seen`},
			[]side{
				{"server moves", func(w *pairWorld) { w.server.Move("A", "B", w.uid) }, func(w *pairWorld) { w.reflag(w.file(), "FS") }},
				{"Maildir moves", func(w *pairWorld) { w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid) }, func(w *pairWorld) { w.move(w.file(), "B") }},
			},
			boxes(map[string][]string{"B": {`m \Flagged \Seen`}}),
		},
		{
			"moved | flags changed | moved, with the flags merged (both did both)", []string{`\Seen`},
			[]side{{
				"", func(w *pairWorld) {
					to := w.server.Move("A", "B", w.uid)
					w.server.Store("B", true, mail.NewFlags(`\Answered`), to[0])
				}, func(w *pairWorld) { w.move(w.reflag(w.file(), "FS"), "B") },
			}},
			boxes(map[string][]string{"B": {`m \Flagged \Answered \Seen`}}),
		},
		{
			"same message new | same message new | one message, not two; flags united", nil,
			[]side{{
				"", func(w *pairWorld) { w.arrive("C", "Message-ID: <x@y>\nSubject: n\n\nbody\n", `\Seen`) },
				func(w *pairWorld) { w.put("C", "Message-ID: <x@y>\nSubject: n\n\nbody\n", "F") },
			}},
			boxes(map[string][]string{"A": {"m"}, "C": {`n \Flagged \Seen`}}),
		},
		{
			"folder deleted | new message in it | folder and the new message stay; the old messages are deleted", nil,
			[]side{
				{"server deletes", func(w *pairWorld) { w.server.DeleteMailbox("A") }, func(w *pairWorld) { w.put("A", w.message("n"), "S") }},
				{"Maildir deletes", func(w *pairWorld) { w.arrive("A", w.message("n"), `\Seen`) }, func(w *pairWorld) { w.must(os.RemoveAll(w.dir("A"))) }},
			},
			boxes(map[string][]string{"A": {`n \Seen`}}),
		},
		{
			"folder renamed | anything | renamed", nil,
			[]side{
				{"server renames", func(w *pairWorld) { w.server.RenameMailbox("A", "Z") }, func(w *pairWorld) { w.reflag(w.file(), "F") }},
				{"Maildir renames", func(w *pairWorld) { w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid) }, func(w *pairWorld) { w.must(os.Rename(w.dir("A"), w.dir("Z"))) }},
			},
			map[string][]string{"INBOX": {}, "B": {}, "C": {}, "Z": {`m \Flagged`}},
		},
		{
			"folder renamed | anything | both renamed: the server's name", nil,
			[]side{{"", func(w *pairWorld) { w.server.RenameMailbox("A", "Z") }, func(w *pairWorld) { w.must(os.Rename(w.dir("A"), w.dir("Y"))) }}},
			map[string][]string{"INBOX": {}, "B": {}, "C": {}, "Z": {"m"}},
		},
		{
			"UIDVALIDITY changed | anything | messages are paired again by content", nil,
			[]side{
				{"with flags", func(w *pairWorld) { w.server.Renumber("A") }, func(w *pairWorld) { w.reflag(w.file(), "F") }},
				{"with other numbers", func(w *pairWorld) {
					w.server.Store("A", true, mail.NewFlags(`\Flagged`), w.uid)
					w.server.SetUIDNext("A", 70)
					w.server.Renumber("A")
				}, func(w *pairWorld) {}},
			},
			boxes(map[string][]string{"A": {`m \Flagged`}}),
		},
	}
	for _, tt := range tests {
		for _, s := range tt.sides {
			name := tt.line
			if s.name != "" {
				name += " (" + s.name + ")"
			}
			t.Run(name, func(t *testing.T) {
				w := newPairWorld(t, tt.flags...)
				s.remote(w)
				s.local(w)
				res := w.sync()
				w.want(tt.want)
				if res.HeldBack != 0 {
					t.Errorf("held back: %d", res.HeldBack)
				}
				w.quiet()
			})
		}
	}
}
