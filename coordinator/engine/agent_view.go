package engine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// findAgent finds an agent by what people call it: its id, its host name, or a unique prefix of either.
func (e *Engine) findAgent(name string) (*agent, error) {
	if name == "" {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "no agent is named; give its id, its host name, or the beginning of either")
	}
	if a := e.agents[strings.ToLower(name)]; a != nil {
		return a, nil
	}
	var whole, begin []*agent
	for _, a := range e.agents {
		switch {
		case strings.EqualFold(a.rec.GetHostname(), name):
			whole = append(whole, a)
		case strings.HasPrefix(a.rec.GetId(), strings.ToLower(name)), strings.HasPrefix(strings.ToLower(a.rec.GetHostname()), strings.ToLower(name)):
			begin = append(begin, a)
		}
	}
	found := whole
	if len(found) == 0 {
		found = begin
	}
	switch len(found) {
	case 0:
		return nil, rpcerr.New(rpcerr.NotFound, "there is no agent %s; `slipway agents ls` lists those that have joined", name)
	case 1:
		return found[0], nil
	}
	slices.SortFunc(found, func(a, b *agent) int { return strings.Compare(a.rec.GetId(), b.rec.GetId()) })
	var names []string
	for i, a := range found {
		if i == 5 {
			names = append(names, fmt.Sprintf("%d more", len(found)-5))
			break
		}
		names = append(names, fmt.Sprintf("%s (%s)", a.rec.GetId(), a.rec.GetHostname()))
	}
	return nil, rpcerr.New(rpcerr.InvalidRequest, "several agents are called %s: %s; give more of the id", name, strings.Join(names, ", "))
}

// findWhole finds an agent by its whole id or host name: what can't be undone must not meet the only agent left whose name begins so.
func (e *Engine) findWhole(name string) (*agent, error) {
	a, err := e.findAgent(name)
	if err == nil && !strings.EqualFold(a.rec.GetHostname(), name) && a.rec.GetId() != strings.ToLower(name) {
		return nil, rpcerr.New(rpcerr.NotFound, "there is no agent %s; did you mean %s (%s)? Give the whole id or host name", name, a.rec.GetHostname(), a.rec.GetId())
	}
	return a, err
}

// Agent implements AgentControl.
func (e *Engine) Agent(ctx context.Context, name string) (*apiv1.Agent, error) {
	var out *apiv1.Agent
	err := e.ask(ctx, func(reply func(error)) {
		a, err := e.findAgent(name)
		if err == nil {
			out = e.viewAgent(a, true)
		}
		reply(err)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Agents implements Control.
func (e *Engine) Agents(ctx context.Context) ([]*apiv1.Agent, error) {
	var out []*apiv1.Agent
	err := e.ask(ctx, func(reply func(error)) {
		for _, a := range e.agents {
			out = append(out, e.viewAgent(a, false))
		}
		slices.SortFunc(out, func(a, b *apiv1.Agent) int { return strings.Compare(a.GetId(), b.GetId()) })
		reply(nil)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

func (e *Engine) viewAgent(a *agent, work bool) *apiv1.Agent {
	v := &apiv1.Agent{Id: a.rec.GetId(), Hostname: a.rec.GetHostname(), Pool: a.rec.GetPool(), Labels: a.rec.GetLabels(), Version: a.rec.GetVersion(),
		State: "offline", CpuMilli: a.capacity.GetCpuMilli(), Memory: a.capacity.GetMemory(), Slots: a.capacity.GetSlots(), SlotsUsed: uint32(len(a.held)),
		Schedule: "schedulable", Drain: viewDrain(a.rec.GetDrain()), JoinedMs: a.rec.GetJoinedMs(), DiskFree: a.diskFree, Problems: a.problems}
	switch {
	case a.session != nil:
		v.State, v.SessionSinceMs = "online", a.since.UnixMilli()
	case len(a.held) > 0 && e.c.Clock.Now().Sub(a.awaySince) < e.c.Grace:
		v.State = "absent"
	}
	switch {
	case v.GetDrain().GetDrainedMs() != 0:
		v.Schedule = "drained"
	case v.GetDrain() != nil:
		v.Schedule = "draining"
	}
	for _, h := range a.held {
		v.CpuUsedMilli += h.cpu
		v.MemoryUsed += h.memory
	}
	if !a.lastSeen.IsZero() {
		v.LastSeenMs = a.lastSeen.UnixMilli()
	}
	v.Why = e.whyIdle(a)
	if work {
		v.Work = e.workOf(a)
	}
	return v
}

// whyIdle says why an agent is given no work, whatever the work is; "" if it would be given some.
func (e *Engine) whyIdle(a *agent) string {
	switch {
	case a.removing:
		return "is being removed"
	case a.rec.GetDrain() != nil:
		return drainText(a.rec.GetDrain())
	case a.session == nil:
		return "is not connected"
	case !a.ready:
		return "has just connected"
	case len(a.held) >= int(a.capacity.GetSlots()):
		return fmt.Sprintf("has all of its %d slots in use", a.capacity.GetSlots())
	}
	return ""
}

func viewDrain(d *statev1.Drain) *apiv1.AgentDrain {
	if d == nil {
		return nil
	}
	return &apiv1.AgentDrain{SinceMs: d.GetSinceMs(), DeadlineMs: d.GetDeadlineMs(), By: d.GetBy(), Reason: d.GetReason(), Own: d.GetOwn(), DrainedMs: d.GetDrainedMs()}
}

// workOf lists what an agent has, oldest first.
func (e *Engine) workOf(a *agent) []*apiv1.AgentWork {
	var out []*apiv1.AgentWork
	for id, h := range a.held {
		r := e.runs[h.runID]
		if r == nil || r.jobs[h.jobID] == nil {
			continue
		}
		rec := r.jobs[h.jobID].rec
		w := &apiv1.AgentWork{RunId: h.runID, RunNumber: r.header.GetNumber(), JobId: h.jobID, JobName: rec.GetName(), AttemptId: id}
		if att := rec.GetAttempt(); att.GetId() == id {
			w.Attempt, w.State, w.OfferedMs = att.GetNumber(), att.GetState(), att.GetOfferedMs()
		}
		if h.hold {
			w.HeldUntilMs = rec.GetHeld().GetUntilMs()
		}
		out = append(out, w)
	}
	slices.SortFunc(out, func(x, y *apiv1.AgentWork) int {
		return cmp.Or(cmp.Compare(x.GetOfferedMs(), y.GetOfferedMs()), strings.Compare(x.GetAttemptId(), y.GetAttemptId()))
	})
	return out
}
