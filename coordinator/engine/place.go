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

// place looks for placements, and tells watchers why the rest waits.
func (e *Engine) place() {
	begun := e.c.Clock.Now()
	defer func() { e.rest(e.c.Clock.Now().Sub(begun)) }()
	e.scheduleDue = false
	e.syncQueue()
	q := &e.queue
	e.c.Metrics.queued.Set(float64(q.jobs.Len()))
	if q.jobs.Len() == 0 {
		return
	}
	snapshot := schedule.Snapshot{NowMs: begun.UnixMilli(), Agents: make([]schedule.Agent, 0, len(e.agents)), Queue: q.jobs, Policies: policies(e.c.Pools), Projects: q.projects,
		Shares: q.shares, MinDiskFree: e.c.Scheduling.MinDiskFree, KeepAfterMs: e.c.Scheduling.KeepAfter.Std().Milliseconds()}
	for _, a := range e.agents {
		snapshot.Agents = append(snapshot.Agents, e.snapshotAgent(a))
	}
	q.plan = schedule.Plan(snapshot)
	q.shares = q.plan.Shares
	for _, p := range q.plan.Placements {
		q.jobs.Remove(p.Job.Run, p.Job.Job)
		e.assign(p)
	}
	e.tellWatchers()
}

// planShare is how many times as long as a plan took no other is made: the work of one grows with the fleet, and must not be all that the
// engine does while jobs end one by one. What is due meanwhile goes into the next.
const planShare = 4

func (e *Engine) rest(took time.Duration) {
	if took <= 0 {
		return
	}
	e.resting = true
	e.c.Clock.AfterFunc(planShare*took, func() { e.post(func() { e.resting = false }) })
}

func (e *Engine) snapshotAgent(a *agent) schedule.Agent {
	s := schedule.Agent{ID: a.rec.GetId(), Pool: a.rec.GetPool(), Labels: a.rec.GetLabels(), Online: a.session != nil && a.ready && !a.removing, Drain: drainText(a.rec.GetDrain()),
		Slots: int(a.capacity.GetSlots()), CPUMilli: a.capacity.GetCpuMilli(), Memory: a.capacity.GetMemory(), UsedSlots: len(a.held), DiskFree: a.diskFree,
		Abilities: a.abilities}
	if len(a.held) > 0 {
		s.Projects = map[string]int{}
	}
	for _, h := range a.held {
		s.UsedCPU += h.cpu
		s.UsedMem += h.memory
		s.Projects[h.project]++
	}
	return s
}

// assign reserves the place, and proposes the attempt.
func (e *Engine) assign(p schedule.Placement) {
	r, a := e.runs[p.Job.Run], e.agents[p.Agent]
	var secret [32]byte
	if _, err := io.ReadFull(e.c.Random, secret[:]); err != nil {
		e.c.Log.Error("no randomness for an attempt's token", "error", err)
		return
	}
	token := tlsutil.FormatToken(tlsutil.AttemptToken, secret, "")
	hash := sha256.Sum256([]byte(token))
	ref := &attemptRef{id: e.c.NewID(), runID: r.id, jobID: p.Job.Job, agentID: p.Agent, project: r.def.GetProject(), source: r.def.GetSource().GetTree(), tokenHash: hash, mayHold: r.def.GetHoldMs() > 0}
	a.held[ref.id] = reservation{runID: r.id, jobID: ref.jobID, project: ref.project, cpu: p.Job.CPUMilli, memory: p.Job.Memory,
		sinceMS: e.nowMS(), charge: p.Charge}
	r.placing[ref.jobID] = ref.id
	session := a.session.ID
	e.enqueue(r, func(d *draft) {
		d.then(func() {
			delete(r.placing, ref.jobID)
			e.queue.touch(r.id, ref.jobID)
		})
		rec := d.job(ref.jobID)
		if rec.GetState() != corev1.JobState_JOB_STATE_QUEUED || a.session == nil || a.session.ID != session || a.closed() {
			d.then(func() { e.release(ref.agentID, ref.id) })
			return
		}
		o, err := e.newOffer(r, rec, token)
		if err != nil {
			d.fireJob(ref.jobID, lifecycle.JobInvalid, lifecycle.JobArgs{Failure: userFailure("invalid-job", err.Error())})
			d.then(func() { e.release(ref.agentID, ref.id) })
			return
		}
		e.offers[ref.id] = o
		attempt := &statev1.Attempt{Id: ref.id, Number: rec.GetAttempt().GetNumber() + 1, State: corev1.AttemptState_ATTEMPT_STATE_OFFERED, AgentId: ref.agentID,
			SessionId: session, TokenHash: hash[:], OfferedMs: d.now}
		d.then(func() { e.attempts[ref.id] = ref })
		if d.fireJob(ref.jobID, lifecycle.JobAssign, lifecycle.JobArgs{Attempt: attempt}) && lifecycle.Run.Can(d.head(), lifecycle.RunStarted) {
			d.fireRun(lifecycle.RunStarted, lifecycle.RunArgs{})
		}
	})
}

// offer is what an assignment carries beside what is stored.
type offer struct{ token, contexts string }

func (e *Engine) newOffer(r *run, rec *statev1.JobRecord, token string) (offer, error) {
	w, err := e.wantsNow(r, rec)
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
			delete(a.held, attemptID)
		}
	}
	delete(e.offers, attemptID)
	e.scheduleDue = true
}
