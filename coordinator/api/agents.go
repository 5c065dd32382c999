package api

import (
	"context"
	"math"
	"time"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// agents implements apiv1.AgentServiceServer.
type agents struct {
	apiv1.UnimplementedAgentServiceServer
	Deps
}

func (s *agents) ListAgents(ctx context.Context, _ *apiv1.ListAgentsRequest) (*apiv1.ListAgentsResponse, error) {
	all, err := s.Control.Agents(ctx)
	if err != nil {
		return nil, s.internal("listing agents", err)
	}
	return &apiv1.ListAgentsResponse{Agents: all}, nil
}

func (s *agents) CreateJoinToken(ctx context.Context, req *apiv1.CreateJoinTokenRequest) (*apiv1.CreateJoinTokenResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	ttl, err := duration(req.GetTtlMs())
	if err != nil {
		return nil, err
	}
	r := identity.Request{ID: req.GetRequestId(), Principal: identity.FromContext(ctx)}
	token, expires, err := s.Tokens.CreateJoin(ctx, r, req.GetPool(), req.GetLabels(), ttl, req.GetUses())
	if err != nil {
		return nil, s.internal("making a join token", err)
	}
	return &apiv1.CreateJoinTokenResponse{Token: token, ExpiresMs: expires.UnixMilli()}, nil
}

// tokens implements apiv1.TokenServiceServer.
type tokens struct {
	apiv1.UnimplementedTokenServiceServer
	Deps
}

func (s *tokens) CreateToken(ctx context.Context, req *apiv1.CreateTokenRequest) (*apiv1.CreateTokenResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	ttl, err := duration(req.GetTtlMs())
	if err != nil {
		return nil, err
	}
	r := identity.Request{ID: req.GetRequestId(), Principal: identity.FromContext(ctx)}
	token, expires, err := s.Tokens.CreateUser(ctx, r, req.GetUser(), req.GetGroups(), ttl)
	if err != nil {
		return nil, s.internal("making a token", err)
	}
	return &apiv1.CreateTokenResponse{Token: token, ExpiresMs: expires.UnixMilli()}, nil
}

// duration reads milliseconds; more than fit are refused, not wrapped.
func duration(ms int64) (time.Duration, error) {
	if ms < 0 || ms > math.MaxInt64/int64(time.Millisecond) {
		return 0, rpcerr.New(rpcerr.InvalidRequest, "a life of %d ms is out of range", ms)
	}
	return time.Duration(ms) * time.Millisecond, nil
}
