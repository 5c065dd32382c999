package engine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/graph"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// scope is one workflow at work in a run: the run's own, or one that a call of a job (one leg of it) runs. The jobs of a scope see only each
// other: their `needs`, status functions, env and inputs end at its border.
//
//	""               the run's workflow: jobs build, deploy
//	  deploy.0       a leg of the call deploy: jobs deploy.0.plan, deploy.0.apply.1
//	    deploy.0.x   a call inside it
type scope struct {
	// id is the instance id of the call; "" is the run's own workflow.
	id     string
	parent *scope
	graph  *graph.Graph
	// key of the calling job in the parent.
	key string
	// name of the call, before the names of its jobs; "" in the run's own workflow.
	name     string
	workflow *planv1.Workflow
	// contexts are github, inputs and vars; nil until they are needed.
	contexts *expr.Object
}

// callee is a workflow that the plan holds, with its graph.
type callee struct {
	workflow *planv1.Workflow
	graph    *graph.Graph
}

func callees(plan *planv1.Plan) (map[string]callee, error) {
	out := map[string]callee{}
	for _, w := range plan.GetWorkflows() {
		g, err := graph.New(w.GetJobs())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.GetPath(), err)
		}
		out[w.GetPath()] = callee{w, g}
	}
	return out, nil
}

// scopeOf returns the scope that an opened call's jobs belong to; find returns records by id. nil if the records contradict the plan.
func (r *run) scopeOf(id string, find func(string) *statev1.JobRecord) *scope {
	if sc := r.scopes[id]; sc != nil {
		return sc
	}
	call := find(id)
	if call == nil {
		return nil
	}
	parent := r.scopeOf(call.GetScope(), find)
	if parent == nil {
		return nil
	}
	c, ok := r.callees[parent.graph.Job(call.GetKey()).GetCall().GetPath()]
	if !ok {
		return nil
	}
	sc := &scope{id: id, key: call.GetKey(), parent: parent, graph: c.graph, name: call.GetName(), workflow: c.workflow}
	r.scopes[id] = sc
	return sc
}

// scope of a committed record.
func (r *run) scope(rec *statev1.JobRecord) *scope {
	return r.scopeOf(rec.GetScope(), func(id string) *statev1.JobRecord {
		if e := r.jobs[id]; e != nil {
			return e.rec
		}
		return nil
	})
}

func (d *draft) scope(id string) *scope { return d.r.scopeOf(id, d.job) }

// planJob is what the plan says of a record's job; never nil for a record that fits the plan.
func (r *run) planJob(rec *statev1.JobRecord) *planv1.Job {
	sc := r.scope(rec)
	if sc == nil {
		return nil
	}
	return sc.graph.Job(rec.GetKey())
}

// instance is the id of a job's instance in the scope.
func (s *scope) instance(id string) string {
	if s.id == "" {
		return id
	}
	return s.id + "." + id
}

// permissions of a job: its own or its workflow's, within those of the calls above it.
func (r *run) permissions(sc *scope, key string) *planv1.Permissions {
	p := sc.graph.Job(key).GetPermissions()
	if p == nil && sc.workflow != nil {
		p = sc.workflow.GetPermissions()
	}
	if sc.id == "" {
		if p == nil {
			return r.plan.GetPermissions()
		}
		return p
	}
	return resolve.Shrink(p, r.permissions(sc.parent, sc.key))
}

// title puts the names of the calls before a job's.
func (s *scope) title(name string) string {
	if s.name == "" {
		return name
	}
	return s.name + " / " + name
}

// cancelled says whether what belongs to a scope is to end: the run is being cancelled, or a call above.
func (d *draft) cancelled(id string) bool {
	if d.head().GetCancelRequested() {
		return true
	}
	for id != "" {
		rec := d.job(id)
		if rec == nil || rec.GetState() == corev1.JobState_JOB_STATE_CANCELLING || rec.GetState() == corev1.JobState_JOB_STATE_CANCELLED {
			return true
		}
		id = rec.GetScope()
	}
	return false
}

// env is what the jobs of a scope see beside `needs`.
func (d *draft) env(sc *scope) (graph.Env, error) {
	contexts, err := d.contexts(sc)
	return graph.Env{Contexts: contexts, Cancelled: d.cancelled(sc.id)}, err
}

// contexts of a scope: a call's inputs follow from records and plan alone, so that a new leader finds the same.
func (d *draft) contexts(sc *scope) (*expr.Object, error) {
	if sc.contexts != nil {
		return sc.contexts, nil
	}
	rec := d.job(sc.id)
	w, err := d.wants(rec)
	if err != nil {
		return nil, err
	}
	sc.contexts = w.inner
	return w.inner, nil
}

// callContexts are those of the workflow that a job calls: the caller's, with the inputs that it gives. all are the contexts of the calling job.
func (r *run) callContexts(sc *scope, job *planv1.Job, all *expr.Object) (*expr.Object, error) {
	c, ok := r.callees[job.GetCall().GetPath()]
	if !ok {
		return nil, fmt.Errorf("uses: %s is not in the plan", job.GetCall().GetPath())
	}
	given := expr.NewObject()
	for _, e := range job.GetCall().GetWith() {
		v, err := resolve.Value(e.GetValue(), &expr.Env{Contexts: all})
		if err != nil {
			return nil, fmt.Errorf("with.%s: %w", e.GetName(), err)
		}
		given.Set(e.GetName(), v)
	}
	inputs, err := resolve.CallInputs(c.workflow.GetInputs(), given.Value(), &expr.Env{Contexts: sc.contexts})
	if err != nil {
		return nil, fmt.Errorf("calling %s: %w", c.workflow.GetPath(), err)
	}
	contexts := expr.NewObject(sc.contexts.Pairs()...)
	contexts.Set("inputs", inputs)
	return contexts, nil
}

// wants of a job, as far as the draft is.
func (d *draft) wants(rec *statev1.JobRecord) (*wants, error) {
	if w := d.r.wants[rec.GetId()]; w != nil {
		return w, nil
	}
	sc := d.scope(rec.GetScope())
	if sc == nil {
		return nil, fmt.Errorf("the call %s of job %s is not in the plan", rec.GetScope(), rec.GetId())
	}
	p, err := replay(sc.graph, d.legs()[sc.id])
	if err != nil {
		return nil, err
	}
	env, err := d.env(sc)
	if err != nil {
		return nil, err
	}
	w, err := d.e.wantsOf(d.r, sc, p, env, sc.graph.Job(rec.GetKey()), rec)
	if err != nil {
		return nil, err
	}
	d.r.wants[rec.GetId()] = w
	return w, nil
}

// openCall makes the jobs of a call's workflow.
func (d *draft) openCall(rec *statev1.JobRecord) {
	id := rec.GetId()
	sc := d.scope(id)
	if sc == nil {
		d.invalid([]*statev1.JobRecord{rec}, fmt.Errorf("the workflow that job %s calls is not in the plan", id))
		return
	}
	// The name is final now.
	sc.name = rec.GetName()
	if _, err := d.contexts(sc); err != nil {
		d.invalid([]*statev1.JobRecord{rec}, err)
		return
	}
	var jobs []*statev1.JobRecord
	for _, job := range sc.workflow.GetJobs() {
		jobs = append(jobs, d.e.initialJobs(d.r, sc, job)...)
	}
	total := len(jobs)
	d.all(func(*statev1.JobRecord) { total++ })
	if err := boundJobs(total); err != nil {
		d.invalid([]*statev1.JobRecord{rec}, err)
		return
	}
	for _, j := range jobs {
		d.put(j)
	}
	d.fireJob(id, lifecycle.JobOpen, lifecycle.JobArgs{})
	if lifecycle.Run.Can(d.head(), lifecycle.RunStarted) {
		d.fireRun(lifecycle.RunStarted, lifecycle.RunArgs{})
	}
}

// endCall ends a call when its jobs have ended; it says whether it did.
func (d *draft) endCall(sc *scope, p *graph.Progress, legs map[string][]*statev1.JobRecord) bool {
	rec := d.job(sc.id)
	if !p.Done() || rec == nil || !lifecycle.Job.Can(rec, lifecycle.JobCallSucceeded) {
		return false
	}
	outcome, failed := p.Overall(), (*statev1.JobRecord)(nil)
	for _, job := range sc.workflow.GetJobs() {
		for _, leg := range legs[job.GetId()] {
			if leg := d.job(leg.GetId()); failed == nil && didFail(leg) {
				failed = leg
			}
		}
	}
	outputs, err := d.callOutputs(sc, p)
	switch {
	case err != nil:
		return d.fireJob(sc.id, lifecycle.JobCallFailed, lifecycle.JobArgs{Failure: userFailure("invalid-job", err.Error())})
	case outcome == graph.Failure:
		f := failed.GetFailure()
		return d.fireJob(sc.id, lifecycle.JobCallFailed, lifecycle.JobArgs{Outputs: outputs, Failure: &corev1.Failure{Code: orWord(f.GetCode(), "call-failed"), Fault: f.GetFault(),
			Message: fmt.Sprintf("job %s: %s", failed.GetName(), f.GetMessage())}})
	case outcome == graph.Cancelled:
		return d.fireJob(sc.id, lifecycle.JobCallCancelled, lifecycle.JobArgs{Outputs: outputs})
	case outcome == graph.Skipped:
		return d.fireJob(sc.id, lifecycle.JobCallSkipped, lifecycle.JobArgs{Outputs: outputs, Reason: "every job of its workflow was skipped"})
	}
	return d.fireJob(sc.id, lifecycle.JobCallSucceeded, lifecycle.JobArgs{Outputs: outputs})
}

func orWord(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func didFail(rec *statev1.JobRecord) bool {
	s := rec.GetState()
	return (s == corev1.JobState_JOB_STATE_FAILED || s == corev1.JobState_JOB_STATE_TIMED_OUT) && !rec.GetContinueOnError()
}

// callOutputs are what `on.workflow_call.outputs` comes to.
func (d *draft) callOutputs(sc *scope, p *graph.Progress) ([]*corev1.Output, error) {
	if len(sc.workflow.GetOutputs()) == 0 {
		return nil, nil
	}
	base, err := d.contexts(sc)
	if err != nil {
		return nil, err
	}
	contexts := expr.NewObject(base.Pairs()...)
	contexts.Set("jobs", p.Jobs())
	pairs, err := resolve.Entries(sc.workflow.GetOutputs(), &expr.Env{Contexts: contexts})
	if err != nil {
		return nil, fmt.Errorf("outputs of %s: %w", sc.workflow.GetPath(), err)
	}
	var out []*corev1.Output
	for _, pair := range pairs {
		out = append(out, &corev1.Output{Name: pair.Name, Value: pair.Value})
	}
	if size := outputsSize(out); size > maxOutputs {
		return nil, fmt.Errorf("outputs of %s: they have %d bytes, more than %d: pass large data as an artifact", sc.workflow.GetPath(), size, maxOutputs)
	}
	return out, nil
}

// opened says whether a record is a call whose jobs exist: they stand for it.
func opened(rec *statev1.JobRecord, job *planv1.Job) bool {
	return job.GetCall() != nil && rec.GetStartedMs() != 0
}

// cancelJobs ends jobs in favour of something else, and says whether any was left to end: a call with all its jobs whose `if` does not hold in a
// cancelled workflow.
func (d *draft) cancelJobs(ids []string, reason string) bool {
	calls, changed := map[string]bool{}, false
	for _, id := range ids {
		rec := d.job(id)
		if rec == nil || rec.GetState() == corev1.JobState_JOB_STATE_CANCELLING || !lifecycle.Job.Can(rec, lifecycle.JobCancel) {
			continue
		}
		if d.fireJob(id, lifecycle.JobCancel, lifecycle.JobArgs{Reason: reason}) {
			changed, d.graphDue = true, true
			calls[id] = rec.GetAttempt() == nil && rec.GetStartedMs() != 0
		}
	}
	if slices.Contains(slices.Collect(maps.Values(calls)), true) {
		d.cancelBegun(reason, func(rec *statev1.JobRecord) bool { return d.below(rec.GetScope(), calls) })
	}
	return changed
}

// below says whether a scope is one of calls, or inside one.
func (d *draft) below(scope string, calls map[string]bool) bool {
	for scope != "" && !calls[scope] {
		scope = d.job(scope).GetScope()
	}
	return scope != ""
}

// cancelBegun cancels jobs that are past `needs`, but not calls: their jobs are cancelled, and they end with them. Jobs that are still blocked
// are decided when their needs have ended.
func (d *draft) cancelBegun(reason string, which func(*statev1.JobRecord) bool) {
	legs := d.legs()
	progress := map[string]*graph.Progress{}
	d.all(func(rec *statev1.JobRecord) {
		begun := rec.GetState() > corev1.JobState_JOB_STATE_BLOCKED && rec.GetState() < corev1.JobState_JOB_STATE_CANCELLING
		sc := d.scope(rec.GetScope())
		if !begun || sc == nil || !which(rec) || opened(rec, sc.graph.Job(rec.GetKey())) {
			return
		}
		p := progress[sc.id]
		if p == nil {
			var err error
			if p, err = replay(sc.graph, legs[sc.id]); err != nil {
				d.e.c.Log.Error("the run's records contradict its plan", "run", d.r.id, "error", err)
				return
			}
			progress[sc.id] = p
		}
		if !d.keeps(sc, p, rec) {
			d.fireJob(rec.GetId(), lifecycle.JobCancel, lifecycle.JobArgs{Reason: reason})
		}
	})
}

// legs are the records of every scope, by the key of their job.
func (d *draft) legs() map[string]map[string][]*statev1.JobRecord {
	out := map[string]map[string][]*statev1.JobRecord{"": {}}
	d.all(func(rec *statev1.JobRecord) {
		keys := out[rec.GetScope()]
		if keys == nil {
			keys = map[string][]*statev1.JobRecord{}
			out[rec.GetScope()] = keys
		}
		keys[rec.GetKey()] = append(keys[rec.GetKey()], rec)
	})
	return out
}

// path of a record for sorting: place in the plan and leg, of the calls above it and of its own.
func (r *run) path(rec *statev1.JobRecord, at map[*planv1.Job]int) []int {
	var above []int
	sc := r.scope(rec)
	if sc == nil {
		return nil
	}
	if sc.id != "" {
		above = r.path(r.jobs[sc.id].rec, at)
	}
	return append(slices.Clone(above), at[sc.graph.Job(rec.GetKey())], int(rec.GetLeg()))
}
