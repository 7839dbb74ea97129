package imap

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/satchel-mail/satchel/internal/auth"
	"github.com/satchel-mail/satchel/internal/remote"
	"github.com/satchel-mail/satchel/internal/remote/transport"
	"github.com/satchel-mail/satchel/internal/testenv/servers"
)

const canary = "kanarienvogel"

// account is a configuration with a password.
func account(m auth.Method) Config {
	return Config{User: "me@example.org", Method: m, Secret: auth.Literal(canary)}
}

func secureConn() transport.Conn { return transport.Conn{Secure: true, TLS: true} }

func TestGreetings(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		as         transport.Conn
		class      remote.Class
		text       string
	}{
		{"PREAUTH over the network", "* PREAUTH [CAPABILITY IMAP4rev1] hello", secureConn(), remote.Protocol, "only a tunnel"},
		{"BYE", "* BYE [UNAVAILABLE] later", secureConn(), remote.Unavailable, "later"},
		{"BYE without a code", "* BYE too many connections", tunnelled(), remote.Unavailable, "too many"},
		{"another protocol", "HTTP/1.1 400 Bad Request", secureConn(), remote.Protocol, "does not speak IMAP"},
		{"POP3", "+OK ready", secureConn(), remote.Protocol, "does not speak IMAP"},
		{"data", "* 3 EXISTS", secureConn(), remote.Protocol, "does not speak IMAP"},
		{"BYE after an empty line", "\r\n* BYE broken", secureConn(), remote.Unavailable, "broken"},
		{"empty lines without an end", strings.Repeat("\r\n", maxBlank), secureConn(), remote.Protocol, "does not speak IMAP"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := converse(t, account(auth.Auto), tc.as, func(p *script) { p.say(tc.line) })
			if remote.ClassOf(err) != tc.class || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestConnectionThatEndsDuringSignIn(t *testing.T) {
	for _, lines := range [][]string{nil, {"* OK [CAPABILITY IMAP4rev1] hello"}} {
		_, err := converse(t, account(auth.Auto), secureConn(), func(p *script) {
			p.say(lines...)
			_ = p.c.Close()
		})
		if remote.ClassOf(err) != remote.Unavailable {
			t.Errorf("after %q: %v", lines, err)
		}
	}
}

func TestSignInRefusals(t *testing.T) {
	for _, tc := range []struct {
		answer string
		class  remote.Class
		retry  time.Duration
	}{
		{"NO [AUTHENTICATIONFAILED] wrong", remote.Auth, 0},
		{"NO [AUTHORIZATIONFAILED] not yours", remote.Auth, 0},
		{"NO [EXPIRED] old", remote.Auth, 0},
		{"NO [PRIVACYREQUIRED] encrypt", remote.Auth, 0},
		{"NO [CONTACTADMIN] call", remote.Auth, 0},
		{"NO [WEBALERT https://example.org] web", remote.Auth, 0},
		{"NO wrong", remote.Auth, 0},
		{"BAD wrong", remote.Auth, 0},
		{"NO [UNAVAILABLE] later", remote.Unavailable, 0},
		{"NO [INUSE] busy", remote.Unavailable, 0},
		{"NO [LIMIT] many", remote.Unavailable, 0},
		{"NO [SERVERBUG] sorry", remote.Unavailable, 0},
		{"NO [CORRUPTION] broken", remote.Unavailable, 0},
		{"BAD Request is throttled. Suggested Backoff Time: 299961 milliseconds", remote.Unavailable, 299961 * time.Millisecond},
		{"NO Suggested Backoff Time: 999999999999 milliseconds", remote.Unavailable, maxRetryAfter},
	} {
		t.Run(tc.answer, func(t *testing.T) {
			_, err := converse(t, account(auth.Auto), secureConn(), func(p *script) {
				p.say("* OK [CAPABILITY IMAP4rev1] hello")
				p.expect(`LOGIN "me@example.org" "` + canary + `"`)
				p.say("$1 " + tc.answer)
			})
			e, ok := errors.AsType[*remote.Error](err)
			if !ok || e.Class != tc.class || e.RetryAfter != tc.retry || e.Text == "" {
				t.Errorf("got %#v", err)
			}
			if e.Class == remote.Auth && e.Hint == "" {
				t.Errorf("no hint in %v", e)
			}
		})
	}
}

// TestReferralsAreNotFollowed: what names another server (RFC 2221, RFC 2193) is an answer like any other.
func TestReferralsAreNotFollowed(t *testing.T) {
	const elsewhere = "[REFERRAL imap://me@elsewhere.example/]"
	signIn := func(answer string) func(*script) {
		return func(p *script) {
			p.say("* OK [CAPABILITY IMAP4rev1 LOGIN-REFERRALS] hello")
			p.expect(`LOGIN "me@example.org" "` + canary + `"`)
			p.say(answer)
		}
	}
	for name, tc := range map[string]struct {
		play  func(*script)
		class remote.Class
	}{
		"greeting": {func(p *script) { p.say("* BYE " + elsewhere + " moved") }, remote.Unavailable},
		"refusal":  {signIn("$1 NO " + elsewhere + " go there"), remote.Auth},
		"success": {func(p *script) {
			signIn("$1 OK " + elsewhere + " or go there")(p)
			p.expect("CAPABILITY")
			p.say("* CAPABILITY IMAP4rev1", "$1 OK done")
			p.settle(bare)
			p.expect(`SELECT "a"`)
			p.say("$1 NO [REFERRAL imap://elsewhere.example/a] there")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := converse(t, account(auth.Auto), secureConn(), tc.play)
			if remote.ClassOf(err) != tc.class {
				t.Fatalf("got %v", err)
			}
			if err != nil {
				return
			}
			if _, err := s.Select(t.Context(), "a"); remote.ClassOf(err) != remote.Refused {
				t.Errorf("Select: %v", err)
			}
		})
	}
}

func TestEveryResponseCodeHasAdvice(t *testing.T) {
	for _, code := range []goimap.ResponseCode{
		goimap.ResponseCodeAlreadyExists, goimap.ResponseCodeAuthenticationFailed, goimap.ResponseCodeAuthorizationFailed,
		goimap.ResponseCodeCannot, goimap.ResponseCodeClientBug, goimap.ResponseCodeContactAdmin, goimap.ResponseCodeCorruption,
		goimap.ResponseCodeExpired, goimap.ResponseCodeInUse, goimap.ResponseCodeLimit, goimap.ResponseCodeNonExistent,
		goimap.ResponseCodeNoPerm, goimap.ResponseCodeOverQuota, goimap.ResponseCodePrivacyRequired, goimap.ResponseCodeServerBug,
		goimap.ResponseCodeTryCreate, goimap.ResponseCodeUnavailable, goimap.ResponseCodeTooBig,
	} {
		st, ok := parseStatus([]byte("NO [" + string(code) + "] text"))
		e := refusal("doing it", st)
		if !ok || e.Class != remote.Refused || e.Code != string(code) || e.Hint == "" {
			t.Errorf("%s: %#v", code, e)
		}
	}
}

func TestConnectedWithoutBeingConnected(t *testing.T) {
	_, err := converse(t, account(auth.Auto), secureConn(), func(p *script) {
		p.say("* OK [CAPABILITY IMAP4rev1] hello")
		p.expect(`LOGIN "me@example.org" "` + canary + `"`)
		p.say("$1 OK [CAPABILITY IMAP4rev1] fine")
		p.expect(`LIST "" ""`)
		p.say("$1 BAD User is authenticated but not connected.")
	})
	if remote.ClassOf(err) != remote.Auth {
		t.Errorf("got %v", err)
	}
}

func TestCapabilitiesAreAskedForAfterTheSignIn(t *testing.T) {
	for _, tc := range []struct {
		name, ok string
		asked    bool
	}{
		{"told", "$1 OK [CAPABILITY IMAP4rev1 MOVE ] fine", false}, // a space too many is common
		{"told in data", "* CAPABILITY IMAP4rev1 MOVE\r\n$1 OK fine", false},
		{"not told", "$1 OK fine", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := converse(t, account(auth.Auto), secureConn(), func(p *script) {
				p.say("* OK [CAPABILITY IMAP4rev1 UIDPLUS] hello")
				p.expect(`LOGIN "me@example.org" "` + canary + `"`)
				p.say(tc.ok)
				if tc.asked {
					p.expect("CAPABILITY")
					p.say("* CAPABILITY IMAP4rev1 MOVE", "$1 OK done")
				}
				p.settle(bare)
			})
			if err != nil {
				t.Fatal(err)
			}
			if caps := s.Capabilities(); !caps.Move || caps.UIDPlus {
				t.Errorf("capabilities %+v", caps)
			}
		})
	}
}

func TestLoginDisabled(t *testing.T) {
	_, err := converse(t, account(auth.Auto), secureConn(), func(p *script) { p.say("* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello") })
	if remote.ClassOf(err) != remote.Auth || !strings.Contains(err.Error(), "forbids") {
		t.Errorf("got %v", err)
	}
}

func TestNoPassword(t *testing.T) {
	cfg := account(auth.Auto)
	cfg.Secret = nil
	_, err := converse(t, cfg, secureConn(), func(p *script) { p.say("* OK [CAPABILITY IMAP4rev1] hello") })
	if remote.ClassOf(err) != remote.Auth {
		t.Errorf("got %v", err)
	}
}

func TestPasswordAsLiteral(t *testing.T) {
	cfg := account(auth.Login)
	cfg.Secret = auth.Literal("pässwörd")
	s, err := converse(t, cfg, secureConn(), func(p *script) {
		p.say("* OK [CAPABILITY IMAP4rev1] hello")
		p.expect(`LOGIN "me@example.org" {10}`)
		p.say("+ go on")
		if got := p.literal(10) + p.line(); got != "pässwörd" {
			t.Errorf("the password arrived as %q", got)
		}
		p.say("$1 OK [CAPABILITY IMAP4rev1] fine")
		p.settle(bare)
	})
	if err != nil {
		t.Fatal(err)
	}
	if name, err := s.MailboxName([]string{"x"}); err != nil || name != "x" {
		t.Errorf("MailboxName: %q, %v", name, err)
	}
}

func TestAuthenticate(t *testing.T) {
	plain := base64.StdEncoding.EncodeToString([]byte("\x00me@example.org\x00" + canary))
	for _, tc := range []struct {
		name, caps string
		play       func(p *script)
		class      remote.Class
	}{
		{"initial response", "AUTH=PLAIN SASL-IR", func(p *script) {
			p.expect("AUTHENTICATE PLAIN " + plain)
			p.say("$1 OK [CAPABILITY IMAP4rev1] in")
			p.settle(bare)
		}, 0},
		{"without", "AUTH=PLAIN", func(p *script) {
			p.expect("AUTHENTICATE PLAIN")
			p.say("+ ")
			if got := p.line(); got != plain {
				t.Errorf("got %q", got)
			}
			p.say("$1 OK [CAPABILITY IMAP4rev1] in")
			p.settle(bare)
		}, 0},
		{"refused", "AUTH=PLAIN SASL-IR", func(p *script) {
			p.expect("AUTHENTICATE PLAIN " + plain)
			p.say("$1 NO [AUTHENTICATIONFAILED] wrong")
		}, remote.Auth},
		{"a challenge too many", "AUTH=PLAIN SASL-IR", func(p *script) {
			p.expect("AUTHENTICATE PLAIN " + plain)
			p.say("+ " + base64.StdEncoding.EncodeToString([]byte("more")))
			if got := p.line(); got != "*" {
				t.Errorf("got %q", got)
			}
			p.say("$1 BAD cancelled")
		}, remote.Auth},
		{"challenges without an end", "AUTH=PLAIN SASL-IR", func(p *script) {
			p.expect("AUTHENTICATE PLAIN " + plain)
			for p.say("+ "); p.line() != ""; {
				p.say("+ ")
			}
		}, remote.Protocol},
		{"success without proof", "AUTH=SCRAM-SHA-256 SASL-IR", func(p *script) {
			_ = p.line()
			p.say("S1 OK [CAPABILITY IMAP4rev1] in")
		}, remote.Auth},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := converse(t, account(auth.Auto), secureConn(), func(p *script) {
				p.say("* OK [CAPABILITY IMAP4rev1 " + tc.caps + "] hello")
				tc.play(p)
			})
			if remote.ClassOf(err) != tc.class {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestTraceHidesCredentials looks for the password, as it is and in base64, in all that is traced.
func TestTraceHidesCredentials(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{})
	for _, m := range []auth.Method{auth.Plain, auth.Login, auth.ScramSHA256} {
		for _, hide := range [][]string{nil, {"SASL-IR"}, {"SASL-IR", "AUTH", "LITERAL+"}} {
			if m != auth.Login && len(hide) == 3 {
				continue
			}
			var trace bytes.Buffer
			cfg := configFor(s)
			cfg.Method, cfg.Disable = m, hide
			cfg.Trace = func(dir byte, line string) { fmt.Fprintf(&trace, "%c %s\n", dir, line) }
			dial(t, cfg)
			for _, secret := range []string{s.Password, base64.StdEncoding.EncodeToString([]byte("\x00" + s.User + "\x00" + s.Password)),
				base64.StdEncoding.EncodeToString([]byte(s.Password)), "n=" + s.User, base64.StdEncoding.EncodeToString([]byte("r="))[:3]} {
				if strings.Contains(trace.String(), secret) {
					t.Errorf("%s without %v: the trace holds %q:\n%s", m, hide, secret, trace.String())
				}
			}
			if !strings.Contains(trace.String(), "***") {
				t.Errorf("%s without %v: nothing was hidden:\n%s", m, hide, trace.String())
			}
		}
	}
}

func TestAlertsAreShownOnSecureConnectionsOnly(t *testing.T) {
	for _, secure := range []bool{true, false} {
		var alerts []string
		cfg := account(auth.Auto)
		cfg.Alert = func(text string) { alerts = append(alerts, text) }
		_, err := converse(t, cfg, transport.Conn{Secure: secure}, func(p *script) {
			p.say("* OK [CAPABILITY IMAP4rev1] hello")
			p.expect(`LOGIN "me@example.org" "` + canary + `"`)
			p.say("* OK [ALERT] System \x1b[2Jshutdown\x07 at noon", "$1 OK [CAPABILITY IMAP4rev1] fine")
			p.settle(bare)
		})
		if err != nil {
			t.Fatal(err)
		}
		want := "[System  [2Jshutdown  at noon]"
		if !secure {
			want = "[]"
		}
		if got := fmt.Sprint(alerts); got != want {
			t.Errorf("secure %v: %q, want %q", secure, got, want)
		}
	}
}

func TestStartTLSUpgrade(t *testing.T) {
	for _, tc := range []struct {
		name, greeting, answer string
		class                  remote.Class // 0: success
	}{
		{"agreed", "* OK hello", "S0 OK go", 0},
		{"agreed after data", "* OK hello", "* CAPABILITY IMAP4rev1\r\nS0 OK go", 0},
		{"refused", "* OK hello", "S0 NO not today", remote.Protocol},
		{"unknown", "* OK hello", "S0 BAD what", remote.Protocol},
		{"PREAUTH", "* PREAUTH come in", "", remote.Protocol},
		{"BYE", "* BYE go away", "", remote.Unavailable},
		{"not IMAP", "220 mail.example.org ESMTP", "", remote.Protocol},
		{"not a greeting", "OK hello", "", remote.Protocol},
		{"a long line", "* OK " + strings.Repeat("x", maxUpgradeLine), "", remote.Protocol},
		{"many lines", "* OK hello", strings.Repeat("* OK still here\r\n", maxUpgradeLines) + "S0 OK go", remote.Protocol},
		{"the end", "* OK hello", "", -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			go func() {
				defer theirs.Close()
				_, _ = io.WriteString(theirs, tc.greeting+"\r\n")
				line := make([]byte, len("S0 STARTTLS\r\n"))
				if _, err := io.ReadFull(theirs, line); err != nil || tc.answer == "" {
					return
				}
				if string(line) != "S0 STARTTLS\r\n" {
					t.Errorf("got %q", line)
				}
				_, _ = io.WriteString(theirs, tc.answer+"\r\nINJECTED")
			}()
			err := startTLS(t.Context(), ours)
			switch {
			case tc.class == 0:
				var next [8]byte
				if _, e := io.ReadFull(ours, next[:]); err != nil || e != nil || string(next[:]) != "INJECTED" {
					t.Errorf("%v; not a byte behind the answer may be read, next is %q", err, next)
				}
			case tc.class < 0:
				if err == nil || remote.ClassOf(err) != 0 {
					t.Errorf("got %v", err)
				}
			case remote.ClassOf(err) != tc.class:
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestNothingSaidInPlainTextSurvivesTLS(t *testing.T) {
	s, err := converse(t, account(auth.Auto), transport.Conn{Secure: true, TLS: true, Greeted: true}, func(p *script) {
		p.expect("CAPABILITY")
		p.say("* CAPABILITY IMAP4rev1", "$1 OK done")
		p.expect(`LOGIN "me@example.org" "` + canary + `"`)
		p.say("$1 OK [CAPABILITY IMAP4rev1] fine")
		p.settle(bare)
	})
	if err != nil || s.Capabilities().Move {
		t.Errorf("%v", err)
	}
}

func TestSignInOnDovecot(t *testing.T) {
	s := servers.Dovecot(t, servers.Options{Mechanisms: "plain login scram-sha-256 external",
		Config: "ssl_verify_client_cert = yes\npassdb {\n driver = static\n mechanisms = external\n args = nopassword=y\n}"})
	for _, m := range []auth.Method{auth.Auto, auth.Plain, auth.Login, auth.ScramSHA256} {
		for _, mode := range []transport.Mode{transport.Implicit, transport.StartTLS, transport.Off} {
			t.Run(fmt.Sprintf("%s %s", m, mode), func(t *testing.T) {
				cfg := configFor(s)
				cfg.Method = m
				cfg.Transport = transport.Config{Host: "localhost", Port: s.Port, TLS: mode, CAFile: s.CAFile}
				if mode == transport.Implicit {
					cfg.Transport.Port = s.TLSPort
				}
				if _, err := dial(t, cfg).Status(t.Context(), "INBOX"); err != nil {
					t.Error(err)
				}
				if mode != transport.Implicit {
					return // Dovecot takes half a second to refuse
				}
				cfg.Secret = auth.Literal("wrong")
				_, err := NewDialer(cfg).Dial(t.Context())
				if e, ok := errors.AsType[*remote.Error](err); !ok || e.Class != remote.Auth || e.Hint == "" || strings.Contains(err.Error(), "wrong") {
					t.Errorf("with a wrong password: %v", err)
				}
			})
		}
	}
	t.Run("external", func(t *testing.T) {
		cfg := configFor(s)
		cfg.Secret = nil
		cfg.Transport = transport.Config{Host: "localhost", Port: s.TLSPort, CAFile: s.CAFile, ClientCert: s.ClientCert, ClientKey: s.ClientKey}
		if _, err := dial(t, cfg).Status(t.Context(), "INBOX"); err != nil {
			t.Error(err)
		}
	})
}

func TestSilentServerIsGivenUpAfterThePatience(t *testing.T) {
	for _, tc := range []struct {
		name string
		play func(p *script)
	}{
		{"no word", func(p *script) { p.line() }},
		{"half a line", func(p *script) { p.line(); p.raw("* STAT") }},
		{"does not read", func(p *script) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stop := make(chan struct{})
				s := preauth(t, bare, Config{Patience: time.Minute}, func(p *script) {
					tc.play(p)
					<-stop
				})
				start := time.Now()
				_, err := s.Status(context.Background(), "INBOX")
				if remote.ClassOf(err) != remote.Lost || time.Since(start) != time.Minute {
					t.Errorf("after %v: %v", time.Since(start), err)
				}
				start = time.Now()
				if _, again := s.Status(context.Background(), "INBOX"); remote.ClassOf(again) != remote.Lost || time.Since(start) != 0 {
					t.Errorf("the second time after %v: %v", time.Since(start), again)
				}
				if err := s.Close(); err != nil || time.Since(start) != 0 {
					t.Errorf("Close after %v: %v", time.Since(start), err)
				}
				close(stop)
			})
		})
	}
}

func TestByteNowAndThenIsNotProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := preauth(t, bare, Config{Patience: time.Minute}, func(p *script) {
			p.line()
			for p.c != nil {
				if _, err := io.WriteString(p.c, "*"); err != nil {
					return
				}
				time.Sleep(59 * time.Second)
			}
		})
		start := time.Now()
		_, err := s.Status(context.Background(), "INBOX")
		if d := time.Since(start); remote.ClassOf(err) != remote.Lost || d > 12*time.Minute || d < 10*time.Minute {
			t.Errorf("after %v: %v", d, err)
		}
	})
}

func TestKeepAlivesKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := preauth(t, bare, Config{Patience: time.Minute}, func(p *script) {
			p.expect(`STATUS "INBOX" (MESSAGES UIDNEXT UIDVALIDITY)`)
			for range 5 {
				time.Sleep(50 * time.Second)
				p.say("* OK Still here")
			}
			p.say("* STATUS inbox (MESSAGES 3)", "$1 OK done")
		})
		if st, err := s.Status(context.Background(), "INBOX"); err != nil || st.Messages != 3 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}

func TestCloseNeverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stop := make(chan struct{})
		s := preauth(t, bare, Config{Patience: time.Minute}, func(*script) { <-stop })
		start := time.Now()
		if err := s.Close(); err != nil || time.Since(start) > closeTime {
			t.Errorf("Close after %v: %v", time.Since(start), err)
		}
		close(stop)
	})
}

func TestEndOfConnectionAfterLogoutIsASuccess(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.expect("LOGOUT")
		_ = p.c.Close()
	})
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestByeAtAnyMoment(t *testing.T) {
	s := preauth(t, bare, Config{}, func(p *script) {
		p.openBoxWith("UID FETCH 5" + askBodies)
		p.say("* BYE [UNAVAILABLE] Suggested Backoff Time: 5000 milliseconds")
		_ = p.c.Close()
	})
	_, err := s.Fetch(t.Context(), box7(), uidSet(), remote.FetchItems{})
	if err != nil {
		t.Fatalf("nothing was asked for: %v", err)
	}
	_, err = s.Bodies(t.Context(), box7(), uidSet(5), func(remote.Message, io.Reader) error { return nil })
	e, ok := errors.AsType[*remote.Error](err)
	if !ok || e.Class != remote.Lost || e.Code != "UNAVAILABLE" || e.RetryAfter != 5*time.Second || !remote.Dead(err) {
		t.Errorf("got %#v", err)
	}
}
