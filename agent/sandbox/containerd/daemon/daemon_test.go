package daemon_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox/containerd/daemon"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

func TestStartFindRestartStop(t *testing.T) {
	if err := daemon.Available(); err != nil {
		t.Skipf("SKIPPED: NO REAL CONTAINERD IS TESTED: %v", err)
	}
	dir, err := os.MkdirTemp("", "slwd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg := daemon.Config{Dir: dir}
	if _, err := daemon.Find(cfg); !errors.Is(err, procid.ErrGone) {
		t.Errorf("find before start: %v", err)
	}
	first, err := daemon.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	again, err := daemon.Start(ctx, cfg)
	if err != nil || again.PID() != first.PID() {
		t.Errorf("a second start: pid %d, %v; want %d", again.PID(), err, first.PID())
	}
	if err := first.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	second, err := daemon.Start(ctx, cfg)
	if err != nil || second.PID() == first.PID() {
		t.Fatalf("start after a crash: %v", err)
	}
	for range 2 {
		if err := second.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	if _, err := daemon.Find(cfg); !errors.Is(err, procid.ErrGone) {
		t.Errorf("find after stop: %v", err)
	}
}

func TestStartExplains(t *testing.T) {
	dir := t.TempDir()
	for says, cfg := range map[string]daemon.Config{
		"107 bytes":      {Dir: filepath.Join(dir, strings.Repeat("x", 120))},
		"starting":       {Dir: filepath.Join(dir, "a"), RunDir: short(t), Binary: "/no/such/containerd"},
		"containerd.log": {Dir: filepath.Join(dir, "b"), RunDir: short(t), Binary: "/bin/false"},
	} {
		if _, err := daemon.Start(context.Background(), cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v, want %q", cfg, err, says)
		}
	}
}

func short(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slwr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
