package dev

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/settings"
	"github.com/slipway-ci/slipway/internal/devstack"
)

// Handover is the signal that ends a supervisor and leaves its processes to the next one.
const Handover = unix.SIGUSR1

// startPatience bounds Detach, stopPatience the end of a supervisor.
const (
	startPatience = 2 * time.Minute
	stopPatience  = 90 * time.Second
)

// Detach starts a supervisor in the background with args, and returns once everything is healthy. A supervisor that runs
// already goes on, unless it is of another binary or other configuration: then a new one takes its place, and the
// processes that did not change live on.
func (d *Dev) Detach(ctx context.Context, args []string) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if d.stack.Supervisor() != 0 {
		if !d.stack.Outdated(d.cfg.Exe) && d.upToDate() {
			return d.waitHealthy(ctx, nil)
		}
		if err := d.stack.SignalSupervisor(ctx, Handover); err != nil {
			return err
		}
	}
	ended, err := d.spawn(args)
	if err != nil {
		return err
	}
	return d.waitHealthy(ctx, ended)
}

// upToDate says whether the processes run with the configuration that is wanted now.
func (d *Dev) upToDate() bool {
	for _, p := range d.stack.Processes {
		if !d.stack.Current(p.Name) {
			return false
		}
	}
	return true
}

// spawn starts the supervisor; the channel tells its end.
func (d *Dev) spawn(args []string) (<-chan error, error) {
	if err := os.MkdirAll(d.cfg.Dirs.State, 0o700); err != nil {
		return nil, fmt.Errorf("dev: %w", err)
	}
	log, err := os.OpenFile(d.LogFile(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("dev: %w", err)
	}
	defer log.Close()
	// It outlives this command: no context may end it.
	cmd := exec.CommandContext(context.Background(), d.cfg.Exe, args...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("dev: starting the supervisor: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return ended, nil
}

func (d *Dev) waitHealthy(ctx context.Context, ended <-chan error) error {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		// The context file is the last thing that a supervisor writes.
		last := d.Healthy(ctx)
		if last == nil && d.stack.Supervisor() != 0 && d.contextWritten() {
			return nil
		}
		select {
		case err := <-ended:
			return fmt.Errorf("dev: the supervisor ended: %w; %s", orEnded(err), lastLines(d.LogFile()))
		case <-ctx.Done():
			return fmt.Errorf("dev: not healthy in time: %w; see %s and the other logs beside it", errors.Join(ctx.Err(), last), d.LogFile())
		case <-tick.C:
		}
	}
}

func orEnded(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Stop ends everything that the stack started: the supervisor and its processes, the pods and what they shared, and a
// private containerd. It works whatever of them still runs.
func (d *Dev) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopPatience)
	defer cancel()
	if err := d.stack.SignalSupervisor(ctx, unix.SIGTERM); err != nil {
		return err
	}
	var errs []error
	// Whom a killed supervisor left behind; the agent first, so that nothing new begins.
	for i := len(d.stack.Processes) - 1; i >= 0; i-- {
		if name := d.stack.Processes[i].Name; name != "containerd" {
			errs = append(errs, d.stack.StopOne(name))
		}
	}
	errs = append(errs, d.sweep(ctx))
	if d.private {
		errs = append(errs, d.stack.StopOne("containerd"))
	}
	_, err := d.stack.KillLeftovers(ctx)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stopping slipway dev: %w", err)
	}
	return os.RemoveAll(d.stack.Dir)
}

// sweep removes the pods. A private containerd that is down is started for it: only it knows its containers.
func (d *Dev) sweep(ctx context.Context) error {
	c, err := agentconf.Load(d.agentConfig())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // There never was an agent.
	}
	if err != nil {
		return err
	}
	if d.private {
		if err := d.cfg.Private.Available(); err != nil {
			return err
		}
		if err := d.stack.StartOne(ctx, "containerd"); err != nil {
			return err
		}
		c.Sandbox.Socket = d.cfg.Private.Socket()
	}
	return d.cfg.Sweep(ctx, c)
}

// Status is what `slipway dev status` shows.
type Status struct {
	Address   string            `json:"address"`
	Healthy   bool              `json:"healthy"`
	Problem   string            `json:"problem,omitempty"`
	Processes []devstack.Status `json:"processes"`
	Data      string            `json:"data"`
}

// Status looks at everything and changes nothing. The address is the one that the stack was started with.
func (d *Dev) Status(ctx context.Context) (Status, error) {
	if f, err := settings.Load(d.cfg.Dirs.ContextFile()); err == nil && f.Contexts[ContextName].Address != "" {
		d.cfg.Listen = f.Contexts[ContextName].Address
	}
	processes, err := d.stack.Status()
	s := Status{Address: d.cfg.Listen, Processes: processes, Data: d.cfg.Dirs.Data}
	if err := d.Healthy(ctx); err != nil {
		s.Problem = err.Error()
	} else {
		s.Healthy = true
	}
	return s, err
}
