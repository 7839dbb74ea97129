package sync_test

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestReadAhead: in a first sync the INBOX is read once, along with the list of the mailboxes, and what happens between that and
// the rest of the run is found by the next.
func TestReadAhead(t *testing.T) {
	first := mail.UID(0) // message of the INBOX
	for name, tc := range map[string]struct {
		set       func(w *world)
		meanwhile func(w *world)
		fault     model.Action
		ahead     bool
		readings  int                 // of the INBOX
		want      map[string][]string // on both sides, nil: not the same
	}{
		"nothing happens": {ahead: true, readings: 1, want: map[string][]string{"INBOX": {"a", "b"}, "Work": {"w"}}},
		"a message comes": {ahead: true, readings: 1, want: map[string][]string{"INBOX": {"a", "b", "c"}, "Work": {"w"}},
			meanwhile: func(w *world) { w.arrive("INBOX", w.message("c")) }},
		"a message goes": {ahead: true, readings: 1, want: map[string][]string{"INBOX": {"b"}, "Work": {"w"}},
			meanwhile: func(w *world) { w.server.Expunge("INBOX", first) }},
		"it gets another UIDVALIDITY": {ahead: true, readings: 1, want: map[string][]string{"INBOX": {"a", "b"}, "Work": {"w"}},
			meanwhile: func(w *world) { w.server.Renumber("INBOX") }},
		"it can't be read": {ahead: true, readings: 2, want: map[string][]string{"INBOX": {"a", "b"}, "Work": {"w"}},
			fault: model.Action{Kind: model.Refuse}},
		"the line breaks": {ahead: true, readings: 2, want: map[string][]string{"INBOX": {"a", "b"}, "Work": {"w"}},
			fault: model.Action{Kind: model.Drop}},
		"the mailboxes are listed again": {ahead: true, readings: 1, want: map[string][]string{"INBOX": {"a", "b"}, "Work": {"w"}, "Here": {`h \Seen`}},
			set: func(w *world) { w.put("Here", w.message("h"), "S") }},
		"it is left out":      {set: func(w *world) { w.set.Exclude = []string{"INBOX"} }},
		"it has another name": {set: func(w *world) { w.set.Map = map[string]string{"INBOX": "Eingang"} }, readings: 1},
		"another is wanted":   {set: func(w *world) { w.opt = targets("Work") }},
		"the state knows it": {readings: 1, want: map[string][]string{"INBOX": {"a", "b", "d"}, "Work": {"w"}},
			set: func(w *world) {
				w.sync()
				w.arrive("INBOX", w.message("d"))
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, model.Full())
			w.server.CreateMailbox("Work")
			first = w.arrive("INBOX", w.message("a"))
			w.arrive("INBOX", w.message("b"))
			w.arrive("Work", w.message("w"))
			if tc.set != nil {
				tc.set(w)
			}
			readings, last := 0, ""
			w.server.SetFault(func(s model.Step) model.Action {
				ours := s.Op == "changes" && s.Mailbox == "INBOX"
				switch {
				case s.After && ours && readings == 1 && tc.meanwhile != nil:
					tc.meanwhile(w)
				case s.After:
					last = s.Op
				case ours:
					readings++
					if readings > 1 {
						break
					}
					if tc.ahead && last != "list" {
						t.Errorf("the first reading comes after %s", last)
					}
					return tc.fault
				}
				return model.Action{}
			})
			w.try()
			w.server.SetFault(nil)
			if readings != tc.readings {
				t.Errorf("the INBOX was read %d times, not %d", readings, tc.readings)
			}
			w.sync()
			if tc.want != nil {
				w.want(tc.want)
			}
			w.quiet()
		})
	}
}
