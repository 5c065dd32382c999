package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// Docker's defaults for HEALTHCHECK.
const (
	healthInterval = 30 * time.Second
	healthTimeout  = 30 * time.Second
	healthRetries  = 3
)

const (
	// Probes begin this close together and slow down to the interval: nobody gains by waiting for a service that is up.
	probeFirst = 100 * time.Millisecond
	// probeFile is how much of a probe's output is kept on the disk, in bytes; probeLook is how often that is looked at.
	probeFile = 1 << 20
	probeLook = 100 * time.Millisecond
)

// probeFunc runs a probe once. An error means that it could not be run.
type probeFunc func(ctx context.Context) (healthy bool, output string, err error)

// waitHealthy probes until one succeeds. As in Docker, the service is unhealthy after so many failures in a row as Retries
// says; but since we probe more often at first, a failure counts only once an interval has passed since the start, or
// since the last one that counted, and none counts in the start period.
func waitHealthy(ctx context.Context, h sandbox.Health, probe probeFunc) error {
	interval, timeout, retries := h.Interval, h.Timeout, h.Retries
	if interval <= 0 {
		interval = healthInterval
	}
	if timeout <= 0 {
		timeout = healthTimeout
	}
	if retries <= 0 {
		retries = healthRetries
	}
	began := time.Now()
	counted, failures := began, 0
	for pause := min(probeFirst, interval); ; pause = min(pause*3/2, interval) {
		once, cancel := context.WithTimeout(ctx, timeout)
		healthy, output, err := probe(once)
		late := errors.Is(once.Err(), context.DeadlineExceeded)
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if healthy && !late {
			return nil
		}
		if now := time.Now(); now.Sub(counted) >= interval && now.Sub(began) >= h.StartPeriod {
			counted = now
			failures++
		}
		if failures >= retries {
			return unhealthy(failures, time.Since(began), late, output, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func unhealthy(failures int, after time.Duration, late bool, output string, err error) error {
	last := strings.TrimSpace(output)
	switch {
	case err != nil && !late:
		last = err.Error()
	case late:
		last = "the probe timed out"
	case last == "":
		last = "it says nothing"
	}
	return fmt.Errorf("its health check failed %d times in %s; the last one: %s", failures, after.Round(time.Second), last)
}

var probeCount atomic.Int64

// probe runs the health command in the service's container, as the service's user and with its environment.
func (s *Sandbox) probe(ctx context.Context, m *making, task containerd.Task, like *specs.Process, h *sandbox.Health) (bool, string, error) {
	process := *like
	process.Terminal = false
	process.Args = h.Command
	if len(h.Command) == 1 {
		process.Args = []string{"/bin/sh", "-c", h.Command[0]}
	}
	process.Args = asIn(like.Args, process.Args)
	select {
	case m.shim <- struct{}{}:
		defer func() { <-m.shim }()
	case <-ctx.Done():
		return false, "", context.Cause(ctx)
	}
	id := fmt.Sprintf("probe%d", probeCount.Add(1))
	file := m.dir.log(id)
	defer os.Remove(file)
	healthy, err := s.runProbe(ctx, task, id, &process, file)
	return healthy, tail(file), err
}

// runProbe runs a probe's process with its output in a file. A FIFO would do harm if the agent died now: the shim opens it
// before the process starts, waits half a minute for a reader, and answers nothing about its pod meanwhile.
func (s *Sandbox) runProbe(ctx context.Context, task containerd.Task, id string, process *specs.Process, file string) (healthy bool, err error) {
	exec, err := task.Exec(ctx, id, process, outputTo(file))
	if err != nil {
		return false, fmt.Errorf("preparing the probe: %w", err)
	}
	defer func() {
		// Also waits for the last of the output.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if _, err := exec.Delete(clean, containerd.WithProcessKill); err != nil {
			s.cfg.Log.Debug("deleting a health probe", "err", err)
		}
	}()
	exited, err := exec.Wait(ctx)
	if err != nil {
		return false, fmt.Errorf("waiting for the probe: %w", err)
	}
	if err := exec.Start(ctx); err != nil {
		return false, fmt.Errorf("starting the probe: %w", err)
	}
	look := time.NewTicker(probeLook)
	defer look.Stop()
	for {
		select {
		case st := <-exited:
			code, _, err := st.Result()
			return err == nil && code == 0, err
		case <-look.C:
			bound(file)
		case <-ctx.Done():
			_ = exec.Kill(context.WithoutCancel(ctx), unix.SIGKILL)
			return false, context.Cause(ctx)
		}
	}
}

// bound keeps a probe that does not stop printing from filling the disk. The shim appends, so that it goes on at the
// file's new end.
func bound(file string) {
	if info, err := os.Stat(file); err == nil && info.Size() > probeFile {
		_ = os.Truncate(file, 0)
	}
}
