// Package etcdstore keeps the coordinator's keys in etcd: an external one, or the one that Start embeds.
package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// page bounds one range request, so that a long listing neither holds etcd's lock nor one huge message.
const page = 1000

// Store implements store.Store over an etcd client. It does not own the client.
type Store struct {
	kv clientv3.KV
	// server, if set, is in this process, and is given the transactions.
	server pb.KVServer
	closed atomic.Bool
	// patience bounds a read, so that an etcd that is away is an answer and no silence; 0 is as long as the caller's context.
	patience time.Duration
}

// New returns a store on an etcd client: over a connection, or in process.
func New(kv clientv3.KV) *Store { return &Store{kv: kv} }

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, key string) (store.KV, bool, error) {
	if err := s.usable(ctx); err != nil {
		return store.KV{}, false, err
	}
	res, err := s.get(ctx, key)
	if err != nil {
		return store.KV{}, false, fmt.Errorf("%w: get %s: %w", store.ErrUnavailable, key, err)
	}
	if len(res.Kvs) == 0 {
		return store.KV{}, false, nil
	}
	return fromEtcd(res.Kvs[0]), true, nil
}

// Range implements store.Store. It reads in pages, all at the revision of the first.
func (s *Store) Range(ctx context.Context, from, to string, limit int) ([]store.KV, bool, error) {
	var out []store.KV
	var rev int64
	for {
		if err := s.usable(ctx); err != nil {
			return nil, false, err
		}
		n := page
		if limit > 0 {
			n = min(page, limit-len(out))
		}
		res, err := s.get(ctx, from, clientv3.WithRange(to), clientv3.WithLimit(int64(n)), clientv3.WithRev(rev))
		if err != nil {
			return nil, false, fmt.Errorf("%w: range from %s: %w", store.ErrUnavailable, from, err)
		}
		for _, kv := range res.Kvs {
			out = append(out, fromEtcd(kv))
		}
		if !res.More || len(res.Kvs) == 0 || len(out) == limit {
			return out, res.More, nil
		}
		rev = res.Header.Revision
		from = string(res.Kvs[len(res.Kvs)-1].Key) + "\x00"
	}
}

// get reads once, with patience.
func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if s.patience == 0 {
		return s.kv.Get(ctx, key, opts...)
	}
	patient, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	res, err := s.kv.Get(patient, key, opts...)
	if patient.Err() != nil && ctx.Err() == nil {
		// It is not the caller whose time has run out.
		return nil, fmt.Errorf("etcd did not answer in %v", s.patience)
	}
	return res, err
}

// Commit implements store.Store. Each branch is a nested transaction.
func (s *Store) Commit(ctx context.Context, txn store.Txn) (store.TxnResult, error) {
	if err := s.usable(ctx); err != nil {
		return store.TxnResult{}, err
	}
	if err := txn.Check(); err != nil {
		return store.TxnResult{}, err
	}
	res, err := s.propose(ctx, txn)
	if err != nil {
		return store.TxnResult{}, commitError(err)
	}
	out := store.TxnResult{Fenced: !res.Succeeded, Branches: make([]bool, len(txn.Branches)), Revision: res.Header.Revision}
	if out.Fenced {
		return out, nil
	}
	for i, r := range res.Responses {
		nested, ok := r.Response.(*pb.ResponseOp_ResponseTxn)
		out.Branches[i] = ok && nested.ResponseTxn.Succeeded
	}
	return out, nil
}

func (s *Store) propose(ctx context.Context, txn store.Txn) (*pb.TxnResponse, error) {
	if s.server != nil {
		return s.direct(ctx, txn)
	}
	ops := make([]clientv3.Op, len(txn.Branches))
	for i, b := range txn.Branches {
		ops[i] = clientv3.OpTxn(compares(b.Compares), writes(b.Ops), nil)
	}
	res, err := s.kv.Txn(ctx).If(compares(txn.Fence)...).Then(ops...).Commit()
	return (*pb.TxnResponse)(res), err //nolint:wrapcheck // Commit sorts and wraps it
}

// Close implements store.Store; the client stays open for its owner to close.
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return fmt.Errorf("%w: closed", store.ErrUnavailable)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return nil
}

// refusedTyped are the answers that etcd gives before it proposes, or instead of applying: the transaction did nothing.
var refusedTyped = []error{rpctypes.ErrTooManyRequests, rpctypes.ErrNoSpace, rpctypes.ErrNotCapable, rpctypes.ErrPermissionDenied, rpctypes.ErrAuthFailed,
	rpctypes.ErrInvalidAuthToken}

// invalidTyped are refusals that no repetition cures.
var invalidTyped = []error{rpctypes.ErrTooManyOps, rpctypes.ErrDuplicateKey, rpctypes.ErrRequestTooLarge, rpctypes.ErrEmptyKey}

// commitError sorts etcd's errors by type. Whatever is not known to have done nothing may still happen.
func commitError(err error) error {
	for _, e := range invalidTyped {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", store.ErrInvalid, err)
		}
	}
	for _, e := range refusedTyped {
		if errors.Is(err, e) {
			return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
		}
	}
	return fmt.Errorf("%w: %w", store.ErrUnknown, err)
}

func compares(cs []store.Compare) []clientv3.Cmp {
	out := make([]clientv3.Cmp, len(cs))
	for i, c := range cs {
		revision := clientv3.ModRevision(c.Key)
		if c.Create {
			revision = clientv3.CreateRevision(c.Key)
		}
		out[i] = clientv3.Compare(revision, "=", c.Revision)
	}
	return out
}

func writes(ops []store.Op) []clientv3.Op {
	out := make([]clientv3.Op, len(ops))
	for i, op := range ops {
		switch {
		case op.To != "":
			out[i] = clientv3.OpDelete(op.Key, clientv3.WithRange(op.To))
		case op.Delete:
			out[i] = clientv3.OpDelete(op.Key)
		default:
			out[i] = clientv3.OpPut(op.Key, string(op.Value))
		}
	}
	return out
}

func fromEtcd(kv *mvccpb.KeyValue) store.KV {
	return store.KV{Key: string(kv.Key), Value: kv.Value, CreateRevision: kv.CreateRevision, ModRevision: kv.ModRevision}
}
