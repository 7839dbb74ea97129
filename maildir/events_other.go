//go:build !linux

package maildir

import "github.com/fsnotify/fsnotify"

// systemWatcher: kqueue would hold every message file open, and Windows tells nothing of network drives, which can't be told from
// others here.
func systemWatcher() func() (*fsnotify.Watcher, error) { return nil }

func watchLimit(string, error) error { return nil }
