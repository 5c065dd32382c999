package engine

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

var (
	_ Control = (*Engine)(nil)
	_ Control = (*Service)(nil)
)

// Submit implements Control.
func (s *Service) Submit(ctx context.Context, sub Submission) (string, uint64, error) {
	e, err := s.engine(ctx)
	if err != nil {
		return "", 0, err
	}
	return e.Submit(ctx, sub)
}

// Cancel implements Control.
func (s *Service) Cancel(ctx context.Context, requestID, runID, reason string) error {
	e, err := s.engine(ctx)
	if err != nil {
		return err
	}
	return e.Cancel(ctx, requestID, runID, reason)
}

// Run implements Control.
func (s *Service) Run(ctx context.Context, id string) (*apiv1.Run, error) {
	e, err := s.engine(ctx)
	if err != nil {
		return nil, err
	}
	return e.Run(ctx, id)
}

// Runs implements Control.
func (s *Service) Runs(ctx context.Context, project string, limit int) ([]*apiv1.Run, error) {
	e, err := s.engine(ctx)
	if err != nil {
		return nil, err
	}
	return e.Runs(ctx, project, limit)
}

// Connect implements Control.
func (s *Service) Connect(ctx context.Context, session Session, out Outbox) ([]string, error) {
	e, err := s.engine(ctx)
	if err != nil {
		return nil, err
	}
	return e.Connect(ctx, session, out)
}

// OfferReply implements Control.
func (s *Service) OfferReply(ctx context.Context, sessionID string, r *fleetv1.OfferReply) error {
	e, err := s.engine(ctx)
	if err != nil {
		return err
	}
	return e.OfferReply(ctx, sessionID, r)
}

// Report implements Control.
func (s *Service) Report(ctx context.Context, sessionID string, r *corev1.Report) error {
	e, err := s.engine(ctx)
	if err != nil {
		return err
	}
	return e.Report(ctx, sessionID, r)
}

// Attempt implements Control.
func (s *Service) Attempt(ctx context.Context, sessionAgent, attemptID, token string) (AttemptRef, error) {
	e, err := s.engine(ctx)
	if err != nil {
		return AttemptRef{}, err
	}
	return e.Attempt(ctx, sessionAgent, attemptID, token)
}

// AddArtifact implements Control.
func (s *Service) AddArtifact(ctx context.Context, ref AttemptRef, a *corev1.Artifact, overwrite bool) error {
	e, err := s.engine(ctx)
	if err != nil {
		return err
	}
	return e.AddArtifact(ctx, ref, a, overwrite)
}

// Agents implements Control.
func (s *Service) Agents(ctx context.Context) ([]*apiv1.Agent, error) {
	e, err := s.engine(ctx)
	if err != nil {
		return nil, err
	}
	return e.Agents(ctx)
}

// Disconnect implements Control. Without a leader there is nothing to tell: the next one counts every agent as away.
func (s *Service) Disconnect(agentID, sessionID string) {
	if e := s.now(); e != nil {
		e.Disconnect(agentID, sessionID)
	}
}

// Heartbeat implements Control.
func (s *Service) Heartbeat(agentID, sessionID string, diskFree int64) {
	if e := s.now(); e != nil {
		e.Heartbeat(agentID, sessionID, diskFree)
	}
}

func (s *Service) now() *Engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// Watch implements Control. When the leader changes, it goes on with the next one.
func (s *Service) Watch(ctx context.Context, id string) (<-chan *apiv1.Run, error) {
	e, err := s.engine(ctx)
	if err != nil {
		return nil, err
	}
	in, err := e.Watch(ctx, id)
	if err != nil {
		return nil, err
	}
	out := make(chan *apiv1.Run)
	go s.relay(ctx, id, in, out)
	return out, nil
}

func (s *Service) relay(ctx context.Context, id string, in <-chan *apiv1.Run, out chan<- *apiv1.Run) {
	defer close(out)
	for {
		for v := range in {
			select {
			case out <- v:
			case <-ctx.Done():
				return
			}
			if lifecycle.Run.IsTerminal(v.GetState()) {
				return
			}
		}
		for in = nil; in == nil; {
			if ctx.Err() != nil {
				return
			}
			e, err := s.engine(ctx)
			if err == nil {
				in, err = e.Watch(ctx, id)
			}
			if err != nil {
				s.log.Debug("watching again after a change of leader", "run", id, "error", err)
				s.pause(ctx)
			}
		}
	}
}
