package engine

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// agentChange is one change of an agent's record that is on its way.
type agentChange struct {
	apply func(*statev1.AgentRecord)
	done  func(error)
}

// changeAgent changes an agent's record in the store. apply may be called again, on what somebody else wrote meanwhile. done, which may be nil, is
// called from the engine's goroutine once the outcome is definite; a drain is seen by nobody before.
func (e *Engine) changeAgent(a *agent, apply func(*statev1.AgentRecord), done func(error)) {
	if done == nil {
		done = func(err error) {
			if err != nil {
				e.c.Log.Warn("an agent's record could not be written", "agent", a.rec.GetId(), "error", err)
			}
		}
	}
	a.changes = append(a.changes, agentChange{apply, done})
	e.writeAgent(a)
}

// writeAgent writes all changes that wait, unless a write is in flight.
func (e *Engine) writeAgent(a *agent) {
	if a.writing || len(a.changes) == 0 {
		return
	}
	changes := a.changes
	a.changes = nil
	want := proto.CloneOf(a.stored)
	for _, c := range changes {
		c.apply(want)
	}
	if a.rev != 0 && proto.Equal(want, a.stored) {
		finishChanges(changes, nil)
		return
	}
	want.TransitionId = e.c.NewID()
	value, err := encode(want)
	if err != nil {
		finishChanges(changes, rpcerr.New(rpcerr.Internal, "the record of agent %s can't be encoded: %v", want.GetId(), err))
		return
	}
	a.writing = true
	key := agentKey(want.GetId())
	err = e.commits.Propose(&commit.Transition{Compares: []store.Compare{{Key: key, Revision: a.rev}}, Ops: []store.Op{{Key: key, Value: value}},
		Done: func(o commit.Outcome) {
			e.post(func() { e.agentWritten(a, want, changes, o) })
		}})
	if err != nil {
		a.writing = false
		finishChanges(changes, err)
	}
}

func (e *Engine) agentWritten(a *agent, want *statev1.AgentRecord, changes []agentChange, o commit.Outcome) {
	a.writing = false
	switch {
	case o.Err == nil:
		a.rev, a.stored = o.Revision, want
		a.show()
		e.scheduleDue = true // explanations change, too
		finishChanges(changes, nil)
		e.writeAgent(a)
	case errors.Is(o.Err, commit.ErrConflict):
		// Somebody else (an agent that joins) wrote it: the same changes, on what is there now.
		a.changes = append(changes, a.changes...)
		e.rereadAgent(a)
	default:
		finishChanges(changes, commitError(o.Err))
	}
}

// show makes what is stored of an agent visible. What its certificate says is newer in memory.
func (a *agent) show() { a.rec.Drain, a.rec.JoinedMs = a.stored.GetDrain(), a.stored.GetJoinedMs() }

func finishChanges(changes []agentChange, err error) {
	for _, c := range changes {
		c.done(err)
	}
}

// commitError is what a caller is told of a transition that failed.
func commitError(err error) error {
	switch {
	case errors.Is(err, commit.ErrStopped):
		return errNotLeader()
	case rpcerr.ReasonOf(err) != "":
		return err
	}
	return rpcerr.New(rpcerr.Internal, "the change could not be stored: %v", err)
}

// rereadAgent fetches a record that another part of the coordinator wrote, and then writes what waits.
func (e *Engine) rereadAgent(a *agent) {
	a.writing = true
	id := a.rec.GetId()
	e.wg.Go(func() {
		ctx, cancel := e.background()
		defer cancel()
		stored := &statev1.AgentRecord{Id: id}
		kv, found, err := e.c.Store.Get(ctx, agentKey(id))
		if err == nil && found {
			err = decode(kv, stored)
		}
		e.post(func() {
			a.writing = false
			if err != nil {
				changes := a.changes
				a.changes = nil
				finishChanges(changes, storeError(err))
				return
			}
			a.rev, a.stored = 0, stored
			if found {
				a.rev = kv.ModRevision
			}
			a.show()
			e.writeAgent(a)
		})
	})
}

// knowAgent takes over what the certificate and Hello say.
func (e *Engine) knowAgent(a *agent, s Session) {
	identity := func(rec *statev1.AgentRecord) {
		rec.Id, rec.Hostname, rec.Pool, rec.Labels, rec.Version = s.AgentID, s.Hostname, s.Pool, s.Labels, s.Version
	}
	identity(a.rec)
	now := e.nowMS()
	e.changeAgent(a, func(rec *statev1.AgentRecord) {
		identity(rec)
		if rec.GetJoinedMs() == 0 {
			rec.JoinedMs = now
		}
		ownDrain(rec, s.Drain, now)
	}, nil)
}
