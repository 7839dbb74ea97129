package auth

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

const (
	// RFC 7677, section 4: no fewer iterations than this.
	scramMinIterations = 4096
	// More would let a server keep us computing; a million takes about a second.
	scramMaxIterations = 1_000_000

	scramMaxMessage = 8 << 10 // bytes of one message from the server

	// scramHeader is the GS2 header: no channel binding, no authorization identity.
	scramHeader = "n,,"
)

type scramStep int

const (
	scramStart scramStep = iota
	scramFirstSent
	scramFinalSent
	scramDone // the server proved that it knows the password
	scramFailed
)

// scramClient is SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding.
//
// User name and password are sent in the UTF-8 that they are written in. The RFC asks for them to be
// normalised by SASLprep, which changes nothing in ASCII; servers that prepare passwords when they store
// them do so to what a keyboard gives, which is that form already.
type scramClient struct {
	user     string
	secret   Secret
	newNonce func() string

	step      scramStep
	nonce     string
	firstBare string
	serverSig []byte
}

func newScramClient(user string, secret Secret, nonce func() string) *scramClient {
	return &scramClient{user: user, secret: secret, newNonce: nonce}
}

// newNonce returns 24 random bytes in base64, which has no comma.
func newNonce() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

func (c *scramClient) Start() (mech string, ir []byte, err error) {
	c.nonce = c.newNonce()
	c.firstBare = "n=" + saslName(c.user) + ",r=" + c.nonce
	c.step = scramFirstSent
	return ScramSHA256.mechanism(), []byte(scramHeader + c.firstBare), nil
}

func (c *scramClient) Next(challenge []byte) ([]byte, error) {
	var (
		answer []byte
		err    error
	)
	switch {
	case len(challenge) > scramMaxMessage:
		err = fmt.Errorf("the server's message is longer than %d bytes", scramMaxMessage)
	case c.step == scramFirstSent:
		c.step = scramFinalSent
		answer, err = c.proof(string(challenge))
	case c.step == scramFinalSent:
		answer, err = []byte{}, c.verify(string(challenge))
		c.step = scramDone
	default:
		err = errors.New("the server asks for more than there is to say")
	}
	if err != nil {
		c.step = scramFailed
		return nil, fmt.Errorf("signing in by SCRAM-SHA-256: %w", err)
	}
	return answer, nil
}

// proof answers the server's first message (RFC 5802, section 3).
func (c *scramClient) proof(first string) ([]byte, error) {
	nonce, salt, iterations, err := parseServerFirst(first)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(nonce, c.nonce) || len(nonce) == len(c.nonce) {
		return nil, errors.New("the server's answer does not belong to our question (its nonce is not an extension of ours)")
	}
	salted, err := pbkdf2.Key(sha256.New, c.secret.Reveal(), salt, iterations, sha256.Size)
	if err != nil {
		return nil, err
	}
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(scramHeader)) + ",r=" + nonce
	authMessage := c.firstBare + "," + first + "," + final

	clientKey := mac(salted, "Client Key")
	storedKey := sha256.Sum256(clientKey)
	proof := mac(storedKey[:], authMessage)
	subtle.XORBytes(proof, proof, clientKey)
	c.serverSig = mac(mac(salted, "Server Key"), authMessage)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// parseServerFirst reads "r=…,s=…,i=…" with extensions after it (RFC 5802, section 7).
func parseServerFirst(message string) (nonce string, salt []byte, iterations int, err error) {
	fields := strings.Split(message, ",")
	if strings.HasPrefix(message, "m=") {
		return "", nil, 0, errors.New("the server demands an extension that Satchel does not know")
	}
	if e, ok := strings.CutPrefix(message, "e="); ok {
		return "", nil, 0, serverError(e)
	}
	if len(fields) < 3 || !strings.HasPrefix(fields[0], "r=") || !strings.HasPrefix(fields[1], "s=") || !strings.HasPrefix(fields[2], "i=") {
		return "", nil, 0, errors.New("the server's first message can't be understood")
	}
	salt, err = base64.StdEncoding.DecodeString(fields[1][2:])
	if err != nil || len(salt) == 0 {
		return "", nil, 0, errors.New("the server's salt can't be understood")
	}
	iterations, err = strconv.Atoi(fields[2][2:])
	switch {
	case err != nil:
		return "", nil, 0, errors.New("the server's iteration count can't be understood")
	case iterations < scramMinIterations:
		return "", nil, 0, fmt.Errorf("the server stores the password with only %d iterations, which would give it away to guessing; at least %d are required (RFC 7677), use auth = \"plain\" over TLS if the server can't be changed",
			iterations, scramMinIterations)
	case iterations > scramMaxIterations:
		return "", nil, 0, fmt.Errorf("the server demands %d iterations; at most %d are computed", iterations, scramMaxIterations)
	}
	return fields[0][2:], salt, iterations, nil
}

// verify checks the server's proof that it knows the password as well.
func (c *scramClient) verify(final string) error {
	if e, ok := strings.CutPrefix(final, "e="); ok {
		return serverError(e)
	}
	v, ok := strings.CutPrefix(final, "v=")
	if !ok {
		return errors.New("the server's last message can't be understood")
	}
	v, _, _ = strings.Cut(v, ",")
	sig, err := base64.StdEncoding.DecodeString(v)
	if err != nil || !hmac.Equal(sig, c.serverSig) {
		return errors.New("the server did not prove that it knows the password; it may not be the real one")
	}
	return nil
}

// serverError is what the server calls the failure.
func serverError(e string) error {
	e, _, _ = strings.Cut(e, ",")
	return fmt.Errorf("the server says: %.60s", strings.Map(printable, e))
}
