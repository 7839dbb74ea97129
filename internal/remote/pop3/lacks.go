package pop3

import (
	"context"
	"errors"

	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
)

// What a mailbox over POP3 can't do. The engine knows, and does not ask for it.

func lacks(op string) error {
	return &remote.Error{Class: remote.Refused, Op: op, Err: errors.New("POP3 can't do that")}
}

// Changes implements remote.Session. See Listing.
func (s *Session) Changes(context.Context, remote.Box, remote.Since) (remote.Changes, error) {
	return remote.Changes{}, lacks("asking for changes")
}

// Append implements remote.Session.
func (s *Session) Append(context.Context, remote.Box, mail.UID, []remote.Upload, func(int), func(int, remote.Appended)) ([]remote.Message, error) {
	return nil, lacks("storing messages")
}

// Store implements remote.Session.
func (s *Session) Store(context.Context, remote.Box, mail.UIDSet, bool, mail.Flags) ([]remote.Message, map[mail.UID]error, error) {
	return nil, nil, lacks("changing flags")
}

// Move implements remote.Session.
func (s *Session) Move(context.Context, remote.Box, mail.UIDSet, string) (remote.Moved, error) {
	return remote.Moved{}, lacks("moving messages")
}

// Create implements remote.Session.
func (s *Session) Create(context.Context, string) error { return lacks("creating a mailbox") }

// Delete implements remote.Session.
func (s *Session) Delete(context.Context, string) error { return lacks("deleting a mailbox") }

// Rename implements remote.Session.
func (s *Session) Rename(context.Context, string, string) error { return lacks("renaming a mailbox") }
