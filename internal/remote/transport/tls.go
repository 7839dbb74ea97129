package transport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/satchel-mail/satchel/internal/remote"
)

// caFileBytes bounds a ca_file: the system's whole set of authorities is a quarter of it.
const caFileBytes = 1 << 20

// ParseFingerprint reads a pin: 64 hexadecimal digits in either case, colons and spaces between them ignored.
func ParseFingerprint(pin string) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(pin))
	if err != nil || len(b) != len(sum) {
		return sum, errors.New("a certificate's fingerprint is 64 hexadecimal digits: its SHA-256")
	}
	copy(sum[:], b)
	return sum, nil
}

func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// tlsConfig turns Config into what crypto/tls wants, reading the files that it names.
func (d *dialer) tlsConfig() (*tls.Config, error) {
	cfg := d.cfg
	c := &tls.Config{ServerName: cfg.Host, MinVersion: tls.VersionTLS12}
	if cfg.CAFile != "" {
		pem, err := readBounded(cfg.CAFile, caFileBytes)
		if err != nil {
			return nil, d.unusable(remote.Protocol, "ca_file", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, d.unusable(remote.Protocol, "ca_file", fmt.Errorf("%s holds no certificate in PEM form", cfg.CAFile))
		}
	}
	cert := new(tls.Certificate) // an empty one tells the server that there is none
	if cfg.ClientCert != "" || cfg.ClientKey != "" {
		pair, err := tls.LoadX509KeyPair(cfg.ClientCert, cfg.ClientKey)
		if err != nil {
			return nil, d.unusable(remote.Auth, "client_cert and client_key", err)
		}
		cert = &pair
	}
	// Not by Certificates: with them the certificate is kept back, without a word, from a server whose list
	// of authorities does not name its issuer. Then the server could only say that there was none.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		d.asked = true
		return cert, nil
	}
	if cfg.CertSHA256 != "" {
		pin, err := ParseFingerprint(cfg.CertSHA256)
		if err != nil {
			return nil, d.unusable(remote.Protocol, "cert_sha256", err)
		}
		// The pin stands in for the chain, so the chain's check is switched off, and only then; see Config.
		c.InsecureSkipVerify = cfg.CAFile == ""
		c.VerifyConnection = func(s tls.ConnectionState) error {
			return checkPin(s.PeerCertificates, pin, time.Now())
		}
	}
	return c, nil
}

// errPin: the server's certificate is another than the pinned one.
var errPin = errors.New("the server's certificate is not the pinned one")

// checkPin verifies that the leaf is the pinned certificate and valid at now.
func checkPin(chain []*x509.Certificate, pin [sha256.Size]byte, now time.Time) error {
	if len(chain) == 0 {
		return errors.New("the server showed no certificate")
	}
	leaf := chain[0]
	if sha256.Sum256(leaf.Raw) != pin {
		return fmt.Errorf("%w: its SHA-256 is %s", errPin, fingerprint(leaf))
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return &tls.CertificateVerificationError{
			UnverifiedCertificates: chain,
			Err:                    x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired},
		}
	}
	return nil
}

func (d *dialer) unusable(class remote.Class, key string, err error) error {
	return &remote.Error{Class: class, Op: d.op, Err: fmt.Errorf("%s can't be used: %w", key, err)}
}

func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return b, err
}

// handshakeError explains what went wrong between the connection and the end of the handshake.
// outer is the caller's context, without the time limit.
func (d *dialer) handshakeError(outer context.Context, err error) error {
	if remote.ClassOf(err) != 0 {
		return err
	}
	e := &remote.Error{Op: d.op, Err: err}
	var (
		verify *tls.CertificateVerificationError
		record tls.RecordHeaderError
	)
	alert := alertOf(err)
	switch {
	case context.Cause(outer) != nil:
		e.Class, e.Err = remote.Unreachable, context.Cause(outer)
	case isTimeout(err):
		e.Class = remote.Unreachable
		e.Err = fmt.Errorf("the server fell silent before the connection was secure: %w", err)
		e.Hint = fmt.Sprintf("check that port %d speaks tls = %q", d.cfg.Port, d.cfg.TLS)
	case errors.As(err, &verify):
		e.Class = remote.Protocol
		e.Err = d.certificateError(verify, err)
	case errors.Is(err, errPin):
		e.Class = remote.Protocol
		e.Hint = "if the server's certificate was renewed, make sure of it and put the new fingerprint into cert_sha256; otherwise someone may be in between"
	case errors.As(err, &record):
		d.explainNotTLS(e, record)
	case alert != 0:
		explainAlert(e, alert, d.asked, d.cfg.ClientCert != "")
	case isDropped(err):
		e.Class = remote.Unavailable
		e.Err = fmt.Errorf("the server hung up before the connection was secure: %w", err)
		e.Hint = "it may be overloaded, or the port may speak something else; check port and tls"
	default:
		e.Class = remote.Protocol
	}
	return e
}

func isDropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// certificateError says what is wrong with a certificate that did not pass, what a person can do about it, and last
// what the library says. err is v as it came.
func (d *dialer) certificateError(v *tls.CertificateVerificationError, err error) error {
	text, hint := d.certificateFault(v)
	if hint != "" {
		text += "; " + hint
	}
	return &certificateError{fmt.Sprintf("%s (%s)", text, short(v.Err)), err}
}

// certificateError is a failed verification in words for people.
type certificateError struct {
	text string
	err  error
}

func (e *certificateError) Error() string { return e.text }
func (e *certificateError) Unwrap() error { return e.err }

// short is an error's text without what is added to it in parentheses, and bounded: it quotes the certificate.
func short(err error) string {
	const most = 120 // runes
	text, _, _ := strings.Cut(err.Error(), " (")
	runes := []rune(strings.Map(printable, text))
	if len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return string(runes)
}

// certificateFault says what is wrong with a certificate, and what a person can do about it.
func (d *dialer) certificateFault(v *tls.CertificateVerificationError) (fault, hint string) {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	shown := ""
	if len(v.UnverifiedCertificates) > 0 {
		shown = fingerprint(v.UnverifiedCertificates[0])
	}
	switch {
	case errors.As(v.Err, &name):
		return "the server's certificate is for another name",
			fmt.Sprintf("the certificate is for %s; if that is the server you mean, write one of its names as host", namesOf(name.Certificate))
	case errors.As(v.Err, &invalid) && invalid.Reason == x509.Expired:
		return "the server's certificate is out of date, or not valid yet",
			fmt.Sprintf("the certificate is valid from %s to %s; check this machine's clock, or the server must renew it",
				invalid.Cert.NotBefore.UTC().Format(time.DateOnly), invalid.Cert.NotAfter.UTC().Format(time.DateOnly))
	case errors.As(v.Err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "the server's certificate is not meant for servers", "the server must get another one"
	case errors.As(v.Err, &authority):
		fault = "the server's certificate is signed by no authority that this machine knows"
		if d.cfg.CAFile != "" {
			fault = "the server's certificate is signed by no authority in ca_file"
		}
		return fault, "if you run the server, name its authority's certificate in ca_file, or pin the certificate it shows: cert_sha256 = \"" +
			shown + "\", after comparing this on the server itself"
	}
	return "the server's certificate can't be trusted", ""
}

// namesOf lists the names that a certificate is good for, a few of them.
func namesOf(cert *x509.Certificate) string {
	names := append([]string(nil), cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no host name at all"
	}
	const some = 5
	more := ""
	if len(names) > some {
		names, more = names[:some], ", …"
	}
	return strings.Map(printable, strings.Join(names, ", ")) + more
}

func printable(r rune) rune {
	if r < ' ' || (r >= 0x7f && r < 0xa0) {
		return -1
	}
	return r
}

// explainNotTLS tells apart what answered when it was not TLS.
func (d *dialer) explainNotTLS(e *remote.Error, record tls.RecordHeaderError) {
	head := string(record.RecordHeader[:])
	switch {
	case d.cfg.TLS == StartTLS:
		e.Class = remote.Protocol
		e.Err = fmt.Errorf("the server sent plain text after it had agreed to start TLS: someone in between may be injecting answers; nothing of it was used: %w", record)
	case strings.HasPrefix(head, "HTTP/") || strings.HasPrefix(head, "<"):
		e.Class = remote.Unreachable
		e.Err = fmt.Errorf("a web server answered instead of a mail server: %w", record)
		e.Hint = "sign in to this network in a browser if it asks for that (a captive portal); else check host and port"
	case strings.HasPrefix(head, "* ") || strings.HasPrefix(head, "+OK") || strings.HasPrefix(head, "220"):
		e.Class = remote.Protocol
		e.Err = fmt.Errorf("the server speaks plain text on port %d where TLS was expected: %w", d.cfg.Port, record)
		e.Hint = `use tls = "starttls" for this port, or tls = "implicit" with the server's TLS port`
	default:
		e.Class = remote.Protocol
		e.Err = fmt.Errorf("the server on port %d does not speak TLS: %w", d.cfg.Port, record)
		e.Hint = "check port and tls"
	}
}

// Alerts that a person can do something about (RFC 8446, section 6).
const (
	alertHandshakeFailure    tls.AlertError = 40
	alertBadCertificate      tls.AlertError = 42
	alertCertificateUnknown  tls.AlertError = 46
	alertUnknownCA           tls.AlertError = 48
	alertAccessDenied        tls.AlertError = 49
	alertProtocolVersion     tls.AlertError = 70
	alertCertificateRequired tls.AlertError = 116
)

// alertOf returns the alert that the server sent, 0 if err is something else. crypto/tls keeps the alert's type
// to itself on TCP, but not its text.
func alertOf(err error) tls.AlertError {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return 0
	}
	text := op.Err.Error()
	for a := alertHandshakeFailure; a <= alertCertificateRequired; a++ {
		if a.Error() == text {
			return a
		}
	}
	return 0
}

// isCertificateAlert reports whether the server finds fault with the client's certificate. asked tells that it wanted
// one: before TLS 1.3 the lack of it is a mere handshake failure, which can mean other things as well.
func isCertificateAlert(a tls.AlertError, asked bool) bool {
	return a >= alertBadCertificate && a <= alertCertificateUnknown || a == alertUnknownCA || a == alertAccessDenied ||
		a == alertCertificateRequired || a == alertHandshakeFailure && asked
}

// explainAlert sets class and hint for an alert that the server sent.
func explainAlert(e *remote.Error, a tls.AlertError, asked, hasCert bool) {
	switch {
	case isCertificateAlert(a, asked) && hasCert:
		e.Class = remote.Auth
		e.Hint = "the server does not accept client_cert; check that it is current and the one that the server knows"
	case isCertificateAlert(a, asked):
		e.Class = remote.Auth
		e.Hint = "the server wants a client certificate; set client_cert and client_key"
	case a == alertProtocolVersion:
		e.Class = remote.Protocol
		e.Hint = "the server can't do TLS 1.2 or newer and should be updated"
	default:
		e.Class = remote.Protocol
		e.Hint = "the server broke off the TLS handshake"
	}
}

// tlsConn explains the alert by which a server refuses the client's certificate after the handshake.
type tlsConn struct {
	*tls.Conn
	op             string
	asked, hasCert bool
}

func (c *tlsConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == nil {
		return n, nil
	}
	if alert := alertOf(err); isCertificateAlert(alert, c.asked) {
		e := &remote.Error{Op: c.op, Err: err}
		explainAlert(e, alert, c.asked, c.hasCert)
		err = e
	}
	return n, err
}
