package supervisor

import (
	"errors"
	"os"
	"syscall"
	"time"
)

const (
	// leftPoll is how often a stopping step is looked at; nothing tells when a grandchild ends.
	leftPoll = 10 * time.Millisecond
	// killPatience is how long killed processes may take to vanish; one in uninterruptible sleep never does.
	killPatience = 5 * time.Second
)

// terminate sends TERM to all of a step and has the rest killed after the grace. A second call can only shorten it.
// Called with mu held.
func (s *Supervisor) terminate(st *step, grace time.Duration) {
	killAt := time.Now().Add(max(grace, 0))
	if st.stopping {
		if killAt.Before(st.killAt) {
			st.killAt = killAt
		}
		return
	}
	st.stopping, st.killAt = true, killAt
	if grace > 0 {
		s.signalGroup(st, syscall.SIGTERM)
		for _, pid := range st.left() {
			if group, err := syscall.Getpgid(pid); err == nil && group != st.pid {
				s.kill(pid, syscall.SIGTERM)
			}
		}
	}
	go s.finishOff(st, grace)
}

// finishOff waits until nothing of a stopping step is left, kills what outlives the grace, and ends the step.
func (s *Supervisor) finishOff(st *step, grace time.Duration) {
	tick := time.NewTicker(leftPoll)
	defer tick.Stop()
	for {
		left := st.left()
		s.mu.Lock()
		now := time.Now()
		gone := len(left) == 0 && st.exited != nil
		overdue := now.After(st.killAt.Add(killPatience))
		if gone || (overdue && st.exited != nil) {
			s.conclude(st)
			s.mu.Unlock()
			return
		}
		if !now.Before(st.killAt) {
			s.freeze(st)
			st.killed = st.killed || grace > 0
			s.signalGroup(st, syscall.SIGKILL)
			for _, pid := range left {
				s.kill(pid, syscall.SIGKILL)
			}
		}
		s.mu.Unlock()
		<-tick.C
	}
}

// left lists what lives of the step: by its control group, which nothing can leave, or else by sessions.
func (st *step) left() []int {
	if pids, ok := st.group.members(); ok {
		return pids
	}
	var pids []int
	for _, p := range members(os.Getpid(), st.pid, st.older) {
		pids = append(pids, p.pid)
	}
	return pids
}

// freeze lets no process of the step fork any more. Called with mu held.
func (s *Supervisor) freeze(st *step) {
	if st.frozen || st.group == nil {
		return
	}
	st.forksRefused, st.frozen = st.refused(), true
	if err := st.group.freezeForks(); err != nil {
		s.cfg.Log.Warn("stopping a step's forks", "step", st.id, "err", err)
	}
}

// signalGroup signals the leader's process group, which exists as long as any member does.
func (s *Supervisor) signalGroup(st *step, sig syscall.Signal) {
	if st.exited == nil {
		s.kill(-st.pid, sig)
	}
}

func (s *Supervisor) kill(pid int, sig syscall.Signal) {
	if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.cfg.Log.Warn("signalling", "pid", pid, "signal", sig.String(), "err", err)
	}
}
