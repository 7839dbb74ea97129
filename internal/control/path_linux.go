package control

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxPath is how long the name of a socket can be (unix(7)).
const maxPath = 107

// within calls f with a name for path that a socket can have, however deep its directory lies.
func within(path string, f func(string) error) error {
	if len(path) <= maxPath {
		return f(path)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path)))
}

func listen(path string) (l net.Listener, err error) {
	err = within(path, func(name string) (err error) {
		u, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
		if err == nil {
			u.SetUnlinkOnClose(false) // it is renamed
			l = u
		}
		return err
	})
	return l, err
}

func dial(path string) (c net.Conn, err error) {
	err = within(path, func(name string) (err error) {
		c, err = net.DialTimeout("unix", name, askWithin)
		return err
	})
	return c, err
}
