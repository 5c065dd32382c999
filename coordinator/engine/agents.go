package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/schedule"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// agent is one agent as the leader knows it: its record, and in memory its session and what it holds.
type agent struct {
	// rec is what is seen of it; stored what the store has at rev.
	rec, stored *statev1.AgentRecord
	rev         int64
	// changes of the record that wait for a write in flight.
	changes []agentChange
	// session is nil while the agent is away, and began at since; ready once Connect was answered.
	session  *Session
	since    time.Time
	out      Outbox
	ready    bool
	lastSeen time.Time
	capacity *fleetv1.Capacity
	// abilities are what its session said, within bounds.
	abilities schedule.Abilities
	// awaySince is when the session ended, or when this leader began.
	awaySince time.Time
	// held are the attempts that count against its capacity, from the placement until a committed end.
	held    map[string]reservation
	writing bool
	// what the scheduler was last told of it.
	told *snapshot
	// removing: it is given nothing any more, and will be forgotten.
	removing bool
	// What it says of itself in its session: attempts that it keeps, also ended ones that it cleans up after; free disk; problems.
	keeps    uint32
	diskFree int64
	problems []string
}

// closed agents are given nothing, whether or not they are connected.
func (a *agent) closed() bool { return a.removing || a.rec.GetDrain() != nil }

type reservation struct {
	runID, jobID, project string
	cpu, memory           int64
	// sinceMS is when it was made, charge what the project's share was charged for it.
	sinceMS, charge int64
	// hold: the attempt is done, and its pod is held.
	hold bool
}

func (e *Engine) agent(id string) *agent {
	a := e.agents[id]
	if a == nil {
		a = &agent{rec: &statev1.AgentRecord{Id: id}, stored: &statev1.AgentRecord{Id: id}, held: map[string]reservation{}, awaySince: e.c.Clock.Now()}
		e.agents[id] = a
		e.fleet = nil
	}
	return a
}

// Connect implements Control.
func (e *Engine) Connect(ctx context.Context, s Session, out Outbox) ([]string, error) {
	if s.ID == "" || s.AgentID == "" {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "a session needs an id and an agent")
	}
	var live []string
	err := e.ask(ctx, func(reply func(error)) {
		if gone := e.removed[s.AgentID]; gone != nil {
			reply(removedError(gone))
			return
		}
		a := e.agent(s.AgentID)
		if a.session != nil {
			e.disconnect(a, "the agent began another session")
		}
		now := e.c.Clock.Now()
		a.session, a.since, a.out, a.ready, a.lastSeen, a.capacity = &s, now, out, false, now, s.Capacity
		a.abilities = abilitiesOf(&s)
		e.sessions[s.ID] = a
		e.countAgents()
		a.keeps, a.problems = uint32(len(s.Attempts)), boundProblems(s.Problems)
		e.knowAgent(a, s)
		e.c.Log.Info("agent connected", "agent", s.AgentID, "session", s.ID, "hostname", s.Hostname, "pool", s.Pool, "holds", len(s.Attempts))
		e.reattach(a, s, func(ids []string) {
			live = ids
			if a.session == &s {
				a.ready = true
				e.scheduleDue = true
			}
			reply(nil)
		})
	})
	if err != nil {
		return nil, err
	}
	return live, nil
}

// reattach asks every run that has to do with the agent what lives on; what the agent no longer holds is lost.
func (e *Engine) reattach(a *agent, s Session, done func([]string)) {
	runs := map[string]*run{}
	for id, res := range a.held {
		if e.attempts[id] != nil || e.holds[id] != nil {
			runs[res.runID] = e.runs[res.runID]
		}
	}
	var live []string
	for _, id := range s.Attempts {
		if ref := e.attempts[id]; ref != nil && e.runs[ref.runID] != nil {
			runs[ref.runID] = e.runs[ref.runID]
		} else if ref := e.tail[id]; ref != nil && ref.agentID == s.AgentID {
			live = append(live, id)
			if ref.mayHold && e.holds[id] == nil {
				e.sendHold(ref.agentID, id, 0, "it is not held any more")
			}
		}
	}
	left := len(runs)
	finish := func() {
		slices.Sort(live)
		done(slices.Compact(live))
	}
	if left == 0 {
		finish()
		return
	}
	ids := make([]string, 0, left)
	for id := range runs {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		e.enqueue(runs[id], func(d *draft) {
			mine := d.reattach(s)
			d.then(func() {
				live = append(live, mine...)
				if left--; left == 0 {
					finish()
				}
			})
		})
	}
}

// reattach returns the attempts of this run that live on with the agent.
func (d *draft) reattach(s Session) []string {
	var live []string
	d.all(func(rec *statev1.JobRecord) {
		att := rec.GetAttempt()
		if att == nil || att.GetAgentId() != s.AgentID {
			return
		}
		ref := d.e.attempts[att.GetId()]
		ended := lifecycle.Attempt.IsTerminal(att.GetState())
		switch holds := slices.Contains(s.Attempts, att.GetId()); {
		case holds && (!ended || att.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE):
			live = append(live, att.GetId())
			if !ended && (att.GetCancelRequested() || att.GetEvicted() != "") {
				// The request may have been lost with the old session.
				id, reason := att.GetId(), rec.GetReason()
				d.then(func() { d.e.sendCancel(s.AgentID, id, reason) })
			}
		case !holds && !ended && ref != nil:
			d.lose(ref, "its agent came back without it")
		}
		d.reattachHold(rec, slices.Contains(s.Attempts, att.GetId()))
	})
	return live
}

// Disconnect implements Control.
func (e *Engine) Disconnect(agentID, sessionID string) {
	e.post(func() {
		if a := e.sessions[sessionID]; a != nil && a.rec.GetId() == agentID {
			e.disconnect(a, "the connection ended")
		}
	})
}

func (e *Engine) disconnect(a *agent, why string) {
	e.c.Log.Info("agent disconnected", "agent", a.rec.GetId(), "session", a.session.ID, "reason", why)
	delete(e.sessions, a.session.ID)
	e.endSessions(a)
	a.out.End(rpcerr.New(rpcerr.SessionEnded, "the coordinator ended this session (%s); connect again", why))
	a.session, a.out, a.ready, a.awaySince = nil, nil, false, e.c.Clock.Now()
	e.countAgents()
	e.scheduleDue = true // explanations change
}

// Heartbeat implements Control.
func (e *Engine) Heartbeat(agentID, sessionID string, diskFree int64) {
	e.post(func() {
		if a := e.sessions[sessionID]; a != nil && a.rec.GetId() == agentID {
			a.lastSeen = e.c.Clock.Now()
			if low := e.c.Scheduling.MinDiskFree; (a.diskFree < low) != (diskFree < low) {
				e.scheduleDue = true
			}
			a.diskFree = diskFree
		}
	})
}

func (e *Engine) countAgents() { e.c.Metrics.agents.Set(float64(len(e.sessions))) }

// Attempt implements Control. An attempt that ended in a result may still deliver its last log bytes for a while.
func (e *Engine) Attempt(ctx context.Context, sessionAgent, attemptID, token string) (AttemptRef, error) {
	var out AttemptRef
	err := e.ask(ctx, func(reply func(error)) {
		ref := e.attempts[attemptID]
		if ref == nil {
			ref = e.tail[attemptID]
		}
		hash := sha256.Sum256([]byte(token))
		if ref == nil || ref.agentID != sessionAgent || subtle.ConstantTimeCompare(hash[:], ref.tokenHash[:]) != 1 {
			reply(rpcerr.New(rpcerr.PermissionDenied, "attempt %s: wrong token, not this agent's, or not live", attemptID))
			return
		}
		// Not e.agent, which would make one again that was removed, in no pool.
		a := e.agents[ref.agentID]
		if a == nil {
			reply(rpcerr.New(rpcerr.AgentRemoved, "attempt %s: agent %s was removed", attemptID, ref.agentID))
			return
		}
		out = AttemptRef{RunID: ref.runID, JobID: ref.jobID, AttemptID: ref.id, Project: ref.project, Source: ref.source,
			Secrets: e.c.Pools[a.rec.GetPool()].Secrets()}
		reply(nil)
	})
	if err != nil {
		return AttemptRef{}, err
	}
	return out, nil
}
