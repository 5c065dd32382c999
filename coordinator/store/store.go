// Package store is the coordinator's ordered key-value store: what etcd gives, and no more.
// Implementations: etcdstore (etcd, embedded or external) and memstore (tests, simulation). Both pass storetest.Run.
package store

import (
	"context"
	"errors"
)

// ErrUnavailable: the store can't be reached now; the call did nothing.
var ErrUnavailable = errors.New("store: unavailable")

// ErrUnknown: the transaction may or may not have happened, now or later. Propose the same compares again until the answer is definite.
var ErrUnknown = errors.New("store: outcome unknown")

// KV is one key with its value and revisions (as etcd defines them).
type KV struct {
	Key            string
	Value          []byte
	CreateRevision int64
	ModRevision    int64
}

// Compare holds if the key's revision equals. ModRevision 0 means that the key is absent.
type Compare struct {
	Key string
	// Create compares CreateRevision instead of ModRevision.
	Create   bool
	Revision int64
}

// Op writes or deletes one key. A key occurs at most once in a transaction.
type Op struct {
	Key    string
	Value  []byte
	Delete bool
	// To, of a Delete, deletes every key in [Key, To) instead of one. No other Op of the transaction names a key in it.
	To string
}

// Branch is a nested transaction: its Ops are done if all its Compares hold; otherwise only it fails.
type Branch struct {
	Compares []Compare
	Ops      []Op
}

// Txn does Branches, each on its own compares, if all Fence compares hold; otherwise nothing.
type Txn struct {
	Fence    []Compare
	Branches []Branch
}

// TxnResult says what happened. Branches is as long as Txn.Branches, all false if Fenced.
type TxnResult struct {
	// Fenced: a Fence compare failed.
	Fenced   bool
	Branches []bool
	// Revision of the store after the transaction; the ModRevision of every key written.
	Revision int64
}

// Store is safe for concurrent use. Reads are linearizable.
type Store interface {
	Get(ctx context.Context, key string) (kv KV, found bool, err error)
	// Range returns keys in [from, to) in order, at most limit (0: all), and whether there are more.
	Range(ctx context.Context, from, to string, limit int) (kvs []KV, more bool, err error)
	Commit(ctx context.Context, txn Txn) (TxnResult, error)
	Close() error
}
