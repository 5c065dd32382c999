package agent

import (
	"context"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/agent/state"
)

// problems are what is wrong with this agent, in words that say what to do; each begins with "degraded: ". It never waits.
func (a *Agent) problems() []string { return a.db.Problems() }

// lookAround is what an agent does now and then: it asks for free space, so that a heartbeat never waits for a disk, mends what it can, and says what is
// newly wrong, or not any more.
func (a *Agent) lookAround(said []string) []string {
	a.diskFree.Store(a.layout.DiskFree())
	a.db.Mend()
	now := a.problems()
	for _, p := range now {
		if !slices.Contains(said, p) {
			a.log.Error("agent: " + p)
		}
	}
	if len(now) == 0 && len(said) > 0 {
		a.log.Info("agent: no longer degraded", "was", said)
	}
	return now
}

// lookEvery is the time between two looks.
const lookEvery = 10 * time.Second

// watch looks around until stop.
func (a *Agent) watch(ctx context.Context) (stop func()) {
	said := a.lookAround(nil)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(lookEvery)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				said = a.lookAround(said)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// loadRecords returns the attempts that an earlier process left. Of a newer agent's, whose database this one can't read in full, every directory counts as
// one: the coordinator must not think that they are lost.
func (a *Agent) loadRecords() (map[string]*state.Record, error) {
	records, err := a.db.Load()
	if err != nil || !a.db.Foreign() {
		return records, err
	}
	dirs, err := a.layout.Others(nil)
	if err != nil {
		return nil, err
	}
	for _, id := range dirs {
		if records[id] == nil {
			records[id] = state.Bare(id)
		}
	}
	return records, nil
}
