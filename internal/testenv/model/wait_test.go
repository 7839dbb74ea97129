package model

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

func TestWait(t *testing.T) {
	for _, tc := range []struct {
		mailbox string
		want    []remote.Notice
	}{
		{"INBOX", []remote.Notice{
			{Ready: true, Mailbox: "INBOX"},
			{Mailbox: "INBOX", Status: remote.Status{UIDValidity: 1001, Messages: 1}},
			{Mailbox: "INBOX", Status: remote.Status{UIDValidity: 1001, Messages: 1, HighestModSeq: 3}, Known: true},
			{Mailbox: "INBOX", Status: remote.Status{UIDValidity: 1001}},
		}},
		{"", []remote.Notice{
			{Ready: true},
			{Mailbox: "INBOX", Status: remote.Status{UIDValidity: 1001, UIDNext: 2, Messages: 1, HighestModSeq: 2}, Known: true},
			{Mailbox: "INBOX", Status: remote.Status{UIDValidity: 1001, UIDNext: 2, Messages: 1, HighestModSeq: 3}, Known: true},
			{Folders: true},
			{Mailbox: "new", Status: remote.Status{UIDValidity: 1002, UIDNext: 1, HighestModSeq: 1}},
			{Mailbox: "INBOX", Status: remote.Status{UIDValidity: 1001, UIDNext: 2, HighestModSeq: 4}},
			{Mailbox: "new", Status: remote.Status{UIDValidity: 1002, UIDNext: 2, Messages: 1, HighestModSeq: 2}, Known: true},
			{Folders: true},
		}},
	} {
		t.Run("mailbox "+tc.mailbox, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := New(Full())
				c := dial(t, s).(remote.Waiter)
				ctx, cancel := context.WithCancel(t.Context())
				var got []remote.Notice
				result := make(chan error)
				go func() { result <- c.Wait(ctx, tc.mailbox, func(n remote.Notice) { got = append(got, n) }) }()
				synctest.Wait()
				for _, act := range []func(){
					func() { s.Append("INBOX", "x", mail.Flags{}, time.Time{}) },
					func() { s.Store("INBOX", true, mail.SystemFlags(mail.Seen), 1) },
					func() { s.Store("INBOX", true, mail.SystemFlags(mail.Seen), 1) }, // changes nothing
					func() { s.CreateMailbox("new") },
					func() { s.Move("INBOX", "new", 1) },
					func() { s.Subscribe("new", true) },
				} {
					act()
					synctest.Wait()
				}
				cancel()
				if err := <-result; err != nil {
					t.Error(err)
				}
				if diff := cmp.Diff(tc.want, got); diff != "" {
					t.Errorf("told (-want +got):\n%s", diff)
				}
				if _, err := c.Mailboxes(t.Context()); err != nil {
					t.Errorf("the session is of no use afterwards: %v", err)
				}
			})
		})
	}
}

func TestWaitThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Full())
		c := dial(t, s).(remote.Waiter)
		if err := c.Wait(t.Context(), "none", nil); remote.ClassOf(err) != remote.Refused {
			t.Errorf("a mailbox that is not there: %v", err)
		}
		if err := dial(t, New(Options{})).(remote.Waiter).Wait(t.Context(), "", nil); remote.ClassOf(err) != remote.Refused {
			t.Errorf("a server that can't: %v", err)
		}
		result := make(chan error)
		go func() { result <- c.Wait(t.Context(), "", func(remote.Notice) {}) }()
		synctest.Wait()
		s.SetFault(func(step Step) Action {
			if step.Op == "tell" {
				return Action{Kind: Drop}
			}
			return Action{}
		})
		s.Append("INBOX", "x", mail.Flags{}, time.Time{})
		if err := <-result; remote.ClassOf(err) != remote.Lost {
			t.Errorf("a connection that was lost: %v", err)
		}
	})
}
