package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/apitest"
	"github.com/slipway-ci/slipway/sdk/client"
)

// listen takes connections and greets them with some bytes.
func listen(t *testing.T, greeting string) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, greeting) // who has gone by then has seen enough
			_ = conn.Close()
		}
	}()
	return l.Addr().String()
}

// TestWhatIsOnTheWay: what is wrong below Slipway's own errors is said in words for who called, not in those of gRPC.
func TestWhatIsOnTheWay(t *testing.T) {
	s := apitest.Start(t)
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	left, leave := context.WithCancel(t.Context())
	leave()
	type call func(context.Context, *client.Client) error
	list := func(ctx context.Context, c *client.Client) error { _, err := c.Runs(ctx, "", 1); return err }
	release := func(ctx context.Context, c *client.Client) error { _, err := c.ReleaseJob(ctx, "1", ""); return err }
	for name, tt := range map[string]struct {
		ctx  context.Context //nolint:containedctx // of the case
		conf client.Config
		call call
		kind error
		says string
	}{
		"nobody":          {t.Context(), client.Config{Address: "127.0.0.1:1"}, list, client.ErrUnreachable, "does not answer: dial tcp 127.0.0.1:1: connect: connection refused"},
		"no TLS":          {t.Context(), client.Config{Address: listen(t, "220 mail.example.org ESMTP\r\n")}, list, client.ErrUntrusted, "does not speak TLS"},
		"another CA":      {t.Context(), client.Config{Address: s.Address()}, list, client.ErrUntrusted, "name the coordinator's ca.pem with --ca"},
		"another name":    {t.Context(), client.Config{Address: s.Address(), CA: s.CA, ServerName: "example.org"}, list, client.ErrUntrusted, "call it by a name that its certificate has"},
		"an older one":    {t.Context(), client.Config{Address: s.Address(), CA: s.CA, Token: apitest.Token}, release, client.ErrSystem, "a coordinator of another version, or none"},
		"the time is up":  {over, client.Config{Address: s.Address(), CA: s.CA, Token: apitest.Token}, list, context.DeadlineExceeded, "did not answer in time"},
		"the caller left": {left, client.Config{Address: s.Address(), CA: s.CA, Token: apitest.Token}, list, context.Canceled, "it was interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.conf.FirstPatience, tt.conf.Patience = 10*time.Millisecond, 10*time.Millisecond
			c, err := client.New(tt.conf)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Release()
			err = tt.call(tt.ctx, c)
			if !errors.Is(err, tt.kind) || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%v; want %v and %q", err, tt.kind, tt.says)
			}
			for _, raw := range []string{"rpc error", "desc =", "code =", "context ", "transport:"} {
				if err != nil && strings.Contains(err.Error(), raw) {
					t.Errorf("%v: %q is gRPC's", err, raw)
				}
			}
		})
	}
}
