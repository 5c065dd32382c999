package engine

import (
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/schedule"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// place looks for placements, and tells watchers why the rest waits. Runs that are being created are part of it, so that a job for which there is
// room is created and assigned in one transition.
func (e *Engine) place() {
	begun := e.c.Clock.Now()
	defer func() { e.rest(e.c.Clock.Now().Sub(begun)) }()
	e.scheduleDue, e.events = false, 0
	e.syncQueue()
	fresh := e.queueFresh()
	defer e.createFresh()
	q := &e.queue
	e.c.Metrics.queued.Set(float64(q.jobs.Len()))
	if q.jobs.Len() == 0 {
		return
	}
	snapshot := schedule.Snapshot{NowMs: begun.UnixMilli(), Agents: e.snapshotAgents(), Queue: q.jobs, Policies: policies(e.c.Pools), Projects: q.projects,
		Shares: q.shares, MinDiskFree: e.c.Scheduling.MinDiskFree, KeepAfterMs: e.c.Scheduling.KeepAfter.Std().Milliseconds()}
	q.plan = schedule.Plan(snapshot)
	q.shares = q.plan.Shares
	for _, p := range q.plan.Placements {
		q.jobs.Remove(p.Job.Run, p.Job.Job)
		if d := fresh[p.Job.Run]; d != nil {
			e.assignFresh(d, p)
		} else {
			e.assign(p)
		}
	}
	e.tellWatchers()
}

// planShare is how many times as long as a plan took no other is made: the work of one grows with the fleet, and must not be all that the
// engine does while jobs end one by one. What is due meanwhile goes into the next.
const planShare = 4

// longestPlan: one that seems to have taken longer was stopped in the middle, or the clock jumped, and a rest would keep jobs waiting for nothing.
const longestPlan = 250 * time.Millisecond

func (e *Engine) rest(took time.Duration) {
	if took <= 0 || took > longestPlan {
		return
	}
	e.resting = true
	e.c.Clock.AfterFunc(planShare*took, func() { e.post(func() { e.resting = false }) })
}

// grant is a place that is reserved for an attempt, which is not committed yet.
type grant struct {
	ref     *attemptRef
	token   string
	session string
}

// reserve takes the place of a placement; nil if the attempt can't be made.
func (e *Engine) reserve(r *run, p schedule.Placement) *grant {
	a := e.agents[p.Agent]
	var secret [32]byte
	if _, err := io.ReadFull(e.c.Random, secret[:]); err != nil {
		e.c.Log.Error("no randomness for an attempt's token", "error", err)
		return nil
	}
	token := tlsutil.FormatToken(tlsutil.AttemptToken, secret, "")
	ref := &attemptRef{id: e.c.NewID(), runID: r.id, jobID: p.Job.Job, agentID: p.Agent, project: r.def.GetProject(), source: r.def.GetSource().GetTree(),
		tokenHash: sha256.Sum256([]byte(token)), mayHold: r.def.GetHoldMs() > 0}
	a.hold(ref.id, reservation{runID: r.id, jobID: ref.jobID, project: ref.project, cpu: p.Job.CPUMilli, memory: p.Job.Memory,
		sinceMS: e.nowMS(), charge: p.Charge})
	return &grant{ref: ref, token: token, session: a.session.ID}
}

// assign reserves the place, and proposes the attempt.
func (e *Engine) assign(p schedule.Placement) {
	r := e.runs[p.Job.Run]
	g := e.reserve(r, p)
	if g == nil {
		return
	}
	r.placing[g.ref.jobID] = g.ref.id
	e.enqueue(r, func(d *draft) {
		d.then(func() {
			delete(r.placing, g.ref.jobID)
			e.queue.touch(r.id, g.ref.jobID)
		})
		d.assign(g)
	})
}

// assign makes the attempt of a grant, or gives the place back if that can't be any more.
func (d *draft) assign(g *grant) {
	e, ref := d.e, g.ref
	a, rec := e.agents[ref.agentID], d.job(ref.jobID)
	if rec.GetState() != corev1.JobState_JOB_STATE_QUEUED || a == nil || a.session == nil || a.session.ID != g.session || a.closed() {
		d.then(func() { e.release(ref.agentID, ref.id) })
		return
	}
	o, err := d.newOffer(rec, g.token)
	if err != nil {
		d.fireJob(ref.jobID, lifecycle.JobInvalid, lifecycle.JobArgs{Failure: userFailure("invalid-job", err.Error())})
		d.then(func() { e.release(ref.agentID, ref.id) })
		return
	}
	e.offers[ref.id] = o
	attempt := &statev1.Attempt{Id: ref.id, Number: rec.GetAttempt().GetNumber() + 1, State: corev1.AttemptState_ATTEMPT_STATE_OFFERED, AgentId: ref.agentID,
		SessionId: g.session, TokenHash: ref.tokenHash[:], OfferedMs: d.now}
	d.then(func() { e.attempts[ref.id] = ref })
	if d.fireJob(ref.jobID, lifecycle.JobAssign, lifecycle.JobArgs{Attempt: attempt}) && lifecycle.Run.Can(d.head(), lifecycle.RunStarted) {
		d.fireRun(lifecycle.RunStarted, lifecycle.RunArgs{})
	}
}

// offer is what an assignment carries beside what is stored.
type offer struct{ token, contexts string }

func (d *draft) newOffer(rec *statev1.JobRecord, token string) (offer, error) {
	w, err := d.wants(rec)
	if err != nil {
		return offer{}, err
	}
	contexts := assignmentContexts(w.contexts, rec.GetKey())
	if len(contexts) > maxContexts {
		return offer{}, fmt.Errorf("the job's contexts (github, needs, inputs …) have %d bytes, more than %d: pass large data as an artifact", len(contexts), maxContexts)
	}
	return offer{token: token, contexts: contexts}, nil
}

// sendOffer gives a committed attempt to the session that it was made for.
func (e *Engine) sendOffer(r *run, jobID, attemptID string) {
	o := e.offers[attemptID]
	delete(e.offers, attemptID)
	rec := r.jobs[jobID].rec
	att := rec.GetAttempt()
	a := e.agents[att.GetAgentId()]
	if a.session == nil || a.session.ID != att.GetSessionId() {
		// It was never sent, so nobody can have begun it.
		ref := e.attempts[attemptID]
		r.inbox = append(r.inbox, func(d *draft) { d.lose(ref, "its agent left before the offer") })
		return
	}
	w, err := e.wantsNow(r, rec)
	if err != nil {
		ref := e.attempts[attemptID]
		r.inbox = append(r.inbox, func(d *draft) { d.lose(ref, err.Error()) })
		return
	}
	a.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Offer{Offer: &fleetv1.Offer{Assignment: e.assignment(r, rec, w, o)}}})
	e.c.Metrics.dispatch.Observe(float64(e.nowMS()-rec.GetQueuedMs()) / 1000)
	e.c.Log.Debug("offered", "run", r.id, "job", jobID, "attempt", attemptID, "agent", att.GetAgentId())
}

func (e *Engine) sendCancel(agentID, attemptID, reason string) {
	if a := e.agents[agentID]; a != nil && a.out != nil {
		a.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Cancel{Cancel: &fleetv1.Cancel{AttemptId: attemptID, Reason: reason}}})
	}
}

func (e *Engine) sendKill(agentID, attemptID, reason string) {
	if a := e.agents[agentID]; a != nil && a.out != nil {
		a.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Kill{Kill: &fleetv1.Kill{AttemptId: attemptID, Reason: reason}}})
	}
}

// release frees what an attempt held.
func (e *Engine) release(agentID, attemptID string) {
	if a := e.agents[agentID]; a != nil {
		if h, ok := a.held[attemptID]; ok {
			if !h.hold { // which is nobody's work
				e.queue.shares.End(h.project, e.queue.projects[h.project], h.charge, e.nowMS()-h.sinceMS)
			}
			a.unhold(attemptID)
		}
	}
	delete(e.offers, attemptID)
	e.scheduleDue = true
}
