// Package graph follows a run through the graph of its jobs: which may be decided, whether their `if` holds, and what
// the `needs` of others see. It is pure and does each thing once per edge.
//
//	          needs ended             Decide
//	blocked ─────────────► ready ──────┬─────► Run:  Begin(legs), then End for every leg
//	                                   ├─────► Skip: Begin(1), End with Skipped
//	                                   └─────► error: Begin(1), End with Failure
package graph

import (
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Graph is the jobs of a workflow and their edges. Safe for concurrent use.
type Graph struct {
	jobs  []*planv1.Job
	index map[string]int
	// needs and dependents hold positions in jobs.
	needs, dependents [][]int
	order             []int
}

// New builds the graph; it fails for what the compiler would have refused: a job twice, an unknown need, a cycle.
func New(jobs []*planv1.Job) (*Graph, error) {
	g := &Graph{jobs: jobs, index: make(map[string]int, len(jobs))}
	for i, job := range g.jobs {
		if _, twice := g.index[fold(job.GetId())]; twice {
			return nil, fmt.Errorf("graph: the job %s is there twice", job.GetId())
		}
		g.index[fold(job.GetId())] = i
	}
	g.needs = make([][]int, len(g.jobs))
	g.dependents = make([][]int, len(g.jobs))
	for i, job := range g.jobs {
		seen := make(map[int]bool, len(job.GetNeeds()))
		for _, id := range job.GetNeeds() {
			n, ok := g.index[fold(id)]
			if !ok {
				return nil, fmt.Errorf("graph: job %s needs %s, which is not there", job.GetId(), id)
			}
			if !seen[n] {
				seen[n] = true
				g.needs[i] = append(g.needs[i], n)
				g.dependents[n] = append(g.dependents[n], i)
			}
		}
	}
	order, rest := Order(g.needs)
	if len(rest) > 0 {
		return nil, fmt.Errorf("graph: the needs of job %s form a cycle", g.jobs[rest[0]].GetId())
	}
	g.order = order
	return g, nil
}

// fold: job ids are compared without case, as GitHub does.
func fold(id string) string { return strings.ToLower(id) }

// Order sorts nodes so that each comes after the nodes that it needs, and keeps their given order otherwise within a
// level. rest are the nodes on a cycle or behind one.
func Order(needs [][]int) (order, rest []int) {
	missing := make([]int, len(needs))
	dependents := make([][]int, len(needs))
	for i, ns := range needs {
		missing[i] = len(ns)
		for _, n := range ns {
			dependents[n] = append(dependents[n], i)
		}
		if len(ns) == 0 {
			order = append(order, i)
		}
	}
	for at := 0; at < len(order); at++ {
		for _, d := range dependents[order[at]] {
			if missing[d]--; missing[d] == 0 {
				order = append(order, d)
			}
		}
	}
	for i, m := range missing {
		if m > 0 {
			rest = append(rest, i)
		}
	}
	return order, rest
}

// Job returns a job by id; nil if there is none.
func (g *Graph) Job(id string) *planv1.Job {
	i, ok := g.index[fold(id)]
	if !ok {
		return nil
	}
	return g.jobs[i]
}

// Jobs returns all jobs, each after those that it needs.
func (g *Graph) Jobs() []*planv1.Job {
	out := make([]*planv1.Job, len(g.order))
	for i, at := range g.order {
		out[i] = g.jobs[at]
	}
	return out
}

// Dependents returns the ids of the jobs that name id in `needs`.
func (g *Graph) Dependents(id string) []string {
	i, ok := g.index[fold(id)]
	if !ok {
		return nil
	}
	out := make([]string, len(g.dependents[i]))
	for k, d := range g.dependents[i] {
		out[k] = g.jobs[d].GetId()
	}
	return out
}

// Result is GitHub's word for how a job ended, as `needs.*.result` has it.
type Result string

// Results.
const (
	Success   Result = "success"
	Failure   Result = "failure"
	Cancelled Result = "cancelled"
	Skipped   Result = "skipped"
)

// Output is one output of a job.
type Output struct{ Name, Value string }

// Outcome is how one instance of a job ended.
type Outcome struct {
	Result Result
	// ContinueOnError makes a failure count as a success for the jobs that need this one.
	ContinueOnError bool
	Outputs         []Output
}

// Decision is what becomes of a job whose needs have ended.
type Decision uint8

// Decisions.
const (
	Skip Decision = iota
	Run
)

// Env is what a job's `if` and strategy see, beside `needs`.
type Env struct {
	// Contexts by name: github, inputs, vars. Not changed.
	Contexts *expr.Object
	// Cancelled: the run is being cancelled.
	Cancelled bool
}
