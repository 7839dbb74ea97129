package main

import (
	"fmt"
	"time"

	"github.com/satchel-mail/satchel/bench/letters"
)

// The mailboxes.

func oneOf(name string, count int, kind letters.Kind) letters.Mailbox {
	return letters.Mailbox{Name: name, Folders: []letters.Folder{{Name: "INBOX", Kind: kind, Count: count, Read: count / 2}}}
}

// unread is an INBOX without flags, which POP3 does not know.
func unread(name string, count int) letters.Mailbox {
	return letters.Mailbox{Name: name, Folders: []letters.Folder{{Name: "INBOX", Kind: letters.Small, Count: count, Plain: true}}}
}

// many spreads count letters over folders of equal size, of which INBOX is one.
func many(name string, folders, count int, kind letters.Kind) letters.Mailbox {
	m := letters.Mailbox{Name: name}
	for i := range folders {
		f := letters.Folder{Name: "INBOX", Kind: kind, Count: count / folders, Read: count / folders * 9 / 10}
		if i > 0 {
			f.Name = fmt.Sprintf("Folder %02d", i)
		}
		m.Folders = append(m.Folders, f)
	}
	return m
}

func hundredThousand() letters.Mailbox { return oneOf("100k", 100_000, letters.Tiny) }
func hundredFolders() letters.Mailbox  { return many("100x1k", 100, 100_000, letters.Tiny) }

// withArchive is an INBOX and an empty folder beside it.
func withArchive(name string, count int, kind letters.Kind) letters.Mailbox {
	m := oneOf(name, count, kind)
	m.Folders = append(m.Folders, letters.Folder{Name: archive})
	return m
}

const archive = "Archive"

// far is the round trip's latency of a server on another continent.
const far = 100 * time.Millisecond

// The rows that limits compare with, by their names.
const (
	comesAs = "mbsync"       // as it comes: with COMPRESS
	plain   = "mbsync-plain" // without
	qresync = "interimap"
	bare    = "list-status"
	stream  = "fetch-stream"
	writing = "write-files"
	mpops   = "mpop"
)

// Bounds of what is counted.
const (
	handful  = 15   // round trips, from connecting on
	noBodies = 5000 // kB: the messages that are moved have 20,000, their headers, which may be compared, some 3,000
)

// lessCPU is the limit of all scenarios that transfer little.
func lessCPU() limit { return limit{of: cpu, factor: 1, than: []string{comesAs}} }

// scenarios are all that there are, with their targets.
func scenarios() []scenario {
	return []scenario{
		{
			name: "noop-100k", title: "nothing changed, one folder of 100,000", often: 3,
			mailbox: hundredThousand(), course: idle{},
			tools: []string{subject, comesAs, qresync}, floors: []floor{listStatus()},
			limits: []limit{
				{of: wall, factor: 0.12, than: []string{comesAs}},
				{of: wall, factor: 1, than: []string{bare}, plus: 0.040},
				{of: wire, factor: 1, than: []string{bare}, plus: 4}, // nothing that grows with the mailbox
				lessCPU(),
			},
		},
		{
			name: "noop-1m", title: "nothing changed, one folder of 1,000,000", often: 3,
			mailbox: oneOf("1m", 1_000_000, letters.Note), course: idle{}, big: true,
			tools: []string{subject}, onRequest: []string{comesAs}, floors: []floor{listStatus()},
			limits: []limit{
				// The 3 ms are for the noise in a difference of some tens of them.
				{of: wall, over: bare, factor: 1.2, than: []string{subject}, in: "noop-100k", plus: 0.003},
				{of: wire, factor: 1, than: []string{bare}, plus: 4},
				{of: rss, plus: 64},
				{of: cpu, factor: 1, than: []string{comesAs}, in: "noop-100k"}, // with a tenth of the messages
			},
		},
		{
			name: "noop-100x1k", title: "nothing changed, 100 folders of 1,000",
			mailbox: hundredFolders(), course: idle{},
			tools: []string{subject, comesAs, qresync}, floors: []floor{listStatus()},
			limits: []limit{
				{of: wall, factor: 0.12, than: []string{comesAs}},
				{of: wall, factor: 0.4, than: []string{qresync}},
				lessCPU(),
			},
		},
		{
			name: "noop-100x1k-far", title: "nothing changed, 100 folders of 1,000, at 100 ms round trip",
			mailbox: hundredFolders(), course: idle{}, rtt: far,
			tools: []string{subject, comesAs, qresync}, floors: []floor{listStatus()},
			limits: []limit{
				{of: trips, factor: 1, than: []string{bare}},
				{of: wall, factor: 1, than: []string{bare}, plus: 0.060},
				lessCPU(),
			},
		},
		{
			name: "change-server", title: "10 new, 10 flags, 10 deletions on the server, in 100,000",
			mailbox: hundredThousand(), course: change{onServer: true, make: fewOnServer},
			tools: []string{subject, comesAs, qresync}, floors: []floor{listStatus()},
			limits: []limit{{of: wall, factor: 0.2, than: []string{comesAs}}, lessCPU()},
		},
		{
			name: "change-maildir", title: "10 new, 10 flags, 10 deletions in the Maildir, in 100,000",
			mailbox: hundredThousand(), course: change{make: fewInMaildir},
			tools: []string{subject, comesAs}, floors: []floor{listStatus()},
			limits: []limit{{of: wall, factor: 0.3, than: []string{comesAs}}, lessCPU()},
		},
		{
			name: "mark-server-50k", title: "50,000 of 100,000 marked read on the server",
			mailbox: hundredThousand(), course: bulk{onServer: true, work: mark{50_000}},
			tools: []string{subject, comesAs}, floors: []floor{renameFiles(), script("fetch-flags")},
			limits: []limit{{of: wall, factor: 0.2, than: []string{comesAs}}, {of: trips, plus: handful}, lessCPU()},
		},
		{
			name: "mark-maildir-50k", title: "50,000 of 100,000 marked read in the Maildir",
			mailbox: hundredThousand(), course: bulk{work: mark{50_000}},
			tools: []string{subject, comesAs}, floors: []floor{script("store-flags")},
			limits: []limit{{of: wall, factor: 0.2, than: []string{comesAs}}, {of: trips, plus: handful}, lessCPU()},
		},
		{
			name: "move-server-10k", title: "10,000 of 20,000 messages of 2 KB moved on the server",
			mailbox: withArchive("20k-archive", 20_000, letters.Small), course: bulk{onServer: true, work: move{10_000, archive}},
			tools: []string{subject, comesAs}, floors: []floor{renameFiles()},
			limits: []limit{{of: wall, factor: 0.1, than: []string{comesAs}}, {of: wire, plus: noBodies}, lessCPU()},
		},
		{
			name: "move-maildir-10k", title: "10,000 of 20,000 messages of 2 KB moved in the Maildir",
			mailbox: withArchive("20k-archive", 20_000, letters.Small), course: bulk{work: move{10_000, archive}},
			tools: []string{subject, comesAs}, floors: []floor{script("uid-move")},
			limits: []limit{{of: wall, factor: 0.1, than: []string{comesAs}}, {of: wire, plus: noBodies}, lessCPU()},
		},
		{
			name: "pull-20k", title: "first pull, 20,000 messages of 2 KB",
			mailbox: oneOf("20k", 20_000, letters.Small), course: pull{},
			tools: []string{subject, comesAs, plain}, floors: []floor{fetchStream(), writeFiles()},
			limits: []limit{{of: wall, factor: 0.4, than: []string{comesAs}}, {of: wall, factor: 1.3, than: []string{writing}}},
		},
		{
			name: "pull-mixed", title: "first pull, 5,000 mixed messages (218 MB), 20 folders",
			mailbox: many("mixed", 20, 5000, letters.Mixed), course: pull{},
			tools: []string{subject, comesAs, plain}, floors: []floor{fetchStream(), writeFiles()},
			limits: []limit{{of: wall, factor: 0.33, than: []string{comesAs, plain}}},
		},
		{
			name: "pull-100k", title: "first pull, 100,000 messages of 600 B: the memory", runs: 1, onePlace: true,
			mailbox: hundredThousand(), course: pull{},
			tools: []string{subject, comesAs}, floors: []floor{fetchStream(), writeFiles()},
			limits: []limit{{of: rss, plus: 64}},
		},
		{
			name: "pull-100-far", title: "first pull, 100 messages of 2 KB, at 100 ms round trip: the trips", runs: 1,
			mailbox: oneOf("100", 100, letters.Small), course: pull{}, rtt: far,
			tools: []string{subject}, floors: []floor{fetchStream()}, // no target of its own: pull-1k-far has it
		},
		{
			name: "pull-1k-far", title: "first pull, 1,000 messages of 2 KB, at 100 ms round trip",
			mailbox: oneOf("1k", 1000, letters.Small), course: pull{}, rtt: far,
			tools: []string{subject, comesAs, qresync}, floors: []floor{fetchStream()},
			limits: []limit{
				{of: wall, factor: 1.6, than: []string{stream}},
				{of: trips, factor: 1, than: []string{subject}, in: "pull-100-far", plus: 1}, // no more for ten times as many
			},
		},
		{
			name: "push-5k", title: "first push, 5,000 messages of 2 KB",
			mailbox: oneOf("5k", 5000, letters.Small), course: push{},
			tools: []string{subject, comesAs, plain}, floors: []floor{appendAll()},
			limits: []limit{{of: wall, factor: 0.5, than: []string{comesAs}}, {of: wall, factor: 1, than: []string{plain}}},
		},
		{
			name: "push-1k-far", title: "first push, 1,000 messages of 2 KB, at 100 ms round trip",
			mailbox: oneOf("1k", 1000, letters.Small), course: push{}, rtt: far,
			tools: []string{subject, comesAs}, floors: []floor{appendAll()},
			limits: []limit{{of: wall, factor: 0.5, than: []string{comesAs}}},
		},
		{
			name: "pop3-pull-5k", title: "POP3: first pull, 5,000 messages of 2 KB", pop3: true, runs: 3, slow: []string{"fetchmail", "getmail6"},
			mailbox: unread("5k-unread", 5000), course: pull{},
			tools: []string{subject, mpops, "fetchmail", "getmail6"}, floors: []floor{retrStream(), writeFiles()},
			limits: []limit{{of: wall, factor: 0.7, than: []string{mpops}}},
		},
		{
			name: "pop3-noop-5k", title: "POP3: nothing new, 5,000 messages kept on the server", pop3: true, often: 3,
			mailbox: unread("5k-unread", 5000), course: idle{},
			tools:  []string{subject, mpops, "fetchmail", "getmail6"},
			limits: []limit{{of: wall, factor: 1.2, than: []string{mpops}}},
		},
		{
			name: "pop3-pull-1k-far", title: "POP3: first pull, 1,000 messages of 2 KB, at 100 ms round trip", pop3: true,
			mailbox: unread("1k-unread", 1000), course: pull{}, rtt: far,
			tools: []string{subject, mpops}, onRequest: []string{"fetchmail", "getmail6"},
			limits: []limit{{of: wall, factor: 0.7, than: []string{mpops}}},
		},
	}
}
