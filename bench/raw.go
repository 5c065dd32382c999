package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"sync/atomic"
	"time"
)

// The baselines: what the raw tools need for the same work on the same daemon and image.

var containerNumber atomic.Int64

// ctrRun runs `ctr run --rm` on the stack's containerd and image and returns the time to its end. stdout may be nil.
func (s *stack) ctrRun(ctx context.Context, stdout io.Writer, argv ...string) (time.Duration, error) {
	name := fmt.Sprintf("bench-%d", containerNumber.Add(1))
	args := append([]string{"--address", s.containerd, "--namespace", "bench", "run", "--rm", s.image, name}, argv...)
	cmd := exec.CommandContext(ctx, "ctr", args...)
	cmd.Stdout = stdout
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("ctr run: %w", err)
	}
	return time.Since(start), nil
}

// forkExec runs /bin/true on the host: the physical limit of a step.
func forkExec(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	err := exec.CommandContext(ctx, "/bin/true").Run()
	return time.Since(start), err
}

// firstByte is a writer that notes when the first byte came.
type firstByte struct{ at time.Time }

func (w *firstByte) Write(p []byte) (int, error) {
	if w.at.IsZero() && len(p) > 0 {
		w.at = time.Now()
	}
	return len(p), nil
}
