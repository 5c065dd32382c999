package engine

import (
	"context"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// AgentControl is the part of Control about agents themselves. A name is an agent's id, its host name, or a unique prefix of either; NOT_FOUND
// if there is none, INVALID_REQUEST if there are several. Errors of the rest are as Control's.
type AgentControl interface {
	// Agent returns one agent with what it works on.
	Agent(ctx context.Context, name string) (*apiv1.Agent, error)
	// DrainAgent keeps new work from an agent. When it returns, none is given any more.
	DrainAgent(ctx context.Context, r DrainRequest) (*apiv1.Agent, error)
	// ResumeAgent ends an operator's drain; nil if there is none. IN_USE if the agent itself drains, because it stops.
	ResumeAgent(ctx context.Context, name string) (*apiv1.Agent, error)
	// RemoveAgent forgets an agent and refuses its certificate from then on. IN_USE if it has attempts and Force is not set.
	RemoveAgent(ctx context.Context, r RemoveRequest) (id string, err error)

	// AgentDrains is an agent's own word, in its session, that it stops.
	AgentDrains(agentID, sessionID string, d *fleetv1.Drain)
	// AgentCondition is what an agent says of itself beside its heartbeats: how many attempts it still holds, also those whose result is
	// committed, and what is wrong with it.
	AgentCondition(agentID, sessionID string, held uint32, problems []string)
}

// DrainRequest asks that an agent be given no work.
type DrainRequest struct {
	RequestID, Agent string
	// Deadline from now, after which what still runs is cancelled; 0 is none.
	Deadline   time.Duration
	By, Reason string
}

// RemoveRequest asks that an agent be forgotten.
type RemoveRequest struct {
	RequestID, Agent, By string
	// Force loses its attempts.
	Force bool
}
