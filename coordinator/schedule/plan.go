package schedule

import (
	"cmp"
	"slices"
	"strings"
)

type planner struct {
	Snapshot
	agents []*Agent
	flows  []*flow
	full   map[string]bool
	shares Shares
	// kept agents by id: for which job.
	kept map[string]*Job
	// verdicts that were asked for, by project and class.
	verdicts map[string]Verdict
}

// flow is a project in a plan.
type flow struct {
	Project
	name    string
	running int
	lanes   []*lane
	// head is the lane whose first job is the project's next; nil for none.
	head *lane
}

func (f *flow) weight() int64 { return f.Project.weight() }

func (f *flow) capped() bool { return f.MaxRunning > 0 && f.running >= f.MaxRunning }

// lane is a line, and how far the plan is in it.
type lane struct {
	*line
	at int
}

func newPlanner(s Snapshot) *planner {
	if s.Queue == nil {
		s.Queue = NewQueue(0)
	}
	p := &planner{Snapshot: s, full: map[string]bool{}, shares: s.Shares.clone(), kept: map[string]*Job{}, verdicts: map[string]Verdict{}}
	running := map[string]int{}
	p.agents = slices.Clone(s.Agents)
	for _, a := range p.agents {
		for project, n := range a.Projects {
			running[project] += n
		}
	}
	byID := func(a, b *Agent) int { return strings.Compare(a.ID, b.ID) }
	if !slices.IsSortedFunc(p.agents, byID) {
		slices.SortFunc(p.agents, byID)
	}
	for project, lines := range s.Queue.projects {
		f := &flow{Project: s.Projects[project], name: project, running: running[project]}
		for _, l := range lines {
			f.lanes = append(f.lanes, &lane{line: l})
		}
		slices.SortFunc(f.lanes, func(a, b *lane) int { return inOrder(a.jobs[0], b.jobs[0]) })
		p.flows = append(p.flows, f)
	}
	slices.SortFunc(p.flows, func(a, b *flow) int { return strings.Compare(a.name, b.name) })
	heaviest := int64(1)
	for _, f := range p.flows {
		heaviest = max(heaviest, f.weight())
	}
	for _, f := range p.flows {
		p.shares.arrive(f.name, heaviest)
	}
	return p
}

// next returns the project whose turn it is, with its head; nil if no job is left that may fit.
func (p *planner) next() *flow {
	var best *flow
	for _, f := range p.flows {
		p.lookAhead(f)
		if f.head == nil {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(p.shares.tags[f.name], p.shares.tags[best.name]), inOrder(f.first(), best.first())) < 0 {
			best = f
		}
	}
	return best
}

func (f *flow) first() *queued { return f.head.jobs[f.head.at] }

func (p *planner) lookAhead(f *flow) {
	f.head = nil
	if f.capped() {
		return
	}
	for _, l := range f.lanes {
		if l.at == len(l.jobs) || p.full[l.class] {
			continue
		}
		if f.head == nil || inOrder(l.jobs[l.at], f.first()) < 0 {
			f.head = l
		}
	}
}

// best returns the position of the agent with the smallest part of its slots in use, by id where that is equal; -1 for none.
func (p *planner) best(j *Job) int {
	var best *Agent
	at := -1
	for i, a := range p.agents {
		// The filters are asked last: most of a fleet is no better than what was found.
		if best != nil && a.UsedSlots*best.Slots >= best.UsedSlots*a.Slots || p.refuses(a, j) != nil {
			continue
		}
		if best, at = a, i; a.UsedSlots == 0 {
			break
		}
	}
	return at
}

// use counts a job as the agent's at a position, and returns the agent's id. The snapshot's agent stays as it is.
func (p *planner) use(at int, j *Job) string {
	a := *p.agents[at]
	a.UsedSlots++
	a.UsedCPU += j.CPUMilli
	a.UsedMem += j.Memory
	p.agents[at] = &a
	return a.ID
}

// keep keeps an agent free for a job that has waited for long, whose turn it is, and which only lacks room: the one that has most to
// give. Otherwise smaller jobs would take what ends, one after the other, for ever. At most half of the agents are kept.
func (p *planner) keep(j *Job) {
	if p.KeepAfterMs <= 0 || p.NowMs-j.QueuedMs < p.KeepAfterMs || 2*len(p.kept) >= len(p.agents) {
		return
	}
	var best *Agent
	for _, a := range p.agents {
		if !p.roomOnly(a, j) {
			continue
		}
		if best == nil || cmp.Or(cmp.Compare(a.CPUMilli-a.UsedCPU, best.CPUMilli-best.UsedCPU), cmp.Compare(a.Memory-a.UsedMem, best.Memory-best.UsedMem),
			cmp.Compare(best.UsedSlots, a.UsedSlots)) > 0 {
			best = a
		}
	}
	if best != nil {
		p.kept[best.ID] = j
	}
}

// left are the jobs that found no agent.
func (p *planner) left() []Waiting {
	var out []Waiting
	for _, f := range p.flows {
		from := len(out)
		for _, l := range f.lanes {
			if l.at < len(l.jobs) {
				out = append(out, Waiting{First: l.jobs[l.at].Job, Jobs: len(l.jobs) - l.at})
			}
		}
		slices.SortStableFunc(out[from:], func(a, b Waiting) int { return cmp.Compare(a.First.QueuedMs, b.First.QueuedMs) })
	}
	return out
}
