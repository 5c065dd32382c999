package api

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func (s *runs) RerunRun(ctx context.Context, req *apiv1.RerunRunRequest) (*apiv1.RerunRunResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	hold, err := s.hold(req.GetHoldMs())
	if err != nil {
		return nil, err
	}
	run, err := s.Control.Run(ctx, req.GetRunId())
	if err != nil {
		return nil, s.internal("reading a run", err)
	}
	// A repeat gets the first answer even if the source has gone since.
	_, _, begun, err := engine.Submitted(ctx, s.Store, req.GetRequestId())
	if err != nil {
		return nil, s.internal("reading a request", err)
	}
	if !begun {
		if err := s.checkTree(ctx, run.GetSource().GetTree()); rpcerr.ReasonOf(err) == rpcerr.InvalidRequest {
			return nil, rpcerr.New(rpcerr.InvalidRequest, "the source of run #%d is not kept any more; submit it anew", run.GetNumber())
		} else if err != nil {
			return nil, err
		}
	}
	r, err := s.Control.Rerun(ctx, engine.RerunRequest{RequestID: req.GetRequestId(), Run: run.GetId(), Failed: req.GetFailed(), Job: req.GetJobId(),
		Hold: hold, By: identity.FromContext(ctx).Name, Traceparent: traceparent(ctx)})
	if err != nil {
		return nil, s.internal("running a run again", err)
	}
	s.Log.InfoContext(ctx, "a run is run again", "run", r.RunID, "number", r.Number, "attempt", r.Attempt)
	return &apiv1.RerunRunResponse{RunId: r.RunID, RunNumber: r.Number, Attempt: r.Attempt}, nil
}
