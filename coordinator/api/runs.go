package api

import (
	"context"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// runs implements apiv1.RunServiceServer.
type runs struct {
	apiv1.UnimplementedRunServiceServer
	Deps
}

func (s *runs) GetRun(ctx context.Context, req *apiv1.GetRunRequest) (*apiv1.GetRunResponse, error) {
	run, err := s.Control.Run(ctx, req.GetRunId())
	if err != nil {
		return nil, s.internal("reading a run", err)
	}
	return &apiv1.GetRunResponse{Run: run, Url: s.url(run.GetId())}, nil
}

func (s *runs) ListRuns(ctx context.Context, req *apiv1.ListRunsRequest) (*apiv1.ListRunsResponse, error) {
	if req.GetLimit() > engine.MaxRuns {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "%d runs: at most %d are listed at once", req.GetLimit(), engine.MaxRuns)
	}
	if page := req.GetPage(); page != "" && !id.Valid(page) {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "page %.64q is not one that a listing answered", page)
	}
	all, next, err := s.Control.List(ctx, engine.RunQuery{Project: req.GetProject(), Pipeline: req.GetPipeline(), Branch: req.GetBranch(), Commit: req.GetCommit(), Actor: req.GetActor(),
		States: req.GetStates(), SinceMS: req.GetSinceMs(), UntilMS: req.GetUntilMs(), Before: req.GetPage(), Limit: int(req.GetLimit())})
	if err != nil {
		return nil, s.internal("listing runs", err)
	}
	return &apiv1.ListRunsResponse{Runs: all, NextPage: next}, nil
}

func (s *runs) CancelRun(ctx context.Context, req *apiv1.CancelRunRequest) (*apiv1.CancelRunResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	reason := req.GetReason()
	if len(reason) > maxReason {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "the reason has %d bytes; at most %d are allowed", len(reason), maxReason)
	}
	if reason == "" {
		reason = "cancelled by " + identity.FromContext(ctx).Name
	}
	if err := s.Control.Cancel(ctx, req.GetRequestId(), req.GetRunId(), reason); err != nil {
		return nil, s.internal("cancelling a run", err)
	}
	return &apiv1.CancelRunResponse{}, nil
}

func (s *runs) WatchRun(req *apiv1.WatchRunRequest, stream grpc.ServerStreamingServer[apiv1.WatchRunResponse]) error {
	ctx := stream.Context()
	run, err := s.Control.Run(ctx, req.GetRunId())
	if err != nil {
		return s.internal("reading a run", err)
	}
	changes, err := s.Control.Watch(ctx, run.GetId())
	if err != nil {
		return s.internal("watching a run", err)
	}
	for {
		select {
		case <-s.Stop:
			return stopped()
		case run, ok := <-changes:
			if !ok {
				return watchEnded(ctx)
			}
			if err := stream.Send(&apiv1.WatchRunResponse{Run: run}); err != nil {
				return err
			}
			if lifecycle.Run.IsTerminal(run.GetState()) {
				return nil
			}
		}
	}
}

// watchEnded says why a watch ended before the run did.
func watchEnded(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return rpcerr.New(rpcerr.NotLeader, "the coordinator's leader changed; call again")
}
