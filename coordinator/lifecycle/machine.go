// Package lifecycle decides states, and nothing else does: the transition tables of a run, a job and an attempt, as data. It is pure.
//
//	Run:     creating → (waiting) → queued → running → (cancelling) → finishing → succeeded | failed | cancelled | skipped
//	Job:     blocked → waiting → queued → assigned → running → (cancelling) → succeeded | failed | timed out | cancelled | skipped
//	Attempt: offered → accepted → preparing → running → (cancelling) → finishing → done | rejected | lost
//
// States are numbered upward and never decrease; a job's do so within its attempt. Side effects are returned as tasks, to be performed after
// the change is committed.
package lifecycle

import (
	"fmt"
	"slices"
)

// Event names what happened to a record.
type Event string

// Task is a side effect, performed after the commit of the transition that returned it.
type Task string

// The tasks.
const (
	// TaskOffer: send the job's new attempt to its agent.
	TaskOffer Task = "offer"
	// TaskSchedule: look for placements; a job wants an agent, or an agent has room again.
	TaskSchedule Task = "schedule"
	// TaskCancelAttempt: tell the agent to end the attempt in order.
	TaskCancelAttempt Task = "cancel-attempt"
	// TaskKillAttempt: tell the agent that the attempt is fenced.
	TaskKillAttempt Task = "kill-attempt"
	// TaskRelease: the attempt's reservation on its agent is free.
	TaskRelease Task = "release"
	// TaskSeal: the run is over; seal it.
	TaskSeal Task = "seal"
)

// Rule is one row of a table: in any of From, Event leads to To if Guard allows it.
type Rule[S ~int32, R, A any] struct {
	Event Event
	From  []S
	To    S
	// Guard returns why not; nil allows.
	Guard func(r R, a A) error
	// Apply sets what else changes with the state.
	Apply func(r R, a A)
	Tasks []Task
	// NewAttempt rows begin a new attempt: only they may lead to a lower state.
	NewAttempt bool
}

// Machine is a table with access to the record's state.
type Machine[S ~int32, R, A any] struct {
	Name     string
	Initial  []S
	Terminal []S
	Rules    []Rule[S, R, A]
	State    func(R) S
	Set      func(R, S)
}

// RefusedError says that a record does not take an event now; it was not changed.
type RefusedError struct {
	Machine, State string
	Event          Event
	// Reason of the guard; nil if the table has no row.
	Reason error
}

// Error implements error.
func (e *RefusedError) Error() string {
	if e.Reason != nil {
		return fmt.Sprintf("%s in state %s refuses %s: %s", e.Machine, e.State, e.Event, e.Reason)
	}
	return fmt.Sprintf("%s in state %s does not know %s", e.Machine, e.State, e.Event)
}

// Unwrap returns the guard's reason.
func (e *RefusedError) Unwrap() error { return e.Reason }

// Fire applies an event to a record and returns the side effects. On error (a *RefusedError) the record is unchanged.
func (m *Machine[S, R, A]) Fire(r R, e Event, a A) ([]Task, error) {
	s := m.State(r)
	rule := m.find(s, e)
	if rule == nil {
		return nil, m.refuse(s, e, nil)
	}
	if rule.Guard != nil {
		if err := rule.Guard(r, a); err != nil {
			return nil, m.refuse(s, e, err)
		}
	}
	m.Set(r, rule.To)
	if rule.Apply != nil {
		rule.Apply(r, a)
	}
	return rule.Tasks, nil
}

// Can says whether the table has a row for the event in the record's state; a guard may still refuse.
func (m *Machine[S, R, A]) Can(r R, e Event) bool { return m.find(m.State(r), e) != nil }

// IsTerminal says whether a state is final.
func (m *Machine[S, R, A]) IsTerminal(s S) bool { return slices.Contains(m.Terminal, s) }

func (m *Machine[S, R, A]) find(s S, e Event) *Rule[S, R, A] {
	for i := range m.Rules {
		if m.Rules[i].Event == e && slices.Contains(m.Rules[i].From, s) {
			return &m.Rules[i]
		}
	}
	return nil
}

func (m *Machine[S, R, A]) refuse(s S, e Event, reason error) error {
	state := fmt.Sprint(int32(s))
	if n, ok := any(s).(fmt.Stringer); ok {
		state = n.String()
	}
	return &RefusedError{Machine: m.Name, State: state, Event: e, Reason: reason}
}
