package engine

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/graph"
	"github.com/slipway-ci/slipway/pipeline/matrix"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// evaluate follows the graph until nothing more follows: jobs become ready, are skipped or cancelled, legs take their turn, calls open and end,
// the run ends.
func (d *draft) evaluate() {
	if d.head().GetState() == corev1.RunState_RUN_STATE_WAITING {
		return
	}
	for {
		legs := d.legs()
		var run *graph.Progress
		changed := false
		for _, id := range slices.Sorted(maps.Keys(legs)) {
			sc := d.scope(id)
			p, env, err := d.reach(sc, legs[id])
			if err != nil {
				// The records contradict the plan: nobody can go on from that.
				d.e.c.Log.Error("the run's records contradict its plan", "run", d.r.id, "call", id, "error", err)
				return
			}
			changed = d.evaluateScope(sc, p, env, legs[id]) || changed
			if id == "" {
				run = p
			}
		}
		if !changed {
			d.endIfDrained(run)
			return
		}
	}
}

// reach is how far a scope is.
func (d *draft) reach(sc *scope, legs map[string][]*statev1.JobRecord) (*graph.Progress, graph.Env, error) {
	if sc == nil {
		return nil, graph.Env{}, errors.New("a call is not in the plan")
	}
	p, err := replay(sc.graph, legs)
	if err != nil {
		return nil, graph.Env{}, err
	}
	env, err := d.env(sc)
	return p, env, err
}

func (d *draft) evaluateScope(sc *scope, p *graph.Progress, env graph.Env, legs map[string][]*statev1.JobRecord) bool {
	if sc.id != "" && lifecycle.Job.IsTerminal(d.job(sc.id).GetState()) {
		return false
	}
	changed := false
	for _, key := range p.Ready() {
		d.decide(sc, p, env, key, slices.DeleteFunc(slices.Clone(legs[key]), func(r *statev1.JobRecord) bool { return !blocked(r) }))
		changed = true
	}
	for _, job := range sc.graph.Jobs() {
		changed = d.turns(job, legs[job.GetId()]) || changed
	}
	if sc.id != "" && !changed {
		return d.endCall(sc, p, legs)
	}
	return changed
}

// blocked: nobody has decided yet what becomes of it.
func blocked(r *statev1.JobRecord) bool { return r.GetState() == corev1.JobState_JOB_STATE_BLOCKED }

func replay(g *graph.Graph, legs map[string][]*statev1.JobRecord) (*graph.Progress, error) {
	p := g.Start()
	for _, job := range g.Jobs() {
		recs := legs[job.GetId()]
		// A leader that died in the middle of a wide job has decided some of its legs only: the rest is decided now.
		if len(recs) == 0 || slices.ContainsFunc(recs, blocked) {
			continue
		}
		if err := p.Begin(job.GetId(), len(recs)); err != nil {
			return nil, err
		}
		for i, rec := range recs {
			if lifecycle.Job.IsTerminal(rec.GetState()) {
				if err := p.End(job.GetId(), i, outcome(rec)); err != nil {
					return nil, err
				}
			}
		}
	}
	return p, nil
}

func outcome(rec *statev1.JobRecord) graph.Outcome {
	o := graph.Outcome{ContinueOnError: rec.GetContinueOnError()}
	switch rec.GetState() {
	case corev1.JobState_JOB_STATE_SUCCEEDED:
		o.Result = graph.Success
	case corev1.JobState_JOB_STATE_CANCELLED:
		o.Result = graph.Cancelled
	case corev1.JobState_JOB_STATE_SKIPPED:
		o.Result = graph.Skipped
	default:
		o.Result = graph.Failure
	}
	for _, out := range rec.GetOutputs() {
		o.Outputs = append(o.Outputs, graph.Output{Name: out.GetName(), Value: out.GetValue()})
	}
	return o
}

// decide settles a job whose needs have ended.
func (d *draft) decide(sc *scope, p *graph.Progress, genv graph.Env, key string, legs []*statev1.JobRecord) {
	decision, why, err := p.Decide(key, genv)
	if err != nil {
		d.invalid(legs, err)
		return
	}
	if decision == graph.Skip {
		ev := lifecycle.JobSkip
		if genv.Cancelled {
			ev = lifecycle.JobCancel
		}
		for _, rec := range legs {
			d.fireJob(rec.GetId(), ev, lifecycle.JobArgs{Reason: why})
		}
		return
	}
	job := sc.graph.Job(key)
	env, err := p.Env(key, genv)
	if err != nil {
		d.invalid(legs, err)
		return
	}
	if len(legs) == 1 && isPlaceholder(sc, legs[0], job) {
		if legs, err = d.expand(sc, job, legs[0], env); err != nil {
			d.invalid(legs, err)
			return
		}
	}
	for _, rec := range legs {
		d.open(sc, p, genv, job, rec)
	}
}

func (d *draft) invalid(legs []*statev1.JobRecord, err error) {
	for _, rec := range legs {
		d.fireJob(rec.GetId(), lifecycle.JobInvalid, lifecycle.JobArgs{Failure: userFailure("invalid-job", err.Error())})
	}
}

// isPlaceholder: the record stands for legs that are not known before the job's needs have ended.
func isPlaceholder(sc *scope, rec *statev1.JobRecord, job *planv1.Job) bool {
	return job.GetStrategy().GetMatrix() != nil && rec.GetId() == sc.instance(job.GetId())
}

// expand replaces a placeholder by its legs; on error it returns the placeholder.
func (d *draft) expand(sc *scope, job *planv1.Job, placeholder *statev1.JobRecord, env *expr.Env) ([]*statev1.JobRecord, error) {
	legs, err := resolve.Legs(job.GetStrategy(), env)
	if err != nil {
		return []*statev1.JobRecord{placeholder}, err
	}
	var out []*statev1.JobRecord
	for i, leg := range legs {
		rec := d.e.newJob(d.r, sc, job, leg, i, len(legs))
		if err := boundMatrix(rec.GetMatrix()); err != nil {
			return []*statev1.JobRecord{placeholder}, err
		}
		// A leader that died in the middle of this has left some of them.
		if d.job(rec.GetId()) == nil {
			out = append(out, rec)
		}
	}
	jobs := len(out) - 1
	d.all(func(*statev1.JobRecord) { jobs++ })
	if err := boundJobs(jobs); err != nil {
		return []*statev1.JobRecord{placeholder}, err
	}
	for _, rec := range out {
		d.put(rec)
	}
	d.drop(placeholder.GetId())
	return out, nil
}

// newJob makes the record of a job instance. Its name is final if it does not depend on `needs`.
func (e *Engine) newJob(r *run, sc *scope, job *planv1.Job, leg matrix.Leg, i, legs int) *statev1.JobRecord {
	rec := &statev1.JobRecord{RunId: r.id, Id: sc.instance(resolve.InstanceID(job.GetId(), i, job.GetStrategy())), Key: job.GetId(), Scope: sc.id,
		State: corev1.JobState_JOB_STATE_BLOCKED, Leg: uint32(i), Legs: uint32(legs)}
	if !leg.Values.IsNull() {
		rec.Matrix = expr.ToJSON(leg.Values)
	}
	rec.Name = sc.title(matrix.JobName(job.GetId(), leg.Label))
	contexts := expr.NewObject(sc.contexts.Pairs()...)
	contexts.Set("matrix", leg.Values)
	if name, err := resolve.JobName(job, leg, &expr.Env{Contexts: contexts}); err == nil {
		rec.Name = sc.title(name)
	}
	rec.Name = clip(rec.Name, maxLabel)
	return rec
}

// open evaluates what a job instance needs to be placed, and queues it or lets it wait for its turn.
func (d *draft) open(sc *scope, p *graph.Progress, env graph.Env, job *planv1.Job, rec *statev1.JobRecord) {
	w, err := d.e.wantsOf(d.r, sc, p, env, job, rec)
	if err == nil {
		err = d.deadlock(sc, w.hold)
	}
	if err != nil {
		d.invalid([]*statev1.JobRecord{rec}, err)
		return
	}
	id := rec.GetId()
	edited := d.editJob(id)
	edited.Name, edited.ContinueOnError = w.name, w.continueOnError
	d.r.wants[id] = w
	if w.maxParallel > 0 && int(rec.GetLegs()) > w.maxParallel {
		d.fireJob(id, lifecycle.JobGate, lifecycle.JobArgs{Reason: fmt.Sprintf("max-parallel: at most %d legs run at once", w.maxParallel)})
		return
	}
	d.admit(id, job, w)
}

// deadlock refuses a group that the run, or a call above the job, holds: it would wait for its own end.
func (d *draft) deadlock(sc *scope, hold *statev1.Hold) error {
	if hold == nil {
		return nil
	}
	key := groupKey(d.r.def.GetProject(), hold.GetGroup())
	for {
		if c := d.r.claims[sc.id]; c != nil && c.g.key == key {
			return fmt.Errorf("concurrency: the group `%s` is held by what the job is a part of, so the job would wait for ever", hold.GetGroup())
		}
		if sc.id == "" {
			return nil
		}
		sc = sc.parent
	}
}

// admit lets a job instance whose turn it is go on, or wait for its concurrency group.
func (d *draft) admit(id string, job *planv1.Job, w *wants) bool {
	if w.hold != nil && !d.claim(id, w.hold) {
		d.editJob(id).Hold = w.hold
		return d.fireJob(id, lifecycle.JobGate, lifecycle.JobArgs{Reason: d.r.claims[id].g.reason(0)})
	}
	if w.hold != nil {
		d.editJob(id).Hold = w.hold
	}
	return d.begin(id, job)
}

// begin queues a job instance, or opens a call.
func (d *draft) begin(id string, job *planv1.Job) bool {
	if job.GetCall() != nil {
		d.openCall(d.editJob(id))
		return true
	}
	return d.fireJob(id, lifecycle.JobReady, lifecycle.JobArgs{})
}

// resumes goes on with the run or job that was granted its group; false if it does not wait any more.
func (d *draft) resumes(c *claim) bool {
	if c.job == "" {
		if d.head().GetState() != corev1.RunState_RUN_STATE_WAITING {
			return false
		}
		d.fireRun(lifecycle.RunCreated, lifecycle.RunArgs{})
		return true
	}
	rec := d.job(c.job)
	if rec.GetState() != corev1.JobState_JOB_STATE_WAITING {
		return false
	}
	sc := d.scope(rec.GetScope())
	return sc != nil && d.begin(c.job, sc.graph.Job(rec.GetKey()))
}

// turns applies fail-fast and max-parallel to the legs of a job; it says whether anything changed.
func (d *draft) turns(job *planv1.Job, legs []*statev1.JobRecord) bool {
	if len(legs) < 2 {
		return false
	}
	var failed *statev1.JobRecord
	active := 0
	var waiting []*statev1.JobRecord
	for _, old := range legs {
		rec := d.job(old.GetId())
		switch s := rec.GetState(); {
		case didFail(rec) && failed == nil:
			failed = rec
		case s == corev1.JobState_JOB_STATE_WAITING && rec.GetHold() == nil:
			waiting = append(waiting, rec)
		case s >= corev1.JobState_JOB_STATE_WAITING && !lifecycle.Job.IsTerminal(s):
			active++
		}
	}
	if failed == nil && len(waiting) == 0 {
		return false
	}
	w, err := d.wants(legs[0])
	if err != nil {
		return false
	}
	if failed != nil && w.failFast {
		return d.failFast(failed, legs)
	}
	changed := false
	for _, rec := range waiting {
		if w.maxParallel > 0 && active >= w.maxParallel {
			break
		}
		own, err := d.wants(rec)
		if err != nil {
			d.invalid([]*statev1.JobRecord{rec}, err)
			changed = true
			continue
		}
		active++
		changed = d.admit(rec.GetId(), job, own) || changed
	}
	return changed
}

func (d *draft) failFast(failed *statev1.JobRecord, legs []*statev1.JobRecord) bool {
	ids := make([]string, len(legs))
	for i, leg := range legs {
		ids[i] = leg.GetId()
	}
	return d.cancelJobs(ids, fmt.Sprintf("fail-fast: %s failed", failed.GetName()))
}

// endIfDrained ends the run when every job has.
func (d *draft) endIfDrained(p *graph.Progress) {
	if !p.Done() || lifecycle.Run.IsTerminal(d.head().GetState()) {
		return
	}
	var failed, call *statev1.JobRecord
	cancelled, skipped, total := 0, 0, 0
	d.all(func(rec *statev1.JobRecord) {
		sc := d.scope(rec.GetScope())
		if sc != nil && opened(rec, sc.graph.Job(rec.GetKey())) {
			if call == nil && didFail(rec) {
				call = rec
			}
			return // its jobs count
		}
		total++
		switch rec.GetState() {
		case corev1.JobState_JOB_STATE_FAILED, corev1.JobState_JOB_STATE_TIMED_OUT:
			if failed == nil && didFail(rec) {
				failed = rec
			}
		case corev1.JobState_JOB_STATE_CANCELLED:
			cancelled++
		case corev1.JobState_JOB_STATE_SKIPPED:
			skipped++
		default:
		}
	})
	if failed == nil {
		failed = call // its outputs could not be evaluated
	}
	d.fireRun(lifecycle.RunDrained, lifecycle.RunArgs{})
	switch {
	case d.head().GetCancelRequested() && (cancelled > 0 || failed != nil):
		d.fireRun(lifecycle.RunCancelled, lifecycle.RunArgs{Failure: userFailure("cancelled", cancelMessage(d.head()))})
	case failed != nil:
		f := failed.GetFailure()
		d.fireRun(lifecycle.RunFailed, lifecycle.RunArgs{Failure: &corev1.Failure{Code: f.GetCode(), Fault: f.GetFault(),
			Message: fmt.Sprintf("job %s: %s", failed.GetName(), f.GetMessage())}})
	case cancelled > 0:
		d.fireRun(lifecycle.RunCancelled, lifecycle.RunArgs{JobsCancelled: true, Failure: userFailure("job-cancelled", jobsWere(cancelled))})
	case skipped == total:
		d.fireRun(lifecycle.RunSkipped, lifecycle.RunArgs{})
	default:
		d.fireRun(lifecycle.RunSucceeded, lifecycle.RunArgs{})
	}
}

func jobsWere(cancelled int) string {
	if cancelled == 1 {
		return "a job was cancelled"
	}
	return fmt.Sprintf("%d jobs were cancelled", cancelled)
}

func cancelMessage(h *statev1.RunHeader) string {
	if h.GetCancelReason() == "" {
		return "the run was cancelled"
	}
	return "the run was cancelled: " + h.GetCancelReason()
}
