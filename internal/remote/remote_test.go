package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"pgregory.net/rapid"

	"github.com/satchel-mail/satchel/internal/mail"
)

func TestErrorText(t *testing.T) {
	tests := []struct {
		err  Error
		want string
	}{
		{Error{Class: Refused, Op: "storing message 3", Code: "OVERQUOTA", Text: "Quota exceeded"}, "storing message 3: the server says [OVERQUOTA] Quota exceeded"},
		{Error{Class: Auth, Op: "signing in", Text: "Invalid login"}, "signing in: the server says: Invalid login"},
		{Error{Class: Refused, Op: "opening X", Code: "NOPERM"}, "opening X: the server says [NOPERM]"},
		{Error{Class: Lost, Op: "fetching message 17", Err: io.ErrUnexpectedEOF}, "fetching message 17: unexpected EOF"},
		{Error{Class: Refused, Op: "opening X", Code: "NOPERM", Err: ErrReadOnly}, "opening X: " + ErrReadOnly.Error()},
		{Error{Class: Refused, Op: "opening X", Text: "go away", Err: ErrReadOnly}, "opening X: the server says: go away"},
		{Error{Class: Auth, Op: "signing in", Text: "no", Hint: "check the password"}, "signing in: the server says: no (check the password)"},
		{Error{Class: Lost, Hint: "run again"}, "the connection was lost (run again)"},
		{Error{Class: Lost, Err: io.EOF}, "EOF"},
		// Nobody said why: the class does.
		{Error{Class: Unreachable, Op: "connecting to x"}, "connecting to x: the server can't be reached"},
		{Error{Class: Unavailable, Op: "connecting to x"}, "connecting to x: the server refuses for now"},
		{Error{Class: Auth, Op: "signing in"}, "signing in: the server does not accept the credentials"},
		{Error{Class: Lost, Op: "x"}, "x: the connection was lost"},
		{Error{Class: Refused, Op: "x"}, "x: the server refused"},
		{Error{Class: Protocol, Op: "x"}, "x: the server's answer can't be understood"},
		{Error{}, "it failed"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.err, got, tt.want)
		}
	}
}

func TestIsNoMailbox(t *testing.T) {
	tests := []struct {
		err  error
		want bool
	}{
		{&Error{Class: Refused, Code: "NONEXISTENT"}, true},
		{&Error{Class: Refused, Code: "TRYCREATE"}, true},
		{fmt.Errorf("opening: %w", &Error{Class: Refused, Code: "NONEXISTENT"}), true},
		{&Error{Class: Refused, Err: ErrNoMailbox}, true},
		{ErrNoMailbox, true},
		{&Error{Class: Refused, Code: "NOPERM"}, false},
		{&Error{Class: Refused}, false},
		{&Error{Class: Lost, Code: "NONEXISTENT"}, false},
		{&Error{Class: Unavailable, Code: "TRYCREATE"}, false},
		{io.EOF, false},
		{nil, false},
	}
	for _, tt := range tests {
		if got := errors.Is(tt.err, ErrNoMailbox); got != tt.want {
			t.Errorf("errors.Is(%v, ErrNoMailbox) = %v", tt.err, got)
		}
	}
	gone := &Error{Class: Refused, Code: "NONEXISTENT", Err: ErrReadOnly}
	if errors.Is(gone, ErrGone) || errors.Is(gone, ErrUIDValidity) || !errors.Is(gone, ErrReadOnly) || !errors.Is(gone, gone) {
		t.Error("an *Error is no other error than itself, what it wraps, and ErrNoMailbox")
	}
}

func TestClassAndDead(t *testing.T) {
	of := func(c Class) error { return &Error{Class: c} }
	tests := []struct {
		name string
		err  error
		want Class
		dead bool
	}{
		{"none", nil, 0, false},
		{"another error", io.EOF, 0, false},
		{"an interruption", context.Canceled, 0, false},
		{"a sentinel", ErrUIDValidity, 0, false},
		{"unreachable", of(Unreachable), Unreachable, true},
		{"unavailable", of(Unavailable), Unavailable, true},
		{"credentials", of(Auth), Auth, true},
		{"lost", of(Lost), Lost, true},
		{"refused", of(Refused), Refused, false},
		{"protocol", of(Protocol), Protocol, true},
		{"no class", of(0), 0, false},
		{"wrapped", fmt.Errorf("a: %w", fmt.Errorf("b: %w", of(Lost))), Lost, true},
		{"wrapped refusal", fmt.Errorf("a: %w", of(Refused)), Refused, false},
		{"a refusal because of a loss", &Error{Class: Refused, Err: of(Lost)}, Refused, false},
		{"a loss because of a refusal", &Error{Class: Lost, Err: of(Refused)}, Lost, true},
		{"joined", errors.Join(of(Lost), of(Refused)), Lost, true},
		{"joined the other way round", errors.Join(of(Refused), of(Lost)), Refused, true},
		{"joined with another", fmt.Errorf("%w, then %w", io.EOF, of(Protocol)), Protocol, true},
		{"joined refusals", errors.Join(of(Refused), io.EOF, of(Refused)), Refused, false},
	}
	for _, tt := range tests {
		if got := ClassOf(tt.err); got != tt.want {
			t.Errorf("%s: ClassOf = %d, want %d", tt.name, got, tt.want)
		}
		if got := Dead(tt.err); got != tt.dead {
			t.Errorf("%s: Dead = %v", tt.name, got)
		}
	}
}

func TestKeeps(t *testing.T) {
	all := `\Draft \Flagged $Forwarded \Answered \Seen \Deleted Work $Junk`
	tests := []struct {
		name      string
		known     bool
		permanent string
		any       bool
		flags     string
		want      string
	}{
		{"the server did not say", false, "", false, all, all},
		{"nothing", true, "", false, all, ""},
		{"only new keywords", true, "", true, all, "$Forwarded Work $Junk"},
		{"some", true, `\Seen work`, false, all, `\Seen Work`},
		{"some, and new keywords", true, `\Seen \Deleted work`, true, all, `\Seen \Deleted $Forwarded Work $Junk`},
		{"$Forwarded by name", true, `$Forwarded`, false, all, "$Forwarded"},
		{"no flags", true, `\Seen`, true, "", ""},
	}
	for _, tt := range tests {
		s := Selected{Permanent: mail.ParseFlags(tt.permanent), AnyKeyword: tt.any, PermanentKnown: tt.known}
		if got, want := s.Keeps(mail.ParseFlags(tt.flags)), mail.ParseFlags(tt.want); got != want {
			t.Errorf("%s: %q, want %q", tt.name, got, want)
		}
	}
	names := rapid.SliceOf(rapid.SampledFrom([]string{`\Draft`, `\Flagged`, `$Forwarded`, `\Answered`, `\Seen`, `\Deleted`, "a", "A", "b", "c"}))
	rapid.Check(t, func(t *rapid.T) {
		s := Selected{
			Permanent:  mail.NewFlags(names.Draw(t, "permanent")...),
			AnyKeyword: rapid.Bool().Draw(t, "any"), PermanentKnown: rapid.Bool().Draw(t, "known"),
		}
		f := mail.NewFlags(names.Draw(t, "flags")...)
		kept := s.Keeps(f)
		if !kept.Minus(f).IsZero() || s.Keeps(kept) != kept {
			t.Fatalf("of %q the mailbox keeps %q, and of that %q", f, kept, s.Keeps(kept))
		}
		lost := f.Minus(kept)
		if !lost.And(s.Permanent).IsZero() || (!s.PermanentKnown && !lost.IsZero()) || (s.AnyKeyword && len(lost.Keywords()) > 0) {
			t.Fatalf("%q loses %q", f, lost)
		}
	})
}
