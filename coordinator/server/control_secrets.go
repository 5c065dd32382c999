package server

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
)

func (c *control) AttemptSecrets(ctx context.Context, ref engine.AttemptRef) (engine.SecretUse, error) {
	e, err := c.get()
	if err != nil {
		return engine.SecretUse{}, err
	}
	return e.AttemptSecrets(ctx, ref)
}
