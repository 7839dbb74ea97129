// Package auth knows where secrets come from, keeps them out of everything that is printed, and signs in
// with them by SASL.
package auth

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

const mask = "***"

// maxSecret bounds a secret's length in bytes; OAuth tokens reach a few thousand.
const maxSecret = 64 << 10

// Secret is a password or token. However it is printed, formatted, encoded or logged, by itself
// or inside of something else, it shows as "***"; only Reveal gives it out. The zero value is the empty secret.
type Secret struct {
	// A pointer, because fmt prints a field that it can't call methods on by its bare content.
	value *string
}

// NewSecret wraps a secret. CR, LF or NUL in it is an error, since no protocol could
// carry it and a line break could end a command.
func NewSecret(value string) (Secret, error) {
	switch {
	case strings.ContainsAny(value, "\r\n\x00"):
		return Secret{}, errors.New("the password holds a line break or a NUL character, which no server can be sent")
	case len(value) > maxSecret:
		return Secret{}, fmt.Errorf("the password is longer than %d bytes", maxSecret)
	}
	return Secret{&value}, nil
}

// Reveal gives the secret itself, to be sent to the server and nowhere else.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether there is no secret, or an empty one.
func (s Secret) IsZero() bool { return s.Reveal() == "" }

// String returns "***".
func (Secret) String() string { return mask }

// GoString returns "***".
func (Secret) GoString() string { return mask }

// Format writes "***" for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, mask) }

// MarshalJSON gives "***" as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// MarshalText gives "***", which is what TOML and XML encoders ask for.
func (Secret) MarshalText() ([]byte, error) { return []byte(mask), nil }

// LogValue gives "***" to log/slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(mask) }
