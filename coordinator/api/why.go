package api

import (
	"context"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func (s *runs) WhyRun(ctx context.Context, req *apiv1.WhyRunRequest) (*apiv1.WhyRunResponse, error) {
	why, err := s.Control.Why(ctx, req.GetRunId(), req.GetJobId())
	if err != nil {
		return nil, s.internal("explaining a run", err)
	}
	return why, nil
}

func (s *agents) GetDemand(ctx context.Context, _ *apiv1.GetDemandRequest) (*apiv1.GetDemandResponse, error) {
	all, err := s.Control.Demand(ctx)
	if err != nil {
		return nil, s.internal("summing up the demand", err)
	}
	return &apiv1.GetDemandResponse{Demand: all}, nil
}
