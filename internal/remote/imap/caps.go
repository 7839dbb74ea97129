package imap

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/remote"
)

const (
	capGmail  goimap.Cap = "X-GM-EXT-1"
	capNotify goimap.Cap = "NOTIFY"
)

const (
	authPrefix  = "AUTH="
	limitPrefix = "APPENDLIMIT="
)

// usedCaps are the capabilities that change what this package does.
var usedCaps = [...]goimap.Cap{
	goimap.CapAppendLimit, goimap.CapCondStore, goimap.CapEnable, goimap.CapESearch, goimap.CapID, goimap.CapIdle,
	goimap.CapListExtended, goimap.CapListStatus, goimap.CapLiteralMinus, goimap.CapLiteralPlus,
	goimap.CapLoginDisabled, goimap.CapMove, goimap.CapMultiAppend, goimap.CapNamespace, goimap.CapObjectID, goimap.CapQResync,
	goimap.CapIMAP4rev1, goimap.CapSASLIR, goimap.CapSpecialUse, goimap.CapUIDPlus, goimap.CapUnselect, capGmail, capNotify,
}

// maxCaps bounds how many capabilities are remembered.
const maxCaps = 1000

// capSet is what the server says that it can do.
type capSet struct {
	names    []string // as spelled, without those that are hidden
	known    map[goimap.Cap]bool
	mechs    []string // SASL mechanisms
	maxBytes int64    // APPENDLIMIT
}

// parseCaps reads a list of capabilities. What hide names is treated as if it had not been offered.
func parseCaps(list string, hide []string) *capSet {
	c := &capSet{known: map[goimap.Cap]bool{}}
	for _, name := range strings.Fields(list) {
		upper := strings.ToUpper(remote.CleanText(name))
		base, value, _ := strings.Cut(upper, "=")
		if isSet(hide, upper) || isSet(hide, base) || c.known[goimap.Cap(upper)] || len(c.names) == maxCaps {
			continue
		}
		c.names = append(c.names, remote.CleanText(name))
		c.known[goimap.Cap(upper)] = true
		switch {
		case strings.HasPrefix(upper, authPrefix):
			c.mechs = append(c.mechs, value)
		case strings.HasPrefix(upper, limitPrefix):
			if n, err := strconv.ParseInt(value, 10, 64); err == nil && n > 0 {
				c.maxBytes = n
			}
			c.known[goimap.CapAppendLimit] = true
		}
	}
	// RFC 7162, section 3.2.1: QRESYNC includes CONDSTORE, so it goes with it, too.
	if c.known[goimap.CapQResync] {
		c.known[goimap.CapCondStore] = !isSet(hide, string(goimap.CapCondStore))
		c.known[goimap.CapQResync] = c.known[goimap.CapCondStore]
	}
	slices.Sort(c.names)
	return c
}

// clone returns a copy that can be changed, nil of nil.
func (c *capSet) clone() *capSet {
	if c == nil {
		return nil
	}
	out := *c
	out.known = maps.Clone(c.known)
	return &out
}

// has reports whether the server has a capability. IMAP4rev2 is never looked at: it is used only if
// it was enabled, which we don't, so that mailbox names are always modified UTF-7 (RFC 9051, appendix E).
func (c *capSet) has(name goimap.Cap) bool { return c != nil && c.known[name] }

// idles reports whether the server can tell of one mailbox, notifies whether it can of all. The latter takes UNSELECT: with a mailbox open it
// would tell of the others only.
func (s *Session) idles() bool { return s.caps.has(goimap.CapIdle) }

func (s *Session) notifies() bool {
	return s.caps.has(capNotify) && s.idles() && s.caps.has(goimap.CapUnselect)
}

// Capabilities says what the server can do, as used by the engine. The hierarchy delimiter is asked for if nothing was
// asked before.
func (s *Session) Capabilities() remote.Capabilities {
	s.settleNow(context.Background())
	out := remote.Capabilities{
		CondStore: s.caps.has(goimap.CapCondStore), Move: s.caps.has(goimap.CapMove), UIDPlus: s.caps.has(goimap.CapUIDPlus),
		Idle: s.idles(), Notify: s.notifies(),
		AppendLimit: s.caps.maxBytes, EqualEmailIDs: s.isMade("cyrus"), Names: slices.Clone(s.caps.names),
	}
	if s.delim != 0 {
		out.Delimiter = string(rune(s.delim))
	}
	for _, name := range s.caps.names {
		base, _, _ := strings.Cut(name, "=")
		compressed := s.cfg.Compress != CompressOff && strings.EqualFold(name, string(capCompress))
		if compressed || slices.ContainsFunc(usedCaps[:], func(c goimap.Cap) bool { return strings.EqualFold(string(c), base) }) {
			out.Used = append(out.Used, name)
		}
	}
	return out
}
