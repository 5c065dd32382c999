package archive

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/coordinator/engine"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// lookEvery is how often the index is brought to where the chains are though nothing is known to have failed.
const lookEvery = 10 * time.Minute

// behind: the index may not be where the chains are, or what is known of the chains not be so.
func (a *Archiver) behind() { a.look, a.chains = time.Time{}, nil }

// catchUp brings the index to where the chains are, if that is due. A batch that failed may have been sealed all the same, or will be, and its
// entries may have places that others took: while the index isn't right nothing is removed, so this must not wait for the next term.
func (a *Archiver) catchUp(ctx context.Context) error {
	if a.c.Clock.Now().Before(a.look) {
		return nil
	}
	chains, err := engine.Chains(ctx, a.c.Store)
	if err != nil {
		return fmt.Errorf("reading the heads of the chains: %w", err)
	}
	for {
		heads := make(map[string]*statev1.ChainHead, len(chains))
		for project, chain := range chains {
			heads[project] = chain.Head
		}
		added, err := a.c.Index.Follow(ctx, heads)
		if added > 0 {
			a.c.Log.Info("finished runs were added to the index", "runs", added)
		}
		if err != nil {
			// Runs can be sealed all the same: they are added to what can be read.
			wait := growing(a.lookFailures)
			a.lookFailures++
			a.look = a.c.Clock.Now().Add(wait)
			a.c.Log.Error("the index of finished runs can't be brought to where their chains are, so nothing is removed; see `slipway admin check`", "error", err, "again in", wait)
			return nil
		}
		before := chains
		if chains, err = engine.Chains(ctx, a.c.Store); err != nil {
			return fmt.Errorf("reading the heads of the chains: %w", err)
		}
		if sameHeads(before, chains) {
			break
		}
		// Follow may have added again what expired meanwhile.
	}
	a.chains, a.lookFailures, a.look = chains, 0, a.c.Clock.Now().Add(lookEvery)
	return nil
}

func sameHeads(x, y map[string]engine.Chain) bool {
	for project, chain := range y {
		if x[project].Revision != chain.Revision {
			return false
		}
	}
	return len(x) == len(y)
}

// growing is the wait after a number of failures in a row before this one.
func growing(failures int) time.Duration { return min(pause<<min(failures, 16), lostPause) }
