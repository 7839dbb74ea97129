package main

import (
	"errors"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
	mailsync "github.com/satchel-mail/satchel/sync"
	"github.com/satchel-mail/satchel/sync/plan"
)

// The shapes of --json. Scripts depend on the names, the order of the fields and their types; a
// field may be added, none may be taken away. docs/json.md describes them.

// jsonAccount is the last line of `sync` for each account.
type jsonAccount struct {
	Type           string      `json:"type"` // "account"
	Account        string      `json:"account"`
	OK             bool        `json:"ok"`
	Exit           int         `json:"exit"`
	ToMaildir      jsonCount   `json:"to_maildir"`
	ToServer       jsonCount   `json:"to_server"`
	Folders        int         `json:"folders"`
	FoldersChanged int         `json:"folders_changed"`
	HeldBack       int         `json:"held_back"`
	Deferred       int         `json:"deferred"`
	AuthNeeded     bool        `json:"auth_needed"`
	RetryAfterMS   int64       `json:"retry_after_ms"`
	BytesIn        int64       `json:"bytes_in"`
	BytesOut       int64       `json:"bytes_out"`
	RoundTrips     int64       `json:"round_trips"`
	DurationMS     int64       `json:"duration_ms"`
	Errors         []jsonError `json:"errors"`
	Warnings       []string    `json:"warnings,omitempty"`
}

type jsonCount struct {
	New     int `json:"new"`
	Flags   int `json:"flags"`
	Moved   int `json:"moved"`
	Deleted int `json:"deleted"`
}

// jsonError is something that failed; Folder is empty if it concerns the account.
type jsonError struct {
	Folder string `json:"folder"`
	Error  string `json:"error"`
}

func accountLine(r *mailsync.Result) jsonAccount {
	code := exitOfResult(r)
	return jsonAccount{
		Type: "account", Account: r.Account, OK: code == exitOK, Exit: code,
		ToMaildir: jsonCount(r.ToMaildir), ToServer: jsonCount(r.ToServer),
		Folders: r.Folders, FoldersChanged: r.FoldersChanged, HeldBack: r.HeldBack, Deferred: r.Deferred,
		AuthNeeded: remote.ClassOf(r.Fatal) == remote.Auth, RetryAfterMS: retryAfter(r.Fatal),
		BytesIn: r.Traffic.BytesIn, BytesOut: r.Traffic.BytesOut, RoundTrips: r.Traffic.RoundTrips,
		DurationMS: r.Duration.Milliseconds(), Errors: jsonErrors(r.Errors, r.Fatal),
		Warnings: cleanAll(r.Warnings),
	}
}

func cleanAll(texts []string) (out []string) {
	for _, t := range texts {
		out = append(out, clean(t))
	}
	return out
}

// jsonErrors is never nil, so that it shows as a list. What stopped the account comes first.
func jsonErrors(errs []mailsync.FolderError, fatal error) []jsonError {
	out := []jsonError{}
	if fatal != nil {
		out = append(out, jsonError{Error: clean(spell(fatal))})
	}
	for _, e := range errs {
		out = append(out, jsonError{Folder: string(e.Folder), Error: clean(e.Err.Error())})
	}
	return out
}

// jsonOp is one planned operation of `sync --dry-run`.
type jsonOp struct {
	Type   string `json:"type"` // "op"
	Folder string `json:"folder"`
	Side   string `json:"side"`
	Op     string `json:"op"`
	UID    uint32 `json:"uid,omitempty"`
	// Name is the file's base name, if the message has no UID.
	Name   string   `json:"name,omitempty"`
	From   string   `json:"from,omitempty"`
	Add    []string `json:"add,omitempty"`
	Remove []string `json:"remove,omitempty"`
	Why    string   `json:"why,omitempty"`
}

func opLine(op plan.Op) jsonOp {
	out := jsonOp{Type: "op", Folder: string(op.Folder), Side: string(op.Side), Op: string(op.Kind), UID: uint32(op.UID), Why: string(op.Why)}
	if op.UID == 0 {
		out.Name = op.Name
	}
	if op.From != op.Folder {
		out.From = string(op.From)
	}
	if op.Kind == plan.SetFlags {
		out.Add, out.Remove = op.Add.Names(), op.Remove.Names()
	}
	return out
}

func folderOpLine(op plan.FolderOp) jsonOp {
	return jsonOp{Type: "op", Folder: string(op.Folder), Side: string(op.Side), Op: string(op.Kind), From: string(op.From)}
}

// jsonFolder is one folder of `status`.
type jsonFolder struct {
	Type      string         `json:"type"` // "folder"
	Account   string         `json:"account"`
	Folder    string         `json:"folder"`
	Server    int            `json:"server"`
	Maildir   int            `json:"maildir"`
	Waiting   int            `json:"waiting"`
	HeldBack  int            `json:"held_back"`
	KeptBack  int            `json:"kept_back"`
	ReadOnly  bool           `json:"read_only"`
	LastSync  *time.Time     `json:"last_sync"` // null: never
	LastError string         `json:"last_error"`
	OneSided  map[string]int `json:"one_sided"`
	Parked    []jsonParked   `json:"parked"`
}

// jsonParked is a message that one side has and the other does not get.
type jsonParked struct {
	UID  uint32 `json:"uid,omitempty"`
	UIDL string `json:"uidl,omitempty"`
	Name string `json:"name,omitempty"`
	Why  string `json:"why"`
	Text string `json:"text,omitempty"`
}

// jsonStatus is the last line of `status` for each account.
type jsonStatus struct {
	Type      string     `json:"type"` // "status"
	Account   string     `json:"account"`
	OK        bool       `json:"ok"`
	Exit      int        `json:"exit"`
	Folders   int        `json:"folders"`
	LastRun   *time.Time `json:"last_run"` // when it ended; null: never
	LastError string     `json:"last_error"`
	Error     string     `json:"error"`           // why the status could not be read
	Watch     *jsonWatch `json:"watch,omitempty"` // nil: nobody watches the account
}

// jsonRemoved is one message that `undo` found.
type jsonRemoved struct {
	Type    string    `json:"type"` // "removed"
	Account string    `json:"account"`
	Folder  string    `json:"folder"`
	Name    string    `json:"name"`
	Removed time.Time `json:"removed"`
	Arrived time.Time `json:"arrived"`
	Size    int64     `json:"size"`
	Flags   []string  `json:"flags"`
	From    string    `json:"from,omitempty"`
	Subject string    `json:"subject,omitempty"`
	Became  string    `json:"became"`
	Error   string    `json:"error,omitempty"`
}

// jsonUndo is the last line of `undo` for each account.
type jsonUndo struct {
	Type    string      `json:"type"` // "undo"
	Account string      `json:"account"`
	OK      bool        `json:"ok"`
	Exit    int         `json:"exit"`
	Kept    int         `json:"kept"`
	Back    int         `json:"back"`
	Present int         `json:"present"`
	Failed  int         `json:"failed"`
	Errors  []jsonError `json:"errors"`
}

// jsonDifference is one difference that `verify` found.
type jsonDifference struct {
	Type    string `json:"type"` // "difference"
	Account string `json:"account"`
	Folder  string `json:"folder"`
	UID     uint32 `json:"uid,omitempty"`
	Name    string `json:"name,omitempty"`
	What    string `json:"what"`
}

// jsonVerification is the last line of `verify` for each account.
type jsonVerification struct {
	Type        string      `json:"type"` // "verification"
	Account     string      `json:"account"`
	OK          bool        `json:"ok"`
	Exit        int         `json:"exit"`
	Deep        bool        `json:"deep"`
	Folders     int         `json:"folders"`
	Messages    int         `json:"messages"`
	Differences int         `json:"differences"`
	Explained   int         `json:"explained"`
	Rewritten   int         `json:"rewritten"`
	Errors      []jsonError `json:"errors"`
}

// jsonCheck is what `check` found of one account.
type jsonCheck struct {
	Type         string        `json:"type"` // "check"
	Account      string        `json:"account"`
	OK           bool          `json:"ok"`
	Exit         int           `json:"exit"`
	Host         string        `json:"host"`
	Port         int           `json:"port"`
	TLS          string        `json:"tls"`
	User         string        `json:"user"`
	Maildir      string        `json:"maildir"`
	Separator    string        `json:"separator"`
	Prefix       string        `json:"prefix"`
	Folders      int           `json:"folders"`
	Messages     int64         `json:"messages"`
	Capabilities []string      `json:"capabilities"`
	Used         []string      `json:"used"`
	Missing      []jsonMissing `json:"missing"`
	AuthNeeded   bool          `json:"auth_needed"`
	RetryAfterMS int64         `json:"retry_after_ms"`
	Errors       []jsonError   `json:"errors"`
}

type jsonMissing struct {
	Capability string `json:"capability"`
	Means      string `json:"means"`
}

// jsonVersion is the answer of `version`.
type jsonVersion struct {
	Type    string `json:"type"` // "version"
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

// when is a time as JSON has it, nil if there is none.
func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	utc := t.UTC()
	return &utc
}

// retryAfter is how long the server asked us to stay away, in milliseconds.
func retryAfter(err error) int64 {
	if e, ok := errors.AsType[*remote.Error](err); ok {
		return e.RetryAfter.Milliseconds()
	}
	return 0
}
