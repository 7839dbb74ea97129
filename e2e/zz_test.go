package e2e
import ("testing";"context";"time";"bytes";"os";"github.com/satchel-mail/satchel/internal/testenv/servers")
func TestZZ(t *testing.T) {
	a := newAccount(t, servers.Dovecot(t, servers.Options{Without: []string{"UIDPLUS"}}))
	a.send("INBOX", flags(), "s1")
	a.file("INBOX", "", "l1")
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	cmd := a.command(ctx, "sync", "-vv")
	var b bytes.Buffer
	cmd.Stdout, cmd.Stderr = &b, &b
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	_ = cmd.Run()
	t.Logf("%.9000s", b.String())
}
