package cgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of how long Kill waits for processes to end before it looks for others; ctx is looked at as often.
const (
	firstWait = 20 * time.Millisecond
	lastWait  = time.Second
)

// Kill sends KILL to everything in the group until nothing runs in it, or ctx ends. Zombies, whose parents have not taken note of them
// yet, run no more; they keep the group from being removed.
func (h *Host) Kill(ctx context.Context, group string) error {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		pids, err := h.Processes(group)
		if err != nil {
			return err
		}
		running, err := hold(pids)
		if err != nil || len(running) == 0 {
			return err
		}
		n := len(running)
		err = kill(running)
		// To list them again and again instead costs more than all else of a pod's removal.
		await(running, wait)
		if err != nil {
			return fmt.Errorf("killing the processes of %s: %w", group, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d processes of %s survive KILL: %w", n, group, context.Cause(ctx))
		}
	}
}

// hold returns a pidfd_open(2) descriptor for each process that runs.
func hold(pids []int) (running []unix.PollFd, err error) {
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			await(running, 0)
			return nil, fmt.Errorf("opening process %d: %w", pid, err)
		}
		running = append(running, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	return drop(running, 0), nil
}

func kill(running []unix.PollFd) error {
	for _, p := range running {
		if err := unix.PidfdSendSignal(int(p.Fd), unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// await waits until all have ended, or for so long: one may be stuck in the kernel, or have forked before it was killed. It closes them.
func await(running []unix.PollFd, wait time.Duration) {
	for end := time.Now().Add(wait); len(running) > 0; {
		left := time.Until(end)
		if left <= 0 {
			break
		}
		running = drop(running, left)
	}
	for _, p := range running {
		_ = unix.Close(int(p.Fd))
	}
}

// drop waits until one has ended, or for so long, and closes and leaves out those that have.
func drop(running []unix.PollFd, wait time.Duration) []unix.PollFd {
	if n, err := unix.Poll(running, int(wait.Milliseconds())); err != nil || n == 0 {
		return running // interrupted, or none
	}
	return slices.DeleteFunc(running, func(p unix.PollFd) bool {
		if p.Revents != 0 {
			_ = unix.Close(int(p.Fd))
		}
		return p.Revents != 0
	})
}
