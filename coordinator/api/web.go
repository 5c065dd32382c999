package api

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Pages are addresses of the coordinator's pages.
type Pages struct {
	// Run is the address of a run's page.
	Run func(run string) string
	// SignIn is the link that spends a code and goes on to a run's page; to the list of runs if run is "".
	SignIn func(code, run string) string
}

func (d *Deps) url(run string) string {
	if d.Pages == nil {
		return ""
	}
	return d.Pages.Run(run)
}

// webServer implements apiv1.WebServiceServer.
type webServer struct {
	apiv1.UnimplementedWebServiceServer
	Deps
}

func (s *webServer) CreateSignIn(ctx context.Context, req *apiv1.CreateSignInRequest) (*apiv1.CreateSignInResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	if s.Pages == nil {
		return nil, rpcerr.New(rpcerr.NotFound, "this coordinator has no pages; its configuration turns them on with `web: {listen: \"HOST:PORT\"}`")
	}
	if run := req.GetRunId(); run != "" && !id.Valid(run) {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "run_id %.64q is not a run's id", run)
	}
	code, expires, err := s.Tokens.CreateSignIn(ctx, identity.Request{ID: req.GetRequestId(), Principal: identity.FromContext(ctx)})
	if err != nil {
		return nil, s.internal("signing in", err)
	}
	return &apiv1.CreateSignInResponse{Url: s.Pages.SignIn(code, req.GetRunId()), ExpiresMs: expires.UnixMilli()}, nil
}
