// Package schedule decides which agent takes which job. It is pure: a snapshot in, placements and refusals out, the same for the same
// snapshot.
//
//	queued jobs ─▶ fair share between projects ─▶ first in, first out inside one ─▶ filters ─▶ score ─▶ placement
//	                                                                                  └▶ refusal, per agent and predicate
package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Snapshot is all that a plan depends on. Placements that are not committed yet count as taken, releases that are not as held.
type Snapshot struct {
	// Agents in any order; ids are unique.
	Agents []Agent
	// Jobs that want an agent, in any order.
	Jobs []Job
	// Policies of pools by name; a pool that is not there asks for nothing.
	Policies map[string]Policy
}

// Policy is what a pool asks of an agent that runs its jobs, by the names in Abilities; "" asks for nothing.
type Policy struct{ Isolation, Runtime string }

// Abilities says by name why an agent can't do something; "" is that it can.
type Abilities struct {
	Isolation map[string]string
	Runtimes  map[string]string
}

// Agent is one agent with what it has left to give.
type Agent struct {
	ID     string
	Pool   string
	Labels []string
	// Online: it has a session, and may be given work.
	Online bool
	// Drain says why the agent is to be given nothing, as the rest of a sentence about it; "" if it may be.
	Drain string
	// Slots, CPUMilli and Memory (bytes) are totals; 0 CPU or memory is unknown and not limited.
	Slots    int
	CPUMilli int64
	Memory   int64
	// Used parts.
	UsedSlots int
	UsedCPU   int64
	UsedMem   int64
	// Projects counts the slots that each project uses here.
	Projects map[string]int
	// Abilities are what its pool's policy can ask for.
	Abilities Abilities
}

// Job is a queued job with what it asks for.
type Job struct {
	Run, Job string
	Project  string
	// QueuedMs orders a project's jobs; Order breaks ties within a run.
	QueuedMs int64
	Order    int
	// Pools it may run in; empty is any.
	Pools    []string
	Labels   []string
	CPUMilli int64
	Memory   int64
	// Avoid names agents that must not be tried now, with the reason.
	Avoid map[string]string
}

// Placement gives a job to an agent.
type Placement struct {
	Job   Job
	Agent string
}

// Predicate names a filter.
type Predicate string

// The filters, in the order in which they are asked.
const (
	Pool Predicate = "pool"
	// Isolated and Runtime: the host can't do what the pool's policy asks for.
	Isolated Predicate = "isolation"
	Runtime  Predicate = "runtime"
	Labels   Predicate = "labels"
	Size     Predicate = "size"
	Drain    Predicate = "drain"
	Online   Predicate = "online"
	Avoid    Predicate = "avoid"
	Slots    Predicate = "slots"
	CPU      Predicate = "cpu"
	Memory   Predicate = "memory"
)

// Refusal says why one agent can't take a job.
type Refusal struct {
	Agent     string
	Predicate Predicate
	// Reason in words.
	Reason string
}

// Waiting is a job that found no agent.
type Waiting struct {
	Job Job
	// Refusals, one an agent, in the agents' order by id. Shared between jobs that ask for the same.
	Refusals []Refusal
	// Summary is one sentence for people.
	Summary string
}

// Result of a plan.
type Result struct {
	Placements []Placement
	Waiting    []Waiting
}

// Plan places as many jobs as fit.
func Plan(s Snapshot) Result {
	p := newPlanner(s)
	var res Result
	var left []Job
	for {
		job, ok := p.next()
		if !ok {
			break
		}
		class := classOf(job)
		if p.full[class] {
			left = append(left, job)
			continue
		}
		best := p.best(job)
		if best == nil {
			// Usage only grows: no later job of the same class fits either.
			p.full[class] = true
			left = append(left, job)
			continue
		}
		p.take(best, job)
		res.Placements = append(res.Placements, Placement{Job: job, Agent: best.ID})
	}
	res.Waiting = p.explain(left)
	return res
}

type planner struct {
	agents []*Agent
	queues map[string][]Job
	// projects with a queue, by name.
	projects []string
	share    map[string]int
	full     map[string]bool
	policies map[string]Policy
}

func newPlanner(s Snapshot) *planner {
	p := &planner{queues: map[string][]Job{}, share: map[string]int{}, full: map[string]bool{}, policies: s.Policies}
	for _, a := range s.Agents {
		p.agents = append(p.agents, &a)
		for project, n := range a.Projects {
			p.share[project] += n
		}
	}
	slices.SortFunc(p.agents, func(a, b *Agent) int { return strings.Compare(a.ID, b.ID) })
	for _, j := range s.Jobs {
		p.queues[j.Project] = append(p.queues[j.Project], j)
	}
	for project, q := range p.queues {
		slices.SortFunc(q, fifo)
		p.projects = append(p.projects, project)
	}
	slices.Sort(p.projects)
	return p
}

func fifo(a, b Job) int {
	return cmp.Or(cmp.Compare(a.QueuedMs, b.QueuedMs), strings.Compare(a.Run, b.Run), cmp.Compare(a.Order, b.Order), strings.Compare(a.Job, b.Job))
}

// next takes the oldest job of the project that uses the fewest slots.
func (p *planner) next() (Job, bool) {
	var chosen string
	found := false
	for _, project := range p.projects {
		if len(p.queues[project]) == 0 {
			continue
		}
		if !found || p.before(project, chosen) {
			chosen, found = project, true
		}
	}
	if !found {
		return Job{}, false
	}
	job := p.queues[chosen][0]
	p.queues[chosen] = p.queues[chosen][1:]
	return job, true
}

func (p *planner) before(a, b string) bool {
	if p.share[a] != p.share[b] {
		return p.share[a] < p.share[b]
	}
	return fifo(p.queues[a][0], p.queues[b][0]) < 0
}

// best returns the agent with the smallest part of its slots in use; by id where that is equal.
func (p *planner) best(j Job) *Agent {
	var best *Agent
	for _, a := range p.agents {
		if p.refuse(a, j) != nil {
			continue
		}
		if best == nil || a.UsedSlots*best.Slots < best.UsedSlots*a.Slots {
			best = a
		}
	}
	return best
}

func (p *planner) take(a *Agent, j Job) {
	a.UsedSlots++
	a.UsedCPU += j.CPUMilli
	a.UsedMem += j.Memory
	p.share[j.Project]++
}

// classOf is equal for jobs that ask for the same.
func classOf(j Job) string {
	avoid := make([]string, 0, len(j.Avoid))
	for a, why := range j.Avoid {
		avoid = append(avoid, a+"="+why)
	}
	slices.Sort(avoid)
	return fmt.Sprintf("%q %q %d %d %q", j.Pools, j.Labels, j.CPUMilli, j.Memory, avoid)
}
