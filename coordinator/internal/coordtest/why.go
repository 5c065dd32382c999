package coordtest

import (
	"context"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Why explains no job: the fake has none that wait.
func (c *Control) Why(ctx context.Context, run, _ string) (*apiv1.WhyRunResponse, error) {
	v, err := c.Run(ctx, run)
	if err != nil {
		return nil, err
	}
	return &apiv1.WhyRunResponse{RunId: v.GetId(), RunNumber: v.GetNumber(), State: v.GetState()}, nil
}

// Demand is none.
func (c *Control) Demand(context.Context) ([]*apiv1.Demand, error) { return nil, nil }
