package identity

import (
	"context"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// removedPrefix holds the agents that an operator removed: their certificates count no more, although they have not ended yet.
const removedPrefix = "/slipway/v1/removed/"

const (
	// recheck is how long an agent is let in without looking again: what a removal may take to be seen by a coordinator that did not do it.
	recheck = 2 * time.Second
	// maxChecked bounds what is remembered.
	maxChecked = 50_000
)

// removals knows which agents were removed. Safe for concurrent use.
type removals struct {
	store store.Store
	clock clock.Clock

	mu sync.Mutex
	// checked says until when an agent needs no look.
	checked map[string]time.Time
}

func newRemovals(s store.Store, c clock.Clock) *removals {
	return &removals{store: s, clock: c, checked: map[string]time.Time{}}
}

// check refuses an agent that was removed.
func (r *removals) check(ctx context.Context, id string) error {
	now := r.clock.Now()
	r.mu.Lock()
	until := r.checked[id]
	r.mu.Unlock()
	if now.Before(until) {
		return nil
	}
	if err := notRemoved(ctx, r.store, id); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.checked) >= maxChecked {
		clear(r.checked)
	}
	r.checked[id] = now.Add(recheck)
	return nil
}

// notRemoved fails for an agent that an operator removed, also if it comes again with the key that it had.
func notRemoved(ctx context.Context, s store.Store, id string) error {
	_, removed, err := s.Get(ctx, removedPrefix+id)
	if err != nil {
		return unavailable(err)
	}
	if removed {
		return rpcerr.New(rpcerr.AgentRemoved, "agent %s was removed from this coordinator; to use its host again, delete the agent's identity directory and let it join with a new token", id)
	}
	return nil
}
