package config

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// source is a configuration file as it was found.
type source struct {
	path, text string
	perm       fs.FileMode
	home       string // empty if there is none
	// follow gives the path that one stands for once symbolic links are followed; nil: itself.
	follow func(string) string
}

// reader reads one file.
type reader struct {
	source
	// accounts are those read so far, with their tables for errors that concern two of them.
	accounts []located
}

type located struct {
	Account
	t *table
	// where Maildir and StatePath really lie
	realMaildir, realState string
}

// parse reads and checks a whole configuration.
func parse(src source) (*Config, error) {
	root, doc := parseDocument(src.path, src.text)
	if root == nil {
		return nil, doc.err()
	}
	r := &reader{source: src}
	const accountsAllowed = "tables [account.NAME]"
	if !root.has("account") {
		doc.add(1, "account", "missing; at least one [account.NAME] is needed")
	}
	if accounts := root.table("account", accountsAllowed); accounts != nil {
		names := accounts.names()
		if len(names) == 0 {
			root.fail("account", "there is none; at least one [account.NAME] is needed")
		}
		for _, name := range names {
			if why := checkName(name); why != "" {
				accounts.fail(name, "%s", why)
			}
			if t := accounts.table(name, "a table [account.NAME]"); t != nil && !doc.full() {
				a := r.account(name, t)
				r.accounts = append(r.accounts, located{a, t, r.real(a.Maildir), r.real(a.StatePath)})
			}
		}
	}
	watch := r.watch(root)
	root.unknown()
	r.compare()
	if err := doc.err(); err != nil {
		return nil, err
	}
	cfg := &Config{Path: src.path, Watch: watch}
	for _, a := range r.accounts {
		cfg.Accounts = append(cfg.Accounts, a.Account)
	}
	return cfg, nil
}

// checkName returns what is wrong with an account's name, empty if nothing is: it stands in
// targets ("ACCOUNT/FOLDER") and among the flags of a command line.
func checkName(name string) string {
	const allowed = `; allowed is a name without "/" and control characters that does not begin with "-"`
	switch {
	case name == "":
		return "an empty account name is not allowed" + allowed
	case strings.Contains(name, "/"):
		return `an account name can't hold "/"` + allowed
	case strings.HasPrefix(name, "-"):
		return `an account name can't begin with "-"` + allowed
	case strings.ContainsFunc(name, func(r rune) bool { return printable(r) != r }):
		return "an account name can't hold control characters" + allowed
	}
	return ""
}

func (r *reader) account(name string, t *table) Account {
	a := Account{
		Name:           name,
		Maildir:        r.path(t, "maildir"),
		Layout:         oneOf(t, "layout", Nested, Nested, MaildirPlus),
		Mode:           mode(t),
		Include:        patterns(t, "include", "*"),
		Exclude:        patterns(t, "exclude"),
		Map:            folderMap(t),
		Subscribed:     t.boolean("subscribed"),
		Create:         oneOf(t, "create", CreateBoth, CreateBoth, CreateMaildir, CreateServer, CreateNone),
		MaxDelete:      parsed(t, "max_delete", "50%", maxDeleteAllowed, parseMaxDelete),
		Trash:          t.text("trash", "", folderAllowed),
		Expunge:        oneOf(t, "expunge", "off", "on", "off") == "on",
		Undo:           parsed(t, "undo", "30d", spanAllowed, parseSpan),
		MaxMessageSize: parsed(t, "max_message_size", "0", sizeAllowed, parseSize),
		Since:          parsed(t, "since", "", sinceAllowed, parseSince),
		DailyDownload:  parsed(t, "daily_download", "0", budgetAllowed, parseSize),
		DailyUpload:    parsed(t, "daily_upload", "0", budgetAllowed, parseSize),
		OnNewMail:      shellCommand(t, "on_new_mail"),
		Connections:    t.integer("connections", 4, 1, 20),
		Compress:       oneOf(t, "compress", CompressAuto, CompressAuto, CompressOn, CompressOff),
		Poll:           parsed(t, "poll", "5m", pollAllowed, parsePoll),
		StatePath:      r.path(t, "state"),

		WatchConnections: t.integer("watch_connections", 2, 1, 20),
	}
	if a.Maildir == "" && !t.has("maildir") {
		t.failHere(`maildir is missing; it is required, such as maildir = "~/Mail/%s"`, strings.Map(printable, name))
	}
	if len(a.Include) == 0 {
		t.fail("include", `an empty list would leave out every folder; allowed is a list of folder patterns such as ["*"]`)
	}
	r.trash(t, a)
	if a.StatePath == "" && a.Maildir != "" {
		a.StatePath = filepath.Join(a.Maildir, StateName)
	}
	r.protocol(t, &a)
	t.unknown()
	return a
}

// path returns an entry that is a path, empty if it is missing or empty.
func (r *reader) path(t *table, name string) string {
	const allowed = "an absolute path, or one that begins with ~/"
	s := t.text(name, "", allowed)
	if s == "" {
		if v, ok := t.get(name); ok && name == "maildir" && v == any("") {
			t.bad(name, s, allowed)
		}
		return ""
	}
	if name == "state" && strings.HasSuffix(s, "/") {
		t.fail(name, "%s is a directory; allowed is the database file's own path", quote(s))
		return ""
	}
	p, err := expandPath(s, r.home)
	if err != nil {
		t.fail(name, "%v", err)
		return ""
	}
	if name == "maildir" && filepath.Dir(p) == p {
		t.fail(name, "the root of the file system can't be a Maildir; allowed is a directory below it")
		return ""
	}
	return p
}

func (r *reader) trash(t *table, a Account) {
	switch {
	case a.Trash == "":
	case a.Mode == Pull || a.Mode == Archive:
		t.fail("trash", `not allowed with mode = %q, which never changes the server; allowed is "", or another mode`, a.Mode)
	case a.Trash == "INBOX" || !isFolder(a.Trash):
		t.bad("trash", a.Trash, folderAllowed)
	}
}

// shellCommand returns an entry that is a command for the shell, empty if there is none.
func shellCommand(t *table, name string) string {
	const allowed = `a shell command such as "notmuch new", or ""`
	s := t.text(name, "", allowed)
	switch {
	case strings.ContainsRune(s, 0):
		t.fail(name, "a command can't hold a NUL character; allowed is %s", allowed)
		return ""
	case s != "" && strings.TrimSpace(s) == "":
		t.fail(name, "a command of nothing but blanks is not allowed; allowed is %s", allowed)
		return ""
	}
	return s
}

// patterns returns a list of folder patterns, or def.
func patterns(t *table, name string, def ...string) []string {
	allowed := `a list of folder names in the server's spelling, in which * stands for anything and % for one level, or special uses: ` +
		strings.Join(escaped(specialUses()), ", ")
	list, ok := t.list(name, allowed)
	if !ok {
		return def
	}
	for _, p := range list {
		if why := checkPattern(p); why != "" {
			t.fail(name, "%s; allowed is %s", why, allowed)
		}
	}
	return list
}

// escaped spells words as TOML strings.
func escaped(words []string) []string {
	out := make([]string, len(words))
	for i, w := range words {
		out[i] = strconv.Quote(w)
	}
	return out
}

// folderMap returns the map from server to local folder names.
func folderMap(t *table) map[string]string {
	const allowed = `a table { "server name" = "local name" }`
	m := t.table("map", allowed)
	if m == nil {
		return nil
	}
	out := make(map[string]string, len(m.entries))
	byLocal := make(map[string]string, len(m.entries))
	for _, server := range m.names() {
		local := m.text(server, "", folderAllowed)
		first, taken := byLocal[local]
		switch {
		case server == "":
			m.fail(server, "an empty server name is not allowed; allowed is %s", allowed)
		case !isFolder(local):
			if v := m.doc.value(m.entries[server]); v == any(local) { // another type was reported already
				m.bad(server, local, folderAllowed)
			}
		case taken:
			m.fail(server, "%s is already the local name of %s; each folder needs a name of its own", quote(local), quote(first))
		default:
			out[server], byLocal[local] = local, server
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// shown is the Maildir as the file has it and, as `ls` shows links, where that leads.
func (a located) shown() string {
	if a.realMaildir == a.Maildir {
		return quote(a.Maildir)
	}
	return quote(a.Maildir) + " -> " + quote(a.realMaildir)
}

// compare checks what accounts must not have in common.
func (r *reader) compare() {
	type owner struct{ name, key string }
	states := make(map[string]owner)
	for i, b := range r.accounts {
		for _, a := range r.accounts[:i] {
			if a.Maildir == "" || b.Maildir == "" || a.t.doc.full() {
				continue
			}
			switch {
			case a.realMaildir == b.realMaildir:
				b.t.fail("maildir", "%s is already the Maildir of account %s; each account needs its own", b.shown(), quote(a.Name))
			case within(a.realMaildir, b.realMaildir):
				b.t.fail("maildir", "%s lies inside the Maildir of account %s (%s), which would take it for folders; choose a place beside it", b.shown(), quote(a.Name), a.shown())
			case within(b.realMaildir, a.realMaildir):
				b.t.fail("maildir", "the Maildir of account %s (%s) lies inside %s, which would take it for folders; choose a place beside it", quote(a.Name), a.shown(), b.shown())
			}
		}
		if b.StatePath == "" {
			continue
		}
		key := "maildir" // where the path comes from
		if b.t.has("state") {
			key = "state"
		}
		a, taken := states[b.realState]
		switch {
		case !taken:
			states[b.realState] = owner{b.Name, key}
		case key == "state" || a.key == "state": // else the Maildir is the same, which was said already
			b.t.fail(key, "%s is already the state database of account %s; each account needs its own", quote(b.StatePath), quote(a.name))
		}
	}
	for _, b := range r.accounts {
		i := slices.IndexFunc(r.accounts, func(a located) bool { return a.Maildir != "" && a.realMaildir == b.realState })
		if i >= 0 {
			b.t.fail("state", "%s is a Maildir; allowed is the path of a file", quote(b.StatePath))
		}
	}
}
