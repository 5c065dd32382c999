package schedule

import (
	"fmt"
	"slices"
	"sort"
	"strings"
)

// Verdict is why a job waits, as things stand after a plan.
type Verdict struct {
	// Refusals, the first of each agent, in the agents' order by id; an agent that has none here would take the job.
	Refusals []Refusal
	// Summary is one sentence for people.
	Summary string
}

// Explain says why a queued job has no agent. The zero Result knows no agents. Not safe for concurrent use.
func (r Result) Explain(j Job) Verdict {
	p := r.after
	if p == nil {
		return Verdict{Summary: summarise(nil)}
	}
	memo := j.Project + " " + classOf(j)
	v, known := p.verdicts[memo]
	if !known {
		v = p.explain(j)
		p.verdicts[memo] = v
	}
	return v
}

func (p *planner) explain(j Job) Verdict {
	var v Verdict
	for _, a := range p.agents {
		if f := p.refuses(a, &j); f != nil {
			v.Refusals = append(v.Refusals, Refusal{Agent: a.ID, Predicate: f.name, Reason: f.why(p, a, &j)})
		}
	}
	if f := p.flow(j.Project); f != nil && f.capped() {
		v.Summary = fmt.Sprintf("its project %s has %d jobs at work, and may have %d at once (max_running)", j.Project, f.running, f.MaxRunning)
		return v
	}
	if len(p.agents) > len(v.Refusals) {
		v.Summary = "its turn has not come yet"
		return v
	}
	v.Summary = summarise(v.Refusals)
	return v
}

// Refusals returns everything that keeps each agent from taking the job: none for an agent that would take it. In the agents' order by id.
func (r Result) Refusals(j Job) [][]Refusal {
	if r.after == nil {
		return nil
	}
	out := make([][]Refusal, len(r.after.agents))
	for i, a := range r.after.agents {
		out[i] = r.after.all(a, &j)
	}
	return out
}

// Agents are those of the snapshot, with what the plan's placements use, by id. Not to be changed.
func (r Result) Agents() []*Agent {
	if r.after == nil {
		return nil
	}
	return r.after.agents
}

func (p *planner) flow(project string) *flow {
	at, found := slices.BinarySearchFunc(p.flows, project, func(f *flow, name string) int { return strings.Compare(f.name, name) })
	if !found {
		return nil
	}
	return p.flows[at]
}

// Ahead is what one project has in front of a job.
type Ahead struct {
	Project string
	// Jobs of it that come first.
	Jobs int
	// Running jobs of it, and its part.
	Running int
	Part    Project
}

// Position says what comes before a queued job among those that may run in one of its pools, once the plan's placements are out of the queue: by
// project, the job's own first, then by name. It is exact where jobs ask for the same and have the mean length, and an estimate elsewhere.
func (r Result) Position(j Job) []Ahead {
	p := r.after
	if p == nil {
		return nil
	}
	own := p.flow(j.Project)
	e := p.Queue.jobs[jobKey{j.Run, j.Job}]
	if own == nil || e == nil {
		return nil
	}
	before := 0
	for _, l := range p.Queue.near(j.Project, j) {
		at, _ := slices.BinarySearchFunc(l.jobs, e, inOrder)
		before += at
	}
	mean := p.shares.mean() * scale
	tag := p.shares.tags[j.Project] + int64(before)*(mean/own.weight())
	out := []Ahead{own.ahead(before)}
	for _, f := range p.flows {
		if f == own {
			continue
		}
		n, step := 0, mean/f.weight()
		for _, l := range p.Queue.near(f.name, j) {
			n += len(l.jobs)
		}
		// Its starts with a lower tag come first, and of equal ones the older; whose job is the older is a guess past its first.
		starts := func(i int) int64 { return p.shares.tags[f.name] + int64(i)*step }
		lower := sort.Search(n, func(i int) bool { return starts(i) >= tag })
		if lower < n && starts(lower) == tag && p.Queue.older(f.name, e) {
			lower++
		}
		if lower > 0 {
			out = append(out, f.ahead(lower))
		}
	}
	return out
}

func (f *flow) ahead(n int) Ahead {
	return Ahead{Project: f.name, Jobs: n, Running: f.running, Part: Project{Weight: f.weight(), MaxRunning: f.MaxRunning}}
}

// near are a project's lines whose jobs may run in one of the job's pools.
func (q *Queue) near(project string, j Job) []*line {
	var out []*line
	for _, l := range q.projects[project] {
		pools := l.jobs[0].Pools
		if len(pools) == 0 || len(j.Pools) == 0 || slices.ContainsFunc(pools, func(p string) bool { return slices.Contains(j.Pools, p) }) {
			out = append(out, l)
		}
	}
	return out
}

// older is whether a project's first job near another comes before it where their tags are equal.
func (q *Queue) older(project string, e *queued) bool {
	return slices.ContainsFunc(q.near(project, e.Job), func(l *line) bool { return inOrder(l.jobs[0], e) < 0 })
}

// summarise groups refusals that read the same; at most three groups are spelled out.
func summarise(rs []Refusal) string {
	if len(rs) == 0 {
		return "no agent has joined yet"
	}
	var order []string
	agents := map[string][]string{}
	for _, r := range rs {
		if agents[r.Reason] == nil {
			order = append(order, r.Reason)
		}
		agents[r.Reason] = append(agents[r.Reason], r.Agent)
	}
	slices.SortStableFunc(order, func(a, b string) int { return len(agents[b]) - len(agents[a]) })
	var parts []string
	for i, reason := range order {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("%d other reasons", len(order)-3))
			break
		}
		who := "agent " + agents[reason][0]
		if n := len(agents[reason]); n > 1 {
			who = fmt.Sprintf("each of %d agents", n)
		}
		parts = append(parts, who+" "+reason)
	}
	return "no agent can take it now: " + strings.Join(parts, "; ")
}
