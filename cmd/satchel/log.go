package main

import (
	"log/slog"
	"time"
)

// log is where the program's own log goes: nowhere, or with -v to standard error, and with -vv in all
// detail. What concerns the person is in the results, whether they look at the log or not.
func (a *app) log() *slog.Logger {
	if a.verbose == 0 || a.ui.quiet {
		return slog.New(slog.DiscardHandler)
	}
	level := slog.LevelInfo
	if a.verbose > 1 {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.ui.msg, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && attr.Key == slog.TimeKey {
				return slog.String("t", attr.Value.Time().Format(clockTime))
			}
			return attr
		},
	}))
}

const clockTime = "15:04:05.000"

// trace prints the protocol, or is nil if nobody wants to see it.
func (a *app) trace(account string) func(dir byte, line string) {
	if a.verbose < 2 || a.ui.quiet {
		return nil
	}
	return func(dir byte, line string) {
		a.ui.note("%s %s %c %s", time.Now().Format(clockTime), account, dir, cleanLine(line))
	}
}
