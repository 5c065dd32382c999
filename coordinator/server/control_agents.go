package server

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func (c *control) Agent(ctx context.Context, name string) (*apiv1.Agent, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Agent(ctx, name)
}

func (c *control) DrainAgent(ctx context.Context, r engine.DrainRequest) (*apiv1.Agent, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.DrainAgent(ctx, r)
}

func (c *control) ResumeAgent(ctx context.Context, name string) (*apiv1.Agent, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.ResumeAgent(ctx, name)
}

func (c *control) RemoveAgent(ctx context.Context, r engine.RemoveRequest) (string, error) {
	e, err := c.get()
	if err != nil {
		return "", err
	}
	return e.RemoveAgent(ctx, r)
}

func (c *control) AgentDrains(agentID, sessionID string, d *fleetv1.Drain) {
	if e, err := c.get(); err == nil {
		e.AgentDrains(agentID, sessionID, d)
	}
}

func (c *control) AgentCondition(agentID, sessionID string, held uint32, problems []string) {
	if e, err := c.get(); err == nil {
		e.AgentCondition(agentID, sessionID, held, problems)
	}
}
