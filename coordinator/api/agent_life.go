package api

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func (s *agents) GetAgent(ctx context.Context, req *apiv1.GetAgentRequest) (*apiv1.GetAgentResponse, error) {
	agent, err := s.Control.Agent(ctx, req.GetAgent())
	if err != nil {
		return nil, s.internal("reading an agent", err)
	}
	return &apiv1.GetAgentResponse{Agent: agent}, nil
}

func (s *agents) DrainAgent(ctx context.Context, req *apiv1.DrainAgentRequest) (*apiv1.DrainAgentResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	deadline, err := duration(req.GetDeadlineMs())
	if err != nil {
		return nil, err
	}
	if n := len(req.GetReason()); n > maxReason {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "the reason has %d bytes; at most %d are allowed", n, maxReason)
	}
	agent, err := s.Control.DrainAgent(ctx, engine.DrainRequest{RequestID: req.GetRequestId(), Agent: req.GetAgent(), Deadline: deadline,
		By: identity.FromContext(ctx).Name, Reason: req.GetReason()})
	if err != nil {
		return nil, s.internal("draining an agent", err)
	}
	return &apiv1.DrainAgentResponse{Agent: agent}, nil
}

func (s *agents) ResumeAgent(ctx context.Context, req *apiv1.ResumeAgentRequest) (*apiv1.ResumeAgentResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	agent, err := s.Control.ResumeAgent(ctx, req.GetAgent())
	if err != nil {
		return nil, s.internal("resuming an agent", err)
	}
	return &apiv1.ResumeAgentResponse{Agent: agent}, nil
}

func (s *agents) RemoveAgent(ctx context.Context, req *apiv1.RemoveAgentRequest) (*apiv1.RemoveAgentResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	id, err := s.Control.RemoveAgent(ctx, engine.RemoveRequest{RequestID: req.GetRequestId(), Agent: req.GetAgent(),
		By: identity.FromContext(ctx).Name, Force: req.GetForce()})
	if err != nil {
		return nil, s.internal("removing an agent", err)
	}
	return &apiv1.RemoveAgentResponse{AgentId: id}, nil
}
