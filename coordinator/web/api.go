package web

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// inProcess is the server's end of a stream whose client is in the same process: what is sent is handed to a function, before Send returns.
type inProcess[T any] struct {
	grpc.ServerStream
	ctx  context.Context //nolint:containedctx // how gRPC hands a stream its context
	seen func(*T) error
}

// Context implements grpc.ServerStream.
func (s *inProcess[T]) Context() context.Context { return s.ctx }

// Send implements grpc.ServerStreamingServer.
func (s *inProcess[T]) Send(m *T) error {
	if err := s.ctx.Err(); err != nil {
		return err
	}
	return s.seen(m)
}

// call runs a streaming method until it ends or seen returns an error, which is returned.
func call[Req, Resp any](ctx context.Context, method func(*Req, grpc.ServerStreamingServer[Resp]) error, req *Req, seen func(*Resp) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var own error
	err := method(req, &inProcess[Resp]{ctx: ctx, seen: func(m *Resp) error {
		if own = seen(m); own != nil {
			// To the method it looks as if its client had left: that is no error to write down.
			return context.Canceled
		}
		return nil
	}})
	if own != nil {
		return own
	}
	return err
}

// errEnough ends a stream of which the rest is not needed.
var errEnough = errors.New("web: enough")

func (s *site) getRun(ctx context.Context, name string) (*apiv1.Run, error) {
	resp, err := s.Runs.GetRun(ctx, &apiv1.GetRunRequest{RunId: name})
	return resp.GetRun(), err
}

func (s *site) watch(ctx context.Context, run string, seen func(*apiv1.Run) error) error {
	return call(ctx, s.Runs.WatchRun, &apiv1.WatchRunRequest{RunId: run}, func(m *apiv1.WatchRunResponse) error { return seen(m.GetRun()) })
}

func (s *site) readLogs(ctx context.Context, req *apiv1.StreamLogsRequest, seen func(*apiv1.StreamLogsResponse) error) error {
	return call(ctx, s.Logs.StreamLogs, req, seen)
}

func ended(r *apiv1.Run) bool { return r.GetState() >= corev1.RunState_RUN_STATE_SUCCEEDED }

func jobEnded(j *apiv1.Job) bool { return j.GetState() >= corev1.JobState_JOB_STATE_SUCCEEDED }
