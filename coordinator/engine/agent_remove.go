package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// removedFor is how long it is remembered that an agent was removed: longer than any certificate lasts, which can't be renewed any more.
const removedFor = 7 * 24 * time.Hour

// RemoveAgent implements AgentControl.
func (e *Engine) RemoveAgent(ctx context.Context, r RemoveRequest) (string, error) {
	var id string
	err := e.ask(ctx, func(reply func(error)) {
		for _, gone := range e.removed {
			if r.RequestID != "" && gone.GetRequestId() == r.RequestID {
				id = gone.GetId()
				reply(nil)
				return
			}
		}
		a, err := e.findWhole(r.Agent)
		if err == nil && a.removing {
			err = rpcerr.New(rpcerr.InUse, "agent %s is being removed already", a.rec.GetId())
		}
		if err == nil && len(a.held) > 0 && !r.Force {
			err = e.stillHolds(a)
		}
		if err != nil {
			reply(err)
			return
		}
		id = a.rec.GetId()
		a.removing = true
		why := "agent " + id + " was removed by " + clip(r.By, maxLabel)
		e.endAgentsHolds(a, why, func() { e.loseHeld(a, why, func() { e.forgetAgent(a, r, reply) }) })
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

func (e *Engine) stillHolds(a *agent) error {
	var jobs []string
	for i, w := range e.workOf(a) {
		if i == 3 {
			jobs = append(jobs, "…")
			break
		}
		jobs = append(jobs, fmt.Sprintf("%s of run #%d", w.GetJobName(), w.GetRunNumber()))
	}
	return rpcerr.New(rpcerr.InUse, "agent %s has %d jobs (%s): let them end with `slipway agents drain %s --wait`, or remove it by force; then they are lost",
		a.rec.GetId(), len(a.held), strings.Join(jobs, ", "), a.rec.GetId())
}

// loseHeld loses everything that an agent has, and then calls next.
func (e *Engine) loseHeld(a *agent, why string, next func()) {
	ids := slices.Sorted(maps.Keys(a.held))
	left := 1
	done := func() {
		if left--; left == 0 {
			next()
		}
	}
	for _, id := range ids {
		r := e.runs[a.held[id].runID]
		if r == nil {
			continue
		}
		left++
		e.enqueue(r, func(d *draft) {
			// A placement that was on its way was not made, or is an attempt by now.
			if ref := e.attempts[id]; ref != nil {
				d.lose(ref, why)
			}
			d.then(done)
		})
	}
	done()
}

// forgetAgent replaces an agent's record by one that says that it was removed.
func (e *Engine) forgetAgent(a *agent, r RemoveRequest, reply func(error)) {
	if a.writing {
		// What is on its way first: it changes the revision.
		a.changes = append(a.changes, agentChange{func(*statev1.AgentRecord) {}, func(error) { e.forgetAgent(a, r, reply) }})
		return
	}
	id, now := a.rec.GetId(), e.c.Clock.Now()
	gone := &statev1.RemovedAgent{Id: id, Hostname: a.rec.GetHostname(), RemovedMs: now.UnixMilli(), By: clip(r.By, maxLabel),
		UntilMs: now.Add(removedFor).UnixMilli(), RequestId: r.RequestID}
	value, err := encode(gone)
	if err != nil {
		a.removing = false
		reply(rpcerr.New(rpcerr.Internal, "the record of agent %s can't be encoded: %v", id, err))
		return
	}
	a.writing = true
	err = e.commits.Propose(&commit.Transition{Compares: []store.Compare{{Key: agentKey(id), Revision: a.rev}},
		Ops: []store.Op{{Key: removedKey(id), Value: value}, {Key: agentKey(id), Delete: true}},
		Done: func(o commit.Outcome) {
			e.post(func() { e.agentForgotten(a, gone, r, o.Err, reply) })
		}})
	if err != nil {
		a.writing, a.removing = false, false
		reply(err)
	}
}

func (e *Engine) agentForgotten(a *agent, gone *statev1.RemovedAgent, r RemoveRequest, err error, reply func(error)) {
	a.writing = false
	switch {
	case errors.Is(err, commit.ErrConflict):
		a.changes = append(a.changes, agentChange{func(*statev1.AgentRecord) {}, func(err error) {
			if err != nil {
				a.removing = false
				reply(err)
				return
			}
			e.forgetAgent(a, r, reply)
		}})
		e.rereadAgent(a)
		return
	case err != nil:
		a.removing = false
		reply(commitError(err))
		return
	}
	e.removed[gone.GetId()] = gone
	delete(e.agents, gone.GetId())
	e.fleet = nil
	if a.session != nil {
		delete(e.sessions, a.session.ID)
		a.out.End(removedError(gone))
		a.session, a.out, a.ready = nil, nil, false
		e.countAgents()
	}
	finishChanges(a.changes, removedError(gone))
	a.changes = nil
	e.scheduleDue = true
	e.c.Log.Warn("agent removed", "agent", gone.GetId(), "hostname", gone.GetHostname(), "by", gone.GetBy())
	reply(nil)
}

func removedError(gone *statev1.RemovedAgent) error {
	return rpcerr.New(rpcerr.PermissionDenied, "agent %s was removed from this coordinator on %s by %s; to use the host again, delete the agent's identity directory and let it join with a new token",
		gone.GetId(), time.UnixMilli(gone.GetRemovedMs()).UTC().Format(time.RFC3339), gone.GetBy())
}

// loadRemoved reads which agents were removed, and forgets those whose certificates have all ended.
func (e *Engine) loadRemoved(ctx context.Context) error {
	kvs, _, err := e.c.Store.Range(ctx, removedPrefix, store.PrefixEnd(removedPrefix), 0)
	if err != nil {
		return fmt.Errorf("load removed agents: %w", err)
	}
	now := e.nowMS()
	for _, kv := range kvs {
		gone := &statev1.RemovedAgent{}
		if err := decode(kv, gone); err != nil {
			return fmt.Errorf("load removed agents: %w", err)
		}
		if now < gone.GetUntilMs() {
			e.removed[gone.GetId()] = gone
			continue
		}
		err := e.commits.Propose(&commit.Transition{Compares: []store.Compare{{Key: kv.Key, Revision: kv.ModRevision}}, Ops: []store.Op{{Key: kv.Key, Delete: true}},
			Done: func(o commit.Outcome) {
				if o.Err != nil {
					e.c.Log.Warn("the record of a removed agent stays", "agent", gone.GetId(), "error", o.Err)
				}
			}})
		if err != nil {
			return fmt.Errorf("load removed agents: %w", err)
		}
	}
	return nil
}
