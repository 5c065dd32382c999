package engine

import (
	"fmt"
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

// evaluate follows the graph until nothing more follows: jobs become ready, are skipped or cancelled, legs take their turn, the run ends.
func (d *draft) evaluate() {
	for {
		p, err := d.progress()
		if err != nil {
			// The records contradict the plan: nobody can go on from that.
			d.e.c.Log.Error("the run's records contradict its plan", "run", d.r.id, "error", err)
			return
		}
		legs := d.legsByKey()
		changed := false
		for _, key := range p.Ready() {
			d.decide(p, key, legs[key])
			changed = true
		}
		for _, job := range d.r.plan.GetJobs() {
			changed = d.turns(p, job, legs[job.GetId()]) || changed
		}
		if !changed {
			d.endIfDrained(p)
			return
		}
	}
}

func (d *draft) env() graph.Env {
	return graph.Env{Contexts: d.r.contexts, Cancelled: d.head().GetCancelRequested()}
}

func (d *draft) legsByKey() map[string][]*statev1.JobRecord {
	out := map[string][]*statev1.JobRecord{}
	d.all(func(rec *statev1.JobRecord) { out[rec.GetKey()] = append(out[rec.GetKey()], rec) })
	return out
}

// progress replays the records into the graph.
func (d *draft) progress() (*graph.Progress, error) {
	return replay(d.r.graph, d.legsByKey())
}

func replay(g *graph.Graph, legs map[string][]*statev1.JobRecord) (*graph.Progress, error) {
	p := g.Start()
	for _, job := range g.Jobs() {
		recs := legs[job.GetId()]
		begun := slices.ContainsFunc(recs, func(r *statev1.JobRecord) bool { return r.GetState() > corev1.JobState_JOB_STATE_BLOCKED })
		if !begun {
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
func (d *draft) decide(p *graph.Progress, key string, legs []*statev1.JobRecord) {
	decision, why, err := p.Decide(key, d.env())
	if err != nil {
		d.invalid(legs, err)
		return
	}
	if decision == graph.Skip {
		ev := lifecycle.JobSkip
		if d.head().GetCancelRequested() {
			ev = lifecycle.JobCancel
		}
		for _, rec := range legs {
			d.fireJob(rec.GetId(), ev, lifecycle.JobArgs{Reason: why})
		}
		return
	}
	job := d.r.graph.Job(key)
	env, err := p.Env(key, d.env())
	if err != nil {
		d.invalid(legs, err)
		return
	}
	if len(legs) == 1 && isPlaceholder(legs[0], job) {
		if legs, err = d.expand(job, legs[0], env); err != nil {
			d.invalid(legs, err)
			return
		}
	}
	for _, rec := range legs {
		d.open(p, job, rec)
	}
}

func (d *draft) invalid(legs []*statev1.JobRecord, err error) {
	for _, rec := range legs {
		d.fireJob(rec.GetId(), lifecycle.JobInvalid, lifecycle.JobArgs{Failure: userFailure("invalid-job", err.Error())})
	}
}

// isPlaceholder: the record stands for legs that are not known before the job's needs have ended.
func isPlaceholder(rec *statev1.JobRecord, job *planv1.Job) bool {
	return job.GetStrategy().GetMatrix() != nil && rec.GetId() == job.GetId()
}

// expand replaces a placeholder by its legs; on error it returns the placeholder.
func (d *draft) expand(job *planv1.Job, placeholder *statev1.JobRecord, env *expr.Env) ([]*statev1.JobRecord, error) {
	legs, err := resolve.Legs(job.GetStrategy(), env)
	if err != nil {
		return []*statev1.JobRecord{placeholder}, err
	}
	jobs := len(legs)
	d.all(func(*statev1.JobRecord) { jobs++ })
	if err := boundJobs(jobs - 1); err != nil {
		return []*statev1.JobRecord{placeholder}, err
	}
	var out []*statev1.JobRecord
	for i, leg := range legs {
		rec := d.e.newJob(d.r, job, leg, i, len(legs))
		if err := boundMatrix(rec.GetMatrix()); err != nil {
			return []*statev1.JobRecord{placeholder}, err
		}
		out = append(out, rec)
	}
	for _, rec := range out {
		d.put(rec)
	}
	d.drop(placeholder.GetId())
	return out, nil
}

// newJob makes the record of a job instance. Its name is final if it does not depend on `needs`.
func (e *Engine) newJob(r *run, job *planv1.Job, leg matrix.Leg, i, legs int) *statev1.JobRecord {
	rec := &statev1.JobRecord{RunId: r.id, Id: resolve.InstanceID(job.GetId(), i, job.GetStrategy()), Key: job.GetId(),
		State: corev1.JobState_JOB_STATE_BLOCKED, Leg: uint32(i), Legs: uint32(legs)}
	if !leg.Values.IsNull() {
		rec.Matrix = expr.ToJSON(leg.Values)
	}
	rec.Name = matrix.JobName(job.GetId(), leg.Label)
	contexts := expr.NewObject(r.contexts.Pairs()...)
	contexts.Set("matrix", leg.Values)
	if name, err := resolve.JobName(job, leg, &expr.Env{Contexts: contexts}); err == nil {
		rec.Name = name
	}
	return rec
}

// open evaluates what a job instance needs to be placed, and queues it or lets it wait for its turn.
func (d *draft) open(p *graph.Progress, job *planv1.Job, rec *statev1.JobRecord) {
	w, err := d.e.wantsOf(d.r, p, d.env(), job, rec)
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
	d.fireJob(id, lifecycle.JobReady, lifecycle.JobArgs{})
}

// turns applies fail-fast and max-parallel to the legs of a job; it says whether anything changed.
func (d *draft) turns(p *graph.Progress, job *planv1.Job, legs []*statev1.JobRecord) bool {
	if len(legs) < 2 {
		return false
	}
	var failed *statev1.JobRecord
	active := 0
	var waiting []*statev1.JobRecord
	for _, old := range legs {
		rec := d.job(old.GetId())
		switch s := rec.GetState(); {
		case (s == corev1.JobState_JOB_STATE_FAILED || s == corev1.JobState_JOB_STATE_TIMED_OUT) && !rec.GetContinueOnError() && failed == nil:
			failed = rec
		case s == corev1.JobState_JOB_STATE_WAITING:
			waiting = append(waiting, rec)
		case s > corev1.JobState_JOB_STATE_WAITING && !lifecycle.Job.IsTerminal(s):
			active++
		}
	}
	if failed == nil && len(waiting) == 0 {
		return false
	}
	w, err := d.e.wantsOf(d.r, p, d.env(), job, legs[0])
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
		active++
		changed = d.fireJob(rec.GetId(), lifecycle.JobReady, lifecycle.JobArgs{}) || changed
	}
	return changed
}

func (d *draft) failFast(failed *statev1.JobRecord, legs []*statev1.JobRecord) bool {
	changed := false
	for _, old := range legs {
		rec := d.job(old.GetId())
		if s := rec.GetState(); s == corev1.JobState_JOB_STATE_CANCELLING || !lifecycle.Job.Can(rec, lifecycle.JobCancel) {
			continue
		}
		reason := fmt.Sprintf("fail-fast: %s failed", failed.GetName())
		changed = d.fireJob(rec.GetId(), lifecycle.JobCancel, lifecycle.JobArgs{Reason: reason}) || changed
	}
	return changed
}

// endIfDrained ends the run when every job has.
func (d *draft) endIfDrained(p *graph.Progress) {
	if !p.Done() || lifecycle.Run.IsTerminal(d.head().GetState()) {
		return
	}
	var failed *statev1.JobRecord
	cancelled, skipped, total := 0, 0, 0
	d.all(func(rec *statev1.JobRecord) {
		total++
		switch rec.GetState() {
		case corev1.JobState_JOB_STATE_FAILED, corev1.JobState_JOB_STATE_TIMED_OUT:
			if failed == nil && !rec.GetContinueOnError() {
				failed = rec
			}
		case corev1.JobState_JOB_STATE_CANCELLED:
			cancelled++
		case corev1.JobState_JOB_STATE_SKIPPED:
			skipped++
		default:
		}
	})
	d.fireRun(lifecycle.RunDrained, lifecycle.RunArgs{})
	switch {
	case d.head().GetCancelRequested() && (cancelled > 0 || failed != nil):
		d.fireRun(lifecycle.RunCancelled, lifecycle.RunArgs{Failure: userFailure("cancelled", cancelMessage(d.head()))})
	case failed != nil:
		f := failed.GetFailure()
		d.fireRun(lifecycle.RunFailed, lifecycle.RunArgs{Failure: &corev1.Failure{Code: f.GetCode(), Fault: f.GetFault(),
			Message: fmt.Sprintf("job %s: %s", failed.GetName(), f.GetMessage())}})
	case cancelled > 0:
		d.fireRun(lifecycle.RunFailed, lifecycle.RunArgs{Failure: userFailure("job-cancelled", fmt.Sprintf("%d jobs were cancelled", cancelled))})
	case skipped == total:
		d.fireRun(lifecycle.RunSkipped, lifecycle.RunArgs{})
	default:
		d.fireRun(lifecycle.RunSucceeded, lifecycle.RunArgs{})
	}
}

func cancelMessage(h *statev1.RunHeader) string {
	if h.GetCancelReason() == "" {
		return "the run was cancelled"
	}
	return "the run was cancelled: " + h.GetCancelReason()
}
