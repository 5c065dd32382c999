// Package leader elects the one coordinator that may write run state.
//
// A lease does not exclude: a paused holder still thinks that it holds. So leadership has two guards. Every write carries
// the Term's Fence, which the store compares, and every answer from memory asks Valid first, which says no some time before the lease can
// have run out.
//
//	Campaign ──won──▶ Term ──(keep-alive fails: Valid turns false)──▶ Done closed ──▶ Campaign again
//	                    └──Close: the key is deleted, the next candidate wins at once
package leader

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// Elector takes part in the election. One Campaign at a time.
type Elector interface {
	// Campaign waits until this coordinator leads, or ctx ends. The term lives on after ctx ends; Close it.
	Campaign(ctx context.Context) (Term, error)
}

// Term is one uninterrupted time of leading. Safe for concurrent use.
type Term interface {
	// Fence holds in the store for as long as this term is the current one. Every transaction carries it.
	Fence() []store.Compare
	// Valid says whether memory may still be trusted: the time since before the last successful renewal is within the trust window.
	Valid() bool
	// Done is closed when the term is over, by loss or Close.
	Done() <-chan struct{}
	// Close hands over: the election key is deleted, so that the next candidate wins without waiting for the lease. Idempotent.
	Close(ctx context.Context) error
}
