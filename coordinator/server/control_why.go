package server

import (
	"context"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func (c *control) Why(ctx context.Context, run, job string) (*apiv1.WhyRunResponse, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Why(ctx, run, job)
}

func (c *control) Demand(ctx context.Context) ([]*apiv1.Demand, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Demand(ctx)
}
