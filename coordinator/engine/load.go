package engine

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/id"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// oldestTail is how long ago a run may have been created whose attempts' agents may still call: it ended lately, but may have been long.
const oldestTail = 48 * time.Hour

// load reads the truth. Every grace clock starts anew: the time without a leader is nobody's fault.
func (e *Engine) load(ctx context.Context) error {
	e.c.Metrics.begin()
	e.c.Plans = &cachedPlans{PlanLoader: e.c.Plans, plans: map[string]*planv1.Plan{}}
	numbers, err := newestNumbers(ctx, e.c.Store)
	if err != nil {
		return fmt.Errorf("load run numbers: %w", err)
	}
	e.numbers = numbers
	if err := e.loadAgents(ctx); err != nil {
		return err
	}
	kvs, _, err := e.c.Store.Range(ctx, livePrefix, store.PrefixEnd(livePrefix), 0)
	if err != nil {
		return fmt.Errorf("load live runs: %w", err)
	}
	reader := newRunReader(e.c.Store)
	for _, kv := range kvs {
		if err := e.loadRun(ctx, reader, strings.TrimPrefix(kv.Key, livePrefix)); err != nil {
			return err
		}
	}
	if err := e.loadGroups(ctx); err != nil {
		return err
	}
	if err := e.loadTail(ctx); err != nil {
		return err
	}
	e.c.Log.Info("loaded", "runs", len(e.runs), "attempts", len(e.attempts), "agents", len(e.agents))
	for _, kv := range kvs {
		if r := e.runs[strings.TrimPrefix(kv.Key, livePrefix)]; r != nil {
			e.enqueue(r, e.resume)
		}
	}
	e.settleGroups()
	e.scheduleDue = true
	return nil
}

func (e *Engine) loadAgents(ctx context.Context) error {
	kvs, _, err := e.c.Store.Range(ctx, agentPrefix, store.PrefixEnd(agentPrefix), 0)
	if err != nil {
		return fmt.Errorf("load agents: %w", err)
	}
	for _, kv := range kvs {
		rec := &statev1.AgentRecord{}
		if err := decode(kv, rec); err != nil {
			return fmt.Errorf("load agents: %w", err)
		}
		a := e.agent(rec.GetId())
		a.rec, a.stored, a.rev = rec, proto.CloneOf(rec), kv.ModRevision
	}
	return e.loadRemoved(ctx)
}

func (e *Engine) loadRun(ctx context.Context, reader *runReader, id string) error {
	stored, err := reader.read(ctx, id)
	if err != nil {
		return fmt.Errorf("load run %s: %w", id, err)
	}
	if stored == nil {
		e.c.Log.Error("a live run has no header; it is left alone", "run", id)
		return nil
	}
	plan, err := e.c.Plans.LoadPlan(ctx, stored.def.GetPlanDigest())
	if errors.Is(err, blob.ErrNotFound) {
		e.c.Log.Error("a live run's plan is gone from the blob store; the run is left alone until it is restored", "run", id, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("load run %s: %w", id, err)
	}
	r, err := newRun(stored.def, plan, stored.header.GetNumber())
	if err != nil {
		e.c.Log.Error("a live run's plan can't be used; the run is left alone", "run", id, "error", err)
		return nil
	}
	r.header, r.headerRev = stored.header, stored.headerRev
	if r.header.GetState() == corev1.RunState_RUN_STATE_CREATING {
		if err := e.loadEarlier(ctx, r); err != nil {
			return err
		}
	}
	for _, j := range stored.jobs {
		r.jobs[j.rec.GetId()] = &jobEntry{rec: j.rec, rev: j.rev}
	}
	r.sortOrder()
	e.adopt(r)
	if !r.terminal() { // then only a hold of it is live
		e.c.Metrics.runMoved(corev1.RunState_RUN_STATE_UNSPECIFIED, r.header.GetState(), false)
	}
	for _, j := range stored.jobs {
		e.loadAttempt(r, j.rec)
	}
	return nil
}

func (e *Engine) loadAttempt(r *run, rec *statev1.JobRecord) {
	a := rec.GetAttempt()
	if a == nil || rec.GetKeptFrom() != "" {
		return
	}
	ref := refOf(r.def, rec)
	if lifecycle.Attempt.IsTerminal(a.GetState()) {
		if ref.done {
			e.remember(ref)
			e.loadHold(r, rec, ref)
		}
		return
	}
	e.attempts[ref.id] = ref
	held := reservation{runID: r.id, jobID: rec.GetId(), project: ref.project, sinceMS: a.GetOfferedMs()}
	if w, err := e.wantsNow(r, rec); err == nil {
		held.cpu, held.memory = w.cpu, w.memory
	}
	e.agent(ref.agentID).hold(ref.id, held)
}

func refOf(def *statev1.RunDefinition, rec *statev1.JobRecord) *attemptRef {
	a := rec.GetAttempt()
	ref := &attemptRef{id: a.GetId(), runID: rec.GetRunId(), jobID: rec.GetId(), agentID: a.GetAgentId(), project: def.GetProject(),
		source: def.GetSource().GetTree(), endedMS: rec.GetEndedMs(), done: a.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE,
		mayHold: def.GetHoldMs() > 0}
	if len(a.GetTokenHash()) == sha256.Size {
		ref.tokenHash = [sha256.Size]byte(a.GetTokenHash())
	}
	return ref
}

// loadTail remembers the attempts of runs that ended lately. Those that were sealed since have all their logs.
func (e *Engine) loadTail(ctx context.Context) error {
	now := e.c.Clock.Now()
	kvs, _, err := e.c.Store.Range(ctx, runKey(id.First(now.Add(-oldestTail))), store.PrefixEnd(runPrefix), 0)
	if err != nil {
		return fmt.Errorf("load ended runs: %w", err)
	}
	reader := newRunReader(e.c.Store)
	for _, kv := range kvs[max(0, len(kvs)-tailMax):] { // no more are remembered
		header := &statev1.RunHeader{}
		if err := decode(kv, header); err != nil {
			return fmt.Errorf("load ended runs: %w", err)
		}
		if e.runs[header.GetId()] != nil || now.UnixMilli()-header.GetEndedMs() > tailMS {
			continue
		}
		stored, err := reader.read(ctx, header.GetId())
		if err != nil {
			return fmt.Errorf("load ended run %s: %w", header.GetId(), err)
		}
		if stored == nil {
			continue // it has been sealed since
		}
		for _, j := range stored.jobs {
			if j.rec.GetAttempt() == nil || j.rec.GetKeptFrom() != "" {
				continue
			}
			if ref := refOf(stored.def, j.rec); ref.done {
				e.remember(ref)
			}
		}
	}
	return nil
}

// resume goes on where the last leader stopped: it finishes a creation, and follows the graph.
func (e *Engine) resume(d *draft) {
	d.closeOrphans()
	if d.r.terminal() {
		return
	}
	if d.head().GetState() == corev1.RunState_RUN_STATE_CREATING {
		// Records of an unfinished creation may be there in part; they are made again, the same.
		d.editHead()
		for _, id := range d.r.order {
			d.drop(id)
		}
		e.create(d)
	}
	if d.head().GetState() == corev1.RunState_RUN_STATE_CANCELLING {
		// The cancel of a wide run takes several transactions, and the last leader may have died between two.
		d.cancelBegun(cancelMessage(d.head()), func(*statev1.JobRecord) bool { return true })
	}
	d.graphDue = true
}
