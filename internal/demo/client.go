package demo

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/satchel-mail/satchel/internal/mail"
)

// patience bounds the whole of a Client's life: everything is on this machine and small.
const patience = 5 * time.Minute

// Client is somebody else's mail client at a server.
type Client struct{ c *imapclient.Client }

// Message is one message as it is on a side.
type Message struct {
	Folder mail.FolderName
	Flags  mail.Flags
	Raw    []byte // as it goes over the wire
	UID    mail.UID
	File   string // path below the root of the Maildir, empty on the server
}

// Dial signs in.
func (s *Server) Dial() (*Client, error) {
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(Host, strconv.Itoa(s.Port)), patience)
	if err != nil {
		return nil, err
	}
	// imapclient has no other way to be told not to wait for ever.
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		_ = conn.Close()
		return nil, err
	}
	c := &Client{imapclient.New(conn, nil)}
	if err := c.c.Login(s.User, s.Password).Wait(); err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("signing in: %w", err)
	}
	return c, nil
}

// Close hangs up.
func (c *Client) Close() error { return c.c.Close() }

// Folders lists the folders, sorted.
func (c *Client) Folders() ([]mail.FolderName, error) {
	listed, err := c.c.List("", "*", nil).Collect()
	if err != nil {
		return nil, fmt.Errorf("listing folders: %w", err)
	}
	var names []mail.FolderName
	for _, l := range listed {
		names = append(names, mail.FolderName(l.Mailbox))
	}
	slices.Sort(names)
	return names, nil
}

// Create makes a folder.
func (c *Client) Create(folder mail.FolderName) error {
	if err := c.c.Create(string(folder), nil).Wait(); err != nil {
		return fmt.Errorf("creating %s: %w", folder, err)
	}
	return nil
}

// Append puts a message into a folder.
func (c *Client) Append(folder mail.FolderName, raw []byte, flags mail.Flags, date time.Time) error {
	cmd := c.c.Append(string(folder), int64(len(raw)), &imap.AppendOptions{Flags: wireFlags(flags), Time: date})
	_, err := cmd.Write(raw)
	if err := errors.Join(err, cmd.Close()); err != nil {
		return fmt.Errorf("appending to %s: %w", folder, err)
	}
	if _, err := cmd.Wait(); err != nil {
		return fmt.Errorf("appending to %s: %w", folder, err)
	}
	return nil
}

// Flag adds flags to a message.
func (c *Client) Flag(m Message, flags mail.Flags) error {
	if _, err := c.open(m.Folder); err != nil {
		return err
	}
	store := &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: wireFlags(flags), Silent: true}
	if err := c.c.Store(uid(m), store, nil).Close(); err != nil {
		return fmt.Errorf("flagging in %s: %w", m.Folder, err)
	}
	return nil
}

// Move moves a message to another folder.
func (c *Client) Move(m Message, to mail.FolderName) error {
	if _, err := c.open(m.Folder); err != nil {
		return err
	}
	if _, err := c.c.Move(uid(m), string(to)).Wait(); err != nil {
		return fmt.Errorf("moving from %s to %s: %w", m.Folder, to, err)
	}
	return nil
}

// Delete removes a message for good.
func (c *Client) Delete(m Message) error {
	if err := c.Flag(m, mail.SystemFlags(mail.Deleted)); err != nil {
		return err
	}
	if err := c.c.UIDExpunge(uid(m)).Close(); err != nil {
		return fmt.Errorf("deleting in %s: %w", m.Folder, err)
	}
	return nil
}

// Messages reads everything that is on the server, by folder and UID.
func (c *Client) Messages() ([]Message, error) {
	folders, err := c.Folders()
	if err != nil {
		return nil, err
	}
	var all []Message
	for _, f := range folders {
		in, err := c.folder(f)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", f, err)
		}
		all = append(all, in...)
	}
	return all, nil
}

func (c *Client) folder(f mail.FolderName) ([]Message, error) {
	n, err := c.open(f)
	if err != nil || n == 0 {
		return nil, err
	}
	whole := &imap.FetchItemBodySection{Peek: true}
	got, err := c.c.Fetch(imap.UIDSet{{Start: 1, Stop: 0}}, &imap.FetchOptions{
		UID: true, Flags: true, RFC822Size: true, BodySection: []*imap.FetchItemBodySection{whole},
	}).Collect()
	if err != nil {
		return nil, err
	}
	var in []Message
	for _, g := range got {
		raw := g.FindBodySection(whole)
		if int64(len(raw)) != g.RFC822Size {
			return nil, fmt.Errorf("UID %d came with %d of %d bytes", g.UID, len(raw), g.RFC822Size)
		}
		names := make([]string, len(g.Flags))
		for i, flag := range g.Flags {
			names[i] = string(flag)
		}
		in = append(in, Message{Folder: f, Flags: mail.NewFlags(names...), Raw: raw, UID: mail.UID(g.UID)})
	}
	slices.SortFunc(in, func(a, b Message) int { return int(a.UID) - int(b.UID) })
	return in, nil
}

// open selects a folder, afresh, so that what is there now shows, and returns how many messages are in it.
func (c *Client) open(f mail.FolderName) (uint32, error) {
	selected, err := c.c.Select(string(f), nil).Wait()
	if err != nil {
		return 0, fmt.Errorf("opening %s: %w", f, err)
	}
	return selected.NumMessages, nil
}

func uid(m Message) imap.UIDSet { return imap.UIDSetNum(imap.UID(m.UID)) }

func wireFlags(f mail.Flags) []imap.Flag {
	var out []imap.Flag
	for _, name := range f.Names() {
		out = append(out, imap.Flag(name))
	}
	return out
}
