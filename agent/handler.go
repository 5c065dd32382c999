package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/agent/runner"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Held implements session.Handler.
func (a *Agent) Held() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := make([]string, 0, len(a.attempts)+len(a.records))
	for id := range a.attempts {
		ids = append(ids, id)
	}
	for id := range a.records {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Welcome implements session.Handler: it goes on with the attempts that live, and ends every other one.
func (a *Agent) Welcome(live []string) {
	lives := map[string]bool{}
	for _, id := range live {
		lives[id] = true
	}
	a.mu.Lock()
	for id, r := range a.records {
		if !lives[id] {
			continue
		}
		t, err := runner.Resume(a.deps, r)
		if err != nil {
			// It stays on record: another version may be able to.
			a.log.Error("an attempt can't be resumed", "run", r.Assignment.GetRunId(), "job", r.Assignment.GetJobId(), "attempt", id, "error", err)
			continue
		}
		a.log.Info("resuming an attempt", "run", r.Assignment.GetRunId(), "job", r.Assignment.GetJobId(), "attempt", id, "phase", r.Progress.Phase, "steps", len(r.Progress.Steps))
		a.startLocked(t)
		delete(a.records, id)
	}
	var dead []*runner.Attempt
	for id, t := range a.attempts {
		if !lives[id] {
			dead = append(dead, t)
		}
	}
	sweep := !a.swept
	a.swept = true
	var gone []string
	for id := range a.records {
		if !lives[id] {
			gone = append(gone, id)
			delete(a.records, id)
		}
	}
	a.mu.Unlock()
	for _, t := range dead {
		a.session.Forget(t.ID())
		t.Kill("the coordinator does not name it among the live attempts")
	}
	for _, id := range gone {
		a.dropRecord(id)
	}
	if sweep || len(gone) > 0 {
		a.actors.Go(func() { a.sweep(a.ctx, lives) })
	}
}

// startLocked runs an actor; the caller holds mu.
func (a *Agent) startLocked(t *runner.Attempt) {
	a.attempts[t.ID()] = t
	a.actors.Go(func() {
		t.Run(a.ctx)
		if a.ctx.Err() != nil {
			return
		}
		// It may have reported after it was fenced, before it knew.
		a.session.Forget(t.ID())
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.attempts[t.ID()] == t {
			delete(a.attempts, t.ID())
		}
	})
}

// sweep removes pods and directories that belong to no attempt. It runs only after a coordinator has named the live ones.
func (a *Agent) sweep(ctx context.Context, lives map[string]bool) {
	for n := 0; ; n++ {
		err := a.sweepOnce(ctx, lives)
		if err == nil || ctx.Err() != nil {
			return
		}
		a.log.Error("cleaning up after an earlier agent failed", "error", err, "try", n+1)
		select {
		case <-time.After(min(time.Minute, time.Second<<min(n, 6))):
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) sweepOnce(ctx context.Context, lives map[string]bool) error {
	pods, err := a.sandbox.List(ctx)
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	var errs []error
	for _, id := range pods {
		if a.keeps(id, lives) {
			continue
		}
		a.log.Info("removing a pod that no coordinator names", "pod", id)
		errs = append(errs, a.sandbox.Remove(ctx, id))
	}
	others, err := a.layout.Others(nil)
	errs = append(errs, err)
	for _, id := range others {
		if a.keeps(id, lives) {
			continue
		}
		d, err := a.layout.Attempt(id)
		if err == nil {
			err = d.Remove()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// keeps says whether an attempt is held now or was named live.
func (a *Agent) keeps(id string, lives map[string]bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return lives[id] || a.attempts[id] != nil || a.records[id] != nil
}

// Offer implements session.Handler.
func (a *Agent) Offer(as *fleetv1.Assignment) (accepted bool, reason string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := as.GetAttemptId()
	if a.attempts[id] != nil {
		// The first answer was lost.
		return true, ""
	}
	if len(a.attempts) >= maxHeld(a.cfg.Slots) {
		return false, fmt.Sprintf("all %d slots of this agent are taken", a.cfg.Slots)
	}
	t, err := runner.New(a.deps, as)
	if err != nil {
		a.log.Error("an offered attempt can't be taken", "run", as.GetRunId(), "job", as.GetJobId(), "attempt", id, "error", err)
		return false, err.Error()
	}
	a.log.Info("attempt taken", "run", as.GetRunId(), "job", as.GetJobId(), "attempt", id, "number", as.GetAttempt())
	a.startLocked(t)
	return true, ""
}

// maxHeld leaves room beyond the slots for attempts that are done but not settled: the coordinator counts their slots as
// free the moment that their result is committed.
func maxHeld(slots int) int { return 2*slots + 8 }

func (a *Agent) attempt(id string) *runner.Attempt {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.attempts[id]
}

// Cancel implements session.Handler.
func (a *Agent) Cancel(id, reason string) {
	if t := a.attempt(id); t != nil {
		t.Cancel(reason)
	}
}

// Kill implements session.Handler. An attempt that could not be resumed has no actor, but perhaps a pod.
func (a *Agent) Kill(id, reason string) {
	a.mu.Lock()
	t, left := a.attempts[id], a.records[id] != nil
	delete(a.records, id)
	a.mu.Unlock()
	if t != nil {
		t.Kill(reason)
	}
	if left {
		a.dropRecord(id)
		a.actors.Go(func() { a.sweep(a.ctx, nil) })
	}
}

func (a *Agent) dropRecord(id string) {
	if err := a.db.Delete(id); err != nil {
		a.log.Error("the record of a dead attempt could not be removed", "attempt", id, "error", err)
	}
}

// Acked implements session.Handler.
func (a *Agent) Acked(id string, seq uint64) {
	if t := a.attempt(id); t != nil {
		t.Acked(seq)
	}
}
