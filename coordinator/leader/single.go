package leader

import (
	"context"
	"fmt"
	"sync"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// Single is the elector where there is one coordinator only: whoever campaigns leads, and whoever led before is fenced.
// For memstore and simulations.
type Single struct {
	Store store.Store
	// Key of the election.
	Key string
	// Name of this candidate, for people.
	Name string
}

// Campaign implements Elector.
func (s *Single) Campaign(ctx context.Context) (Term, error) {
	if _, err := s.Store.Commit(ctx, store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: s.Key, Delete: true}}}}}); err != nil {
		return nil, fmt.Errorf("election: end the former term: %w", err)
	}
	op := store.Op{Key: s.Key, Value: []byte(s.Name)}
	res, err := s.Store.Commit(ctx, store.Txn{Branches: []store.Branch{{Compares: []store.Compare{{Key: s.Key}}, Ops: []store.Op{op}}}})
	if err != nil {
		return nil, fmt.Errorf("election: %w", err)
	}
	if !res.Branches[0] {
		return nil, fmt.Errorf("election: another coordinator took %s at the same time; only one may use this store", s.Key)
	}
	return &singleTerm{store: s.Store, fence: store.Compare{Key: s.Key, Create: true, Revision: res.Revision}, done: make(chan struct{})}, nil
}

type singleTerm struct {
	store store.Store
	fence store.Compare
	once  sync.Once
	done  chan struct{}
}

func (t *singleTerm) Fence() []store.Compare { return []store.Compare{t.fence} }

func (t *singleTerm) Valid() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

func (t *singleTerm) Done() <-chan struct{} { return t.done }

func (t *singleTerm) Close(ctx context.Context) error {
	t.once.Do(func() { close(t.done) })
	branch := store.Branch{Compares: []store.Compare{t.fence}, Ops: []store.Op{{Key: t.fence.Key, Delete: true}}}
	if _, err := t.store.Commit(ctx, store.Txn{Branches: []store.Branch{branch}}); err != nil {
		return fmt.Errorf("election: hand over: %w", err)
	}
	return nil
}
