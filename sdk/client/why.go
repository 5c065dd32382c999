package client

import (
	"context"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Why says why a run's jobs wait, were skipped, were tried again or failed; job "" is every job about which there is something to say.
func (c *Client) Why(ctx context.Context, runID, job string) (*apiv1.WhyRunResponse, error) {
	var out *apiv1.WhyRunResponse
	err := c.retry(ctx, "explaining run "+runID, func(ctx context.Context) (err error) {
		out, err = c.runs.WhyRun(ctx, &apiv1.WhyRunRequest{RunId: runID, JobId: job})
		return err
	})
	return out, err
}
