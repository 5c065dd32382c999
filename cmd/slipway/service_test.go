package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/install"
)

func TestCoordinatorTellsTheServiceManager(t *testing.T) {
	c := newCLI(t, nil)
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := l.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	next := func() string {
		buf := make([]byte, 512)
		n, err := l.Read(buf)
		if err != nil {
			t.Fatalf("%v\n%s", err, c.stderr)
		}
		return string(buf[:n])
	}
	c.write("c.yaml", fmt.Sprintf("data_dir: %s\nlisten: 127.0.0.1:0\nmetrics: 127.0.0.1:0\nstore: {kind: memory}\n", t.TempDir()))
	c.env["NOTIFY_SOCKET"], c.env["WATCHDOG_USEC"] = socket, "2000000"
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan exit.Code, 1)
	go func() { ended <- c.app().main(ctx, []string{"coordinator", "--config", "c.yaml"}) }()
	if got := next(); !strings.HasPrefix(got, "READY=1\nSTATUS=") {
		t.Errorf("first %q", got)
	}
	for range 2 {
		if got := next(); got != "WATCHDOG=1" {
			t.Errorf("then %q", got)
		}
	}
	stop()
	got := next()
	for got == "WATCHDOG=1" {
		got = next()
	}
	if got != "STOPPING=1" {
		t.Errorf("at last %q", got)
	}
	if code := <-ended; code != exit.OK {
		t.Errorf("exit code %d\n%s", code, c.stderr)
	}
	c.env["NOTIFY_SOCKET"] = "nonsense"
	if code, _, said := c.run("coordinator", "--config", "c.yaml"); code != exit.System || !strings.Contains(said, "NOTIFY_SOCKET") {
		t.Errorf("exit code %d, %s", code, said)
	}
}

func TestAgentInstall(t *testing.T) {
	c := newCLI(t, nil)
	root := t.TempDir()
	c.write("token", "the-join-secret\n")
	args := []string{"agent", "install", "--root", root, "--coordinator", "ci.example.org:7420", "--token-file", "token", "--binary", install.Binary, "--slots", "3"}
	code, out, said := c.run(append(args, "--print")...)
	if code != exit.OK || !strings.Contains(out, "would write "+root+install.UnitPath) || strings.Contains(out, "the-join-secret") {
		t.Fatalf("%d %s %s", code, out, said)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("--print wrote %v, %v", entries, err)
	}
	if code, out, said = c.run(args...); code != exit.OK || strings.Count(out, "written:") != 3 || !strings.Contains(out, "systemctl") {
		t.Errorf("%d %s %s", code, out, said)
	}
	for _, again := range [][]string{args, {"agent", "install", "--root", root, "--binary", install.Binary}} {
		if code, out, said = c.run(again...); code != exit.OK || !strings.Contains(out, "nothing was written") {
			t.Errorf("again: %d %s %s", code, out, said)
		}
	}
	if code, out, said = c.run("agent", "install", "--root", root, "--binary", install.Binary, "--slots", "4"); code != exit.OK || strings.Count(out, "written:") != 1 {
		t.Errorf("one change: %d %s %s", code, out, said)
	}
	conf, err := os.ReadFile(filepath.Join(root, install.ConfigPath))
	if err != nil || !strings.Contains(string(conf), "slots: 4") || !strings.Contains(string(conf), "ci.example.org") || strings.Contains(string(conf), "secret") {
		t.Errorf("%s, %v", conf, err)
	}
	code, out, said = c.run("agent", "install", "--root", t.TempDir(), "--coordinator", "ci.example.org:7420", "--sandbox", "process", "--binary", install.Binary, "--print")
	if code != exit.OK || !strings.Contains(out, "User=slipway-agent\n") || !strings.Contains(out, "kind: process") {
		t.Errorf("%d %s %s", code, out, said)
	}
	if code, _, said = c.run("agent", "install", "--root", t.TempDir()); code != exit.Invalid || !strings.Contains(said, "--coordinator") {
		t.Errorf("%d %s", code, said)
	}
}
