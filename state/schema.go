package state

import (
	"fmt"
)

// applicationID marks the file as Satchel's ("Stch"), for file(1) and against mistakes.
const applicationID = 0x53746368

// step brings a database from one version to the next: by sql, then by do, if it is set.
type step struct {
	sql string
	do  func(tx *Tx) error
}

// migrations make the schema, each from the version before; PRAGMA user_version counts those that
// were done. The list is only ever appended to: what was released is never edited.
//
// In tables, flags are kept as the bits of mail.System plus the keywords as text; times as Unix seconds, NULL
// for none. Unsigned 64-bit numbers are kept as the signed number with the same bits. The column sum is a checksum of the
// row (see checksum): SQLite notices damage to its pages, not to what is in them. The column data is a blob with a checksum
// of its own (see blob.go).
func migrations() []step {
	return []step{{sql: schema1}, {sql: schema2, do: convert1}, {sql: schema3}}
}

const schema3 = `
-- messages that are gone from a maildrop (POP3), by the server's names for them
CREATE TABLE departed (
	id     TEXT PRIMARY KEY,
	row    INTEGER NOT NULL, -- of its file, 0 if there is none
	size   INTEGER NOT NULL,
	header BLOB,
	at     INTEGER NOT NULL,
	sum    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX departed_at ON departed (at);
`

const schema2 = `
-- messages by id >> 5
CREATE TABLE message_page (
	no   INTEGER PRIMARY KEY,
	data BLOB NOT NULL
) STRICT;

-- intents by id >> 5
CREATE TABLE intent_page (
	no   INTEGER PRIMARY KEY,
	data BLOB NOT NULL
) STRICT;

-- what messages are looked up by: the entries of a folder in order, cut into parts; the id is the folder's << 20 | a number
CREATE TABLE index_part (
	id   INTEGER PRIMARY KEY,
	data BLOB NOT NULL
) STRICT;

-- what changed since in the entries; ids as with parts
CREATE TABLE index_delta (
	id   INTEGER PRIMARY KEY,
	data BLOB NOT NULL
) STRICT;

-- the secret that names are hashed with
CREATE TABLE index_key (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	data BLOB NOT NULL
) STRICT;

-- counts of a folder's messages, and what its index adds up to
CREATE TABLE summary (
	folder INTEGER PRIMARY KEY,
	data   BLOB NOT NULL
) STRICT;
`

const schema1 = `
CREATE TABLE self (
	one         INTEGER PRIMARY KEY CHECK (one = 1),
	generation  TEXT NOT NULL,    -- random, new whenever the database is adopted
	inode       INTEGER NOT NULL, -- of this file, 0 while it is not adopted
	born        INTEGER NOT NULL, -- its birth in nanoseconds, 0 where the file system does not tell
	owner_kind  TEXT NOT NULL,
	owner_host  TEXT NOT NULL,
	owner_user  TEXT NOT NULL,
	since       INTEGER NOT NULL, -- when it was made or adopted
	next_id     INTEGER NOT NULL  -- row ids are never used twice, intents outlive rows
) STRICT;

CREATE TABLE folder (
	id              INTEGER PRIMARY KEY,
	name            TEXT NOT NULL,
	mailbox         TEXT NOT NULL,
	on_disk         INTEGER NOT NULL,
	uid_validity    INTEGER NOT NULL,
	mailbox_id      TEXT NOT NULL,
	inode           INTEGER NOT NULL,
	uid_next        INTEGER NOT NULL,
	modseq          INTEGER NOT NULL,
	"exists"        INTEGER NOT NULL,
	local_mark      BLOB,
	filter          TEXT NOT NULL,
	read_only       INTEGER NOT NULL,
	permanent       INTEGER NOT NULL,
	permanent_words TEXT NOT NULL,
	any_keyword     INTEGER NOT NULL,
	permanent_known INTEGER NOT NULL,
	last_sync       INTEGER,
	last_error      TEXT NOT NULL,
	sum             INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX folder_name ON folder (name);

CREATE TABLE message (
	id              INTEGER PRIMARY KEY,
	folder          INTEGER NOT NULL,
	uid             INTEGER,
	name            TEXT,
	why             TEXT NOT NULL,
	text            TEXT NOT NULL,
	remote_flags    INTEGER NOT NULL,
	remote_words    TEXT NOT NULL,
	local_flags     INTEGER NOT NULL,
	local_words     TEXT NOT NULL,
	digest          BLOB,
	header          BLOB,
	has_message_id  INTEGER NOT NULL,
	remote_digest   BLOB,
	remote_size     INTEGER NOT NULL,
	file_size       INTEGER NOT NULL,
	inode           INTEGER NOT NULL,
	email_id        TEXT NOT NULL,
	date            INTEGER,
	raw             INTEGER NOT NULL,
	held            INTEGER NOT NULL, -- 1: gone on the server, 2: gone from the Maildir
	sum             INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX message_uid ON message (folder, uid); -- NULLs are all different
CREATE UNIQUE INDEX message_name ON message (folder, name) WHERE name IS NOT NULL;
CREATE INDEX message_why ON message (folder, why) WHERE why <> '';
CREATE INDEX message_held ON message (folder) WHERE held <> 0;
CREATE INDEX message_deleted ON message (folder) WHERE (remote_flags | local_flags) & 32 <> 0;

CREATE TABLE tally (
	folder INTEGER NOT NULL,
	kind   TEXT NOT NULL,
	n      INTEGER NOT NULL,
	PRIMARY KEY (folder, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE intent (
	id              INTEGER PRIMARY KEY,
	kind            TEXT NOT NULL,
	dest            INTEGER NOT NULL,
	uid_validity    INTEGER NOT NULL,
	uid_next        INTEGER NOT NULL,
	sends           INTEGER NOT NULL,
	started         INTEGER,
	settled         INTEGER NOT NULL,
	-- the message as it will be; its columns are those of message
	row             INTEGER NOT NULL,
	folder          INTEGER NOT NULL,
	uid             INTEGER,
	name            TEXT,
	why             TEXT NOT NULL,
	text            TEXT NOT NULL,
	remote_flags    INTEGER NOT NULL,
	remote_words    TEXT NOT NULL,
	local_flags     INTEGER NOT NULL,
	local_words     TEXT NOT NULL,
	digest          BLOB,
	header          BLOB,
	has_message_id  INTEGER NOT NULL,
	remote_digest   BLOB,
	remote_size     INTEGER NOT NULL,
	file_size       INTEGER NOT NULL,
	inode           INTEGER NOT NULL,
	email_id        TEXT NOT NULL,
	date            INTEGER,
	raw             INTEGER NOT NULL,
	held            INTEGER NOT NULL,
	sum             INTEGER NOT NULL
) STRICT;

CREATE TABLE run (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	start  INTEGER,
	"end"  INTEGER,
	exit   INTEGER NOT NULL,
	error  TEXT NOT NULL
) STRICT;

CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
`

// schemaVersion reads what schema the file has. empty: nothing was ever written into it.
func (c *conn) schemaVersion() (version int, empty bool, err error) {
	numbers := [2]int64{}
	for i, p := range []string{"application_id", "user_version"} {
		v, err := c.pragmaValue(p)
		if err != nil {
			return 0, false, err
		}
		numbers[i], _ = v.(int64)
	}
	if numbers == [2]int64{} {
		v, err := c.one("SELECT count(*) FROM sqlite_schema")
		if err != nil {
			return 0, false, err
		}
		if v == 0 {
			return 0, true, nil
		}
	}
	if numbers[0] != applicationID || numbers[1] < 1 {
		return 0, false, c.damaged(fmt.Errorf("it is not a state database of Satchel"))
	}
	return int(numbers[1]), false, nil
}

// migrate does what is missing of steps, all or nothing, inside the caller's transaction.
func (tx *Tx) migrate(version int, steps []step) error {
	c := tx.c
	for _, s := range steps[version:] {
		if err := c.script(s.sql); err != nil {
			return err
		}
		if s.do == nil {
			continue
		}
		if err := s.do(tx); err != nil {
			return err
		}
	}
	if err := c.script(fmt.Sprintf("PRAGMA application_id = %d", applicationID)); err != nil {
		return err
	}
	return c.script(fmt.Sprintf("PRAGMA user_version = %d", len(steps)))
}
