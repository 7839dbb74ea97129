package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/satchel-mail/satchel/bench/dovecot"
	"github.com/satchel-mail/satchel/bench/meter"
	"github.com/satchel-mail/satchel/bench/raw"
)

// floor is a program that does one part of a tool's work and nothing else: what no tool can be faster than. It is
// this executable started once more, so that it is measured as the tools are.
type floor struct {
	maildirTool
	label string
	run   string // a key of floorPrograms
}

func (f floor) name() string { return f.label }

func (f floor) command(a account) (meter.Command, error) {
	self, err := os.Executable()
	if err != nil {
		return meter.Command{}, err
	}
	text, err := json.Marshal(a)
	return meter.Command{Argv: []string{self, floorWord, f.run, string(text)}, Env: environment(a)}, err
}

// floorWord as the first argument makes the executable a floor.
const floorWord = "floor"

// The floors, by their names in the tables.
func listStatus() floor  { return floor{label: "list-status", run: "list-status"} }
func fetchStream() floor { return floor{label: "fetch-stream", run: "fetch"} }
func retrStream() floor  { return floor{label: "retr-stream", run: "retr"} }
func writeFiles() floor  { return floor{label: "write-files", run: "write"} }
func appendAll() floor   { return floor{label: "append-stream", run: "append"} }

// Those of bulk changes. Their course says what they do.
func renameFiles() floor        { return floor{label: "rename-files", run: "rename"} }
func script(label string) floor { return floor{label: label, run: "script"} }

func runFloor(args []string) error {
	if len(args) != 2 {
		return errors.New("a floor needs its name and an account")
	}
	var a account
	if err := json.Unmarshal([]byte(args[1]), &a); err != nil {
		return err
	}
	switch args[0] {
	case "list-status":
		return floorListStatus(a)
	case "fetch":
		return floorFetch(a)
	case "retr":
		return floorRetr(a)
	case "write":
		return floorWrite(a)
	case "append":
		return floorAppend(a)
	case "script":
		return floorScript(a)
	case "rename":
		return floorRename(a)
	}
	return fmt.Errorf("there is no floor %q", args[0])
}

func dial(a account) (*raw.Client, error) {
	config, err := trusting(a)
	if err != nil {
		return nil, err
	}
	return raw.Dial(fmt.Sprintf("%s:%d", dovecot.Host, a.Port), config, a.User, dovecot.Password)
}

// trusting trusts the server and nobody else.
func trusting(a account) (*tls.Config, error) {
	pem, err := os.ReadFile(a.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return &tls.Config{RootCAs: pool, ServerName: dovecot.Host}, nil
}

// floorListStatus asks for the state of all folders.
func floorListStatus(a account) error {
	c, err := dial(a)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Run(nil, `LIST "" "*" RETURN (STATUS (MESSAGES UIDNEXT UIDVALIDITY HIGHESTMODSEQ))`)
}

// floorScript sends what it is told to, all at once.
func floorScript(a account) error {
	c, err := dial(a)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Run(nil, a.Script...)
}

// floorFetch reads all messages and forgets them. The commands for all folders are sent at once.
func floorFetch(a account) error {
	c, err := dial(a)
	if err != nil {
		return err
	}
	defer c.Close()
	var commands []string
	for _, f := range a.Folders {
		commands = append(commands, "EXAMINE "+raw.Quote(f), "UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])")
	}
	return c.Run(nil, commands...)
}

// floorAppend reads all files of a Maildir and sends them, without waiting in between.
func floorAppend(a account) error {
	c, err := dial(a)
	if err != nil {
		return err
	}
	defer c.Close()
	folders, err := os.ReadDir(a.Local)
	if err != nil {
		return err
	}
	for _, f := range folders {
		if f.Name() != "INBOX" {
			if err := c.Run(nil, "CREATE "+raw.Quote(f.Name())); err != nil {
				return err
			}
		}
		var failed error
		err := c.Append(f.Name(), func(yield func(raw.Message) bool) {
			failed = eachFile(filepath.Join(a.Local, f.Name()), func(body []byte) bool { return yield(raw.Message{Body: body}) })
		})
		if err = errors.Join(err, failed); err != nil {
			return err
		}
	}
	return nil
}

// eachFile calls with the messages of a Maildir folder, with CRLF.
func eachFile(dir string, yield func(body []byte) bool) error {
	for _, sub := range []string{"cur", "new"} {
		names, err := entries(filepath.Join(dir, sub))
		if err != nil {
			return err
		}
		slices.Sort(names)
		for _, name := range names {
			body, err := os.ReadFile(filepath.Join(dir, sub, name))
			if err != nil {
				return err
			}
			if !yield(bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))) {
				return nil
			}
		}
	}
	return nil
}
