package main

import (
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func signalSelf(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(os.Getpid(), sig); err != nil {
		t.Fatal(err)
	}
}

func TestSignalsOfAnAgent(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := newCLI(t, nil)
	c.env["NOTIFY_SOCKET"] = socket
	for _, tt := range []struct {
		name    string
		drains  bool
		signals []syscall.Signal
		drained int
	}{
		{"TERM drains, a second one leaves", true, []syscall.Signal{syscall.SIGTERM, syscall.SIGTERM}, 1},
		{"so does INT", true, []syscall.Signal{syscall.SIGINT, syscall.SIGINT}, 1},
		{"USR1 leaves at once", true, []syscall.Signal{syscall.SIGUSR1}, 0},
		{"USR1 ends a drain", true, []syscall.Signal{syscall.SIGTERM, syscall.SIGUSR1}, 1},
		{"TERM leaves before there is anything to drain", false, []syscall.Signal{syscall.SIGTERM}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			leave := c.app().leaveOnSignals(t.Context(), time.Hour, log)
			defer leave.stop()
			calls := make(chan time.Duration, 10)
			if tt.drains {
				leave.drain(func(limit time.Duration, _ string) { calls <- limit })
			}
			for i, sig := range tt.signals {
				signalSelf(t, sig)
				if i >= tt.drained {
					continue
				}
				if limit := <-calls; limit != time.Hour || leave.ctx.Err() != nil {
					t.Errorf("drained with %s; the agent leaves: %v", limit, leave.ctx.Err())
				}
				buf := make([]byte, 512)
				if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				n, err := l.Read(buf)
				if err != nil || !strings.Contains(string(buf[:n]), "STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000") {
					t.Errorf("the service manager was told %q, %v", buf[:n], err)
				}
			}
			<-leave.ctx.Done()
			if len(calls) != 0 {
				t.Error("drained again")
			}
		})
	}
}
