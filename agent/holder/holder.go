// Package holder holds a host's attempts between sessions: it answers the coordinator through session.Handler, runs an actor for each attempt, and
// removes what belongs to none.
package holder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/agent/runner"
	"github.com/slipway-ci/slipway/agent/session"
	"github.com/slipway-ci/slipway/agent/state"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Config is what a Holder works with.
type Config struct {
	// Deps of the attempts.
	Deps runner.Deps
	// Slots is how many jobs run at once.
	Slots int
	// Go, if set, begins the goroutine of an attempt's actor, for simulations.
	Go func(attemptID string, f func())
	// Forget drops the report of an attempt that the coordinator does not want to hear of.
	Forget func(attemptID string)
}

// Holder implements session.Handler. Safe for concurrent use.
type Holder struct {
	cfg Config
	// ctx is the life of the actors.
	ctx    context.Context //nolint:containedctx // actors begin whenever an offer comes
	actors sync.WaitGroup

	mu sync.Mutex
	// attempts that run; records are those of an earlier process that no coordinator has named yet.
	attempts map[string]*runner.Attempt
	records  map[string]*state.Record
	swept    bool
	closing  closing
}

var _ session.Handler = (*Holder)(nil)

// New returns a holder of what an earlier process left on record. Start it before its session runs.
func New(records map[string]*state.Record) *Holder {
	h := &Holder{attempts: map[string]*runner.Attempt{}, records: records, closing: closing{empty: make(chan struct{})}}
	h.countLocked()
	return h
}

// Start gives it what it works with. Its actors live until ctx ends: the attempts live on in their pods.
func (h *Holder) Start(ctx context.Context, c Config) { h.ctx, h.cfg = ctx, c }

// Wait returns when every actor has.
func (h *Holder) Wait() { h.actors.Wait() }

// Held implements session.Handler.
func (h *Holder) Held() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	ids := make([]string, 0, len(h.attempts)+len(h.records))
	for id := range h.attempts {
		ids = append(ids, id)
	}
	for id := range h.records {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Welcome implements session.Handler: it goes on with the attempts that live, and ends every other one.
func (h *Holder) Welcome(live []string) {
	lives := map[string]bool{}
	for _, id := range live {
		lives[id] = true
	}
	h.mu.Lock()
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		r := h.records[id]
		if !lives[id] {
			continue
		}
		t, err := runner.Resume(h.cfg.Deps, r)
		if err != nil {
			// It stays on record: another version may be able to.
			h.cfg.Deps.Log.Error("an attempt can't be resumed", "run", r.Assignment.GetRunId(), "job", r.Assignment.GetJobId(), "attempt", id, "error", err)
			continue
		}
		h.cfg.Deps.Log.Info("resuming an attempt", "run", r.Assignment.GetRunId(), "job", r.Assignment.GetJobId(), "attempt", id, "phase", r.Progress.Phase, "steps", len(r.Progress.Steps))
		h.startLocked(t)
		delete(h.records, id)
	}
	var dead []*runner.Attempt
	for _, id := range slices.Sorted(maps.Keys(h.attempts)) {
		if !lives[id] {
			dead = append(dead, h.attempts[id])
		}
	}
	sweep := !h.swept
	h.swept = true
	var gone []string
	for _, id := range slices.Sorted(maps.Keys(h.records)) {
		if !lives[id] {
			gone = append(gone, id)
			delete(h.records, id)
		}
	}
	h.countLocked()
	h.mu.Unlock()
	for _, t := range dead {
		h.cfg.Forget(t.ID())
		t.Kill("the coordinator does not name it among the live attempts")
	}
	for _, id := range gone {
		h.dropRecord(id)
	}
	if sweep || len(gone) > 0 {
		h.actors.Go(func() { h.sweep(h.ctx, lives) })
	}
}

// startLocked runs an actor; the caller holds mu.
func (h *Holder) startLocked(t *runner.Attempt) {
	h.attempts[t.ID()] = t
	// Offers and welcomes come over a live session.
	t.Renew(h.cfg.Deps.Clock.Now())
	h.begin(t.ID(), func() {
		t.Run(h.ctx)
		if h.ctx.Err() != nil {
			return
		}
		// It may have reported after it was fenced, before it knew.
		h.cfg.Forget(t.ID())
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.attempts[t.ID()] == t {
			delete(h.attempts, t.ID())
			h.countLocked()
		}
	})
}

func (h *Holder) begin(id string, f func()) {
	if h.cfg.Go == nil {
		h.actors.Go(f)
		return
	}
	h.actors.Add(1)
	h.cfg.Go(id, func() {
		defer h.actors.Done()
		f()
	})
}

// sweep removes pods and directories that belong to no attempt. It runs only after a coordinator has named the live ones.
func (h *Holder) sweep(ctx context.Context, lives map[string]bool) {
	for n := 0; ; n++ {
		err := h.sweepOnce(ctx, lives)
		if err == nil || ctx.Err() != nil {
			return
		}
		h.cfg.Deps.Log.Error("cleaning up after an earlier agent failed", "error", err, "try", n+1)
		again := make(chan struct{})
		stop := h.cfg.Deps.Clock.AfterFunc(min(time.Minute, time.Second<<min(n, 6)), func() { close(again) })
		select {
		case <-again:
		case <-ctx.Done():
			stop()
			return
		}
	}
}

func (h *Holder) sweepOnce(ctx context.Context, lives map[string]bool) error {
	pods, err := h.cfg.Deps.Sandbox.List(ctx)
	if err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	var errs []error
	for _, id := range pods {
		if h.keeps(id, lives) {
			continue
		}
		h.cfg.Deps.Log.Info("removing a pod that no coordinator names", "pod", id)
		errs = append(errs, h.cfg.Deps.Sandbox.Remove(ctx, id))
	}
	others, err := h.cfg.Deps.Layout.Others(nil)
	errs = append(errs, err)
	for _, id := range others {
		if h.keeps(id, lives) {
			continue
		}
		d, err := h.cfg.Deps.Layout.Attempt(id)
		if err == nil {
			err = d.Remove()
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// keeps says whether an attempt is held now or was named live.
func (h *Holder) keeps(id string, lives map[string]bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return lives[id] || h.attempts[id] != nil || h.records[id] != nil
}

// Offer implements session.Handler.
func (h *Holder) Offer(as *fleetv1.Assignment) (accepted bool, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := as.GetAttemptId()
	if h.attempts[id] != nil {
		// The first answer was lost.
		return true, ""
	}
	if h.closing.reason != "" {
		return false, "the agent takes no work: " + h.closing.reason
	}
	if len(h.attempts) >= maxHeld(h.cfg.Slots) {
		return false, fmt.Sprintf("all %d slots of this agent are taken", h.cfg.Slots)
	}
	t, err := runner.New(h.cfg.Deps, as)
	if err != nil {
		h.cfg.Deps.Log.Error("an offered attempt can't be taken", "run", as.GetRunId(), "job", as.GetJobId(), "attempt", id, "error", err)
		return false, err.Error()
	}
	h.cfg.Deps.Log.Info("attempt taken", "run", as.GetRunId(), "job", as.GetJobId(), "attempt", id, "number", as.GetAttempt())
	h.startLocked(t)
	h.countLocked()
	return true, ""
}

// maxHeld leaves room beyond the slots for attempts that are done but not settled: the coordinator counts their slots as
// free the moment that their result is committed.
func maxHeld(slots int) int { return 2*slots + 8 }

// Leased is whether an attempt lives on a lease.
func (h *Holder) Leased() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.attempts {
		if t.Leased() {
			return true
		}
	}
	return false
}

// Renew extends every lease: at contact the coordinator still knew that this agent was there.
func (h *Holder) Renew(contact time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range h.attempts {
		t.Renew(contact)
	}
}

func (h *Holder) attempt(id string) *runner.Attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.attempts[id]
}

// Cancel implements session.Handler.
func (h *Holder) Cancel(id, reason string) {
	if t := h.attempt(id); t != nil {
		t.Cancel(reason)
	}
}

// Kill implements session.Handler. An attempt that could not be resumed has no actor, but perhaps a pod.
func (h *Holder) Kill(id, reason string) {
	h.mu.Lock()
	t, left := h.attempts[id], h.records[id] != nil
	delete(h.records, id)
	h.countLocked()
	h.mu.Unlock()
	if t != nil {
		t.Kill(reason)
	}
	if left {
		h.dropRecord(id)
		h.actors.Go(func() { h.sweep(h.ctx, nil) })
	}
}

func (h *Holder) dropRecord(id string) {
	if err := h.cfg.Deps.DB.Delete(id); err != nil {
		h.cfg.Deps.Log.Error("the record of a dead attempt could not be removed", "attempt", id, "error", err)
	}
}

// Acked implements session.Handler.
func (h *Holder) Acked(id string, seq uint64) {
	if t := h.attempt(id); t != nil {
		t.Acked(seq)
	}
}
