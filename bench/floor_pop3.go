package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"strings"

	"github.com/satchel-mail/satchel/bench/dovecot"
)

// floorRetr reads all messages over POP3 and forgets them. The commands for all are sent at once.
func floorRetr(a account) error {
	config, err := trusting(a)
	if err != nil {
		return err
	}
	c, err := tls.Dial("tcp", fmt.Sprintf("%s:%d", dovecot.Host, a.Port), config)
	if err != nil {
		return err
	}
	defer c.Close()
	r := bufio.NewReaderSize(c, 64<<10)
	answer := func(command string) (string, error) {
		if _, err := io.WriteString(c, command); err != nil {
			return "", err
		}
		line, err := r.ReadString('\n')
		if err == nil && !strings.HasPrefix(line, "+OK") {
			err = fmt.Errorf("the server says %q", line)
		}
		return line, err
	}
	var stat string
	for _, command := range []string{"", "USER " + a.User + "\r\n", "PASS " + dovecot.Password + "\r\n", "STAT\r\n"} {
		if stat, err = answer(command); err != nil {
			return err
		}
	}
	var n int
	if _, err := fmt.Sscanf(stat, "+OK %d", &n); err != nil {
		return err
	}
	var all strings.Builder
	for i := range n {
		fmt.Fprintf(&all, "RETR %d\r\n", i+1)
	}
	sent := make(chan error, 1)
	go func() { _, err := io.WriteString(c, all.String()); sent <- err }()
	if err := skipMessages(r, n); err != nil {
		return err
	}
	if err := <-sent; err != nil {
		return err
	}
	_, err = answer("QUIT\r\n")
	return err
}

// skipMessages reads until so many answers to RETR have ended.
func skipMessages(r *bufio.Reader, n int) error {
	end := []byte("\r\n.\r\n")
	tail := make([]byte, 0, len(end)+r.Size())
	for n > 0 {
		if _, err := r.Peek(1); err != nil {
			return err
		}
		have, _ := r.Peek(r.Buffered()) // which is there
		tail = append(tail, have...)
		_, _ = r.Discard(len(have))
		n -= bytes.Count(tail, end)
		tail = append(tail[:0], tail[max(0, len(tail)-len(end)+1):]...)
	}
	return nil
}
