package coordtest

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// Rerun implements engine.Rerunner: this fake plays no engine, so nothing is run again.
func (c *Control) Rerun(ctx context.Context, q engine.RerunRequest) (engine.Rerun, error) {
	v, err := c.Run(ctx, q.Run)
	if err != nil {
		return engine.Rerun{}, err
	}
	return engine.Rerun{}, rpcerr.New(rpcerr.RunNotEnded, "run #%d has not ended", v.GetNumber())
}
