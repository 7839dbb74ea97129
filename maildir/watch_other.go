//go:build !linux

package maildir

import "errors"

// Watch: kqueue and its like tell that a directory changed, not what.
func (o *osFS) Watch() (Watch, error) { return nil, errors.ErrUnsupported }
