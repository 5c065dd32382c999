package coordtest

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Connect implements engine.Control.
func (c *Control) Connect(ctx context.Context, s engine.Session, out engine.Outbox) ([]string, error) {
	live := c.connect(s, out)
	if c.ConnectGate != nil {
		c.ConnectGate(ctx)
	}
	return live, ctx.Err()
}

func (c *Control) connect(s engine.Session, out engine.Outbox) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[s.AgentID] = &liveSession{Session: s, out: out}
	var live []string
	for _, id := range s.Attempts {
		if a := c.attempts[id]; a != nil && a.Agent == s.AgentID && !a.Ended {
			live = append(live, id)
		}
	}
	// What is offered before the answer must still come after Welcome.
	for id, a := range c.attempts {
		if a.Agent == s.AgentID && !a.Ended && a.Last == nil && len(s.Attempts) == 0 {
			out.Send(Offer(a, id))
		}
	}
	c.event("connect %s", s.AgentID)
	return live
}

// Offer is the message that offers an attempt.
func Offer(a *Attempt, id string) *fleetv1.SessionResponse {
	return &fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Offer{Offer: &fleetv1.Offer{Assignment: &fleetv1.Assignment{
		RunId: a.Ref.RunID, JobId: a.Ref.JobID, AttemptId: id, Token: a.Token, Attempt: 1,
	}}}}
}

// Disconnect implements engine.Control.
func (c *Control) Disconnect(agentID, sessionID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[agentID]; s != nil && s.ID == sessionID {
		delete(c.sessions, agentID)
	}
	c.event("disconnect %s", agentID)
}

// Heartbeat implements engine.Control.
func (c *Control) Heartbeat(agentID, _ string, diskFree int64) {
	c.event("heartbeat %s %d", agentID, diskFree)
}

// AckHeartbeat implements engine.Control.
func (c *Control) AckHeartbeat(agentID, _ string, echo uint64) {
	if out := c.Outbox(agentID); out != nil {
		out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_HeartbeatAck{HeartbeatAck: &fleetv1.HeartbeatAck{Echo: echo}}})
	}
}

func (c *Control) fence(sessionID, attemptID string) (*Attempt, error) {
	a := c.attempts[attemptID]
	if a == nil {
		return nil, rpcerr.New(rpcerr.Fenced, "attempt %s is not this session's", attemptID)
	}
	if s := c.sessions[a.Agent]; s == nil || s.ID != sessionID {
		return nil, rpcerr.New(rpcerr.SessionEnded, "session %s is not current", sessionID)
	}
	return a, nil
}

// OfferReply implements engine.Control.
func (c *Control) OfferReply(_ context.Context, sessionID string, r *fleetv1.OfferReply) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.fence(sessionID, r.GetAttemptId()); err != nil {
		return err
	}
	c.event("reply %s %v", r.GetAttemptId(), r.GetAccepted())
	return nil
}

// Report implements engine.Control.
func (c *Control) Report(_ context.Context, sessionID string, r *corev1.Report) error {
	if c.ReportGate != nil {
		c.ReportGate(r)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a, err := c.fence(sessionID, r.GetAttemptId())
	if err != nil {
		return err
	}
	if r.GetSeq() > a.Last.GetSeq() {
		a.Last = r
	}
	if r.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE {
		a.Ended = true
	}
	c.event("report %s %d", r.GetAttemptId(), r.GetSeq())
	return nil
}

// Attempt implements engine.Control.
func (c *Control) Attempt(_ context.Context, sessionAgent, attemptID, token string) (engine.AttemptRef, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.attempts[attemptID]
	if a == nil || a.Token != token || a.Agent != sessionAgent || a.Ended {
		return engine.AttemptRef{}, rpcerr.New(rpcerr.PermissionDenied, "attempt %s is not yours", attemptID)
	}
	return a.Ref, nil
}

// AttemptSecrets implements engine.Control.
func (c *Control) AttemptSecrets(_ context.Context, ref engine.AttemptRef) (engine.SecretUse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attempts[ref.AttemptID].Use, nil
}

// AddArtifact implements engine.Control.
func (c *Control) AddArtifact(_ context.Context, ref engine.AttemptRef, art *corev1.Artifact, overwrite bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	run := c.runs[ref.RunID]
	for i, old := range run.GetArtifacts() {
		if old.GetName() != art.GetName() {
			continue
		}
		if old.GetDigest() != art.GetDigest() && !overwrite {
			return rpcerr.New(rpcerr.AlreadyExists, "run %s has an artifact %q", ref.RunID, art.GetName())
		}
		run.Artifacts[i] = art
		return nil
	}
	run.Artifacts = append(run.Artifacts, art)
	return nil
}
