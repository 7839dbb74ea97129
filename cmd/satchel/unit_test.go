package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/config"
	"github.com/satchel-mail/satchel/internal/control"
	"github.com/satchel-mail/satchel/internal/mail"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/imap"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/maildir"
	"github.com/satchel-mail/satchel/state"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

func TestExitOf(t *testing.T) {
	of := func(c remote.Class) error { return fmt.Errorf("somewhere: %w", &remote.Error{Class: c, Op: "x"}) }
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing", nil, 0},
		{"anything", io.ErrUnexpectedEOF, 1},
		{"said already", &reported{3}, 3},
		{"interrupted", fmt.Errorf("x: %w", errInterrupted), 130},
		{"cancelled", fmt.Errorf("x: %w", context.Canceled), 130},
		{"interrupted while talking", &remote.Error{Class: remote.Lost, Err: errInterrupted}, 130},
		{"interrupted while opening", &mailsync.SetupError{Err: errInterrupted}, 130},
		{"command line", &usageError{errors.New("x")}, 2},
		{"setup", fmt.Errorf("x: %w", &mailsync.SetupError{Err: errors.New("x")}), 2},
		{"full disk", &mailsync.LocalError{Err: errors.New("x")}, 1},
		{"locked", fmt.Errorf("%w: x", mailsync.ErrLocked), 4},
		{"silent", fmt.Errorf("x: %w", control.ErrSilent), 4},
		{"unreachable", of(remote.Unreachable), 5},
		{"unavailable", of(remote.Unavailable), 5},
		{"wrong password", of(remote.Auth), 1},
		{"lost", of(remote.Lost), 1},
		{"protocol", of(remote.Protocol), 1},
		{"refused", of(remote.Refused), 1},
	} {
		if got := exitOf(c.err); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// "The first that applies of 130, 2, 1, 5, 4, 3, 0", for every pair in both orders.
func TestFirst(t *testing.T) {
	order := []int{130, 2, 1, 5, 4, 3, 0}
	for i, a := range order {
		for _, b := range order[i:] {
			if first(a, b) != a || first(b, a) != a {
				t.Errorf("of %d and %d: %d and %d, want %d", a, b, first(a, b), first(b, a), a)
			}
		}
	}
	if first() != 0 {
		t.Error("of none: not 0")
	}
}

func TestExitOfResult(t *testing.T) {
	failed := []mailsync.FolderError{{Folder: "Sent", Err: io.ErrUnexpectedEOF}}
	for _, c := range []struct {
		name string
		r    mailsync.Result
		want int
	}{
		{"all well", mailsync.Result{Deferred: 7}, 0}, // left for later is no failure
		{"held", mailsync.Result{HeldBack: 1}, 3},
		{"a folder failed", mailsync.Result{Errors: failed, HeldBack: 1}, 1},
		{"a folder failed for want of a server", mailsync.Result{Errors: []mailsync.FolderError{{Err: &remote.Error{Class: remote.Unreachable}}}}, 1},
		{"then the server went", mailsync.Result{Errors: failed, Fatal: &remote.Error{Class: remote.Unreachable}}, 1},
		{"no server", mailsync.Result{Fatal: &remote.Error{Class: remote.Unreachable}}, 5},
		{"locked", mailsync.Result{Fatal: mailsync.ErrLocked}, 4},
		{"cut short", mailsync.Result{Errors: []mailsync.FolderError{{Err: errInterrupted}}, Fatal: errInterrupted}, 130},
		{"cut short after a failure", mailsync.Result{Errors: failed, Fatal: errInterrupted}, 130},
	} {
		if got := exitOfResult(&c.r); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// The names, order and types of the final line are a promise to scripts.
func TestAccountLine(t *testing.T) {
	r := &mailsync.Result{
		Account: "personal", ToMaildir: mailsync.Count{New: 3, Flags: 2, Deleted: 1}, ToServer: mailsync.Count{New: 1, Moved: 2},
		Folders: 14, FoldersChanged: 3, Traffic: remote.Traffic{BytesIn: 18233, BytesOut: 4120, RoundTrips: 6}, Duration: 84 * time.Millisecond,
		Errors: []mailsync.FolderError{{Folder: "Sent", Err: errors.New("<no> \x1b[31mway")}},
	}
	const want = `{"type":"account","account":"personal","ok":false,"exit":1,` +
		`"to_maildir":{"new":3,"flags":2,"moved":0,"deleted":1},` +
		`"to_server":{"new":1,"flags":0,"moved":2,"deleted":0},` +
		`"folders":14,"folders_changed":3,"held_back":0,"deferred":0,` +
		`"auth_needed":false,"retry_after_ms":0,` +
		`"bytes_in":18233,"bytes_out":4120,"round_trips":6,"duration_ms":84,` +
		`"errors":[{"folder":"Sent","error":"<no> [31mway"}]}` + "\n"
	var out bytes.Buffer
	a := newApp(streams{out: &out, err: io.Discard, env: func(string) string { return "" }})
	a.ui.json = true
	a.ui.object(accountLine(r))
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}

	r = &mailsync.Result{Account: "x", Fatal: &remote.Error{Class: remote.Auth, Op: "signing in", RetryAfter: 1500 * time.Millisecond}}
	line := accountLine(r)
	if !line.AuthNeeded || line.RetryAfterMS != 1500 || line.Exit != 1 || line.OK || len(line.Errors) != 1 || line.Errors[0].Folder != "" {
		t.Errorf("a wrong password gives %+v", line)
	}
}

func TestOpLine(t *testing.T) {
	for _, c := range []struct {
		op         plan.Op
		json, text string
	}{
		{plan.Op{Kind: plan.Delete, Side: plan.Server, Folder: "INBOX", UID: 17, Name: "a", Row: 3, Reason: "deleted in the Maildir"},
			`{"type":"op","folder":"INBOX","side":"server","op":"delete","uid":17}`,
			"delete on the server: INBOX, UID 17 (deleted in the Maildir)"},
		{plan.Op{Kind: plan.Upload, Side: plan.Server, Folder: "Sent", Name: "1.2.3"},
			`{"type":"op","folder":"Sent","side":"server","op":"upload","name":"1.2.3"}`,
			"upload on the server: Sent, file 1.2.3"},
		{plan.Op{Kind: plan.Move, Side: plan.Maildir, From: "INBOX", Folder: "Archive", UID: 2},
			`{"type":"op","folder":"Archive","side":"maildir","op":"move","uid":2,"from":"INBOX"}`,
			"move in the Maildir: INBOX to Archive, UID 2"},
		{plan.Op{Kind: plan.SetFlags, Side: plan.Maildir, Folder: "INBOX", UID: 2, Add: mail.NewFlags(`\Seen`), Remove: mail.NewFlags("x")},
			`{"type":"op","folder":"INBOX","side":"maildir","op":"flags","uid":2,"add":["\\Seen"],"remove":["x"]}`,
			`flags in the Maildir: INBOX, UID 2 +(\Seen) -(x)`},
		{plan.Op{Kind: plan.Park, Side: plan.Server, Folder: "INBOX", UID: 2, Why: plan.TooLarge},
			`{"type":"op","folder":"INBOX","side":"server","op":"park","uid":2,"why":"too-large"}`,
			"park on the server: INBOX, UID 2 [too-large]"},
		{plan.Op{Kind: plan.Forget, Folder: "a\nb\x1b"},
			`{"type":"op","folder":"a\nb\u001b","side":"","op":"forget"}`,
			"forget in the state: a b"},
	} {
		got, err := json.Marshal(opLine(c.op))
		if err != nil || string(got) != c.json {
			t.Errorf("%s, %v; want %s", got, err, c.json)
		}
		if got := sentence(c.op); got != c.text {
			t.Errorf("%q, want %q", got, c.text)
		}
	}
	folder := plan.FolderOp{Kind: plan.RenameFolder, Side: plan.Server, From: "A", Folder: "B", Reason: "renamed"}
	if got := folderSentence(folder); got != "rename-folder on the server: A becomes B (renamed)" {
		t.Error(got)
	}
	if got, _ := json.Marshal(folderOpLine(folder)); string(got) != `{"type":"op","folder":"B","side":"server","op":"rename-folder","from":"A"}` {
		t.Errorf("%s", got)
	}
}

func TestSettings(t *testing.T) {
	acc := config.Account{
		Name: "a", Maildir: "/m", Layout: config.MaildirPlus, Mode: config.Archive, Include: []string{"x"}, Exclude: []string{"y"},
		Map: map[string]string{"s": "l"}, Subscribed: true, Create: config.CreateServer, MaxDelete: config.MaxDelete{IsShare: true, Percent: 25},
		Trash: "Trash", Expunge: true, Undo: time.Hour, MaxMessageSize: 9, DailyDownload: 7, DailyUpload: 8, Connections: 3, StatePath: "/s",
		IMAP: config.IMAP{Server: config.Server{Config: transport.Config{Host: "h"}, User: "u"}},
	}
	want := mailsync.Settings{
		Account: "a", Owner: state.Owner{Kind: "imap", Host: "h", User: "u"}, Root: "/m", Layout: maildir.PlusPlus, StatePath: "/s",
		Policy: plan.Policy{Mode: plan.Archive, Trash: "Trash", Expunge: true, Create: plan.CreateServer,
			Guard: plan.Guard{ByShare: true, Share: 0.25}},
		Include: []string{"x"}, Exclude: []string{"y"}, Map: map[string]string{"s": "l"}, Subscribed: true,
		MaxMessageSize: 9, DailyDownload: 7, DailyUpload: 8, Connections: 3, Undo: time.Hour,
	}
	if diff := cmp.Diff(want, settings(acc)); diff != "" {
		t.Error(diff)
	}
	// Every word of the configuration is the planner's word too.
	for _, m := range []config.Mode{config.TwoWay, config.Pull, config.Push, config.Archive} {
		if string(mode(m)) != string(m) {
			t.Errorf("mode %q becomes %q", m, mode(m))
		}
	}
	for _, c := range []config.Create{config.CreateBoth, config.CreateMaildir, config.CreateServer, config.CreateNone} {
		if string(create(c)) != string(c) {
			t.Errorf("create %q becomes %q", c, create(c))
		}
	}
	for _, l := range []config.Layout{config.Nested, config.MaildirPlus} {
		if string(layout(l)) != string(l) {
			t.Errorf("layout %q becomes %q", l, layout(l))
		}
	}
	for in, want := range map[config.Compress]struct {
		how  imap.Compress
		says string
	}{
		config.CompressAuto: {imap.CompressAuto, "when the link is slow"},
		config.CompressOn:   {imap.CompressOn, "from the start"},
		config.CompressOff:  {imap.CompressOff, `never (compress = "off")`},
	} {
		if how, says := compress(in), compression(in); how != want.how || says != want.says {
			t.Errorf("compress %q becomes %v, %q", in, how, says)
		}
	}
	for in, want := range map[config.MaxDelete]plan.Guard{
		{Off: true}:                  {},
		{}:                           {ByCount: true},
		{Count: 7}:                   {ByCount: true, Count: 7},
		{IsShare: true}:              {ByShare: true},
		{IsShare: true, Percent: 50}: {ByShare: true, Share: 0.5},
	} {
		if got := guard(in); got != want {
			t.Errorf("max_delete %v becomes %+v, want %+v", in, got, want)
		}
	}
}

func TestPick(t *testing.T) {
	accounts := []config.Account{{Name: "a"}, {Name: "b"}}
	type named struct {
		Account string
		Folders []mail.FolderName
	}
	for _, c := range []struct {
		args []string
		want []named
	}{
		{nil, []named{{"a", nil}, {"b", nil}}},
		{[]string{"b"}, []named{{"b", nil}}},
		{[]string{"b", "a"}, []named{{"a", nil}, {"b", nil}}}, // the configuration's order
		{[]string{"b/X/Y", "b/X/Y", "b/Z"}, []named{{"b", []mail.FolderName{"X/Y", "Z"}}}},
		{[]string{"b/X", "b"}, []named{{"b", nil}}}, // the whole account holds the folder
	} {
		jobs, err := pick(accounts, c.args, true)
		var got []named
		for _, j := range jobs {
			got = append(got, named{j.Name, j.targets})
		}
		if diff := cmp.Diff(c.want, got); diff != "" || err != nil {
			t.Errorf("%q: %v %s", c.args, err, diff)
		}
	}
	for _, bad := range []string{"c", "c/X", "a/", "a//x", "a/.", "a/../x", "/a", ""} {
		if _, err := pick(accounts, []string{bad}, true); exitOf(err) != exitUsage {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// Whichever is ready first, they are shown in order, and one that takes long holds up only the showing.
func TestSideBySide(t *testing.T) {
	var jobs []job
	for i := range 5 {
		jobs = append(jobs, job{Account: config.Account{Name: fmt.Sprint(i)}})
	}
	others := make(chan struct{}, len(jobs))
	var shown []string
	sideBySide(t.Context(), jobs, func(_ context.Context, j job) string {
		if j.Name == "0" { // ends when all the others have
			for range len(jobs) - 1 {
				<-others
			}
		} else {
			others <- struct{}{}
		}
		return "outcome " + j.Name
	}, func(j job, outcome string) { shown = append(shown, j.Name+" "+outcome) })
	want := []string{"0 outcome 0", "1 outcome 1", "2 outcome 2", "3 outcome 3", "4 outcome 4"}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Error(diff)
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                         "plain",
		"Entwürfe 日本":                   "Entwürfe 日本",
		"a\x1b[31mred\x1b]0;title\x07b": "a[31mred]0;titleb",
		"a\r\x00\x7f\tb":                "ab",
		"\u009b31mx":                    "31mx", // CSI in one character
		"\u202egnp.exe":                 "gnp.exe",
		"a\u200bb\ufeffc":               "abc",
		"a\u2028b":                      "ab",
		"bad \xff\xfe utf":              "bad \uFFFD utf",
		"two\nlines":                    "two\nlines",
	} {
		if got := clean(in); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := cleanLine("a\r\nb\nc"); got != "a b c" {
		t.Errorf("%q", got)
	}
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"", "a\x1b[2Jb", "\u009b", "\xff", "日本\u202e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range cleanLine(s) {
			if r < ' ' || (r >= 0x7f && r < 0xa0) || r == '\u202e' {
				t.Fatalf("%U is left of %q", r, s)
			}
		}
		if once := clean(s); clean(once) != once {
			t.Fatalf("%q is not clean after cleaning", s)
		}
	})
}

func TestText(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{count(1, "message", "messages"), "1 message"},
		{count(0, "message", "messages"), "0 messages"},
		{count(1234567, "message", "messages"), "1,234,567 messages"},
		{number(-1234), "-1,234"}, {number(-123), "-123"}, {number(999), "999"},
		{size(0), "0 bytes"}, {size(1), "1 byte"}, {size(999), "999 bytes"}, {size(1000), "1.0 kB"}, {size(9_949), "9.9 kB"},
		{size(9_950), "10 kB"}, {size(999_499), "999 kB"}, {size(999_500), "1.0 MB"}, {size(20_500_000), "20 MB"}, {size(3_000_000_000), "3.0 GB"},
		{took(84 * time.Millisecond), "84 ms"}, {took(1500 * time.Millisecond), "1.5 s"}, {took(75 * time.Second), "1:15"},
		{clock(0), "0:00"}, {clock(59600 * time.Millisecond), "1:00"}, {clock(2*time.Hour + 65*time.Second), "2:01:05"},
		{list(nil, "or"), ""}, {list([]string{"a"}, "or"), "a"}, {list([]string{"a", "b", "c"}, "or"), "a, b or c"},
		{wrap([]string{"aaa", "bbb", "cc"}, 2, 9), "aaa bbb\n  cc"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.Local)
	for d, want := range map[time.Duration]string{
		5 * time.Second: "just now", 5 * time.Minute: "5 min ago", 5 * time.Hour: "5 h ago", 72 * time.Hour: "2025-12-30",
	} {
		if got := ago(now.Add(-d), now); got != want {
			t.Errorf("%v ago is %q, want %q", d, got, want)
		}
	}
	if ago(time.Time{}, now) != "never" {
		t.Error("no time is not never")
	}
}

func TestSummary(t *testing.T) {
	base := mailsync.Result{Account: "a", Folders: 2, Duration: 84 * time.Millisecond, Traffic: remote.Traffic{BytesIn: 900, BytesOut: 100}}
	with := func(f func(*mailsync.Result)) *mailsync.Result { r := base; f(&r); return &r }
	const tail = " (2 folders, 1.0 kB in 84 ms)"
	for _, c := range []struct {
		r    *mailsync.Result
		dry  bool
		want string
	}{
		{with(func(*mailsync.Result) {}), false, "nothing changed"},
		{with(func(*mailsync.Result) {}), true, "there is nothing to do"},
		{with(func(r *mailsync.Result) { r.Plan = make([]plan.Op, 1) }), true, "would do the above: to the Maildir nothing; to the server nothing"},
		{with(func(r *mailsync.Result) { r.Plan, r.FolderPlan = somePlan() }), true,
			"would do the above: to the Maildir 2 new, 1 flagged, 1 folder created; to the server 1 new, 1 moved, 1 deleted, 1 folder renamed, 1 folder deleted"},
		{with(func(r *mailsync.Result) { r.Errors = make([]mailsync.FolderError, 1) }), false, "nothing else changed"},
		{with(func(r *mailsync.Result) { r.ToMaildir.New, r.ToServer.Moved, r.Deferred = 3, 2, 1 }), false,
			"to the Maildir: 3 new; to the server: 2 moved; 1 left out by max_message_size"},
		{with(func(r *mailsync.Result) { r.Deferred, r.OverBudget = 1001, 1000 }), false,
			"1 left out by max_message_size; 1,000 messages wait for tomorrow's budget"},
		{with(func(r *mailsync.Result) { r.Deferred, r.OverBudget = 1, 1 }), false, "1 message waits for tomorrow's budget"},
		{with(func(r *mailsync.Result) { r.ToServer = mailsync.Count{New: 1, Flags: 2, Moved: 3, Deleted: 4000} }), false,
			"to the server: 1 new, 2 flagged, 3 moved, 4,000 deleted"},
	} {
		if got := summary(c.r, c.dry); got != c.want+tail {
			t.Errorf("%q, want %q", got, c.want+tail)
		}
	}
}

// somePlan has operations that count, and some that change neither side.
func somePlan() ([]plan.Op, []plan.FolderOp) {
	ops := []plan.Op{
		{Kind: plan.Pairing}, {Kind: plan.Download, Side: plan.Maildir}, {Kind: plan.Download, Side: plan.Maildir}, {Kind: plan.Upload, Side: plan.Server},
		{Kind: plan.Move, Side: plan.Server}, {Kind: plan.Rebind}, {Kind: plan.SetFlags, Side: plan.Maildir, Remove: mail.NewFlags(`\Seen`)},
		{Kind: plan.SetFlags, Side: plan.Server}, {Kind: plan.Delete, Side: plan.Server}, {Kind: plan.DeleteFolder, Side: plan.Server},
		{Kind: plan.Forget}, {Kind: plan.Park, Side: plan.Server}, {Kind: plan.Hold, Side: plan.Maildir},
	}
	return ops, []plan.FolderOp{{Kind: plan.RenameFolder, Side: plan.Server}, {Kind: plan.FollowFolder}, {Kind: plan.CreateFolder, Side: plan.Maildir}}
}

// Who has the lock is said once, in words.
func TestSpellLocked(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("%w: %w", mailsync.ErrLocked, &maildir.LockedError{PID: 16289}), "another Satchel (process 16289) is working on this account"},
		{fmt.Errorf("%w: %w", mailsync.ErrLocked, &maildir.LockedError{}), "another Satchel is working on this account"},
		{mailsync.ErrLocked, "another Satchel is working on this account"},
		{io.ErrUnexpectedEOF, "unexpected EOF"},
	} {
		if got := spell(c.err); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// What the person must know is said in spite of --quiet, on standard error; the rest is not.
func TestQuietWarns(t *testing.T) {
	for _, c := range []struct {
		name     string
		show     func(*app)
		out, err string
	}{
		{"held", func(a *app) { a.showSync(&mailsync.Result{Account: "a", HeldBack: 12}, false) }, "", "satchel: a: 12 deletions are held back\n  if they are meant"},
		{"held in what was named", func(a *app) {
			a.configPath = "my c.toml"
			a.showSync(&mailsync.Result{Account: "a", HeldBack: 1, HeldWhy: "of it", Targets: []mail.FolderName{"INBOX", "A & B"}}, false)
		}, "", "satchel: a: 1 deletion is held back because of it\n  if they are meant:   satchel -c 'my c.toml' sync --allow-deletes a/INBOX 'a/A & B'\n"},
		{"nothing held", func(a *app) { a.showSync(&mailsync.Result{Account: "a"}, false) }, "", ""},
		{"differences", func(a *app) {
			a.showVerification(&mailsync.Verification{Account: "a", Differences: []mailsync.Difference{{}, {}}}, false)
		}, "", "satchel: a: 0 messages in 0 folders compared by header, flags and recorded digest: 2 differences\n"},
		{"no difference", func(a *app) { a.showVerification(&mailsync.Verification{Account: "a"}, false) }, "", ""},
	} {
		var out, msg bytes.Buffer
		a := newApp(streams{out: &out, err: &msg, env: func(string) string { return "" }})
		a.ui.quiet = true
		c.show(a)
		if out.String() != c.out || !strings.HasPrefix(msg.String(), c.err) || (c.err == "" && msg.Len() > 0) {
			t.Errorf("%s: %q on standard output, %q on standard error", c.name, out.String(), msg.String())
		}
	}
}

// A folder that every run finds unchanged was synchronised by the last that went well.
func TestLastSync(t *testing.T) {
	then := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	run := then.Add(500 * time.Hour)
	for _, c := range []struct {
		name          string
		folder        time.Time
		failed, fatal string
		want          time.Time
	}{
		{"unchanged since", then, "", "", run},
		{"failed in the folder", then, "x", "", then},
		{"the run failed", then, "", "x", then},
		{"never", time.Time{}, "", "", time.Time{}},
		{"worked on later", run.Add(time.Hour), "", "", run.Add(time.Hour)},
	} {
		s := &mailsync.AccountStatus{}
		s.LastRun.End, s.LastRun.Error = run, c.fatal
		if got := lastSync(s, mailsync.FolderStatus{LastSync: c.folder, LastError: c.failed}); !got.Equal(c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// What the guard holds is said once for an account.
func TestHeldRemark(t *testing.T) {
	s := &mailsync.AccountStatus{Account: "a", Folders: []mailsync.FolderStatus{{Held: 2}, {}, {Held: 10}}}
	if got, want := heldRemark(s, "satchel"), "12 deletions are held back in 2 folders; satchel sync --allow-deletes a carries them out, --restore-held brings the messages back"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := heldRemark(&mailsync.AccountStatus{Account: "a", Folders: []mailsync.FolderStatus{{}}}, "satchel"); got != "" {
		t.Errorf("%q", got)
	}
}

// The state of the Maildir's root, and of the directory above it.
func TestMaildirState(t *testing.T) {
	dir := t.TempDir()
	for root, want := range map[string]string{
		dir:                                "",
		filepath.Join(dir, "Mail"):         " (the first sync makes it)",
		filepath.Join(dir, "Mail", "home"): " (missing, and so is the directory above it: make that one first)",
	} {
		if got := maildirState(root); got != want {
			t.Errorf("%s: %q, want %q", root, got, want)
		}
	}
}

// For every reason not to transfer a message there is a sentence.
func TestRemarks(t *testing.T) {
	f := mailsync.FolderStatus{Name: "INBOX", LastError: "broke\nhere", ReadOnly: true, Held: 1, KeptBack: 2, ByWhy: map[plan.Why]int{}}
	whys := []plan.Why{plan.TooLarge, plan.TooOld, plan.ReadOnly, plan.OneWay, plan.Refused, plan.Unreadable, plan.Dismissed, plan.Pending, plan.NoFolder,
		plan.OverDownload, plan.OverUpload, "new%reason"}
	for _, w := range whys {
		f.ByWhy[w] = 3
		f.Parked = append(f.Parked, mailsync.ParkedMessage{UID: 7, Why: w, Text: "because"}, mailsync.ParkedMessage{Name: "1.2.3", Why: w})
	}
	f.Parked = append(f.Parked, mailsync.ParkedMessage{UID: 8, Why: plan.Refused})
	all := strings.Join(remarks(f), "\n")
	for _, want := range []string{
		"INBOX: the last sync failed here: broke", "read-only", "2 messages have a flag",
		"3 messages above max_message_size", "3 messages refused by the server", "INBOX:   UID 7 refused because", "INBOX:   file 1.2.3 pending",
		"3 messages waiting for tomorrow's budget (daily_download)", "3 messages waiting for tomorrow's budget (daily_upload)",
		"3 messages: new%reason", "and 5 more; satchel status --json lists them",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in:\n%s", want, all)
		}
	}
	if strings.Contains(all, "%!") {
		t.Errorf("a broken format:\n%s", all)
	}
	f = mailsync.FolderStatus{Name: "INBOX", Maildrop: true, ByWhy: map[plan.Why]int{plan.OneWay: 2, plan.Dismissed: 1},
		Parked: []mailsync.ParkedMessage{{UID: 3, UIDL: "0a1b", Why: plan.Refused}}}
	all = strings.Join(remarks(f), "\n")
	for _, want := range []string{
		"2 messages in the Maildir only, and no longer on the server", "1 message deleted locally, still on the server until keep_on_server", "UIDL 0a1b refused",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in:\n%s", want, all)
		}
	}
	if table := statusTable(&mailsync.AccountStatus{Folders: []mailsync.FolderStatus{f}}, time.Now()); !regexp.MustCompile(`(?m)^ *INBOX( +[-0]){4} +1 `).MatchString(table) {
		t.Errorf("what is in the Maildir only counts as not sent:\n%s", table)
	}
	if n := len(remarks(mailsync.FolderStatus{Name: "x"})); n != 0 {
		t.Errorf("%d remarks on a folder of which there is nothing to say", n)
	}
}

func TestRedactor(t *testing.T) {
	const secret = `pa"ss\word-4711`
	var r redactor
	s, err := r.watch(auth.Literal(secret)).Secret(t.Context())
	if err != nil || s.Reveal() != secret {
		t.Fatalf("the watched source gives %v, %v", s, err)
	}
	for _, before := range []string{"", "x", "xy", "xyz", "\x00user\x00"} {
		for _, after := range []string{"", "1", "12", "123"} {
			whole := before + secret + after
			for _, text := range []string{"NO " + whole, base64.StdEncoding.EncodeToString([]byte(whole))} {
				if got := r.text(text); !strings.Contains(got, "***") || strings.Contains(got, "4711") {
					t.Errorf("%q became %q", text, got)
				}
			}
		}
	}
	if got := r.text(`LOGIN "me" "pa\"ss\\word-4711"`); got != `LOGIN "me" "***"` {
		t.Error(got)
	}
	if got := r.text("nothing of it"); got != "nothing of it" {
		t.Error(got)
	}
	r.add("abc") // too short to be looked for
	if got := r.text("abc"); got != "abc" {
		t.Error(got)
	}
	if r.watch(nil) != nil {
		t.Error("no source becomes one")
	}
}

// Every connection is told an alert; the person is told once, and not without end.
func TestAlert(t *testing.T) {
	var msg bytes.Buffer
	a := newApp(streams{out: io.Discard, err: &msg, env: func(string) string { return "" }})
	alert := a.alert("personal")
	alert("Down at\nnoon \x1b[31m")
	alert("Down at\nnoon \x1b[31m")
	if got := msg.String(); got != "satchel: personal: the server says: Down at noon [31m\n" {
		t.Errorf("%q", got)
	}
	for i := range 100 {
		alert(fmt.Sprint(i))
	}
	if n := strings.Count(msg.String(), "\n"); n != maxAlerts {
		t.Errorf("%d alerts were shown", n)
	}
}

// brokenWriter is a full disk, or a pipe that nobody reads.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestOutputCannotBeWritten(t *testing.T) {
	var msg bytes.Buffer
	code := run([]string{"version"}, streams{out: brokenWriter{}, err: &msg, env: func(string) string { return "" }})
	if code != exitFailed || !strings.Contains(msg.String(), "satchel: writing the output: no space left on device") {
		t.Errorf("exit code %d, %q", code, msg.String())
	}
}
