// Package schedule decides which agent takes which job. It is pure: a snapshot in, placements and explanations out, the same for the same
// snapshot.
//
//	queue ─▶ fair share between projects ─▶ priority and age inside one ─▶ filters ─▶ score ─▶ placement
//	              └▶ a project's cap                                         └▶ refusal, per agent and predicate
//
// Fair share is start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", 1996) over slot time: see Shares. Priority and age are one
// number: see Job.Rank. Nothing starves: between projects because every weight is at least 1, inside one because a priority is worth a fixed time
// of waiting, and a large job among small ones because an agent is kept free for it: see Snapshot.KeepAfterMs.
//
// The work of a plan grows with the agents and with the kinds of jobs (what they ask for), not with the length of the queue.
package schedule

// Snapshot is all that a plan depends on. Placements that are not committed yet count as taken, releases that are not as held.
type Snapshot struct {
	// NowMs is the leader's time; only ages are made of it.
	NowMs int64
	// Agents in any order; ids are unique. A plan changes none of them, and may be asked for explanations as long as they stay as they are.
	Agents []*Agent
	// Queue has the jobs that want an agent. Plan only reads it.
	Queue *Queue
	// Policies of pools by name; a pool that is not there asks for nothing.
	Policies map[string]Policy
	// Projects have weights and caps by name; one that is not there has weight 1 and no cap.
	Projects map[string]Project
	// Shares say what the projects have had.
	Shares Shares
	// MinDiskFree (bytes): an agent with less takes nothing; 0 asks for nothing.
	MinDiskFree int64
	// KeepAfterMs: a job whose turn it is, that has waited for so long and would fit on an agent which had less to do, has that agent kept free
	// for it. 0 keeps none.
	KeepAfterMs int64
}

// Project is a project's part.
type Project struct {
	// Weight of its slot time against others'; 0 is 1.
	Weight int64
	// MaxRunning jobs at once; 0 is without a cap.
	MaxRunning int
}

func (p Project) weight() int64 { return max(p.Weight, 1) }

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
	// DiskFree in bytes; 0 is unknown.
	DiskFree int64
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
	// Priority inside its project; see Rank.
	Priority int64
	// Pools it may run in; empty is any.
	Pools    []string
	Labels   []string
	CPUMilli int64
	Memory   int64
	// Avoid names agents that must not be tried now, with the reason.
	Avoid map[string]string
}

// Rank orders a project's jobs, the lowest first: the time at which it was queued, less ageingMs for each unit of priority. So a job of
// priority 3 goes before what was queued up to 3 × ageingMs earlier with priority 0, and never before what has waited longer: whatever waits is
// passed by finitely many.
func (j *Job) Rank(ageingMs int64) int64 { return j.QueuedMs - j.Priority*ageingMs }

// Placement gives a job to an agent.
type Placement struct {
	Job   Job
	Agent string
	// Charge is what its project's share was charged for it, for Shares.End.
	Charge int64
}

// Waiting are jobs of one project that ask for the same and found no agent.
type Waiting struct {
	// First in their order.
	First Job
	Jobs  int
}

// Result of a plan.
type Result struct {
	Placements []Placement
	// Waiting, by project, then in the order of their first jobs.
	Waiting []Waiting
	// Shares after the placements.
	Shares Shares
	after  *planner
}

// Plan places as many jobs as fit.
func Plan(s Snapshot) Result {
	p := newPlanner(s)
	var res Result
	for {
		f := p.next()
		if f == nil {
			break
		}
		job := f.head.jobs[f.head.at]
		at := p.best(&job.Job)
		if at < 0 {
			// Usage only grows: no later job of the same class fits either.
			p.full[job.class] = true
			p.keep(&job.Job)
			continue
		}
		f.head.at++
		f.running++
		res.Placements = append(res.Placements, Placement{Job: job.Job, Agent: p.use(at, &job.Job), Charge: p.shares.start(f.name, f.weight())})
	}
	res.Waiting = p.left()
	p.shares.settle(p.flows)
	res.Shares, res.after = p.shares, p
	return res
}
