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
)

// lessCPU is the limit of all scenarios that transfer little.
func lessCPU() limit { return limit{of: cpu, factor: 1, than: []string{comesAs}} }

// scenarios are all that there are, with their targets.
func scenarios() []scenario {
	return []scenario{
		{
			name: "noop-100k", title: "nothing changed, one folder of 100,000",
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
			name: "pull-1k-far", title: "first pull, 1,000 messages of 2 KB, at 100 ms round trip",
			mailbox: oneOf("1k", 1000, letters.Small), course: pull{}, rtt: far,
			tools: []string{subject, comesAs, qresync}, floors: []floor{fetchStream()},
			limits: []limit{{of: wall, factor: 1.6, than: []string{stream}}},
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
	}
}
