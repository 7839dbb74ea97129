package demo

import (
	"strings"
	"time"

	"github.com/satchel-mail/satchel/internal/mail"
)

// letter is one message of the demonstration and where it ought to be, on both sides.
type letter struct {
	subject string // decoded
	folder  mail.FolderName
	flags   mail.Flags
	date    time.Time
	raw     []byte
}

const (
	inbox   = mail.Inbox
	archive = mail.FolderName("Archive/2024")
	drafts  = mail.FolderName("Entwürfe")
	lists   = mail.FolderName("Lists")
	sent    = mail.FolderName("Sent")
)

// The letters that things happen to.
const (
	lunch      = "Lunch on Friday?"
	lunchReply = "Re: Lunch on Friday?"
	welcome    = "Welcome"
	invoice    = "Invoice 2041"
	offer      = "One day only: 90% off"
	minutes    = "Minutes of May"
	tickets    = "Your train tickets"
	thanks     = "Re: Invoice 2041"
)

// sample is the mail that is on the server in the beginning.
func sample() []letter {
	from := func(who, subject string, more ...string) string {
		return header(who, "you@example.org", subject, more...)
	}
	return []letter{
		{welcome, inbox, mail.Flags{}, day(1), text(from("Postmaster <postmaster@example.org>", welcome) +
			"\n\nYour mailbox is ready.\n")},
		{lunch, inbox, mail.Flags{}, day(2), text(from("Ada <ada@example.net>", lunch, "Message-ID: <lunch-1@example.net>") +
			"\n\nThe new place by the river, at one?\n\nAda\n")},
		{lunchReply, inbox, mail.NewFlags(`\Seen`), day(3), text(from("Charles <charles@example.net>", lunchReply,
			"Message-ID: <lunch-2@example.net>", "In-Reply-To: <lunch-1@example.net>", "References: <lunch-1@example.net>") +
			"\n\n> The new place by the river, at one?\n\nI'll be there.\n")},
		{invoice, inbox, mail.NewFlags(`\Seen`, "receipt"), day(4), text(from("Shop <shop@example.com>", invoice,
			"MIME-Version: 1.0", "Content-Type: multipart/mixed; boundary=frontier") + attachment)},
		{offer, inbox, mail.Flags{}, day(5), text(from("Shop <shop@example.com>", offer, "List-Unsubscribe: <mailto:no@example.com>") +
			"\n\nAnd tomorrow as well.\n")},
		{"Grüße aus Köln", inbox, mail.NewFlags(`\Seen`, `\Flagged`), day(6), text(from("=?utf-8?q?J=C3=B6rg?= <joerg@example.de>",
			"=?utf-8?q?Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=", "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8",
			"Content-Transfer-Encoding: 8bit") + "\n\nDer Dom steht noch, schöne Grüße!\n")},
		{minutes, archive, mail.NewFlags(`\Seen`, `\Answered`), day(7), text(from("Grace <grace@example.net>", minutes) +
			"\n\nFrom the top:\n.\nThat was all.\n")},
		{"Minutes, corrected", archive, mail.NewFlags(`\Seen`), day(8), text(from("Grace <grace@example.net>", "Minutes, corrected") +
			"\n\nFrom the top, this time in order.\n")},
		{"Rezept", drafts, mail.NewFlags(`\Draft`, `\Seen`), day(9), text(header("you@example.org", "joerg@example.de", "Rezept") +
			"\n\nMan nehme\n")},
		{"[gophers] iterators", lists, mail.Flags{}, day(10), text(from("Rob <rob@example.org>", "[gophers] iterators",
			"List-Id: <gophers.example.org>", "Message-ID: <it-1@example.org>") + "\n\nWhat do you use them for?\n")},
		{"Re: [gophers] iterators", lists, mail.Flags{}, day(11), text(from("Russ <russ@example.org>", "Re: [gophers] iterators",
			"List-Id: <gophers.example.org>", "In-Reply-To: <it-1@example.org>") + "\n\nSee below.\n")},
		{"Re: Minutes", sent, mail.NewFlags(`\Seen`), day(12), text(header("you@example.org", "grace@example.net", "Re: Minutes") +
			"\n\nThank you, Grace.\n")},
	}
}

// ticketsLetter arrives on the server, thanksLetter is written in the Maildir.
func ticketsLetter() letter {
	return letter{tickets, inbox, mail.Flags{}, day(13), text(header("Railways <tickets@example.com>", "you@example.org", tickets) +
		"\n\nCoach 7, seat 61, by the window.\n")}
}

func thanksLetter() letter {
	return letter{thanks, sent, mail.NewFlags(`\Seen`), day(14), text(header("you@example.org", "shop@example.com", thanks) +
		"\n\nPaid today.\n")}
}

const attachment = `

This is a message in several parts.
--frontier
Content-Type: text/plain; charset=us-ascii

Please find the invoice attached.
--frontier
Content-Type: application/pdf; name=invoice-2041.pdf
Content-Disposition: attachment; filename=invoice-2041.pdf
Content-Transfer-Encoding: base64

JVBERi0xLjQKJcOkw7zDtsOfCjIgMCBvYmoKPDwvTGVuZ3RoIDMgMCBSL0ZpbHRlci9GbGF0ZURl
Y29kZT4+CnN0cmVhbQp4nDPQM1Qo5ypUMABCM0MjBXNLI4WiVK5wLYVA+0IFBSMjPQUzCwA=
--frontier--
`

func header(from, to, subject string, more ...string) string {
	lines := append([]string{"From: " + from, "To: " + to, "Subject: " + subject}, more...)
	return strings.Join(lines, "\n")
}

// text gives lines the ends that they have on the wire.
func text(s string) []byte { return []byte(strings.ReplaceAll(s, "\n", "\r\n")) }

// day is a moment in October 2024.
func day(n int) time.Time { return time.Date(2024, time.October, n, 9, n, 30, 0, time.UTC) }
