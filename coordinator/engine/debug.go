package engine

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Bounds of what a job's record keeps of sessions: none is ever dropped from it, so there can't be more.
const (
	maxSessions    = 256
	maxCommand     = 512
	maxCommandArgs = 64
)

// debugSession is somebody in a held pod.
type debugSession struct {
	id, user string
	sinceMS  int64
	ended    bool
	notify   func(error)
}

// end tells who opened the session that it is over, once.
func (s *debugSession) end(reason error) {
	if !s.ended {
		s.ended = true
		s.notify(reason)
	}
}

// OpenDebug implements DebugControl.
func (e *Engine) OpenDebug(ctx context.Context, req DebugRequest) (DebugTicket, error) {
	var ticket DebugTicket
	// An answer is awaited in any case: a session that nobody knows to be open is closed by nobody.
	err := e.atHold(context.WithoutCancel(ctx), req.Run, req.Job, func(r *run, rec *statev1.JobRecord, h *held, reply func(error)) {
		a := e.agents[h.ref.agentID]
		if err := cmp.Or(e.mayEnter(a, rec, h), hasStep(rec, req.Step)); err != nil {
			reply(err)
			return
		}
		s := &debugSession{id: req.SessionID, user: clip(req.User, maxLabel), sinceMS: e.nowMS(), notify: req.End}
		h.session = s
		e.enqueue(r, func(d *draft) { d.openDebug(h, s, req, &ticket, reply) })
	})
	if err != nil {
		return DebugTicket{}, err
	}
	return ticket, nil
}

// mayEnter says why nobody can be let into a held pod now.
func (e *Engine) mayEnter(a *agent, rec *statev1.JobRecord, h *held) error {
	switch {
	case a == nil || a.session == nil || !a.ready:
		host := h.ref.agentID
		if a != nil {
			host = a.rec.GetHostname()
		}
		return rpcerr.New(rpcerr.AgentAway, "agent %s, which holds the pod of job %s, is not connected; the pod is held until %s", host, rec.GetName(), stamp(rec.GetHeld().GetUntilMs()))
	case h.session != nil:
		return rpcerr.New(rpcerr.InUse, "%s is in the pod of job %s since %s, and only one can be", h.session.user, rec.GetName(), stamp(h.session.sinceMS))
	case len(rec.GetDebugSessions()) >= maxSessions:
		return rpcerr.New(rpcerr.InvalidRequest, "there were %d sessions in the pod of job %s, and no more are recorded", len(rec.GetDebugSessions()), rec.GetName())
	}
	return nil
}

// hasStep refuses a step that the job does not have; 0 is the one that failed.
func hasStep(rec *statev1.JobRecord, number uint32) error {
	var known []string
	for _, s := range rec.GetAttempt().GetSteps() {
		if s.GetNumber() == number || number == 0 {
			return nil
		}
		if s.GetNumber() > 0 {
			known = append(known, fmt.Sprintf("%d %s", s.GetNumber(), s.GetName()))
		}
	}
	if number == 0 {
		return nil
	}
	return rpcerr.New(rpcerr.InvalidRequest, "job %s has no step %d; it has: %s", rec.GetName(), number, strings.Join(known, ", "))
}

func (d *draft) openDebug(h *held, s *debugSession, req DebugRequest, ticket *DebugTicket, reply func(error)) {
	rec := d.current(h.ref)
	if rec == nil || !lifecycle.IsHeld(rec) {
		h.session = nil
		d.then(func() { reply(holdOver(rec.GetName(), rec.GetHeld())) })
		return
	}
	rec = d.editJob(h.ref.jobID)
	rec.DebugSessions = append(rec.DebugSessions, &corev1.DebugSession{Id: s.id, User: s.user, StartedMs: s.sinceMS, Command: boundCommand(req.Command), Tty: req.TTY})
	d.extendHold(h.ref)
	d.then(func() {
		e := d.e
		held := e.holds[h.ref.id]
		a := e.agents[h.ref.agentID]
		*ticket = DebugTicket{RunID: d.r.id, JobID: rec.GetId(), AttemptID: h.ref.id, AgentID: h.ref.agentID, Hostname: a.rec.GetHostname(), Held: rec.GetHeld(), Over: e.stopped}
		reply(nil)
		switch {
		case held != h || h.session != s: // it was released in the same event
			s.end(holdOver(rec.GetName(), rec.GetHeld()))
		case a.session == nil:
			s.end(agentLeft(a))
		default:
			a.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Attach{Attach: &fleetv1.Attach{SessionId: s.id, AttemptId: h.ref.id,
				Command: req.Command, Step: req.Step, Tty: req.TTY, Term: clip(req.Term, maxWord), Size: req.Size}}})
			e.c.Log.Info("a debug session begins", "run", d.r.id, "job", rec.GetId(), "session", s.id, "user", s.user, "command", strings.Join(boundCommand(req.Command), " "), "tty", req.TTY)
		}
	})
}

func boundCommand(command []string) []string {
	left := maxCommand
	var out []string
	for _, arg := range command[:min(len(command), maxCommandArgs)] {
		arg = clip(arg, left)
		left = max(0, left-len(arg))
		out = append(out, arg)
	}
	return out
}

// CloseDebug implements DebugControl.
func (e *Engine) CloseDebug(ctx context.Context, end DebugEnd) error {
	return e.ask(ctx, func(reply func(error)) {
		r := e.runs[end.RunID]
		if r == nil {
			reply(nil)
			return
		}
		e.enqueue(r, func(d *draft) {
			d.closeDebug(end.JobID, end.SessionID, func(s *corev1.DebugSession) {
				s.ExitCode, s.Ended, s.BytesIn, s.BytesOut = end.ExitCode, clip(end.Ended, maxReason), end.BytesIn, end.BytesOut
			})
			d.then(func() { reply(nil) })
		})
	})
}

// closeDebug notes a session's end.
func (d *draft) closeDebug(jobID, sessionID string, how func(*corev1.DebugSession)) {
	for i, s := range d.job(jobID).GetDebugSessions() {
		if s.GetId() != sessionID || s.GetEndedMs() != 0 {
			continue
		}
		s = d.editJob(jobID).DebugSessions[i]
		s.EndedMs = d.now
		how(s)
		attempt := d.job(jobID).GetAttempt().GetId()
		d.then(func() {
			d.e.c.Log.Info("a debug session has ended", "run", d.r.id, "job", jobID, "session", sessionID, "user", s.GetUser(), "exit_code", s.GetExitCode(), "ended", s.GetEnded(),
				"bytes_in", s.GetBytesIn(), "bytes_out", s.GetBytesOut())
			if h := d.e.holds[attempt]; h != nil && h.session != nil && h.session.id == sessionID {
				h.session = nil
			}
			d.e.retireOver(d.r)
		})
		return
	}
}

// closeOrphans ends the sessions that the last leader left without an end: their streams went through its process.
func (d *draft) closeOrphans() {
	d.all(func(rec *statev1.JobRecord) {
		for _, s := range rec.GetDebugSessions() {
			if s.GetEndedMs() == 0 {
				d.closeDebug(rec.GetId(), s.GetId(), func(s *corev1.DebugSession) { s.ExitCode, s.Ended = -1, "the coordinator was restarted" })
			}
		}
	})
}

// ReleaseJob implements DebugControl.
func (e *Engine) ReleaseJob(ctx context.Context, runName, job, by string) (string, error) {
	var id string
	err := e.atHold(ctx, runName, job, func(r *run, rec *statev1.JobRecord, h *held, reply func(error)) {
		id = rec.GetId()
		e.enqueue(r, func(d *draft) {
			d.endHold(h.ref, by+" let it go")
			d.then(func() { reply(nil) })
		})
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// atHold finds the held job that people mean, and goes on with it on the engine's goroutine.
func (e *Engine) atHold(ctx context.Context, runName, job string, next func(*run, *statev1.JobRecord, *held, func(error))) error {
	runID, err := e.resolveID(ctx, runName)
	if err != nil {
		return err
	}
	live := false
	err = e.ask(ctx, func(reply func(error)) {
		r := e.runs[runID]
		if r == nil {
			reply(nil)
			return
		}
		live = true
		var recs []*statev1.JobRecord
		for _, id := range r.order {
			recs = append(recs, r.jobs[id].rec)
		}
		rec, err := e.heldJob(r.number, r.def.GetHoldMs(), recs, job)
		if err != nil {
			reply(err)
			return
		}
		if h := e.holds[rec.GetAttempt().GetId()]; h != nil {
			next(r, rec, h, reply)
			return
		}
		reply(holdOver(rec.GetName(), rec.GetHeld()))
	})
	if err != nil || live {
		return err
	}
	v, err := e.stored(ctx, runID, false)
	if err != nil {
		return err
	}
	var recs []*statev1.JobRecord
	for _, j := range v.GetJobs() {
		recs = append(recs, &statev1.JobRecord{Id: j.GetId(), Key: j.GetKey(), Name: j.GetName(), State: j.GetState(), Held: j.GetHeld(),
			Attempt: &statev1.Attempt{Id: j.GetAttemptId(), AgentId: j.GetAgent()}})
	}
	return e.ask(ctx, func(reply func(error)) {
		rec, err := e.heldJob(v.GetNumber(), v.GetHoldMs(), recs, job)
		if err == nil { // only of a run that ended between the two looks
			err = holdOver(rec.GetName(), rec.GetHeld())
		}
		reply(err)
	})
}

// heldJob is the held one of a run's jobs that a name means; the error says why there is none.
func (e *Engine) heldJob(number uint64, holdMS int64, recs []*statev1.JobRecord, name string) (*statev1.JobRecord, error) {
	var named, kept []*statev1.JobRecord
	for _, rec := range recs {
		switch {
		case name == "":
		case rec.GetId() == name:
			return rec, e.whyNotHeld(number, holdMS, rec)
		case rec.GetKey() != name && rec.GetName() != name:
			continue
		}
		named = append(named, rec)
		if lifecycle.IsHeld(rec) {
			kept = append(kept, rec)
		}
	}
	switch {
	case len(kept) == 1:
		return kept[0], nil
	case len(kept) > 1:
		var ids []string
		for _, rec := range kept {
			ids = append(ids, rec.GetId())
		}
		return nil, rpcerr.New(rpcerr.InvalidRequest, "%d jobs of run #%d are held (%s); name one of them", len(kept), number, strings.Join(ids, ", "))
	case len(named) == 0:
		return nil, rpcerr.New(rpcerr.NotFound, "run #%d has no job %s", number, name)
	case name == "" || len(named) > 1:
		return nil, rpcerr.New(rpcerr.NotHeld, "no job of run #%d%s is held; `slipway runs show '#%d'` shows what became of them", number, quoted(name), number)
	}
	return named[0], e.whyNotHeld(number, holdMS, named[0])
}

func quoted(name string) string {
	if name == "" {
		return ""
	}
	return fmt.Sprintf(" called %s", name)
}

// whyNotHeld says why nobody can enter a job's pod; nil if it is held.
func (e *Engine) whyNotHeld(number uint64, holdMS int64, rec *statev1.JobRecord) error {
	failed := rec.GetState() == corev1.JobState_JOB_STATE_FAILED || rec.GetState() == corev1.JobState_JOB_STATE_TIMED_OUT
	pool := ""
	if a := e.agents[rec.GetAttempt().GetAgentId()]; a != nil {
		pool = a.rec.GetPool()
	}
	switch {
	case lifecycle.IsHeld(rec):
		return nil
	case rec.GetHeld() != nil:
		return holdOver(rec.GetName(), rec.GetHeld())
	case !failed:
		return rpcerr.New(rpcerr.NotFailed, "job %s of run #%d is %s; only the pod of a job that failed is held", rec.GetName(), number, jobStateWord(rec.GetState()))
	case holdMS == 0:
		return rpcerr.New(rpcerr.NotHeld, "job %s failed, but run #%d holds no pods: start it with --hold-on-failure", rec.GetName(), number)
	case pool != "" && !e.c.Pools[pool].Debug():
		return rpcerr.New(rpcerr.PolicyRefused, "job %s ran in pool %s, whose policy refuses it: the pool is untrusted, so nothing of its jobs is held", rec.GetName(), pool)
	}
	return rpcerr.New(rpcerr.NotHeld, "job %s failed, but there was no pod to hold: it had not been made, was lost, or the job is in a concurrency group, whose next holder may run by now", rec.GetName())
}

func holdOver(job string, h *corev1.Held) error {
	return rpcerr.New(rpcerr.HoldOver, "the pod of job %s is not held any more since %s: %s", job, stamp(h.GetReleasedMs()), h.GetReleased())
}

func agentLeft(a *agent) error {
	return rpcerr.New(rpcerr.AgentAway, "agent %s has gone; the pod is held on, enter it again when the agent is back", a.rec.GetHostname())
}

// endSessions ends what goes through an agent's session that has ended.
func (e *Engine) endSessions(a *agent) {
	for id := range a.held {
		if h := e.holds[id]; h != nil && h.session != nil {
			h.session.end(agentLeft(a))
		}
	}
}
