package servers

import (
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Client is a second mail client on an account: it shows a test what is on the server, and does there what
// other programs do. A failure ends the test, so its methods are for the test's own goroutine.
// Folder names are in UTF-8 with the server's prefix and separator.
type Client struct {
	t testing.TB
	c *imapclient.Client
	// selected is the open folder, empty if none.
	selected string
	close    func()
}

// Message is one message as the server has it.
type Message struct {
	UID   mail.UID
	Flags mail.Flags
	Date  time.Time // INTERNALDATE
	Size  int64     // RFC822.SIZE
	Body  []byte    // nil unless asked for
}

// clientPatience bounds every wait of a Client.
const clientPatience = 60 * time.Second

// Client connects and signs in; the connection ends with the test.
func (s *Server) Client(t testing.TB) *Client {
	t.Helper()
	if s.Port == 0 {
		return s.tunnelClient(t)
	}
	conn, err := net.DialTimeout("tcp", s.Addr(), clientPatience)
	if err != nil {
		t.Fatalf("connecting to %s as an observer: %v", s.Name, err)
	}
	c := NewClient(t, conn)
	if err := c.c.Login(s.User, s.Password).Wait(); err != nil {
		t.Fatalf("signing in to %s as an observer: %v", s.Name, err)
	}
	return c
}

func (s *Server) tunnelClient(t testing.TB) *Client {
	t.Helper()
	conn, err := s.pipe(context.Background())
	if err != nil {
		t.Fatalf("starting %s as an observer: %v", s.Name, err)
	}
	return NewClient(t, conn)
}

// NewClient makes a Client of any connection to an IMAP server.
func NewClient(t testing.TB, conn net.Conn) *Client {
	t.Helper()
	c := &Client{t: t, c: imapclient.New(conn, nil)}
	timer := time.AfterFunc(clientPatience, func() { _ = conn.Close() })
	c.close = sync.OnceFunc(func() {
		timer.Stop()
		_ = conn.Close()
		_ = c.c.Close()
	})
	t.Cleanup(c.close)
	if err := c.c.WaitGreeting(); err != nil {
		t.Fatalf("waiting for a greeting as an observer: %v", err)
	}
	return c
}

// Close ends the session, as the end of the test does otherwise. A tunnel's process has ended then.
func (c *Client) Close() { c.close() }

// Login signs in, for connections that NewClient was given.
func (c *Client) Login(user, password string) {
	c.t.Helper()
	c.check("signing in", c.c.Login(user, password).Wait())
}

func (c *Client) check(doing string, err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("observer: %s: %v", doing, err)
	}
}

// Capabilities are the server's, sorted.
func (c *Client) Capabilities() []string {
	var names []string
	for name := range c.c.Caps() {
		names = append(names, string(name))
	}
	slices.Sort(names)
	return names
}

// Folders lists the folders that can be selected, sorted.
func (c *Client) Folders() []string {
	c.t.Helper()
	list, err := c.c.List("", "*", nil).Collect()
	c.check("listing folders", err)
	var names []string
	for _, d := range list {
		if !slices.Contains(d.Attrs, imap.MailboxAttrNoSelect) && !slices.Contains(d.Attrs, imap.MailboxAttrNonExistent) {
			names = append(names, d.Mailbox)
		}
	}
	slices.Sort(names)
	return names
}

// Create makes a folder.
func (c *Client) Create(folder string) {
	c.t.Helper()
	c.check("creating "+folder, c.c.Create(folder, nil).Wait())
}

// Delete removes a folder with all that is in it.
func (c *Client) Delete(folder string) {
	c.t.Helper()
	c.leave()
	c.check("deleting "+folder, c.c.Delete(folder).Wait())
}

// Rename renames a folder.
func (c *Client) Rename(from, to string) {
	c.t.Helper()
	c.leave()
	c.check("renaming "+from, c.c.Rename(from, to, nil).Wait())
}

// Subscribe and Unsubscribe change the account's list of subscriptions.
func (c *Client) Subscribe(folder string) {
	c.t.Helper()
	c.check("subscribing to "+folder, c.c.Subscribe(folder).Wait())
}

// Unsubscribe takes folder off the account's list of subscriptions.
func (c *Client) Unsubscribe(folder string) {
	c.t.Helper()
	c.check("unsubscribing from "+folder, c.c.Unsubscribe(folder).Wait())
}

// Append stores a message as it is and returns its UID, 0 if the server does not tell. A zero date
// leaves the choice to the server.
func (c *Client) Append(folder, raw string, flags mail.Flags, date time.Time) mail.UID {
	c.t.Helper()
	uid, err := c.append(folder, raw, flags, date)
	c.check("appending to "+folder, err)
	return uid
}

// TryAppend stores a message that the server may refuse, and returns the refusal. The connection may be
// of no use afterwards.
func (c *Client) TryAppend(folder, raw string) error {
	_, err := c.append(folder, raw, mail.Flags{}, time.Time{})
	return err
}

func (c *Client) append(folder, raw string, flags mail.Flags, date time.Time) (mail.UID, error) {
	cmd := c.c.Append(folder, int64(len(raw)), &imap.AppendOptions{Flags: imapFlags(flags), Time: date})
	if _, err := io.WriteString(cmd, raw); err != nil {
		return 0, err
	}
	if err := cmd.Close(); err != nil {
		return 0, err
	}
	data, err := cmd.Wait()
	if err != nil {
		return 0, err
	}
	return mail.UID(data.UID), nil
}

func imapFlags(flags mail.Flags) []imap.Flag {
	var out []imap.Flag
	for _, name := range flags.Names() {
		out = append(out, imap.Flag(name))
	}
	return out
}

// open selects a folder anew, so that what other sessions did is seen, and says how many messages it has.
func (c *Client) open(folder string) uint32 {
	c.t.Helper()
	data, err := c.c.Select(folder, nil).Wait()
	c.check("opening "+folder, err)
	c.selected = folder
	return data.NumMessages
}

// leave closes the open folder without expunging anything, by opening the INBOX.
func (c *Client) leave() {
	c.t.Helper()
	if c.selected != "" && c.selected != "INBOX" {
		c.open("INBOX")
	}
}

// UIDValidity is that of the folder.
func (c *Client) UIDValidity(folder string) uint64 {
	c.t.Helper()
	data, err := c.c.Status(folder, &imap.StatusOptions{UIDValidity: true}).Wait()
	c.check("asking for the state of "+folder, err)
	return uint64(data.UIDValidity)
}

// Count is the number of messages in the folder.
func (c *Client) Count(folder string) int {
	c.t.Helper()
	data, err := c.c.Status(folder, &imap.StatusOptions{NumMessages: true}).Wait()
	c.check("asking for the state of "+folder, err)
	return int(*data.NumMessages)
}

// Messages returns all messages of a folder with their bodies, by UID.
func (c *Client) Messages(folder string) []Message {
	c.t.Helper()
	return c.fetch(folder, true)
}

// Index returns all messages of a folder without their bodies, by UID.
func (c *Client) Index(folder string) []Message {
	c.t.Helper()
	return c.fetch(folder, false)
}

// Body returns one message, or that there is none of that UID.
func (c *Client) Body(folder string, uid mail.UID) ([]byte, bool) {
	c.t.Helper()
	if list := c.fetchSet(folder, uidSet([]mail.UID{uid}), true); len(list) > 0 {
		return list[0].Body, true
	}
	return nil, false
}

func (c *Client) fetch(folder string, bodies bool) []Message {
	c.t.Helper()
	return c.fetchSet(folder, imap.UIDSet{{Start: 1, Stop: 0}}, bodies)
}

func (c *Client) fetchSet(folder string, uids imap.UIDSet, bodies bool) []Message {
	c.t.Helper()
	if c.open(folder) == 0 {
		return nil
	}
	options := &imap.FetchOptions{UID: true, Flags: true, InternalDate: true, RFC822Size: true}
	if bodies {
		options.BodySection = []*imap.FetchItemBodySection{{Peek: true}}
	}
	list, err := c.c.Fetch(uids, options).Collect()
	c.check("fetching "+folder, err)
	var out []Message
	for _, b := range list {
		m := Message{UID: mail.UID(b.UID), Flags: mailFlags(b.Flags), Date: b.InternalDate, Size: b.RFC822Size}
		if len(b.BodySection) > 0 {
			m.Body = b.BodySection[0].Bytes
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Message) int { return int(int64(a.UID) - int64(b.UID)) })
	return out
}

func mailFlags(flags []imap.Flag) mail.Flags {
	var names []string
	for _, f := range flags {
		names = append(names, string(f))
	}
	return mail.NewFlags(names...)
}

// Store adds flags to messages, or removes them.
func (c *Client) Store(folder string, add bool, flags mail.Flags, uids ...mail.UID) {
	c.t.Helper()
	c.open(folder)
	op := imap.StoreFlagsDel
	if add {
		op = imap.StoreFlagsAdd
	}
	err := c.c.Store(uidSet(uids), &imap.StoreFlags{Op: op, Silent: true, Flags: imapFlags(flags)}, nil).Close()
	c.check("changing flags in "+folder, err)
}

func uidSet(uids []mail.UID) imap.UIDSet {
	var set imap.UIDSet
	for _, u := range uids {
		set.AddNum(imap.UID(u))
	}
	return set
}

// Expunge removes messages for good.
func (c *Client) Expunge(folder string, uids ...mail.UID) {
	c.t.Helper()
	c.Store(folder, true, mail.SystemFlags(mail.Deleted), uids...)
	c.check("expunging in "+folder, c.c.UIDExpunge(uidSet(uids)).Close())
}

// Copy copies messages.
func (c *Client) Copy(from, to string, uids ...mail.UID) {
	c.t.Helper()
	c.open(from)
	_, err := c.c.Copy(uidSet(uids), to).Wait()
	c.check(fmt.Sprintf("copying from %s to %s", from, to), err)
}

// Move moves messages, by MOVE where the server has it.
func (c *Client) Move(from, to string, uids ...mail.UID) {
	c.t.Helper()
	if !c.c.Caps().Has(imap.CapMove) {
		c.Copy(from, to, uids...)
		c.Expunge(from, uids...)
		return
	}
	c.open(from)
	_, err := c.c.Move(uidSet(uids), to).Wait()
	c.check(fmt.Sprintf("moving from %s to %s", from, to), err)
}

// tunnel is a process's standard input and output as a connection.
type tunnel struct {
	io.ReadCloser
	in   io.WriteCloser
	cmd  *exec.Cmd
	once sync.Once // the library and the test both close
}

func (p *tunnel) Write(b []byte) (int, error) { return p.in.Write(b) }

// Close ends the process, which ends by itself once its input does, or else is killed.
func (p *tunnel) Close() error {
	p.once.Do(func() {
		_ = p.in.Close()
		timer := time.AfterFunc(5*time.Second, func() { _ = p.cmd.Process.Kill() })
		defer timer.Stop()
		_ = p.cmd.Wait() // how it ended does not matter to who has hung up
	})
	return nil
}

func (p *tunnel) LocalAddr() net.Addr              { return pipeAddr{} }
func (p *tunnel) RemoteAddr() net.Addr             { return pipeAddr{} }
func (p *tunnel) SetDeadline(time.Time) error      { return nil }
func (p *tunnel) SetReadDeadline(time.Time) error  { return nil }
func (p *tunnel) SetWriteDeadline(time.Time) error { return nil }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
