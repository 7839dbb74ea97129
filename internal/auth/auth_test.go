package auth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/zalando/go-keyring"
)

const canary = "hunter2"

func secret(t testing.TB, s string) Secret {
	t.Helper()
	v, err := NewSecret(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestSecretIsNeverPrinted prints a secret in every way that there is, by itself and inside of things,
// also where fmt can't call methods.
func TestSecretIsNeverPrinted(t *testing.T) {
	s := secret(t, canary)
	type hidden struct {
		secret Secret
		other  *Secret
	}
	type open struct {
		Secret Secret
		Map    map[string]Secret
	}
	var out bytes.Buffer
	for _, v := range []any{s, &s, hidden{s, &s}, &hidden{s, &s}, open{s, map[string]Secret{"x": s}}, []Secret{s}, [1]Secret{s}, Literal(canary), Once(Literal(canary))} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%p", "%10v", "%-5s"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
		j, err := json.Marshal(v)
		if err != nil {
			t.Error(err)
		}
		out.Write(j)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
	}
	if err := toml.NewEncoder(&out).Encode(open{s, nil}); err != nil {
		t.Error(err)
	}
	fmt.Fprint(&out, s.String(), s.GoString(), s.LogValue())
	text := out.String()
	for _, spelled := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprint([]byte(canary))} {
		if strings.Contains(text, spelled) {
			t.Errorf("%q shows in\n%s", spelled, text)
		}
	}
	if fmt.Sprint(s) != "***" || fmt.Sprintf("%q", s) != "***" {
		t.Errorf("%v", s)
	}
	if j, _ := json.Marshal(open{Secret: s}); string(j) != `{"Secret":"***","Map":null}` {
		t.Errorf("%s", j)
	}
	if s.Reveal() != canary || s.IsZero() || (Secret{}).Reveal() != "" || !(Secret{}).IsZero() || fmt.Sprint(Secret{}) != "***" {
		t.Error("Reveal")
	}
}

func TestNewSecret(t *testing.T) {
	for s, ok := range map[string]bool{
		"": true, "x": true, "ä ö\t": true, strings.Repeat("x", maxSecret): true,
		canary + "\n": false, canary + "\r": false, canary + "\x00": false, canary + strings.Repeat("x", maxSecret): false,
	} {
		_, err := NewSecret(s)
		if (err == nil) != ok {
			t.Errorf("%.20q: %v", s, err)
		}
		if err != nil && strings.Contains(err.Error(), canary) {
			t.Error(err)
		}
	}
}

func TestFromEnv(t *testing.T) {
	t.Setenv("SATCHEL_TEST_GOOD", canary)
	t.Setenv("SATCHEL_TEST_EMPTY", "")
	t.Setenv("SATCHEL_TEST_LINES", canary+"\nx")
	for name, want := range map[string]string{"GOOD": "", "EMPTY": "is empty", "LINES": "line break", "MISSING": "is not set"} {
		s, err := FromEnv("SATCHEL_TEST_" + name).Secret(t.Context())
		if want == "" {
			if err != nil || s.Reveal() != canary {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "SATCHEL_TEST_"+name) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFromKeyring(t *testing.T) {
	keyring.MockInit()
	if err := keyring.Set(KeyringService, "me", canary); err != nil {
		t.Fatal(err)
	}
	if s, err := FromKeyring(KeyringService, "me").Secret(t.Context()); err != nil || s.Reveal() != canary {
		t.Error(err)
	}
	_, err := FromKeyring(KeyringService, "you").Secret(t.Context())
	if err == nil || !strings.Contains(err.Error(), `service "satchel", user "you"`) {
		t.Error(err)
	}
	keyring.MockInitWithError(errors.New("no bus"))
	_, err = FromKeyring(KeyringService, "me").Secret(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no bus") {
		t.Error(err)
	}
}

func TestLiteral(t *testing.T) {
	if s, err := Literal(canary).Secret(t.Context()); err != nil || s.Reveal() != canary {
		t.Error(err)
	}
	if _, err := Literal(canary + "\n").Secret(t.Context()); err == nil || strings.Contains(err.Error(), canary) {
		t.Error(err)
	}
}

func TestFromCommand(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		want       string   // the secret, or
		err        []string // what the error says
	}{
		{"plain", "echo hunter2", canary, nil},
		{"without a line end", "printf hunter2", canary, nil},
		{"with CRLF", `printf 'hunter2\r\n'`, canary, nil},
		{"further lines are not looked at", `printf 'hunter2\nuser: x\n\0'`, canary, nil},
		{"much behind it", "echo hunter2; head -c 3000000 /dev/zero", canary, nil},
		{"spaces belong to it", "echo ' hunter2 '", " hunter2 ", nil},
		{"words on standard error", "echo warning >&2; echo hunter2", canary, nil},
		{"no input", "cat; echo hunter2", canary, nil},
		{"what it leaves behind holds nobody up", "sleep 600 & echo $! >\"$PIDFILE\"; echo hunter2", canary, nil},
		{"fails", "echo hunter2; echo 'pass: no such entry' >&2; exit 4", "", []string{"exit status 4", "it says: pass: no such entry"}},
		{"fails without a word", "exit 1", "", []string{"exit status 1"}},
		{"repeats the secret in its error", "echo hunter2; echo 'bad hunter2!' >&2; exit 1", "", []string{"it says: bad ***!"}},
		{"prints nothing", "true", "", []string{"first line of its output is empty"}},
		{"prints an empty line first", `printf '\nhunter2\n'`, "", []string{"first line of its output is empty"}},
		{"carriage return inside", `printf 'hunt\rer2\n'`, "", []string{"line break"}},
		{"NUL inside", `printf 'hunter2\0\n'`, "", []string{"NUL"}},
		{"endless line", "head -c 3000000 /dev/zero | tr '\\0' x", "", []string{"longer than 65536 bytes"}},
		{"not found", "/nonexistent/pass", "", []string{"exit status 127"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pidfile := t.TempDir() + "/pid"
			t.Setenv("PIDFILE", pidfile)
			s, err := FromShell(tt.line).Secret(t.Context())
			if pid, rerr := os.ReadFile(pidfile); rerr == nil {
				if _, err := FromShell("kill " + strings.TrimSpace(string(pid)) + " && echo gone").Secret(t.Context()); err != nil {
					t.Errorf("what it left behind was ended: %v", err)
				}
			}
			if tt.err == nil {
				if err != nil || s.Reveal() != tt.want {
					t.Errorf("%d bytes, %v", len(s.Reveal()), err)
				}
				return
			}
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range append(tt.err, "password_command: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "hunt") {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
	if s, err := FromCommand([]string{"echo", "$x"}).Secret(t.Context()); err != nil || s.Reveal() != "$x" {
		t.Errorf("a list went through a shell: %v", err)
	}
	if _, err := FromCommand([]string{"/nonexistent/pass"}).Secret(t.Context()); err == nil || !strings.Contains(err.Error(), "password_command") {
		t.Error(err)
	}
}

func TestCommandIsBounded(t *testing.T) {
	_, err := command{argv: []string{"sh", "-c", "echo asking >&2; sleep 600 & wait"}, limit: 200 * time.Millisecond}.Secret(t.Context())
	if err == nil || !strings.Contains(err.Error(), "did not end within 200ms") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := FromShell("sleep 600 & wait").Secret(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// sourceFunc is a Source that is a function.
type sourceFunc func(ctx context.Context) (Secret, error)

func (f sourceFunc) Secret(ctx context.Context) (Secret, error) { return f(ctx) }

func TestOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int32
		var fail atomic.Bool
		src := Once(sourceFunc(func(ctx context.Context) (Secret, error) {
			n := asked.Add(1)
			time.Sleep(time.Second) // the bubble's clock
			if fail.Load() {
				return Secret{}, errors.New("locked")
			}
			return secret(t, fmt.Sprint(n)), nil
		}))
		all := func() (values []string, errs int) {
			var wg sync.WaitGroup
			var mu sync.Mutex
			for range 8 {
				wg.Go(func() {
					s, err := src.Secret(t.Context())
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						errs++
					} else {
						values = append(values, s.Reveal())
					}
				})
			}
			wg.Wait()
			return values, errs
		}
		same := func(values []string, want string) bool {
			for _, v := range values {
				if v != want {
					return false
				}
			}
			return len(values) == 8
		}

		fail.Store(true)
		if _, errs := all(); errs != 8 || asked.Load() != 1 {
			t.Errorf("%d failures, asked %d times", errs, asked.Load())
		}
		fail.Store(false)
		if values, _ := all(); !same(values, "2") {
			t.Errorf("after a failure: %v", values)
		}
		if values, _ := all(); !same(values, "2") || asked.Load() != 2 {
			t.Errorf("kept: %v", values)
		}
		src.Forget()
		if values, _ := all(); !same(values, "3") {
			t.Errorf("after Forget: %v", values)
		}

		// Forgotten while it is being asked: the answer may be the old secret.
		src.Forget()
		go func() { _, _ = src.Secret(t.Context()) }()
		synctest.Wait()
		src.Forget()
		time.Sleep(2 * time.Second)
		if values, _ := all(); !same(values, "5") {
			t.Errorf("after Forget in between: %v", values)
		}
	})
}

// TestOnceGivesUpAlone: one that gives up does not take the others with it.
func TestOnceGivesUpAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := Once(sourceFunc(func(ctx context.Context) (Secret, error) {
			select {
			case <-time.After(time.Second):
				return NewSecret("x")
			case <-ctx.Done():
				return Secret{}, ctx.Err()
			}
		}))
		hasty, cancel := context.WithCancel(t.Context())
		results := make(chan error, 3)
		ask := func(ctx context.Context) {
			_, err := src.Secret(ctx)
			results <- err
		}
		go ask(hasty) // asks
		synctest.Wait()
		go ask(t.Context()) // waits for the answer
		go ask(hasty)       // waits as well
		synctest.Wait()
		cancel()
		synctest.Wait()
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		if err := <-results; err != nil {
			t.Error(err)
		}
	})
}

// TestARefusedSecretIsForgotten: who was refused from the start is asked again the next time.
func TestARefusedSecretIsForgotten(t *testing.T) {
	asked := 0
	src := Once(sourceFunc(func(context.Context) (Secret, error) {
		asked++
		return NewSecret(fmt.Sprint(asked))
	}))
	refused := errors.New("refused")
	var a Accepted
	signIn := func(want string) error {
		return a.SignIn(t.Context(), src, func(err error) bool { return errors.Is(err, refused) }, func() (*Secret, error) {
			s, err := src.Secret(t.Context())
			if err == nil && s.Reveal() != want {
				err = refused
			}
			return &s, err
		})
	}
	if err := signIn("2"); !errors.Is(err, refused) || asked != 1 {
		t.Errorf("the wrong one: %v, asked %d times", err, asked)
	}
	for range 3 {
		if err := signIn("2"); err != nil || asked != 2 {
			t.Errorf("mended: %v, asked %d times", err, asked)
		}
	}
}
