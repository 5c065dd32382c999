package engine

import (
	"slices"
	"time"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

const (
	// tailMS is how long the attempts of ended jobs are remembered, tailMax how many.
	tailMS  = 60 * 60 * 1000
	tailMax = 20000
)

// armTick looks at the deadlines every Tick.
func (e *Engine) armTick() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isDone() {
		return
	}
	e.stopTimer = e.c.Clock.AfterFunc(e.c.Tick, func() {
		// Armed again first, so that a simulated clock sees every tick of a long advance.
		e.armTick()
		e.post(e.tick)
	})
}

// tick ends sessions without heartbeats, loses the attempts of agents that stay away, and looks again at jobs that wait for a time.
func (e *Engine) tick() {
	now := e.c.Clock.Now()
	ids := make([]string, 0, len(e.agents))
	for id := range e.agents {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		a := e.agents[id]
		if a.session != nil && now.Sub(a.lastSeen) >= e.c.SessionDeadline {
			e.disconnect(a, "no heartbeat for "+e.c.SessionDeadline.String())
		}
		if a.session == nil && len(a.held) > 0 && now.Sub(a.awaySince) >= e.c.Grace {
			e.loseAll(a, now.Sub(a.awaySince))
		}
		e.lookAtDrain(a)
	}
	e.lookAtHolds()
	e.forgetTail(now.UnixMilli())
	e.c.Metrics.demand.set(e.queue.jobs.Demand(), now.UnixMilli())
	if e.queue.jobs.Len()+len(e.queue.timed) > 0 {
		e.scheduleDue, e.queue.tell = true, true
	}
}

// loseAll gives up the attempts of an agent that has been away for longer than their grace.
func (e *Engine) loseAll(a *agent, away time.Duration) {
	ids := make([]string, 0, len(a.held))
	for id := range a.held {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		ref := e.attempts[id]
		if ref == nil || e.runs[ref.runID] == nil {
			continue
		}
		grace := e.graceOf(e.runs[ref.runID], ref.jobID)
		if away < grace {
			continue
		}
		e.enqueue(e.runs[ref.runID], func(d *draft) {
			// It may have come back while this waited for a commit.
			if a.session != nil {
				return
			}
			d.lose(ref, "its agent was away for longer than the grace of "+grace.String())
		})
	}
}

// attemptDone keeps a finished attempt for late log bytes and repeated reports.
func (e *Engine) attemptDone(ref *attemptRef) {
	ref.done, ref.endedMS = true, e.nowMS()
	delete(e.attempts, ref.id)
	e.remember(ref)
}

func (e *Engine) remember(ref *attemptRef) {
	e.tail[ref.id] = ref
	e.tailFIFO = append(e.tailFIFO, ref.id)
}

func (e *Engine) forgetTail(now int64) {
	for len(e.tailFIFO) > 0 {
		ref := e.tail[e.tailFIFO[0]]
		if ref != nil && now-ref.endedMS < tailMS && len(e.tailFIFO) <= tailMax {
			return
		}
		delete(e.tail, e.tailFIFO[0])
		e.tailFIFO = e.tailFIFO[1:]
	}
}

// retire lets an ended run leave the memory; it stays readable from the store until it is sealed.
func (e *Engine) retire(r *run) {
	for _, id := range r.order {
		att := r.jobs[id].rec.GetAttempt()
		if att != nil && att.GetState() != corev1.AttemptState_ATTEMPT_STATE_DONE {
			delete(e.attempts, att.GetId())
		}
	}
	e.publish(r)
	delete(e.runs, r.id)
	if e.c.Sealer != nil {
		e.c.Sealer(r.id, r.header.GetEndedMs())
	}
}
