// Package gateway is the coordinator's side of fleet/v1: agents join, hold sessions, push logs, and read and write blobs and artifacts.
//
// A session has three parts. The handler takes requests off the stream; once the session has begun it never waits for the engine, so heartbeats are
// seen even while a commit is slow. The inbox hands each attempt's messages to the engine in order, different attempts side by side. The outbox is
// where the engine leaves messages without waiting; a goroutine sends them while there are some. Whatever ends one part ends the session, and
// the engine is told once.
package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/slipway-ci/slipway/coordinator/artifacts"
	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/relay"
	"github.com/slipway-ci/slipway/coordinator/secrets"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Deps is what a gateway works with.
type Deps struct {
	Control   engine.Control
	CA        *identity.CA
	Tokens    *identity.Tokens
	Blobs     blob.Store
	Logs      *logs.Store
	Artifacts *artifacts.Artifacts
	Secrets   *secrets.Store
	Agents    config.Agents
	// BlobBytes is the largest blob that an attempt may store.
	BlobBytes int64
	// Relay has the debug sessions that agents are asked to attach to; nil has none.
	Relay *relay.Relay
	// LogBytes counts what agents send of logs; may be nil.
	LogBytes func(float64)
	Clock    clock.Clock
	// NewID makes the ids of sessions; nil makes them from Clock and randomness.
	NewID func() string
	Log   *slog.Logger
}

// Gateway serves JoinService and FleetService. Callers are identified by identity.Guard.
type Gateway struct {
	fleetv1.UnimplementedJoinServiceServer
	fleetv1.UnimplementedFleetServiceServer
	Deps

	mu sync.Mutex
	// sessions lives until all sessions of now must end.
	sessions    context.Context //nolint:containedctx // the life of the gateway
	endSessions context.CancelFunc
	stopped     bool
}

// New returns a gateway.
func New(d Deps) *Gateway {
	g := &Gateway{Deps: d}
	if g.NewID == nil {
		g.NewID = id.NewSource(d.Clock.Now).New
	}
	g.sessions, g.endSessions = context.WithCancel(context.Background())
	return g
}

// EndSessions ends all sessions; agents connect again. Their attempts run on.
func (g *Gateway) EndSessions() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.endSessions()
	if !g.stopped {
		g.sessions, g.endSessions = context.WithCancel(context.Background())
	}
}

// Stop ends all sessions, and every later one at once.
func (g *Gateway) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	g.endSessions()
}

// life returns what ends with the sessions of now.
func (g *Gateway) life() context.Context {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.sessions
}

// Join implements fleetv1.JoinServiceServer.
func (g *Gateway) Join(ctx context.Context, req *fleetv1.JoinRequest) (*fleetv1.JoinResponse, error) {
	pub, err := tlsutil.ParseCSR(req.GetCsr())
	if err != nil {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "joining: %v", err)
	}
	if err := tlsutil.CheckName("host name", req.GetHostname()); err != nil {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "joining: %v", err)
	}
	agent, err := g.Tokens.Join(ctx, req.GetToken(), pub, req.GetHostname())
	if err != nil {
		return nil, err
	}
	cert, err := g.CA.SignAgent(pub, agent, g.Clock.Now())
	if err != nil {
		return nil, g.internal("certifying an agent", err)
	}
	g.Log.InfoContext(ctx, "an agent joined", "agent", agent.ID, "hostname", req.GetHostname(), "pool", agent.Pool)
	return &fleetv1.JoinResponse{AgentId: agent.ID, Certificate: cert, Ca: g.CA.PEM()}, nil
}

// Renew implements fleetv1.FleetServiceServer. The new certificate is used from the agent's next connection on.
func (g *Gateway) Renew(ctx context.Context, req *fleetv1.RenewRequest) (*fleetv1.RenewResponse, error) {
	agent := identity.FromContext(ctx).Agent
	pub, err := tlsutil.ParseCSR(req.GetCsr())
	if err != nil {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "renewing a certificate: %v", err)
	}
	if err := g.Tokens.Known(ctx, agent.ID); err != nil {
		return nil, err
	}
	cert, err := g.CA.SignAgent(pub, agent, g.Clock.Now())
	if err != nil {
		return nil, g.internal("certifying an agent", err)
	}
	return &fleetv1.RenewResponse{Certificate: cert}, nil
}

// attempt checks that the caller's agent holds the attempt and its token.
func (g *Gateway) attempt(ctx context.Context, attemptID, token string) (engine.AttemptRef, error) {
	return g.Control.Attempt(ctx, identity.FromContext(ctx).Agent.ID, attemptID, token)
}

// internal hides from an agent what it can't help.
func (g *Gateway) internal(what string, err error) error { return rpcerr.Hide(g.Log, what, err) }

// unknownMessage is for messages of a newer agent.
func unknownMessage(m any) error {
	return rpcerr.New(rpcerr.InvalidRequest, "unexpected message %s", fmt.Sprintf("%T", m))
}
