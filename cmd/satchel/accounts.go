package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/satchel-mail/satchel/internal/config"
	"github.com/satchel-mail/satchel/internal/mail"
	mailsync "github.com/satchel-mail/satchel/sync"
)

// maxAccounts bounds how many accounts are worked on at once; each has its own connections.
const maxAccounts = 8

// job is one account and the folders that were named of it, none for all.
type job struct {
	config.Account
	targets []mail.FolderName
}

// jobs finds the accounts that the arguments name, in the configuration's order; no argument names all. Arguments are
// ACCOUNT or, if folders is true, ACCOUNT/FOLDER.
func (a *app) jobs(args []string, folders bool) ([]job, error) {
	cfg, err := a.loadConfig()
	if err != nil {
		return nil, err
	}
	return pick(cfg.Accounts, args, folders)
}

func pick(accounts []config.Account, args []string, folders bool) ([]job, error) {
	all := make([]job, len(accounts))
	whole := make([]bool, len(accounts))
	for i, acc := range accounts {
		all[i].Account = acc
		whole[i] = len(args) == 0
	}
	for _, arg := range args {
		name, folder, hasFolder := strings.Cut(arg, "/")
		i := slices.IndexFunc(accounts, func(acc config.Account) bool { return acc.Name == name })
		switch {
		case i < 0:
			return nil, &usageError{fmt.Errorf("the configuration has no account %q; it has %s", name, names(accounts))}
		case hasFolder && !folders:
			return nil, &usageError{fmt.Errorf("%q names a folder; this command takes accounts only, such as %q", arg, name)}
		case hasFolder && !isFolderName(folder):
			return nil, &usageError{fmt.Errorf("%q does not name a folder; allowed is %s/FOLDER with the folder's local name, such as %s/INBOX", arg, name, name)}
		case !hasFolder:
			whole[i] = true
		case !slices.Contains(all[i].targets, mail.FolderName(folder)):
			all[i].targets = append(all[i].targets, mail.FolderName(folder))
		}
	}
	var named []job
	for i, j := range all {
		switch {
		case whole[i]:
			j.targets = nil
			named = append(named, j)
		case len(j.targets) > 0:
			named = append(named, j)
		}
	}
	return named, nil
}

// isFolderName reports whether a local folder can be called so: levels that are not empty, nor "." or "..".
func isFolderName(s string) bool {
	for level := range strings.SplitSeq(s, "/") {
		if level == "" || level == "." || level == ".." {
			return false
		}
	}
	return true
}

func names(accounts []config.Account) string {
	quoted := make([]string, len(accounts))
	for i, acc := range accounts {
		quoted[i] = fmt.Sprintf("%q", acc.Name)
	}
	return list(quoted, "and")
}

// onEach has the engine work on every account, or folder of one, that the arguments name, while its progress is displayed, and
// shows what came of each. show returns an account's exit code; the error carries the command's.
func onEach[R any](ctx context.Context, a *app, args []string, work func(context.Context, job, mailsync.World) R, show func(R) int) error {
	jobs, err := a.jobs(args, true)
	if err != nil {
		return err
	}
	display := a.progress()
	defer display.stop()
	code := exitOK
	sideBySide(ctx, jobs, func(ctx context.Context, j job) R {
		defer display.done(j.Name)
		return work(ctx, j, a.world(j.Account, display.update))
	}, func(_ job, r R) { code = first(code, show(r)) })
	return outcome(code)
}

// sideBySide works on several accounts at once and hands the outcomes to show in the accounts' order, each as
// soon as it and those before it are there. One account's failure is no other's business.
func sideBySide[R any](ctx context.Context, jobs []job, work func(context.Context, job) R, show func(job, R)) {
	outcomes := make([]chan R, len(jobs))
	slots := make(chan struct{}, maxAccounts)
	var workers sync.WaitGroup
	for i, j := range jobs {
		outcomes[i] = make(chan R, 1)
		workers.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			outcomes[i] <- work(ctx, j)
		})
	}
	for i, j := range jobs {
		show(j, <-outcomes[i])
	}
	workers.Wait()
}
