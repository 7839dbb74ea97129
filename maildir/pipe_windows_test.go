package maildir

import "errors"

func mkfifo(string) error { return errors.ErrUnsupported }
