package demo

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/satchel-mail/satchel/internal/mail"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// Side is where something happens.
type Side string

// The sides of the demonstration.
const (
	OnServer  Side = "server"
	InMaildir Side = "maildir"
)

// Step is one change on one side and what the sync after it did. In the first step everything is new, in the
// last one nothing changed; both have no Side.
type Step struct {
	Number int // from 0
	Side   Side
	First  bool   // of the steps on that side
	Change string // what somebody did
	// Server and Maildir say what is there after the sync, as somebody sees it who looks.
	Server, Maildir []string
	Result          *mailsync.Result
}

// Report is the outcome of the demonstration.
type Report struct {
	Folders, Messages int
	// Wrong is what is not as it should be; nothing of it may be.
	Wrong []string
}

// story is the demonstration while it runs.
type story struct {
	server *Client
	local  files
	sync   func(context.Context) *mailsync.Result
	show   func(Step)

	want  []letter // where every message ought to be by now, on both sides
	steps int      // synchronised so far
	side  Side     // of the last step
	wrong []string
}

// act is one change and what must come of it.
type act struct {
	side    Side
	subject string // of the message that it happens to
	change  string
	do      func(Message) error
	expect  func(*letter) // what is different about the message afterwards; nil: it is gone
	counts  mailsync.Count
}

// Run plays the demonstration on an empty server and in an empty directory. sync must synchronise the
// two; show is told of every step. An error means that it could not be played to its end.
func Run(ctx context.Context, s *Server, root string, sync func(context.Context) *mailsync.Result, show func(Step)) (Report, error) {
	client, err := s.Dial()
	if err != nil {
		return Report{}, fmt.Errorf("the demonstration's mail client: %w", err)
	}
	defer func() { _ = client.Close() }() // the server goes away anyway
	st := &story{server: client, local: files{root}, sync: sync, show: show, want: sample()}
	if err := st.begin(ctx); err != nil {
		return Report{}, err
	}
	for _, a := range st.acts() {
		if err := st.play(ctx, a); err != nil {
			return Report{}, fmt.Errorf("%s: %w", a.change, err)
		}
	}
	return st.end(ctx)
}

// begin fills the server and synchronises for the first time.
func (st *story) begin(ctx context.Context) error {
	for _, l := range st.want {
		if folders, err := st.server.Folders(); err != nil {
			return err
		} else if !slices.Contains(folders, l.folder) {
			if err := st.server.Create(l.folder); err != nil {
				return err
			}
		}
		if err := st.server.Append(l.folder, l.raw, l.flags, l.date); err != nil {
			return err
		}
	}
	res, err := st.synchronise(ctx, mailsync.Count{New: len(st.want)}, mailsync.Count{})
	if err != nil {
		return err
	}
	on, in, err := st.look()
	if err != nil {
		return err
	}
	st.show(Step{Change: "the first sync", Server: tally(on, ""), Maildir: tally(in, "/"), Result: res})
	return nil
}

// tally counts messages by folder.
func tally(all []Message, suffix string) []string {
	counts := map[mail.FolderName]int{}
	var order []mail.FolderName
	for _, m := range all {
		if counts[m.Folder]++; counts[m.Folder] == 1 {
			order = append(order, m.Folder)
		}
	}
	slices.Sort(order)
	var lines []string
	for _, f := range order {
		lines = append(lines, fmt.Sprintf("%s%s %d", f, suffix, counts[f]))
	}
	return lines
}

// acts are what happens, first on the server, then in the Maildir.
func (st *story) acts() []act {
	flag := func(f mail.System) func(*letter) {
		return func(l *letter) { l.flags = l.flags.Plus(mail.SystemFlags(f)) }
	}
	to := func(f mail.FolderName) func(*letter) { return func(l *letter) { l.folder = f } }
	same := func(*letter) {}
	quoted := func(subject, what string) string { return fmt.Sprintf("%q %s", subject, what) }
	return []act{
		{OnServer, lunch, quoted(lunch, "is starred"),
			func(m Message) error { return st.server.Flag(m, mail.SystemFlags(mail.Flagged)) },
			flag(mail.Flagged), mailsync.Count{Flags: 1}},
		{OnServer, tickets, quoted(tickets, "arrives"),
			func(Message) error { return st.arrive(ticketsLetter()) },
			same, mailsync.Count{New: 1}},
		{OnServer, invoice, quoted(invoice, "is archived"),
			func(m Message) error { return st.server.Move(m, archive) },
			to(archive), mailsync.Count{Moved: 1}},
		{OnServer, offer, quoted(offer, "is deleted"),
			st.server.Delete,
			nil, mailsync.Count{Deleted: 1}},
		{InMaildir, welcome, quoted(welcome, "is read"),
			func(m Message) error { return st.local.Flag(m, 'S') },
			flag(mail.Seen), mailsync.Count{Flags: 1}},
		{InMaildir, thanks, quoted(thanks, "is sent"),
			func(Message) error { return st.write(thanksLetter()) },
			same, mailsync.Count{New: 1}},
		{InMaildir, lunchReply, quoted(lunchReply, "is archived"),
			func(m Message) error { return st.local.Move(m, archive) },
			to(archive), mailsync.Count{Moved: 1}},
		{InMaildir, minutes, quoted(minutes, "is deleted"),
			st.local.Delete,
			nil, mailsync.Count{Deleted: 1}},
	}
}

func (st *story) arrive(l letter) error {
	st.want = append(st.want, l)
	return st.server.Append(l.folder, l.raw, l.flags, l.date)
}

func (st *story) write(l letter) error {
	st.want = append(st.want, l)
	return st.local.Deliver(l.folder, l.raw)
}

// play lets one change happen and synchronises.
func (st *story) play(ctx context.Context, a act) error {
	on, in, err := st.look()
	if err != nil {
		return err
	}
	m, _ := st.find(a.subject, on)
	if a.side == InMaildir {
		m, _ = st.find(a.subject, in)
	}
	if err := a.do(m); err != nil {
		return err
	}
	toMaildir, toServer := a.counts, mailsync.Count{}
	if a.side == InMaildir {
		toMaildir, toServer = toServer, toMaildir
	}
	res, err := st.synchronise(ctx, toMaildir, toServer)
	if err != nil {
		return err
	}
	if on, in, err = st.look(); err != nil {
		return err
	}
	step := Step{Number: st.steps - 1, Side: a.side, First: a.side != st.side, Change: a.change, Result: res}
	st.side = a.side
	step.Server, step.Maildir = st.seen(a.subject, on, in)
	st.expect(a)
	st.show(step)
	return nil
}

// expect notes what the change ought to have led to.
func (st *story) expect(a act) {
	i := slices.IndexFunc(st.want, func(l letter) bool { return l.subject == a.subject })
	if a.expect == nil {
		st.want = slices.Delete(st.want, i, i+1)
		return
	}
	a.expect(&st.want[i])
}

// seen says how a message looks on both sides.
func (st *story) seen(subject string, on, in []Message) (server, maildir []string) {
	server, maildir = []string{"gone"}, []string{"gone"}
	if m, ok := st.find(subject, on); ok {
		server = []string{fmt.Sprintf("%s, UID %d %s", m.Folder, m.UID, m.Flags)}
	}
	if m, ok := st.find(subject, in); ok {
		maildir = []string{shorten(m.File)}
	}
	return server, maildir
}

// shorten leaves out the middle of a file's name, which says nothing to people.
func shorten(file string) string {
	const shown = 6
	dir, name := path.Split(file)
	base, flags, found := strings.Cut(name, "2,")
	if found && len(base) > shown+1 {
		return dir + base[:shown] + "..." + base[len(base)-1:] + "2," + flags
	}
	if !found && len(base) > shown {
		return dir + base[:shown] + "..."
	}
	return file
}

func (st *story) find(subject string, all []Message) (Message, bool) {
	for _, l := range st.want {
		if l.subject != subject {
			continue
		}
		if i := slices.IndexFunc(all, func(m Message) bool { return bytes.Equal(m.Raw, l.raw) }); i >= 0 {
			return all[i], true
		}
	}
	return Message{}, false
}

// look reads both sides.
func (st *story) look() (on, in []Message, err error) {
	if on, err = st.server.Messages(); err != nil {
		return nil, nil, fmt.Errorf("looking at the server: %w", err)
	}
	if in, err = st.local.Messages(); err != nil {
		return nil, nil, fmt.Errorf("looking at the Maildir: %w", err)
	}
	return on, in, nil
}

// synchronise runs a sync, and remembers if it did anything but what it should.
func (st *story) synchronise(ctx context.Context, toMaildir, toServer mailsync.Count) (*mailsync.Result, error) {
	res := st.sync(ctx)
	if res.Fatal != nil {
		return res, res.Fatal
	}
	for _, e := range res.Errors {
		return res, e
	}
	if res.ToMaildir != toMaildir || res.ToServer != toServer {
		st.wrong = append(st.wrong, fmt.Sprintf("sync %d did %+v to the Maildir and %+v to the server, instead of %+v and %+v",
			st.steps, res.ToMaildir, res.ToServer, toMaildir, toServer))
	}
	st.steps++
	return res, nil
}

// end synchronises once more, when nothing changed, and compares everything.
func (st *story) end(ctx context.Context) (Report, error) {
	res, err := st.synchronise(ctx, mailsync.Count{}, mailsync.Count{})
	if err != nil {
		return Report{}, err
	}
	on, in, err := st.look()
	if err != nil {
		return Report{}, err
	}
	st.show(Step{Number: st.steps - 1, Change: "nothing changed", Server: tally(on, ""), Maildir: tally(in, "/"), Result: res})
	st.compare(OnServer, on)
	st.compare(InMaildir, in)
	return Report{Folders: len(tally(on, "")), Messages: len(st.want), Wrong: st.wrong}, nil
}

// compare says what is wrong on one side: every message that is wanted must be there once, where and as
// wanted, and no other.
func (st *story) compare(side Side, all []Message) {
	rest := slices.Clone(all)
	for _, l := range st.want {
		i := slices.IndexFunc(rest, func(m Message) bool { return m.Folder == l.folder && bytes.Equal(m.Raw, l.raw) })
		if i < 0 {
			st.wrong = append(st.wrong, fmt.Sprintf("%s: %q is not in %s, or not as it was written", side, l.subject, l.folder))
			continue
		}
		if !rest[i].Flags.Equal(l.flags) {
			st.wrong = append(st.wrong, fmt.Sprintf("%s: %q has the flags (%s) instead of (%s)", side, l.subject, rest[i].Flags, l.flags))
		}
		rest = slices.Delete(rest, i, i+1)
	}
	for _, m := range rest {
		st.wrong = append(st.wrong, fmt.Sprintf("%s: there is a message too many in %s", side, m.Folder))
	}
}
