// Package link is the line between a mail program and its server: a proxy on loopback that holds everything
// back for as long as a distance would, and counts.
//
// It models latency and TCP's handshake, not bandwidth, loss or slow start.
//
// Round trips are not counted by turns of the conversation, which says little about programs that send
// without waiting, but as Lamport's clocks do: what the client sends carries the number of round trips that it had
// seen the end of, on any connection; an answer carries one more than the newest of what the server had got on that
// connection. The number that the client has seen in the end is how often it can have waited, one after the
// other, and never more than the time divided by a round trip's latency.
package link

import (
	"errors"
	"net"
	"sync"
	"time"
)

// Count is the traffic of all connections, as TLS has it on the wire.
type Count struct {
	Connections int
	Up, Down    int64 // bytes to the server and to the client
	// Trips are the round trips that the client may have waited for, one after the other, TCP's
	// handshake being one.
	Trips int
}

// Link is a proxy.
type Link struct {
	listener net.Listener
	target   string
	rtt      time.Duration

	mu    sync.Mutex // guards all below
	count Count      // Trips is the client's clock
	conns map[net.Conn]struct{}

	running sync.WaitGroup // the accepting goroutine, and those of each connection
}

// New relays to target until Close, with a round trip's latency of rtt.
func New(target string, rtt time.Duration) (*Link, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{listener: listener, target: target, rtt: rtt, conns: map[net.Conn]struct{}{}}
	l.running.Go(l.accept)
	return l, nil
}

// Port is where it listens, on 127.0.0.1.
func (l *Link) Port() int { return l.listener.Addr().(*net.TCPAddr).Port }

// Count returns the traffic so far.
func (l *Link) Count() Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}

// Close cuts all connections and returns the traffic.
func (l *Link) Close() Count {
	_ = l.listener.Close()
	l.mu.Lock()
	for c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil // what is accepted from now on is closed at once
	l.mu.Unlock()
	l.running.Wait()
	return l.count
}

func (l *Link) accept() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		l.running.Go(func() { l.connection(client) })
	}
}

// connection relays until one end is closed.
func (l *Link) connection(client net.Conn) {
	server, err := net.Dial("tcp", l.target)
	if err != nil {
		_ = client.Close()
		return
	}
	begin := time.Now()
	l.mu.Lock()
	if l.conns == nil {
		l.mu.Unlock()
		_, _ = client.Close(), server.Close()
		return
	}
	l.conns[client], l.conns[server] = struct{}{}, struct{}{}
	l.count.Connections++
	// On loopback the handshake is over already. Over a distance the client would learn that a round trip later, and
	// the server half a trip after that.
	e := &ends{link: l, born: l.count.Trips + 1}
	l.mu.Unlock()

	var both sync.WaitGroup
	both.Go(func() { l.relay(server, client, begin.Add(l.rtt), e.sent, e.reached, e.left) })
	both.Go(func() { l.relay(client, server, begin.Add(l.rtt+l.rtt/2), e.answered, e.returned, func() {}) })
	both.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns != nil {
		delete(l.conns, client)
		delete(l.conns, server)
	}
}

// chunk is what was read at once, on its way.
type chunk struct {
	due   time.Time
	trips int
	data  []byte
}

// underWay is how many chunks of up to chunkSize fit into the line: so many that it is never full.
const (
	underWay  = 16 << 10
	chunkSize = 64 << 10
)

// relay carries from one end to the other, nothing of it before the given time. enter and leave are called for each
// chunk, as it is read and before it is written, and end when no more will be read.
func (l *Link) relay(to, from net.Conn, earliest time.Time, enter func(n int) int, leave func(trips int), end func()) {
	line := make(chan chunk, underWay) // closed by the reader
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(line)
		defer end()
		for {
			buf := make([]byte, chunkSize)
			n, err := from.Read(buf)
			if n > 0 {
				due := time.Now().Add(l.rtt / 2)
				if first := earliest.Add(l.rtt / 2); due.Before(first) {
					due = first
				}
				line <- chunk{due, enter(n), append([]byte(nil), buf[:n]...)}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range line {
		time.Sleep(time.Until(c.due))
		leave(c.trips)
		if _, err := to.Write(c.data); err != nil {
			_ = from.Close() // ends the reader
			for range line {
			}
			break
		}
	}
	reader.Wait()
	// The other direction may still have something to say, unless this end is gone altogether.
	if err := closeWrite(to); err != nil {
		_ = to.Close()
	}
}

func closeWrite(c net.Conn) error {
	if tcp, ok := c.(*net.TCPConn); ok {
		return tcp.CloseWrite()
	}
	return errors.ErrUnsupported
}

// ends are the clocks of one connection.
type ends struct {
	link *Link
	born int // of the connection: nothing is sent before that many round trips
	// server is the newest that reached the server; gone says that the client has hung up. Guarded by the link's mu.
	server int
	gone   bool
}

// sent is called as the client sends n bytes.
func (e *ends) sent(n int) int {
	e.link.mu.Lock()
	defer e.link.mu.Unlock()
	e.link.count.Up += int64(n)
	return max(e.link.count.Trips, e.born)
}

// reached is called as bytes get to the server.
func (e *ends) reached(trips int) {
	e.link.mu.Lock()
	defer e.link.mu.Unlock()
	e.server = max(e.server, trips)
}

// answered is called as the server sends n bytes.
func (e *ends) answered(n int) int {
	e.link.mu.Lock()
	defer e.link.mu.Unlock()
	e.link.count.Down += int64(n)
	return max(e.server, e.born) + 1
}

// returned is called as bytes get to the client.
func (e *ends) returned(trips int) {
	e.link.mu.Lock()
	defer e.link.mu.Unlock()
	if !e.gone {
		e.link.count.Trips = max(e.link.count.Trips, trips)
	}
}

// left is called when the client has hung up: it waits for nothing that the server still has to say.
func (e *ends) left() {
	e.link.mu.Lock()
	defer e.link.mu.Unlock()
	e.gone = true
}
