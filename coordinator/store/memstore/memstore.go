// Package memstore keeps keys in memory, for tests and simulation. It gives what etcd gives, with the same revisions.
package memstore

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// Store implements store.Store. The zero value is not usable; see New.
type Store struct {
	mu       sync.RWMutex
	revision int64
	keys     []string
	values   map[string]store.KV
	closed   bool
}

// New returns an empty store at revision 1, as a new etcd.
func New() *Store { return &Store{revision: 1, values: map[string]store.KV{}} }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return store.KV{}, false, err
	}
	kv, ok := s.values[key]
	kv.Value = slices.Clone(kv.Value)
	return kv, ok, nil
}

// Range implements store.Store.
func (s *Store) Range(ctx context.Context, from, to string, limit int) ([]store.KV, bool, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx); err != nil {
		return nil, false, err
	}
	i := sort.SearchStrings(s.keys, from)
	var out []store.KV
	for ; i < len(s.keys) && s.keys[i] < to; i++ {
		if limit > 0 && len(out) == limit {
			return out, true, nil
		}
		kv := s.values[s.keys[i]]
		kv.Value = slices.Clone(kv.Value)
		out = append(out, kv)
	}
	return out, false, nil
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (store.TxnResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx); err != nil {
		return store.TxnResult{}, err
	}
	if err := txn.Check(); err != nil {
		return store.TxnResult{}, err
	}
	res := store.TxnResult{Branches: make([]bool, len(txn.Branches)), Revision: s.revision}
	if !s.holds(txn.Fence) {
		res.Fenced = true
		return res, nil
	}
	// All compares see the state before the transaction, as in etcd.
	for i, b := range txn.Branches {
		res.Branches[i] = s.holds(b.Compares)
	}
	for i, b := range txn.Branches {
		if res.Branches[i] {
			s.apply(b.Ops, &res)
		}
	}
	s.revision = res.Revision
	return res, nil
}

// Close implements store.Store.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	if s.closed {
		return fmt.Errorf("%w: closed", store.ErrUnavailable)
	}
	return nil
}

func (s *Store) holds(cs []store.Compare) bool {
	for _, c := range cs {
		kv := s.values[c.Key]
		have := kv.ModRevision
		if c.Create {
			have = kv.CreateRevision
		}
		if have != c.Revision {
			return false
		}
	}
	return true
}

// spread makes the deletion of a range one of each of its keys.
func (s *Store) spread(ops []store.Op) []store.Op {
	var out []store.Op
	for _, op := range ops {
		if op.To == "" {
			out = append(out, op)
			continue
		}
		for i := sort.SearchStrings(s.keys, op.Key); i < len(s.keys) && s.keys[i] < op.To; i++ {
			out = append(out, store.Op{Key: s.keys[i], Delete: true})
		}
	}
	return out
}

func (s *Store) apply(ops []store.Op, res *store.TxnResult) {
	for _, op := range s.spread(ops) {
		old, had := s.values[op.Key]
		if op.Delete && !had {
			continue
		}
		// One revision for the whole transaction, taken by its first write.
		res.Revision = s.revision + 1
		at := sort.SearchStrings(s.keys, op.Key)
		if op.Delete {
			delete(s.values, op.Key)
			s.keys = slices.Delete(s.keys, at, at+1)
			continue
		}
		create := old.CreateRevision
		if !had {
			create = res.Revision
			s.keys = slices.Insert(s.keys, at, op.Key)
		}
		s.values[op.Key] = store.KV{Key: op.Key, Value: slices.Clone(op.Value), CreateRevision: create, ModRevision: res.Revision}
	}
}
