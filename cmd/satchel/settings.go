package main

import (
	"log/slog"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/config"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/imap"
	"github.com/satchel-mail/satchel/internal/remote/pop3"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// settings says in the engine's words what the configuration says of an account.
func settings(a config.Account) mailsync.Settings {
	server := a.Server()
	set := mailsync.Settings{
		Account:   a.Name,
		Owner:     state.Owner{Kind: "imap", Host: server.Host, User: server.User},
		Root:      a.Maildir,
		Layout:    layout(a.Layout),
		StatePath: a.StatePath,
		Policy: plan.Policy{
			Mode:    mode(a.Mode),
			Trash:   mail.FolderName(a.Trash),
			Expunge: a.Expunge,
			Create:  create(a.Create),
			Guard:   guard(a.MaxDelete),
		},
		Include:        a.Include,
		Exclude:        a.Exclude,
		Map:            a.Map,
		Subscribed:     a.Subscribed,
		MaxMessageSize: a.MaxMessageSize,
		Since:          since(a.Since),
		DailyDownload:  a.DailyDownload,
		DailyUpload:    a.DailyUpload,
		Connections:    a.Connections,
		Undo:           a.Undo,
	}
	if a.POP3 != nil {
		// Without flags and folders on the server, there is no difference between the two modes that POP3 can have.
		set.Owner.Kind, set.Policy.Mode, set.Policy.Maildrop = "pop3", plan.Archive, true
		set.Policy.UntilDeleted, set.LeaveFor = a.POP3.Keep.UntilDeleted, a.POP3.Keep.For
		set.Connections = 1 // a mailbox is locked while one is open (RFC 1939, section 3)
	}
	return set
}

func layout(l config.Layout) maildir.Layout {
	if l == config.MaildirPlus {
		return maildir.PlusPlus
	}
	return maildir.Nested
}

func mode(m config.Mode) plan.Mode {
	switch m {
	case config.Pull:
		return plan.Pull
	case config.Push:
		return plan.Push
	case config.Archive:
		return plan.Archive
	}
	return plan.TwoWay
}

func create(c config.Create) plan.Create {
	switch c {
	case config.CreateMaildir:
		return plan.CreateMaildir
	case config.CreateServer:
		return plan.CreateServer
	case config.CreateNone:
		return plan.CreateNone
	}
	return plan.CreateBoth
}

func guard(m config.MaxDelete) plan.Guard {
	switch {
	case m.Off:
		return plan.Guard{}
	case m.IsShare:
		return plan.Guard{ByShare: true, Share: float64(m.Percent) / 100}
	}
	return plan.Guard{ByCount: true, Count: m.Count}
}

func since(s config.Since) func(time.Time) time.Time {
	if s.IsZero() {
		return nil
	}
	return s.Cut
}

func compress(c config.Compress) imap.Compress {
	switch c {
	case config.CompressOn:
		return imap.CompressOn
	case config.CompressOff:
		return imap.CompressOff
	}
	return imap.CompressAuto
}

// dialer reaches an account's server.
func (a *app) dialer(acc config.Account, log *slog.Logger) remote.Dialer {
	if p := acc.POP3; p != nil {
		return a.ui.secrets.dialer(pop3.NewDialer(pop3.Config{
			Transport:  p.Config,
			User:       p.User,
			Method:     p.Auth,
			Secret:     a.ui.secrets.watch(p.Password),
			MaxMessage: acc.MaxMessageSize,
			Trace:      a.trace(acc.Name),
		}))
	}
	return a.ui.secrets.dialer(imap.NewDialer(imap.Config{
		Transport:  acc.IMAP.Config,
		User:       acc.IMAP.User,
		Method:     acc.IMAP.Auth,
		Secret:     a.ui.secrets.watch(acc.IMAP.Password),
		Subscribed: acc.Subscribed,
		Compress:   compress(acc.Compress),
		Trace:      a.trace(acc.Name),
		Alert:      a.alert(acc.Name),
		Log:        log,
	}))
}

// maxAlerts bounds how much a server can make us say to the person in one run.
const maxAlerts = 10

// alert prints what a server wants the person to read, once, though it tells every connection.
func (a *app) alert(account string) func(text string) {
	var mu sync.Mutex
	said := map[string]bool{}
	return func(text string) {
		mu.Lock()
		defer mu.Unlock()
		if !said[text] && len(said) < maxAlerts {
			said[text] = true
			a.ui.say("%s: the server says: %s", account, cleanLine(text))
		}
	}
}

// world is what the engine reaches the outside through.
func (a *app) world(acc config.Account, progress func(mailsync.Progress)) mailsync.World {
	log := a.log()
	return mailsync.World{Dialer: a.dialer(acc, log.With("account", acc.Name)), Log: log, Progress: progress}
}
