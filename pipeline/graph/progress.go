package graph

import (
	"fmt"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
)

// Progress is how far one run is. Not safe for concurrent use.
type Progress struct {
	graph *Graph
	jobs  []progress
	ended int
	// fresh are jobs whose needs ended since Ready was last asked, as positions.
	fresh []int
}

// progress of one job.
type progress struct {
	// missing needs: not yet ended.
	missing int
	begun   bool
	left    int // legs not yet ended
	legs    []*Outcome
	result  Result // when ended
	ended   bool
	needs   expr.Value // what a dependent's needs.ID is, when ended
	// allSucceeded and anyFailed are about every ancestor, not only the direct needs. They hold once missing is 0.
	allSucceeded, anyFailed bool
}

// Start begins a run: the jobs without needs are ready.
func (g *Graph) Start() *Progress {
	p := &Progress{graph: g, jobs: make([]progress, len(g.jobs))}
	for i := range p.jobs {
		p.jobs[i].missing = len(g.needs[i])
		p.jobs[i].allSucceeded = true
		if p.jobs[i].missing == 0 {
			p.fresh = append(p.fresh, i)
		}
	}
	return p
}

// Ready returns the jobs that may be decided now and were not returned before, in the file's order where they became
// ready together. A job that was begun meanwhile (a replay from stored records) is left out.
func (p *Progress) Ready() []string {
	var out []string
	for _, i := range p.fresh {
		if !p.jobs[i].begun {
			out = append(out, p.graph.jobs[i].GetId())
		}
	}
	p.fresh = nil
	return out
}

// Begin says how many instances a job has, 1 without a matrix. A second Begin does nothing.
func (p *Progress) Begin(job string, legs int) error {
	i, err := p.find(job)
	if err != nil {
		return err
	}
	if legs < 1 {
		return fmt.Errorf("graph: job %s begins with %d legs", job, legs)
	}
	j := &p.jobs[i]
	if j.begun {
		return nil
	}
	j.begun, j.left, j.legs = true, legs, make([]*Outcome, legs)
	return nil
}

// End says how an instance of a job ended. The first End of an instance counts. The job has ended when all have.
func (p *Progress) End(job string, leg int, o Outcome) error {
	i, err := p.find(job)
	if err != nil {
		return err
	}
	j := &p.jobs[i]
	if !j.begun || leg < 0 || leg >= len(j.legs) {
		return fmt.Errorf("graph: leg %d of job %s ended and never began", leg, job)
	}
	if j.legs[leg] != nil {
		return nil
	}
	j.legs[leg] = &o
	if j.left--; j.left > 0 {
		return nil
	}
	p.finish(i)
	return nil
}

func (p *Progress) finish(i int) {
	j := &p.jobs[i]
	j.ended = true
	p.ended++
	j.result = combine(j.legs)
	j.needs = needsEntry(j.result, j.legs)
	for _, d := range p.graph.dependents[i] {
		dependent := &p.jobs[d]
		dependent.allSucceeded = dependent.allSucceeded && j.allSucceeded && j.result == Success
		dependent.anyFailed = dependent.anyFailed || j.anyFailed || j.result == Failure
		if dependent.missing--; dependent.missing == 0 {
			p.fresh = append(p.fresh, d)
		}
	}
}

// combine: one failed leg fails the job, then one cancelled leg cancels it; it is skipped only if all legs are.
func combine(legs []*Outcome) Result {
	counts := map[Result]int{}
	for _, o := range legs {
		r := o.Result
		if r == Failure && o.ContinueOnError {
			r = Success
		}
		counts[r]++
	}
	for _, r := range []Result{Failure, Cancelled, Success} {
		if counts[r] > 0 {
			return r
		}
	}
	return Skipped
}

// needsEntry is needs.ID. Of several legs the last one that gives an output a value counts.
func needsEntry(result Result, legs []*Outcome) expr.Value {
	outputs := expr.NewObject()
	for _, o := range legs {
		for _, output := range o.Outputs {
			if _, there := outputs.Get(output.Name); !there || output.Value != "" {
				outputs.Set(output.Name, expr.String(output.Value))
			}
		}
	}
	return expr.NewObject(
		expr.Pair{Key: "result", Value: expr.String(string(result))},
		expr.Pair{Key: "outputs", Value: outputs.Value()},
	).Value()
}

func (p *Progress) find(job string) (int, error) {
	i, ok := p.graph.index[fold(job)]
	if !ok {
		return 0, fmt.Errorf("graph: there is no job %s", job)
	}
	return i, nil
}

// Done reports whether every job has ended.
func (p *Progress) Done() bool { return p.ended == len(p.jobs) }

// Result returns how a job ended, over all its legs; ok is false while it has not.
func (p *Progress) Result(job string) (r Result, ok bool) {
	i, err := p.find(job)
	if err != nil || !p.jobs[i].ended {
		return "", false
	}
	return p.jobs[i].result, true
}

// Overall is how the whole graph ended: one failed job fails it, then one cancelled job cancels it; it is skipped only if every job is.
func (p *Progress) Overall() Result {
	counts := map[Result]int{}
	for i := range p.jobs {
		counts[p.jobs[i].result]++
	}
	for _, r := range []Result{Failure, Cancelled, Success} {
		if counts[r] > 0 {
			return r
		}
	}
	return Skipped
}

// Jobs is the jobs context of a called workflow's outputs: the results and outputs of the jobs that have ended.
func (p *Progress) Jobs() expr.Value {
	o := expr.NewObject()
	for i := range p.jobs {
		if p.jobs[i].ended {
			o.Set(p.graph.jobs[i].GetId(), p.jobs[i].needs)
		}
	}
	return o.Value()
}

// Needs is the needs context of a job: the results and outputs of the jobs that it names, in its order.
func (p *Progress) Needs(job string) (expr.Value, error) {
	i, err := p.find(job)
	if err != nil {
		return expr.Value{}, err
	}
	o := expr.NewObject()
	for _, n := range p.graph.needs[i] {
		if !p.jobs[n].ended {
			return expr.Value{}, fmt.Errorf("graph: job %s waits for %s", job, p.graph.jobs[n].GetId())
		}
		o.Set(p.graph.jobs[n].GetId(), p.jobs[n].needs)
	}
	return o.Value(), nil
}

// Env is the environment for a job's own expressions: env's contexts and `needs`, with the status functions, of which
// success() and failure() look at every ancestor, or at the needs that they name.
func (p *Progress) Env(job string, env Env) (*expr.Env, error) {
	i, err := p.find(job)
	if err != nil {
		return nil, err
	}
	needs, err := p.Needs(job)
	if err != nil {
		return nil, err
	}
	contexts := expr.NewObject()
	if env.Contexts != nil {
		contexts = expr.NewObject(env.Contexts.Pairs()...)
	}
	contexts.Set("needs", needs)
	j := p.jobs[i]
	constant := func(b bool) expr.Function {
		return func([]expr.Value) (expr.Value, error) { return expr.Bool(b), nil }
	}
	return &expr.Env{Contexts: contexts, Functions: map[string]expr.Function{
		"always":    constant(true),
		"cancelled": constant(env.Cancelled),
		"success": func(args []expr.Value) (expr.Value, error) {
			if len(args) == 0 {
				return expr.Bool(j.allSucceeded && !env.Cancelled), nil
			}
			return p.all(args, Success)
		},
		"failure": func(args []expr.Value) (expr.Value, error) {
			if len(args) == 0 {
				return expr.Bool(j.anyFailed && !env.Cancelled), nil
			}
			return p.any(args, Failure)
		},
	}}, nil
}

func (p *Progress) all(args []expr.Value, want Result) (expr.Value, error) {
	for _, arg := range args {
		if r, _ := p.Result(arg.Text()); r != want {
			return expr.Bool(false), nil
		}
	}
	return expr.Bool(true), nil
}

func (p *Progress) any(args []expr.Value, want Result) (expr.Value, error) {
	for _, arg := range args {
		if r, _ := p.Result(arg.Text()); r == want {
			return expr.Bool(true), nil
		}
	}
	return expr.Bool(false), nil
}

// Decide evaluates a ready job's `if`. The reason explains a Skip to a person. An error is the user's to repair and
// fails the job.
func (p *Progress) Decide(job string, env Env) (d Decision, reason string, err error) {
	e, err := p.Env(job, env)
	if err != nil {
		return Skip, "", err
	}
	holds, err := resolve.Condition(p.graph.Job(job).GetCondition(), e)
	if err != nil {
		return Skip, "", fmt.Errorf("if: %w", err)
	}
	if holds {
		return Run, "", nil
	}
	return Skip, p.why(job, env), nil
}

// why names the need that stopped a job, if one did.
func (p *Progress) why(job string, env Env) string {
	if env.Cancelled {
		return "the run was cancelled"
	}
	i := p.graph.index[fold(job)]
	for _, n := range p.graph.needs[i] {
		if p.jobs[n].result != Success {
			return fmt.Sprintf("its `if` does not hold, and %s ended with %s", p.graph.jobs[n].GetId(), p.jobs[n].result)
		}
	}
	if !p.jobs[i].allSucceeded {
		return "its `if` does not hold, and a job before its needs did not succeed"
	}
	return "its `if` does not hold"
}
