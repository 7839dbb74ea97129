//go:build !linux

package control

import "net"

func listen(path string) (net.Listener, error) {
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false) // it is renamed
	return l, nil
}

func dial(path string) (net.Conn, error) { return net.DialTimeout("unix", path, askWithin) }
