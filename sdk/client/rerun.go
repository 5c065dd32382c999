package client

import (
	"context"

	"google.golang.org/grpc/metadata"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Rerun begins another attempt of a run that has ended. If r has no RequestId, one is made and kept in r, so that calling again with the same r
// never begins two.
func (c *Client) Rerun(ctx context.Context, r *apiv1.RerunRunRequest) (*apiv1.RerunRunResponse, error) {
	if r.GetRequestId() == "" {
		r.RequestId = c.newID()
	}
	if c.traceparent != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", c.traceparent)
	}
	var out *apiv1.RerunRunResponse
	err := c.retry(ctx, "running "+r.GetRunId()+" again", func(ctx context.Context) (err error) {
		out, err = c.runs.RerunRun(ctx, r)
		return err
	})
	return out, err
}

// Demand is what queued jobs ask for, by the pools and labels that they want; empty if no job waits for an agent.
func (c *Client) Demand(ctx context.Context) ([]*apiv1.Demand, error) {
	var out *apiv1.GetDemandResponse
	err := c.retry(ctx, "reading the demand", func(ctx context.Context) (err error) {
		out, err = c.agents.GetDemand(ctx, &apiv1.GetDemandRequest{})
		return err
	})
	return out.GetDemand(), err
}
