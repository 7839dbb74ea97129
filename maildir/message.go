package maildir

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Stat looks one message up. ErrNotFound only after a quiet reading of the folder, else ErrBusy.
func (s *Store) Stat(f mail.FolderName, base string) (Info, error) {
	var info Info
	err := s.onFile(f, base, func(d folderDir, e Entry) error {
		fi, err := s.fs.Stat(d.file(e))
		info = newInfo(e, fi)
		return err
	})
	return info, err
}

func newInfo(e Entry, fi FileInfo) Info {
	return Info{Entry: e, Size: fi.Size, ModTime: fi.ModTime, Inode: fi.Inode}
}

// Message is an open message file, its bytes as they lie on disk.
type Message struct {
	io.ReadSeekCloser
	Info Info
}

// Open opens the message's file for reading.
func (s *Store) Open(f mail.FolderName, base string) (*Message, error) {
	file, info, err := s.open(f, base)
	if err != nil {
		return nil, err
	}
	return &Message{ReadSeekCloser: file, Info: info}, nil
}

func (s *Store) open(f mail.FolderName, base string) (file File, info Info, err error) {
	err = s.onFile(f, base, func(d folderDir, e Entry) error {
		opened, err := s.fs.Open(d.file(e))
		if err != nil {
			return err
		}
		fi, err := opened.Stat()
		if err != nil {
			opened.Close()
			return err
		}
		file, info = opened, newInfo(e, fi)
		return nil
	})
	return file, info, err
}

// unchanged reports whether an open file is what it was when info was taken. Renaming it is no change.
func unchanged(file File, info Info) error {
	fi, err := file.Stat()
	if err != nil {
		return err
	}
	if fi.Size != info.Size || !fi.ModTime.Equal(info.ModTime) {
		return ErrChanged
	}
	return nil
}

// Survey reads the whole message once.
func (s *Store) Survey(ctx context.Context, f mail.FolderName, base string) (mail.Content, Info, error) {
	file, info, err := s.open(f, base)
	if err != nil {
		return mail.Content{}, Info{}, err
	}
	defer file.Close()
	content, err := s.survey(contextReader{ctx, file})
	if err == nil {
		err = unchanged(file, info)
	}
	if err == nil && content.Size != info.Size {
		err = ErrChanged
	}
	if err != nil {
		return mail.Content{}, Info{}, fmt.Errorf("reading %s in %s: %w", base, f, err)
	}
	return content, info, nil
}

func (s *Store) surveyor() *mail.Surveyor {
	if s.maildrop {
		return mail.NewMaildropSurveyor()
	}
	return mail.NewSurveyor()
}

func (s *Store) survey(r io.Reader) (mail.Content, error) {
	if s.maildrop {
		return mail.SurveyMaildrop(r)
	}
	return mail.Survey(r)
}

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// wireInMemory is the size up to which a message is held in memory instead of being read twice.
const wireInMemory = 128 << 10

// OpenWire opens the message as it goes over the wire, and says how many bytes that will be, exactly: if the
// file changes meanwhile, reading fails (ErrChanged) rather than giving more or fewer. raw: its LFs stay.
func (s *Store) OpenWire(f mail.FolderName, base string, raw bool) (io.ReadCloser, int64, error) {
	file, info, err := s.open(f, base)
	if err != nil {
		return nil, 0, err
	}
	w, err := newWire(file, info, raw)
	if err != nil {
		file.Close()
		return nil, 0, fmt.Errorf("reading %s in %s: %w", base, f, err)
	}
	return w, w.left, nil
}

// wire gives exactly left more bytes, or an error.
type wire struct {
	file  File
	check func() error // whether file is still what left was computed from
	r     io.Reader
	left  int64
	err   error
}

func newWire(file File, info Info, raw bool) (*wire, error) {
	w := &wire{file: file, r: file, left: info.Size, check: func() error { return unchanged(file, info) }}
	if info.Size <= wireInMemory {
		all, err := io.ReadAll(io.LimitReader(file, wireInMemory+1))
		if err != nil {
			return nil, err
		}
		if int64(len(all)) != info.Size {
			return nil, ErrChanged
		}
		if err := w.check(); err != nil {
			return nil, err
		}
		w.r, w.check = bytes.NewReader(all), func() error { return nil }
		if !raw && !bytes.Contains(all, []byte("\r\n")) {
			w.r, w.left = mail.WireReader(w.r), info.Size+int64(bytes.Count(all, []byte("\n")))
		}
		return w, nil
	}
	if raw {
		return w, nil
	}
	lf, crlf, err := countLineEnds(file)
	if err != nil {
		return nil, err
	}
	if err := w.check(); err != nil {
		return nil, err
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	if !crlf {
		w.r, w.left = mail.WireReader(file), info.Size+lf
	}
	return w, nil
}

// countLineEnds counts LFs until it finds a CRLF, which makes the count irrelevant.
func countLineEnds(r io.Reader) (lf int64, crlf bool, err error) {
	buf := make([]byte, 64<<10)
	cr := false
	for {
		n, err := r.Read(buf)
		p := buf[:n]
		if n > 0 {
			if (cr && p[0] == '\n') || bytes.Contains(p, []byte("\r\n")) {
				return 0, true, nil
			}
			lf += int64(bytes.Count(p, []byte("\n")))
			cr = p[n-1] == '\r'
		}
		if err == io.EOF {
			return lf, false, nil
		}
		if err != nil {
			return 0, false, err
		}
	}
}

func (w *wire) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > w.left {
		p = p[:w.left]
	}
	n, err := w.r.Read(p)
	if int64(n) == w.left && (err == nil || err == io.EOF) {
		// The last bytes are only given away if the file is still the same: whoever announced
		// the size reads no further and would miss a later error.
		err = w.check()
		if err != nil {
			n = 0
		}
	} else if err == io.EOF {
		err = fmt.Errorf("%w: it became shorter", ErrChanged)
	}
	w.left -= int64(n)
	w.err = err
	return n, err
}

func (w *wire) Close() error { return w.file.Close() }
