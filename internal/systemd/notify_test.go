package systemd_test

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/systemd"
)

// manager is a service manager that listens.
func manager(t *testing.T, env map[string]string) (next func() string, n systemd.Notifier) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	env["NOTIFY_SOCKET"] = path
	n, err = systemd.FromEnv(func(k string) string { return env[k] }, 7)
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 512)
		size, err := l.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:size])
	}, n
}

func TestNotify(t *testing.T) {
	next, n := manager(t, map[string]string{})
	if err := n.Ready("serving\nMAINPID=1"); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "READY=1\nSTATUS=serving MAINPID=1" {
		t.Errorf("%q", got)
	}
	if err := n.Stopping(); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "STOPPING=1" {
		t.Errorf("%q", got)
	}
	// No watchdog was asked for: this returns.
	n.Watch(context.Background(), func(context.Context) error { panic("asked") }, nil)
}

func TestWatchdog(t *testing.T) {
	next, n := manager(t, map[string]string{"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "7"})
	ctx, cancel := context.WithCancel(context.Background())
	asked, reports := 0, make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Watch(ctx, func(context.Context) error {
			if asked++; asked == 2 {
				return errors.New("stuck")
			}
			return nil
		}, func(err error) { reports <- err })
	}()
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
	if err := <-reports; !strings.Contains(err.Error(), "stuck") {
		t.Error(err)
	}
	if got := next(); got != "WATCHDOG=1" {
		t.Errorf("%q", got)
	}
	cancel()
	<-done
	if asked < 3 {
		t.Errorf("asked %d times for two signs of life and one refusal", asked)
	}
}

func TestEnvironment(t *testing.T) {
	for name, c := range map[string]struct {
		env map[string]string
		bad bool
	}{
		"none":              {nil, false},
		"abstract":          {map[string]string{"NOTIFY_SOCKET": "@slipway-test"}, false},
		"virtual machine":   {map[string]string{"NOTIFY_SOCKET": "vsock:2:1"}, true},
		"another process's": {map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "x", "WATCHDOG_PID": "8"}, false},
		"no number":         {map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "x"}, true},
		"negative":          {map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "-1"}, true},
		"overflow":          {map[string]string{"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "9223372036854775807"}, true},
	} {
		if _, err := systemd.FromEnv(func(k string) string { return c.env[k] }, 7); (err != nil) != c.bad {
			t.Errorf("%s: %v", name, err)
		}
	}
	var nobody systemd.Notifier
	if err := errors.Join(nobody.Ready(""), nobody.Stopping()); err != nil {
		t.Error(err)
	}
	n, err := systemd.FromEnv(func(k string) string { return map[string]string{"NOTIFY_SOCKET": "/nowhere/at/all"}[k] }, 7)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(""); err == nil {
		t.Error("nobody listens, and no error")
	}
}
