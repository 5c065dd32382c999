package gateway

import (
	"slices"
	"time"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// condition is what the engine was last told of a session's agent; only the handler uses it.
type condition struct {
	told     bool
	held     uint32
	problems []string
}

// heartbeat passes on what is new in one: most are like the one before.
func (s *session) heartbeat(h *fleetv1.Heartbeat) {
	s.silence.promised(time.Duration(h.GetNextMs()) * time.Millisecond)
	s.g.Control.Heartbeat(s.agent.Agent.ID, s.id, h.GetDiskFree())
	if echo := h.GetEcho(); echo != 0 {
		s.g.Control.AckHeartbeat(s.agent.Agent.ID, s.id, echo)
	}
	if s.said.told && s.said.held == h.GetHeld() && slices.Equal(s.said.problems, h.GetProblems()) {
		return
	}
	s.said = condition{true, h.GetHeld(), h.GetProblems()}
	s.g.Control.AgentCondition(s.agent.Agent.ID, s.id, h.GetHeld(), h.GetProblems())
}
