package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/control"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/watch"
)

// jsonWatch is how a watch on an account is.
type jsonWatch struct {
	State string    `json:"state"`
	Since time.Time `json:"since"`
	// Listening is how the server tells of changes: "notify", "idle" or "poll"; Mailboxes those waited for with idle.
	Listening   string     `json:"listening"`
	Mailboxes   []string   `json:"mailboxes"`
	ServerQuiet time.Time  `json:"server_quiet_since"`
	LocalQuiet  time.Time  `json:"maildir_quiet_since"`
	LastRun     *time.Time `json:"last_run"`
	LastSuccess *time.Time `json:"last_success"`
	NextTry     *time.Time `json:"next_try"`
	Error       string     `json:"error"`
	Problem     string     `json:"problem"`
}

func watchLine(s watch.Status) jsonWatch {
	out := jsonWatch{
		State: string(s.State), Since: s.Since.UTC(), Listening: "poll", Mailboxes: []string{}, ServerQuiet: s.ServerQuiet.UTC(), LocalQuiet: s.LocalQuiet.UTC(),
		LastRun: when(s.LastRun), LastSuccess: when(s.LastSuccess), NextTry: when(s.NextTry), Error: cleanError(s.Error), Problem: cleanError(s.Problem),
	}
	switch {
	case slices.Contains(s.Listening, ""):
		out.Listening = "notify"
	case len(s.Listening) > 0:
		out.Listening, out.Mailboxes = "idle", s.Listening
	}
	return out
}

func cleanError(err error) string {
	if err == nil {
		return ""
	}
	return cleanLine(err.Error())
}

// marshal is for what can't fail.
func marshal(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return b
}

// statusWithin is how long a watch may take to say how it is.
const statusWithin = 2 * time.Second

// watchOn asks the watch on an account how it is; nil if there is none.
func (a *app) watchOn(ctx context.Context, j job) *jsonWatch {
	ctx, cancel := context.WithTimeout(ctx, statusWithin)
	defer cancel()
	var out *jsonWatch
	_, err := control.Ask(ctx, control.Path(j.StatePath), control.Request{Do: control.Status, Account: j.Name}, func(r control.Reply) {
		var w jsonWatch
		if r.Status != nil && json.Unmarshal(r.Status, &w) == nil {
			out = &w
		}
	})
	if err != nil {
		return nil
	}
	return out
}

// watchRemarks says for people how a watch is.
func watchRemarks(w *jsonWatch, now time.Time) []string {
	lines := []string{fmt.Sprintf("watched since %s: %s", w.Since.Local().Format("2006-01-02 15:04"), cleanLine(restingLine(*w, now)))}
	if w.Problem != "" {
		lines = append(lines, "changes in the Maildir may be seen late: "+cleanLine(w.Problem))
	}
	return lines
}

// restingLine says what a watch is doing while it does nothing, or what keeps it from doing anything.
func restingLine(w jsonWatch, now time.Time) string {
	switch watch.State(w.State) {
	case watch.Starting:
		return "starting"
	case watch.Syncing:
		return "synchronising"
	case watch.Refused:
		return fmt.Sprintf("stopped: %s", w.Error)
	case watch.Retrying:
		again := "soon"
		if w.NextTry != nil {
			again = "in " + clock(max(w.NextTry.Sub(now), 0))
		}
		return fmt.Sprintf("trying again %s: %s", again, w.Error)
	}
	how := "the server is polled"
	switch w.Listening {
	case "notify":
		how = "the server tells of all folders"
	case "idle":
		how = "the server tells of " + list(w.Mailboxes, "and")
	}
	state := "up to date"
	if w.Error != "" {
		state = "up to date but for what failed"
	}
	line := fmt.Sprintf("%s; %s; last change there %s, here %s", state, how, ago(w.ServerQuiet, now), ago(w.LocalQuiet, now))
	if w.Error != "" {
		line += "; " + w.Error
	}
	return line
}

// resting are the lines on the terminal for the accounts that nothing is going on in.
func (r *round) resting(busy func(account string) bool) (lines []string) {
	now := time.Now()
	for _, w := range r.accounts {
		if busy(w.Name) {
			continue
		}
		line := control.ErrWatched.Error()
		if st, ok := w.status(); ok {
			line = restingLine(watchLine(st), now)
		}
		lines = append(lines, cleanLine(w.Name+": "+line))
	}
	return lines
}

// serveMetrics serves figures for Prometheus and /healthz, if the configuration says where, until what it returns is called.
func (r *round) serveMetrics(ctx context.Context) (stop func(), err error) {
	if r.cfg.Watch.Metrics == "" {
		return func() {}, nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", r.cfg.Watch.Metrics)
	if err != nil {
		return nil, &usageError{fmt.Errorf("watch.metrics: %w; choose an address of this machine and a port that nobody uses", err)}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_ = writeMetrics(w, r.statuses())
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		for _, s := range r.statuses() {
			if s.Trouble() {
				http.Error(w, fmt.Sprintf("%s: %s", s.Account, cleanError(s.Error)), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			r.a.ui.fail("watch.metrics: %v", err)
		}
	}()
	return func() { _ = srv.Close() }, nil
}

func (r *round) statuses() (out []watch.Status) {
	for _, w := range r.accounts {
		if st, ok := w.status(); ok {
			out = append(out, st)
		}
	}
	return out
}

// figure is one of the metrics, with a value, or several by their labels, for each account.
type figure struct {
	name, kind, help string
	values           func(watch.Status) map[string]float64 // by labels beside the account's, in Prometheus's spelling
}

func one(f func(watch.Status) float64) func(watch.Status) map[string]float64 {
	return func(s watch.Status) map[string]float64 { return map[string]float64{"": f(s)} }
}

var figures = []figure{
	{"satchel_up", "gauge", "1 if the last run went well, 0 if it failed, in some folder or as a whole.", one(func(s watch.Status) float64 {
		if s.Trouble() {
			return 0
		}
		return 1
	})},
	{"satchel_last_success_timestamp_seconds", "gauge", "When the last run went well.", one(func(s watch.Status) float64 { return epoch(s.LastSuccess) })},
	{"satchel_server_changed_timestamp_seconds", "gauge", "When the server last told of a change.", one(func(s watch.Status) float64 { return epoch(s.ServerQuiet) })},
	{"satchel_maildir_changed_timestamp_seconds", "gauge", "When the Maildir last changed.", one(func(s watch.Status) float64 { return epoch(s.LocalQuiet) })},
	{"satchel_lag_seconds", "gauge", "How long the last change waited until it had been brought over.", one(func(s watch.Status) float64 { return s.Totals.Lag.Seconds() })},
	{"satchel_runs_total", "counter", "Synchronisations.", one(func(s watch.Status) float64 { return float64(s.Totals.Runs) })},
	{"satchel_errors_total", "counter", "Synchronisations that failed, and folders that did.", one(func(s watch.Status) float64 { return float64(s.Totals.Failures) })},
	{"satchel_messages_total", "counter", "Changes brought over, by the side they were made on.", func(s watch.Status) map[string]float64 {
		out := map[string]float64{}
		for side, c := range map[string]mailsync.Count{"maildir": s.Totals.ToMaildir, "server": s.Totals.ToServer} {
			for what, n := range map[string]int{"new": c.New, "flags": c.Flags, "moved": c.Moved, "deleted": c.Deleted} {
				out[fmt.Sprintf(`,to="%s",change="%s"`, side, what)] = float64(n)
			}
		}
		return out
	}},
	{"satchel_bytes_total", "counter", "Bytes exchanged with the server in synchronisations.", func(s watch.Status) map[string]float64 {
		return map[string]float64{`,direction="in"`: float64(s.Totals.Traffic.BytesIn), `,direction="out"`: float64(s.Totals.Traffic.BytesOut)}
	}},
	{"satchel_held_deletions", "gauge", "Deletions that the guard holds back.", one(func(s watch.Status) float64 { return float64(s.Totals.HeldBack) })},
	{"satchel_deferred_messages", "gauge", "Messages that wait for a larger limit.", one(func(s watch.Status) float64 { return float64(s.Totals.Deferred) })},
}

func epoch(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

// writeMetrics writes figures in Prometheus's text format.
func writeMetrics(w io.Writer, all []watch.Status) error {
	var b strings.Builder
	for _, f := range figures {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, s := range all {
			values := f.values(s)
			for _, labels := range slices.Sorted(maps.Keys(values)) {
				fmt.Fprintf(&b, "%s{account=%s%s} %g\n", f.name, quoteLabel(s.Account), labels, values[labels])
			}
		}
	}
	_, err := w.Write([]byte(b.String()))
	return err
}

// quoteLabel spells a label's value.
func quoteLabel(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
