package gateway

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/slipway-ci/slipway/coordinator/secrets"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// GetSecrets implements fleetv1.FleetServiceServer. The audit log has the call, and the log which names were given.
func (g *Gateway) GetSecrets(ctx context.Context, req *fleetv1.GetSecretsRequest) (*fleetv1.GetSecretsResponse, error) {
	ref, err := g.attempt(ctx, req.GetAttemptId(), req.GetToken())
	if err != nil {
		return nil, err
	}
	use, err := g.Control.AttemptSecrets(ctx, ref)
	if err != nil {
		return nil, err
	}
	out := &fleetv1.GetSecretsResponse{Revision: cmp.Or(req.GetRevision(), g.Secrets.Now())}
	values, made, err := use.Resolve(func(want func(string) bool) (map[string]string, error) {
		return g.Secrets.Values(use.Project, out.Revision, want)
	})
	switch {
	case errors.Is(err, secrets.ErrGone):
		return nil, rpcerr.New(rpcerr.NotFound, "attempt %s: %v", ref.AttemptID, err)
	case errors.Is(err, secrets.ErrNoKey):
		return nil, rpcerr.New(rpcerr.PolicyRefused, "attempt %s: %v", ref.AttemptID, err)
	case err != nil:
		return nil, g.internal("reading the secrets of an attempt", err)
	}
	names := slices.Sorted(maps.Keys(values))
	for _, name := range names {
		out.Secrets = append(out.Secrets, &fleetv1.SecretValue{Name: name, Value: values[name]})
	}
	out.Masks = made
	g.Log.InfoContext(ctx, "an attempt was given secrets", "run", ref.RunID, "job", ref.JobID, "attempt", ref.AttemptID, "project", use.Project,
		"names", names, "revision", out.Revision)
	return out, nil
}
