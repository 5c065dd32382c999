// Package faultstore wraps a store and fails its transactions by name and count, for tests and simulation.
package faultstore

import (
	"context"
	"fmt"
	"sync"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// Fault is what happens to one Commit.
type Fault int

const (
	// None: the transaction goes through.
	None Fault = iota
	// Refused: it does nothing and says so (ErrUnavailable).
	Refused
	// UnknownLost: it does nothing, and nobody knows (ErrUnknown).
	UnknownLost
	// UnknownDone: it is done, and nobody knows (ErrUnknown).
	UnknownDone
	// UnknownLater: nobody knows (ErrUnknown), and it is done before the next Commit but one.
	UnknownLater
	// Held: it waits until Release, then goes through.
	Held
)

// Store implements store.Store. Faults are used up in order, one a Commit; then every Commit goes through.
type Store struct {
	store.Store
	mu      sync.Mutex
	faults  []Fault
	later   []store.Txn
	commits []store.Txn
	held    chan struct{}
	holding chan struct{}
}

// New wraps s.
func New(s store.Store) *Store {
	return &Store{Store: s, held: make(chan struct{}), holding: make(chan struct{}, 1000)}
}

// Plan appends faults for the coming Commits.
func (s *Store) Plan(f ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, f...)
}

// Commits returns every transaction that was proposed.
func (s *Store) Commits() []store.Txn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]store.Txn(nil), s.commits...)
}

// Holding receives once for each Commit that Held stopped.
func (s *Store) Holding() <-chan struct{} { return s.holding }

// Release lets one held Commit go on.
func (s *Store) Release() { s.held <- struct{}{} }

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (store.TxnResult, error) {
	s.mu.Lock()
	f := None
	if len(s.faults) > 0 {
		f, s.faults = s.faults[0], s.faults[1:]
	}
	s.commits = append(s.commits, txn)
	late := s.later
	s.later = nil
	if f == UnknownLater {
		s.later = append(s.later, txn)
	}
	s.mu.Unlock()
	res, err := s.inject(ctx, txn, f)
	for _, l := range late {
		if _, lateErr := s.Store.Commit(ctx, l); lateErr != nil {
			return store.TxnResult{}, lateErr
		}
	}
	return res, err
}

func (s *Store) inject(ctx context.Context, txn store.Txn, f Fault) (store.TxnResult, error) {
	switch f {
	case Refused:
		return store.TxnResult{}, fmt.Errorf("%w: injected", store.ErrUnavailable)
	case UnknownLost, UnknownLater:
		return store.TxnResult{}, fmt.Errorf("%w: injected", store.ErrUnknown)
	case UnknownDone:
		if _, err := s.Store.Commit(ctx, txn); err != nil {
			return store.TxnResult{}, err
		}
		return store.TxnResult{}, fmt.Errorf("%w: injected", store.ErrUnknown)
	case Held:
		s.holding <- struct{}{}
		select {
		case <-s.held:
		case <-ctx.Done():
			return store.TxnResult{}, fmt.Errorf("%w: %w", store.ErrUnavailable, ctx.Err())
		}
	case None:
	}
	return s.Store.Commit(ctx, txn)
}
