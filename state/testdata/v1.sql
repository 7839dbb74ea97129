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

CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE run (
	one    INTEGER PRIMARY KEY CHECK (one = 1),
	start  INTEGER,
	"end"  INTEGER,
	exit   INTEGER NOT NULL,
	error  TEXT NOT NULL
) STRICT;

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

CREATE TABLE tally (
	folder INTEGER NOT NULL,
	kind   TEXT NOT NULL,
	n      INTEGER NOT NULL,
	PRIMARY KEY (folder, kind)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX folder_name ON folder (name);
CREATE INDEX message_deleted ON message (folder) WHERE (remote_flags | local_flags) & 32 <> 0;
CREATE INDEX message_held ON message (folder) WHERE held <> 0;
CREATE UNIQUE INDEX message_name ON message (folder, name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX message_uid ON message (folder, uid);
CREATE INDEX message_why ON message (folder, why) WHERE why <> '';
INSERT INTO self VALUES (1, '0123456789abcdef0123456789abcdef', 1, 0, 'imap', 'imap.example.org', 'me@example.org', 1700000000, 7);
INSERT INTO folder VALUES (1, 'INBOX', 'INBOX', 1, 7, '', 0, 12, 0, 0, NULL, '', 0, 0, '', 0, 0, NULL, '', -1648600295);
INSERT INTO folder VALUES (2, 'Archive/2024', 'Archive.2024', 1, 4294967295, 'F2212ea87-6097-4256-9d51-71338625', -9223372036854775803, 4294967295, 9223372036854775807, 4294967295, x'0001ff', 'v1 since=2024', 1, 18, '$MDNSent', 1, 1, 1767323045, 'no such mailbox', -503220975);
INSERT INTO message VALUES (3, 2, 11, '17000000011.M1P1.host', '', CAST(x'6f7665722071756f746120ff002074657874' AS TEXT), 16, '$Junk Work', 48, '', x'4fc82b26aecb47d2868c4efbe3581732a3e7cbcc6c2efb32062c08170a05eeb8', x'6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918', 1, x'3fdba35f04dc8c462986c992bcf875546257113072a909c162f7e470e581e278', 1099511627776, -1, -2, 'M6d99ac3275bb4e', 1709208001, 1, 3, -1520067326);
INSERT INTO message VALUES (4, 2, 12, '1700000001.M2P2.host', '', '', 16, '', 16, '', x'6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b', x'd4735e3a265e16eee03f59718b9b5d03019c07d8b6c51f90da3a666eec13ab35', 1, NULL, 100, 97, 5, '', 1700000001, 0, 0, 898788237);
INSERT INTO message VALUES (5, 2, NULL, '1700000002.M3P3.host', 'read-only', '', 0, '', 15, '', NULL, NULL, 0, NULL, -1, 0, 0, '', NULL, 0, 0, 1353199039);
INSERT INTO tally VALUES (2, 'agreed', 2);
INSERT INTO tally VALUES (2, 'held', 1);
INSERT INTO tally VALUES (2, 'kept-back', 1);
INSERT INTO tally VALUES (2, 'only-local', 1);
INSERT INTO tally VALUES (2, 'park:read-only', 1);
INSERT INTO tally VALUES (2, 'seen', 1);
INSERT INTO intent VALUES (6, 'upload', 1, 7, 12, 1, 1700000003, 1, 0, 2, 11, '17000000011.M1P1.host', '', CAST(x'6f7665722071756f746120ff002074657874' AS TEXT), 16, '$Junk Work', 48, '', x'4fc82b26aecb47d2868c4efbe3581732a3e7cbcc6c2efb32062c08170a05eeb8', x'6b51d431df5d7f141cbececcf79edf3dd861c3b4069f0b11661a3eefacbba918', 1, x'3fdba35f04dc8c462986c992bcf875546257113072a909c162f7e470e581e278', 1099511627776, -1, -2, 'M6d99ac3275bb4e', 1709208001, 1, 3, 500898136);
INSERT INTO run VALUES (1, 1700000000, 1700000009, 3, 'held');
INSERT INTO meta VALUES ('key', 'it''s');
PRAGMA application_id = 1400136552;
PRAGMA user_version = 1;
