package maintain

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
)

const (
	// RequestsKept is how long a repeated request gets its first answer.
	RequestsKept = 24 * time.Hour
	// requestsEvery is the time between two looks, requestsBatch how many go in one transaction.
	requestsEvery = 10 * time.Minute
	requestsBatch = 100
)

// Requests forgets what requests of long ago returned, under a leader's fence, until ctx ends.
type Requests struct {
	Store store.Store
	// Each calls f for every request's key and when it was made (Unix ms): engine.EachRequest, which this package must not know because
	// the engine's tests use the stores, and those implement Database.
	Each  func(ctx context.Context, s store.Store, f func(key string, createdMS int64) error) error
	Fence []store.Compare
	Clock clock.Clock
	Log   *slog.Logger
}

// Run looks every ten minutes.
func (r *Requests) Run(ctx context.Context) {
	for {
		wait := make(chan struct{})
		stop := r.Clock.AfterFunc(requestsEvery, func() { close(wait) })
		select {
		case <-ctx.Done():
			stop()
			return
		case <-wait:
		}
		if n, err := r.Step(ctx); err != nil && ctx.Err() == nil {
			r.Log.Warn("old request ids can't be removed now; trying again", "error", err)
		} else if n > 0 {
			r.Log.Debug("old request ids were removed", "requests", n)
		}
	}
}

// Step looks once and says how many were forgotten.
func (r *Requests) Step(ctx context.Context) (n int, err error) {
	before := r.Clock.Now().Add(-RequestsKept).UnixMilli()
	var old []store.Op
	remove := func() error {
		if len(old) == 0 {
			return nil
		}
		res, err := r.Store.Commit(ctx, store.Txn{Fence: r.Fence, Branches: []store.Branch{{Ops: old}}})
		if err != nil {
			return fmt.Errorf("removing old request ids: %w", err)
		}
		if res.Fenced {
			return fmt.Errorf("removing old request ids: no longer the leader")
		}
		n += len(old)
		old = nil
		return nil
	}
	err = r.Each(ctx, r.Store, func(key string, createdMS int64) error {
		if createdMS >= before {
			return nil
		}
		old = append(old, store.Op{Key: key, Delete: true})
		if len(old) < requestsBatch {
			return nil
		}
		return remove()
	})
	if err != nil {
		return n, err
	}
	return n, remove()
}
