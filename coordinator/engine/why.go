package engine

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/schedule"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Explainer says why things wait. What it answers is made when it is asked for, from the leader's memory, and never stored.
type Explainer interface {
	// Why explains a run's jobs; of job "", those about which there is something to say. Names as in Run; NOT_FOUND for a job that is not there.
	Why(ctx context.Context, run, job string) (*apiv1.WhyRunResponse, error)
	// Demand is what the queued jobs ask for.
	Demand(ctx context.Context) ([]*apiv1.Demand, error)
}

// Why implements Explainer.
func (e *Engine) Why(ctx context.Context, name, job string) (*apiv1.WhyRunResponse, error) {
	runID, err := e.resolveID(ctx, name)
	if err != nil {
		return nil, err
	}
	var out *apiv1.WhyRunResponse
	err = e.ask(ctx, func(reply func(error)) {
		if r := e.runs[runID]; r != nil {
			if e.scheduleDue {
				e.place() // so that nothing is explained by what was
			}
			out = e.whyRun(r, r.view(false), job)
		}
		reply(nil)
	})
	if err == nil && out == nil {
		var v *apiv1.Run
		if v, err = e.stored(ctx, runID, false); err == nil {
			out = e.whyRun(nil, v, job)
		}
	}
	if err != nil {
		return nil, err
	}
	if job != "" && len(out.GetJobs()) == 0 {
		return nil, rpcerr.New(rpcerr.NotFound, "run #%d has no job %s", out.GetRunNumber(), job)
	}
	return out, nil
}

// whyRun explains a view; r is nil for a run that has ended.
func (e *Engine) whyRun(r *run, v *apiv1.Run, job string) *apiv1.WhyRunResponse {
	out := &apiv1.WhyRunResponse{RunId: v.GetId(), RunNumber: v.GetNumber(), State: v.GetState(), Reason: cmp.Or(v.GetReason(), v.GetFailure().GetMessage())}
	byID := map[string]*apiv1.Job{}
	for _, j := range v.GetJobs() {
		byID[j.GetId()] = j
	}
	for _, j := range v.GetJobs() {
		quiet := j.GetReason() == "" && j.GetFailure() == nil && (j.GetState() == corev1.JobState_JOB_STATE_SUCCEEDED || j.GetState() >= corev1.JobState_JOB_STATE_ASSIGNED &&
			!lifecycle.Job.IsTerminal(j.GetState()))
		if job != "" && j.GetId() != job && j.GetKey() != job || job == "" && quiet {
			continue
		}
		out.Jobs = append(out.Jobs, e.whyJob(r, v, byID, j))
	}
	return out
}

func (e *Engine) whyJob(r *run, v *apiv1.Run, byID map[string]*apiv1.Job, j *apiv1.Job) *apiv1.JobWhy {
	w := &apiv1.JobWhy{JobId: j.GetId(), Name: j.GetName(), State: j.GetState(), Reason: cmp.Or(j.GetFailure().GetMessage(), j.GetReason()), Attempt: j.GetAttempt(), Agent: j.GetAgent(), Tries: j.GetTries()}
	switch j.GetState() {
	case corev1.JobState_JOB_STATE_BLOCKED:
		w.Needs = needsOf(v, j)
		var open []string
		for _, n := range w.Needs {
			if !lifecycle.Job.IsTerminal(n.GetState()) {
				open = append(open, fmt.Sprintf("%s (%s)", n.GetJobId(), jobStateWord(n.GetState())))
			}
		}
		switch {
		case len(open) > 0:
			w.Reason = "it needs " + strings.Join(open, ", ")
			w.Remedy = "it is looked at once all that it needs has ended"
		case v.GetState() == corev1.RunState_RUN_STATE_WAITING:
			w.Reason = "its run " + v.GetReason()
		default:
			w.Reason = cmp.Or(w.Reason, decided)
		}
	case corev1.JobState_JOB_STATE_WAITING:
		e.whyGate(r, w)
	case corev1.JobState_JOB_STATE_QUEUED:
		e.whyWaiting(r, w)
	case corev1.JobState_JOB_STATE_SKIPPED:
		w.Needs = needsOf(v, j)
		if root := rootOf(v, byID, j); root != nil && root != j {
			w.Reason += fmt.Sprintf("; it began with %s, which ended as %s", root.GetId(), jobStateWord(root.GetState()))
		}
	default:
	}
	if j.GetAttempt() > 0 && j.GetFailure() != nil && j.GetReason() != "" {
		w.Retried = j.GetReason()
	}
	if reason, remedy := e.whyHeld(v, &statev1.JobRecord{Id: j.GetId(), Name: j.GetName(), Held: j.GetHeld(), Attempt: &statev1.Attempt{Id: j.GetAttemptId()}}); reason != "" {
		w.Reason, w.Remedy = w.Reason+"; "+reason, cmp.Or(remedy, w.Remedy)
	}
	if r != nil && r.jobs[j.GetId()] != nil {
		rec := r.jobs[j.GetId()].rec
		if rec.GetAttempt() != nil {
			w.Retried = rec.GetReason()
		}
		if j.GetState() == corev1.JobState_JOB_STATE_SKIPPED {
			w.Condition = r.planJob(rec).GetCondition()
		}
	}
	return w
}

func needsOf(v *apiv1.Run, j *apiv1.Job) []*apiv1.NeedWhy {
	var out []*apiv1.NeedWhy
	for _, need := range v.GetJobs() {
		if isNeed(need, j) {
			out = append(out, &apiv1.NeedWhy{JobId: need.GetId(), State: need.GetState(), Reason: cmp.Or(need.GetFailure().GetMessage(), need.GetReason())})
		}
	}
	return out
}

// isNeed: a need names a job, and each of its legs is one.
func isNeed(need, j *apiv1.Job) bool {
	return slices.ContainsFunc(j.GetNeeds(), func(n string) bool { return need.GetId() == n || strings.HasPrefix(need.GetId(), n+".") })
}

// rootOf follows skips to the job that they began with.
func rootOf(v *apiv1.Run, byID map[string]*apiv1.Job, j *apiv1.Job) *apiv1.Job {
	for range byID {
		at := slices.IndexFunc(v.GetJobs(), func(n *apiv1.Job) bool {
			return isNeed(n, j) && lifecycle.Job.IsTerminal(n.GetState()) && n.GetState() != corev1.JobState_JOB_STATE_SUCCEEDED
		})
		if at < 0 || j.GetState() != corev1.JobState_JOB_STATE_SKIPPED {
			return j
		}
		j = v.GetJobs()[at]
	}
	return j
}

func (e *Engine) whyGate(r *run, w *apiv1.JobWhy) {
	if r == nil {
		return
	}
	c := r.claims[w.GetJobId()]
	switch {
	case c == nil:
		w.Remedy = "it begins when one of the other legs has ended"
	case c.g.holder != nil && c.g.holder != c:
		w.Remedy = fmt.Sprintf("it begins when %s has ended", c.g.holder.who())
		if before := slices.Index(c.g.waiting, c); before > 0 {
			w.Remedy += fmt.Sprintf(", and then the %d before it", before)
		}
	}
}

// whyWaiting explains a queued job: agents, position, and what would help.
func (e *Engine) whyWaiting(r *run, w *apiv1.JobWhy) {
	if r == nil {
		return
	}
	j, ok := e.queue.jobs.Job(r.id, w.GetJobId())
	if !ok {
		if r.placing[w.GetJobId()] != "" {
			w.Reason = "an agent was chosen, and the choice is being stored"
		}
		return
	}
	plan := &e.queue.plan
	for _, no := range plan.Explain(j).Refusals {
		a := e.agent(no.Agent).rec
		w.Refusals = append(w.Refusals, &apiv1.AgentRefusal{Agent: no.Agent, Hostname: a.GetHostname(), Pool: a.GetPool(), Predicate: string(no.Predicate), Reason: no.Reason})
	}
	for _, a := range plan.Position(j) {
		w.Ahead = append(w.Ahead, &apiv1.QueueAhead{Project: a.Project, Jobs: uint32(a.Jobs), Running: uint32(a.Running), Weight: a.Part.Weight, MaxRunning: uint32(a.Part.MaxRunning)})
	}
	w.Remedy = e.remedy(j)
}

// hardness of what refuses: how far the agent is from taking the job.
var hardness = map[schedule.Predicate]int{schedule.Slots: 1, schedule.CPU: 1, schedule.Memory: 1, schedule.Kept: 2, schedule.Avoid: 2, schedule.Disk: 3, schedule.Drain: 4,
	schedule.Online: 5}

// remedy is the nearest change that lets a job start.
func (e *Engine) remedy(j schedule.Job) string {
	project := e.queue.projects[j.Project]
	if own := e.queue.plan.Position(j); project.MaxRunning > 0 && len(own) > 0 && own[0].Running >= project.MaxRunning {
		return fmt.Sprintf("it can start when a job of project %s ends, or with a higher max_running", j.Project)
	}
	var best []schedule.Refusal
	least := 0
	for _, all := range e.queue.plan.Refusals(j) {
		worst := 0
		for _, no := range all {
			h, soft := hardness[no.Predicate]
			if !soft {
				h = 100
			}
			worst = max(worst, h)
		}
		if worst > 0 && worst < 100 && (best == nil || worst < least) {
			best, least = all, worst
		}
	}
	if best == nil {
		return "it needs " + wanted(j)
	}
	var parts []string
	for _, no := range best {
		parts = append(parts, e.relief(no, j))
	}
	return fmt.Sprintf("agent %s can take it %s", e.agent(best[0].Agent).rec.GetHostname(), strings.Join(slices.Compact(parts), " and "))
}

func (e *Engine) relief(no schedule.Refusal, j schedule.Job) string {
	switch no.Predicate {
	case schedule.Online:
		return "once it is connected"
	case schedule.Drain:
		return "once its drain has ended"
	case schedule.Disk:
		return fmt.Sprintf("once it has %d MiB of disk free", e.c.Scheduling.MinDiskFree>>20)
	case schedule.Avoid:
		return "once the pause after its refusal is over"
	case schedule.Kept:
		return "once the larger job has started"
	case schedule.Pool, schedule.Isolated, schedule.Runtime, schedule.Labels, schedule.Size, schedule.Slots, schedule.CPU, schedule.Memory:
	}
	return e.whenRoom(e.agent(no.Agent), j)
}

// whenRoom names the jobs whose end makes room: holds first, whose ends are known, by their ends; then the oldest.
func (e *Engine) whenRoom(a *agent, j schedule.Job) string {
	s := a.snapshot()
	ids := slices.SortedFunc(maps.Keys(a.held), func(x, y string) int {
		return cmp.Or(cmp.Compare(e.holdEnd(a.held[x]), e.holdEnd(a.held[y])), cmp.Compare(a.held[x].sinceMS, a.held[y].sinceMS), strings.Compare(x, y))
	})
	var ends []string
	for _, id := range ids {
		h := a.held[id]
		name := h.jobID
		if r := e.runs[h.runID]; r != nil {
			name = fmt.Sprintf("job %s of run #%d", h.jobID, r.number)
			if h.hold {
				name = fmt.Sprintf("the hold of job %s of run #%d (until %s)", h.jobID, r.number, stamp(r.jobs[h.jobID].rec.GetHeld().GetUntilMs()))
			}
		}
		ends = append(ends, name)
		s.UsedSlots, s.UsedCPU, s.UsedMem = s.UsedSlots-1, s.UsedCPU-h.cpu, s.UsedMem-h.memory
		if s.UsedSlots < s.Slots && (s.CPUMilli == 0 || j.CPUMilli <= s.CPUMilli-s.UsedCPU) && (s.Memory == 0 || j.Memory <= s.Memory-s.UsedMem) {
			break
		}
	}
	verb := " ends"
	if len(ends) > 1 {
		verb = " end"
	}
	return "when " + strings.Join(ends, " and ") + verb
}

// holdEnd is when a hold ends; of a job, nobody can say.
func (e *Engine) holdEnd(h reservation) int64 {
	if r := e.runs[h.runID]; r != nil && h.hold {
		return r.jobs[h.jobID].rec.GetHeld().GetUntilMs()
	}
	return math.MaxInt64
}

// wanted is the agent that a job asks for.
func wanted(j schedule.Job) string {
	text := "an agent"
	if len(j.Pools) > 0 {
		text += " in pool " + strings.Join(j.Pools, " or ")
	}
	var with []string
	if len(j.Labels) > 0 {
		with = append(with, "the label "+strings.Join(j.Labels, ", "))
	}
	if j.CPUMilli > 0 {
		with = append(with, fmt.Sprintf("at least %g CPUs", float64(j.CPUMilli)/1000))
	}
	if j.Memory > 0 {
		with = append(with, fmt.Sprintf("at least %d MiB of memory", j.Memory>>20))
	}
	if len(with) > 0 {
		text += " with " + strings.Join(with, " and ")
	}
	return text
}

// Demand implements Explainer.
func (e *Engine) Demand(ctx context.Context) ([]*apiv1.Demand, error) {
	var out []*apiv1.Demand
	err := e.ask(ctx, func(reply func(error)) {
		if e.scheduleDue {
			e.place()
		}
		now := e.nowMS()
		for _, d := range e.queue.jobs.Demand() {
			out = append(out, &apiv1.Demand{Pools: d.Pools, Labels: d.Labels, Jobs: uint32(d.Jobs), CpuMilli: d.CPUMilli, Memory: d.Memory, MaxCpuMilli: d.MaxCPUMilli,
				MaxMemory: d.MaxMemory, OldestWaitMs: max(0, now-d.OldestMs)})
		}
		reply(nil)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}
