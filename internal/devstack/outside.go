package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Status is what can be seen of a process from outside.
type Status struct {
	Name string `json:"name"`
	// PID is 0 when it does not run.
	PID int    `json:"pid"`
	Log string `json:"log,omitempty"`
}

// Status looks at the supervisor and all processes without disturbing them.
func (s *Stack) Status() ([]Status, error) {
	out := []Status{{Name: supervisor, PID: s.Supervisor()}}
	for _, p := range s.Processes {
		st := Status{Name: p.Name, Log: p.Log}
		if rec, err := readRecord(s.pidFile(p.Name)); err == nil && rec.alive() {
			st.PID = rec.PID
		}
		out = append(out, st)
	}
	return out, nil
}

// Supervisor is the pid of who supervises the stack; 0 if nobody does.
func (s *Stack) Supervisor() int {
	if rec, err := readRecord(s.pidFile(supervisor)); err == nil && rec.alive() {
		return rec.PID
	}
	return 0
}

// Outdated says whether the supervisor runs another binary than the one at path.
func (s *Stack) Outdated(path string) bool {
	pid := s.Supervisor()
	return pid != 0 && !sameBinary(pid, path)
}

// SignalSupervisor sends sig to the supervisor, if there is one, and waits until it is gone.
func (s *Stack) SignalSupervisor(ctx context.Context, sig syscall.Signal) error {
	rec, err := readRecord(s.pidFile(supervisor))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("devstack: %w", err)
	}
	r, err := open(rec.identity)
	if err != nil || r == nil {
		return err
	}
	defer func() { _ = unix.Close(r.pidfd) }()
	if err := r.signal(sig); err != nil {
		return fmt.Errorf("devstack: signalling the supervisor (pid %d): %w", r.PID, err)
	}
	if err := r.wait(ctx); err != nil {
		return fmt.Errorf("devstack: waiting for the supervisor (pid %d) to end: %w", r.PID, err)
	}
	return nil
}

// Current says whether the process of a name runs as its Process wants it now: the same command line, binary and
// fingerprint.
func (s *Stack) Current(name string) bool {
	for _, p := range s.Processes {
		if p.Name == name {
			r, same, err := s.find(p)
			if r != nil {
				_ = unix.Close(r.pidfd)
			}
			return same && err == nil
		}
	}
	return false
}

// StartOne starts a process by name unless it runs, without supervising it; for after the supervisor is gone.
func (s *Stack) StartOne(ctx context.Context, name string) error {
	for _, p := range s.Processes {
		if p.Name != name {
			continue
		}
		if err := os.MkdirAll(s.Dir, 0o700); err != nil {
			return fmt.Errorf("devstack: %w", err)
		}
		r, _, err := s.find(p)
		if err == nil && r == nil {
			r, err = s.start(ctx, p)
		}
		if r != nil {
			_ = unix.Close(r.pidfd)
		}
		return err
	}
	return fmt.Errorf("devstack: no process is named %q", name)
}

// StopOne stops one process by name, if it runs; for after the supervisor is gone.
func (s *Stack) StopOne(name string) error {
	for _, p := range s.Processes {
		if p.Name != name {
			continue
		}
		r, _, err := s.find(p)
		if err != nil {
			return err
		}
		if r != nil {
			if err := r.stop(p.Grace, p.Stop); err != nil {
				return fmt.Errorf("devstack: stopping %s: %w", name, err)
			}
		}
		return removed(os.Remove(s.pidFile(name)))
	}
	return fmt.Errorf("devstack: no process is named %q", name)
}

// KillLeftovers ends every process that one of the stack's processes started and that is still there: TERM, then KILL.
// It returns how many there were. For after everything else was stopped.
func (s *Stack) KillLeftovers(ctx context.Context) (int, error) {
	all, err := marked(s.Dir)
	if err != nil {
		return 0, fmt.Errorf("devstack: looking for leftovers: %w", err)
	}
	var left []*running
	for _, pids := range all {
		for _, pid := range pids {
			id, err := identify(pid)
			if err != nil {
				continue
			}
			r, err := open(id)
			if err != nil {
				return 0, err
			}
			if r != nil {
				left = append(left, r)
			}
		}
	}
	var errs []error
	for _, r := range left {
		errs = append(errs, r.stop(2*time.Second, unix.SIGTERM))
		if ctx.Err() != nil {
			return len(left), ctx.Err()
		}
	}
	return len(left), errors.Join(errs...)
}
