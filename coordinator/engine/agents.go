package engine

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// agent is one agent as the leader knows it: its record, and in memory its session and what it holds.
type agent struct {
	rec *statev1.AgentRecord
	rev int64
	// session is nil while the agent is away; ready once Connect was answered.
	session  *Session
	out      Outbox
	ready    bool
	lastSeen time.Time
	capacity *fleetv1.Capacity
	// awaySince is when the session ended, or when this leader began.
	awaySince time.Time
	// held are the attempts that count against its capacity, from the placement until a committed end.
	held    map[string]reservation
	writing bool
}

type reservation struct {
	runID, jobID, project string
	cpu, memory           int64
}

func (e *Engine) agent(id string) *agent {
	a := e.agents[id]
	if a == nil {
		a = &agent{rec: &statev1.AgentRecord{Id: id}, held: map[string]reservation{}, awaySince: e.c.Clock.Now()}
		e.agents[id] = a
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
		a := e.agent(s.AgentID)
		if a.session != nil {
			e.disconnect(a, "the agent began another session")
		}
		a.session, a.out, a.ready, a.lastSeen, a.capacity = &s, out, false, e.c.Clock.Now(), s.Capacity
		e.sessions[s.ID] = a
		e.countAgents()
		e.saveAgent(a, s)
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
		if ref := e.attempts[id]; ref != nil {
			runs[res.runID] = e.runs[res.runID]
		}
	}
	var live []string
	for _, id := range s.Attempts {
		if ref := e.attempts[id]; ref != nil && e.runs[ref.runID] != nil {
			runs[ref.runID] = e.runs[ref.runID]
		} else if ref := e.tail[id]; ref != nil && ref.agentID == s.AgentID {
			live = append(live, id)
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
			if !ended && att.GetCancelRequested() {
				// The request may have been lost with the old session.
				id, reason := att.GetId(), rec.GetReason()
				d.then(func() { d.e.sendCancel(s.AgentID, id, reason) })
			}
		case !holds && !ended && ref != nil:
			d.lose(ref, "its agent came back without it")
		}
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
	a.out.End(rpcerr.New(rpcerr.SessionEnded, "the coordinator ended this session (%s); connect again", why))
	a.session, a.out, a.ready, a.awaySince = nil, nil, false, e.c.Clock.Now()
	e.countAgents()
	e.scheduleDue = true // explanations change
}

// Heartbeat implements Control.
func (e *Engine) Heartbeat(agentID, sessionID string, _ int64) {
	e.post(func() {
		if a := e.sessions[sessionID]; a != nil && a.rec.GetId() == agentID {
			a.lastSeen = e.c.Clock.Now()
		}
	})
}

func (e *Engine) countAgents() { e.c.Metrics.agents.Set(float64(len(e.sessions))) }

// saveAgent writes the agent's record if the certificate says something new. Nobody waits for it.
func (e *Engine) saveAgent(a *agent, s Session) {
	want := proto.CloneOf(a.rec)
	want.Id, want.Hostname, want.Pool, want.Labels, want.Version = s.AgentID, s.Hostname, s.Pool, s.Labels, s.Version
	if want.JoinedMs == 0 {
		want.JoinedMs = e.nowMS()
	}
	same := a.rev != 0 && proto.Equal(want, a.rec)
	a.rec = want
	if same || a.writing {
		return
	}
	value, err := encode(want)
	if err != nil {
		e.c.Log.Warn("an agent's record can't be stored", "agent", s.AgentID, "error", err)
		return
	}
	a.writing = true
	err = e.commits.Propose(&commit.Transition{Compares: []store.Compare{{Key: agentKey(s.AgentID), Revision: a.rev}},
		Ops: []store.Op{{Key: agentKey(s.AgentID), Value: value}},
		Done: func(o commit.Outcome) {
			e.post(func() {
				a.writing = false
				if o.Err == nil {
					a.rev = o.Revision
				} else {
					// Somebody else (joining, an operator) wrote it; the next connection compares again.
					e.rereadAgent(a, s.AgentID)
				}
			})
		}})
	if err != nil {
		a.writing = false
	}
}

// rereadAgent fetches the revision of a record that another part of the coordinator wrote.
func (e *Engine) rereadAgent(a *agent, id string) {
	e.wg.Go(func() {
		ctx, cancel := e.background()
		defer cancel()
		kv, found, err := e.c.Store.Get(ctx, agentKey(id))
		if err != nil || !found {
			return
		}
		stored := &statev1.AgentRecord{}
		if proto.Unmarshal(kv.Value, stored) != nil {
			return
		}
		e.post(func() {
			a.rev, a.rec = kv.ModRevision, stored
			if a.session != nil {
				e.saveAgent(a, *a.session)
			}
		})
	})
}

// Agents implements Control.
func (e *Engine) Agents(ctx context.Context) ([]*apiv1.Agent, error) {
	var out []*apiv1.Agent
	err := e.ask(ctx, func(reply func(error)) {
		for _, a := range e.agents {
			out = append(out, e.viewAgent(a))
		}
		slices.SortFunc(out, func(a, b *apiv1.Agent) int { return strings.Compare(a.GetId(), b.GetId()) })
		reply(nil)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (e *Engine) viewAgent(a *agent) *apiv1.Agent {
	v := &apiv1.Agent{Id: a.rec.GetId(), Hostname: a.rec.GetHostname(), Pool: a.rec.GetPool(), Labels: a.rec.GetLabels(), Version: a.rec.GetVersion(),
		State: "offline", CpuMilli: a.capacity.GetCpuMilli(), Memory: a.capacity.GetMemory(), Slots: a.capacity.GetSlots(), SlotsUsed: uint32(len(a.held))}
	switch {
	case a.session != nil:
		v.State = "online"
	case len(a.held) > 0 && e.c.Clock.Now().Sub(a.awaySince) < e.c.Grace:
		v.State = "absent"
	}
	if !a.lastSeen.IsZero() {
		v.LastSeenMs = a.lastSeen.UnixMilli()
	}
	return v
}

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
		out = AttemptRef{RunID: ref.runID, JobID: ref.jobID, AttemptID: ref.id, Project: ref.project, Source: ref.source}
		reply(nil)
	})
	if err != nil {
		return AttemptRef{}, err
	}
	return out, nil
}
