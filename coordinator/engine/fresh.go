package engine

import (
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/schedule"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// A small new run is not committed at once: it waits, a millisecond at most, for the next look for placements. If there is room for its jobs, they are
// created as assigned, in one transition instead of two. Nobody knows of the run before that is committed, so nothing is told or offered too early; if
// the creation is refused, the places are given back.

// freshJobs and freshBytes bound the job records of a run that waits so: its creation must be one transition, because a leader that finds a half of one
// makes the jobs again.
const freshJobs, freshBytes = 8, 16 << 10

// start proposes a creation, or lets it wait for the next look for placements.
func (e *Engine) start(d *draft) {
	if len(d.queued()) == 0 || !d.small() {
		e.propose(d)
		return
	}
	// As if it were proposed: what comes for the run meanwhile, from a concurrency group that it waits for, is for its next draft.
	d.r.flying = true
	e.fresh = append(e.fresh, d)
	e.scheduleDue = true
}

// queued are the jobs that the draft makes and that want an agent.
func (d *draft) queued() []string {
	var out []string
	for _, id := range d.touched {
		if d.jobs[id].GetState() == corev1.JobState_JOB_STATE_QUEUED {
			out = append(out, id)
		}
	}
	return out
}

func (d *draft) small() bool {
	size := 0
	for _, id := range d.touched {
		size += proto.Size(d.jobs[id])
	}
	return len(d.touched) <= freshJobs && size <= freshBytes
}

// queueFresh puts the jobs of the runs that wait to be created into the queue of one plan, and returns the runs' drafts by id.
func (e *Engine) queueFresh() map[string]*draft {
	drafts := make(map[string]*draft, len(e.fresh))
	for _, d := range e.fresh {
		drafts[d.r.id] = d
		for i, id := range d.queued() { // in the plan's order
			if w, err := d.wants(d.jobs[id]); err == nil {
				e.queue.jobs.Put(e.scheduleJob(d.r, d.jobs[id], w, i))
			}
		}
	}
	return drafts
}

// assignFresh makes a job that is created an assigned one.
func (e *Engine) assignFresh(d *draft, p schedule.Placement) {
	g := e.reserve(d.r, p)
	if g == nil {
		return
	}
	refused := d.refused
	d.refused = func(err error) {
		e.release(g.ref.agentID, g.ref.id)
		refused(err)
	}
	d.assign(g)
}

// createFresh proposes the runs that waited. Those of their jobs that found no agent are queued once they are committed.
func (e *Engine) createFresh() {
	drafts := e.fresh
	e.fresh = nil
	for _, d := range drafts {
		for _, id := range d.touched {
			e.queue.jobs.Remove(d.r.id, id)
		}
		if d.graphDue {
			// A job may have failed because it can't be offered. What follows from that is a draft of its own: this one is one transition.
			d.then(func() { e.enqueue(d.r, func(next *draft) { next.graphDue = true }) })
		}
		e.propose(d)
	}
}
