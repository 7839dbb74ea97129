package conformance_test

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/conformance"
	"github.com/satchel-mail/satchel/internal/testenv/model"
)

// TestModel runs the suite on the model, with all that it can do, with nothing, and in between.
func TestModel(t *testing.T) {
	t.Parallel()
	full := model.Full()
	for name, o := range map[string]model.Options{
		"full":            full,
		"plain IMAP4rev1": {},
		"CONDSTORE only":  {CondStore: true},
		"UIDPLUS only":    {UIDPlus: true, Window: 7},
		"MOVE only":       {Move: true},
		"INBOX. and dots": {CondStore: true, UIDPlus: true, Move: true, Delimiter: ".", Prefix: "INBOX."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conformance.Run(t, func(t *testing.T) conformance.Account {
				s := model.New(o)
				return conformance.Account{Dialer: s, Other: modelOther{s}, Deviations: conformance.Deviations{CostsSpans: true}}
			})
		})
	}
}

// modelOther is the model's second client.
type modelOther struct{ *model.Server }

func (o modelOther) Create(mailbox string)    { o.CreateMailbox(mailbox) }
func (o modelOther) Delete(mailbox string)    { o.DeleteMailbox(mailbox) }
func (o modelOther) Subscribe(mailbox string) { o.Server.Subscribe(mailbox, true) }

func (o modelOther) Messages(mailbox string) []conformance.Message {
	box, _ := o.Snapshot().Mailbox(mailbox)
	var out []conformance.Message
	for _, m := range box.Messages {
		out = append(out, conformance.Message{UID: m.UID, Flags: m.Flags, Date: m.Date, Raw: m.Raw})
	}
	return out
}

func (o modelOther) Mailboxes() []string { return o.Snapshot().Names() }
