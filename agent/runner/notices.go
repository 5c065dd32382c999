package runner

import (
	"sync"
	"time"

	"github.com/slipway-ci/slipway/agent/state"
)

// notices are what others tell the actor.
type notices struct {
	wake   chan struct{}
	killed chan struct{}

	mu        sync.Mutex
	cancelled bool
	reason    string
	deadline  bool
	cleanup   bool
	killWhy   string
	isKilled  bool
	reportAck uint64
	hold      holdNotices
}

func (n *notices) signal() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *notices) set(f func()) {
	n.mu.Lock()
	f()
	n.mu.Unlock()
	n.signal()
}

func (n *notices) killReason() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.killWhy
}

// Cancel asks for an orderly end. It never blocks.
func (t *Attempt) Cancel(reason string) {
	t.notices.set(func() { t.notices.cancelled, t.notices.reason = true, reason })
}

// Kill ends the attempt at once: it is fenced, nothing of it is reported. It never blocks.
func (t *Attempt) Kill(reason string) {
	t.notices.set(func() {
		if !t.notices.isKilled {
			t.notices.isKilled, t.notices.killWhy = true, reason
			close(t.notices.killed)
		}
	})
}

// Acked says that the coordinator committed the report with this number. It never blocks.
func (t *Attempt) Acked(seq uint64) {
	t.notices.set(func() { t.notices.reportAck = max(t.notices.reportAck, seq) })
}

// takeNotices applies what was told since, and says whether the attempt was just cancelled or ran out of time.
func (t *Attempt) takeNotices() (changed bool) {
	t.notices.mu.Lock()
	cancelled, reason, deadline := t.notices.cancelled, t.notices.reason, t.notices.deadline
	t.notices.mu.Unlock()
	if t.p.Phase >= state.PhaseFinishing {
		return false
	}
	switch {
	case deadline && !t.p.TimedOut && !t.p.Cancelled:
		t.p.TimedOut = true
		t.fail(codeTimedOut, user, "the job ran longer than its timeout-minutes")
	case cancelled && !t.p.Cancelled && !t.p.TimedOut:
		t.p.Cancelled, t.p.Reason = true, reason
	default:
		return false
	}
	t.log.Info("ending the attempt", "cancelled", t.p.Cancelled, "timed_out", t.p.TimedOut, "reason", t.p.Reason)
	t.p.CleanupMS = t.d.Clock.Now().Add(CleanupLimit).UnixMilli()
	t.after(CleanupLimit, t.onCleanupLimit)
	t.save()
	return true
}

func (t *Attempt) after(d time.Duration, f func()) {
	t.timers = append(t.timers, t.d.Clock.AfterFunc(d, f))
}

// armDeadlines sets the timers that the records speak of: the job's own, and that of a cancellation.
func (t *Attempt) armDeadlines() {
	if t.p.Phase >= state.PhaseFinishing {
		return
	}
	if left, ok := t.jobTimeLeft(); ok {
		t.after(left, func() { t.notices.set(func() { t.notices.deadline = true }) })
	}
	if t.p.CleanupMS > 0 {
		t.after(max(0, time.UnixMilli(t.p.CleanupMS).Sub(t.d.Clock.Now())), t.onCleanupLimit)
	}
}

func (t *Attempt) onCleanupLimit() { t.notices.set(func() { t.notices.cleanup = true }) }

// ending says whether the job was cancelled or ran out of time; hard that even steps whose `if` holds must end.
func (t *Attempt) ending() (soft, hard bool) {
	t.notices.mu.Lock()
	defer t.notices.mu.Unlock()
	return t.p.Cancelled || t.p.TimedOut, t.notices.cleanup
}
