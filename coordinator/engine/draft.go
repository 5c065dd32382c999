package engine

import (
	"errors"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// draft is the next state of a run, seen by nobody until it is committed. Records are cloned when first changed.
type draft struct {
	e   *Engine
	r   *run
	now int64
	// header is nil until it changes.
	header *statev1.RunHeader
	// jobs that changed; nil where the record is deleted. touched keeps their order.
	jobs    map[string]*statev1.JobRecord
	touched []string
	// groups are what the transitions of the run ("") and of jobs do to their concurrency groups.
	groups map[string]groupOp
	// graphDue says that something happened that can make jobs ready or end the run.
	graphDue bool
	// create: the run is new; extra are the writes that only a creation has.
	create        bool
	extra         []store.Op
	extraCompares []store.Compare
	// after is done once the draft is committed, in order.
	after []func()
	// stored are the records of the stages that are committed; they become the truth together.
	stored []storedJob
	// refused is called if the queue is full or the creation conflicts; only creations have it.
	refused func(error)
}

func (e *Engine) newDraft(r *run) *draft {
	return &draft{e: e, r: r, now: e.nowMS(), jobs: map[string]*statev1.JobRecord{}, groups: map[string]groupOp{}}
}

func (d *draft) then(f func()) { d.after = append(d.after, f) }

// head is the header as the draft has it; not to be changed.
func (d *draft) head() *statev1.RunHeader {
	if d.header != nil {
		return d.header
	}
	return d.r.header
}

func (d *draft) editHead() *statev1.RunHeader {
	if d.header == nil {
		d.header = proto.CloneOf(d.r.header)
	}
	return d.header
}

// job is a record as the draft has it, nil if there is none; not to be changed.
func (d *draft) job(id string) *statev1.JobRecord {
	if rec, ok := d.jobs[id]; ok {
		return rec
	}
	if e := d.r.jobs[id]; e != nil {
		return e.rec
	}
	return nil
}

func (d *draft) editJob(id string) *statev1.JobRecord {
	if rec := d.jobs[id]; rec != nil {
		return rec
	}
	rec := proto.CloneOf(d.r.jobs[id].rec)
	d.put(rec)
	return rec
}

// put adds or replaces a record.
func (d *draft) put(rec *statev1.JobRecord) {
	if _, ok := d.jobs[rec.GetId()]; !ok {
		d.touched = append(d.touched, rec.GetId())
	}
	d.jobs[rec.GetId()] = rec
}

// drop deletes a record.
func (d *draft) drop(id string) {
	if d.r.jobs[id] == nil {
		// It was never stored.
		delete(d.jobs, id)
		d.touched = slices.DeleteFunc(d.touched, func(t string) bool { return t == id })
		return
	}
	if _, ok := d.jobs[id]; !ok {
		d.touched = append(d.touched, id)
	}
	d.jobs[id] = nil
}

// all calls f for every record that the draft has, in a stable order.
func (d *draft) all(f func(*statev1.JobRecord)) {
	for _, id := range d.r.order {
		if rec := d.job(id); rec != nil {
			f(rec)
		}
	}
	for _, id := range d.touched {
		if rec := d.jobs[id]; rec != nil && d.r.jobs[id] == nil {
			f(rec)
		}
	}
}

// fireRun applies an event to the header. A refusal is a bug of the caller, who must have asked Can.
func (d *draft) fireRun(ev lifecycle.Event, args lifecycle.RunArgs) {
	args.Now = d.now
	args.Reason, args.Failure = clip(args.Reason, maxText), clipFailure(args.Failure, maxText)
	tasks, err := lifecycle.Run.Fire(d.editHead(), ev, args)
	if err != nil {
		d.e.c.Log.Error("a run refused its transition", "run", d.r.id, "error", err)
		return
	}
	if lifecycle.Run.IsTerminal(d.header.GetState()) {
		d.leave("")
	}
	for _, t := range tasks {
		d.task(t, nil)
	}
}

// fireJob applies an event to a job.
func (d *draft) fireJob(id string, ev lifecycle.Event, args lifecycle.JobArgs) bool {
	args.Now = d.now
	args.Reason, args.Failure = clip(args.Reason, maxText), clipFailure(args.Failure, maxText)
	rec := d.editJob(id)
	tasks, err := lifecycle.Job.Fire(rec, ev, args)
	if err != nil {
		d.e.c.Log.Error("a job refused its transition", "run", d.r.id, "job", id, "error", err)
		return false
	}
	if lifecycle.Job.IsTerminal(rec.GetState()) {
		d.graphDue = true
		d.leave(id)
	}
	for _, t := range tasks {
		d.task(t, rec)
	}
	return true
}

// fireAttempt applies an event to a job's current attempt.
func (d *draft) fireAttempt(id string, ev lifecycle.Event, args lifecycle.AttemptArgs) error {
	rec := d.editJob(id)
	tasks, err := lifecycle.Attempt.Fire(rec.GetAttempt(), ev, args)
	for _, t := range tasks {
		d.task(t, rec)
	}
	return err
}

// task arranges what a transition asked for, to be done after the commit.
func (d *draft) task(t lifecycle.Task, rec *statev1.JobRecord) {
	a := rec.GetAttempt()
	attempt, agentID, jobID := a.GetId(), a.GetAgentId(), rec.GetId()
	switch t {
	case lifecycle.TaskOffer:
		d.then(func() { d.e.sendOffer(d.r, jobID, attempt) })
	case lifecycle.TaskSchedule:
		d.then(func() { d.e.scheduleDue = true })
	case lifecycle.TaskCancelAttempt:
		reason := rec.GetReason()
		d.then(func() { d.e.sendCancel(agentID, attempt, reason) })
	case lifecycle.TaskKillAttempt:
		d.then(func() {
			d.e.sendKill(agentID, attempt, "the attempt is fenced: another one took its place, or its job ended")
		})
	case lifecycle.TaskRelease:
		if d.e.c.Mutants.EarlyRelease {
			d.e.release(agentID, attempt)
		}
		d.then(func() { d.e.release(agentID, attempt) })
	case lifecycle.TaskSeal:
		d.then(func() {
			d.e.recordRun(d.r)
			d.e.retireOver(d.r)
		})
	}
}

// enqueue gives an event to a run, and makes a draft at once if none is in flight.
func (e *Engine) enqueue(r *run, ev func(*draft)) {
	r.inbox = append(r.inbox, ev)
	e.advance(r)
}

// advance makes the next draft of a run from all events that wait.
func (e *Engine) advance(r *run) {
	for !r.flying && len(r.inbox) > 0 {
		d := e.newDraft(r)
		d.accept()
		events := r.inbox
		r.inbox = nil
		for _, ev := range events {
			ev(d)
		}
		if d.graphDue {
			d.evaluate()
		}
		e.propose(d)
	}
}

// propose commits a draft, in several transitions if it is large. A draft without changes is committed already.
func (e *Engine) propose(d *draft) {
	stages, err := d.stages()
	if err != nil {
		e.fail(d, rpcerr.New(rpcerr.Internal, "a record of run %s can't be encoded: %v", d.r.id, err))
		return
	}
	if len(stages) == 0 {
		d.finish()
		return
	}
	d.r.flying = true
	e.proposeStage(d, stages)
}

func (e *Engine) proposeStage(d *draft, stages []stage) {
	s := stages[0]
	compares := s.compares()
	err := e.commits.Propose(&commit.Transition{Compares: compares, Ops: s.ops, Refusable: d.create && d.refused != nil, Done: func(o commit.Outcome) {
		e.post(func() { e.staged(d, stages, o) })
	}})
	if err != nil {
		e.fail(d, err)
	}
}

func (e *Engine) staged(d *draft, stages []stage, o commit.Outcome) {
	if o.Err != nil {
		e.fail(d, o.Err)
		return
	}
	s := stages[0]
	if s.header != nil {
		d.r.headerRev = o.Revision
	}
	for _, j := range s.jobs {
		d.stored = append(d.stored, storedJob{j, o.Revision})
	}
	for _, op := range s.groups {
		if !op.release {
			op.g.rev = o.Revision
		}
	}
	d.refused = nil
	if len(stages) > 1 {
		e.proposeStage(d, stages[1:])
		return
	}
	d.finish()
}

// finish makes a committed draft the truth.
func (d *draft) finish() {
	r := d.r
	// What follows may have events for this run: they make the next draft, not one in the middle of this.
	r.flying = true
	if d.header != nil {
		from := r.header.GetState()
		if d.create {
			from = corev1.RunState_RUN_STATE_UNSPECIFIED
		}
		r.header = d.header
		if d.create || from != r.header.GetState() {
			d.e.c.Metrics.runMoved(from, r.header.GetState(), r.terminal())
			d.e.c.Log.Info("run", "run", r.id, "state", stateWord(r.header.GetState()))
			if r.terminal() {
				d.e.c.Metrics.runEnded(r.header)
			}
		}
	}
	changed := false
	for _, j := range d.stored {
		if j.rec == nil {
			delete(r.jobs, j.id)
			changed = true
			continue
		}
		old := r.jobs[j.id]
		changed = changed || old == nil
		r.jobs[j.id] = &jobEntry{rec: j.rec, rev: j.rev}
		d.e.jobMoved(old, j.rec)
	}
	if changed {
		r.sortOrder()
	}
	for _, f := range d.after {
		f()
	}
	r.flying = false
	if d.header != nil || len(d.touched) > 0 {
		d.e.publish(r)
	}
	d.e.advance(r)
}

// jobMoved tells of a job's new state, once it is committed.
func (e *Engine) jobMoved(old *jobEntry, rec *statev1.JobRecord) {
	from := corev1.JobState_JOB_STATE_UNSPECIFIED
	if old != nil {
		from = old.rec.GetState()
	}
	if from == rec.GetState() {
		return
	}
	if from == corev1.JobState_JOB_STATE_QUEUED || rec.GetState() == corev1.JobState_JOB_STATE_QUEUED {
		e.queue.touch(rec.GetRunId(), rec.GetId())
	}
	e.c.Metrics.jobMoved(from, rec)
	if from != corev1.JobState_JOB_STATE_UNSPECIFIED || lifecycle.Job.IsTerminal(rec.GetState()) {
		e.c.Log.Info("job", "run", rec.GetRunId(), "job", rec.GetId(), "attempt", rec.GetAttempt().GetId(), "state", jobStateWord(rec.GetState()),
			"agent", rec.GetAttempt().GetAgentId())
	}
}

// fail is for drafts that can't be committed. A creation may be refused, or lose to its own repeat; anything else means that the store is not
// what memory says, and memory goes.
func (e *Engine) fail(d *draft, err error) {
	if d.refused != nil {
		d.refused(err)
		return
	}
	if !errors.Is(err, commit.ErrStopped) {
		e.c.Log.Error("the store contradicts the leader's memory; stepping down", "run", d.r.id, "error", err)
	}
	e.stepDown()
}
