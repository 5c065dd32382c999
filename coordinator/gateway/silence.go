package gateway

import (
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// silence ends a session of which nothing was heard for too long. An agent that has nothing to do may say with a heartbeat that its next one comes
// later than usual, and is then given that much more time, until it is offered work.
type silence struct {
	clock  clock.Clock
	agents config.Agents
	end    func(error)

	mu sync.Mutex
	// due is when the session ends, armed when the timer looks next, which may be earlier.
	due, armed time.Time
	stop       func() bool
	// leave is what the agent was given beyond the deadline.
	leave time.Duration
	over  bool
}

func newSilence(c clock.Clock, a config.Agents, end func(error)) *silence {
	s := &silence{clock: c, agents: a, end: end}
	s.heard()
	return s
}

// heard puts the deadline off. The timer runs on, and looks when it fires whether it is too early: one for each message would cost more than to
// read it.
func (s *silence) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.putOff(s.agents.Deadline.Std() + s.leave)
}

// promised notes when the next heartbeat comes; 0 is after the usual time.
func (s *silence) promised(next time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave = min(max(0, next-s.agents.Heartbeat.Std()), s.agents.Leave())
	s.putOff(s.agents.Deadline.Std() + s.leave)
}

// hurry is for when work was offered: whoever is alive answers, and who is not must not keep it.
func (s *silence) hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leave > 0 {
		s.leave = 0
		s.putOff(s.agents.Deadline.Std())
	}
}

// putOff is called with mu held.
func (s *silence) putOff(left time.Duration) {
	s.due = s.clock.Now().Add(left)
	if s.over || s.stop != nil && !s.due.Before(s.armed) {
		return
	}
	if s.stop != nil {
		s.stop()
	}
	s.arm(left)
}

// arm is called with mu held.
func (s *silence) arm(left time.Duration) {
	s.armed = s.clock.Now().Add(left)
	s.stop = s.clock.AfterFunc(left, s.look)
}

func (s *silence) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.clock.Now().Before(s.armed) {
		// Another timer was set while this one fired.
		return
	}
	if left := s.due.Sub(s.clock.Now()); left > 0 {
		s.arm(left)
		return
	}
	s.end(rpcerr.New(rpcerr.Busy, "nothing was heard of this session for %v; connect again", (s.agents.Deadline.Std() + s.leave).Round(time.Millisecond)))
}

func (s *silence) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.stop()
}
