package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// The pod of a job that failed may be held. The job's result is decided and committed with the hold, and the run goes on or ends as ever; what
// stays is the reservation on the agent, and a run that has ended stays at hand (and is sealed later) while a pod of it is held. The lease is
// kept twice: the leader lets the pod go when it runs out, and so does the agent by its own clock, should there be no leader.

// held is a hold as the leader has it in memory.
type held struct {
	ref *attemptRef
	// session is who is in the pod; nil if nobody is.
	session *debugSession
}

// offerHold is how long the pod of an attempt on an agent of the pool is to be held; 0 is not at all. A job on a lease (it is in a concurrency
// group) leaves nothing behind that could go on beside its successor: its agent does not hold it.
func (e *Engine) offerHold(r *run, pool string) time.Duration {
	if !e.c.Pools[pool].Debug() {
		return 0
	}
	return min(time.Duration(r.def.GetHoldMs())*time.Millisecond, e.c.MaxHold)
}

// hold takes over, once a job has its result, that its agent holds the pod; or tells it not to.
func (d *draft) hold(ref *attemptRef, report *corev1.Report) {
	if report.GetState() != corev1.AttemptState_ATTEMPT_STATE_DONE || report.GetHeldMs() <= 0 {
		return
	}
	why := ""
	lease := d.e.offerHold(d.r, d.e.agent(ref.agentID).rec.GetPool())
	reservation, reserved := d.e.agent(ref.agentID).held[ref.id]
	switch {
	case d.head().GetCancelRequested():
		why = "the run was cancelled"
	case lease <= 0 || !reserved:
		why = "its run holds no pods"
	default:
		if err := lifecycle.Hold(d.editJob(ref.jobID), d.now, lease.Milliseconds(), d.e.c.MaxHold.Milliseconds()); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		d.then(func() { d.e.sendHold(ref.agentID, ref.id, 0, why) })
		return
	}
	d.then(func() {
		d.e.holds[ref.id] = &held{ref: ref}
		// Released with the attempt's end a moment ago, in the same event: nobody looked for placements in between.
		reservation.hold, reservation.sinceMS = true, d.now
		d.e.agent(ref.agentID).hold(ref.id, reservation)
		d.e.c.Log.Info("a failed job's pod is held", "run", d.r.id, "job", ref.jobID, "attempt", ref.id, "agent", ref.agentID, "lease", lease)
	})
}

// loadHold takes up a hold that the last leader committed.
func (e *Engine) loadHold(r *run, rec *statev1.JobRecord, ref *attemptRef) {
	if !lifecycle.IsHeld(rec) {
		return
	}
	e.holds[ref.id] = &held{ref: ref}
	kept := reservation{runID: r.id, jobID: rec.GetId(), project: ref.project, sinceMS: rec.GetHeld().GetSinceMs(), hold: true}
	if w, err := e.wantsNow(r, rec); err == nil {
		kept.cpu, kept.memory = w.cpu, w.memory
	}
	e.agent(ref.agentID).hold(ref.id, kept)
}

// endHold lets a pod go: the agent is told, its place is free, whoever is in it is put out.
func (d *draft) endHold(ref *attemptRef, why string) {
	rec := d.current(ref)
	if rec == nil || !lifecycle.IsHeld(rec) {
		return
	}
	why = clip(why, maxText)
	if err := lifecycle.ReleaseHold(d.editJob(ref.jobID), d.now, why); err != nil {
		d.e.c.Log.Error("a hold can't be released", "run", d.r.id, "job", ref.jobID, "error", err)
		return
	}
	d.then(func() {
		e := d.e
		h := e.holds[ref.id]
		delete(e.holds, ref.id)
		e.release(ref.agentID, ref.id)
		e.sendHold(ref.agentID, ref.id, 0, why)
		if h != nil && h.session != nil {
			h.session.end(holdOver(rec.GetName(), d.job(ref.jobID).GetHeld()))
		}
		e.c.Log.Info("a held pod is let go", "run", d.r.id, "job", ref.jobID, "attempt", ref.id, "agent", ref.agentID, "reason", why)
		e.retireOver(d.r)
	})
}

// endHolds lets all pods of a run go.
func (d *draft) endHolds(why string) {
	d.all(func(rec *statev1.JobRecord) {
		if h := d.e.holds[rec.GetAttempt().GetId()]; h != nil {
			d.endHold(h.ref, why)
		}
	})
}

// endAgentsHolds lets all pods go that an agent holds, and calls next.
func (e *Engine) endAgentsHolds(a *agent, why string, next func()) {
	left := 1
	done := func() {
		if left--; left == 0 {
			next()
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.held)) {
		h := e.holds[id]
		if h == nil || e.runs[h.ref.runID] == nil {
			continue
		}
		left++
		e.enqueue(e.runs[h.ref.runID], func(d *draft) {
			d.endHold(h.ref, why)
			d.then(done)
		})
	}
	done()
}

// sendHold tells an agent how much longer it may hold a pod.
func (e *Engine) sendHold(agentID, attemptID string, left time.Duration, reason string) {
	if a := e.agents[agentID]; a != nil && a.out != nil {
		a.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Hold{Hold: &fleetv1.Hold{AttemptId: attemptID,
			LeftMs: max(0, left.Milliseconds()), Reason: reason}}})
	}
}

// leftOf is how long a hold still lasts.
func (e *Engine) leftOf(h *corev1.Held) time.Duration {
	return time.Duration(max(0, h.GetUntilMs()-e.nowMS())) * time.Millisecond
}

// lookAtHolds lets go what is over, and extends what is used. It is asked at every tick.
func (e *Engine) lookAtHolds() {
	now := e.nowMS()
	for _, id := range slices.Sorted(maps.Keys(e.holds)) {
		h := e.holds[id]
		r := e.runs[h.ref.runID]
		if r == nil || r.jobs[h.ref.jobID] == nil {
			continue
		}
		switch rec := r.jobs[h.ref.jobID].rec; {
		case now >= rec.GetHeld().GetUntilMs():
			e.enqueue(r, func(d *draft) {
				if held := d.job(h.ref.jobID).GetHeld(); d.now >= held.GetUntilMs() {
					d.endHold(h.ref, leaseOver(held))
				}
			})
		case h.session != nil:
			e.enqueue(r, func(d *draft) { d.extendHold(h.ref) })
		}
	}
}

func leaseOver(h *corev1.Held) string {
	if h.GetUntilMs() >= h.GetLimitMs() {
		return "the lease reached the longest that this coordinator allows"
	}
	return "the lease ran out"
}

// extendHold gives a lease that is used its length again, if that is worth a write.
func (d *draft) extendHold(ref *attemptRef) {
	rec := d.current(ref)
	if rec == nil {
		return
	}
	// Asked of a copy: editing the record is what makes a write of it.
	copied := &statev1.JobRecord{State: rec.GetState(), Held: cloneHeld(rec.GetHeld())}
	if !lifecycle.ExtendHold(copied, d.now) {
		return
	}
	d.editJob(ref.jobID).Held = copied.GetHeld()
	d.then(func() { d.e.sendHold(ref.agentID, ref.id, d.e.leftOf(copied.GetHeld()), "") })
}

func cloneHeld(h *corev1.Held) *corev1.Held {
	if h == nil {
		return nil
	}
	return &corev1.Held{SinceMs: h.GetSinceMs(), UntilMs: h.GetUntilMs(), LimitMs: h.GetLimitMs(), LeaseMs: h.GetLeaseMs(), ReleasedMs: h.GetReleasedMs(),
		Released: h.GetReleased()}
}

// reattachHold tells an agent that has connected what is left of a hold, and forgets one that it has not any more.
func (d *draft) reattachHold(rec *statev1.JobRecord, holds bool) {
	att := rec.GetAttempt()
	h := d.e.holds[att.GetId()]
	switch {
	case h != nil && !holds:
		d.endHold(h.ref, "its agent came back without it")
	case h != nil:
		d.then(func() { d.e.sendHold(att.GetAgentId(), att.GetId(), d.e.leftOf(rec.GetHeld()), "") })
	case holds && d.r.def.GetHoldMs() > 0 && att.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE:
		d.then(func() { d.e.sendHold(att.GetAgentId(), att.GetId(), 0, "it is not held") })
	}
}

// occupied says whether something of a run goes on although the run has ended.
func (r *run) occupied() bool {
	for _, j := range r.jobs {
		if lifecycle.Occupied(j.rec) {
			return true
		}
	}
	return false
}

// occupied is that of the run as the draft has it.
func (d *draft) occupied() bool {
	occupied := false
	d.all(func(rec *statev1.JobRecord) { occupied = occupied || lifecycle.Occupied(rec) })
	return occupied
}

// retireOver retires a run once it has ended and nothing of it is held.
func (e *Engine) retireOver(r *run) {
	if e.runs[r.id] == r && r.terminal() && !r.occupied() {
		e.retire(r)
	}
}

// heldText says of a held job until when it is.
func heldText(h *corev1.Held) string {
	return "its pod is held until " + stamp(h.GetUntilMs())
}

func stamp(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }

// whyHeld explains a hold: how to use it, and who does.
func (e *Engine) whyHeld(v *apiv1.Run, rec *statev1.JobRecord) (reason, remedy string) {
	if rec.GetHeld() == nil {
		return "", ""
	}
	if !lifecycle.IsHeld(rec) {
		return fmt.Sprintf("its pod was held until %s: %s", stamp(rec.GetHeld().GetReleasedMs()), rec.GetHeld().GetReleased()), ""
	}
	reason = heldText(rec.GetHeld())
	if h := e.holds[rec.GetAttempt().GetId()]; h != nil && h.session != nil {
		reason += fmt.Sprintf(", %s is in it since %s", h.session.user, stamp(h.session.sinceMS))
	}
	name := cmp.Or(rec.GetId(), rec.GetName())
	return reason, fmt.Sprintf("`slipway debug '#%d.%d' %s` opens a shell in it; with --release it is let go", v.GetNumber(), max(1, v.GetAttempt()), name)
}
