package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/internal/clock"
)

// Service implements Control across terms: it campaigns, loads an Engine, and hands calls to it; between terms callers wait a little, then get
// NOT_LEADER.
type Service struct {
	elector leader.Elector
	config  Config
	clock   clock.Clock
	log     *slog.Logger

	mu      sync.Mutex
	current *Engine
	changed chan struct{}
}

const (
	// leaderWait is how long a call waits for a leader before it is refused.
	leaderWait = 5 * time.Second
	// retryPause separates two campaigns after an error.
	retryPause = time.Second
	// handOver bounds the end of a term.
	handOver = 5 * time.Second
)

// NewService returns a service; c.Term is set by each election.
func NewService(elector leader.Elector, c Config) *Service {
	return &Service{elector: elector, config: c, clock: c.Clock, log: c.Log, changed: make(chan struct{})}
}

// Lead campaigns and leads until ctx ends; then it hands over and returns nil.
func (s *Service) Lead(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := s.term(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("could not lead; trying again", "error", err)
			s.pause(ctx)
		}
	}
	return nil
}

func (s *Service) pause(ctx context.Context) {
	over := make(chan struct{})
	stop := s.clock.AfterFunc(retryPause, func() { close(over) })
	select {
	case <-over:
	case <-ctx.Done():
		stop()
	}
}

func (s *Service) term(ctx context.Context) error {
	term, err := s.elector.Campaign(ctx)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOver)
		defer cancel()
		if err := term.Close(closing); err != nil {
			s.log.Warn("the term was not handed over", "error", err)
		}
	}()
	c := s.config
	c.Term = term
	e, err := New(ctx, c)
	if err != nil {
		return fmt.Errorf("load the coordinator's state: %w", err)
	}
	e.Start()
	s.set(e)
	defer func() {
		s.set(nil)
		e.Close()
	}()
	select {
	case <-ctx.Done():
		return nil
	case <-e.Done():
		return errors.New("the term ended")
	}
}

func (s *Service) set(e *Engine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = e
	close(s.changed)
	s.changed = make(chan struct{})
}

// engine returns the leading engine, waiting a little for one.
func (s *Service) engine(ctx context.Context) (*Engine, error) {
	late := make(chan struct{})
	stop := s.clock.AfterFunc(leaderWait, func() { close(late) })
	defer stop()
	for {
		s.mu.Lock()
		e, changed := s.current, s.changed
		s.mu.Unlock()
		if e != nil && !e.isDone() {
			return e, nil
		}
		select {
		case <-changed:
		case <-late:
			return nil, errNotLeader()
		case <-ctx.Done():
			return nil, errNotLeader()
		}
	}
}
