package auth

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/emersion/go-sasl"
)

// Method is a way to sign in, spelled as in the configuration.
type Method string

const (
	Auto        Method = "auto"          // the strongest that the server offers, see Choose
	Plain       Method = "plain"         // SASL PLAIN (RFC 4616)
	Login       Method = "login"         // the protocol's own login command, or SASL LOGIN
	ScramSHA256 Method = "scram-sha-256" // RFC 7677
	XOAuth2     Method = "xoauth2"       // with a token for a secret
	OAuthBearer Method = "oauthbearer"   // with a token for a secret (RFC 7628)
	External    Method = "external"      // by the client certificate (RFC 4422, appendix A)
)

// Methods returns all methods, as the configuration allows them.
func Methods() []Method {
	return []Method{Auto, Plain, Login, ScramSHA256, XOAuth2, OAuthBearer, External}
}

// NeedsSecret reports whether signing in by m takes a password or token.
func (m Method) NeedsSecret() bool { return m != External }

// mechanism is the method's SASL name.
func (m Method) mechanism() string { return strings.ToUpper(string(m)) }

// Choose settles on a method. offered are the SASL mechanisms that the server names, in any case;
// loginCommand says that the protocol's own login command may be used as well. A method other than Auto is
// taken at its word: if the server does not offer it, that is an error and nothing weaker is tried.
//
// Auto takes, in this order, what is offered of: External if certOnly, Plain's stronger sibling
// ScramSHA256, Plain, Login, OAuthBearer, XOAuth2. certOnly says that there is a client certificate and no
// password: who configured a password as well means it to be used, and many servers that ask for
// certificates offer EXTERNAL without knowing whom a certificate stands for. The OAuth methods come
// last because the secret must be a token then, which it is if the server takes nothing else.
//
// Login as a result means the login command if loginCommand is true, else SASL LOGIN.
func Choose(m Method, offered []string, loginCommand, certOnly bool) (Method, error) {
	offers := func(m Method) bool {
		if m == Login && loginCommand {
			return true
		}
		return slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, m.mechanism()) })
	}
	if m != Auto && m != "" {
		if !offers(m) {
			return "", fmt.Errorf("the server does not offer auth = %q; %s", m, offerText(offered, loginCommand))
		}
		return m, nil
	}
	order := []Method{ScramSHA256, Plain, Login, OAuthBearer, XOAuth2}
	if certOnly {
		order = []Method{External}
	}
	for _, m := range order {
		if offers(m) {
			return m, nil
		}
	}
	if certOnly {
		return "", fmt.Errorf("the server does not offer to sign in by client certificate alone, and no password is configured; %s", offerText(offered, loginCommand))
	}
	return "", fmt.Errorf("the server offers no way to sign in that Satchel knows; %s", offerText(offered, loginCommand))
}

func offerText(offered []string, loginCommand bool) string {
	names := make([]string, 0, len(offered)+1)
	for _, o := range offered {
		names = append(names, strings.ToLower(strings.Map(printable, o)))
	}
	if loginCommand && !slices.Contains(names, string(Login)) {
		names = append(names, string(Login))
	}
	if len(names) == 0 {
		return "it offers nothing"
	}
	slices.Sort(names)
	return "it offers " + strings.Join(names, ", ")
}

func printable(r rune) rune {
	if r < ' ' || (r >= 0x7f && r < 0xa0) {
		return -1
	}
	return r
}

// Client makes the SASL client for a method that Choose returned. host and port are what the
// connection was made to, which OAUTHBEARER tells the server.
//
// No error text of the client holds the secret. Those of Next are final: the exchange must be cancelled or the
// connection closed. After the server's success call Verified.
func Client(m Method, user string, secret Secret, host string, port int) (sasl.Client, error) {
	if strings.ContainsAny(user, "\r\n\x00\x01") {
		return nil, errors.New("the user name holds a control character")
	}
	if user == "" && m != External {
		return nil, fmt.Errorf("auth = %q needs a user", m)
	}
	if m.NeedsSecret() && secret.IsZero() {
		return nil, fmt.Errorf("auth = %q needs a password", m)
	}
	switch m {
	case Plain:
		return sasl.NewPlainClient("", user, secret.Reveal()), nil
	case Login:
		return &loginClient{user: user, secret: secret}, nil
	case External:
		return sasl.NewExternalClient(user), nil
	case XOAuth2, OAuthBearer:
		return newBearerClient(m, user, secret, host, port)
	case ScramSHA256:
		return newScramClient(user, secret, newNonce), nil
	}
	return nil, fmt.Errorf("auth = %q is no method to sign in by", m)
}

// Verified must be called when the server has declared the exchange a success. It is an error if the
// method obliges the server to prove that it knows the password too, and it did not (RFC 5802,
// section 5: the client must treat that as a failure).
func Verified(c sasl.Client) error {
	if s, ok := c.(*scramClient); ok && s.step != scramDone {
		return errors.New("the server declared the sign-in a success without proving that it knows the password; it may not be the real one")
	}
	return nil
}

// loginClient is SASL LOGIN. It sends no initial response, because servers differ on whether there
// can be one, and goes by the order of the prompts if it does not know their words.
type loginClient struct {
	user   string
	secret Secret
	asked  int
}

func (c *loginClient) Start() (mech string, ir []byte, err error) { return sasl.Login, nil, nil }

func (c *loginClient) Next([]byte) ([]byte, error) {
	c.asked++
	switch c.asked {
	case 1:
		return []byte(c.user), nil
	case 2:
		return []byte(c.secret.Reveal()), nil
	}
	return nil, errors.New("the server asks for more than a user name and a password (auth = \"login\")")
}

// bearerClient is XOAUTH2 or OAUTHBEARER. Both answer the server's explanation of a failure with a
// word that says nothing, upon which the server's NO comes.
type bearerClient struct {
	mech     string
	token    Secret
	initial  func(token string) string
	goAhead  []byte
	answered bool
}

func newBearerClient(m Method, user string, token Secret, host string, port int) (*bearerClient, error) {
	// RFC 6750, section 2.1: a token is printable ASCII; anything else could end its field.
	if strings.ContainsFunc(token.Reveal(), func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return nil, errors.New("the token holds characters that no OAuth 2 token has; the password source must give the access token alone")
	}
	c := &bearerClient{mech: m.mechanism(), token: token}
	if m == XOAuth2 {
		c.initial = func(token string) string { return "user=" + user + "\x01auth=Bearer " + token + "\x01\x01" }
		c.goAhead = []byte{}
		return c, nil
	}
	c.initial = func(token string) string {
		_, ir, _ := sasl.NewOAuthBearerClient(&sasl.OAuthBearerOptions{
			Username: saslName(user), Token: token, Host: host, Port: port,
		}).Start() // it has no error to give
		return string(ir)
	}
	c.goAhead = []byte{1} // RFC 7628, section 3.2.3
	return c, nil
}

func (c *bearerClient) Start() (mech string, ir []byte, err error) {
	return c.mech, []byte(c.initial(c.token.Reveal())), nil
}

func (c *bearerClient) Next([]byte) ([]byte, error) {
	if c.answered {
		return nil, errors.New("the server asks for more than a token")
	}
	c.answered = true
	return c.goAhead, nil
}

// saslName escapes a user name for a GS2 header and for SCRAM (RFC 5802, section 5.1).
func saslName(user string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
}
