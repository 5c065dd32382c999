package engine

import (
	"time"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// A job that holds a concurrency group must not run beside the next one, although nobody can say of an agent that is away what it
// does. So it is on a lease: the agent's host ends it when no heartbeat was acknowledged for grace − margin, and what was sent before
// the agent was last seen is older than that. It is given up at grace + margin. Within the margins all of it ends, and clocks may run
// differently fast. Other jobs outlive any outage.

// leaseParts is what part of the grace a margin is.
const leaseParts = 6

func (e *Engine) leaseMargin() time.Duration { return e.c.Grace / leaseParts }

// leased is whether a job, or its run, holds a concurrency group.
func (r *run) leased(job string) bool { return r.claims[""] != nil || r.claims[job] != nil }

// leaseOf is how long a job may go on without its coordinator; 0 is for ever.
func (e *Engine) leaseOf(r *run, job string) time.Duration {
	if !r.leased(job) {
		return 0
	}
	return e.c.Grace - e.leaseMargin()
}

// graceOf is how long a job of an absent agent is kept.
func (e *Engine) graceOf(r *run, job string) time.Duration {
	if r.leased(job) {
		return e.c.Grace + e.leaseMargin()
	}
	return e.c.Grace
}

// AckHeartbeat implements Control. As an event of the engine it is nothing that a leader whose term is over can say.
func (e *Engine) AckHeartbeat(agentID, sessionID string, echo uint64) {
	e.post(func() {
		if a := e.sessions[sessionID]; a != nil && a.rec.GetId() == agentID {
			a.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_HeartbeatAck{HeartbeatAck: &fleetv1.HeartbeatAck{Echo: echo}}})
		}
	})
}
