package maildir

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// Keywords are lower-case letters in file names. Each folder has a file dovecot-keywords whose
// lines "0 name" say which letter (0 is a) stands for which keyword; Dovecot reads and writes it too. Lines
// are only ever added: a letter that once meant something must not mean something else.

const (
	maxLetters      = 26
	maxKeywordsFile = 1 << 20 // bytes; 26 keywords need at most 7 KB
	keywordsLock    = keywordsFile + ".lock"

	lockWait  = 2 * time.Second
	lockRetry = 50 * time.Millisecond
	// A lock that old was left behind by a program that died: Dovecot breaks it after this time too.
	lockStale = 2 * time.Minute
)

// keywords is one folder's dovecot-keywords.
type keywords struct {
	names  [maxLetters]string // empty: the letter is unknown or unusable
	listed letterSet          // letters that the file gives away, in whatever shape
	raw    []byte
}

// parseKeywords reads what it understands; the rest is kept in raw.
func parseKeywords(raw []byte) *keywords {
	k := &keywords{raw: raw}
	for line := range bytes.Lines(raw) {
		index, name, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		i, err := strconv.ParseUint(index, 10, 16)
		if err != nil || i >= maxLetters {
			continue
		}
		taken := k.listed.has(int(i))
		k.listed |= 1 << i
		if ok && !taken && (mail.ValidKeyword(name) || isListedSystem(name)) {
			k.names[i] = name
		}
	}
	return k
}

// isListedSystem: Dovecot has no letter P and lists $Forwarded as a keyword.
func isListedSystem(name string) bool { return mail.NewFlags(name).System() == mail.Forwarded }

// flags says what letters mean; unknown ones mean nothing.
func (k *keywords) flags(letters string) mail.Flags {
	f := mail.SystemFlags(systemFlags(letters))
	set := keywordLetters(letters)
	if set == 0 {
		return f
	}
	var names []string
	for i, name := range k.names {
		if set.has(i) && name != "" {
			names = append(names, name)
		}
	}
	return f.Plus(mail.NewFlags(names...))
}

// explains reports whether every keyword letter has a meaning.
func (k *keywords) explains(letters string) bool {
	for i := range k.names {
		if k.names[i] == "" && keywordLetters(letters).has(i) {
			return false
		}
	}
	return true
}

// letters spells those of f that have a letter, and says which keywords have none.
func (k *keywords) letters(f mail.Flags) (letters string, missing []string) {
	var b strings.Builder
	b.WriteString(lettersOf(f.System()))
	for _, kw := range f.Keywords() {
		if i := k.index(kw); i >= 0 {
			b.WriteByte('a' + byte(i))
		} else {
			missing = append(missing, kw)
		}
	}
	return b.String(), missing
}

// all spells every letter that means one of f: a keyword may be listed twice, $Forwarded as
// a keyword besides P.
func (k *keywords) all(f mail.Flags) string {
	var b strings.Builder
	b.WriteString(lettersOf(f.System()))
	for i, name := range k.names {
		if name != "" && !mail.NewFlags(name).And(f).IsZero() {
			b.WriteByte('a' + byte(i))
		}
	}
	return b.String()
}

func (k *keywords) index(keyword string) int {
	return slices.IndexFunc(k.names[:], func(n string) bool { return strings.EqualFold(n, keyword) })
}

// with returns the file with one more line.
func (k *keywords) with(i int, keyword string) *keywords {
	raw := slices.Clone(k.raw)
	if len(raw) > 0 && raw[len(raw)-1] != '\n' {
		raw = append(raw, '\n')
	}
	return parseKeywords(fmt.Appendf(raw, "%d %s\n", i, keyword))
}

// keywordStore reads, keeps and extends the folders' keyword files.
type keywordStore struct {
	s     *Store
	write sync.Mutex // one addition at a time
	// durable are the directories whose file was made durable.
	durable map[string]bool

	mu     sync.Mutex
	cached map[string]cachedKeywords // by directory; no file that was too young when it was read
	// elsewhere counts, by keyword in lower case, the folders in which it has a letter. It is read
	// once, when the first keyword needs a letter. nil: not yet.
	elsewhere map[string]*[maxLetters]int
}

type cachedKeywords struct {
	info FileInfo
	k    *keywords
}

// tells reports whether every later change of the file will show in what lstat says of it.
func (ks *keywordStore) tells(info FileInfo) bool {
	window := racyWindow
	if info.CTime.Nanosecond() != 0 {
		window = fineWindow
	}
	return ks.s.Local() && ks.s.now().Sub(info.CTime).Abs() > window
}

// load returns the folder's keywords, reading the file only if it changed.
func (ks *keywordStore) load(d folderDir) (*keywords, error) {
	name := d.sub(keywordsFile)
	info, err := ks.s.fs.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return parseKeywords(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keywords of %s: %w", d.name, err)
	}
	if info.Mode.IsDir() {
		// A folder may be called like this. Then the one above it can have no keywords.
		return &keywords{listed: 1<<maxLetters - 1}, nil
	}
	ks.mu.Lock()
	c, ok := ks.cached[d.path]
	ks.mu.Unlock()
	if ok && c.info == info {
		return c.k, nil
	}
	tells := ks.tells(info)
	raw, err := ks.s.readSmall(name, maxKeywordsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return parseKeywords(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the keywords of %s: %w", d.name, err)
	}
	k := parseKeywords(raw)
	ks.mu.Lock()
	defer ks.mu.Unlock()
	if !tells {
		delete(ks.cached, d.path)
		return k, nil
	}
	if ks.cached == nil {
		ks.cached = map[string]cachedKeywords{}
	}
	ks.cached[d.path] = cachedKeywords{info, k}
	return k, nil
}

// readSmall reads a whole file that must not be longer than limit.
func (s *Store) readSmall(name string, limit int64) ([]byte, error) {
	f, err := s.fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", name, limit)
	}
	return raw, err
}

// spell gives the letters of flags for a new file in d, and says which of the flags they hold. System flags alone
// need no look at the keywords.
func (s *Store) spell(d folderDir, f mail.Flags) (letters string, kept mail.Flags, err error) {
	if !f.HasKeywords() {
		return lettersOf(f.System()), f, nil
	}
	letters, k, err := s.lettersFor(d, f)
	if err != nil {
		return "", mail.Flags{}, err
	}
	letters = withLetters("", letters, "")
	return letters, k.flags(letters), nil
}

// lettersFor spells flags for a file in d, giving new keywords letters. A keyword for which
// none is left is not among them.
func (s *Store) lettersFor(d folderDir, f mail.Flags) (string, *keywords, error) {
	k, err := s.keywords.load(d)
	if err != nil {
		return "", nil, err
	}
	letters, missing := k.letters(f)
	if len(missing) == 0 {
		if f.HasKeywords() {
			err = s.keywords.keep(d)
		}
		return letters, k, err
	}
	if k, err = s.keywords.add(d, missing); err != nil {
		return "", nil, err
	}
	letters, _ = k.letters(f)
	return letters, k, nil
}

// Letterless are those of a message's keywords for which a folder has no letter left: that its file there has none for them means nothing. The others
// have one then.
func (s *Store) Letterless(f mail.FolderName, flags mail.Flags) (mail.Flags, error) {
	if !flags.HasKeywords() {
		return mail.Flags{}, nil
	}
	d, err := s.locate(f)
	if err != nil {
		return mail.Flags{}, err
	}
	letters, k, err := s.lettersFor(d, flags)
	if err != nil {
		return mail.Flags{}, err
	}
	return flags.KeywordsOnly().Minus(k.flags(letters)), nil
}

// keep makes the folder's file durable, once: a run that was killed, or a mail program, may have put it there just before. Letters
// that outlive it mean nothing any more.
func (ks *keywordStore) keep(d folderDir) error {
	ks.write.Lock()
	defer ks.write.Unlock()
	if ks.durable[d.path] {
		return nil
	}
	f, err := ks.s.fs.Open(d.sub(keywordsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = ks.s.syncDirs(d.path)
	}
	if err != nil {
		return fmt.Errorf("making the keywords of %s durable: %w", d.name, err)
	}
	ks.kept(d)
	return nil
}

// kept notes that a folder's file is durable. ks.write is held.
func (ks *keywordStore) kept(d folderDir) {
	if ks.durable == nil {
		ks.durable = map[string]bool{}
	}
	ks.durable[d.path] = true
}

// add gives letters to keywords as far as there are any, durably.
func (ks *keywordStore) add(d folderDir, names []string) (*keywords, error) {
	ks.write.Lock()
	defer ks.write.Unlock()
	k, err := ks.load(d)
	if err != nil {
		return nil, err
	}
	// Full is full: that needs no lock. Letters are never freed.
	if bits.OnesCount32(uint32(k.listed)) == maxLetters {
		return k, nil
	}
	used, err := ks.s.usedLetters(d)
	if err != nil {
		return nil, err
	}
	if err := ks.readAccount(); err != nil {
		return nil, err
	}
	lock, err := ks.acquire(d)
	if err != nil {
		return nil, fmt.Errorf("adding a keyword to %s: %w", d.name, err)
	}
	k, err = ks.extend(d, lock, names, used)
	if err != nil {
		// Best effort: a lock left behind is broken when it is old enough.
		err = errors.Join(fmt.Errorf("adding a keyword to %s: %w", d.name, err), ignoreMissing(ks.s.fs.Remove(d.sub(keywordsLock))))
	}
	return k, err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// extend writes the new file into the lock file and puts that in the old one's place, as Dovecot does.
func (ks *keywordStore) extend(d folderDir, lock File, names []string, used letterSet) (*keywords, error) {
	defer lock.Close()
	k, err := ks.load(d)
	if err != nil {
		return nil, err
	}
	added := k
	for _, name := range names {
		if added.index(name) >= 0 {
			continue
		}
		if i := ks.choose(name, added.listed|used); i >= 0 {
			added = added.with(i, name)
			ks.count(name, i)
		}
	}
	if added == k {
		return k, ks.s.fs.Remove(d.sub(keywordsLock))
	}
	if _, err := lock.WriteAt(added.raw, 0); err != nil {
		return nil, err
	}
	if err := lock.Sync(); err != nil {
		return nil, err
	}
	if err := lock.Close(); err != nil {
		return nil, err
	}
	if err := ks.s.fs.Rename(d.sub(keywordsLock), d.sub(keywordsFile)); err != nil {
		return nil, err
	}
	if err := ks.s.syncDirs(d.path); err != nil {
		return nil, err
	}
	ks.kept(d)
	return added, nil
}

// choose finds a letter that is free here: best one that the keyword has in other folders, then
// one that means nothing anywhere, then any. -1 if there is none.
func (ks *keywordStore) choose(keyword string, taken letterSet) int {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	var others [maxLetters]int // folders in which the letter means another keyword
	own := ks.elsewhere[strings.ToLower(keyword)]
	for kw, counts := range ks.elsewhere {
		if kw != strings.ToLower(keyword) {
			for i, n := range counts {
				others[i] += n
			}
		}
	}
	rank := func(i int) (int, int) {
		if own == nil {
			return 0, others[i]
		}
		return -own[i], others[i]
	}
	best := -1
	for i := range maxLetters {
		if taken.has(i) {
			continue
		}
		if best < 0 {
			best = i
			continue
		}
		a1, a2 := rank(i)
		b1, b2 := rank(best)
		if cmp.Or(cmp.Compare(a1, b1), cmp.Compare(a2, b2)) < 0 {
			best = i
		}
	}
	return best
}

func (ks *keywordStore) count(keyword string, i int) {
	ks.mu.Lock()
	defer ks.mu.Unlock()
	key := strings.ToLower(keyword)
	if ks.elsewhere[key] == nil {
		ks.elsewhere[key] = new([maxLetters]int)
	}
	ks.elsewhere[key][i]++
}

// readAccount reads which letters keywords have in the account's folders.
func (ks *keywordStore) readAccount() error {
	ks.mu.Lock()
	known := ks.elsewhere != nil
	ks.mu.Unlock()
	if known {
		return nil
	}
	folders, _, err := ks.s.Folders()
	if err != nil {
		return err
	}
	ks.mu.Lock()
	ks.elsewhere = map[string]*[maxLetters]int{}
	ks.mu.Unlock()
	for _, f := range folders {
		d, err := ks.s.locate(f.Name)
		if err != nil {
			return err
		}
		k, err := ks.load(d)
		if err != nil {
			continue // the folder itself will say so; here it only means one folder less to learn from
		}
		for i, name := range k.names {
			if name != "" {
				ks.count(name, i)
			}
		}
	}
	return nil
}

// acquire makes the lock file, waiting for whoever has it, but not for long.
func (ks *keywordStore) acquire(d folderDir) (File, error) {
	name := d.sub(keywordsLock)
	perm := fs.FileMode(0o600)
	if info, err := ks.s.fs.Stat(d.sub(keywordsFile)); err == nil && info.Mode.IsRegular() {
		perm = info.Mode.Perm() // others may share the folder
	}
	for waited := time.Duration(0); ; waited += lockRetry {
		f, err := ks.s.fs.Create(name, perm)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		if info, err := ks.s.fs.Stat(name); err == nil {
			if age, err := ks.s.clock.since(info.ModTime, lockStale); err == nil && age > lockStale {
				if err := ignoreMissing(ks.s.fs.Remove(name)); err != nil {
					return nil, err
				}
				continue
			}
		}
		if waited >= lockWait {
			return nil, ErrKeywordsLocked
		}
		time.Sleep(lockRetry)
	}
}
