// Package config turns the configuration file into typed values. It holds every rule about
// configuration, and every error about it: with the file, the line, the key and what is allowed.
//
// It reads the one file and nothing else: whether a directory exists or a certificate can be read shows
// when it is used. No error holds a password or a command.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote/transport"
)

// maxBytes bounds a configuration file.
const maxBytes = 1 << 20

// Config is a valid configuration.
type Config struct {
	Path     string    // of the file that it was read from
	Accounts []Account // at least one, in the file's order
	Watch    Watch
}

// Layout says how folders lie in a Maildir.
type Layout string

const (
	Nested      Layout = "nested"    // Mail/INBOX, Mail/Archive/2024
	MaildirPlus Layout = "maildir++" // Mail is INBOX, Mail/.Archive.2024
)

// Mode says which side's changes are carried over.
type Mode string

const (
	TwoWay  Mode = "two-way"
	Pull    Mode = "pull"
	Push    Mode = "push"
	Archive Mode = "archive"
)

// Create says where missing folders may be created.
type Create string

const (
	CreateBoth    Create = "both"
	CreateMaildir Create = "maildir"
	CreateServer  Create = "server"
	CreateNone    Create = "none"
)

// Compress says when what goes over the wire is compressed.
type Compress string

const (
	CompressAuto Compress = "auto" // when the link is slow
	CompressOn   Compress = "on"
	CompressOff  Compress = "off"
)

// Account is one account, all defaults filled in.
type Account struct {
	Name    string
	Maildir string // absolute, clean path of the root; no other account's lies in it
	Layout  Layout
	Mode    Mode
	// Include and Exclude are folder patterns in IMAP names, or special uses such as "\Sent". Include
	// is never empty.
	Include, Exclude []string
	Map              map[string]string // server name to local name, which are unique; nil if there is none
	Subscribed       bool              // only subscribed folders
	Create           Create
	MaxDelete        MaxDelete
	Trash            string // local folder name, empty if there is none
	Expunge          bool
	Undo             time.Duration // 0 is off
	MaxMessageSize   int64         // bytes, 0 is no limit
	Since            Since
	// DailyDownload and DailyUpload are bytes in a day, 0 is no limit. With POP3 there is nothing to upload.
	DailyDownload, DailyUpload int64
	OnNewMail                  string // shell command, empty if there is none
	Connections                int    // 1 to 20
	Compress                   Compress
	Poll                       time.Duration // how often `watch` looks at the account though nothing was told
	WatchConnections           int           // mailboxes that `watch` waits for at once, 1 to 20
	StatePath                  string        // absolute, clean path of the state database
	IMAP                       IMAP          // zero if POP3 is set
	POP3                       *POP3         // nil with IMAP
}

// Server is how to reach and sign in to the account's server, whichever its protocol.
func (a Account) Server() Server {
	if a.POP3 != nil {
		return a.POP3.Server
	}
	return a.IMAP.Server
}

// StateName is the name of the state database in the root of a Maildir.
const StateName = ".satchel.db"

// IMAP is a server that speaks IMAP.
type IMAP struct{ Server }

// POP3 is a server that speaks POP3.
type POP3 struct {
	Server
	Keep Keep
}

// Keep says how long messages are left on a POP3 server.
type Keep struct {
	UntilDeleted bool
	// For is how long after the download, 0 for not at all, negative for ever.
	For time.Duration
}

// Server says how to reach and sign in to an account's server.
type Server struct {
	transport.Config
	User string // may be empty with a tunnel or with auth.External
	Auth auth.Method
	// Password asks once and keeps the answer until its Forget method is called. It is nil if none is
	// configured, which can be with a tunnel or with auth.External only.
	Password auth.Source
}

// DefaultPath returns where the configuration is looked for if no file is named: $SATCHEL_CONFIG, else
// $XDG_CONFIG_HOME/satchel/config.toml, else ~/.config/satchel/config.toml. It is empty if env has none of
// these and no HOME.
func DefaultPath(env func(string) string) string {
	if p := env("SATCHEL_CONFIG"); p != "" {
		return p
	}
	below := filepath.Join("satchel", "config.toml")
	// The XDG specification wants relative paths ignored.
	if dir := env("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, below)
	}
	for _, name := range []string{"HOME", "USERPROFILE"} {
		if home := env(name); home != "" {
			return filepath.Join(home, ".config", below)
		}
	}
	return ""
}

// firstSteps is what somebody without a configuration needs to know.
const firstSteps = `A first one needs only this (README.md and config.example.toml explain the rest):

[account.personal]
maildir = "~/Mail/personal"

[account.personal.imap]
host = "imap.example.org"
user = "me@example.org"
password_command = "pass show mail/personal"
`

// Load reads and checks the configuration file at path. What is wrong in the file comes as Errors,
// all of it at once; the other errors say why it can't be read.
func Load(path string) (*Config, error) {
	if path == "" {
		return nil, errors.New("there is no place to look for a configuration: HOME is not set; name the file with --config")
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no configuration file at %s: %w\n%s", path, fs.ErrNotExist, firstSteps)
	}
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be read: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be read: %w", err)
	}
	if info.IsDir() {
		return nil, fmt.Errorf("the configuration %s is a directory; name the file in it", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("the configuration can't be read: %w", err)
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("the configuration %s is larger than %d bytes", path, maxBytes)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // said where a path needs it
	}
	return parse(source{path: path, text: string(data), perm: info.Mode().Perm(), home: home, follow: followLinks})
}
