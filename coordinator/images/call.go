package images

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// maxJobs bounds the jobs of a plan, and its calls, each leg and level counted, as the jobs of a run are bounded: small files can call
// one another for very many.
const maxJobs = 4096

// call finds the images of the workflow that a job calls, with the inputs that each leg gives, as far as they are known at submit.
func (f *finder) call(job *planv1.Job) {
	w := f.workflows[job.GetCall().GetPath()]
	if w == nil {
		return // the engine says so
	}
	given := map[string]*planv1.Value{}
	for _, e := range job.GetCall().GetWith() {
		given[strings.ToLower(e.GetName())] = e.GetValue()
	}
	inner := finder{planner: f.planner, path: w.GetPath(), workflows: f.workflows, unknown: map[string]bool{}}
	var values []*planv1.Value
	for name, v := range given {
		if slices.Contains(f.contextsOf(v), "needs") {
			inner.unknown[name] = true
			continue
		}
		values = append(values, v)
	}
	for _, env := range f.callEnvs(job, values, &inner) {
		if f.budget < 0 || f.jobs < 0 {
			break // it was said
		}
		if f.budget--; f.budget < 0 {
			f.fail(job.GetPosition(), "too-many-jobs", "the workflows that this file calls have more jobs than a run may have", "call fewer")
			return
		}
		inputs, err := f.inputs(w, given, inner.unknown, env)
		if err != nil {
			f.invalid(job.GetPosition(), "with", err)
			return
		}
		inner.contexts = expr.NewObject(f.contexts.Pairs()...)
		inner.contexts.Set("inputs", inputs)
		inner.contexts.Set("secrets", f.secrets(job.GetCall(), env))
		inner.budget, inner.jobs = f.budget, f.jobs
		for _, j := range w.GetJobs() {
			inner.job(j)
		}
		f.budget, f.jobs = inner.budget, inner.jobs
	}
	f.uses = append(f.uses, inner.uses...)
	f.found = append(f.found, inner.found...)
}

// callEnvs are the environments of the call's legs. Legs that another job's output makes are not known: what depends on them is not either.
func (f *finder) callEnvs(job *planv1.Job, values []*planv1.Value, inner *finder) []*expr.Env {
	if m := job.GetStrategy().GetMatrix(); m == nil || !slices.Contains(f.contextsOf(m), "needs") {
		return f.envs(job, values)
	}
	for _, e := range job.GetCall().GetWith() {
		names := f.contextsOf(e.GetValue())
		if slices.Contains(names, "matrix") || slices.Contains(names, "strategy") {
			inner.unknown[strings.ToLower(e.GetName())] = true
		}
	}
	return []*expr.Env{{Contexts: f.contexts}}
}

func (f *finder) inputs(w *planv1.Workflow, given map[string]*planv1.Value, unknown map[string]bool, env *expr.Env) (expr.Value, error) {
	var known []*planv1.Input
	values := expr.NewObject()
	for _, in := range w.GetInputs() {
		name := strings.ToLower(in.GetName())
		if unknown[name] {
			continue
		}
		known = append(known, in)
		if v := given[name]; v != nil {
			out, err := resolve.Value(v, env)
			if err != nil {
				return expr.Value{}, err
			}
			values.Set(in.GetName(), out)
		}
	}
	return resolve.CallInputs(known, values.Value(), &expr.Env{Contexts: f.contexts})
}
