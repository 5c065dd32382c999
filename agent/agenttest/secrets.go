package agenttest

import (
	"context"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// SetSecrets is what attempts get from now on, as a revision; who had an earlier one gets that again. nil revokes all revisions.
func (c *Coordinator) SetSecrets(r *fleetv1.GetSecretsResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r == nil || c.secrets == nil {
		c.secrets = map[uint64]*fleetv1.GetSecretsResponse{}
	}
	if r != nil {
		c.secrets[r.GetRevision()] = r
	}
}

// SecretsAsked are the revisions that GetSecrets was asked for, in order.
func (c *Coordinator) SecretsAsked() []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.asked)
}

// GetSecrets implements fleetv1.FleetServiceServer.
func (c *Coordinator) GetSecrets(ctx context.Context, r *fleetv1.GetSecretsRequest) (*fleetv1.GetSecretsResponse, error) {
	if err := checkPeer(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer c.signalLocked()
	c.asked = append(c.asked, r.GetRevision())
	if a := c.attempts[r.GetAttemptId()]; a == nil || a.Assignment.GetToken() != r.GetToken() {
		return nil, errDenied("wrong attempt or token")
	}
	revision := r.GetRevision()
	if revision == 0 {
		for n := range c.secrets {
			revision = max(revision, n)
		}
	}
	if c.secrets[revision] == nil {
		return nil, rpcerr.New(rpcerr.NotFound, "not kept any more")
	}
	return proto.CloneOf(c.secrets[revision]), nil
}
