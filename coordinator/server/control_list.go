package server

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func (c *control) List(ctx context.Context, q engine.RunQuery) ([]*apiv1.Run, string, error) {
	e, err := c.get()
	if err != nil {
		return nil, "", err
	}
	return e.List(ctx, q)
}
