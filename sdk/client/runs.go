package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/metadata"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Submit starts a run. If r has no RequestId, one is made and kept in r, so that calling again with the same r never
// starts a second run.
func (c *Client) Submit(ctx context.Context, r *apiv1.SubmitRunRequest) (*apiv1.SubmitRunResponse, error) {
	if r.GetRequestId() == "" {
		r.RequestId = c.newID()
	}
	if c.traceparent != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", c.traceparent)
	}
	var out *apiv1.SubmitRunResponse
	err := c.retry(ctx, "submitting "+r.GetPath(), func(ctx context.Context) (err error) {
		out, err = c.runs.SubmitRun(ctx, r)
		return err
	})
	return out, err
}

// Plan does what Submit does up to storing, and returns the plan with images resolved.
func (c *Client) Plan(ctx context.Context, r *apiv1.PlanRunRequest) (*apiv1.PlanRunResponse, error) {
	var out *apiv1.PlanRunResponse
	err := c.retry(ctx, "planning "+r.GetPath(), func(ctx context.Context) (err error) {
		out, err = c.runs.PlanRun(ctx, r)
		return err
	})
	return out, err
}

// Run returns a run by id, unique prefix of at least 6 characters, or number as "#12".
func (c *Client) Run(ctx context.Context, runID string) (*apiv1.Run, error) {
	run, _, err := c.RunPage(ctx, runID)
	return run, err
}

// Runs lists runs, newest first, without their steps. limit 0 is 20; project "" is all.
func (c *Client) Runs(ctx context.Context, project string, limit uint32) ([]*apiv1.Run, error) {
	var out *apiv1.ListRunsResponse
	err := c.retry(ctx, "listing runs", func(ctx context.Context) (err error) {
		out, err = c.runs.ListRuns(ctx, &apiv1.ListRunsRequest{Project: project, Limit: limit})
		return err
	})
	return out.GetRuns(), err
}

// FindRuns lists the runs that are asked for, newest first, without their steps; next is the page to go on with, "" if there are no more.
func (c *Client) FindRuns(ctx context.Context, req *apiv1.ListRunsRequest) (runs []*apiv1.Run, next string, err error) {
	var out *apiv1.ListRunsResponse
	err = c.retry(ctx, "listing runs", func(ctx context.Context) (err error) {
		out, err = c.runs.ListRuns(ctx, req)
		return err
	})
	return out.GetRuns(), out.GetNextPage(), err
}

// Cancel asks a run to end; nil also if it has ended or is being cancelled already.
func (c *Client) Cancel(ctx context.Context, runID, reason string) error {
	r := &apiv1.CancelRunRequest{RequestId: c.newID(), RunId: runID, Reason: reason}
	return c.retry(ctx, "cancelling run "+runID, func(ctx context.Context) error {
		_, err := c.runs.CancelRun(ctx, r)
		return err
	})
}

// Watch calls seen with the run as it is and after changes, until it is terminal, seen returns an error, or ctx ends.
// It opens the stream again after an outage. It returns nil only after a terminal state was seen.
func (c *Client) Watch(ctx context.Context, runID string, seen func(*apiv1.Run) error) error {
	op := "watching run " + runID
	t := c.newTries()
	for {
		done, err := c.watchOnce(ctx, runID, t, seen)
		if done {
			return err
		}
		if !c.again(ctx, t, err) {
			return c.wrap(op, err)
		}
	}
}

// watchOnce reads one stream. done means that err is final.
func (c *Client) watchOnce(ctx context.Context, runID string, t *tries, seen func(*apiv1.Run) error) (done bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.runs.WatchRun(ctx, &apiv1.WatchRunRequest{RunId: runID})
	if err != nil {
		return false, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			// A coordinator that ends the stream early is going away: treated like a broken connection.
			return false, errStreamEnded
		}
		if err != nil {
			return false, err
		}
		c.answered.Store(true)
		t.progress()
		if err := seen(m.GetRun()); err != nil {
			return true, err
		}
		if Terminal(m.GetRun().GetState()) {
			return true, nil
		}
	}
}

// Terminal says that a run in this state changes no more.
func Terminal(s corev1.RunState) bool { return s >= corev1.RunState_RUN_STATE_SUCCEEDED }
