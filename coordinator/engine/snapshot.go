package engine

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/schedule"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// snapshot is what the scheduler is told of an agent, and what that was made of. It is never changed: an agent that differs gets a new one. Most of a
// fleet does not, from one plan to the next.
type snapshot struct {
	of    facts
	agent schedule.Agent
}

// facts are what a snapshot follows from; pool and labels are the session's.
type facts struct {
	session         *Session
	capacity        *fleetv1.Capacity
	drain           *statev1.Drain
	pool            string
	ready, removing bool
	diskFree        int64
}

// hold reserves a place of the agent, unhold gives it back. Nothing else writes held: what the scheduler is told follows from it.
func (a *agent) hold(attemptID string, r reservation) {
	a.held[attemptID] = r
	a.told = nil
}

func (a *agent) unhold(attemptID string) {
	delete(a.held, attemptID)
	a.told = nil
}

// snapshotAgents are all agents, by id.
func (e *Engine) snapshotAgents() []*schedule.Agent {
	if e.fleet == nil {
		for _, a := range e.agents {
			e.fleet = append(e.fleet, a)
		}
		slices.SortFunc(e.fleet, func(a, b *agent) int { return strings.Compare(a.rec.GetId(), b.rec.GetId()) })
	}
	out := make([]*schedule.Agent, len(e.fleet))
	for i, a := range e.fleet {
		now := facts{session: a.session, capacity: a.capacity, drain: a.rec.GetDrain(), pool: a.rec.GetPool(), ready: a.ready, removing: a.removing, diskFree: a.diskFree}
		if a.told == nil || a.told.of != now {
			a.told = &snapshot{of: now, agent: a.snapshot()}
		}
		out[i] = &a.told.agent
	}
	return out
}

func (a *agent) snapshot() schedule.Agent {
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
