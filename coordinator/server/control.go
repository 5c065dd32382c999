package server

import (
	"context"
	"sync/atomic"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// control implements engine.Control with the engine of the current term; between terms every call is NOT_LEADER.
type control struct {
	current atomic.Pointer[holder]
	// away is why nobody can lead: the store can't be reached.
	away atomic.Pointer[error]
}

type holder struct{ engine.Control }

func newControl() *control { return &control{} }

func (c *control) set(e engine.Control) {
	c.away.Store(nil)
	c.current.Store(&holder{e})
}

func (c *control) clear() { c.current.Store(nil) }

func (c *control) leads() bool { return c.current.Load() != nil }

func (c *control) get() (engine.Control, error) {
	if h := c.current.Load(); h != nil {
		return h.Control, nil
	}
	if why := c.away.Load(); why != nil {
		return nil, rpcerr.New(rpcerr.StoreUnavailable, "the store can't be reached, and nothing can be promised without it; what runs goes on: %v", *why)
	}
	return nil, rpcerr.New(rpcerr.NotLeader, "this coordinator does not lead now; try again")
}

func (c *control) Submit(ctx context.Context, s engine.Submission) (string, uint64, error) {
	e, err := c.get()
	if err != nil {
		return "", 0, err
	}
	return e.Submit(ctx, s)
}

func (c *control) Cancel(ctx context.Context, requestID, runID, reason string) error {
	e, err := c.get()
	if err != nil {
		return err
	}
	return e.Cancel(ctx, requestID, runID, reason)
}

func (c *control) Run(ctx context.Context, id string) (*apiv1.Run, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Run(ctx, id)
}

func (c *control) Runs(ctx context.Context, project string, limit int) ([]*apiv1.Run, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Runs(ctx, project, limit)
}

func (c *control) Watch(ctx context.Context, id string) (<-chan *apiv1.Run, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Watch(ctx, id)
}

func (c *control) Connect(ctx context.Context, s engine.Session, out engine.Outbox) ([]string, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Connect(ctx, s, out)
}

func (c *control) Disconnect(agentID, sessionID string) {
	if e, err := c.get(); err == nil {
		e.Disconnect(agentID, sessionID)
	}
}

func (c *control) Heartbeat(agentID, sessionID string, diskFree int64) {
	if e, err := c.get(); err == nil {
		e.Heartbeat(agentID, sessionID, diskFree)
	}
}

func (c *control) AckHeartbeat(agentID, sessionID string, echo uint64) {
	if e, err := c.get(); err == nil {
		e.AckHeartbeat(agentID, sessionID, echo)
	}
}

func (c *control) OfferReply(ctx context.Context, sessionID string, r *fleetv1.OfferReply) error {
	e, err := c.get()
	if err != nil {
		return err
	}
	return e.OfferReply(ctx, sessionID, r)
}

func (c *control) Report(ctx context.Context, sessionID string, r *corev1.Report) error {
	e, err := c.get()
	if err != nil {
		return err
	}
	return e.Report(ctx, sessionID, r)
}

func (c *control) Attempt(ctx context.Context, sessionAgent, attemptID, token string) (engine.AttemptRef, error) {
	e, err := c.get()
	if err != nil {
		return engine.AttemptRef{}, err
	}
	return e.Attempt(ctx, sessionAgent, attemptID, token)
}

func (c *control) AddArtifact(ctx context.Context, ref engine.AttemptRef, a *corev1.Artifact, overwrite bool) error {
	e, err := c.get()
	if err != nil {
		return err
	}
	return e.AddArtifact(ctx, ref, a, overwrite)
}

func (c *control) Agents(ctx context.Context) ([]*apiv1.Agent, error) {
	e, err := c.get()
	if err != nil {
		return nil, err
	}
	return e.Agents(ctx)
}
