package auth

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/emersion/go-sasl"
)

func TestChoose(t *testing.T) {
	all := []string{"PLAIN", "LOGIN", "SCRAM-SHA-256", "XOAUTH2", "OAUTHBEARER", "EXTERNAL", "GSSAPI"}
	for _, tt := range []struct {
		method   Method
		offered  []string
		login    bool
		certOnly bool
		want     Method // empty: an error
	}{
		{Auto, all, true, false, ScramSHA256},
		{"", all, true, false, ScramSHA256},
		{Auto, []string{"plain", "login", "xoauth2"}, true, false, Plain},
		{Auto, []string{"LOGIN", "XOAUTH2"}, false, false, Login},
		{Auto, nil, true, false, Login},
		{Auto, []string{"XOAUTH2", "OAUTHBEARER"}, true, false, Login},
		{Auto, []string{"XOAUTH2", "OAUTHBEARER"}, false, false, OAuthBearer},
		{Auto, []string{"XOAUTH2"}, false, false, XOAuth2},
		{Auto, []string{"EXTERNAL"}, false, false, ""}, // a password is configured, or no certificate
		{Auto, []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "CRAM-MD5"}, false, false, ""},
		{Auto, nil, false, false, ""},
		{Auto, all, true, true, External},
		{Auto, []string{"PLAIN"}, true, true, ""}, // no password to sign in with
		{Plain, all, false, false, Plain},
		{Plain, []string{"SCRAM-SHA-256"}, true, false, ""}, // never anything else
		{ScramSHA256, []string{"PLAIN"}, true, false, ""},   // above all not weaker
		{ScramSHA256, []string{"scram-sha-256"}, true, false, ScramSHA256},
		{Login, nil, true, false, Login},
		{Login, []string{"LOGIN"}, false, false, Login},
		{Login, []string{"PLAIN"}, false, false, ""},
		{XOAuth2, all, true, false, XOAuth2},
		{OAuthBearer, []string{"XOAUTH2"}, true, false, ""},
		{External, all, true, false, External},
		{External, nil, true, true, ""},
	} {
		got, err := Choose(tt.method, tt.offered, tt.login, tt.certOnly)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%+v: %q, %v", tt, got, err)
		}
	}
	_, err := Choose(ScramSHA256, []string{"PLAIN", "X\x1b[1m"}, true, false)
	if err == nil || err.Error() != `the server does not offer auth = "scram-sha-256"; it offers login, plain, x[1m` {
		t.Error(err)
	}
	if _, err := Choose(Auto, nil, false, false); err == nil || !strings.Contains(err.Error(), "it offers nothing") {
		t.Error(err)
	}
}

// TestExchanges: what goes over the wire for each method; the server's messages are on the left.
func TestExchanges(t *testing.T) {
	for _, tt := range []struct {
		method Method
		mech   string
		ir     string
		hasIR  bool
		steps  [][2]string
	}{
		{Plain, "PLAIN", "\x00me\x00hunter2", true, nil},
		{Login, "LOGIN", "", false, [][2]string{{"Username:", "me"}, {"Password:", "hunter2"}}},
		{Login, "LOGIN", "", false, [][2]string{{"User Name\x00", "me"}, {"password", "hunter2"}}},
		{External, "EXTERNAL", "me", true, nil},
		{XOAuth2, "XOAUTH2", "user=me\x01auth=Bearer hunter2\x01\x01", true, [][2]string{{`{"status":"401"}`, ""}}},
		{OAuthBearer, "OAUTHBEARER", "n,a=me,\x01host=h\x01port=993\x01auth=Bearer hunter2\x01\x01", true, [][2]string{{`{"status":"invalid_token"}`, "\x01"}}},
	} {
		c, err := Client(tt.method, "me", secret(t, canary), "h", 993)
		if err != nil {
			t.Fatal(err)
		}
		mech, ir, err := c.Start()
		if err != nil || mech != tt.mech || string(ir) != tt.ir || (ir != nil) != tt.hasIR {
			t.Errorf("%s: %q %q %v", tt.method, mech, ir, err)
		}
		for _, step := range tt.steps {
			answer, err := c.Next([]byte(step[0]))
			if err != nil || string(answer) != step[1] || answer == nil {
				t.Errorf("%s: %q: %q, %v", tt.method, step[0], answer, err)
			}
		}
		if answer, err := c.Next([]byte("more")); err == nil {
			t.Errorf("%s goes on for ever: %q", tt.method, answer)
		} else if strings.Contains(err.Error(), canary) {
			t.Error(err)
		}
		if err := Verified(c); err != nil {
			t.Errorf("%s: %v", tt.method, err)
		}
		if s := fmt.Sprintf("%v %+v %#v", c, c, c); tt.method != Plain && strings.Contains(s, canary) {
			t.Errorf("%s shows its secret: %s", tt.method, s)
		}
	}
}

func TestClientRefuses(t *testing.T) {
	for _, tt := range []struct {
		method       Method
		user, secret string
		want         string
	}{
		{Plain, "me\x00you", canary, "control character"},
		{XOAuth2, "me\x01auth", canary, "control character"},
		{Login, "me\r\nx", canary, "control character"},
		{Plain, "", canary, "needs a user"},
		{ScramSHA256, "", canary, "needs a user"},
		{Plain, "me", "", "needs a password"},
		{XOAuth2, "me", "hunter2\x01", "no OAuth 2 token has"},
		{OAuthBearer, "me", "hunter2 x", "no OAuth 2 token has"},
		{OAuthBearer, "me", "hünter2", "no OAuth 2 token has"},
		{Auto, "me", canary, "no method"},
		{"cram-md5", "me", canary, "no method"},
	} {
		_, err := Client(tt.method, tt.user, secret(t, tt.secret), "h", 993)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
	if c, err := Client(External, "", Secret{}, "h", 993); err != nil {
		t.Error(err)
	} else if _, ir, _ := c.Start(); ir == nil || len(ir) != 0 {
		t.Errorf("%q", ir)
	}
}

func TestMethods(t *testing.T) {
	for _, m := range Methods() {
		if m.NeedsSecret() == (m == External) {
			t.Error(m)
		}
		if m == Auto {
			continue
		}
		if _, err := Client(m, "me", secret(t, "x"), "h", 993); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// vector is the example of RFC 7677, section 3.
func vector(t testing.TB) *scramClient {
	t.Helper()
	c := newScramClient("user", secret(t, "pencil"), func() string { return "rOprNGfwEbeRWgbNEkqO" })
	mech, ir, err := c.Start()
	if err != nil || mech != "SCRAM-SHA-256" || string(ir) != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" {
		t.Fatalf("%q %q %v", mech, ir, err)
	}
	return c
}

const (
	vectorFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	vectorProof = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	vectorFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func TestScramVector(t *testing.T) {
	c := vector(t)
	if err := Verified(c); err == nil {
		t.Error("success was believed before anything was said")
	}
	proof, err := c.Next([]byte(vectorFirst))
	if err != nil || string(proof) != vectorProof {
		t.Fatalf("%q, %v", proof, err)
	}
	if err := Verified(c); err == nil || !strings.Contains(err.Error(), "without proving") {
		t.Errorf("success was believed without the server's proof: %v", err)
	}
	last, err := c.Next([]byte(vectorFinal))
	if err != nil || last == nil || len(last) != 0 {
		t.Fatalf("%q, %v", last, err)
	}
	if err := Verified(c); err != nil {
		t.Error(err)
	}
	if _, err := c.Next([]byte("x")); err == nil || Verified(c) == nil {
		t.Errorf("goes on for ever: %v", err)
	}
}

func TestScramRefuses(t *testing.T) {
	const nonce = "r=rOprNGfwEbeRWgbNEkqOx,"
	salt := "s=" + base64.StdEncoding.EncodeToString([]byte("salt")) + ","
	for name, first := range map[string]string{
		"another nonce":           "r=Xx" + vectorFirst[4:],
		"our nonce alone":         "r=rOprNGfwEbeRWgbNEkqO," + salt + "i=4096",
		"shorter nonce":           "r=rOprNGfwEbeRWgbNEkq," + salt + "i=4096",
		"too few iterations":      nonce + salt + "i=4095",
		"too many iterations":     nonce + salt + "i=1000001",
		"far too many":            nonce + salt + "i=99999999999999999999",
		"negative":                nonce + salt + "i=-4096",
		"no iterations":           nonce + salt + "i=",
		"no salt":                 nonce + "s=,i=4096",
		"bad salt":                nonce + "s=!,i=4096",
		"missing salt":            nonce + "i=4096",
		"unknown extension":       "m=x," + nonce + salt + "i=4096",
		"error":                   "e=unknown-user",
		"nothing":                 "",
		"too long":                nonce + salt + "i=4096,x=" + strings.Repeat("x", scramMaxMessage),
		"fields in another order": salt + nonce + "i=4096",
	} {
		c := vector(t)
		answer, err := c.Next([]byte(first))
		if err == nil {
			t.Errorf("%s: %q", name, answer)
		}
		if _, err := c.Next([]byte(vectorFinal)); err == nil || Verified(c) == nil {
			t.Errorf("%s: goes on after a failure", name)
		}
	}
	for name, final := range map[string]string{
		"another signature": "v=" + base64.StdEncoding.EncodeToString(make([]byte, 32)),
		"shorter signature": "v=6rri",
		"no signature":      "v=",
		"error":             "e=invalid-proof",
		"nothing":           "",
		"our own proof":     "p=" + vectorProof,
	} {
		c := vector(t)
		if _, err := c.Next([]byte(vectorFirst)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next([]byte(final)); err == nil || Verified(c) == nil {
			t.Errorf("%s is believed", name)
		}
	}
	c := vector(t)
	_, err := c.Next([]byte("e=un\x1bknown" + strings.Repeat("x", 1000) + ",x"))
	if err == nil || len(err.Error()) > 200 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("%q", err)
	}
	// Extensions after the last field are no fault.
	c = vector(t)
	if _, err := c.Next([]byte(nonce + salt + "i=4096,x=y")); err != nil {
		t.Error(err)
	}
}

func TestScramNames(t *testing.T) {
	c := newScramClient("a=b,c", secret(t, "x"), newNonce)
	_, ir, err := c.Start()
	if err != nil || !strings.HasPrefix(string(ir), "n,,n=a=3Db=2Cc,r=") {
		t.Errorf("%q, %v", ir, err)
	}
	_, again, _ := c.Start()
	if string(again) == string(ir) || len(again) != len(ir) {
		t.Error("the nonce is the same twice")
	}
	b, err := Client(OAuthBearer, "a=b,c", secret(t, "x"), "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, ir, _ := b.Start(); string(ir) != "n,a=a=3Db=2Cc,\x01auth=Bearer x\x01\x01" {
		t.Errorf("%q", ir)
	}
}

// FuzzScram: whatever the server says, only its proof makes a success.
func FuzzScram(f *testing.F) {
	f.Add(vectorFirst, vectorFinal)
	f.Add("r=rOprNGfwEbeRWgbNEkqOx,s=,i=1", "e=x")
	f.Add("m=,r=", "v=")
	f.Fuzz(func(t *testing.T, first, final string) {
		c := vector(t)
		// Computing many iterations is no part of the parsing.
		if _, _, n, err := parseServerFirst(first); err == nil && n > 2*scramMinIterations {
			return
		}
		var s sasl.Client = c
		_, err1 := s.Next([]byte(first))
		_, err2 := s.Next([]byte(final))
		if err1 != nil && err2 == nil {
			t.Fatal("went on after a failure")
		}
		good := first == vectorFirst && final == vectorFinal
		if (Verified(s) == nil) != (err1 == nil && err2 == nil) || good && err2 != nil {
			t.Fatalf("%v, %v, %v", err1, err2, Verified(s))
		}
	})
}
