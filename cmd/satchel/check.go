package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/satchel-mail/satchel/internal/config"
	"github.com/satchel-mail/satchel/internal/remote"
)

func newCheck(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [ACCOUNT]...",
		Short: "Check the configuration, sign in, and show what the server can do",
		Long: `Checks the configuration, connects, signs in, and prints which capabilities the
server has, which of them are used, and what it means that others are missing.
It changes nothing on either side.` +
			exitHelp("the configuration is right and every server let us in", "a server did not let us in, or can't be used",
				exitUsage, exitUnreachable, exitInterrupted),
		ValidArgsFunction: a.completeAccounts,
		RunE:              a.runs(a.check),
	}
}

// checked is what there is to say of one account.
type checked struct {
	caps     remote.Capabilities
	prefix   string
	boxes    int // that can be selected
	messages int64
	boxErrs  []string
	err      error
}

func (a *app) check(ctx context.Context, args []string) error {
	jobs, err := a.jobs(args, false)
	if err != nil {
		return err
	}
	code := exitOK
	sideBySide(ctx, jobs, a.checkAccount, func(j job, c checked) {
		a.showCheck(j, c)
		code = first(code, exitOf(c.err))
	})
	return outcome(code)
}

// checkAccount connects and looks around.
func (a *app) checkAccount(ctx context.Context, j job) checked {
	var c checked
	s, err := a.dialer(j.Account, a.log().With("account", j.Name)).Dial(ctx)
	if err != nil {
		c.err = err
		return c
	}
	defer func() { _ = s.Close() }() // nothing depends on a polite farewell
	boxes, err := s.Mailboxes(ctx)
	if err != nil {
		c.err = err
		return c
	}
	for _, b := range boxes {
		if !b.Selectable {
			continue
		}
		c.boxes++
		switch {
		case b.Status != nil:
			c.messages += int64(b.Status.Messages)
		case b.StatusErr != nil:
			c.boxErrs = append(c.boxErrs, fmt.Sprintf("%s: %v", b.Display, b.StatusErr))
		}
	}
	c.caps = s.Capabilities()
	// Where a new mailbox would go shows the prefix of the personal namespace.
	if name, err := s.MailboxName([]string{"x"}); err == nil {
		c.prefix = strings.TrimSuffix(name, "x")
	}
	return c
}

func (a *app) showCheck(j job, c checked) {
	a.ui.object(checkLine(j, c))
	a.ui.result("%s", cleanLine(j.Name+": "+address(j.Account)))
	a.ui.result("  Maildir       %s", cleanLine(j.Maildir+maildirState(j.Maildir)))
	if c.err != nil {
		a.showErrors(j.Name, nil, c.err, "")
		return
	}
	a.ui.result("  signed in     %s, %s", count(c.boxes, "folder", "folders"), count(c.messages, "message", "messages"))
	if j.POP3 == nil {
		a.ui.result("  folder names  %s", cleanLine(spelling(c)))
	}
	a.ui.result("  used          %s", wrap(c.caps.Used, 16, 79))
	if other := notUsed(c.caps); len(other) > 0 {
		a.ui.result("  not used      %s", wrap(other, 16, 79))
	}
	if has(c.caps, "COMPRESS") {
		a.ui.result("  compression   %s", compression(j.Compress))
	}
	for _, m := range missing(j.Account, c.caps) {
		a.ui.result("  missing       %s", wrap(strings.Fields(m.Capability+": "+m.Means), 16, 79))
	}
	for _, e := range c.boxErrs {
		a.ui.result("  unreadable    %s", cleanLine(e))
	}
}

// address says where and as whom an account signs in.
func address(acc config.Account) string {
	m := acc.Server()
	how := fmt.Sprintf("%s:%d, TLS %s", m.Host, m.Port, m.TLS)
	if m.Tunnel != "" {
		how = m.Host + " through a tunnel"
	}
	if m.User != "" {
		how = m.User + " at " + how
	}
	return how
}

func maildirState(root string) string {
	missing := func(dir string) bool {
		_, err := os.Stat(dir)
		return errors.Is(err, fs.ErrNotExist)
	}
	switch {
	case !missing(root):
		return ""
	case missing(filepath.Dir(filepath.Clean(root))):
		return " (missing, and so is the directory above it: make that one first)"
	}
	return " (the first sync makes it)"
}

func spelling(c checked) string {
	sep := "no levels"
	if c.caps.Delimiter != "" {
		sep = fmt.Sprintf("levels are separated by %q", c.caps.Delimiter)
	}
	if c.prefix != "" {
		return fmt.Sprintf("%s, all begin with %q, which is left out here", sep, c.prefix)
	}
	return sep
}

func notUsed(caps remote.Capabilities) []string {
	return slices.DeleteFunc(slices.Clone(caps.Names), func(n string) bool { return slices.Contains(caps.Used, n) })
}

// compression says when what goes over the wire is compressed.
func compression(c config.Compress) string {
	switch c {
	case config.CompressOn:
		return "from the start"
	case config.CompressOff:
		return `never (compress = "off")`
	}
	return "when the link is slow"
}

// has reports whether the server has one of the capabilities.
func has(caps remote.Capabilities, names ...string) bool {
	return slices.ContainsFunc(caps.Names, func(n string) bool {
		base, _, _ := strings.Cut(strings.SplitN(n, " ", 2)[0], "=") // POP3 puts arguments after a space
		return slices.ContainsFunc(names, func(want string) bool { return strings.EqualFold(base, want) })
	})
}

// wrap joins words and breaks the lines, all but the first indented.
func wrap(words []string, indent, width int) string {
	var b strings.Builder
	at := indent
	for i, w := range words {
		w = cleanLine(w)
		if i > 0 && at+1+len(w) > width {
			b.WriteString("\n" + strings.Repeat(" ", indent))
			at = indent
		} else if i > 0 {
			b.WriteByte(' ')
			at++
		}
		b.WriteString(w)
		at += len(w)
	}
	return b.String()
}

// lack is what it costs that a server has none of some capabilities.
type lack struct {
	names []string
	means string
}

func imapLacks() []lack {
	return []lack{
		{[]string{"UIDPLUS"}, "a deleted message is only marked so as long as others have marked messages in its folder; uploads are found again by searching"},
		{[]string{"CONDSTORE", "QRESYNC"}, "the flags of every message are read on each sync"},
		{[]string{"QRESYNC"}, "after deletions the folder's list of messages is read again"},
		{[]string{"LIST-STATUS"}, "every folder is asked for by itself, in one go"},
		{[]string{"MOVE"}, "a move is a copy and then a deletion"},
		{[]string{"ESEARCH"}, "lists of messages are spelled out, which takes more bytes"},
		{[]string{"LITERAL+", "LITERAL-"}, "every upload waits once more for the server"},
		{[]string{"SPECIAL-USE"}, `patterns such as "\\Sent" match nothing`},
		{[]string{"OBJECTID", "X-GM-EXT-1"}, "moves on the server are recognised by comparing headers"},
		{[]string{"COMPRESS"}, "a slow link carries everything uncompressed"},
	}
}

func pop3Lacks() []lack {
	return []lack{
		{[]string{"UIDL"}, "messages are known by their content alone: what may be known is read again by each sync"},
		{[]string{"PIPELINING"}, "the server is waited for after every message"},
		{[]string{"TOP"}, "where messages must be compared or dated they are read whole"},
	}
}

// missing says which capabilities the server lacks, and what that costs. All of them can be done without.
func missing(acc config.Account, caps remote.Capabilities) []jsonMissing {
	lacks := imapLacks()
	if acc.POP3 != nil {
		lacks = pop3Lacks()
	}
	out := []jsonMissing{}
	for _, m := range lacks {
		if !has(caps, m.names...) {
			out = append(out, jsonMissing{Capability: m.names[0], Means: m.means})
		}
	}
	return out
}

func checkLine(j job, c checked) jsonCheck {
	code, server := exitOf(c.err), j.Server()
	out := jsonCheck{
		Type: "check", Account: j.Name, OK: code == exitOK, Exit: code,
		Host: server.Host, Port: server.Port, TLS: server.TLS.String(), User: server.User, Maildir: j.Maildir,
		Separator: c.caps.Delimiter, Prefix: c.prefix, Folders: c.boxes, Messages: c.messages,
		Capabilities: []string{}, Used: []string{}, Missing: []jsonMissing{},
		AuthNeeded: remote.ClassOf(c.err) == remote.Auth, RetryAfterMS: retryAfter(c.err), Errors: jsonErrors(nil, c.err),
	}
	if c.err == nil {
		out.Capabilities = append(out.Capabilities, c.caps.Names...)
		out.Used = append(out.Used, c.caps.Used...)
		out.Missing = missing(j.Account, c.caps)
		for _, e := range c.boxErrs {
			out.Errors = append(out.Errors, jsonError{Error: clean(e)})
		}
	}
	return out
}
