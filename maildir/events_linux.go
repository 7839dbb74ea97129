package maildir

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

func systemWatcher() func() (*fsnotify.Watcher, error) { return fsnotify.NewWatcher }

// watchLimit says which limit of the system stood in the way of watching, nil if it was none (inotify(7)).
func watchLimit(root string, err error) error {
	limit, what := "", ""
	switch {
	case errors.Is(err, unix.ENOSPC):
		limit, what = "max_user_watches", "directories"
	case errors.Is(err, unix.EMFILE):
		limit, what = "max_user_instances", "programs"
	default:
		return nil
	}
	have := "?"
	more := 1 << 19 // directories, what recent distributions set
	if what == "programs" {
		more = 1 << 10
	}
	if raw, err := os.ReadFile("/proc/sys/fs/inotify/" + limit); err == nil {
		have = strings.TrimSpace(string(raw))
		if n, err := strconv.Atoi(have); err == nil {
			more = max(more, 2*n)
		}
	}
	return fmt.Errorf("%s is looked at every %v instead of being watched, because this user's programs watch as many %s as the system allows (%s). "+
		"To allow more: sudo sysctl fs.inotify.%s=%d, then start Satchel again: %w", root, pollEvery, what, have, limit, more, err)
}
