package gateway

import (
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/relay"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// Attach implements fleetv1.FleetServiceServer.
func (g *Gateway) Attach(stream relay.AgentStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if g.Relay == nil || first.GetSessionId() == "" {
		return rpcerr.New(rpcerr.InvalidRequest, "attaching begins with the id of a session")
	}
	return g.Relay.Attach(first.GetSessionId(), identity.FromContext(stream.Context()).Agent.ID, stream)
}
