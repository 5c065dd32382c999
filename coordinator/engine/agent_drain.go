package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// A drain in four steps: its record is committed, from then on the scheduler gives the agent nothing; what runs there goes on; at the deadline
// what is left is evicted: cancelled in order, and its job tried again elsewhere where that is safe; when the agent holds nothing, it is drained.

// DrainAgent implements AgentControl.
func (e *Engine) DrainAgent(ctx context.Context, r DrainRequest) (*apiv1.Agent, error) {
	var out *apiv1.Agent
	err := e.ask(ctx, func(reply func(error)) {
		a, err := e.findAgent(r.Agent)
		if err != nil {
			reply(err)
			return
		}
		now := e.nowMS()
		e.changeAgent(a, func(rec *statev1.AgentRecord) { drainRecord(rec, r, now) }, func(err error) {
			if err == nil {
				e.c.Log.Info("agent drains", "agent", a.rec.GetId(), "by", r.By, "deadline", r.Deadline, "reason", r.Reason, "holds", len(a.held))
				e.lookAtDrain(a)
				out = e.viewAgent(a, true)
			}
			reply(err)
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// drainRecord begins an operator's drain, or gives the one that is there another deadline and reason.
func drainRecord(rec *statev1.AgentRecord, r DrainRequest, now int64) {
	old := rec.GetDrain()
	if old != nil && !old.GetOwn() && old.GetRequestId() == r.RequestID {
		return
	}
	d := &statev1.Drain{SinceMs: now, By: clip(r.By, maxLabel), Reason: clip(r.Reason, maxText), RequestId: r.RequestID}
	if r.Deadline > 0 {
		d.DeadlineMs = now + r.Deadline.Milliseconds()
	}
	if old != nil {
		d.SinceMs, d.DrainedMs = old.GetSinceMs(), old.GetDrainedMs()
	}
	rec.Drain = d
}

// ownDrain takes over an agent's word about itself. An operator's drain is stronger and stays.
func ownDrain(rec *statev1.AgentRecord, d *fleetv1.Drain, now int64) {
	old := rec.GetDrain()
	switch {
	case old != nil && !old.GetOwn():
	case d == nil:
		rec.Drain = nil
	default:
		rec.Drain = &statev1.Drain{SinceMs: now, By: "the agent itself", Reason: clip(d.GetReason(), maxText), Own: true}
		if d.GetDeadlineMs() > 0 {
			rec.Drain.DeadlineMs = now + d.GetDeadlineMs()
		}
		if old != nil {
			rec.Drain.SinceMs = old.GetSinceMs()
		}
	}
}

// AgentDrains implements AgentControl.
func (e *Engine) AgentDrains(agentID, sessionID string, d *fleetv1.Drain) {
	e.post(func() {
		a := e.sessions[sessionID]
		if a == nil || a.rec.GetId() != agentID {
			return
		}
		now := e.nowMS()
		e.c.Log.Info("agent stops and drains", "agent", agentID, "reason", d.GetReason(), "holds", len(a.held))
		e.changeAgent(a, func(rec *statev1.AgentRecord) { ownDrain(rec, d, now) }, nil)
	})
}

// AgentCondition implements AgentControl.
func (e *Engine) AgentCondition(agentID, sessionID string, held uint32, problems []string) {
	e.post(func() {
		if a := e.sessions[sessionID]; a != nil && a.rec.GetId() == agentID {
			a.keeps, a.problems = held, boundProblems(problems)
		}
	})
}

// maxProblems of an agent are kept.
const maxProblems = 10

func boundProblems(all []string) []string {
	var out []string
	for _, p := range all[:min(len(all), maxProblems)] {
		out = append(out, clip(p, maxText))
	}
	return out
}

// ResumeAgent implements AgentControl.
func (e *Engine) ResumeAgent(ctx context.Context, name string) (*apiv1.Agent, error) {
	var out *apiv1.Agent
	err := e.ask(ctx, func(reply func(error)) {
		a, err := e.findAgent(name)
		if err == nil && a.rec.GetDrain().GetOwn() {
			err = rpcerr.New(rpcerr.InUse, "agent %s drains because its process stops (%s); it takes work again when it is started again",
				a.rec.GetId(), a.rec.GetDrain().GetReason())
		}
		if err != nil {
			reply(err)
			return
		}
		e.changeAgent(a, func(rec *statev1.AgentRecord) {
			if !rec.GetDrain().GetOwn() {
				rec.Drain = nil
			}
		}, func(err error) {
			if err == nil {
				e.c.Log.Info("agent resumed", "agent", a.rec.GetId())
				out = e.viewAgent(a, true)
			}
			reply(err)
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// drainText is what explanations say of a drain.
func drainText(d *statev1.Drain) string {
	if d == nil {
		return ""
	}
	text := "is draining"
	if d.GetDrainedMs() != 0 {
		text = "is drained"
	}
	text += fmt.Sprintf(" since %s by %s", time.UnixMilli(d.GetSinceMs()).UTC().Format(time.RFC3339), d.GetBy())
	if d.GetReason() != "" {
		text += ": " + d.GetReason()
	}
	return text
}

// lookAtDrain evicts what is left at the deadline, and notes when nothing is. It is asked again at every tick.
func (e *Engine) lookAtDrain(a *agent) {
	d := a.rec.GetDrain()
	if d == nil || d.GetDrainedMs() != 0 || a.writing {
		return
	}
	now := e.nowMS()
	if len(a.held) == 0 && (a.session == nil || a.keeps == 0) {
		e.changeAgent(a, func(rec *statev1.AgentRecord) {
			if rec.GetDrain() != nil {
				rec.Drain.DrainedMs = now
			}
		}, nil)
		return
	}
	// An agent that drains by itself leaves at its deadline, and what runs there lives on for its next process.
	if !d.GetOwn() && d.GetDeadlineMs() != 0 && now >= d.GetDeadlineMs() {
		e.evictAll(a, d)
	}
}

func (e *Engine) evictAll(a *agent, drain *statev1.Drain) {
	why := fmt.Sprintf("agent %s was drained by %s and the job had not ended by the deadline", a.rec.GetId(), drain.GetBy())
	if drain.GetReason() != "" {
		why += " (" + drain.GetReason() + ")"
	}
	e.endAgentsHolds(a, why, func() {})
	for _, id := range slices.Sorted(maps.Keys(a.held)) {
		ref := e.attempts[id]
		if ref == nil || e.runs[ref.runID] == nil {
			continue
		}
		r := e.runs[ref.runID]
		if j := r.jobs[ref.jobID]; j != nil && j.rec.GetAttempt().GetEvicted() != "" {
			continue
		}
		e.enqueue(r, func(d *draft) {
			// It may have been resumed while this waited for a commit.
			if a.rec.GetDrain() != nil {
				d.evict(ref, why)
			}
		})
	}
}

// evict asks an attempt to end so that its job can run elsewhere. What becomes of the job is decided when it has ended.
func (d *draft) evict(ref *attemptRef, why string) {
	rec := d.current(ref)
	if rec == nil || lifecycle.Attempt.IsTerminal(rec.GetAttempt().GetState()) || rec.GetAttempt().GetEvicted() != "" || !lifecycle.Job.Can(rec, lifecycle.JobEvict) {
		return
	}
	d.e.c.Log.Warn("evicting an attempt", "run", d.r.id, "job", ref.jobID, "attempt", ref.id, "agent", ref.agentID, "reason", why)
	d.fireJob(ref.jobID, lifecycle.JobEvict, lifecycle.JobArgs{Reason: why})
}

// concludeEvicted decides what becomes of a job whose attempt was evicted and ended as cancelled: another attempt, if no step had begun or its
// `retry:` names lost; else it fails. false if it was not evicted, or somebody cancelled the job itself.
func (d *draft) concludeEvicted(ref *attemptRef) bool {
	rec := d.job(ref.jobID)
	why := rec.GetAttempt().GetEvicted()
	if why == "" || rec.GetState() == corev1.JobState_JOB_STATE_CANCELLING {
		return false
	}
	if !lifecycle.Started(rec.GetAttempt()) && rec.GetAttempt().GetNumber() < maxLost || d.mayRetry(ref, "lost") {
		d.retry(ref.jobID, "the last attempt was ended: "+why, 0)
		return true
	}
	d.fireJob(ref.jobID, lifecycle.JobFailed, lifecycle.JobArgs{Failure: systemFailure("drained",
		why+"; its steps may have had effects, so it is not tried again by itself (retry: {on: [lost]} allows it)")})
	return true
}
