package server

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
)

func (c *control) Rerun(ctx context.Context, q engine.RerunRequest) (engine.Rerun, error) {
	e, err := c.get()
	if err != nil {
		return engine.Rerun{}, err
	}
	return e.Rerun(ctx, q)
}
