// Package raw is an IMAP client that does nothing but send commands and count what comes back. The benchmark
// fills and changes mailboxes with it, looks into them, and takes the floors with it that the tools are
// compared with: no program that has to understand the answers can be faster.
package raw

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strconv"
	"strings"
	"time"
)

// Client is a connection that is signed in. After an error it is good for nothing but Close.
type Client struct {
	conn net.Conn
	in   *bufio.Reader
	out  *bufio.Writer
	tags int
	// Received counts the bytes of the answers.
	Received int64
}

// patience bounds every wait for the server's next words.
const patience = 10 * time.Minute

// Dial connects and signs in, waiting for each answer. config nil is without TLS.
func Dial(address string, config *tls.Config, user, password string) (*Client, error) {
	conn, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return nil, err
	}
	if config != nil {
		conn = tls.Client(conn, config)
	}
	c := &Client{conn: conn, in: bufio.NewReaderSize(conn, 256<<10), out: bufio.NewWriterSize(conn, 64<<10)}
	if err := c.signIn(user, password); err != nil {
		return nil, errors.Join(fmt.Errorf("signing in as %s: %w", user, err), conn.Close())
	}
	return c, nil
}

func (c *Client) signIn(user, password string) error {
	greeting, err := c.line()
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(greeting, []byte("* OK")) {
		return fmt.Errorf("its greeting is %q", greeting)
	}
	return c.Run(nil, "LOGIN "+Quote(user)+" "+Quote(password))
}

// Close ends the connection without a word.
func (c *Client) Close() error { return c.conn.Close() }

// Quote makes a quoted string of what has no line ends.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// Run sends all commands at once and waits until each is answered with OK. each, if not nil, gets the untagged
// lines without their line end and with literals left out; they are good until it returns.
func (c *Client) Run(each func(line []byte), commands ...string) error {
	first := c.tags
	for _, command := range commands {
		c.begin(command)
		c.out.WriteString("\r\n")
	}
	if err := c.out.Flush(); err != nil {
		return err
	}
	return c.answers(first, c.tags, each)
}

// begin writes a tag and a command without its end. Errors stay with the writer until Flush.
func (c *Client) begin(command string) {
	c.tags++
	fmt.Fprintf(c.out, "a%d %s", c.tags, command)
}

// answers reads until the commands with tags above first and up to last are answered.
func (c *Client) answers(first, last int, each func(line []byte)) error {
	for done := first; done < last; {
		line, err := c.line()
		switch {
		case err != nil:
			return err
		case line[0] != 'a':
			if each != nil {
				each(line)
			}
		case !bytes.Contains(line[:min(len(line), 16)], []byte(" OK")):
			return fmt.Errorf("the server answered %q", line)
		default:
			done++
		}
	}
	return nil
}

// line reads a line and discards the literals in it.
func (c *Client) line() ([]byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var whole []byte
	for {
		part, err := c.in.ReadSlice('\n')
		c.Received += int64(len(part))
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return nil, unexpected(err)
		}
		literal := literalSize(part)
		if literal < 0 && whole == nil && err == nil {
			return checked(part)
		}
		whole = append(whole, bytes.TrimRight(part, "\r\n")...)
		switch {
		case literal >= 0:
			n, err := c.in.Discard(literal)
			c.Received += int64(n)
			if err != nil {
				return nil, unexpected(err)
			}
		case err == nil:
			return checked(whole)
		}
	}
}

func checked(line []byte) ([]byte, error) {
	line = bytes.TrimRight(line, "\r\n")
	if len(line) == 0 {
		return nil, errors.New("the server sent an empty line")
	}
	return line, nil
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// literalSize is the n of a line that ends in {n}, or -1.
func literalSize(line []byte) int {
	line, ok := bytes.CutSuffix(line, []byte("}\r\n"))
	open := bytes.LastIndexByte(line, '{')
	if !ok || open < 0 {
		return -1
	}
	n, err := strconv.Atoi(string(line[open+1:]))
	if err != nil {
		return -1
	}
	return n
}

// Message is what Append sends.
type Message struct {
	Flags string
	Date  time.Time // zero leaves it to the server
	Body  []byte
}

// multiappend is how many messages go with one APPEND (RFC 3502), and unread how many of those commands with
// nobody reading the answers: these fit into the connection's buffers.
const (
	multiappend = 200
	unread      = 200
)

// Append appends all messages in order, without waiting in between (LITERAL+, RFC 7888) but for every 40,000th.
func (c *Client) Append(mailbox string, messages iter.Seq[Message]) error {
	first, n := c.tags, 0
	for m := range messages {
		if n%multiappend == 0 {
			c.end(n)
			if c.tags-first == unread {
				if err := errors.Join(c.out.Flush(), c.answers(first, c.tags, nil)); err != nil {
					return err
				}
				first = c.tags
			}
			c.begin("APPEND " + Quote(mailbox))
		}
		n++
		fmt.Fprintf(c.out, " (%s)", m.Flags)
		if !m.Date.IsZero() {
			fmt.Fprintf(c.out, ` "%s"`, m.Date.Format("_2-Jan-2006 15:04:05 -0700"))
		}
		fmt.Fprintf(c.out, " {%d+}\r\n", len(m.Body))
		if _, err := c.out.Write(m.Body); err != nil {
			return err
		}
	}
	c.end(n)
	if err := c.out.Flush(); err != nil {
		return err
	}
	return c.answers(first, c.tags, nil)
}

// end ends the APPEND that n messages are in so far.
func (c *Client) end(n int) {
	if n > 0 {
		c.out.WriteString("\r\n")
	}
}

// Count is what a folder holds.
type Count struct {
	Messages, Unseen, Flagged int
}

// Counts returns what each folder holds.
func (c *Client) Counts() (map[string]Count, error) {
	counts := map[string]Count{}
	var bad error
	err := c.Run(func(line []byte) {
		if name, count, ok, err := parseStatus(string(line)); err != nil {
			bad = err
		} else if ok {
			counts[name] = count
		}
	}, `LIST "" "*" RETURN (STATUS (MESSAGES UNSEEN))`)
	if err = errors.Join(err, bad); err != nil {
		return nil, err
	}
	for name, count := range counts {
		if count.Flagged, err = c.flagged(name); err != nil {
			return nil, err
		}
		counts[name] = count
	}
	return counts, nil
}

func (c *Client) flagged(folder string) (int, error) {
	n := -1
	err := c.Run(func(line []byte) {
		if _, count, ok := strings.Cut(string(line), " COUNT "); ok {
			n, _ = strconv.Atoi(count) // a bad one leaves 0, which the comparison will find
		}
	}, "EXAMINE "+Quote(folder), "SEARCH RETURN (COUNT) FLAGGED")
	if err == nil && n < 0 {
		err = errors.New("the server gave no COUNT")
	}
	return n, err
}

// parseStatus reads a STATUS line; ok is false for other lines.
func parseStatus(line string) (name string, count Count, ok bool, err error) {
	rest, ok := strings.CutPrefix(line, "* STATUS ")
	if !ok {
		return "", Count{}, false, nil
	}
	open := strings.LastIndexByte(rest, '(')
	if open < 0 {
		return "", Count{}, false, fmt.Errorf("a strange STATUS: %q", line)
	}
	if _, err := fmt.Sscanf(rest[open:], "(MESSAGES %d UNSEEN %d)", &count.Messages, &count.Unseen); err != nil {
		return "", Count{}, false, fmt.Errorf("a strange STATUS: %q", line)
	}
	return strings.Trim(strings.TrimSpace(rest[:open]), `"`), count, true, nil
}

// UIDs returns the UIDs in the open folder that match a search.
func (c *Client) UIDs(search string) ([]uint32, error) {
	var uids []uint32
	var bad error
	err := c.Run(func(line []byte) {
		rest, ok := bytes.CutPrefix(line, []byte("* SEARCH"))
		if !ok {
			return
		}
		for _, field := range bytes.Fields(rest) {
			uid, err := strconv.ParseUint(string(field), 10, 32)
			bad = errors.Join(bad, err)
			uids = append(uids, uint32(uid))
		}
	}, "UID SEARCH "+search)
	return uids, errors.Join(err, bad)
}
