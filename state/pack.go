package state

import (
	"encoding/binary"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// A packed row is a message, or an intent with its message, as bytes. What is zero takes one bit of the mask that the
// row begins with. What comparing needs lies in front, so that it can be read without the rest (see head).
const (
	hasMessageID = 1 << iota
	isRaw
	isRemoteHeld
	isLocalHeld
	hasRemoteWords
	hasLocalWords
	hasWhy
	hasName
	hasText
	hasEmailID
	hasDigest
	hasHeader
	hasRemoteDigest
	hasInode
	hasDate
	isGuarded // the last one of the two bytes
)

// maxPacked is how many bytes a packed message takes at most, besides its texts.
const maxPacked = 2 + 2*binary.MaxVarintLen64 + 2 + 6*binary.MaxVarintLen64 + 3*32 + 4*binary.MaxVarintLen64

// appendMessage packs m. Its ID is not part of it: the row's place says that.
func appendMessage(b []byte, m *Message) []byte {
	mask := uint16(0)
	set := func(bit uint16, on bool) {
		if on {
			mask |= bit
		}
	}
	set(hasMessageID, m.HasMessageID)
	set(isRaw, m.Raw)
	set(isRemoteHeld, m.RemoteHeld)
	set(isLocalHeld, m.LocalHeld)
	set(isGuarded, m.Guarded)
	set(hasRemoteWords, m.RemoteFlags.HasKeywords())
	set(hasLocalWords, m.LocalFlags.HasKeywords())
	set(hasWhy, m.Why != "")
	set(hasName, m.Name != "")
	set(hasText, m.Text != "")
	set(hasEmailID, m.EmailID != "")
	set(hasDigest, !m.Digest.IsZero())
	set(hasHeader, !m.Header.IsZero())
	set(hasRemoteDigest, !m.RemoteDigest.IsZero())
	set(hasInode, m.Inode != 0)
	set(hasDate, !m.Date.IsZero())

	b = appendFlagged(b, &head{mask: mask, folder: m.Folder, uid: m.UID, remote: m.RemoteFlags, local: m.LocalFlags})
	for _, s := range [...]string{m.Why, m.Name, m.Text, m.EmailID} {
		if s != "" {
			b = appendText(b, s)
		}
	}
	for _, d := range [...]*mail.Digest{&m.Digest, &m.Header, &m.RemoteDigest} {
		if !d.IsZero() {
			b = append(b, d[:]...)
		}
	}
	b = binary.AppendVarint(b, m.RemoteSize)
	b = binary.AppendVarint(b, m.FileSize)
	if m.Inode != 0 {
		b = binary.AppendUvarint(b, m.Inode)
	}
	if mask&hasDate != 0 {
		b = binary.AppendVarint(b, m.Date.Unix())
	}
	return b
}

// appendFlagged writes the front of a row, up to its flags.
func appendFlagged(b []byte, h *head) []byte {
	b = binary.LittleEndian.AppendUint16(b, h.mask)
	b = binary.AppendUvarint(b, uint64(h.folder))
	b = binary.AppendUvarint(b, uint64(h.uid))
	b = append(b, byte(h.remote.System()), byte(h.local.System()))
	b = appendWords(b, h.remote)
	return appendWords(b, h.local)
}

// appendWords writes a set's keywords, nothing if there are none: the mask says so.
func appendWords(b []byte, f mail.Flags) []byte {
	if !f.HasKeywords() {
		return b
	}
	start := len(b)
	b = f.AppendKeywords(append(b, 0))
	if n := len(b) - start - 1; n < 0x80 {
		b[start] = byte(n)
		return b
	}
	words := string(b[start+1:])
	return appendText(b[:start], words)
}

// maxFlagged is how many bytes appendFlagged appends at most, but for keywords.
const maxFlagged = 2 + 2*binary.MaxVarintLen64 + 2

// roomForWords is for keywords; more of them make the buffer grow.
const roomForWords = 2 * 64

// packedSize is an upper bound of what appendMessage appends.
func packedSize(m *Message) int {
	return maxPacked + roomForWords + len(m.Name) + len(m.Why) + len(m.Text) + len(m.EmailID)
}

// head is the front of a packed row.
type head struct {
	mask          uint16
	folder        int64
	uid           mail.UID
	remote, local mail.Flags
	why           string
	name          []byte // the row's own bytes
	rest          []byte // what follows the flags, the row's own bytes
}

// head reads the front of a row.
func (w *words) head(c *cursor) (h head) {
	mask := c.take(2)
	if mask == nil {
		return head{}
	}
	h.mask = binary.LittleEndian.Uint16(mask)
	h.folder = int64(c.uvarint())
	uid := c.uvarint()
	h.uid = mail.UID(uid)
	if uint64(h.uid) != uid {
		c.fail()
	}
	remote, local := mail.System(c.byte()), mail.System(c.byte())
	h.remote, h.local = mail.SystemFlags(remote), mail.SystemFlags(local)
	if h.remote.System() != remote || h.local.System() != local {
		c.fail()
	}
	if h.mask&hasRemoteWords != 0 {
		h.remote = h.remote.Plus(w.flags(c.text()))
	}
	if h.mask&hasLocalWords != 0 {
		h.local = h.local.Plus(w.flags(c.text()))
	}
	h.rest = c.b
	if h.mask&hasWhy != 0 {
		h.why = w.why(c.text())
	}
	if h.mask&hasName != 0 {
		h.name = c.text()
	}
	return h
}

// readHead reads the front of a row and leaves the rest.
func (w *words) readHead(row []byte) (head, error) {
	c := cursor{b: row}
	h := w.head(&c)
	if c.bad {
		return head{}, errFormat
	}
	return h, nil
}

// message unpacks a row into m, which is zero but for its ID.
func (w *words) message(row []byte, m *Message) error {
	c := cursor{b: row}
	h := w.head(&c)
	m.Folder, m.UID, m.RemoteFlags, m.LocalFlags, m.Why, m.Name = h.folder, h.uid, h.remote, h.local, h.why, string(h.name)
	m.HasMessageID, m.Raw = h.mask&hasMessageID != 0, h.mask&isRaw != 0
	m.RemoteHeld, m.LocalHeld, m.Guarded = h.mask&isRemoteHeld != 0, h.mask&isLocalHeld != 0, h.mask&isGuarded != 0
	if h.mask&hasText != 0 {
		m.Text = string(c.text())
	}
	if h.mask&hasEmailID != 0 {
		m.EmailID = string(c.text())
	}
	if h.mask&hasDigest != 0 {
		copy(m.Digest[:], c.take(len(m.Digest)))
	}
	if h.mask&hasHeader != 0 {
		copy(m.Header[:], c.take(len(m.Header)))
	}
	if h.mask&hasRemoteDigest != 0 {
		copy(m.RemoteDigest[:], c.take(len(m.RemoteDigest)))
	}
	m.RemoteSize, m.FileSize = c.varint(), c.varint()
	if h.mask&hasInode != 0 {
		m.Inode = c.uvarint()
	}
	if h.mask&hasDate != 0 {
		m.Date = time.Unix(c.varint(), 0).UTC()
	}
	return c.end()
}

// appendIntent packs an intent.
func appendIntent(b []byte, i *Intent) []byte {
	b = appendText(b, string(i.Kind))
	b = binary.AppendUvarint(b, uint64(i.To))
	b = binary.AppendUvarint(b, i.UIDValidity)
	b = binary.AppendUvarint(b, uint64(i.UIDNext))
	b = binary.AppendVarint(b, int64(i.Sends))
	bits := byte(0)
	if i.Settled {
		bits |= intentSettled
	}
	if !i.Started.IsZero() {
		bits |= intentStarted
	}
	b = append(b, bits)
	if !i.Started.IsZero() {
		b = binary.AppendVarint(b, i.Started.Unix())
	}
	b = binary.AppendUvarint(b, uint64(i.Message.ID))
	return appendMessage(b, &i.Message)
}

const (
	intentSettled = 1 << iota
	intentStarted
	intentUnknown
)

// intent unpacks a row into i, which is zero but for its ID.
func (w *words) intent(row []byte, i *Intent) error {
	c := cursor{b: row}
	i.Kind = IntentKind(c.text())
	i.To = int64(c.uvarint())
	i.UIDValidity = c.uvarint()
	next := c.uvarint()
	i.UIDNext = mail.UID(next)
	i.Sends = int(c.varint())
	bits := c.byte()
	if uint64(i.UIDNext) != next || bits >= intentUnknown {
		c.fail()
	}
	i.Settled = bits&intentSettled != 0
	if bits&intentStarted != 0 {
		i.Started = time.Unix(c.varint(), 0).UTC()
	}
	i.Message.ID = int64(c.uvarint())
	if c.bad {
		return errFormat
	}
	return w.message(c.b, &i.Message)
}

// maxWords bounds how many spellings words remembers.
const maxWords = 1000

// words remembers the keywords and reasons that were read: there are few, and they come again and again.
type words struct {
	sets map[string]mail.Flags
	whys map[string]string
}

func newWords() words {
	return words{sets: make(map[string]mail.Flags), whys: make(map[string]string)}
}

func (w *words) flags(b []byte) mail.Flags {
	f, ok := w.sets[string(b)]
	if !ok {
		s := string(b)
		f = mail.ParseFlags(s)
		if len(w.sets) < maxWords {
			w.sets[s] = f
		}
	}
	return f
}

func (w *words) why(b []byte) string {
	s, ok := w.whys[string(b)]
	if !ok {
		s = string(b)
		if len(w.whys) < maxWords {
			w.whys[s] = s
		}
	}
	return s
}
