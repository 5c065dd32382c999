package server

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
)

func (c *control) OpenDebug(ctx context.Context, r engine.DebugRequest) (engine.DebugTicket, error) {
	e, err := c.get()
	if err != nil {
		return engine.DebugTicket{}, err
	}
	return e.OpenDebug(ctx, r)
}

func (c *control) CloseDebug(ctx context.Context, end engine.DebugEnd) error {
	e, err := c.get()
	if err != nil {
		return err
	}
	return e.CloseDebug(ctx, end)
}

func (c *control) ReleaseJob(ctx context.Context, run, job, by string) (string, error) {
	e, err := c.get()
	if err != nil {
		return "", err
	}
	return e.ReleaseJob(ctx, run, job, by)
}
