// Package daemon runs a private containerd, with its own root, state, socket and configuration, beside whatever containerd
// the host already has. It is a process in a session of its own: it survives whoever started it, and is found again by
// its pid file and socket.
package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

// ErrNoBinary: containerd or runc is not installed.
var ErrNoBinary = errors.New("containerd is not installed (Debian and Ubuntu: apt install containerd runc)")

const (
	startPatience = 20 * time.Second
	stopPatience  = 20 * time.Second
	poll          = 5 * time.Millisecond
	// maxSocket is what a socket's name may have: 108 bytes with the final zero (unix(7)).
	maxSocket = 107
)

// Config of a daemon. Everything lies in Dir.
type Config struct {
	// Dir holds root, configuration, pid file and log, on a disk.
	Dir string
	// RunDir holds socket and state, and vanishes with a reboot at best; "" means Dir. A socket's path is limited to
	// 107 bytes.
	RunDir string
	// Binary is containerd's; "" is looked up in PATH.
	Binary string
}

// Daemon is a running containerd.
type Daemon struct {
	cfg Config
	id  procid.ID
}

// Socket is where the daemon of cfg listens.
func (c Config) Socket() string { return filepath.Join(c.runDir(), "containerd.sock") }

func (c Config) runDir() string {
	if c.RunDir != "" {
		return c.RunDir
	}
	return c.Dir
}

func (c Config) pidFile() string { return filepath.Join(c.Dir, "containerd.pid") }

// LogFile is where the daemon writes its log.
func (c Config) LogFile() string { return filepath.Join(c.Dir, "containerd.log") }

// Available says whether this host can run one: root and the binaries. The error explains.
func Available() error {
	if os.Geteuid() != 0 {
		return errors.New("containerd needs root")
	}
	for _, name := range []string{"containerd", "containerd-shim-runc-v2", "runc"} {
		if _, err := exec.LookPath(name); err != nil {
			return fmt.Errorf("%w: %w", ErrNoBinary, err)
		}
	}
	return nil
}

// Start finds the daemon of cfg, or starts it, and returns once it answers.
func Start(ctx context.Context, cfg Config) (*Daemon, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if len(cfg.Socket()) > maxSocket {
		return nil, fmt.Errorf("containerd's socket %s has more than %d bytes: choose a shorter directory", cfg.Socket(), maxSocket)
	}
	unlock, err := lock(cfg)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if d, err := Find(cfg); err == nil {
		return d, d.ready(ctx)
	}
	d, err := launch(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := d.ready(ctx); err != nil {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
		defer cancel()
		return nil, errors.Join(err, d.Stop(stop))
	}
	return d, nil
}

// lock keeps two starters apart.
func lock(cfg Config) (unlock func(), err error) {
	for _, dir := range []string{cfg.Dir, cfg.runDir()} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return nil, fmt.Errorf("containerd's directory: %w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking containerd's directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("locking containerd's directory: %w", err)
	}
	return func() { _ = f.Close() }, nil
}

// Find returns the daemon of cfg if its process lives; procid.ErrGone if not.
func Find(cfg Config) (*Daemon, error) {
	data, err := os.ReadFile(cfg.pidFile())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", procid.ErrGone, err)
	}
	d := &Daemon{cfg: cfg}
	if err := json.Unmarshal(data, &d.id); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", procid.ErrGone, cfg.pidFile(), err)
	}
	if !d.id.Alive() {
		return nil, procid.ErrGone
	}
	return d, nil
}

// config is containerd's. Plugins that Slipway never uses cost start time and memory, or fail loudly on some hosts.
func (c Config) config() string {
	return fmt.Sprintf(`version = 2
root = %q
state = %q
oom_score = %d
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.internal.v1.tracing",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
  address = %q
[debug]
  level = "warn"
`, filepath.Join(c.Dir, "root"), filepath.Join(c.runDir(), "state"), oomScore(), c.Socket())
}

// oomScore protects the daemon from the OOM killer where that is permitted.
func oomScore() int {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) == nil && data[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0 {
		return -999
	}
	return 0
}

func launch(ctx context.Context, cfg Config) (*Daemon, error) {
	binary := cfg.Binary
	if binary == "" {
		var err error
		if binary, err = exec.LookPath("containerd"); err != nil {
			return nil, ErrNoBinary
		}
	}
	file := filepath.Join(cfg.Dir, "config.toml")
	if err := os.WriteFile(file, []byte(cfg.config()), 0o600); err != nil {
		return nil, fmt.Errorf("containerd's configuration: %w", err)
	}
	log, err := os.OpenFile(cfg.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("containerd's log: %w", err)
	}
	defer log.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), binary, "--config", file) // it outlives its starter
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting containerd: %w", err)
	}
	id, err := procid.Of(cmd.Process.Pid)
	if err == nil {
		err = writeJSON(cfg.pidFile(), id)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		// It may have ended before it could be looked at.
		return nil, fmt.Errorf("starting containerd (its log is %s): %w", cfg.LogFile(), err)
	}
	go func() { _ = cmd.Wait() }() // as long as this process lives, it must not leave a zombie
	return &Daemon{cfg: cfg, id: id}, nil
}

func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// ready waits until the daemon answers.
func (d *Daemon) ready(ctx context.Context) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		if !d.id.Alive() {
			return fmt.Errorf("containerd ended while starting; its log is %s", d.cfg.LogFile())
		}
		if d.serving(ctx) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer on %s, its log is %s: %w", d.cfg.Socket(), d.cfg.LogFile(), ctx.Err())
		case <-tick.C:
		}
	}
}

func (d *Daemon) serving(ctx context.Context) bool {
	if _, err := os.Stat(d.cfg.Socket()); err != nil {
		return false
	}
	c, err := containerd.New(d.cfg.Socket(), containerd.WithTimeout(time.Second))
	if err != nil {
		return false
	}
	defer c.Close()
	ok, err := c.IsServing(ctx)
	return err == nil && ok
}

// Socket is where it listens.
func (d *Daemon) Socket() string { return d.cfg.Socket() }

// PID of the daemon.
func (d *Daemon) PID() int { return d.id.PID }

// Kill ends the daemon at once, as a crash would; shims and containers live on.
func (d *Daemon) Kill(ctx context.Context) error { return d.end(ctx, unix.SIGKILL) }

// Stop ends the daemon; shims and containers live on. Idempotent.
func (d *Daemon) Stop(ctx context.Context) error { return d.end(ctx, unix.SIGTERM) }

func (d *Daemon) end(ctx context.Context, sig unix.Signal) error {
	h, err := procid.Open(d.id)
	if errors.Is(err, procid.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Signal(sig); err != nil && !errors.Is(err, procid.ErrGone) {
		return fmt.Errorf("stopping containerd: %w", err)
	}
	if err := h.Wait(ctx); err != nil {
		return fmt.Errorf("waiting for containerd %d to end: %w", d.id.PID, err)
	}
	return nil
}
