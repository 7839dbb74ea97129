package conformance_test

import (
	"testing"

	"github.com/satchel-mail/satchel/internal/testenv/conformance"
	"github.com/satchel-mail/satchel/internal/testenv/model"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

// TestModelIsHonest puts the model and real servers through the same random histories.
func TestModelIsHonest(t *testing.T) {
	t.Parallel()
	full := model.Full()
	for _, c := range []struct {
		name string
		o    model.Options
		// Cyrus answers many a command 40 ms late (its packets wait for each other), so fewer for it
		histories uint64
		steps     int
		real      func(t *testing.T) conformance.Account
	}{
		{"Dovecot", full, 20, 80, func(t *testing.T) conformance.Account {
			return account(t, servers.Dovecot(t, servers.Options{}), tunnel, conformance.Deviations{})
		}},
		{"Cyrus", full, 3, 40, func(t *testing.T) conformance.Account {
			return account(t, servers.Cyrus(t, servers.Options{}), plain, conformance.Deviations{})
		}},
		{"Courier", model.Options{UIDPlus: true, Delimiter: ".", Prefix: "INBOX."}, 10, 60, func(t *testing.T) conformance.Account {
			return account(t, servers.Courier(t, servers.Options{}), tunnel, conformance.Deviations{})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for seed := range c.histories {
				s := model.New(c.o)
				conformance.Compare(t, conformance.Account{Dialer: s, Other: modelOther{s}}, c.real(t), seed, c.steps)
			}
		})
	}
}
