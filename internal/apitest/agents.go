package apitest

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// drainedMs is when every drain of the fake is over.
const drainedMs = 1_700_000_002_000

// agent returns a listed one to be changed; the caller holds mu.
func (a *api) agent(name string) (*apiv1.Agent, error) {
	for _, g := range a.s.ListedAgents {
		if g.GetId() == name || g.GetHostname() == name {
			return g, nil
		}
	}
	return nil, rpcerr.New(rpcerr.NotFound, "there is no agent %s", name)
}

// GetAgent answers with the agent as it is, after which its work is done if it drains.
func (a *api) GetAgent(_ context.Context, r *apiv1.GetAgentRequest) (*apiv1.GetAgentResponse, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	g, err := a.agent(r.GetAgent())
	if err != nil {
		return nil, err
	}
	out := proto.CloneOf(g)
	if g.GetDrain() != nil {
		g.Work, g.SlotsUsed, g.Drain.DrainedMs, g.Schedule = nil, 0, drainedMs, "drained"
	}
	return &apiv1.GetAgentResponse{Agent: out}, nil
}

func (a *api) DrainAgent(_ context.Context, r *apiv1.DrainAgentRequest) (*apiv1.DrainAgentResponse, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	g, err := a.agent(r.GetAgent())
	if err != nil {
		return nil, err
	}
	g.Schedule, g.Drain = "draining", &apiv1.AgentDrain{By: "admin", Reason: r.GetReason(), DeadlineMs: r.GetDeadlineMs()}
	return &apiv1.DrainAgentResponse{Agent: proto.CloneOf(g)}, nil
}

func (a *api) ResumeAgent(_ context.Context, r *apiv1.ResumeAgentRequest) (*apiv1.ResumeAgentResponse, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	g, err := a.agent(r.GetAgent())
	if err != nil {
		return nil, err
	}
	g.Schedule, g.Drain = "schedulable", nil
	return &apiv1.ResumeAgentResponse{Agent: proto.CloneOf(g)}, nil
}

func (a *api) RemoveAgent(_ context.Context, r *apiv1.RemoveAgentRequest) (*apiv1.RemoveAgentResponse, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	g, err := a.agent(r.GetAgent())
	if err != nil {
		return nil, err
	}
	if g.GetSlotsUsed() > 0 && !r.GetForce() {
		return nil, rpcerr.New(rpcerr.InUse, "agent %s has %d jobs", g.GetId(), g.GetSlotsUsed())
	}
	a.s.ListedAgents = slices.DeleteFunc(a.s.ListedAgents, func(other *apiv1.Agent) bool { return other == g })
	return &apiv1.RemoveAgentResponse{AgentId: g.GetId()}, nil
}
