package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/gateway"
	"github.com/slipway-ci/slipway/coordinator/leader"
)

const (
	// campaignPause is the time between two tries to lead.
	campaignPause = 500 * time.Millisecond
	// handOver is how long giving up the term may take.
	handOver = 3 * time.Second
)

// lead campaigns, runs an engine for each term, and campaigns again, until ctx ends.
func (s *Server) lead(ctx context.Context, be *backend, gw *gateway.Gateway) error {
	var ready sync.Once
	for ctx.Err() == nil {
		if err := s.term(ctx, be, gw, func() { ready.Do(func() { close(s.ready) }) }); err != nil && ctx.Err() == nil {
			s.log.Error("leading failed; trying again", "error", err)
		}
		// Also after a term that just ended: what ended it may be there still.
		pause := make(chan struct{})
		stop := s.clock.AfterFunc(campaignPause, func() { close(pause) })
		select {
		case <-ctx.Done():
		case <-pause:
		}
		stop()
	}
	return nil
}

// term leads once.
func (s *Server) term(ctx context.Context, be *backend, gw *gateway.Gateway, leading func()) (err error) {
	found := s.lookForStore(ctx, be)
	term, err := be.elector.Campaign(ctx)
	found()
	if err != nil {
		return fmt.Errorf("campaigning: %w", err)
	}
	defer func() { err = errors.Join(err, s.resign(ctx, term)) }()
	keep, err := s.newKeeper(ctx, be, term)
	if err != nil {
		return err
	}
	e, err := engine.New(ctx, engine.Config{
		History: s.history, Sealer: keep.archiver.Ended, Admit: keep.admit,
		Store: be.store, Term: term, Plans: engine.BlobPlans{Blobs: s.blobs}, Runners: s.conf.Runners, Pools: s.conf.Pools, Projects: s.conf.Projects, Scheduling: s.conf.Scheduling, Clock: s.clock, NewID: s.ids.New,
		Random: rand.Reader, Log: s.log, Metrics: s.metrics, Tracer: s.tracer(), SessionDeadline: s.conf.Agents.Deadline.Std() + s.conf.Agents.Leave(), Grace: s.conf.Agents.Grace.Std(),
		MaxHold: s.conf.Debug.MaxHold.Std(), External: be.external,
	})
	if err != nil {
		return fmt.Errorf("loading the state of all runs: %w", err)
	}
	e.Start()
	keep.start(ctx)
	defer keep.close()
	s.control.set(e)
	leading()
	select {
	case <-ctx.Done():
	case <-e.Done():
		s.log.Warn("the term has ended; agents connect again once another has begun")
	}
	s.control.clear()
	// Sessions are registered with the engine that is going; agents start new ones.
	gw.EndSessions()
	e.Close()
	return nil
}

func (s *Server) resign(ctx context.Context, term leader.Term) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), handOver)
	defer cancel()
	if err := term.Close(ctx); err != nil {
		return fmt.Errorf("handing over: %w", err)
	}
	return nil
}
